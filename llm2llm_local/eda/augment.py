"""The four ways in which easy data augmentation changes a text: functions of the text, of chance and of a rate.

Only words change. What is between them (blanks, line breaks, punctuation at their edges) stays where it is, which the
paper's code strips beforehand, like capitals. No text becomes empty, and where a way has nothing to work on the text
comes back as it was.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from .wordnet import Synonyms

ALPHA = 0.05
"""Share of the words to change: what the paper recommends up to 2,000 training examples (table 3)."""

_GRAMMAR = (
    "a an the this that these those such same other another each every either neither both all any some many much few",
    "more most no not nor only own",
    "i me my mine myself you your yours yourself he him his himself she her hers herself it its itself one oneself",
    "we us our ours ourselves they them their theirs themselves",
    "who whom whose which what when where why how whoever whatever whichever",
    "am is are was were be been being do does did doing done have has had having can could may might must shall should",
    "will would ought",
    "about above across after against along among around as at before behind below beneath beside between beyond by",
    "down during except for from in inside into like near of off on onto out outside over past per since than through",
    "to toward under until up upon via with within without",
    "and but or if because so though although unless while whereas yet",
    "again also else ever here just now often once quite rather still then there thus too very",
    "don't doesn't didn't isn't aren't wasn't weren't won't can't couldn't shouldn't wouldn't it's i'm i've you're",
    "s t d ll m re ve",
)
_STOP_WORDS = frozenset(word for line in _GRAMMAR for word in line.split())
"""Words that carry grammar rather than meaning. WordNet has many of them in a sense that is never meant: "a" is a
vitamin, "in" is Indiana, "who" is an organization.
"""

_EDGES = ".,;:!?…·\"'`()[]{}<>«»‹›“”‘’„‚¿¡-–—*_/\\|。、，！？；：「」『』（）《》"
_PLACEHOLDER = re.compile(r"<[A-Z_]+>")
"""What an instruction speaks of, as CaseHOLD's of <HOLDING>: it is no word, and stays."""

_UNSPACED = re.compile(r"[぀-ヿ㐀-䶿一-鿿豈-﫿]")
"""Kana and Han characters, which are written without blanks: each counts as a word."""


def eda(question: str, rng: random.Random, synonyms: Synonyms) -> str:
    """A changed copy, in one of the four ways, each as likely; in another where that one changes nothing. A text with
    nothing to change in any way comes back as it was.
    """
    return augment(question, rng, synonyms, ALPHA)


def augment(question: str, rng: random.Random, synonyms: Synonyms, alpha: float) -> str:
    """As `eda`, at another rate."""
    ways: list[Callable[[], str]] = [
        lambda: replace_with_synonyms(question, rng, synonyms, alpha),
        lambda: insert_synonyms(question, rng, synonyms, alpha),
        lambda: swap_words(question, rng, alpha),
        lambda: delete_words(question, rng, alpha),
    ]
    rng.shuffle(ways)
    return next((changed for changed in (way() for way in ways) if changed != question), question)


def replace_with_synonyms(question: str, rng: random.Random, synonyms: Synonyms, alpha: float) -> str:
    """`alpha` of the words, at least one, each by a random synonym; stop words stay."""
    text = _Text.of(question)
    replaced = 0
    for place in _shuffled(text.with_meaning(), rng):
        others = synonyms.of(text.words[place])
        if others:
            text.words[place] = _with_capitals_of(text.words[place], rng.choice(others))
            replaced += 1
        if replaced == _changes(text, alpha):
            break
    return text.whole()


def insert_synonyms(question: str, rng: random.Random, synonyms: Synonyms, alpha: float) -> str:
    """As many as `alpha` of the words, at least one: a random synonym of a random word that is no stop word, put
    anywhere.
    """
    text = _Text.of(question)
    known = [others for place in text.with_meaning() if (others := synonyms.of(text.words[place]))]
    for _ in range(_changes(text, alpha) if known else 0):
        text.insert(rng.randint(0, len(text.words)), rng.choice(rng.choice(known)))
    return text.whole()


def swap_words(question: str, rng: random.Random, alpha: float) -> str:
    """Two random words change places, as often as `alpha` of the words, at least once."""
    text = _Text.of(question)
    if len(text.words) > 1:
        for _ in range(_changes(text, alpha)):
            one, other = rng.sample(range(len(text.words)), 2)
            text.words[one], text.words[other] = text.words[other], text.words[one]
    return text.whole()


def delete_words(question: str, rng: random.Random, alpha: float) -> str:
    """Each word goes with the probability `alpha`; a random one stays where all would."""
    text = _Text.of(question)
    gone = [place for place in range(len(text.words)) if rng.random() < alpha]
    if gone and len(gone) == len(text.words):
        gone.remove(rng.choice(gone))
    for place in reversed(gone):
        text.delete(place)
    return text.whole()


@dataclass(slots=True)
class _Text:
    """Words, and what is before, between and after them: one piece more."""

    words: list[str]
    between: list[str]

    @classmethod
    def of(cls, text: str) -> _Text:
        words, between, end = [], [], 0
        for start, stop in _word_spans(text):
            between.append(text[end:start])
            words.append(text[start:stop])
            end = stop
        return cls(words, [*between, text[end:]])

    def whole(self) -> str:
        return "".join(between + word for between, word in zip(self.between, [*self.words, ""], strict=True))

    def with_meaning(self) -> list[int]:
        return [place for place, word in enumerate(self.words) if word.lower() not in _STOP_WORDS]

    def insert(self, place: int, word: str) -> None:
        """Before the word at the place, or after the last."""
        is_last = place == len(self.words)  # then what was after the last word is after this one
        self.between.insert(place + (not is_last), " ")
        self.words.insert(place, word)

    def delete(self, place: int) -> None:
        """The blank after a word goes with it, where there is one before it, too."""
        before, after = self.between[place], self.between.pop(place + 1)
        if not before or before[-1:].isspace():
            after = after.lstrip()
        self.between[place] = before + after
        if place == len(self.words) - 1 and not after:
            self.between[place] = before.rstrip()
        del self.words[place]


def _word_spans(text: str) -> list[tuple[int, int]]:
    spans = []
    for found in re.finditer(r"\S+", text):
        if _PLACEHOLDER.search(found[0]):
            continue
        start = found.start() + len(found[0]) - len(found[0].lstrip(_EDGES))
        stop = found.end() - len(found[0]) + len(found[0].rstrip(_EDGES))
        if not any(character.isalnum() for character in text[start:stop]):
            continue
        for unspaced in _UNSPACED.finditer(text, start, stop):
            if start < unspaced.start():
                spans.append((start, unspaced.start()))
            spans.append(unspaced.span())
            start = unspaced.end()
        if start < stop:
            spans.append((start, stop))
    return spans


def _changes(text: _Text, alpha: float) -> int:
    return max(1, int(alpha * len(text.words)))


def _shuffled(places: list[int], rng: random.Random) -> list[int]:
    return rng.sample(places, len(places))


def _with_capitals_of(word: str, other: str) -> str:
    if len(word) > 1 and word.isupper():
        return other.upper()
    return other[:1].upper() + other[1:] if word[:1].isupper() else other
