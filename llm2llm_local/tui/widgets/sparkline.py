"""A row of figures as a row of blocks."""

from __future__ import annotations

from collections.abc import Sequence

_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(shares: Sequence[float]) -> str:
    """Shares from 0 to 1, a block each: the scale is the same for all, so that rows can be compared."""
    return "".join(_BLOCKS[min(len(_BLOCKS) - 1, int(share * len(_BLOCKS)))] for share in shares)
