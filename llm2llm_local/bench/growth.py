"""How a cost grows with a size: two fits by least squares, with how well each fits.

The exponent of a power law, seconds = c · size^exponent, is the slope of a line through the logarithms: 1 is
proportional, 0 doesn't grow. And the cost of each further one, the slope of a line through the figures themselves, each
point weighing as much as it is relative to its size (so that the largest doesn't decide alone).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]
"""A size and what it costs."""


@dataclass(frozen=True, slots=True)
class Line:
    """cost = intercept + slope · size. `r_squared`: share of the costs' variance that the line explains."""

    slope: float
    intercept: float
    r_squared: float


@dataclass(frozen=True, slots=True)
class Growth:
    """`exponent` with the fit of its line, and the cost of each further one with the fit of that one.

    `fixed`: the line's cost at size 0.
    """

    exponent: float
    exponent_r_squared: float
    per_one: float
    fixed: float
    per_one_r_squared: float


def fit_line(points: Sequence[Point], weights: Sequence[float]) -> Line:
    """The weighted least-squares line. At least two different sizes are needed."""
    total = sum(weights)
    mean_x = sum(w * x for w, (x, _) in zip(weights, points, strict=True)) / total
    mean_y = sum(w * y for w, (_, y) in zip(weights, points, strict=True)) / total
    spread = sum(w * (x - mean_x) ** 2 for w, (x, _) in zip(weights, points, strict=True))
    if spread == 0:
        raise ValueError("a slope needs two sizes")
    slope = sum(w * (x - mean_x) * (y - mean_y) for w, (x, y) in zip(weights, points, strict=True)) / spread
    intercept = mean_y - slope * mean_x
    variance = sum(w * (y - mean_y) ** 2 for w, (_, y) in zip(weights, points, strict=True))
    rest = sum(w * (y - intercept - slope * x) ** 2 for w, (x, y) in zip(weights, points, strict=True))
    return Line(slope, intercept, 1.0 if variance == 0 else 1 - rest / variance)


def fit_growth(points: Sequence[Point]) -> Growth:
    """Of positive sizes and costs, at two different sizes at least."""
    logarithms = fit_line([(math.log(x), math.log(y)) for x, y in points], [1.0] * len(points))
    line = fit_line(points, [1 / x**2 for x, _ in points])
    return Growth(
        exponent=logarithms.slope,
        exponent_r_squared=logarithms.r_squared,
        per_one=line.slope,
        fixed=line.intercept,
        per_one_r_squared=line.r_squared,
    )
