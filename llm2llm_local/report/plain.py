"""Text of data and models, made safe for a terminal: nothing in it can steer the terminal or hide."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence

from ..cells import cut

_SHOWN_AS_CODE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories: controls, format characters (direction, no width), halves of pairs, unassigned, separators."""

_JOINERS = frozenset("\u200c\u200d")
"""Format characters that several scripts and emoji need; they neither turn nor hide anything."""

_SHOWN_OF_COMMON = 4
"""Characters, of what long texts begin with alike."""

_MOST_CHARACTERS_OF_CELL = 10
"""What takes one cell or two may well be several characters."""


def plain(text: str) -> str:
    """One line: white space becomes a blank, control characters become visible codes such as \\x1b."""
    return visible(" ".join(text.split()))


def conclusion(answer: str) -> str:
    """What an answer comes to, where there is one line for it: its last line, since reasoning stands before it."""
    lines = answer.strip().splitlines()
    return lines[-1] if lines else ""


def shortened(text: str, width: int) -> str:
    """`plain`, cut to `width` cells with an ellipsis: a wide character takes two of them.

    Of a long text no more is looked at than can be shown, since to clean a page of them whole takes a second.
    """
    text = text.strip()
    start = text[: _MOST_CHARACTERS_OF_CELL * width]
    return cut(plain(start) + ("…" if len(start) < len(text) else ""), width)


def shortened_apart(texts: Sequence[str], width: int) -> list[str]:
    """Each `shortened`; where different ones would look the same, without most of what they all begin with."""
    alike: dict[str, set[str]] = {}
    for text in texts:
        alike.setdefault(shortened(text, width), set()).add(text)

    def shown(text: str) -> str:
        others = alike[shortened(text, width)]
        start = _n_common(others) - _SHOWN_OF_COMMON if len(others) > 1 else 0
        return shortened(f"…{text[start:]}" if start > 0 else text, width)

    return [shown(text) for text in texts]


def _n_common(texts: Collection[str]) -> int:
    """Characters that they all begin with."""
    first, last = min(texts), max(texts)  # all others lie between these in order, so they share what these do
    return next((n for n, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))


def visible(text: str) -> str:
    """All white space but the blank is made a code, too; `plain` is for running text."""
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _SHOWN_AS_CODE or character in _JOINERS:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
