"""The result of a query on the SQL screen: going about in it, and its long and binary values."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.text import Text
from screens import AppPilot, opened, press, shown
from textual.widgets import DataTable, TextArea
from workspaces import add_graded_run

from llm2llm_local.store.writer import Store
from llm2llm_local.tui.text import one_line
from llm2llm_local.tui.widgets import result_table
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


async def test_of_long_values_no_more_is_cleaned_than_can_be_shown(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = []

    def counted(text: str, cells: int | None = None) -> Text:
        lengths.append(len(text))
        return one_line(text, cells)

    monkeypatch.setattr(result_table, "one_line", counted)
    async with opened(workspace, "sql") as pilot:
        table = await run(pilot, "SELECT 'a' || hex(zeroblob(10000)) AS x")
        assert table.get_row_at(0)[0].plain == "a" + "0" * 38 + "…"
        assert sum(lengths) < 1000


@pytest.mark.parametrize(
    "text",
    [
        "short",
        "  of 40 cells 0123456789 0123456789 0123\n\n",
        "  of 41 cells 0123456789 0123456789 01234",
        "a\x1b" * 2000,
        " " * 3000 + "late\nwords" + "\n" * 3000,
        "漢" * 2000,
        "👨\u200d👩\u200d👧\u200d👦" * 500,
        "e\u0301" * 1000,
    ],
)
def test_a_cut_value_looks_as_if_it_had_been_cleaned_whole(text: str) -> None:
    assert result_table._cell(text) == one_line(text, 40)


def test_that_there_is_more_is_seen_though_none_of_it_is_shown() -> None:
    assert result_table._cell("a" + " " * 1000 + "b").plain == "a …"
