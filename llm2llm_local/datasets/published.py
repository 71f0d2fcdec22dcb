"""What a reader of a published data set gives: rows as they are, and what was passed over or changed, with its place.

These files are as their authors left them, so unlike the person's own (`reader`) they aren't refused for a row: what
can't be used is left out and told. A file that isn't of its format at all is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..encoding import MARK, UTF16_REMEDY, unfit_character, wide_encoding
from ..errors import DataError
from ..records import DataRow
from ..spelling import look

_LINE_END = re.compile(rb"\r\n|\n|\r")
"""Of Unix, Windows and old Macs: taken for a blank, a CR alone would make one row of a whole file."""


_OF_WINDOWS = re.compile(rb"[\x80-\x9f]")
"""Control characters of Latin-1, which no text has."""


_OF_UTF8 = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}")
"""A character beyond ASCII: a line that has one is broken UTF-8."""


@dataclass(frozen=True, slots=True)
class Skip:
    """A row that can't be used: the line on which it starts, and why."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Found:
    """A row of a file: the line on which it starts, its question and answer as the file has them."""

    line: int
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Published:
    """A file's rows in its order, what was left out of it, and how it was read where that isn't plain UTF-8."""

    path: Path
    rows: tuple[DataRow, ...]
    skipped: tuple[Skip, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decoded:
    """A file's text, line ends as LF; `notes`: what isn't plain UTF-8 in it."""

    text: str
    notes: tuple[str, ...]


def published(path: Path, found: Iterable[Found | Skip], notes: Iterable[str] = ()) -> Published:
    """Sort what a reader found into rows and those that are left out: empty ones, and ones with control characters."""
    rows: list[DataRow] = []
    skipped: list[Skip] = []
    for item in found:
        reason = item.reason if isinstance(item, Skip) else _unusable(item)
        if reason is not None:
            skipped.append(Skip(item.line, reason))
        elif isinstance(item, Found):
            rows.append(DataRow(item.question.strip(), item.answer.strip(), str(path), item.line))
    return Published(path, tuple(rows), tuple(skipped), tuple(notes))


def _unusable(found: Found) -> str | None:
    for name, text in (("question", found.question), ("answer", found.answer)):
        if unfit := unfit_character(text):
            return f"the {name} has {unfit}"
        if not look(text):
            return f"no {name}"
    return None


def read_bytes(path: Path) -> bytes:
    """The whole file. Raises DataError when it can't be read or is UTF-16 or UTF-32."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}", "Check the path and its permissions.") from None
    if wide := wide_encoding(raw):
        raise DataError(f"{path}: is {wide}, not UTF-8", UTF16_REMEDY)
    return raw


def decode(raw: bytes) -> Decoded:
    """The text of a published file: each line as UTF-8, else as what such files have instead.

    That is UTF-8 made of UTF-16's surrogate pairs (CESU-8), as old Java and JavaScript wrote characters beyond U+FFFF,
    or Windows-1252 where a line has bytes that are printed in it and not in Latin-1 (curly quotes, dashes), or else
    Latin-1, in which any byte is a character.
    """
    lines: list[str] = []
    strange: dict[str, list[int]] = {}
    for number, line in enumerate(_LINE_END.split(raw), start=1):
        text, encoding = _decode_line(line)
        lines.append(text)
        if encoding is not None:
            strange.setdefault(encoding, []).append(number)
    notes = tuple(f"{numbered(numbers)}: not UTF-8, read as {name}" for name, numbers in strange.items())
    return Decoded("\n".join(lines).removeprefix(MARK), notes)


def numbered(lines: Sequence[int]) -> str:
    """The first of some lines, and how many more there are."""
    return f"line {lines[0]:,}{f' and {len(lines) - 1:,} more' if len(lines) > 1 else ''}"


def _decode_line(line: bytes) -> tuple[str, str | None]:
    """The text, and the name of its encoding when that isn't UTF-8."""
    try:
        return line.decode("utf-8"), None
    except UnicodeDecodeError:
        pass
    try:
        halves = line.decode("utf-8", "surrogatepass")
        return halves.encode("utf-16", "surrogatepass").decode("utf-16"), "CESU-8"
    except UnicodeError:
        pass
    if _OF_WINDOWS.search(line) and not _OF_UTF8.search(line):
        with suppress(UnicodeDecodeError):  # five of these bytes are no character there either
            return line.decode("cp1252"), "Windows-1252"
    return line.decode("latin-1"), "Latin-1"
