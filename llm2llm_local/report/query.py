"""A query's result as a table, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json

from ..store.reader import QueryResult
from .plain import shortened

_WIDEST_CELL = 60


def table_text(result: QueryResult) -> str:
    """Aligned columns; long cells are cut (CSV and JSON have them whole)."""
    cells = [[shortened("" if value is None else str(value), _WIDEST_CELL) for value in row] for row in result.rows]
    widths = [
        max(len(name), *(len(row[index]) for row in cells)) if cells else len(name)
        for index, name in enumerate(result.columns)
    ]
    lines = ["  ".join(name.ljust(width) for name, width in zip(result.columns, widths, strict=True)).rstrip()]
    for row, values in zip(cells, result.rows, strict=True):
        aligned = [
            cell.rjust(width) if isinstance(value, int | float) else cell.ljust(width)
            for cell, value, width in zip(row, values, widths, strict=True)
        ]
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines) + "\n"


def csv_text(result: QueryResult) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(result.columns)
    writer.writerows(result.rows)
    return buffer.getvalue()


def json_text(result: QueryResult) -> str:
    """A list of objects."""
    rows = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
    return json.dumps(rows, ensure_ascii=False, indent=2, default=repr) + "\n"
