"""How the person's text files are encoded: UTF-8, with or without the byte-order mark that Windows' editors put first.

The mark never becomes a part of the text. A file in another encoding is refused and not guessed at.
"""

from __future__ import annotations

import re

MARK = "\ufeff"
"""The byte-order mark, as UTF-8 decodes it."""

REMEDY = "Save the file as UTF-8."
UTF16_REMEDY = "Save the file as UTF-8; Windows' Notepad asks for the encoding under Save as."

# C0 and C1 controls but tab, LF and CR: they can steer a terminal and are never meant. Halves of surrogate pairs,
# which JSON can spell and which stand for bytes that aren't UTF-8 in arguments and file names, can't be stored as
# UTF-8. Bidirectional controls are allowed: right-to-left text needs them.
_UNFIT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
UNFIT_REMEDY = "Delete it: control characters and halves of surrogate pairs aren't text."
NAME_REMEDY = "Rename it: names of files and folders must be UTF-8."


def unfit_character(text: str) -> str | None:
    """The first character of `text` that isn't text, by its code point and place; None when there is none."""
    unfit = _UNFIT.search(text)
    return unfit and f"the character U+{ord(unfit.group()):04X} at position {unfit.start() + 1}"


def is_utf8(text: str) -> bool:
    """Whether `text`, a file's name perhaps, can be written in UTF-8: bytes that aren't are read as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def is_utf16(start: bytes) -> bool:
    """Whether a file that begins so is UTF-16: by its byte-order mark, or by every other byte of ASCII being NUL."""
    first = start[:2]
    return first in (b"\xff\xfe", b"\xfe\xff") or (len(first) == 2 and first.count(0) == 1)


def wide_encoding(start: bytes) -> str | None:
    """The name of the encoding with 2 or 4 bytes a character of a file that begins so; None for any other file.

    UTF-32 is known by its byte-order mark, which begins like UTF-16's, or by three of four bytes of ASCII being NUL.
    """
    first = start[:4]
    if first in (b"\xff\xfe\0\0", b"\0\0\xfe\xff") or (len(first) == 4 and first.count(0) == 3):
        return "UTF-32"
    return "UTF-16" if is_utf16(start) else None
