"""Reading the history: a read-only connection that can't change the store or hold up its writer.

Standard library only, so that `status` and the terminal UI start at once.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import NoHistoryError, OutdatedStoreError, StoreError

STORE_NAME = "llm2llm.db"
SCHEMA_VERSION = 7
"""Number of migrations in `schema`; a store with more was made by a newer version."""

MIGRATIONS_TABLE = "_sqlite_migrations"
"""Made by sqlite-utils before our own tables: a file that has it is ours, if only half made."""

DAMAGED = "It is damaged, or not a store of llm2llm: move it away, or put a copy in its place."

_MOST_VALUES = 2_000_000
"""Values (rows × columns) of a query's result: a few hundred megabytes at most."""

_MOST_BYTES_OF_VALUE = 20_000_000
"""More than any text of a history has; a made-up one would stop all that shows it."""

_TABLES = "All there are: llm2llm query \"SELECT name FROM sqlite_master WHERE type IN ('table', 'view')\""

_SQLITE_CODES_OF_ACTIONS_ALLOWED_IN_QUERIES = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
_HARMLESS_PRAGMAS = frozenset({"data_version", "table_info", "table_xinfo"})
"""They only tell; the first is what the search index asks for by itself."""

_STEPS_BETWEEN_TIME_CHECKS = 10_000
"""SQLite virtual machine steps; a few milliseconds of work."""


PATIENCE_SECONDS = 10.0
"""For a store that another process keeps to itself; one that is only written to makes no reader wait."""


@contextmanager
def open_reader(workspace: Path, patience_seconds: float = PATIENCE_SECONDS) -> Iterator[sqlite3.Connection]:
    """A read-only connection to the workspace's store; rows can be indexed by column name.

    Raises StoreError when the store is missing, isn't one, or was made by another version.
    """
    path = require_store(workspace)
    connection: sqlite3.Connection | None = None
    try:
        connection = _connect(path, patience_seconds)
        if not check_version(connection, path):
            raise NoHistoryError(f"{path}: no runs yet", "Start one with: llm2llm run")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version < SCHEMA_VERSION:
            raise OutdatedStoreError(
                f"{path}: made by an earlier version of llm2llm (schema {version}, this one reads {SCHEMA_VERSION})",
                "llm2llm status brings it up to date where the store and its folder can be written to.",
            )
        yield connection
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path}: {error}", _store_remedy(error)) from error
    finally:
        if connection is not None:
            connection.close()


def require_store(workspace: Path) -> Path:
    """The store's path. Raises NoHistoryError when there is nothing, StoreError when it is a folder."""
    path = workspace / STORE_NAME
    if path.is_dir():
        raise StoreError(f"{path}: is a folder, and the store has this name", "Move it away, or give it another name.")
    if not path.is_file():
        raise NoHistoryError(
            f"{path}: no store there", "Go to the folder of the configuration, or name it: llm2llm -C FOLDER …"
        )
    return path


def result_code(error: sqlite3.DatabaseError) -> int:
    """SQLite's primary result code; SQLITE_OK for errors of Python's own, which have none."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the file itself is broken, or no database."""
    return result_code(error) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


def _store_remedy(error: sqlite3.DatabaseError) -> str:
    """What to do about a store that SQLite can't read; of errors that it doesn't number there is nothing to say."""
    if is_damage(error):
        return DAMAGED
    match result_code(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return "Another process keeps it to itself; try again when that is done."
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_IOERR:
            return "Check the disk, and the permissions of the file and its folder; then try again."
        case _:
            return ""


def _connect(path: Path, patience_seconds: float) -> sqlite3.Connection:
    """Read-only; where the folder is read-only too, without the files that a store in use has beside it."""
    uri = path.resolve().as_uri()
    connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=patience_seconds)
    try:
        connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        log = path.with_name(f"{path.name}-wal")
        if os.access(path.parent, os.W_OK) or (log.exists() and log.stat().st_size):
            raise
        connection = sqlite3.connect(f"{uri}?mode=ro&immutable=1", uri=True)
    connection.row_factory = sqlite3.Row
    return connection


def check_version(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the store has its tables already.

    Raises StoreError when it has migrations that this version doesn't know, or isn't ours.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{path}: made by a newer version of llm2llm (schema {version}, this version knows {SCHEMA_VERSION})",
            "Install the newer version; the store was not touched.",
        )
    try:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    except UnicodeDecodeError:
        raise StoreError(f"{path}: names of its tables are no text", DAMAGED) from None
    if tables and MIGRATIONS_TABLE not in tables:
        raise StoreError(f"{path}: not a store of llm2llm", "Move the file away; it was not touched.")
    return "runs" in tables


