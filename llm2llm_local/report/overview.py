"""All runs at a glance: where each stands and how its accuracy went."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from ..records import Split
from .curves import AccuracyCurve, accuracies_by_run
from .status import RunStatus, run_statuses


@dataclass(frozen=True, slots=True)
class RunOverview:
    """A run's status, and what it takes to compare it with others in one line.

    `split`: the one that `accuracy` is about: test where there is one, else dev, else the seeds; None, with no
    accuracy, until something is graded. `seconds`: wall time of the units done; pauses don't count, and a fork counts
    what it took over.
    """

    status: RunStatus
    split: Split | None
    accuracy: AccuracyCurve
    forked_from: int | None
    seconds: float


def run_overviews(connection: sqlite3.Connection, workspace: Path) -> tuple[RunOverview, ...]:
    """Every run, newest first."""
    curves = accuracies_by_run(connection, None)
    origins = dict(connection.execute("SELECT run_id, forked_from_run_id FROM runs").fetchall())
    seconds = dict(connection.execute("SELECT run_id, sum(seconds) FROM stages GROUP BY run_id").fetchall())
    overviews = []
    for status in reversed(run_statuses(connection, workspace, None)):
        of_run = curves.get(status.run_id, {})
        split = next((one for one in (Split.TEST, Split.DEV, Split.TRAIN) if one in of_run), None)
        overviews.append(
            RunOverview(
                status=status,
                split=split,
                accuracy=of_run[split] if split else (),
                forked_from=origins.get(status.run_id),
                seconds=seconds.get(status.run_id, 0.0),
            )
        )
    return tuple(overviews)
