"""How large the training sets are, and how large they may get."""

from __future__ import annotations

from collections.abc import Iterable

from ...report.growth import IterationGrowth
from .axes import Ticks
from .plot import Plot, Series

_MOST_TIMES = 20
"""What may become more times as large isn't plotted: what there is would lie on the axis."""


class GrowthPlot(Plot[tuple[IterationGrowth, ...]]):
    """Of iterations ahead there is what is expected, where that can be told, and the most."""

    nothing = "no training set yet"

    def draw(self, data: tuple[IterationGrowth, ...] | None) -> None:
        if not data or data[0].is_ahead:
            self.put("Training set", [])
            return
        known = [one.training_examples for one in data if one.training_examples is not None]
        highest = _MOST_TIMES * max(known)
        most = [one for one in data if one.most_examples <= highest]
        self.axes.set_ticks(Ticks(least_step=1), Ticks(least_step=1))
        self.axes.set_xlimits(-0.4, data[-1].iteration + 0.4)
        self.axes.set_ylimits(0, 1.05 * max(known + [one.most_examples for one in most]))
        self.put(
            "Training set",
            [
                _series("examples", "●", "primary", (one for one in data if not one.is_ahead)),
                _series("expected", "○", "accent", (one for one in data if one.is_ahead)),
                Series(
                    "at most", "▲", "secondary", [one.iteration for one in most], [one.most_examples for one in most]
                ),
            ],
        )


def _series(name: str, marker: str, color: str, growth: Iterable[IterationGrowth]) -> Series:
    points = [(one.iteration, one.training_examples) for one in growth if one.training_examples is not None]
    return Series(name, marker, color, [iteration for iteration, _ in points], [n for _, n in points])
