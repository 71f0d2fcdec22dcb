"""What several runs came to: the accuracy of each one's result with its interval, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...records import Split
from ...wilson import Accuracy
from .axes import Ticks
from .plot import Plot, Series
from .run_marks import marks


@dataclass(frozen=True, slots=True)
class RunResults:
    """By run, of one split; None where a run has no figure on it."""

    split: Split
    results: tuple[tuple[int, Accuracy | None], ...]


class _Runs(Ticks):
    """A tick below each run, with its number."""

    def __init__(self, run_ids: Sequence[int]) -> None:
        super().__init__(least_step=1)
        self._run_ids = run_ids

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 0) -> list[float]:
        return [float(place) for place in range(len(self._run_ids))]

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        return [str(self._run_ids[round(tick)]) for tick in ticks]


class ResultsPlot(Plot[RunResults]):
    """Vertical bars are the 95% intervals."""

    nothing = "no run has a result on this split"

    def draw(self, data: RunResults | None) -> None:
        found = [one for _, one in data.results if one is not None] if data is not None else []
        if data is None or not found:
            self.put("Results", [])
            return
        run_ids = [run_id for run_id, _ in data.results]
        of_run = marks(run_ids)
        self.axes.set_ticks(_Runs(run_ids), Ticks(unit="%"))
        self.axes.set_xlimits(-0.5, len(run_ids) - 0.5)
        self.axes.set_ylimits(100 * min(one.low for one in found) - 2, 100 * max(one.high for one in found) + 2)
        series = [
            Series(
                f"run {run_id}",
                of_run[run_id].marker,
                of_run[run_id].color,
                xs=[float(place)],
                ys=[100 * accuracy.share],
                ranges=[(100 * accuracy.low, 100 * accuracy.high)],
            )
            for place, (run_id, accuracy) in enumerate(data.results)
            if accuracy is not None
        ]
        self.put(f"Results on {data.split}, 95%", series)
