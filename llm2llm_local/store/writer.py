"""The one writer of a run's results.

What always holds: every change happens inside `transaction()`, so that a unit of work and its done-mark
are committed together or not at all; the database syncs to disk at every commit.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from ..errors import DiskError, StoreError
from ..records import Status
from . import schema
from .reader import DAMAGED, STORE_NAME, check_version, is_damage, result_code
from .rows import ModelRow, RunRow, now
from .run_store import RunStore

_ENVIRONMENT_ERRORS = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
    }
)
"""Primary result codes that are about the machine; all others but damage are defects of this program."""


class Store:
    """A connection that writes. Use as a context manager, or call `close`."""

    def __init__(self, workspace: Path) -> None:
        """Open or create the store of `workspace`; migrate it. Raises StoreError, DiskError."""
        self.workspace = workspace
        path = workspace / STORE_NAME
        if not os.access(workspace, os.W_OK):
            raise StoreError(f"{workspace}: the folder can't be written to", "The store and adapters go there.")
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise StoreError(
                f"{path}: can't be written to: {error.strerror}",
                "The store has this name: make it a file that you may write to, or move it away.",
            ) from None
        self._path = path
        status = path.stat()
        self._identity = (status.st_dev, status.st_ino)
        self._connection = sqlite3.connect(path, timeout=30.0, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        try:
            with _alone_in(workspace):
                check_version(self._connection, path)
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                self._connection.execute("PRAGMA foreign_keys = ON")
                schema.migrate(self._connection)
        except StoreError:
            self._connection.close()
            raise
        except sqlite3.DatabaseError as error:
            self._connection.close()
            if result_code(error) in _ENVIRONMENT_ERRORS:
                raise DiskError(f"{path}: {error}", "Make room or free the file, then try again.") from error
            raise StoreError(f"{path}: {error}", DAMAGED) from None

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Raises DiskError when the disk is full or fails, StoreError when the store is damaged; then
        nothing is changed.
        """
        try:
            self._require_same_file()
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            self._roll_back()
            if is_damage(error):
                raise StoreError(f"{self._path}: {error}", DAMAGED) from None
            if result_code(error) not in _ENVIRONMENT_ERRORS:
                raise
            raise DiskError(
                f"{self.workspace / STORE_NAME}: {error}",
                "What was finished is safe. Make room, then: llm2llm resume",
            ) from error
        except BaseException:
            self._roll_back()
            raise

    def _require_same_file(self) -> None:
        """A deleted or replaced file would take all further results with it, unseen."""
        try:
            status = self._path.stat()
            is_same = (status.st_dev, status.st_ino) == self._identity
        except FileNotFoundError:
            is_same = False
        if not is_same:
            raise DiskError(
                f"{self._path}: was deleted or replaced while it was in use",
                "Put it back; results up to then are in that file.",
            )

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def insert(self, table: str, **columns: Any) -> int:
        """Insert a row, with `created_at` filled in; the new row id."""
        columns = {**columns, "created_at": now()}
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        cursor = self._connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(columns.values()))
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Raises StoreError when the store turns out to be damaged."""
        try:
            return self._connection.execute(sql, parameters)
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                raise StoreError(f"{self._path}: {error}", DAMAGED) from None
            raise

    # --- runs ---

    def add_model(self, model: ModelRow) -> int:
        """The id of the model with this content; added when new."""
        row = self.execute("SELECT id FROM models WHERE sha256 = ?", [model.sha256]).fetchone()
        if row is not None:
            return int(row["id"])
        return self.insert(
            "models",
            sha256=model.sha256,
            kind=model.kind,
            name=model.name,
            path=model.path,
            architecture=model.architecture,
            quantization=model.quantization,
            size_bytes=model.size_bytes,
            context_length=model.context_length,
        )

    def run(self, run_id: int) -> RunRow:
        """Raises StoreError when there is no such run."""
        row = self.execute("SELECT * FROM runs WHERE run_id = ?", [run_id]).fetchone()
        if row is None:
            raise StoreError(f"there is no run {run_id}", "See them all: llm2llm status")
        return RunRow(
            run_id=run_id,
            status=Status(row["status"]),
            config_name=row["config_name"],
            overrides=tuple(json.loads(row["overrides"])),
            fingerprint_fields=json.loads(row["fingerprint_fields"]),
            teacher_model_id=row["teacher_model_id"],
        )

    def unfinished_runs(self) -> list[int]:
        """Oldest first."""
        rows = self.execute("SELECT run_id FROM runs WHERE status != ? ORDER BY run_id", [Status.DONE])
        return [row["run_id"] for row in rows]

    def of_run(self, run_id: int) -> RunStore:
        return RunStore(self, run_id)


@contextmanager
def _alone_in(workspace: Path) -> Iterator[None]:
    """Lock the folder: switching to WAL and migrating don't wait for each other by themselves."""
    folder = os.open(workspace, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
