"""The result of a query: a page of it as a table, and the whole value of the cell under the cursor."""

from __future__ import annotations

from typing import Any

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.widgets import DataTable, Static

from ...report.query import blob_as_text
from ...store.reader import QueryResult
from ..text import many_lines, one_line
from .paged_table import PAGE_ROWS, EdgeTable

_MOST_CELLS_OF_VALUE = 40
_MOST_CHARACTERS_OF_DETAIL = 20_000


class ResultTable(Vertical):
    """Moving beyond its ends turns the page; ctrl+Home and ctrl+End go to the first and the last row of all."""

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self.result: QueryResult | None = None
        self._first_row = 0

    def compose(self) -> ComposeResult:
        yield EdgeTable(cursor_type="cell", zebra_stripes=True)
        with VerticalScroll(classes="value"):
            yield Static(markup=False)

    @property
    def value(self) -> Any:
        """That of the cell under the cursor; a BLOB is as it is written in SQL. None when there is no cell."""
        coordinate = self.query_one(EdgeTable).cursor_coordinate
        if self.result is None or not self.query_one(EdgeTable).is_valid_coordinate(coordinate):
            return None
        return blob_as_text(self.result.rows[self._first_row + coordinate.row][coordinate.column])

    def show(self, result: QueryResult) -> None:
        """Replace the result by another one."""
        self.result = result
        table = self.query_one(EdgeTable)
        table.clear(columns=True)
        table.add_columns(*(one_line(name, _MOST_CELLS_OF_VALUE) for name in result.columns))
        self._show_page(0, cursor_row=0)

    def _show_page(self, first_row: int, cursor_row: int) -> None:
        assert self.result is not None
        self._first_row = first_row
        table = self.query_one(EdgeTable)
        rows = self.result.rows[first_row : first_row + PAGE_ROWS]
        column = table.cursor_column
        with self.app.batch_update(), table.prevent(DataTable.CellHighlighted):
            table.clear()
            for number, row in enumerate(rows, start=first_row + 1):
                table.add_row(*(_cell(value) for value in row), label=Text(f"{number:,}", style="dim"))
            table.move_cursor(row=cursor_row, column=column, animate=False)
        self._show_value()

    def on_edge_table_left(self, message: EdgeTable.Left) -> None:
        message.stop()
        first_row = self._first_row + message.by * PAGE_ROWS
        if self.result is not None and 0 <= first_row < len(self.result.rows):
            self._show_page(first_row, cursor_row=0 if message.by == 1 else PAGE_ROWS - 1)

    def on_edge_table_end_wanted(self, message: EdgeTable.EndWanted) -> None:
        message.stop()
        n = 0 if self.result is None else len(self.result.rows)
        if n == 0:
            return
        row = n - 1 if message.by == 1 else 0
        first_row = row // PAGE_ROWS * PAGE_ROWS
        if first_row == self._first_row:
            self.query_one(EdgeTable).move_cursor(row=row - first_row)
        else:
            self._show_page(first_row, cursor_row=row - first_row)

    def on_data_table_cell_highlighted(self, message: DataTable.CellHighlighted) -> None:
        message.stop()
        self._show_value()

    def _show_value(self) -> None:
        text = "" if self.result is None or not self.result.rows else _whole(self.value)
        self.query_one(".value Static", Static).update(many_lines(text[:_MOST_CHARACTERS_OF_DETAIL]))


def _whole(value: Any) -> str:
    return "NULL" if value is None else str(value)


def _cell(value: Any) -> Text:
    if value is None or isinstance(value, bytes):
        return Text("NULL" if value is None else f"{len(value):,} bytes", style="dim")
    if isinstance(value, int | float):
        return Text(str(value), justify="right")
    return one_line(value, _MOST_CELLS_OF_VALUE)
