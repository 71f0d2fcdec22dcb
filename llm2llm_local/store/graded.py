"""Which students have figures. Answers come in batches by length, so those of an unfinished iteration mislead."""

from __future__ import annotations

import sqlite3

from ..records import Split

_BEST_ON_DEV = """
    SELECT m.iteration FROM stages s CROSS JOIN metrics m
        ON m.run_id = s.run_id AND m.iteration = s.iteration AND m.name = ?2 AND m.step = 0
    WHERE s.run_id = ?1 AND s.stage = 'grade' AND s.status = 'done' ORDER BY m.value DESC, m.iteration LIMIT 1
"""


def graded_iterations(connection: sqlite3.Connection, run_id: int) -> list[int]:
    """Those in which the student has answered everything and all of it was graded, oldest first."""
    rows = connection.execute(
        "SELECT iteration FROM stages WHERE run_id = ? AND stage = 'grade' AND status = 'done' ORDER BY iteration",
        [run_id],
    )
    return [row[0] for row in rows]


def asked_iterations(connection: sqlite3.Connection, run_id: int, split: Split) -> list[int]:
    """Those graded in which a student was asked the person's rows of the split: seeds aren't always in the last one."""
    asked = (
        "SELECT 1 FROM predictions p JOIN examples e ON e.id = p.example_id "
        "WHERE p.run_id = ? AND p.iteration = ? AND p.split = ? AND e.origin = 'seed' LIMIT 1"
    )
    return [
        iteration
        for iteration in graded_iterations(connection, run_id)
        if connection.execute(asked, [run_id, iteration, split]).fetchone() is not None
    ]


def chosen_iteration(connection: sqlite3.Connection, run_id: int) -> int | None:
    """The iteration whose student is the run's result, by `loop.select`. None: there is none yet.

    last: the last one that was graded. best_dev: the one that is right most often on dev; of several, the one that was
    trained on the fewest examples, which is the earliest. Test rows have no say, so figures on them stay honest.
    """
    graded = graded_iterations(connection, run_id)
    if not graded:
        return None
    if _setting(connection, run_id, "select") == "best_dev":
        best = connection.execute(_BEST_ON_DEV, [run_id, f"accuracy_{Split.DEV}"]).fetchone()
        if best is not None:
            return int(best[0])
    return graded[-1]


def steps_of_result(connection: sqlite3.Connection, run_id: int) -> int | None:
    """Optimizer steps that the chosen student has had: of its own training, and where each goes on from the one before,
    of all of these. None: no student is chosen yet, or it had no training.
    """
    chosen = chosen_iteration(connection, run_id)
    steps = dict(
        connection.execute(
            "SELECT iteration, max(step) FROM checkpoints WHERE run_id = ? AND fold = 0 AND iteration <= ? "
            "GROUP BY iteration",
            [run_id, chosen],
        ).fetchall()
    )
    if chosen not in steps:
        return None
    return sum(steps.values()) if _setting(connection, run_id, "fine_tune") == "continue" else steps[chosen]


def _setting(connection: sqlite3.Connection, run_id: int, name: str) -> str | None:
    """Of the loop, in the run's configuration."""
    (value,) = connection.execute(
        "SELECT json_extract(config, ?) FROM runs WHERE run_id = ?", [f'$."loop.{name}"', run_id]
    ).fetchone()
    return None if value is None else str(value)
