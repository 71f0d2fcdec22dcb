"""The result of a query on the SQL screen: its values."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.text import Text
from screens import AppPilot, opened, press, shown
from textual.widgets import DataTable, TextArea
from workspaces import add_graded_run

from llm2llm_local.store.writer import Store

pytestmark = pytest.mark.anyio


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


async def test_a_blob_is_shown_and_copied_as_in_sql(workspace: Path) -> None:
    async with opened(workspace, "sql") as pilot:
        await run(pilot, "SELECT x'00ff' AS blob")
        await press(pilot, "c")
        assert pilot.app.clipboard == "X'00FF'"
        assert "X'00FF'" in shown(pilot)
