"""Options inside a question: how they are written, read and put together again.

A question with options is a text, the stem, and below it one option a line, marked with capital letters from A on in
one way throughout:

    The court held otherwise (<HOLDING>). Which holding is meant?

    (A) holding that the claim is barred
    (B) holding that notice was given

The marks may be `(A)`, `A)`, `A.` or `A:`. The options are what stands last: they begin at the last line that is
marked A, so the stem may hold lists of its own. A line without a mark goes on with the option above it; blank lines
between options don't count. There are 2 to 26.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from string import ascii_uppercase

from ..spelling import look

MARKS = ("(A)", "A)", "A.", "A:")
"""The ways to mark an option, each as its first mark."""

_MARK = re.compile(r"[ \t]*(?:\(([A-Z])\)|([A-Z])(\)|[.:](?=\s|$)))")

_FURTHER_LETTER = re.compile(r"[ \t]*(?:(?:[,/&]|\b(?i:or|and)\b)[ \t]*\(?[A-Z]\b(?!')|\(?[A-Z]\)$)")
"""Behind a mark: another option's letter, such as `or (B)`, or another mark at the end."""


class OptionsError(ValueError):
    """A question's options can't be read.

    `reason` is short and the same for the same kind of defect; the text has the particulars.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Options:
    """A question's stem, and its options in their order, without marks.

    `mark`: how they are marked, one of `MARKS`; `gap`: what stands between the stem and the first option.
    """

    stem: str
    options: tuple[str, ...]
    mark: str = MARKS[0]
    gap: str = "\n\n"

    @property
    def letters(self) -> str:
        """One for each option: "ABCDE"."""
        return ascii_uppercase[: len(self.options)]


def split_options(question: str) -> Options:
    """Take a question apart; `join_options` puts it together again.

    Raises OptionsError when there is no line marked A or less than two options, when a letter is left out or comes
    again, and when an option or the stem is empty.
    """
    lines = question.strip().split("\n")
    marks = [_mark_of(line) for line in lines]
    first = max((n for n, mark in enumerate(marks) if mark is not None and mark.letter == "A"), default=0)
    begins = marks[first]
    if begins is None or begins.letter != "A":
        raise OptionsError("no options", "no line begins with (A), so it has no options")
    options: list[str] = []
    for line, mark in zip(lines[first:], marks[first:], strict=True):
        if mark is None or mark.style != begins.style:
            options[-1] = f"{options[-1]} {line.strip()}".strip()
            continue
        if mark.letter != ascii_uppercase[len(options) : len(options) + 1]:
            after = ascii_uppercase[len(options) - 1]
            raise OptionsError("options out of order", f"option {mark.letter} comes after option {after}")
        options.append(line[mark.end :].strip())
    if len(options) == 1:
        raise OptionsError("wrong number of options", "it has one option, or others that are marked in another way")
    for letter, option in zip(ascii_uppercase, options, strict=False):
        if not look(option):
            raise OptionsError("empty option", f"option {letter} is empty")
    before = "\n".join(lines[:first])
    stem = before.rstrip()
    if not look(stem):
        raise OptionsError("empty question", "it has nothing but options")
    return Options(stem, tuple(options), begins.style, "\n" + before[len(stem) :])


def has_options(question: str) -> bool:
    """Whether a line is marked as the first of some, readable or not."""
    return any(mark is not None and mark.letter == "A" for mark in map(_mark_of, question.split("\n")))


def join_options(options: Options) -> str:
    """The question that has this stem and these options, marked from A on in their order."""
    marked = (
        f"{options.mark.replace('A', letter)} {option}"
        for letter, option in zip(options.letters, options.options, strict=True)
    )
    return options.stem + options.gap + "\n".join(marked)


def letter_in(line: str, letters: str) -> str | None:
    """The letter of an option that a line gives as its answer: `C`, `(C)`, `C.`, `C) the option's text`. None where it
    gives several: `(A) or (B)`.
    """
    text = line.strip(" \t*_`")
    mark = _mark_of(text)
    if mark is not None and _FURTHER_LETTER.match(text, mark.end):
        return None
    letter = text if mark is None else mark.letter
    return letter if len(letter) == 1 and letter in letters else None


def same_option(one: str, other: str) -> bool:
    """Whether two options say the same, letter case and a full stop aside."""
    return look(one).casefold().rstrip(".") == look(other).casefold().rstrip(".")


@dataclass(frozen=True, slots=True)
class _Mark:
    """An option's mark at the beginning of a line. `style`: one of `MARKS`; `end`: where the option's text begins."""

    letter: str
    style: str
    end: int


def _mark_of(line: str) -> _Mark | None:
    match = _MARK.match(line)
    if match is None:
        return None
    if match[1]:
        return _Mark(match[1], MARKS[0], match.end())
    return _Mark(match[2], f"A{match[3]}", match.end())
