"""What the student answered instead of what: the predictions of a graded iteration on seeds, counted by pairs."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ..records import Outcome, Split

_READABLE = "iif(p.outcome IN ('truncated', 'unparsed'), NULL, p.predicted_answer)"

_PREDICTIONS = (
    "FROM predictions p JOIN examples e ON e.id = p.example_id "
    "WHERE p.run_id = ? AND p.iteration = ? AND p.split = ? AND e.origin = 'seed'"
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A gold label and the predicted one; `predicted` None: nothing readable."""

    gold: str
    predicted: str | None


Group = Pair | Outcome
"""Predictions that are alike: pairs where the task has labels, outcomes where it has none."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many predictions there are of each kind; a kind that there is none of isn't in the mappings.

    `labels`: those of the task, then whatever else was written or answered; () when the task has none, and then
    `pairs` is empty, since hardly two answers are alike.
    """

    labels: tuple[str, ...]
    pairs: Mapping[Pair, int]
    outcomes: Mapping[Outcome, int]

    def n_of(self, gold: str) -> int:
        """Predictions on examples with this gold label."""
        return sum(n for pair, n in self.pairs.items() if pair.gold == gold)

    def mistakes(self) -> list[tuple[Pair, int]]:
        """The confused pairs, the most frequent first."""
        wrong = ((pair, n) for pair, n in self.pairs.items() if pair.gold != pair.predicted)
        return sorted(wrong, key=lambda found: (-found[1], found[0].gold, found[0].predicted or ""))


def confusion(connection: sqlite3.Connection, run_id: int, iteration: int, split: Split) -> Confusion:
    """Of one split in a graded iteration."""
    where = [run_id, iteration, split]
    labels = tuple(json.loads(_labels(connection, run_id)))
    if not labels:
        rows = connection.execute(f"SELECT p.outcome, count(*) {_PREDICTIONS} GROUP BY p.outcome", where)
        return Confusion((), {}, {Outcome(outcome): n for outcome, n in rows})
    rows = connection.execute(
        f"SELECT e.answer, {_READABLE}, p.outcome, count(*) {_PREDICTIONS} GROUP BY 1, 2, 3", where
    )
    pairs: Counter[Pair] = Counter()
    outcomes: Counter[Outcome] = Counter()
    for gold, predicted, outcome, n in rows:
        pairs[Pair(gold, predicted)] += n
        outcomes[Outcome(outcome)] += n
    others = {label for pair in pairs for label in (pair.gold, pair.predicted) if label is not None} - set(labels)
    return Confusion((*labels, *sorted(others)), pairs, outcomes)


def members(connection: sqlite3.Connection, run_id: int, iteration: int, split: Split, group: Group) -> frozenset[int]:
    """The ids of the examples whose predictions are of this kind."""
    where: list[int | str | None] = [run_id, iteration, split]
    if isinstance(group, Pair):
        condition = f"e.answer = ? AND {_READABLE} IS ?"
        where += [group.gold, group.predicted]
    else:
        condition = "p.outcome = ?"
        where += [group]
    rows = connection.execute(f"SELECT p.example_id {_PREDICTIONS} AND {condition}", where)
    return frozenset(row[0] for row in rows)


def _labels(connection: sqlite3.Connection, run_id: int) -> str:
    return str(connection.execute("SELECT labels FROM runs WHERE run_id = ?", [run_id]).fetchone()[0])
