"""How the newest training goes."""

from __future__ import annotations

from ..run_view import Loss
from .axes import Ticks
from .plot import Plot, Series


class LossPlot(Plot[Loss]):
    """The axis has all steps of the training, so that one sees how far it is."""

    nothing = "no loss yet: the first comes with the first step of a training"

    def draw(self, data: Loss | None) -> None:
        if data is None:
            self.put("Loss", [])
            return
        steps, losses = [point.step for point in data.points], [point.loss for point in data.points]
        self.axes.set_ticks(Ticks(least_step=1), Ticks())
        self.axes.set_xlimits(0, max(1, data.total_steps))
        self.axes.set_ylimits(0, 1.05 * max(losses) or 1)
        marker = "•" if len(losses) == 1 else ""  # a line needs two points, and markers on it would hide it
        fold = f" without fold {data.fold}" if data.fold else ""
        self.put(
            f"Loss of training {data.iteration}{fold}: {data.points[-1].loss:.3g}",
            [Series("", marker, "primary", steps, losses)],
        )
