"""How much work the stages of a run are, and how much of it is done, in rows that mean something to a person.

A training's rows are optimizer steps, those of predicting and grading examples, of asking requests, of checking
candidates. Units of work are cut as the loop cuts them. Nothing here scans what a run predicted or asked: counts come
from positions, from units and from short ranges of indexes.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..records import Split

ROWS = {"train": "steps", "predict": "examples", "grade": "rows", "augment": "requests", "check": "candidates"}
"""What the rows of each stage are, wherever progress is told."""

LEAST_PART_OF_UNIT = 0.1
"""Before that much of its first unit of work is done, no time left is told for a stage."""


@dataclass(frozen=True, slots=True)
class StageProgress:
    """A stage, and how far it is.

    `share`: 0 to 1, the unit in progress included. `rows_done`, `seconds` (wall time): those of the complete units.
    """

    iteration: int
    stage: str
    attempt: int
    status: str
    share: float
    units_done: int
    units_total: int
    rows_done: int
    rows_total: int
    seconds: float
    created_at: str

    @property
    def is_measured(self) -> bool:
        """Whether complete units tell how long its rows take."""
        return self.units_done > 0 and self.rows_done > 0

    @property
    def is_under_way(self) -> bool:
        """Whether enough of the first unit is done to tell how long the stage takes: its model is loaded in it, too."""
        return self.share * self.units_total >= LEAST_PART_OF_UNIT

    @property
    def rows_with_part(self) -> int:
        """Rows done, with those of the unit in progress as its share tells."""
        return max(self.rows_done, int(self.share * self.rows_total + 1e-6))


@dataclass(frozen=True, slots=True)
class IterationWork:
    """How many examples the student trains on, how many it fails (None until it was asked everything), and how many
    were accepted for these so far.
    """

    is_done: bool
    training_examples: int
    failures: int | None
    accepted: int


@dataclass(frozen=True, slots=True)
class RunWork:
    """A run's stages and iterations, oldest first; `n` are the person's rows by split."""

    run_id: int
    status: str
    config: Mapping[str, Any]
    n: Mapping[Split, int]
    iterations: tuple[IterationWork, ...]
    stages: tuple[StageProgress, ...]

    def asked(self, training_examples: int) -> int:
        """Training examples that the student is asked about."""
        return training_examples if self.config.get("loop.augment_from") == "all" else self.n[Split.TRAIN]


def run_work(connection: sqlite3.Connection, run_id: int) -> RunWork:
    """Of a run that exists."""
    run = connection.execute("SELECT status, config FROM runs WHERE run_id = ?", [run_id]).fetchone()
    counts = connection.execute(
        "SELECT split, count(*) FROM examples WHERE run_id = ? AND split IN ('train', 'dev', 'test') "
        "AND origin = 'seed' GROUP BY split",
        [run_id],
    )
    n = {**dict.fromkeys(Split, 0), **{Split(split): count for split, count in counts}}
    stages = connection.execute(
        "SELECT iteration, stage, attempt, status, progress, units_done, units_total, seconds, created_at "
        "FROM stages WHERE run_id = ? ORDER BY id",
        [run_id],
    ).fetchall()
    work = RunWork(run_id, run[0], json.loads(run[1]), n, _iterations(connection, run_id, stages, n), ())
    for row in stages:
        work = replace(work, stages=(*work.stages, _stage(connection, work, row)))
    return work


def _iterations(
    connection: sqlite3.Connection, run_id: int, stages: Sequence[sqlite3.Row], n: Mapping[Split, int]
) -> tuple[IterationWork, ...]:
    predicted = {row[0] for row in stages if (row[1], row[3]) == ("predict", "done")}
    rows = connection.execute(
        # The last position of a training set is one step into its index; counting it would read it all.
        "SELECT i.iteration, i.status, (SELECT max(t.position) + 1 FROM training_set_examples t "
        " WHERE t.run_id = i.run_id AND t.iteration = i.iteration), "
        "(SELECT count(*) FROM predictions p WHERE p.run_id = i.run_id AND p.iteration = i.iteration "
        " AND p.split = 'train' AND p.is_correct = 0), "
        "(SELECT count(*) FROM examples e WHERE e.run_id = i.run_id AND e.split = 'train' "
        " AND e.origin = 'augmented' AND e.iteration = i.iteration) "
        "FROM iterations i WHERE i.run_id = ? ORDER BY i.iteration",
        [run_id],
    ).fetchall()
    iterations = []
    available = n[Split.TRAIN]
    for iteration, status, training_examples, failures, accepted in rows:
        if training_examples is None:  # its first unit of training isn't complete
            training_examples = available - _kept_out(connection, run_id, iteration)
        iterations.append(
            IterationWork(status == "done", training_examples, failures if iteration in predicted else None, accepted)
        )
        available += accepted
    return tuple(iterations)


def _kept_out(connection: sqlite3.Connection, run_id: int, iteration: int) -> int:
    """Accepted examples that a person keeps out of this training set."""
    return int(
        connection.execute(
            "SELECT count(DISTINCT e.id) FROM reviews r JOIN examples e ON e.candidate_id = r.candidate_id "
            "AND e.removed_iteration <= ? WHERE r.run_id = ?",
            [iteration, run_id],
        ).fetchone()[0]
    )


def _stage(connection: sqlite3.Connection, run: RunWork, row: sqlite3.Row) -> StageProgress:
    """`run` has all stages before it."""
    iteration, stage, attempt, status, share, units_done, units_total, seconds, created_at = row
    work = run.iterations[iteration]
    match stage:
        case "train":
            steps = math.ceil(work.training_examples / run.config["student.batch_size"])
            rows_total = steps * run.config["student.epochs"]
            rows_done = min(units_done * run.config["student.checkpoint_steps"], rows_total)
        case "predict":
            sizes = [run.asked(work.training_examples), run.n[Split.DEV], run.n[Split.TEST]]
            rows_total = sum(sizes)
            rows_done = _rows_of_batches(sizes, run.config["student.predict_batch_size"], units_done)
        case "grade":
            rows_total = sum(run.n.values())
            rows_done = sum(run.n[split] for split in list(Split)[:units_done])
        case "augment":
            rows_total = _wanted(connection, run, iteration, attempt, is_done=status == "done")
            rows_done = min(units_done * run.config["teacher.group_size"], rows_total)
        case _:
            rows_total = run.stages[-1].rows_total  # what the round of asking before it made
            rows_done = rows_total if status == "done" else rows_total - _undecided(connection, run.run_id, iteration)
    return StageProgress(
        iteration, stage, attempt, status, share, units_done, units_total, rows_done, rows_total, seconds, created_at
    )


def _rows_of_batches(sizes: Sequence[int], batch_size: int, batches: int) -> int:
    """Rows in the first so many batches, where each of the parts has a last batch that may be smaller."""
    rows = 0
    for size in sizes:
        of_part = math.ceil(size / batch_size)
        rows += min(batches * batch_size, size)
        batches = max(0, batches - of_part)
    return rows


def _wanted(connection: sqlite3.Connection, run: RunWork, iteration: int, attempt: int, *, is_done: bool) -> int:
    """Requests of a round of asking; `is_done`: all of them were made."""
    failures = run.iterations[iteration].failures or 0
    wanted = failures * int(run.config["loop.augmentations_per_failure"])
    if attempt == 0:
        return wanted
    if is_done:
        made = connection.execute(
            "SELECT count(*) FROM teacher_calls WHERE run_id = ? AND iteration = ? AND attempt = ?",
            [run.run_id, iteration, attempt],
        )
        return int(made.fetchone()[0])
    return wanted - run.iterations[iteration].accepted


def _undecided(connection: sqlite3.Connection, run_id: int, iteration: int) -> int:
    """Candidates that wait for their checks; those of one round at a time."""
    return int(
        connection.execute(
            "SELECT count(*) FROM candidates WHERE run_id = ? AND iteration = ? AND verdict = 'pending'",
            [run_id, iteration],
        ).fetchone()[0]
    )
