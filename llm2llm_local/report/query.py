"""A query's result as a table, CSV, TSV or JSON. A BLOB is written as in SQL: X'00FF'."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

from ..cells import cells, padded, right_aligned
from ..store.reader import QueryResult
from .plain import plain, shortened, visible

_WIDEST_CELL = 60


def table_text(result: QueryResult) -> str:
    """Aligned columns; long cells are cut (CSV and JSON have them whole)."""
    names = [plain(name) for name in result.columns]
    shown = [
        [shortened("" if value is None else str(blob_as_text(value)), _WIDEST_CELL) for value in row]
        for row in result.rows
    ]
    widths = [max(map(cells, column)) for column in zip(names, *shown, strict=True)]
    lines = ["  ".join(map(padded, names, widths)).rstrip()]
    for row, values in zip(shown, result.rows, strict=True):
        aligned = [
            right_aligned(text, width) if isinstance(value, int | float) else padded(text, width)
            for text, value, width in zip(row, values, widths, strict=True)
        ]
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines) + "\n"


def csv_text(result: QueryResult) -> str:
    return _separated(result, ",")


def tsv_text(result: QueryResult) -> str:
    """What spreadsheets take from the clipboard."""
    return _separated(result, "\t")


def json_text(result: QueryResult) -> str:
    """A list of objects. Of columns with the same name, as a join has them, the second is `name_2`.

    JSON has no infinite numbers: they are the texts "Infinity" and "-Infinity". NaN is NULL in SQLite already.
    """
    names: list[str] = []
    for column in result.columns:
        name, n = column, 1
        while name in names:
            n += 1
            name = f"{column}_{n}"
        names.append(name)
    rows = [dict(zip(names, map(_json_value, row), strict=True)) for row in result.rows]
    return json.dumps(rows, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def for_terminal(text: str) -> str:
    """CSV or JSON as a person may see it: line ends stay, other control characters become visible codes.

    Only for a terminal: a program that reads the text should get it as it is.
    """
    return "\n".join(visible(line) for line in text.split("\n"))


def blob_as_text(value: Any) -> Any:
    """A BLOB as it is written in SQL; any other value as it is."""
    return f"X'{value.hex().upper()}'" if isinstance(value, bytes) else value


def _separated(result: QueryResult, delimiter: str) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator="\n")
    writer.writerow(result.columns)
    writer.writerows(map(blob_as_text, row) for row in result.rows)
    return buffer.getvalue()


def _json_value(value: Any) -> Any:
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return blob_as_text(value)
