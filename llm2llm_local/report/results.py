"""What a run came to: how good its chosen student is, on how much data and how many steps, and at what cost.

Two runs are compared on the same test rows. Rows are the same when question and gold answer are, in whatever order
their files have them; ids mean nothing beyond a run. Standard library only, and every query goes by an index.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..records import Split
from ..store.graded import chosen_iteration, graded_iterations, steps_of_result
from ..wilson import Accuracy, wilson
from .curves import AccuracyCurve
from .statistics import mcnemar

STEPS_NOTE = "steps in all: optimizer steps of every training of a run; of the result: of the student that is compared"
"""On the columns of `RunResult.steps` and `final_steps`."""

_OF_STUDENT = ("data.", "task.", "student.")
"""How the fields begin in which a control agrees with its run. It may be of a later version."""

RowKey = tuple[str, str, int]
"""Question, gold answer, and how many such rows came before: a file may repeat a row."""


@dataclass(frozen=True, slots=True)
class Paired:
    """A student beside that of another run, on the test rows that both were asked.

    `n_pairs` of this run's `n_rows` and of the other's `n_other_rows`. `gained`: right here and not there; `lost`: the
    reverse. `p`: of McNemar's exact test, two-sided.
    """

    other_run_id: int
    n_pairs: int
    n_rows: int
    n_other_rows: int
    gained: int
    lost: int
    p: float

    @property
    def points(self) -> float:
        """Percentage points by which this student is better, on the rows of the pairs."""
        return 100 * (self.gained - self.lost) / self.n_pairs


@dataclass(frozen=True, slots=True)
class RunResult:
    """The student of iteration `iteration`. `accuracy`: of seeds in `train`.

    `examples_added`: the teacher's examples in its training set. `final_steps`: optimizer steps that it has had,
    `steps`: of all trainings of the run, those of folds too; both None where no training's steps are on record.
    `paired`: with the first of the runs that are compared, None for that one itself and where no rows are the same.
    """

    iteration: int
    accuracy: Mapping[Split, Accuracy]
    examples_added: int
    steps: int | None
    final_steps: int | None
    paired: Paired | None


@dataclass(frozen=True, slots=True)
class Change:
    """From a run's first student to its result, that of iteration `iteration`, on the test rows; `gained`: right with
    the result alone, `lost`: with the first alone.
    """

    iteration: int
    before: Accuracy
    after: Accuracy
    gained: int
    lost: int

    @property
    def points(self) -> float:
        return 100 * (self.after.share - self.before.share)

    @property
    def p(self) -> float:
        """Of McNemar's exact test, two-sided."""
        return mcnemar(self.gained, self.lost)


@dataclass(frozen=True, slots=True)
class Control:
    """The seeds alone, in as many optimizer steps as a run's result has had. `beside`: that result beside this one."""

    run_id: int
    accuracy: Accuracy
    beside: Paired


@dataclass(frozen=True, slots=True)
class RunCost:
    """What a run took so far, and wall time in seconds by stage.

    `new_example_input_tokens`, `new_example_output_tokens`: the teacher's, of requests for new examples and the replies
    to them. `teacher_votes`: what it judged besides, each vote on a question counted, seeds of the audit (whose right
    and planted answers it judges at once) and candidates alike. `vote_input_tokens`, `vote_output_tokens`: of these;
    None where a version that recorded none asked for votes. Prompts are counted whole, though what they have in common
    is evaluated once.
    """

    new_example_input_tokens: int
    new_example_output_tokens: int
    teacher_votes: int
    vote_input_tokens: int | None
    vote_output_tokens: int | None
    seconds: Mapping[str, float]

    @property
    def input_tokens(self) -> int:
        """All that the teacher read, as far as it is on record."""
        return self.new_example_input_tokens + (self.vote_input_tokens or 0)

    @property
    def output_tokens(self) -> int:
        """All that it wrote."""
        return self.new_example_output_tokens + (self.vote_output_tokens or 0)


@dataclass(frozen=True, slots=True)
class Baseline:
    """The run that others are paired with, and whether it is right, test row by test row."""

    run_id: int
    right: Mapping[RowKey, bool]


