"""TREC question classification (Li and Roth 2002): lines `COARSE:fine question`.

The coarse class becomes the answer, by its name in words; the fine one is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .published import Found, Published, Skip, decode, published, read_bytes

LABELS = {
    "ABBR": "Abbreviation",
    "DESC": "Description",
    "ENTY": "Entity",
    "HUM": "Human",
    "LOC": "Location",
    "NUM": "Numeric",
}

_STRAY = b"\xf0"
"""A byte of train_5500.label, in "sister\xf0city", that is no character of it: loaders put a blank in its place."""


def read_trec(path: Path) -> Published:
    """A `.label` file. Raises DataError when it can't be read."""
    raw = read_bytes(path)
    stray = [number for number, line in enumerate(raw.split(b"\n"), start=1) if _STRAY in line and not _is_utf8(line)]
    if stray:
        raw = b"\n".join(line if _is_utf8(line) else line.replace(_STRAY, b" ") for line in raw.split(b"\n"))
    decoded = decode(raw)
    notes = [f"line {number:,}: the byte 0xF0 was read as a blank" for number in stray]
    return published(path, _found(decoded.text), [*notes, *decoded.notes])


def _found(text: str) -> Iterator[Found | Skip]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        label, _, question = line.partition(" ")
        coarse, colon, _ = label.partition(":")
        if coarse in LABELS and colon:
            yield Found(number, question, LABELS[coarse])
        else:
            yield Skip(number, "does not begin with a class such as NUM:date")


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
