"""A number with its noun. Standard library only: every part of the program says such things, the light ones too."""

from __future__ import annotations


def counted(n: int, one: str, many: str = "") -> str:
    """`1 group`, `0 groups`, `2,000 batches`. `many`: the plural where it isn't `one` with an s."""
    return f"{n:,} {one if n == 1 else many or f'{one}s'}"
