"""One candidate with all its texts, what was said about it, and what a decision on it would change."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from ..errors import StoreError
from .candidates import CandidateLine, candidate_lines
from .votes import CandidateVote, votes_on


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check, or a person once that is carried out, said."""

    check_name: str
    verdict: str
    reason: str
    detail: str
    score: float | None


@dataclass(frozen=True, slots=True)
class ReviewRecord:
    """A row of `reviews`; `decision` can be withdraw."""

    decision: str
    question: str | None
    answer: str | None
    applied_iteration: int | None
    refused_reason: str | None
    created_at: str


@dataclass(frozen=True, slots=True)
class MadeExample:
    """An example that came of the candidate: made in `iteration`, kept out from `removed_iteration` on."""

    example_id: int
    iteration: int
    removed_iteration: int | None


@dataclass(frozen=True, slots=True)
class WholeCandidate:
    """`seed_…`: the example that it was written after (`seed_origin` augmented: itself written by the teacher).

    `outcome` and what is with it: of the student's answer to it, None when none was recorded.
    """

    line: CandidateLine
    attempt: int
    slot: int
    reject_reason: str | None
    output_text: str
    seed_id: int
    seed_origin: str
    seed_question: str
    seed_answer: str
    outcome: str | None
    predicted_answer: str | None
    confidence: float | None
    student_output: str | None
    checks: tuple[CheckResult, ...]
    reviews: tuple[ReviewRecord, ...]
    examples: tuple[MadeExample, ...]
    votes: tuple[CandidateVote, ...] = ()


@dataclass(frozen=True, slots=True)
class NextTraining:
    """`iteration`: whose training set decisions made now are part of; None: the run trains no more.

    `waiting`: candidates with a decision that no training set has considered yet. One that was taken back before it
    had any effect isn't waited for.
    """

    run_id: int
    iteration: int | None
    waiting: int


def whole_candidate(connection: sqlite3.Connection, candidate_id: int) -> WholeCandidate:
    """Raises StoreError when there is no such candidate."""
    lines = candidate_lines(connection, [candidate_id])
    if not lines:
        raise StoreError(
            f"there is no candidate {candidate_id}", "Find one: llm2llm query 'SELECT id, question FROM candidates'"
        )
    row = connection.execute(
        "SELECT c.attempt, t.slot, c.reject_reason, c.output_text, e.id AS seed_id, "
        "e.origin AS seed_origin, e.question AS seed_question, e.answer AS seed_answer, "
        "p.outcome, p.predicted_answer, p.confidence, p.output_text AS student_output "
        "FROM candidates c JOIN teacher_calls t ON t.id = c.teacher_call_id JOIN examples e "
        "ON e.id = c.parent_example_id LEFT JOIN predictions p ON p.example_id = e.id AND p.iteration = c.iteration "
        "WHERE c.id = ?",
        [candidate_id],
    ).fetchone()
    checks = connection.execute(
        "SELECT check_name, verdict, reason, detail, score FROM verdicts WHERE candidate_id = ? ORDER BY id",
        [candidate_id],
    )
    reviews = connection.execute(
        "SELECT decision, question, answer, applied_iteration, refused_reason, created_at FROM reviews "
        "WHERE candidate_id = ? ORDER BY id",
        [candidate_id],
    )
    examples = connection.execute(
        "SELECT id, iteration, removed_iteration FROM examples WHERE candidate_id = ? ORDER BY id", [candidate_id]
    )
    return WholeCandidate(
        line=lines[0],
        **dict(row),
        checks=tuple(CheckResult(*check) for check in checks),
        reviews=tuple(ReviewRecord(*review) for review in reviews),
        examples=tuple(MadeExample(*example) for example in examples),
        votes=votes_on(connection, candidate_id),
    )


def labels_of(connection: sqlite3.Connection, run_id: int) -> tuple[str, ...]:
    """The answers that the run's task allows; none when it has no label set."""
    row = connection.execute("SELECT labels FROM runs WHERE run_id = ?", [run_id]).fetchone()
    return tuple(json.loads(row["labels"]))


_WAITING = """
    SELECT count(*) FROM reviews r WHERE r.run_id = ?1 AND r.applied_iteration IS NULL
    AND r.id = (SELECT max(id) FROM reviews last WHERE last.candidate_id = r.candidate_id)
    AND (r.decision != 'withdraw' OR EXISTS (
        SELECT 1 FROM reviews b WHERE b.candidate_id = r.candidate_id AND b.applied_iteration IS NOT NULL
        AND b.refused_reason IS NULL AND b.decision != 'withdraw'))
"""


def next_training(connection: sqlite3.Connection, run_id: int) -> NextTraining:
    """A decision counts from the first iteration on in which no training has begun, be it a fold's."""
    row = connection.execute(
        "SELECT status, json_extract(config, '$.\"loop.iterations\"') AS iterations, "
        "(SELECT max(iteration) FROM stages WHERE run_id = ?1 AND stage IN ('train', 'fold_train')) AS training, "
        f"({_WAITING}) AS waiting FROM runs WHERE run_id = ?1",
        [run_id],
    ).fetchone()
    following = 0 if row["training"] is None else row["training"] + 1
    has_more = row["status"] != "done" and following <= row["iterations"]
    return NextTraining(run_id, following if has_more else None, row["waiting"])