def run_result(
    connection: sqlite3.Connection,
    run_id: int,
    curves: Mapping[Split, AccuracyCurve],
    baseline: Baseline | None,
) -> RunResult | None:
    """None as long as no student of the run is graded. `baseline`: to pair this one with."""
    iteration = chosen_iteration(connection, run_id)
    if iteration is None:
        return None
    of_iteration = {split: dict(curve) for split, curve in curves.items()}
    return RunResult(
        iteration=iteration,
        accuracy={split: curve[iteration] for split, curve in of_iteration.items() if iteration in curve},
        examples_added=_examples_added(connection, run_id, iteration),
        steps=_steps(connection, run_id),
        final_steps=steps_of_result(connection, run_id),
        paired=None if baseline is None else _paired(baseline, _right_rows(connection, run_id)),
    )


def change_of(connection: sqlite3.Connection, run_id: int) -> Change | None:
    """None where there are no test rows, and as long as the first student is the result."""
    graded, chosen = graded_iterations(connection, run_id), chosen_iteration(connection, run_id)
    if chosen is None or chosen == graded[0]:
        return None
    n, before, after, gained, lost = connection.execute(
        # CROSS JOIN keeps the order of the tables: the rows of one iteration first, each example by its id.
        "SELECT count(*), sum(a.is_correct), sum(b.is_correct), sum(b.is_correct > a.is_correct), "
        "sum(a.is_correct > b.is_correct) FROM predictions a CROSS JOIN predictions b "
        "ON b.example_id = a.example_id AND b.iteration = ?3 "
        "WHERE a.run_id = ?1 AND a.iteration = ?2 AND a.split = 'test'",
        [run_id, graded[0], chosen],
    ).fetchone()
    return Change(chosen, wilson(before, n), wilson(after, n), gained, lost) if n else None


def control_of(connection: sqlite3.Connection, run_id: int) -> Control | None:
    """The newest that is finished, has had the same student, seeds and rng_seed, and was asked the same test rows."""
    controls = connection.execute(
        "SELECT runs.run_id, runs.fingerprint_fields, r.fingerprint_fields FROM runs JOIN runs r ON r.run_id = ?1 "
        "WHERE runs.status = 'done' AND runs.rng_seed = r.rng_seed "
        "AND json_extract(runs.fingerprint_fields, '$.\"loop.match_run\"') = r.run_id "
        "AND json_extract(runs.fingerprint_fields, '$.\"loop.matched_steps\"') = ?2 ORDER BY runs.run_id DESC",
        [run_id, steps_of_result(connection, run_id)],
    ).fetchall()
    rows = _right_rows(connection, run_id)
    for control, *fields in controls:
        its_own, of_run = (_of_student(json.loads(text)) for text in fields)
        if its_own != of_run:
            continue
        baseline = baseline_of(connection, control)
        if rows and baseline.right.keys() == rows.keys() and (beside := _paired(baseline, rows)) is not None:
            return Control(control, wilson(sum(baseline.right.values()), len(baseline.right)), beside)
    return None


