"""TREC question classification (Li and Roth 2002): lines `COARSE:fine question`.

The coarse class becomes the answer, by its name in words; the fine one is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from .published import Found, Published, Skip, decode, numbered, published, read_bytes

LABELS = {
    "ABBR": "Abbreviation",
    "DESC": "Description",
    "ENTY": "Entity",
    "HUM": "Human",
    "LOC": "Location",
    "NUM": "Numeric",
}

_LINE = re.compile(r"([A-Z]+):[a-z]+[ \t]+(.*)")

_STRAY = b"\xf0"
"""A byte of train_5500.label, in "sister\xf0city", that is no character of it: loaders put a blank in its place."""


def read_trec(path: Path) -> Published:
    """A `.label` file. Raises DataError when it can't be read."""
    raw = read_bytes(path)
    lines = raw.split(b"\n")
    stray = {place for place, line in enumerate(lines) if _STRAY in line and not _is_utf8(line)}
    decoded = decode(b"\n".join(line.replace(_STRAY, b" ") if n in stray else line for n, line in enumerate(lines)))
    notes = [f"{numbered([place + 1 for place in sorted(stray)])}: the byte 0xF0 was read as a blank"] if stray else []
    return published(path, _found(decoded.text), [*notes, *decoded.notes])


def _found(text: str) -> Iterator[Found | Skip]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        match = _LINE.match(line)
        if match is not None and match[1] in LABELS:
            yield Found(number, match[2], LABELS[match[1]])
        else:
            yield Skip(number, "does not begin with a class such as NUM:date")


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
