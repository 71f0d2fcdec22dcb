"""How many cells of a terminal a text takes: a wide character takes two, one that combines with another takes none.

What is cut short for a person to the width of a line or a cell of a table is cut by `cut`. Standard library only,
since quick commands align their tables with it. It agrees with what rich counts; a test compares them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import cache

_TAKES_NO_CELL = frozenset({"Mn", "Mc", "Me", "Cf"})
"""Unicode categories: marks and format characters."""

_JOINER, _EMOJI_STYLE = "\u200d", "\ufe0f"
"""What joins the emoji before and after it to one, and what makes a sign an emoji, which is wide."""

_FURTHER_JAMO = (range(0x1160, 0x1200), range(0xD7B0, 0xD800), range(0x3164, 0x3165), range(0xFFA0, 0xFFA1))
"""Vowels and final consonants of Korean syllables, as single letters: they join the first one. And two fillers."""

_SKIN_TONES = range(0x1F3FB, 0x1F400)
_FLAG_LETTERS = range(0x1F1E6, 0x1F200)
"""Two of them are a flag."""


def cells(text: str) -> int:
    """The cells that `text` takes; it is one line without control characters, as `plain` makes it."""
    return len(text) if _is_narrow(text) else sum(width for _, width in _characters(text))


def cut(text: str, width: int) -> str:
    """`text`, cut to at most `width` cells with an ellipsis; no character is cut from what combines with it."""
    if _is_narrow(text):
        return text if len(text) <= width else text[: max(0, width - 1)].rstrip() + "…"
    taken, fitting = 0, 0
    length = 0
    for character, n_cells in _characters(text):
        taken += n_cells
        if taken > width:
            return text[:fitting].rstrip() + "…"
        length += len(character)
        if taken < width:
            fitting = length
    return text


def _is_narrow(text: str) -> bool:
    """Whether each character takes a cell, as nearly all texts do: known in no time."""
    return text.isascii() or (text.endswith("…") and text[:-1].isascii())


def padded(text: str, width: int) -> str:
    """`text` with blanks behind it, `width` cells in all."""
    return text + " " * (width - cells(text))


def right_aligned(text: str, width: int) -> str:
    """`text` with blanks before it, `width` cells in all."""
    return " " * (width - cells(text)) + text


def _characters(text: str) -> Iterator[tuple[str, int]]:
    """What a reader sees as characters: each with all that combines with it, and the cells that it takes."""
    character, width = "", 0
    for part in text:
        n_cells = _cells_alone(part)
        is_joined = character[-1:] == _JOINER
        is_flag = len(character) == 1 and ord(character) in _FLAG_LETTERS and ord(part) in _FLAG_LETTERS
        if character and (n_cells == 0 or is_joined or is_flag):
            if part == _EMOJI_STYLE or is_flag:
                width = 2
            character += part
            continue
        if character:
            yield character, width
        character, width = part, n_cells
    if character:
        yield character, width


@cache
def _cells_alone(character: str) -> int:
    if unicodedata.category(character) in _TAKES_NO_CELL:
        return 0
    code = ord(character)
    if code in _SKIN_TONES or any(code in jamo for jamo in _FURTHER_JAMO):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
