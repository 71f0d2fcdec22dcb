"""What two lists of tokens begin with in common. Standard library only: teacher and student both go by it."""

from __future__ import annotations

from collections.abc import Sequence


def shared_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two lists begin with in common."""
    for position, (ours, theirs) in enumerate(zip(one, other, strict=False)):
        if ours != theirs:
            return position
    return min(len(one), len(other))
