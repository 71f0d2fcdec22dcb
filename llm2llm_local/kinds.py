"""Kinds of examples: a share of the seeds is taken of each alike, and reports count as the loop does.

Standard library only: screens and forecasts need it.
"""

from __future__ import annotations

import math

_ROUNDING = 1e-9
"""Of a share times a number: 0.55 of 100 is 55.000000000000007 in floating point."""


def are_answers(family: str) -> bool:
    """Whether examples of a task family are of one kind when their answers are the same, and else all are of one."""
    return family == "classification"


def n_least_confident(share: float, n: int) -> int:
    """How many of `n` examples of a kind the share is, rounded up."""
    return math.ceil(share * n - _ROUNDING)
