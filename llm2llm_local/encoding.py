"""How the person's text files are encoded: UTF-8, with or without the byte-order mark that Windows' editors put first.

The mark never becomes a part of the text. A file in another encoding is refused and not guessed at.
"""

from __future__ import annotations

MARK = "\ufeff"
"""The byte-order mark, as UTF-8 decodes it."""

REMEDY = "Save the file as UTF-8."
UTF16_REMEDY = "Save the file as UTF-8; Windows' Notepad asks for the encoding under Save as."


def is_utf16(start: bytes) -> bool:
    """Whether a file that begins so is UTF-16: by its byte-order mark, or by every other byte of ASCII being NUL."""
    first = start[:2]
    return first in (b"\xff\xfe", b"\xfe\xff") or (len(first) == 2 and first.count(0) == 1)