@dataclass(frozen=True, slots=True)
class QueryResult:
    """Column names and rows of a person's query."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def run_query(
    connection: sqlite3.Connection,
    sql: str,
    timeout_seconds: float,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> QueryResult:
    """Run one statement that only reads, for at most `timeout_seconds` and until `is_cancelled`.

    The connection is read-only already; the authorizer also refuses ATTACH and PRAGMA, which a read-only
    connection would allow, but those that say what columns there are. Raises StoreError.
    """
    deadline = time.monotonic() + timeout_seconds
    ran_out = was_denied = False

    def authorize(action: int, what: str | None, *_: object) -> int:
        nonlocal was_denied
        is_harmless = action == sqlite3.SQLITE_PRAGMA and what in _HARMLESS_PRAGMAS
        if is_harmless or action in _SQLITE_CODES_OF_ACTIONS_ALLOWED_IN_QUERIES:
            return sqlite3.SQLITE_OK
        was_denied = True
        return sqlite3.SQLITE_DENY

    def should_end() -> int:
        nonlocal ran_out
        ran_out = time.monotonic() > deadline
        return int(ran_out or is_cancelled())

    _open_virtual_tables(connection)
    longest = connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_BYTES_OF_VALUE)
    connection.set_authorizer(authorize)
    connection.set_progress_handler(should_end, _STEPS_BETWEEN_TIME_CHECKS)
    try:
        cursor = connection.execute(sql)
        most_rows = _MOST_VALUES // max(1, len(cursor.description or ()))
        rows = [tuple(row) for row in cursor.fetchmany(most_rows + 1)]
    except (sqlite3.Error, sqlite3.Warning) as error:
        if ran_out:
            raise StoreError(
                f"the query took longer than {timeout_seconds:g} s and was ended",
                "Narrow it with WHERE run_id = …, or allow more: --timeout SECONDS",
            ) from None
        if is_cancelled():
            raise StoreError("the query was cancelled") from None
        if was_denied:
            raise StoreError("only SELECT is allowed here: the history can't be changed") from None
        connection.set_authorizer(None)
        raise StoreError(f"SQL: {error}", _remedy(connection, sql, str(error))) from None
    except UnicodeEncodeError as error:  # half a surrogate pair: a byte of an argument that isn't UTF-8
        raise StoreError(f"SQL: character {error.start + 1} of the query isn't text") from None
    finally:
        connection.set_progress_handler(None, 0)
        connection.set_authorizer(None)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, longest)
    if len(rows) > most_rows:
        raise StoreError(
            f"the result has more than {most_rows:,} rows: take it in parts, with WHERE, or with LIMIT and OFFSET"
        )
    if cursor.description is None:
        raise StoreError("the query is empty", 'For example: llm2llm query "SELECT * FROM accuracy_by_iteration"')
    return QueryResult(tuple(column[0] for column in cursor.description), rows)


def _remedy(connection: sqlite3.Connection, sql: str, error: str) -> str:
    """The names there are, where one isn't."""
    if error.startswith("no such table"):
        return _TABLES
    if not error.startswith("no such column"):
        return ""
    words = set(re.findall(r"\w+", sql.lower()))
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') ORDER BY name")
    return "\n".join(
        f"Columns of {table}: {', '.join(row[1] for row in connection.execute(f'PRAGMA table_info({table})'))}"
        for (table,) in tables.fetchall()
        if table in words
    )


def _open_virtual_tables(connection: sqlite3.Connection) -> None:
    """They are opened by declaring their columns, which no query may do: the search, what takes JSON apart, and what
    tells of columns.
    """
    for name in ("json_each", "json_tree"):
        connection.execute(f"SELECT 1 FROM {name}('[]') LIMIT 0")
    for name in ("pragma_table_info", "pragma_table_xinfo"):
        connection.execute(f"SELECT 1 FROM {name}('runs') LIMIT 0")
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'candidates_search'").fetchone():
        connection.execute("SELECT 1 FROM candidates_search LIMIT 0")


def newest_run(connection: sqlite3.Connection) -> int:
    """The run that started last. Raises StoreError when there is none."""
    row = connection.execute("SELECT max(run_id) FROM runs").fetchone()
    if row[0] is None:
        raise NoHistoryError("the store has no runs yet", "Start one with: llm2llm run")
    return int(row[0])


def require_run(connection: sqlite3.Connection, run_id: int | None) -> int:
    """`run_id`, or the newest when None. Raises StoreError when it isn't there."""
    if run_id is None:
        return newest_run(connection)
    if connection.execute("SELECT 1 FROM runs WHERE run_id = ?", [run_id]).fetchone() is None:
        known = ", ".join(str(row[0]) for row in connection.execute("SELECT run_id FROM runs ORDER BY run_id"))
        raise StoreError(f"there is no run {run_id}", f"Runs in this store: {known or 'none'}")
    return run_id
