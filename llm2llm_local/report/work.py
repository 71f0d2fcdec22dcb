"""How much work the stages of a run are, and how much of it is done, in rows that mean something to a person.

A training's rows are optimizer steps, those of predicting and grading examples, of asking requests, of voting ballots,
of checking candidates. Units of work are cut as the loop cuts them. Nothing here scans what a run predicted or asked:
counts come from positions, from units and from short ranges of indexes. Which candidates of a round go to the vote is
known to nothing of that, so all of them are counted in.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..failure_signals import kinds_are_answers, n_least_confident
from ..records import Split
from .stages import answering_seeds, ballots_of_vote, recipe_in, takes_least_confident

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
    """How many examples the student trains on; how many of those it was asked about are taken for failures, and made
    new examples for, by the run's recipe and signal (None until it was asked everything, and where the seeds are asked
    of nobody); and how many new ones were accepted for these so far.
    """

    is_done: bool
    training_examples: int
    failures: int | None
    accepted: int


@dataclass(frozen=True, slots=True)
class RunWork:
    """A run's stages and iterations, oldest first; `n` are the person's rows by split, `kinds` the seeds of each
    kind, where a share is taken of each.

    `matched_steps`: of every training, where the recipe asks for as many as another run's last one had.
    """

    run_id: int
    status: str
    config: Mapping[str, Any]
    n: Mapping[Split, int]
    kinds: tuple[int, ...]
    iterations: tuple[IterationWork, ...]
    stages: tuple[StageProgress, ...]
    matched_steps: int | None = None

    def steps(self, examples: int) -> int:
        """Optimizer steps of a training on so many."""
        if self.matched_steps is not None:
            return self.matched_steps
        return self._steps_of_epoch(examples) * int(self.config["student.epochs"])

    def epochs(self, examples: int) -> float:
        """Passes over so many in a training, the last perhaps in part."""
        if self.matched_steps is not None:
            return self.matched_steps / self._steps_of_epoch(examples)
        return float(self.config["student.epochs"])

    def _steps_of_epoch(self, examples: int) -> int:
        return math.ceil(examples / int(self.config["student.batch_size"]))

    def asked(self, training_examples: int) -> int:
        """Training examples that a student is asked about."""
        return training_examples if self.config.get("loop.augment_from") == "all" else self.n[Split.TRAIN]

    def answered_seeds(self, iteration: int) -> int:
        """By whichever student."""
        return 0 if answering_seeds(self.config, iteration) == "nobody" else self.n[Split.TRAIN]

    def asked_itself(self, iteration: int, training_examples: int) -> int:
        """Training examples that the iteration's own student is asked about."""
        is_asked_seeds = answering_seeds(self.config, iteration) == "its student"
        return self.asked(training_examples) - (0 if is_asked_seeds else self.n[Split.TRAIN])

    def requests(self, iteration: int, attempt: int) -> int:
        """Of a round of asking that was opened."""
        rounds = (one for one in self.stages if (one.iteration, one.stage) == (iteration, "augment"))
        return next((one.rows_total for one in rounds if one.attempt == attempt), 0)

    def fold_size(self, fold: int) -> int:
        """Seeds in a fold, from 1, as they are dealt where none repeats another; where some do, about so many."""
        seeds = self.n[Split.TRAIN]
        return len(range(fold - 1, seeds, min(self.config["loop.folds"], seeds)))

    def trained_on(self, stage: StageProgress) -> int:
        """Examples in the training set of a stage that trains."""
        examples = self.iterations[stage.iteration].training_examples
        return examples - (self.fold_size(stage.attempt) if stage.stage == "fold_train" else 0)


def run_work(connection: sqlite3.Connection, run_id: int) -> RunWork:
    """Of a run that exists."""
    run = connection.execute(
        "SELECT status, config, json_extract(fingerprint_fields, '$.\"loop.matched_steps\"') "
        "FROM runs WHERE run_id = ?",
        [run_id],
    ).fetchone()
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
    config = json.loads(run[1])
    kinds = _seeds_by_kind(connection, run_id, config) if takes_least_confident(config) else (n[Split.TRAIN],)
    work = RunWork(run_id, run[0], config, n, kinds, _iterations(connection, run_id, config, stages, n), (), run[2])
    for row in stages:
        work = replace(work, stages=(*work.stages, _stage(connection, work, row)))
    return work


