"""Candidates as they come: from the seed to the verdict on what the teacher made of it.

Standard library only, and every query goes by an index: a screen asks for these whenever the store changes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass

_MOST_CHARACTERS = 400
"""Of each text: more than a line of a terminal shows, so that what a screen keeps is bounded. Of an answer the last
ones, since what it comes to stands at its end.
"""

_CANDIDATES = f"""SELECT c.id, c.iteration,
    substr(e.question, 1, {_MOST_CHARACTERS}), substr(p.predicted_answer, 1, {_MOST_CHARACTERS}), p.is_correct,
    substr(coalesce(c.question, c.output_text), 1, {_MOST_CHARACTERS}), substr(c.answer, -{_MOST_CHARACTERS}),
    c.verdict,
    coalesce(c.reject_reason, (SELECT v.reason FROM verdicts v WHERE v.candidate_id = c.id AND v.verdict = 'doubt'
                               AND c.verdict = 'doubt' ORDER BY v.id LIMIT 1), '')
    FROM candidates c JOIN examples e ON e.id = c.parent_example_id
    LEFT JOIN predictions p ON p.run_id = c.run_id AND p.iteration = c.iteration AND p.example_id = e.id"""


@dataclass(frozen=True, slots=True)
class StreamedCandidate:
    """A candidate with where it comes from; texts are cut to a few hundred characters.

    `student_answer`: to the seed, None when it could not be read; `is_correct`: 0, 1, or None where the student wasn't
    asked. `question`: the whole reply where that could not be
    read; `answer` is None then. `verdict`: pending, accept, doubt or reject; `reason`: of a doubt or a rejection.
    """

    id: int
    iteration: int
    seed_question: str
    student_answer: str | None
    is_correct: int | None
    question: str
    answer: str | None
    verdict: str
    reason: str


def candidates_after(
    connection: sqlite3.Connection, run_id: int, after_id: int, limit: int
) -> tuple[StreamedCandidate, ...]:
    """The newest `limit` candidates of a run with an id above `after_id`, oldest first."""
    rows = connection.execute(
        f"{_CANDIDATES} WHERE c.run_id = ? AND c.id > ? ORDER BY c.id DESC LIMIT ?", [run_id, after_id, limit]
    ).fetchall()
    return tuple(StreamedCandidate(*row) for row in reversed(rows))


def candidates_of_ids(connection: sqlite3.Connection, ids: Collection[int]) -> tuple[StreamedCandidate, ...]:
    """These candidates as they are now, oldest first: what was pending may have its verdict."""
    rows = connection.execute(
        f"{_CANDIDATES} WHERE c.id IN (SELECT value FROM json_each(?)) ORDER BY c.id", [json.dumps(sorted(ids))]
    )
    return tuple(StreamedCandidate(*row) for row in rows)
