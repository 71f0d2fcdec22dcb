"""Which students have figures. Answers come in batches by length, so those of an unfinished iteration mislead."""

from __future__ import annotations

import sqlite3


def graded_iterations(connection: sqlite3.Connection, run_id: int) -> list[int]:
    """Those in which the student has answered everything and all of it was graded, oldest first."""
    rows = connection.execute(
        "SELECT iteration FROM stages WHERE run_id = ? AND stage = 'grade' AND status = 'done' ORDER BY iteration",
        [run_id],
    )
    return [row[0] for row in rows]


def chosen_iteration(connection: sqlite3.Connection, run_id: int) -> int | None:
    """The iteration whose student is the run's result: the last one that was graded. None: there is none yet."""
    graded = graded_iterations(connection, run_id)
    return graded[-1] if graded else None
