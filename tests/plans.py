"""How SQLite goes about the queries of a function: none may read a large table from end to end."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable

LARGE = (
    "candidates",
    "examples",
    "metrics",
    "predictions",
    "teacher_calls",
    "training_set_examples",
    "verdicts",
)
"""Tables that grow with the rows of a run; the others have tens of rows for each of its iterations at most."""


def statements_of(connection: sqlite3.Connection, call: Callable[[], object]) -> list[str]:
    """Every SELECT that runs while `call` uses the connection, with its values in it."""
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    try:
        call()
    finally:
        connection.set_trace_callback(None)
    # Lines that begin with -- are about statements that others set off.
    return [sql for sql in statements if re.match(r"\s*(SELECT|WITH|VALUES)\b", sql, re.IGNORECASE)]


def plan_of(connection: sqlite3.Connection, sql: str) -> list[str]:
    """The steps of SQLite's plan for a statement."""
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()]


def scans_of(connection: sqlite3.Connection, sql: str) -> list[str]:
    """The steps of the plan that read a whole large table, or a whole index of one."""
    names = {*LARGE, *_other_names(connection, sql)}
    steps = [step for step in plan_of(connection, sql) if step.startswith(("SCAN ", "SEARCH "))]
    return [step for step in steps if step.split()[1] in names and (step.startswith("SCAN ") or _is_unbounded(step))]


def _is_unbounded(search: str) -> bool:
    """Whether a search may read everything: it makes an index of its own first, or enters at an end for min or max."""
    return " AUTOMATIC " in search or "(" not in search


def _other_names(connection: sqlite3.Connection, sql: str) -> list[str]:
    """What the statement, and the views in it, call large tables: `FROM predictions p`, `JOIN examples AS e`."""
    views = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'view'").fetchall()
    text = "\n".join([sql, *(definition for name, definition in views if name in sql)])
    return re.findall(rf"\b(?:{'|'.join(LARGE)})\s+(?:AS\s+)?(\w+)", text, re.IGNORECASE)


def assert_indexed(connection: sqlite3.Connection, call: Callable[[], object]) -> None:
    """Fails with the statement and its plan when `call` reads a large table from end to end, or reads nothing."""
    statements = statements_of(connection, call)
    assert statements, "it asked the store nothing"
    for sql in statements:
        scans = scans_of(connection, sql)
        plan = "\n  ".join(plan_of(connection, sql))
        assert not scans, f"{scans[0]} in\n{sql}\n  {plan}"
