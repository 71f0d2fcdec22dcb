"""What a run's plots show, read from figures that grading and training left: no answer is looked at again.

Standard library only, and every query goes by an index: a screen asks for these whenever the store changes.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from ..records import Split
from ..wilson import Accuracy, wilson
from .stages import answering_seeds

AccuracyCurve = tuple[tuple[int, Accuracy], ...]
"""Iteration and accuracy of every student that was graded, oldest first."""


_LOSSES = """WITH committed AS (
    SELECT step, value FROM metrics WHERE run_id = :run AND iteration = :iteration AND name = :name
), losses AS (
    SELECT step, value FROM committed
    UNION ALL
    SELECT coalesce((SELECT max(step) + 1 FROM committed), 0) + j.key, j.value
    FROM stages s, json_each(s.losses_since_checkpoint) j
    WHERE s.run_id = :run AND s.iteration = :iteration AND s.stage = :stage AND s.attempt = :fold
)"""


@dataclass(frozen=True, slots=True)
class LossPoint:
    """Mean loss of one optimizer step or of several in a row; `step`: the mean of theirs, which count from 0."""

    step: float
    loss: float


@dataclass(frozen=True, slots=True)
class CandidateCounts:
    """How many candidates of an iteration are where, by all their verdicts: a person's, once carried out, counts.

    As long as any are `pending` the other counts are what is known so far, not what the iteration comes to.
    """

    iteration: int
    accepted: int
    rejected: int
    doubtful: int
    pending: int


def loss_curve(
    connection: sqlite3.Connection, run_id: int, iteration: int, max_points: int, fold: int = 0
) -> tuple[LossPoint, ...]:
    """The losses of an iteration's training, or of one without a fold of the seeds (1, 2 …), up to its newest step
    while it goes on.

    Steps are averaged together so that there are at most `max_points` > 0.
    """
    rows = connection.execute(
        f"{_LOSSES} SELECT avg(step), avg(value) FROM losses "
        "GROUP BY step * :points / (SELECT max(step) + 1 FROM losses) ORDER BY step",
        {
            "run": run_id,
            "iteration": iteration,
            "points": max_points,
            "name": f"loss_fold_{fold}" if fold else "loss",
            "stage": "fold_train" if fold else "train",
            "fold": fold,
        },
    )
    return tuple(LossPoint(*row) for row in rows)


def accuracies(connection: sqlite3.Connection, run_id: int) -> dict[Split, AccuracyCurve]:
    """The accuracy curve of each split that was graded; that of `train` is about the seeds alone.

    The same figures as in the view accuracy_by_iteration, which counts every answer anew.
    """
    return accuracies_by_run(connection, run_id).get(run_id, {})


def accuracies_by_run(connection: sqlite3.Connection, run_id: int | None) -> dict[int, dict[Split, AccuracyCurve]]:
    """The same for every run that has any, or for one."""
    # CROSS JOIN keeps the order of the tables, in which the large ones are entered by their indexes.
    counts = connection.execute(
        "SELECT r.run_id, e.split, count(*) FROM runs r CROSS JOIN examples e ON e.run_id = r.run_id "
        "AND e.split IN ('train', 'dev', 'test') AND e.origin = 'seed' "
        "WHERE r.run_id = coalesce(?, r.run_id) GROUP BY r.run_id, e.split",
        [run_id],
    )
    n = {(row[0], row[1]): row[2] for row in counts}
    curves: dict[int, dict[Split, AccuracyCurve]] = {}
    for split in Split:
        rows = connection.execute(
            "SELECT m.run_id, m.iteration, m.value FROM iterations i CROSS JOIN metrics m ON m.run_id = i.run_id "
            "AND m.iteration = i.iteration AND m.name = ? AND m.step = 0 "
            "WHERE i.run_id = coalesce(?, i.run_id) ORDER BY i.run_id, i.iteration",
            [f"accuracy_{split}", run_id],
        )
        for of_run, group in groupby(rows, key=itemgetter(0)):
            of_split = n[of_run, split]
            curves.setdefault(of_run, {})[split] = tuple(
                (iteration, wilson(round(share * of_split), of_split)) for _, iteration, share in group
            )
    return curves


def asks_unseen(connection: sqlite3.Connection, run_id: int) -> bool:
    """Whether the accuracy on seeds is that of students which haven't seen them."""
    (config,) = connection.execute("SELECT config FROM runs WHERE run_id = ?", [run_id]).fetchone()
    return answering_seeds(json.loads(config), 0) != "its student"


def candidate_counts(connection: sqlite3.Connection, run_id: int) -> tuple[CandidateCounts, ...]:
    """Of every iteration that has candidates, oldest first."""
    rows = connection.execute(
        "SELECT iteration, verdict, count(*) FROM candidates WHERE run_id = ? GROUP BY iteration, verdict", [run_id]
    )
    counts = []
    for iteration, group in groupby(rows, key=itemgetter(0)):
        n = {verdict: count for _, verdict, count in group}
        of_verdicts = (n.get(verdict, 0) for verdict in ("accept", "reject", "doubt", "pending"))
        counts.append(CandidateCounts(iteration, *of_verdicts))
    return tuple(counts)
