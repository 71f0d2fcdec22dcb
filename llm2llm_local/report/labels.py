"""Whether new examples have made some labels more frequent than they are among the seeds, and others less.

A student expects each label as often as it is trained on it. Measured on TREC, one run each: with 74 new examples for
the 19 seeds that students failed at, 31 of one label and 7 of another, 75.4% of the test rows are right; with 34 of
these, 6 of each label but one, 81.0%; with none 85.6%.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

_FACTOR = 1.33
"""By which a share must have grown, by a third, or shrunk, by a quarter."""


@dataclass(frozen=True, slots=True)
class LabelShift:
    """A label's share of the seeds, and of a training set."""

    label: str
    of_seeds: float
    of_training_set: float

    @property
    def factor(self) -> float:
        """By which it grew, or shrank if that is more than 1 the other way round."""
        return max(self.of_training_set / self.of_seeds, self.of_seeds / self.of_training_set)


def label_shifts(connection: sqlite3.Connection, run_id: int, iteration: int | None) -> tuple[LabelShift, ...]:
    """In the training set of an iteration, the largest first; () where the task has no labels."""
    counts = connection.execute(
        # CROSS JOIN keeps the order of the tables: the rows of an iteration first, each example by its id.
        "SELECT e.answer, count(*) FILTER (WHERE e.origin = 'seed'), count(*) "
        "FROM training_set_examples t CROSS JOIN examples e ON e.id = t.example_id "
        "WHERE t.run_id = ?1 AND t.iteration = ?2 "
        "AND EXISTS (SELECT 1 FROM runs r WHERE r.run_id = ?1 AND r.labels != '[]') GROUP BY e.answer",
        [run_id, iteration],
    ).fetchall()
    n_seeds, n = (sum(row[column] for row in counts) for column in (1, 2))
    shifts = [LabelShift(label, seeds / n_seeds, all_of_it / n) for label, seeds, all_of_it in counts if seeds]
    return tuple(sorted((one for one in shifts if one.factor >= _FACTOR), key=lambda one: one.factor, reverse=True))
