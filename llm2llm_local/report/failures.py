"""What the student gets wrong."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TypedDict

from ..counted import counted
from ..errors import StoreError
from ..records import Split, Status
from ..store.graded import asked_iterations, graded_iterations
from .plain import conclusion, shortened


class FailureRecord(TypedDict):
    """A row of the view `failures`; `times_wrong`: in how many iterations, up to this one, the student failed it."""

    iteration: int
    example_id: int
    question: str
    answer: str
    predicted_answer: str | None
    confidence: float | None
    times_wrong: int


def failures_of(connection: sqlite3.Connection, run_id: int, iteration: int | None) -> list[FailureRecord]:
    """Of one iteration; when None, of the newest graded one in which the seeds were asked.

    Raises StoreError when that iteration is not graded: some of the answers, or none, aren't the student's failures;
    and when no student was asked the seeds in it.
    """
    graded = graded_iterations(connection, run_id)
    if not graded:
        raise StoreError(
            f"run {run_id} has no graded iteration yet", f"Wait for its first grade stage: llm2llm status {run_id}"
        )
    asked = asked_iterations(connection, run_id, Split.TRAIN)
    if iteration is None:
        iteration = asked[-1] if asked else graded[-1]
    if iteration not in graded:
        known = ", ".join(map(str, graded))
        (status,) = connection.execute("SELECT status FROM runs WHERE run_id = ?", [run_id]).fetchone()
        wait = "" if status == Status.DONE else f", or wait: llm2llm status {run_id}"
        raise StoreError(f"run {run_id}: iteration {iteration} is not graded", f"Choose a graded one ({known}){wait}")
    if iteration not in asked:
        raise StoreError(
            f"run {run_id}: in iteration {iteration} no student was asked the seeds: it is the last one, after which "
            "no failures are wanted",
            f"Choose another one: {', '.join(map(str, asked))}",
        )
    rows = connection.execute(
        "SELECT f.iteration, f.example_id, f.question, f.answer, f.predicted_answer, f.confidence, "
        "(SELECT count(*) FROM predictions p WHERE p.example_id = f.example_id AND p.iteration <= f.iteration "
        " AND p.is_correct = 0) AS times_wrong "
        "FROM failures f WHERE f.run_id = ? AND f.iteration = ? ORDER BY f.example_id",
        [run_id, iteration],
    )
    return [FailureRecord(**dict(row)) for row in rows]  # type: ignore[typeddict-item]


def failure_lines(failures: Sequence[FailureRecord]) -> list[str]:
    """A line for each: id, gold answer, predicted answer with confidence, question."""
    if not failures:
        return ["no failures: the student got every training question that it was asked right"]
    n_failures = counted(len(failures), "failure")
    lines = [f"iteration {failures[0]['iteration']}: {n_failures} (example, gold → predicted, question)"]
    for failure in failures:
        predicted = "nothing readable" if failure["predicted_answer"] is None else failure["predicted_answer"]
        confidence = "" if failure["confidence"] is None else f" {failure['confidence']:.0%}"
        gold = shortened(conclusion(failure["answer"]), 24)
        lines.append(
            f"{failure['example_id']:>6}  {gold} → {shortened(predicted, 24)}{confidence}  "
            f"{shortened(failure['question'], 80)}"
        )
    return lines
