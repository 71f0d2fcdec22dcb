"""Count what the predictions of an iteration were: the figures that the report shows."""

from __future__ import annotations

from collections.abc import Callable

from ..records import Outcome, Split
from .context import Run
from .units import work_through


def grade(run: Run, iteration: int) -> None:
    """Accuracy of each split, and how many answers were cut off or unreadable, as metrics."""

    def work(split: Split) -> Callable[[], int]:
        def write() -> int:
            counts = run.store.outcome_counts(iteration, split)
            n = sum(counts.values())
            if n:
                run.store.add_metric(iteration, f"accuracy_{split}", 0, counts.get(Outcome.CORRECT, 0) / n)
            for outcome in (Outcome.TRUNCATED, Outcome.UNPARSED):
                if counts.get(outcome):
                    run.store.add_metric(iteration, f"{outcome}_{split}", 0, counts[outcome])
            return n

        return write

    work_through(run, iteration, "grade", 0, list(Split), work)