def _of_student(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What the student, its task and its data are, in a run's fingerprint."""
    return {name: value for name, value in fields.items() if name.startswith(_OF_STUDENT)}


def matched_run(connection: sqlite3.Connection, run_id: int) -> int | None:
    """The run whose steps this one matches, if it is such a control and that run is still there."""
    row = connection.execute(
        "SELECT m.run_id FROM runs c JOIN runs m "
        "ON m.run_id = json_extract(c.fingerprint_fields, '$.\"loop.match_run\"') WHERE c.run_id = ? "
        # What other recipes have of it stands in a file that serves several of them, and changes nothing.
        "AND json_extract(c.fingerprint_fields, '$.\"loop.matched_steps\"') IS NOT NULL",
        [run_id],
    ).fetchone()
    return None if row is None else int(row[0])


def n_decided(connection: sqlite3.Connection, run_id: int) -> int:
    """Candidates of which a person let something into the training sets or took it out: these aren't by the settings
    alone. Confirming what is in, as an audit asks for, changes none.
    """
    (n,) = connection.execute(
        "SELECT count(DISTINCT candidate_id) FROM examples "
        "WHERE run_id = ? AND (review_id IS NOT NULL OR removed_iteration IS NOT NULL)",
        [run_id],
    ).fetchone()
    return int(n)


def baseline_of(connection: sqlite3.Connection, run_id: int) -> Baseline:
    return Baseline(run_id, _right_rows(connection, run_id))


def _right_rows(connection: sqlite3.Connection, run_id: int) -> dict[RowKey, bool]:
    """Whether the chosen student was right, test row by test row; empty as long as there is none."""
    rows = connection.execute(
        # CROSS JOIN keeps the order of the tables: the rows of an iteration first, each example by its id.
        "SELECT e.question, e.answer, p.is_correct FROM predictions p CROSS JOIN examples e ON e.id = p.example_id "
        "WHERE p.run_id = ? AND p.iteration = ? AND p.split = 'test' ORDER BY p.example_id",
        [run_id, chosen_iteration(connection, run_id)],
    )
    seen: Counter[tuple[str, str]] = Counter()
    right = {}
    for question, answer, is_correct in rows:
        right[question, answer, seen[question, answer]] = bool(is_correct)
        seen[question, answer] += 1
    return right


def _paired(baseline: Baseline, rows: Mapping[RowKey, bool]) -> Paired | None:
    others = baseline.right
    common = rows.keys() & others.keys()
    if not common:
        return None
    gained = sum(rows[key] and not others[key] for key in common)
    lost = sum(others[key] and not rows[key] for key in common)
    return Paired(baseline.run_id, len(common), len(rows), len(others), gained, lost, mcnemar(gained, lost))


def _examples_added(connection: sqlite3.Connection, run_id: int, iteration: int) -> int:
    return int(
        connection.execute(
            "SELECT count(*) FROM training_set_examples t CROSS JOIN examples e ON e.id = t.example_id "
            "WHERE t.run_id = ? AND t.iteration = ? AND e.origin = 'augmented'",
            [run_id, iteration],
        ).fetchone()[0]
    )


def _steps(connection: sqlite3.Connection, run_id: int) -> int | None:
    """Of all trainings, as far as they are; None before the first checkpoint."""
    (steps,) = connection.execute(
        "SELECT sum(steps) FROM (SELECT max(step) AS steps FROM checkpoints WHERE run_id = ? GROUP BY iteration, fold)",
        [run_id],
    ).fetchone()
    return None if steps is None else int(steps)


def run_cost(connection: sqlite3.Connection, run_id: int) -> RunCost:
    """Reads every call and vote of the teacher: for a command, not for a screen that asks again and again."""
    tokens = connection.execute(
        "SELECT coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0) FROM teacher_calls WHERE run_id = ?",
        [run_id],
    ).fetchone()
    votes = connection.execute(
        # Of the rows of one vote on a seed, a row for each answer, one alone has the seed's own; free answers have a
        # ballot each.
        "SELECT count(*) FROM votes v JOIN runs r ON r.run_id = v.run_id WHERE v.run_id = ? AND v.verifier = 'teacher' "
        "AND (NOT v.is_planted OR json_extract(r.config, '$.\"task.family\"') = 'text')",
        [run_id],
    ).fetchone()
    of_votes = connection.execute(
        "SELECT coalesce(sum(ballot_input_tokens), 0), coalesce(sum(ballot_output_tokens), 0), "
        "count(*) FILTER (WHERE ballot_input_tokens IS NULL AND units_done > 0) "
        "FROM stages WHERE run_id = ? AND stage IN ('audit', 'vote')",
        [run_id],
    ).fetchone()
    seconds: dict[str, float] = defaultdict(float)
    for stage, taken in connection.execute("SELECT stage, seconds FROM stages WHERE run_id = ? ORDER BY id", [run_id]):
        seconds[stage] += taken
    return RunCost(
        new_example_input_tokens=tokens[0],
        new_example_output_tokens=tokens[1],
        teacher_votes=votes[0],
        vote_input_tokens=None if of_votes[2] else of_votes[0],
        vote_output_tokens=None if of_votes[2] else of_votes[1],
        seconds=dict(seconds),
    )
