"""What a person has asked of a run that it hasn't obeyed yet."""

from __future__ import annotations

import sqlite3


def pending_command(connection: sqlite3.Connection, run_id: int) -> str | None:
    """pause, resume or stop: what the run will do at its next unit of work; of several, where they lead to."""
    row = connection.execute(
        "SELECT command FROM commands WHERE run_id = ? AND status = 'pending' ORDER BY command = 'stop' DESC, id DESC "
        "LIMIT 1",
        [run_id],
    ).fetchone()
    return None if row is None else str(row[0])
