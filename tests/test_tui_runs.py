"""The list of runs: what it shows, and starting, steering, forking and deleting from it."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import time
from pathlib import Path

import pytest
from screens import SMALL, opened, press, said, settled, shown, until
from textual.widgets import Input
from workspaces import CONFIG_BY_HAND, Workspace, add_graded_run

from llm2llm_local.records import Status
from llm2llm_local.store.lock import RunLock
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.writer import Store
from llm2llm_local.tui.app import Llm2LlmApp
from llm2llm_local.tui.screens.confirm import ConfirmScreen
from llm2llm_local.tui.screens.new_run import NewRunScreen
from llm2llm_local.tui.screens.runs import RunsScreen
from llm2llm_local.tui.screens.starting import StartingScreen
from llm2llm_local.tui.screens.told import ToldScreen
from llm2llm_local.tui.widgets.paged_table import PagedTable

pytestmark = pytest.mark.anyio


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Run 1 is done, run 2 is interrupted."""
    with Store(tmp_path) as store:
        for recipe in ("eda", "llm2llm"):
            run = add_graded_run(store, config=json.dumps({**CONFIG_BY_HAND, "loop.recipe": recipe}))
            for iteration, share in enumerate((0.5, 1.0)):
                run.add_metric(iteration, "accuracy_test", 0, share)
            run.folder.mkdir(parents=True)
        with store.transaction():
            store.of_run(1).set_status(Status.DONE, "finished after 1 rounds")
    return Workspace(tmp_path)


def commands(workspace: Workspace) -> list[tuple[int, str]]:
    return workspace.rows("SELECT run_id, command FROM commands ORDER BY id")


async def test_every_run_is_shown_with_its_state_and_accuracy_newest_first(workspace: Workspace) -> None:
    async with opened(workspace.folder, "runs", size=SMALL) as pilot:
        rows = [line.split() for line in shown(pilot).splitlines() if line.split()[1:2] in (["✓"], ["✗"])]
        assert [row[:4] for row in rows] == [["2", "✗", "interrupted", "llm2llm"], ["1", "✓", "done", "eda"]]
        assert all("▅█ test 100.0%" in " ".join(row) for row in rows)


async def test_the_run_under_the_cursor_is_the_one_that_all_screens_show(workspace: Workspace) -> None:
    async with opened(workspace.folder, "runs") as pilot:
        assert shown(pilot).splitlines()[0].startswith(" run 2 ✗ interrupted")
        await press(pilot, "down")
        await until(pilot, lambda: shown(pilot).startswith(" run 1 ✓ done"))
        await press(pilot, "enter")
        assert pilot.app.current_mode == "dashboard"
        assert shown(pilot).startswith(" run 1 ✓ done")


async def test_return_opens_the_run_wherever_the_focus_is(workspace: Workspace) -> None:
    async with opened(workspace.folder, "runs") as pilot:
        pilot.app.screen.set_focus(None)
        await press(pilot, "enter")
        assert pilot.app.current_mode == "dashboard"


async def test_a_store_without_runs_says_how_to_start_one(tmp_path: Path) -> None:
    async with opened(tmp_path, "runs") as pilot:
        assert "n starts one" in shown(pilot)
        await press(pilot, "n")
        assert "no .toml file" in shown(pilot)


@pytest.mark.parametrize(("key", "word"), [("p", "pause"), ("s", "stop")])
async def test_a_wish_is_a_row_and_what_it_does_is_said(workspace: Workspace, key: str, word: str) -> None:
    with RunLock(workspace.folder / "runs/2", 2):
        async with opened(workspace.folder, "runs") as pilot:
            await press(pilot, key)
            await until(pilot, lambda: commands(workspace) == [(2, word)])
            await until(pilot, lambda: f"run 2 will {word} after this unit of work" in said(pilot))


async def test_a_paused_run_goes_on_with_a_row(workspace: Workspace) -> None:
    with Store(workspace.folder) as store, store.transaction():
        store.of_run(2).set_status(Status.PENDING, "paused")
    with RunLock(workspace.folder / "runs/2", 2):
        async with opened(workspace.folder, "runs") as pilot:
            await press(pilot, "r")
            await until(pilot, lambda: commands(workspace) == [(2, "resume")])
            await until(pilot, lambda: "run 2 will resume: it goes on." in said(pilot))


