"""Why a run isn't being worked on any more, in a line or two."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ..launch import log_end, process_log
from ..store.lock import last_holder
from ..store.rows import run_folder
from .plain import plain
from .status import RunStatus


def last_words(connection: sqlite3.Connection, workspace: Path, status: RunStatus) -> str:
    """What the run said of its end; for one whose process died, its last event and the last line of its log."""
    if status.state != "interrupted":
        row = connection.execute("SELECT status_detail FROM runs WHERE run_id = ?", [status.run_id]).fetchone()
        return plain(row["status_detail"]) if row else ""
    event = connection.execute(
        "SELECT message FROM events WHERE run_id = ? ORDER BY id DESC LIMIT 1", [status.run_id]
    ).fetchone()
    message = plain(event["message"]) if event else ""
    folder = run_folder(workspace, status.run_id)
    pid = last_holder(folder)
    lines = log_end(process_log(folder, pid)).strip().splitlines() if pid is not None else []
    words = [f"Its last event: {message}."] if message else []
    if lines and plain(lines[-1]) != message:  # most events are lines of the log as well
        words.append(f"Its last line: {plain(lines[-1])}")
    return " ".join(words)
