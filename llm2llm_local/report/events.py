"""What happened to a run, as it told it itself."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """A row of `events`. `iteration` is None for what concerns the whole run."""

    id: int
    iteration: int | None
    kind: str
    message: str
    created_at: str


@dataclass(frozen=True, slots=True)
class WorkerDeaths:
    """Of workers whose work was done again, or will be; there is at least one."""

    n: int
    newest: Event


def worker_deaths(connection: sqlite3.Connection, run_id: int) -> WorkerDeaths | None:
    """Since the run was started or resumed last; None where no worker died."""
    row = connection.execute(
        "SELECT deaths.n, id, iteration, kind, message, created_at FROM events JOIN ("
        "SELECT count(*) AS n, max(id) AS newest FROM events WHERE run_id = :run AND kind = 'worker_died' AND "
        "id > coalesce((SELECT max(id) FROM events WHERE run_id = :run AND kind = 'run_resumed'), 0)"
        ") AS deaths ON id = newest",
        {"run": run_id},
    ).fetchone()
    return None if row is None else WorkerDeaths(row[0], Event(*row[1:]))


def events_after(connection: sqlite3.Connection, run_id: int, after_id: int, limit: int) -> list[Event]:
    """The newest `limit` events of a run with an id above `after_id`, oldest first."""
    rows = connection.execute(
        "SELECT id, iteration, kind, message, created_at FROM events WHERE run_id = ? AND id > ? "
        "ORDER BY id DESC LIMIT ?",
        [run_id, after_id, limit],
    ).fetchall()
    return [Event(*row) for row in reversed(rows)]
