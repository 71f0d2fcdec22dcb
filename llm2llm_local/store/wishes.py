"""What a person asks of a run, from another process: commands and decisions on candidates, a row each.

Standard library only, and a connection no longer than the row needs: a key press in the terminal UI ends here. The
run process does the rest.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import StoreError
from ..records import ReviewDecision, Status
from .reader import STORE_NAME, check_version, require_run
from .rows import now

_PATIENCE_SECONDS = 5.0


def add_command(workspace: Path, run_id: int, word: str) -> None:
    """Ask for pause, resume or stop; obeyed between two units of work. Raises StoreError."""
    with _connection(workspace) as connection:
        require_run(connection, run_id)
        connection.execute(
            "INSERT INTO commands (run_id, command, status, created_at) VALUES (?, ?, ?, ?)",
            [run_id, word, Status.PENDING, now()],
        )


def withdraw_commands(workspace: Path, run_id: int) -> tuple[str, ...]:
    """Take back what was asked of the run and isn't obeyed yet; the commands. Raises StoreError."""
    pending = "run_id = ? AND status = ?"
    with _connection(workspace) as connection:
        connection.execute("BEGIN IMMEDIATE")  # the run process may be about to obey
        words = connection.execute(
            f"SELECT command FROM commands WHERE {pending} ORDER BY id", [run_id, Status.PENDING]
        ).fetchall()
        connection.execute(
            f"UPDATE commands SET status = ?, handled_at = ? WHERE {pending}",
            [Status.CANCELLED, now(), run_id, Status.PENDING],
        )
    return tuple(word for (word,) in words)


def add_review(
    workspace: Path,
    run_id: int,
    candidate_id: int,
    decision: ReviewDecision,
    question: str | None = None,
    answer: str | None = None,
) -> int:
    """Decide on a candidate; the id of the review. Raises StoreError.

    `question`, `answer`: the text to train on, with `accept` only; None, or what the candidate has: unchanged.
    """
    edited = (question, answer) if decision is ReviewDecision.ACCEPT else (None, None)
    with _connection(workspace) as connection:
        cursor = connection.execute(
            "INSERT INTO reviews (run_id, candidate_id, decision, question, answer, created_at) "
            "SELECT run_id, id, ?, nullif(?, question), nullif(?, answer), ? FROM candidates "
            "WHERE id = ? AND run_id = ?",
            [decision, *(text if text is None else text.strip() for text in edited), now(), candidate_id, run_id],
        )
        if cursor.rowcount == 0:
            raise StoreError(
                f"run {run_id} has no candidate {candidate_id}",
                f'Find one: llm2llm query "SELECT id, question FROM candidates WHERE run_id = {run_id}"',
            )
        assert cursor.lastrowid is not None
        return cursor.lastrowid


@contextmanager
def _connection(workspace: Path) -> Iterator[sqlite3.Connection]:
    """A transaction on the store, which must be there; durable when this ends without an error."""
    path = workspace / STORE_NAME
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=_PATIENCE_SECONDS)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        if not check_version(connection, path):
            raise StoreError(f"{path}: no runs yet", "Start one with: llm2llm run")
        with connection:
            yield connection
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"{path}: {error}", "It can't be written to now, so nothing was changed. See: llm2llm status"
        ) from error
    finally:
        if connection is not None:
            connection.close()
