"""Whether a difference between students may be chance: McNemar's exact test, and the spread over repeated runs.

Standard library only: screens show it at once. Intervals of a single accuracy are in `wilson`.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_LEAST_P_SHOWN = 0.001


def mcnemar(gained: int, lost: int) -> float:
    """The two-sided p-value of McNemar's exact test (McNemar 1947, Psychometrika 12:153).

    Of the rows on which two students differ, `gained` are right with one of them alone and `lost` with the other. If
    neither were better, each would be a fair coin's throw: p is how often so many throws are at least so uneven.
    """
    n, fewer = gained + lost, min(gained, lost)
    ways = term = 1  # of choosing 0 of n
    for k in range(fewer):
        term = term * (n - k) // (k + 1)
        ways += term
    throws: int = 2**n
    return min(1.0, 2 * ways / throws)


def is_perhaps_chance(p: float) -> bool:
    """By the usual bound, one in twenty."""
    return p >= 0.05


def p_text(p: float) -> str:
    return f"<{_LEAST_P_SHOWN}" if p < _LEAST_P_SHOWN else f"{p:.3f}"


def p_statement(p: float) -> str:
    """As `p_text`, within a sentence."""
    return f"p {'' if p < _LEAST_P_SHOWN else '= '}{p_text(p)}"


@dataclass(frozen=True, slots=True)
class Spread:
    """Of `n` figures: their mean, the smallest and the largest, and the standard deviation of a sample (n − 1), which
    is None where there is one figure alone.
    """

    n: int
    mean: float
    deviation: float | None
    low: float
    high: float


def spread(figures: Sequence[float]) -> Spread:
    """Of at least one figure."""
    deviation = statistics.stdev(figures) if len(figures) > 1 else None
    return Spread(len(figures), statistics.fmean(figures), deviation, min(figures), max(figures))
