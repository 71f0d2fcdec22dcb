"""Accuracy by iteration of several runs."""

from __future__ import annotations

from dataclasses import dataclass

from ...records import Split
from ...report.curves import AccuracyCurve
from .axes import Ticks
from .plot import Plot, Series
from .run_marks import marks


@dataclass(frozen=True, slots=True)
class RunCurves:
    """By run, of one split."""

    split: Split
    curves: tuple[tuple[int, AccuracyCurve], ...]


class RunsPlot(Plot[RunCurves]):
    """Without intervals, which would cover each other: the table beside it has them."""

    nothing = "nothing is graded yet on this split"

    def draw(self, data: RunCurves | None) -> None:
        points = [point for _, curve in data.curves for point in curve] if data is not None else []
        if data is None or not points:
            self.put("Accuracy", [])
            return
        shares = [100 * accuracy.share for _, accuracy in points]
        of_run = marks([run_id for run_id, _ in data.curves])
        self.axes.set_ticks(Ticks(least_step=1), Ticks(unit="%"))
        self.axes.set_xlimits(-0.4, max(iteration for iteration, _ in points) + 0.4)
        self.axes.set_ylimits(min(shares) - 2, max(shares) + 2)
        series = [
            Series(
                f"run {run_id}",
                of_run[run_id].marker,
                of_run[run_id].color,
                xs=[iteration for iteration, _ in curve],
                ys=[100 * accuracy.share for _, accuracy in curve],
            )
            for run_id, curve in data.curves
        ]
        self.put(f"Accuracy on {data.split}", series)
