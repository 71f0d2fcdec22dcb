"""What became of the teacher's work."""

from __future__ import annotations

from textual.widgets import Static

from ..run_view import Counts
from .axes import Ticks
from .plot import Plot, Series


class CandidatesPlot(Plot[Counts]):
    """An iteration is in the curves once all its candidates have their verdicts; until then the title tells of them."""

    nothing = "no candidates yet"

    def draw(self, data: Counts | None) -> None:
        if data is None or not data.counts:
            self.query_one(Static).update(self.nothing)
            self.put("Candidates", [])
            return
        n_pending = sum(one.pending for one in data.counts)
        title = f"Candidates ({n_pending:,} not checked yet)" if n_pending else "Candidates"
        checked = [one for one in data.counts if not one.pending]
        if not checked:
            self.query_one(Static).update(f"{n_pending:,} not checked yet")
            self.put("Candidates", [])
            return
        iterations = [one.iteration for one in checked]
        by_verdict = [
            Series("accept", "●", "success", iterations, [one.accepted for one in checked]),
            Series("reject", "×", "error", iterations, [one.rejected for one in checked]),
            Series("doubt", "?", "secondary", iterations, [one.doubtful for one in checked]),
        ]
        most = max(max(series.ys) for series in by_verdict)
        self.axes.set_ticks(Ticks(least_step=1), Ticks(least_step=1))
        self.axes.set_xlimits(-0.4, data.last_iteration + 0.4)
        self.axes.set_ylimits(-0.02 * most, 1.05 * most or 1)
        self.put(title, by_verdict)
