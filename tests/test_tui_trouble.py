"""What can't be read is said on the screen that reads it: a run that was deleted elsewhere, and a defect."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest
from screens import SMALL, opened, press, said, settled, shown, until
from workspaces import Workspace, add_graded_run, add_run

from llm2llm_local.records import DataRow, FinishReason, Grade, Outcome, Reply, Split
from llm2llm_local.report import lineage_tree
from llm2llm_local.report.histories import histories
from llm2llm_local.store.delete import delete_run
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.writer import Store
from llm2llm_local.tui.defects import Defects, defects_log
from llm2llm_local.tui.widgets.lineage_tree import LineageTree
from llm2llm_local.tui.widgets.paged_table import EdgeTable

pytestmark = pytest.mark.anyio


@pytest.fixture
def long_list(tmp_path: Path) -> Path:
    """A graded run with seeds for two pages."""
    with Store(tmp_path) as store:
        run = add_run(store, labels=json.dumps(["person", "place"]))
        run.open_iteration(0)
        with run.transaction():
            run.add_data(Split.TRAIN, [DataRow(f"seed {n}", "person", "train.jsonl", n) for n in range(1, 151)])
            for example in run.examples(Split.TRAIN):
                reply = Reply("place", FinishReason.STOP, 9, 3, 0.1)
                run.add_prediction(0, example, reply, Grade(Outcome.WRONG, "place"), 0.25)
        run.close_stage(run.open_stage(0, "grade", 0, "", {}, units=1))
    return tmp_path


# --- runs that are deleted elsewhere ---


@pytest.mark.parametrize("mode", ["failures", "lineage"])
async def test_a_page_of_a_run_that_was_deleted_elsewhere_is_empty(long_list: Path, mode: str) -> None:
    async with opened(long_list, mode, size=SMALL) as pilot:
        assert "of 150" in shown(pilot)
        await asyncio.to_thread(delete_run, long_list, 1)
        await until(pilot, lambda: "there is no run 1" in shown(pilot))
        pilot.app.screen.query_one(EdgeTable).action_scroll_bottom()
        await settled(pilot)
        assert "there is no run 1" in shown(pilot)
        assert "defect" not in shown(pilot)
        with Store(long_list) as store:
            add_graded_run(store)
        pilot.app.choose_run(2)  # type: ignore[attr-defined]
        await until(pilot, lambda: shown(pilot).startswith(" run 2") and "of 3" in shown(pilot))
        assert "there is no run" not in shown(pilot)


def test_examples_that_are_gone_are_left_out(long_list: Path) -> None:
    with open_reader(long_list) as connection:
        assert [one.example_id for one in histories(connection, (3, 999, 1), (0,))] == [3, 1]


async def test_a_run_that_is_deleted_between_two_statements_is_read_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path) as store:
        add_graded_run(store)
    find = lineage_tree.path_to_candidate

    def find_and_lose(connection: sqlite3.Connection, run_id: int, candidate_id: int) -> list[lineage_tree.Step]:
        path = find(connection, run_id, candidate_id)
        delete_run(tmp_path, run_id)
        return path

    monkeypatch.setattr("llm2llm_local.tui.screens.lineage.path_to_candidate", find_and_lose)
    async with opened(tmp_path, "lineage") as pilot:
        await press(pilot, "g", "c", "1", "enter")
        assert pilot.app.screen.query_one(LineageTree).chosen is not None
        assert not said(pilot)
        await until(pilot, lambda: "there is no run 1" in shown(pilot))


# --- defects ---


async def test_a_defect_is_told_on_its_screen_and_logged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    with Store(tmp_path) as store:
        add_graded_run(store)

    def fail(*_: object) -> None:
        raise KeyError("[bold]a seed\x1b[31m")

    with monkeypatch.context() as broken:
        broken.setattr("llm2llm_local.tui.screens.failures.splits_of", fail)
        async with opened(tmp_path, "failures") as pilot:
            assert "a defect of llm2llm: KeyError: '[bold]a seed\\x1b[31m'" in shown(pilot)
            assert "screens/failures.py, line " in shown(pilot)
            assert "terminal-ui.log" in shown(pilot)
            workspace.execute("UPDATE runs SET status_detail = 'changed'")
            pilot.app.screen.prepare()  # type: ignore[attr-defined]
            await settled(pilot)
            assert "a defect of llm2llm" in shown(pilot)  # for as long as it fails
            await press(pilot, "4")
            assert "seed 1" in shown(pilot) and "defect" not in shown(pilot)
            broken.undo()
            await press(pilot, "3", "o")
            assert "defect" not in shown(pilot)
            log = defects_log(tmp_path)
            assert log.read_text().count("Traceback") == 1
            assert "in fail" in log.read_text()
            assert log.stat().st_mode & 0o777 == 0o600
            log.unlink()  # it was looked at


def test_a_defect_that_cannot_be_logged_is_told_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("not a folder")
    try:
        raise ZeroDivisionError("no rows")
    except ZeroDivisionError as error:
        told = str(Defects(tmp_path).told(error))
    assert "ZeroDivisionError: no rows (test_tui_trouble.py, line " in told
    assert "can't be written" in told and str(defects_log(tmp_path)) in told
