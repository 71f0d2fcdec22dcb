"""A table that holds one page of a long list: moving beyond its ends turns the page, Home and End go to the list's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import DataTable, Static

from .fitted_table import FittedTable

PAGE_ROWS = 100

_FEWEST_CELLS = 8
"""Less than this isn't worth an ellipsis."""


@dataclass(frozen=True, slots=True)
class Page:
    """Rows from `offset` on, of `total` in all; each has a key that names it from read to read."""

    offset: int
    total: int
    rows: Sequence[tuple[str, Sequence[Text]]]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A page that was asked for, and the row that the cursor is on when it comes."""

    offset: int
    row: Literal["first", "last"]


class EdgeTable(FittedTable):
    """Tells when the cursor would leave it, and when it is to go to an end of the whole list.

    Home and End go there, too, unless the cursor is on a cell: then they go to the first and the last column.
    """

    class Left(Message):
        """`by` is +1 below the last row, -1 above the first."""

        def __init__(self, by: Literal[1, -1]) -> None:
            super().__init__()
            self.by = by

    class EndWanted(Left):
        """The same, to the last row of the list or to its first."""

    def action_scroll_home(self) -> None:
        if self.cursor_type == "row":
            self.action_scroll_top()
        elif self.row_count:
            super().action_scroll_home()

    def action_scroll_end(self) -> None:
        if self.cursor_type == "row":
            self.action_scroll_bottom()
        elif self.row_count:
            super().action_scroll_end()

    def action_scroll_top(self) -> None:
        self.post_message(self.EndWanted(-1))

    def action_scroll_bottom(self) -> None:
        self.post_message(self.EndWanted(1))

    def action_cursor_down(self) -> None:
        self._move_or_leave(1, super().action_cursor_down)

    def action_cursor_up(self) -> None:
        self._move_or_leave(-1, super().action_cursor_up)

    def action_page_down(self) -> None:
        self._move_or_leave(1, super().action_page_down)

    def action_page_up(self) -> None:
        self._move_or_leave(-1, super().action_page_up)

    def _move_or_leave(self, by: Literal[1, -1], move: object) -> None:
        end = self.row_count - 1 if by == 1 else 0
        if self.cursor_row == end or not self.row_count:
            self.post_message(self.Left(by))
        else:
            move()  # type: ignore[operator]


class PagedTable(Vertical):
    """Give it columns; answer `PageWanted` with `show_page`."""

    DEFAULT_CSS = """
    PagedTable { height: 1fr; }
    PagedTable DataTable { height: 1fr; }
    PagedTable .caption { height: 1; color: $text-muted; }
    """

    class PageWanted(Message):
        """Rows from `offset` on should be read and shown."""

        def __init__(self, table: PagedTable, offset: int) -> None:
            super().__init__()
            self.table = table
            self.offset = offset

        @property
        def control(self) -> PagedTable:
            return self.table

    class RowChosen(Message):
        """The cursor is on the row with this key; None: there is no row."""

        def __init__(self, table: PagedTable, key: str | None) -> None:
            super().__init__()
            self.table = table
            self.key = key

        @property
        def control(self) -> PagedTable:
            return self.table

    class RowOpened(RowChosen):
        """Return was pressed on the row, or it was clicked."""

    def __init__(self, *columns: str, id: str | None = None, nothing: str = "nothing here") -> None:
        """`nothing`: what an empty list says. The first read is asked for by the screen itself, from offset 0."""
        super().__init__(id=id)
        self._columns = columns
        self._nothing = nothing
        self.first_row = 0
        """Of the page that is shown."""
        self._total = 0
        self._asked: _Asked | None = None
        """What was asked for last, until the page is turned to it or the list has become too short for it.

        It may be the page that is shown, if another one was under way that would come over it.
        """
        self._page: Page | None = None

    def compose(self) -> ComposeResult:
        table = EdgeTable(cursor_type="row", zebra_stripes=True)
        table.add_columns(*self._columns)
        yield table
        yield Static(classes="caption", markup=False)

    @property
    def chosen(self) -> str | None:
        """The key of the row under the cursor."""
        table = self.query_one(EdgeTable)
        if not table.is_valid_row_index(table.cursor_row):
            return None
        return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value

    def move(self, by: Literal[1, -1]) -> None:
        """Put the cursor one row further down or up, as the arrow keys do."""
        table = self.query_one(EdgeTable)
        if by == 1:
            table.action_cursor_down()
        else:
            table.action_cursor_up()

    def show_page(self, page: Page, *, choose: str | None = None) -> None:
        """Replace the rows.

        The cursor goes to `choose`. Else, on a page that was asked for, it goes to the row that was asked for; it
        stays on its row; it stays at its height; on another page it goes to the first row.
        """
        table = self.query_one(EdgeTable)
        keys, chosen, row_asked_for = [key for key, _ in page.rows], self.chosen, self._row_asked_for(page)
        if choose in keys:
            row = keys.index(choose)
        elif row_asked_for is not None:
            row = row_asked_for
        elif chosen in keys:
            row = keys.index(chosen)
        else:
            row = table.cursor_row if page.offset == self.first_row else 0
        self._page, self.first_row, self._total = page, page.offset, page.total
        room = self._room_for_last_column(page)
        with self.app.batch_update(), table.prevent(DataTable.RowHighlighted):
            scroll = table.scroll_y
            table.clear()
            for key, cells in page.rows:
                table.add_row(*cells[:-1], _cut(cells[-1], room), key=key)
            table.scroll_to(y=scroll, animate=False)
            table.move_cursor(row=max(0, min(row, len(keys) - 1)), animate=False)
        last = page.offset + len(page.rows)
        text = f"{page.offset + 1:,}–{last:,} of {page.total:,}" if page.rows else self._nothing
        self.query_one(".caption", Static).update(text)
        self.post_message(self.RowChosen(self, self.chosen))

    def _row_asked_for(self, page: Page) -> int | None:
        """Where the cursor is to go if the page is turned to what was asked for, which isn't waited for any longer."""
        asked = self._asked
        if asked is None:
            return None
        has_come = asked.offset == page.offset != self.first_row
        if has_come or asked.offset >= page.total:
            self._asked = None
        if not has_come:
            return None
        return 0 if asked.row == "first" else len(page.rows) - 1

    def on_resize(self) -> None:
        if self._page is not None:
            self.show_page(self._page)

    def _room_for_last_column(self, page: Page) -> int:
        """Cells that the other columns leave: long texts are in the last one, and end in an ellipsis."""
        table = self.query_one(EdgeTable)
        rows = [[Text(column) for column in self._columns], *(cells for _, cells in page.rows)]
        others = sum(max(row[index].cell_len for row in rows) for index in range(len(self._columns) - 1))
        padding = 2 * table.cell_padding * len(self._columns)
        return self.size.width - others - padding - table.styles.scrollbar_size_vertical

    def on_edge_table_left(self, message: EdgeTable.Left) -> None:
        message.stop()
        offset = self.first_row + message.by * PAGE_ROWS
        if 0 <= offset < self._total:
            self._ask(_Asked(offset, "first" if message.by == 1 else "last"))

    def on_edge_table_end_wanted(self, message: EdgeTable.EndWanted) -> None:
        message.stop()
        table, last_page = self.query_one(EdgeTable), max(0, self._total - 1) // PAGE_ROWS * PAGE_ROWS
        wanted = _Asked(last_page, "last") if message.by == 1 else _Asked(0, "first")
        is_under_way = self._asked is not None and self._asked.offset != self.first_row
        if wanted.offset == self.first_row:
            table.move_cursor(row=0 if wanted.row == "first" else max(0, table.row_count - 1))
        if wanted.offset != self.first_row or is_under_way:
            self._ask(wanted)

    def _ask(self, asked: _Asked) -> None:
        self._asked = asked
        self.post_message(self.PageWanted(self, asked.offset))

    def on_data_table_row_highlighted(self, message: DataTable.RowHighlighted) -> None:
        message.stop()
        self.post_message(self.RowChosen(self, message.row_key.value))

    def on_data_table_row_selected(self, message: DataTable.RowSelected) -> None:
        message.stop()
        self.post_message(self.RowOpened(self, message.row_key.value))


def _cut(text: Text, cells: int) -> Text:
    if text.cell_len <= cells or cells < _FEWEST_CELLS:
        return text
    short = text.copy()
    short.truncate(cells - 1, overflow="crop")  # half of a wide character becomes a blank
    short.rstrip()
    return short.append("…")