@pytest.mark.parametrize("key", ["p", "s", "r"])
async def test_nothing_is_asked_of_a_run_that_is_done(workspace: Workspace, key: str) -> None:
    async with opened(workspace.folder, "runs", run_id=1) as pilot:
        await press(pilot, key)
        await until(pilot, lambda: "run 1 is done: there is nothing to" in said(pilot))
        assert commands(workspace) == []


async def test_a_dead_run_is_noticed_and_told_with_the_key_that_helps(workspace: Workspace) -> None:
    lock = RunLock(workspace.folder / "runs/2", 2)
    async with opened(workspace.folder, "logs") as pilot:
        assert shown(pilot).startswith(" run 2 ▶ running")
        assert "its process is gone" not in shown(pilot)
        lock.release()
        await until(pilot, lambda: "its process is gone" in shown(pilot))
        assert "r continues it; nothing is lost." in shown(pilot)


async def test_a_resume_that_is_refused_says_why(workspace: Workspace) -> None:
    async with opened(workspace.folder, "runs") as pilot:
        await press(pilot, "r")
        await until(pilot, lambda: isinstance(pilot.app.screen, ToldScreen))
        assert "The run can't go on as it is" in shown(pilot)
        assert "Write one with: llm2llm init" in shown(pilot)
        assert "It goes on" not in shown(pilot)
        await press(pilot, "escape")
        assert not isinstance(pilot.app.screen, ToldScreen)
        assert pilot.app.current_mode == "dashboard"


async def test_a_run_is_deleted_after_a_question(workspace: Workspace) -> None:
    async with opened(workspace.folder, "runs") as pilot:
        await press(pilot, "d")
        assert isinstance(pilot.app.screen, ConfirmScreen)
        assert "Delete run 2 with all it has" in shown(pilot)
        await press(pilot, "escape")
        assert workspace.n_runs() == 2
        await press(pilot, "d", "y")
        await until(pilot, lambda: workspace.n_runs() == 1 and shown(pilot).startswith(" run 1 ✓ done"))
        assert not (workspace.folder / "runs/2").exists()
        assert (workspace.folder / "runs/1").exists()


async def test_a_run_that_is_worked_on_is_not_deleted(workspace: Workspace) -> None:
    with RunLock(workspace.folder / "runs/2", 2):
        async with opened(workspace.folder, "runs") as pilot:
            await press(pilot, "d")
            assert not isinstance(pilot.app.screen, ConfirmScreen)
            assert "stop it first" in said(pilot)


async def test_a_configuration_that_cannot_run_is_not_started(workspace: Workspace) -> None:
    workspace.config.write_text('[task]\nfamily = "classification"\n[nonsense]\n')
    async with opened(workspace.folder, "runs") as pilot:
        await press(pilot, "n", "f9")
        assert "Check it first" in shown(pilot)
        await press(pilot, "enter")
        await until(pilot, lambda: "It can't run like this" in shown(pilot))
        assert "nonsense" in shown(pilot)
        await press(pilot, "f9")
        assert isinstance(pilot.app.screen, NewRunScreen)
        assert "It can't run like this" in shown(pilot)
        pilot.app.screen.query_one(Input).value = "'open"
        await press(pilot, "f9")
        assert "A quote is never closed" in shown(pilot)
        assert "nonsense" not in shown(pilot)
        await press(pilot, "escape")
        assert workspace.n_runs() == 2


async def test_changed_fields_reach_the_check(workspace: Workspace) -> None:
    workspace.config.write_text("")
    async with opened(workspace.folder, "runs") as pilot:
        await press(pilot, "n", "tab")
        pilot.app.screen.query_one(Input).value = "loop.iterations=none 'open"
        await press(pilot, "enter")
        assert "A quote is never closed" in shown(pilot)
        pilot.app.screen.query_one(Input).value = "loop.nonsense=1"
        await press(pilot, "enter")
        await until(pilot, lambda: "loop.nonsense:" in shown(pilot) and "unknown key" in shown(pilot))


