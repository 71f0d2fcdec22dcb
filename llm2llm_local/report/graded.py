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
