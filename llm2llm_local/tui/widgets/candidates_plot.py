"""What became of the teacher's work."""

from __future__ import annotations

from ..run_view import Counts
from .axes import Ticks
from .plot import Plot, Series


class CandidatesPlot(Plot[Counts]):
    """Candidates that still wait for their checks are in none of the curves."""

    nothing = "no candidates yet"

    def draw(self, data: Counts | None) -> None:
        if data is None or not data.counts:
            self.put("Candidates", [])
            return
        iterations = [one.iteration for one in data.counts]
        by_verdict = [
            Series("accept", "●", "success", iterations, [one.accepted for one in data.counts]),
            Series("reject", "×", "error", iterations, [one.rejected for one in data.counts]),
            Series("doubt", "?", "secondary", iterations, [one.doubtful for one in data.counts]),
        ]
        most = max(max(series.ys) for series in by_verdict)
        self.axes.set_ticks(Ticks(least_step=1), Ticks(least_step=1))
        self.axes.set_xlimits(-0.4, data.last_iteration + 0.4)
        self.axes.set_ylimits(-0.02 * most, 1.05 * most or 1)
        self.put("Candidates", by_verdict)
