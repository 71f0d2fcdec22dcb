"""Tables of the terminal UI show their cells whole, whenever the screen is drawn."""

from __future__ import annotations

import pytest
from rich.text import Text
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.widgets import DataTable

from llm2llm_local.tui.widgets.confusion_table import ConfusionTable
from llm2llm_local.tui.widgets.fitted_table import FittedTable
from llm2llm_local.tui.widgets.paged_table import EdgeTable
from llm2llm_local.tui.widgets.run_list import RunList

pytestmark = pytest.mark.anyio

_WIDE, _NARROW = "66.0% (56.3–74.5)      60", "1"


class _OneTable(App[None]):
    def compose(self) -> ComposeResult:
        yield FittedTable()


def _lines(table: DataTable[Text]) -> list[str]:
    return [strip.text.rstrip() for strip in table.render_lines(Region(0, 0, *table.size))]


async def test_cells_are_whole_though_the_table_was_drawn_before_it_had_fitted_its_columns() -> None:
    async with _OneTable().run_test() as pilot:
        table = pilot.app.query_one(FittedTable)
        table.add_column("run 3")
        table.add_row(Text(_NARROW))
        await pilot.pause()
        table.clear()
        table.add_row(Text(_WIDE))
        _lines(table)  # as the screen does it, when it is time to draw and the table hasn't come to fitting
        await pilot.pause()
        assert _lines(table)[1].strip() == _WIDE


def test_all_tables_fit() -> None:
    assert all(issubclass(kind, FittedTable) for kind in (ConfusionTable, EdgeTable, RunList))
