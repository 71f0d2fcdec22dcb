"""The figures of a run, iteration by iteration: the table that `run` and `report` end with."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..store.graded import chosen_iteration, graded_iterations
from ..wilson import Accuracy, wilson
from .curves import asks_unseen
from .growth import IterationGrowth, growth_of
from .labels import LabelShift, label_shifts
from .results import Change, Control, change_of, control_of, matched_run
from .verification import Verification, audit_document, verification_of


@dataclass(frozen=True, slots=True)
class IterationSummary:
    """One row of the table.

    `failures`, `accuracy`, `truncated` and `unparsed` are None until the iteration is graded, the first also where no
    student was asked the seeds. The last three are by split and count seeds only in `train`: `truncated` are answers
    cut off at the token limit, `unparsed` those without a readable answer. `candidates`: so far, after `asked_about`
    examples: those that failed, or others by the failure signal or the recipe. `accepted`, `rejected` and `in_doubt`
    are None until the iteration is graded and all its candidates have their verdicts. `is_checked`: no stage of asking
    or checking is unfinished, no candidate waits. `seconds`: wall time by stage, so far.
    """

    iteration: int
    training_examples: int
    failures: int | None
    candidates: int
    accepted: int | None
    rejected: int | None
    is_checked: bool
    accuracy: dict[str, Accuracy] | None
    truncated: dict[str, int] | None
    unparsed: dict[str, int] | None
    seconds: dict[str, float]
    in_doubt: int | None = None
    asked_about: int = 0


@dataclass(frozen=True, slots=True)
class Rejection:
    """How many candidates a check refused, or left in doubt, for a reason, with one of them to look at.

    `verdict`: reject | doubt.
    """

    check_name: str
    reason: str
    n: int
    sample: str
    verdict: str = "reject"


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run at a glance. `growth` has iterations that are ahead, too; `recipe` is the method that was followed.

    `chosen_iteration`: whose student is the result so far, None as long as there is none; `select`: by what; `change`:
    what it did for the test rows; `control`: the seeds alone beside it, where that was run; `matched_run`: whose steps
    this one matches, if it is such a control itself; `label_shifts`: of the training set of the result. `asks_unseen`:
    seeds are answered by students that haven't seen them; `trains_on`: each student goes on from the one before.
    """

    run_id: int
    status: str
    status_detail: str
    teacher: str
    student: str
    iterations: tuple[IterationSummary, ...]
    rejections: tuple[Rejection, ...]
    growth: tuple[IterationGrowth, ...] = ()
    verification: Verification | None = None
    recipe: str = "llm2llm"
    chosen_iteration: int | None = None
    select: str = "last"
    change: Change | None = None
    control: Control | None = None
    matched_run: int | None = None
    label_shifts: tuple[LabelShift, ...] = ()
    asks_unseen: bool = False
    trains_on: bool = False


def summary_document(summary: RunSummary) -> dict[str, Any]:
    """The whole summary, as JSON has it."""
    document: dict[str, Any] = dataclasses.asdict(summary)
    if summary.verification is not None:
        document["verification"]["audits"] = [audit_document(one) for one in summary.verification.audits]
    if summary.change is not None:
        document["change"] |= {"points": summary.change.points, "p": summary.change.p}
    if summary.control is not None:
        document["control"]["accuracy"]["share"] = summary.control.accuracy.share
        document["control"]["beside"]["points"] = summary.control.beside.points
    return document


def summarize(connection: sqlite3.Connection, run_id: int) -> RunSummary:
    """The summary of a run that exists."""
    run = connection.execute(
        "SELECT r.status, r.status_detail, t.name || ' ' || t.quantization AS teacher, "
        "s.name || ' ' || json_extract(r.config, '$.\"student.quantization\"') AS student, "
        "coalesce(json_extract(r.config, '$.\"loop.recipe\"'), 'llm2llm') AS recipe, "
        "coalesce(json_extract(r.config, '$.\"loop.select\"'), 'last') AS \"select\", r.config "
        "FROM runs r JOIN models t ON t.id = r.teacher_model_id JOIN models s ON s.id = r.student_model_id "
        "WHERE r.run_id = ?",
        [run_id],
    ).fetchone()
    iterations = connection.execute(
        "SELECT iteration FROM iterations WHERE run_id = ? ORDER BY iteration", [run_id]
    ).fetchall()
    graded = graded_iterations(connection, run_id)
    config = json.loads(run["config"])
    return RunSummary(
        run_id=run_id,
        status=run["status"],
        status_detail=run["status_detail"],
        teacher=run["teacher"],
        student=run["student"],
        iterations=tuple(_iteration(connection, run_id, row["iteration"], graded) for row in iterations),
        rejections=_rejections(connection, run_id),
        growth=growth_of(connection, run_id),
        verification=verification_of(connection, run_id),
        recipe=run["recipe"],
        chosen_iteration=chosen_iteration(connection, run_id),
        select=run["select"],
        change=change_of(connection, run_id),
        control=control_of(connection, run_id),
        matched_run=matched_run(connection, run_id),
        label_shifts=label_shifts(connection, run_id, chosen_iteration(connection, run_id)),
        asks_unseen=asks_unseen(connection, run_id),
        trains_on=config.get("loop.fine_tune") == "continue",
    )


