"""The result of a query on the SQL screen: going about in it, and its long and binary values."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.text import Text
from screens import AppPilot, opened, press, shown
from textual.widgets import DataTable, TextArea
from workspaces import add_graded_run

from llm2llm_local.store.writer import Store
from llm2llm_local.tui.widgets.result_table import ResultTable

pytestmark = pytest.mark.anyio

_ROWS = 250
_NUMBERS = f"WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT {_ROWS}) SELECT x, -x, 10 * x FROM n"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    with Store(tmp_path) as store:
        add_graded_run(store)
    return tmp_path


async def run(pilot: AppPilot, sql: str) -> DataTable[Text]:
    """The table, with the focus."""
    pilot.app.screen.query_one("#statement", TextArea).text = sql
    await press(pilot, "f5")
    table: DataTable[Text] = pilot.app.screen.query_one("#result DataTable", DataTable)
    table.focus()
    return table


def value(pilot: AppPilot) -> object:
    return pilot.app.screen.query_one(ResultTable).value


async def test_home_and_end_go_to_the_first_and_the_last_column(workspace: Path) -> None:
    async with opened(workspace, "sql") as pilot:
        await run(pilot, _NUMBERS)
        await press(pilot, "down", "end")
        assert value(pilot) == 20
        await press(pilot, "home")
        assert value(pilot) == 2


async def test_with_ctrl_they_go_to_the_first_and_the_last_row_of_all(workspace: Path) -> None:
    async with opened(workspace, "sql") as pilot:
        table = await run(pilot, _NUMBERS)
        await press(pilot, "right", "ctrl+end")
        assert (value(pilot), table.row_count) == (-_ROWS, 50)
        await press(pilot, "up", "ctrl+end")  # on the page that is shown
        assert (value(pilot), table.row_count) == (-_ROWS, 50)
        await press(pilot, "ctrl+home")
        assert (value(pilot), table.row_count) == (-1, 100)
        await press(pilot, "down", "ctrl+home")
        assert (value(pilot), table.row_count) == (-1, 100)


@pytest.mark.parametrize("sql", ["", "SELECT 1 AS x WHERE 0"])
async def test_no_result_and_an_empty_one_have_no_ends(workspace: Path, sql: str) -> None:
    async with opened(workspace, "sql") as pilot:
        table = pilot.app.screen.query_one("#result DataTable", DataTable)
        if sql:
            await run(pilot, sql)
        table.focus()
        for key in ("end", "home", "ctrl+end", "ctrl+home"):
            await press(pilot, key)
            assert table.cursor_coordinate == (0, 0)
            assert value(pilot) is None


async def test_a_blob_is_shown_and_copied_as_in_sql(workspace: Path) -> None:
    async with opened(workspace, "sql") as pilot:
        await run(pilot, "SELECT x'00ff' AS blob")
        await press(pilot, "c")
        assert pilot.app.clipboard == "X'00FF'"
        assert "X'00FF'" in shown(pilot)


async def test_a_long_value_is_cut_in_its_cell(workspace: Path) -> None:
    async with opened(workspace, "sql") as pilot:
        table = await run(pilot, "SELECT 'a' || hex(zeroblob(10000)) AS x")
        assert table.get_row_at(0)[0].plain == "a" + "0" * 38 + "…"
