"""What the failure signals ask, and how many they take: the same for the loop, for forecasts and for reports.

Standard library only: screens and forecasts need it.
"""

from __future__ import annotations

import math
from typing import Literal

Answering = Literal["its student", "students of folds", "nobody"]
"""Who is asked the seeds in an iteration."""

_ROUNDING = 1e-9
"""Of a share times a number: 0.55 of 100 is 55.000000000000007 in floating point."""


def who_answers_seeds(signal: str, iteration: int, iterations: int) -> Answering:
    """To tell failures. `iterations`: number of the last one, after which no failures are wanted, so that trainings of
    students that haven't seen the seeds would be for a figure alone.
    """
    if signal != "kfold":
        return "its student"
    return "nobody" if iteration == iterations else "students of folds"


def kinds_are_answers(family: str) -> bool:
    """Whether examples of a task family are of one kind when their answers are the same (new ones are asked for with
    demonstrations of their kind, and a share of the seeds is taken of each), and not all of one.
    """
    return family == "classification"


def n_least_confident(share: float, n: int) -> int:
    """How many of `n` examples of a kind the share is, rounded up."""
    return math.ceil(share * n - _ROUNDING)
