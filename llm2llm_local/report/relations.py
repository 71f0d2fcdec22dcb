"""What there is to ask: the tables and views of the store, as they are in it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True, slots=True)
class Column:
    """`type` is '' where SQLite doesn't know it: a computed column of a view."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or a view."""

    kind: str
    name: str
    columns: tuple[Column, ...]


def relations(connection: sqlite3.Connection) -> tuple[Relation, ...]:
    """Tables, then views, by name: those that a query may read. SQLite lets it read no search index."""
    rows = connection.execute(
        "SELECT t.type, t.name, c.name, c.type FROM pragma_table_list t JOIN pragma_table_info(t.name) c "
        "WHERE t.schema = 'main' AND t.type IN ('table', 'view') "
        "AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND t.name NOT LIKE '\\_%' ESCAPE '\\' "
        "ORDER BY t.type = 'view', t.name, c.cid"
    ).fetchall()
    return tuple(
        Relation(kind, name, tuple(Column(row[2], row[3]) for row in columns))
        for (kind, name), columns in groupby(rows, key=lambda row: (row[0], row[1]))
    )
