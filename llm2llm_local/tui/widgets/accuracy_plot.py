"""How the students got better."""

from __future__ import annotations

from ...records import Split
from ...report.curves import AccuracyCurve
from ..run_view import Accuracies
from .axes import Ticks
from .plot import Plot, Series

_MARKS = {
    Split.TEST: ("test", "●", "primary"),
    Split.DEV: ("dev", "▲", "accent"),
    Split.TRAIN: ("seeds", "■", "success"),
}
_ASIDE = {Split.TEST: 0.0, Split.DEV: 0.08, Split.TRAIN: -0.08}
"""Iterations by which a curve stands beside the others, so that their intervals can be told apart."""


class AccuracyPlot(Plot[Accuracies]):
    """Vertical bars are the 95% intervals."""

    nothing = "no figures yet: they come when the first student was graded"

    def draw(self, data: Accuracies | None) -> None:
        if data is None or not data.curves:
            self.put("Accuracy", [])
            return
        shown = [accuracy for _, curve in data.curves for _, accuracy in curve]
        lowest, highest = min(one.low for one in shown), max(one.high for one in shown)
        self.axes.set_ticks(Ticks(least_step=1), Ticks(unit="%"))
        self.axes.set_xlimits(-0.4, data.last_iteration + 0.4)
        self.axes.set_ylimits(100 * lowest - 2, 100 * highest + 2)
        self.put("Accuracy, 95%", [_series(*one, data) for one in reversed(data.curves)])


def _series(split: Split, curve: AccuracyCurve, data: Accuracies) -> Series:
    name, marker, color = _MARKS[split]
    if split is Split.TRAIN and data.asks_unseen:
        name += " unseen"
    return Series(
        name,
        marker,
        color,
        xs=[iteration + _ASIDE[split] for iteration, _ in curve],
        ys=[100 * accuracy.share for _, accuracy in curve],
        ranges=[(100 * accuracy.low, 100 * accuracy.high) for _, accuracy in curve],
    )
