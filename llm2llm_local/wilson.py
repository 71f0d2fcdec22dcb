"""A share of right answers, with how far it can be trusted. Standard library only: screens show it at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

_Z = NormalDist().inv_cdf(0.975)
"""Half of the 5% that a 95% interval leaves out lies above it."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """`n_correct` of `n`, with the Wilson score interval at 95% (Wilson 1927): `low` to `high`, as shares."""

    n: int
    n_correct: int
    low: float
    high: float

    @property
    def share(self) -> float:
        return self.n_correct / self.n


def wilson(n_correct: int, n: int) -> Accuracy:
    """Of `n` > 0 answers."""
    low, high = interval(n_correct / n, n)
    return Accuracy(n, n_correct, low, high)


def interval(share: float, n: int) -> tuple[float, float]:
    """The score interval of a share among `n` > 0, without continuity correction (Wilson 1927, J. Am. Stat. Assoc.
    22:209).
    """
    shrink = 1 + _Z**2 / n
    centre = (share + _Z**2 / (2 * n)) / shrink
    reach = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2)) / shrink
    # At the ends the bound is the end itself, which rounding would miss by a hair.
    low = 0.0 if share == 0 else centre - reach
    high = 1.0 if share == 1 else centre + reach
    return low, high


def with_interval(accuracy: Accuracy) -> str:
    """`52.4% (44.8%–60.0%)`."""
    return f"{accuracy.share:.1%} ({accuracy.low:.1%}–{accuracy.high:.1%})"
