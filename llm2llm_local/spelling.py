"""Texts that a person can't tell apart though a program can.

They differ in Unicode's normal form (é is one character or two), in the kind and number of blanks, or in
characters that show nothing. Such texts are compared here, and named to the person; none is ever changed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache

from .cells import cut

# Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt): joiners, direction marks, variation selectors …
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_OF_SENTENCES = frozenset(".,;:!?\"'`()[]{}")
_OF_OTHERS = frozenset("#%&*@/\\·‰‱′″‴٪؉؊")
REMEMBERED = 8192
"""Texts whose meaning is kept at hand, where each ballot asks it of all seeds again."""

_BLANK = ord(" ")

_MOST_CODE_POINTS = 6
_MOST_CELLS = 60


class _Blanked(dict[int, int]):
    """For `str.translate`: characters of some kind become blanks; each is looked at once."""

    def __init__(self, is_blank: Callable[[str], bool]) -> None:
        super().__init__()
        self._is_blank = is_blank

    def __missing__(self, code_point: int) -> int:
        self[code_point] = found = _BLANK if self._is_blank(chr(code_point)) else code_point
        return found


def _is_of_sentences(character: str) -> bool:
    """Punctuation of any script, but for dashes, and signs such as % in any width or script."""
    if character.isascii():
        return character in _OF_SENTENCES
    is_punctuation = unicodedata.category(character) in ("Po", "Ps", "Pe", "Pi", "Pf")
    return is_punctuation and _OF_OTHERS.isdisjoint((character, unicodedata.normalize("NFKC", character)))


def _is_between_words(character: str) -> bool:
    """A mark, such as a vowel sign of Hindi, goes on with the word of its letter."""
    return not (character.isalnum() or character == "_" or unicodedata.category(character).startswith("M"))


_WITHOUT_PUNCTUATION = _Blanked(_is_of_sentences)
_WORDS_ALONE = _Blanked(_is_between_words)


def words_in(text: str) -> list[str]:
    """Letters, digits and marks that stand together, in any script, as they are written."""
    return text.translate(_WORDS_ALONE).split()


def look(text: str) -> str:
    """The same for all texts that look alike: one normal form, single blanks, nothing invisible."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", _INVISIBLE.sub("", text))
    return " ".join(text.split())


@lru_cache(maxsize=REMEMBERED)
def same_question(text: str) -> str:
    """The same for all texts that ask the same, letter for letter: their look, letter case aside."""
    return look(text).casefold()


@lru_cache(maxsize=REMEMBERED)
def same_words(text: str) -> str:
    """The same for all texts that differ at most in letter case, blanks and the punctuation of sentences: who has seen
    one has seen the others. Data that has such is sound, and is not told of as of repetitions (`same_question`).
    """
    return " ".join(same_question(text).translate(_WITHOUT_PUNCTUATION).split()) or same_question(text)


def alike(texts: Iterable[str]) -> tuple[str, str] | None:
    """The first two different texts that look alike, in their order; None when there are none."""
    by_look: dict[str, str] = {}
    for text in texts:
        earlier = by_look.setdefault(look(text), text)
        if earlier != text:
            return earlier, text
    return None


def difference(one: str, other: str) -> str:
    """What sets two texts apart, by its code points, from the first that isn't the same to the last."""
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    one, other = one[start:], other[start:]
    end = 0
    while end < min(len(one), len(other)) and one[-1 - end] == other[-1 - end]:
        end += 1
    return f"{_code_points(one[: len(one) - end])} in one, {_code_points(other[: len(other) - end])} in the other"


def shown(text: str) -> str:
    """A text of the person's in quotes, for a message: safe for a terminal, and short."""
    return cut(repr(text), _MOST_CELLS)


def _code_points(text: str) -> str:
    more = " …" if len(text) > _MOST_CODE_POINTS else ""
    return " ".join(f"U+{ord(character):04X}" for character in text[:_MOST_CODE_POINTS]) + more or "nothing"