def _iterations(
    connection: sqlite3.Connection,
    run_id: int,
    config: Mapping[str, Any],
    stages: Sequence[sqlite3.Row],
    n: Mapping[Split, int],
) -> tuple[IterationWork, ...]:
    predicted = {row[0] for row in stages if (row[1], row[3]) == ("predict", "done")}
    rows = connection.execute(
        # A fork has stages before any iteration of its own was opened. The last position of a training set is one step
        # into its index; counting it would read it all.
        "SELECT s.iteration, i.status, (SELECT max(t.position) + 1 FROM training_set_examples t "
        " WHERE t.run_id = ?1 AND t.iteration = s.iteration), "
        "(SELECT count(*) FROM predictions p WHERE p.run_id = ?1 AND p.iteration = s.iteration "
        " AND p.split = 'train' AND p.is_correct = 0), "
        "(SELECT count(*) FROM examples e WHERE e.run_id = ?1 AND e.split = 'train' "
        " AND e.origin = 'augmented' AND e.iteration = s.iteration) "
        "FROM (SELECT iteration FROM stages WHERE run_id = ?1 UNION SELECT iteration FROM iterations WHERE run_id = ?1)"
        " s LEFT JOIN iterations i ON i.run_id = ?1 AND i.iteration = s.iteration ORDER BY s.iteration",
        [run_id],
    ).fetchall()
    iterations = []
    available = n[Split.TRAIN]
    for iteration, status, training_examples, failures, accepted in rows:
        if training_examples is None:  # its first unit of training isn't complete
            training_examples = available - _kept_out(connection, run_id, iteration)
        if iteration not in predicted or answering_seeds(config, iteration) == "nobody":
            failures = None
        else:
            if takes_least_confident(config):
                failures = _least_confident(connection, run_id, iteration, config)
            failures = _taken_for_failures(config, failures, n[Split.TRAIN])
        iterations.append(IterationWork(status == "done", training_examples, failures, accepted))
        available += accepted
    return tuple(iterations)


def _seeds_by_kind(connection: sqlite3.Connection, run_id: int, config: Mapping[str, Any]) -> tuple[int, ...]:
    """How many there are of each; of labels, where labels are what they differ in."""
    rows = connection.execute(
        "SELECT count(*) FROM examples e WHERE e.run_id = ? AND e.split = 'train' AND e.origin = 'seed' "
        f"GROUP BY {_kind(config)}",
        [run_id],
    )
    return tuple(n for (n,) in rows)


def _least_confident(connection: sqlite3.Connection, run_id: int, iteration: int, config: Mapping[str, Any]) -> int:
    """How many are taken of those that were asked."""
    rows = connection.execute(
        "SELECT count(*) FROM predictions p JOIN examples e ON e.id = p.example_id "
        f"WHERE p.run_id = ? AND p.iteration = ? AND p.split = 'train' GROUP BY {_kind(config)}",
        [run_id, iteration],
    )
    return taken_of_kinds(config, [n for (n,) in rows])


def _kind(config: Mapping[str, Any]) -> str:
    return "e.answer" if kinds_are_answers(config["task.family"]) else "e.split"


def taken_of_kinds(config: Mapping[str, Any], kinds: Sequence[int]) -> int:
    """The least confident that are taken of so many of each kind."""
    return sum(n_least_confident(config["loop.least_confident"], n) for n in kinds)


def _taken_for_failures(config: Mapping[str, Any], failing: int, seeds: int) -> int:
    """Examples that new ones are made for, where so many fail by the signal: as `loop.signal` chooses them."""
    match recipe_in(config).subjects:
        case "failures":
            return failing
        case "all seeds":
            return seeds
        case "nothing":
            return 0


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
    begun = StageProgress(iteration, stage, attempt, status, share, units_done, units_total, 0, 0, seconds, created_at)
    done, total = _rows(connection, run, begun)
    return replace(begun, rows_done=total if begun.status == "done" else done, rows_total=total)


def _rows(connection: sqlite3.Connection, run: RunWork, stage: StageProgress) -> tuple[int, int]:
    """Of the units that are done, and of all; the first counts only while the stage is open."""
    iteration, config, seeds = stage.iteration, run.config, run.n[Split.TRAIN]
    work = run.iterations[iteration]
    match stage.stage:
        case "train" | "fold_train":
            steps = run.steps(run.trained_on(stage))
            return min(stage.units_done * config["student.checkpoint_steps"], steps), steps
        case "predict":
            own = run.asked_itself(iteration, work.training_examples)
            sizes = [own, run.n[Split.DEV], run.n[Split.TEST]]
            return _rows_of_batches(sizes, config["student.predict_batch_size"], stage.units_done), sum(sizes)
        case "fold_predict":
            size = run.fold_size(stage.attempt)
            return min(stage.units_done * config["student.predict_batch_size"], size), size
        case "grade":
            n = {**run.n, Split.TRAIN: run.answered_seeds(iteration)}
            return sum(n[split] for split in list(Split)[: stage.units_done]), sum(n.values())
        case "augment":
            wanted = _wanted(connection, run, iteration, stage.attempt, is_done=stage.status == "done")
            return min(stage.units_done * config["teacher.group_size"], wanted), wanted
        case "audit":
            votes = stage.units_total // max(1, math.ceil(seeds / config["teacher.group_size"]))
            done, total = _ballots(config, stage, seeds, max(1, votes))
            return done * ballots_of_vote(config), total * ballots_of_vote(config)
        case "calibrate":
            return 0, seeds
    requests = run.requests(iteration, stage.attempt)
    match stage.stage:
        case "vote":
            return _ballots(config, stage, requests, config["checks.votes"])
        case "student_vote":
            return stage.units_done * requests // max(1, stage.units_total), requests
        case _:
            return requests - _undecided(connection, run.run_id, iteration), requests


def _ballots(config: Mapping[str, Any], stage: StageProgress, questions: int, votes: int) -> tuple[int, int]:
    """A unit is one vote on a group of questions; a group is voted on as often as is wanted before the next."""
    size = config["teacher.group_size"]
    questions = min(questions, stage.units_total // votes * size)
    whole, part = divmod(stage.units_done, votes)
    last = max(0, min(size, questions - whole * size))
    return min(whole * size, questions) * votes + part * last, questions * votes


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