async def test_a_second_run_at_once_is_asked_about(workspace: Workspace) -> None:
    with RunLock(workspace.folder / "runs/2", 2):
        async with opened(workspace.folder, "runs") as pilot:
            await press(pilot, "f", "enter")
            assert isinstance(pilot.app.screen, ConfirmScreen)
            assert "Run 2 is at work" in shown(pilot)
            await press(pilot, "n")
            assert not isinstance(pilot.app.screen, StartingScreen)
            await press(pilot, "f", "enter", "y")
            assert isinstance(pilot.app.screen, StartingScreen)
            await until(pilot, lambda: "exit code 2" in shown(pilot))  # there is no configuration


async def test_a_fork_that_is_refused_says_why(workspace: Workspace) -> None:
    async with opened(workspace.folder, "runs") as pilot:
        await press(pilot, "f")
        pilot.app.screen.query_one(Input).value = '"open'
        await press(pilot, "enter")
        assert "a quote is never closed" in shown(pilot)
        pilot.app.screen.query_one(Input).value = "loop.iterations=3"
        await press(pilot, "enter")
        await until(pilot, lambda: "It ended before a run was at work (exit code 2)" in shown(pilot))
        assert "llm2llm.toml" in shown(pilot)


async def test_news_of_the_run_before_do_not_take_the_choice_back(workspace: Workspace) -> None:
    async with opened(workspace.folder, "runs") as pilot:
        screen = pilot.app.screen
        assert isinstance(screen, RunsScreen)
        with open_reader(workspace.folder) as connection:
            late = screen._read_status(connection, 2)
        await press(pilot, "down")
        await until(pilot, lambda: shown(pilot).startswith(" run 1 ✓ done"))
        screen._show_status(2, *late)
        await settled(pilot)
        assert screen.run_id == 1
        assert shown(pilot).startswith(" run 1 ✓ done")


async def test_news_of_a_run_that_was_deleted_do_not_choose_it_again(workspace: Workspace) -> None:
    async with opened(workspace.folder, "runs") as pilot:
        screen = pilot.app.screen
        assert isinstance(screen, RunsScreen)
        with open_reader(workspace.folder) as connection:
            late = screen._read_status(connection, 2)
        assert workspace.llm2llm("delete", "2", "--yes").code == 0
        screen.llm2llm.forget_run(2)
        screen._show_status(2, *late)
        await until(pilot, lambda: shown(pilot).startswith(" run 1 ✓ done"))


async def test_a_folder_that_was_locked_away_is_a_message(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = workspace.folder / "runs/2/lock"
    lock.write_text("")
    open_file = os.open

    def refuse(path: str | Path, *arguments: int) -> int:
        if Path(path) == lock:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return open_file(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        async with opened(workspace.folder, "runs") as pilot:
            await until(pilot, lambda: f"{lock}: Permission denied" in shown(pilot).replace("\n ", ""))
            patch.undo()
            await until(pilot, lambda: shown(pilot).startswith(" run 2 ✗ interrupted"))


async def test_a_store_that_another_keeps_to_itself_is_soon_said_to_be_locked(workspace: Workspace) -> None:
    other = sqlite3.connect(workspace.store, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    async with Llm2LlmApp(workspace.folder).run_test() as pilot:
        began = time.monotonic()
        await until(pilot, lambda: "database is locked" in shown(pilot))
        assert time.monotonic() - began < 8
        other.close()
        await until(pilot, lambda: shown(pilot).startswith(" run 2 ✗ interrupted"))


async def test_after_the_last_run_was_deleted_late_news_of_it_leave_no_trace(workspace: Workspace) -> None:
    async with opened(workspace.folder, "runs") as pilot:
        for run_id in ("1", "2"):
            workspace.llm2llm("delete", run_id, "--yes")
        await until(pilot, lambda: "no runs yet: n starts one" in shown(pilot))
        table = pilot.app.screen.query_one(PagedTable)
        table.post_message(PagedTable.RowChosen(table, "2"))
        await until(pilot, lambda: "No runs yet: n starts one." in shown(pilot))
