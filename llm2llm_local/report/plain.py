"""Text of data and models, made safe for a terminal: nothing in it can steer the terminal or hide."""

from __future__ import annotations

import unicodedata

_SHOWN_AS_CODE = frozenset({"Cc", "Cs", "Co", "Cn"})
_BIDI_CONTROLS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def plain(text: str) -> str:
    """One line: white space becomes a blank, control characters become visible codes such as \\x1b."""
    return "".join(_shown(character) for character in " ".join(text.split()))


def shortened(text: str, width: int) -> str:
    """`plain`, cut to `width` characters with an ellipsis."""
    line = plain(text)
    return line if len(line) <= width else line[: width - 1] + "…"


def _shown(character: str) -> str:
    if unicodedata.category(character) in _SHOWN_AS_CODE or character in _BIDI_CONTROLS:
        code = ord(character)
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    return character
