"""How examples of the person's data fared from student to student: what was learnt, and what was lost again."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ..records import Outcome, Split


class Order(StrEnum):
    """What comes first in a list of examples."""

    LOST = "lost first"
    WRONG = "most often wrong first"
    FILE = "as in the file"


@dataclass(frozen=True, slots=True)
class History:
    """An example, and what became of it in each of the iterations that were asked for (None: it wasn't predicted).

    `predicted_answer`: in the last of them, None when nothing was readable.
    """

    example_id: int
    question: str
    answer: str
    outcomes: tuple[Outcome | None, ...]
    predicted_answer: str | None

    def losses(self) -> tuple[int, ...]:
        """Positions in `outcomes` at which a right answer was followed by one that isn't."""
        return tuple(
            position
            for position, (before, now) in enumerate(zip(self.outcomes, self.outcomes[1:], strict=False), start=1)
            if before is Outcome.CORRECT and now not in (Outcome.CORRECT, None)
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What a student said. `confidence`: probability of the predicted label, None where there are no labels."""

    iteration: int
    outcome: Outcome
    predicted_answer: str | None
    confidence: float | None
    output_text: str


@dataclass(frozen=True, slots=True)
class AnswerRecord:
    """An example with every graded answer to it, and how many candidates it gave rise to.

    `n_pending` of them have no verdict yet.
    """

    example_id: int
    question: str
    answer: str
    answers: tuple[Answer, ...]
    n_candidates: int
    n_accepted: int
    n_pending: int


def splits_of(connection: sqlite3.Connection, run_id: int) -> tuple[Split, ...]:
    """Those that the person's data has rows of."""
    found = (
        connection.execute(
            "SELECT split FROM examples WHERE run_id = ? AND split = ? AND origin = 'seed' LIMIT 1", [run_id, split]
        ).fetchone()
        for split in Split
    )
    return tuple(Split(row[0]) for row in found if row is not None)


def ranked(
    connection: sqlite3.Connection, run_id: int, split: Split, graded: Sequence[int], order: Order
) -> tuple[int, ...]:
    """The ids of a split's seeds in this order, by what happened in the iterations `graded` (oldest first).

    `LOST`: first what is wrong now and was right before, the latest loss first; then what was lost and learnt again.
    """
    ids = [
        row[0]
        for row in connection.execute(
            "SELECT id FROM examples WHERE run_id = ? AND split = ? AND origin = 'seed' ORDER BY id", [run_id, split]
        )
    ]
    if order is Order.FILE:
        return tuple(ids)
    # Only what is wrong is read: it is the smaller part, and in a graded iteration everything else is right.
    wrong: dict[int, set[int]] = defaultdict(set)
    for position, iteration in enumerate(graded):
        rows = connection.execute(
            "SELECT example_id FROM predictions WHERE run_id = ? AND iteration = ? AND split = ? AND is_correct = 0",
            [run_id, iteration, split],
        )
        for row in rows:
            wrong[row[0]].add(position)
    if order is Order.WRONG:
        return tuple(sorted(ids, key=lambda one: -len(wrong[one])))
    newest = len(graded) - 1

    def loss(example_id: int) -> tuple[bool, int, int]:
        positions = wrong[example_id]
        last = max((one for one in positions if one > 0 and one - 1 not in positions), default=-1)
        return (newest not in positions or last < 0, -last, -len(positions))

    return tuple(sorted(ids, key=loss))


def histories(connection: sqlite3.Connection, ids: Collection[int], graded: Sequence[int]) -> list[History]:
    """Of the examples with these ids (a page of them), in their order; ids that are gone are left out."""
    marks = ", ".join("?" * len(ids))
    examples = {
        row[0]: (row[1], row[2])
        for row in connection.execute(f"SELECT id, question, answer FROM examples WHERE id IN ({marks})", [*ids])
    }
    found: dict[tuple[int, int], tuple[str, str | None]] = {
        (row[0], row[1]): (row[2], row[3])
        for row in connection.execute(
            f"SELECT example_id, iteration, outcome, predicted_answer FROM predictions WHERE example_id IN ({marks})",
            [*ids],
        )
    }
    made = []
    for one in ids:
        if one not in examples:
            continue
        question, answer = examples[one]
        outcomes = [found.get((one, iteration), (None, None))[0] for iteration in graded]
        newest = found.get((one, graded[-1]), (None, None))[1] if graded else None
        signs = tuple(None if outcome is None else Outcome(outcome) for outcome in outcomes)
        made.append(History(one, question, answer, signs, newest))
    return made


def answer_record(connection: sqlite3.Connection, example_id: int, graded: Collection[int]) -> AnswerRecord | None:
    """None when there is no such example."""
    example = connection.execute("SELECT question, answer FROM examples WHERE id = ?", [example_id]).fetchone()
    if example is None:
        return None
    rows = connection.execute(
        "SELECT iteration, outcome, predicted_answer, confidence, output_text FROM predictions "
        "WHERE example_id = ? ORDER BY iteration",
        [example_id],
    )
    answers = tuple(Answer(row[0], Outcome(row[1]), *row[2:]) for row in rows if row[0] in graded)
    made = connection.execute(
        "SELECT count(*), count(*) FILTER (WHERE verdict = 'accept'), count(*) FILTER (WHERE verdict = 'pending') "
        "FROM candidates WHERE parent_example_id = ?",
        [example_id],
    ).fetchone()
    return AnswerRecord(example_id, example[0], example[1], answers, *made)
