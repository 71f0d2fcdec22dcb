"""All that the dashboard shows of a run, read at once, so that its parts agree."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ..records import Split
from ..report.commands import pending_command
from ..report.curves import (
    AccuracyCurve,
    CandidateCounts,
    LossPoint,
    accuracies,
    asks_unseen,
    candidate_counts,
    loss_curve,
)
from ..report.events import WorkerDeaths, worker_deaths
from ..report.growth import IterationGrowth, growth_of
from ..report.progress import RunProgress, run_progress
from ..report.results import change_of
from ..report.status import RunStatus, run_statuses
from ..report.stream import StreamedCandidate, candidates_after, candidates_of_ids
from ..report.verification import Verification, verification_of
from .course import Course

MOST_CANDIDATES = 500
"""Kept by the stream; all of them are on the screen Review."""

_MOST_LOSSES = 200
"""Points of the plot, which has fewer cells."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Of a training, which has `total_steps`: of an iteration, or of one `fold` of it (0: none)."""

    iteration: int
    fold: int
    total_steps: int
    points: tuple[LossPoint, ...]


@dataclass(frozen=True, slots=True)
class Accuracies:
    """By split; the axis goes to `last_iteration`. `asks_unseen`: on seeds it is of students that hadn't seen them."""

    curves: tuple[tuple[Split, AccuracyCurve], ...]
    last_iteration: int
    asks_unseen: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """By iteration; the axis goes to `last_iteration`."""

    counts: tuple[CandidateCounts, ...]
    last_iteration: int


@dataclass(frozen=True, slots=True)
class Known:
    """What the stream of a run has already: a person may have changed the verdict of any of them."""

    run_id: int | None
    ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class RunView:
    """`pending`: a wish that the run hasn't obeyed yet. `known` are as they are now, `new` weren't known."""

    course: Course
    pending: str | None
    deaths: WorkerDeaths | None
    loss: Loss | None
    accuracies: Accuracies
    counts: Counts
    growth: tuple[IterationGrowth, ...]
    verification: Verification
    known: tuple[StreamedCandidate, ...]
    new: tuple[StreamedCandidate, ...]


def run_view(connection: sqlite3.Connection, workspace: Path, run_id: int, known: Known, now: datetime) -> RunView:
    """Of a run that exists."""
    (status,) = run_statuses(connection, workspace, run_id)
    progress = run_progress(connection, run_id, now)
    curves = accuracies(connection, run_id)
    counts = candidate_counts(connection, run_id)
    change = change_of(connection, run_id) if status.state == "done" else None
    last_iteration = _last_iteration(status)
    is_known = run_id == known.run_id
    return RunView(
        course=Course(status, progress, curves.get(Split.TEST, ()), change, counts, now),
        pending=pending_command(connection, run_id),
        deaths=worker_deaths(connection, run_id),
        loss=_loss(connection, progress),
        accuracies=Accuracies(tuple(curves.items()), last_iteration, asks_unseen(connection, run_id)),
        counts=Counts(counts, last_iteration),
        growth=growth_of(connection, run_id),
        verification=verification_of(connection, run_id),
        known=candidates_of_ids(connection, known.ids) if is_known else (),
        new=candidates_after(connection, run_id, known.ids[-1] if is_known and known.ids else 0, MOST_CANDIDATES),
    )


def _last_iteration(status: RunStatus) -> int:
    """Where a run ends, which may be before all its iterations."""
    if status.state == "done" and status.iteration is not None:
        return status.iteration
    return status.iterations


def _loss(connection: sqlite3.Connection, progress: RunProgress) -> Loss | None:
    """Of the newest training that has taken a step."""
    for stage in reversed(progress.stages):
        if stage.stage in ("train", "fold_train"):
            points = loss_curve(connection, progress.run_id, stage.iteration, _MOST_LOSSES, stage.attempt)
            if points:
                return Loss(stage.iteration, stage.attempt, stage.rows_total or len(points), points)
    return None
