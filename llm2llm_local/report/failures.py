"""What the student gets wrong."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TypedDict

from ..errors import StoreError
from .plain import shortened


class FailureRecord(TypedDict):
    """A row of the view `failures`, with how often the student failed it in all iterations so far."""

    iteration: int
    example_id: int
    question: str
    answer: str
    predicted_answer: str | None
    confidence: float | None
    times_wrong: int


def failures_of(connection: sqlite3.Connection, run_id: int, iteration: int | None) -> list[FailureRecord]:
    """Of one iteration; of the newest in which the student has answered when None.

    Raises StoreError when the student has not answered in that iteration: no answers aren't no failures.
    """
    answered = [
        row[0]
        for row in connection.execute(
            "SELECT DISTINCT iteration FROM predictions WHERE run_id = ? AND split = 'train' ORDER BY iteration",
            [run_id],
        )
    ]
    if not answered:
        raise StoreError(f"in run {run_id} the student has not answered yet", f"llm2llm status {run_id}")
    if iteration is None:
        iteration = answered[-1]
    if iteration not in answered:
        known = ", ".join(map(str, answered))
        raise StoreError(f"in iteration {iteration} the student has not answered", f"It has in: {known}")
    rows = connection.execute(
        "SELECT f.iteration, f.example_id, f.question, f.answer, f.predicted_answer, f.confidence, "
        "(SELECT count(*) FROM predictions p WHERE p.example_id = f.example_id AND p.is_correct = 0) AS times_wrong "
        "FROM failures f WHERE f.run_id = ? AND f.iteration = ? ORDER BY f.example_id",
        [run_id, iteration],
    )
    return [FailureRecord(**dict(row)) for row in rows]  # type: ignore[typeddict-item]


def failure_lines(failures: Sequence[FailureRecord]) -> list[str]:
    """A line for each: id, gold answer, predicted answer with confidence, question."""
    if not failures:
        return ["no failures: the student answers all of its training questions rightly"]
    lines = [f"iteration {failures[0]['iteration']}: {len(failures)} failures (example, gold → predicted, question)"]
    for failure in failures:
        predicted = "nothing readable" if failure["predicted_answer"] is None else failure["predicted_answer"]
        confidence = "" if failure["confidence"] is None else f" {failure['confidence']:.0%}"
        lines.append(
            f"{failure['example_id']:>6}  {shortened(failure['answer'], 24)} → {shortened(predicted, 24)}{confidence}  "
            f"{shortened(failure['question'], 80)}"
        )
    return lines