def _iteration(connection: sqlite3.Connection, run_id: int, iteration: int, graded: Sequence[int]) -> IterationSummary:
    where = [run_id, iteration]
    is_graded = iteration in graded

    def count(sql: str) -> int:
        return int(connection.execute(sql, where).fetchone()[0])

    answers = connection.execute(
        "SELECT p.split, count(*) AS n, sum(p.is_correct) AS n_correct, "
        "count(*) FILTER (WHERE p.outcome = 'truncated') AS truncated, "
        "count(*) FILTER (WHERE p.outcome = 'unparsed') AS unparsed "
        "FROM predictions p JOIN examples e ON e.id = p.example_id "
        "WHERE p.run_id = ? AND p.iteration = ? AND e.origin = 'seed' GROUP BY p.split",
        where,
    ).fetchall()
    verdict = "SELECT count(*) FROM candidates WHERE run_id = ? AND iteration = ? AND verdict = "
    unfinished = (
        "SELECT count(*) FROM stages WHERE run_id = ? AND iteration = ? "
        "AND stage IN ('augment', 'vote', 'student_vote', 'check') AND status != 'done'"
    )
    is_checked = count(unfinished) == 0 and count(verdict + "'pending'") == 0
    is_known = is_graded and is_checked
    seconds = connection.execute(
        "SELECT stage, sum(seconds) AS seconds FROM stages WHERE run_id = ? AND iteration = ? GROUP BY stage", where
    )
    return IterationSummary(
        iteration=iteration,
        training_examples=count("SELECT count(*) FROM training_set_examples WHERE run_id = ? AND iteration = ?"),
        failures=count("SELECT count(*) FROM failures WHERE run_id = ? AND iteration = ?")
        if is_graded and any(row["split"] == "train" for row in answers)
        else None,
        candidates=count("SELECT count(*) FROM candidates WHERE run_id = ? AND iteration = ?"),
        accepted=count(verdict + "'accept'") if is_known else None,
        rejected=count(verdict + "'reject'") if is_known else None,
        is_checked=is_checked,
        accuracy={row["split"]: wilson(row["n_correct"], row["n"]) for row in answers} if is_graded else None,
        truncated={row["split"]: row["truncated"] for row in answers} if is_graded else None,
        unparsed={row["split"]: row["unparsed"] for row in answers} if is_graded else None,
        seconds={row["stage"]: row["seconds"] for row in seconds},
        in_doubt=count(verdict + "'doubt'") if is_known else None,
        asked_about=count(
            "SELECT count(DISTINCT parent_example_id) FROM candidates WHERE run_id = ? AND iteration = ?"
        ),
    )


def _rejections(connection: sqlite3.Connection, run_id: int) -> tuple[Rejection, ...]:
    """Doubts that a person has not decided about, too: until then their candidates are left out as well."""
    rows = connection.execute(
        "SELECT check_name, reason, n, (SELECT coalesce(c.question, c.output_text) FROM verdicts v JOIN candidates c "
        "ON c.id = v.candidate_id WHERE v.id = first) AS sample, verdict FROM ("
        "SELECT v.check_name, v.verdict, v.reason, count(*) AS n, min(v.id) AS first FROM iterations i "
        "CROSS JOIN verdicts v ON v.run_id = i.run_id AND v.iteration = i.iteration "
        "AND v.verdict IN ('reject', 'doubt') "
        "AND (v.verdict = 'reject' OR (SELECT c.verdict FROM candidates c WHERE c.id = v.candidate_id) = 'doubt') "
        "WHERE i.run_id = ? GROUP BY v.check_name, v.verdict, v.reason) "
        "ORDER BY verdict = 'doubt', n DESC, reason",
        [run_id],
    )
    return tuple(Rejection(*row) for row in rows)
