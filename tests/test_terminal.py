"""Processes that a terminal UI starts; what is said in the shell, with which exit code, once it was left."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from screens import AppPilot, opened, press, settled, until
from textual.app import App
from textual.pilot import Pilot
from workspaces import Workspace, add_graded_run, add_run

from llm2llm_local import launch, terminal
from llm2llm_local.launch import Finished, Launched, process_log, run_to_end
from llm2llm_local.records import Status
from llm2llm_local.store.lock import RunLock
from llm2llm_local.store.writer import Store
from llm2llm_local.tui.app import Llm2LlmApp
from llm2llm_local.tui.screens import new_run
from llm2llm_local.tui.screens.starting import StartingScreen

Person = Callable[[AppPilot], Coroutine[Any, Any, None]]
"""What someone does in the terminal UI before leaving it."""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Run 1 is done."""
    with Store(tmp_path) as store:
        run = add_graded_run(store)
        run.folder.mkdir(parents=True)
        with store.transaction():
            run.set_status(Status.DONE, "finished after 1 rounds")
    return tmp_path


@contextmanager
def launched(workspace: Path, program: str) -> Iterator[Launched]:
    """A process that does what `program` does, as if it were one of this program's."""
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        process_log(workspace, process.pid).write_text("what it said\n")
        yield Launched(workspace, process, process_log(workspace, process.pid).open("rb"))
        process.kill()


def watched(
    monkeypatch: pytest.MonkeyPatch, workspace: Path, process: Launched, person: Person
) -> tuple[int, int | None]:
    monkeypatch.setattr(terminal, "launch", lambda *_: process)

    async def leave(pilot: Pilot[Any]) -> None:
        await person(pilot)
        pilot.app.exit()

    def run(app: Llm2LlmApp) -> Launched | None:
        return App.run(app, headless=True, auto_pilot=leave)

    monkeypatch.setattr(Llm2LlmApp, "run", run)
    return terminal.run_and_watch(workspace, "run")


async def leave_the_dialog(pilot: AppPilot) -> None:
    await until(pilot, lambda: isinstance(pilot.app.screen, StartingScreen))
    await pilot.press("escape")
    await settled(pilot)


def test_an_earlier_run_is_not_taken_for_one_that_is_still_starting(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with launched(workspace, "import time; time.sleep(60)") as process:
        assert watched(monkeypatch, workspace, process, leave_the_dialog) == (0, None)
    assert capsys.readouterr().out == f"process {process.pid} goes on; watch it: llm2llm -C {workspace} tui\n"


def test_a_run_that_was_left_at_work_is_told_with_commands_that_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my work"
    folder.mkdir()
    with Store(folder) as store:
        run = add_graded_run(store)
    run.folder.mkdir(parents=True)
    monkeypatch.setattr(Llm2LlmApp, "run", lambda app: None)
    with RunLock(run.folder, 1):
        terminal.watch(folder, 1)
        place = f"llm2llm -C '{folder}'"
        assert f"it goes on; stop it: {place} stop 1   watch it: {place} tui\n" in capsys.readouterr().out
        monkeypatch.chdir(folder)
        terminal.watch(Path(), 1)
        assert "it goes on; stop it: llm2llm stop 1   watch it: llm2llm tui\n" in capsys.readouterr().out


def test_status_and_a_folder_that_is_not_there_say_what_can_be_typed_as_it_stands(workspace: Path) -> None:
    with Store(workspace) as store:
        add_run(store)
    elsewhere = Workspace(workspace.parent)
    status = elsewhere.llm2llm("-C", workspace.name, "status", "2")
    assert f"continue it: llm2llm -C {workspace.name} resume 2\n" in status.out
    nowhere = elsewhere.llm2llm("-C", "nowhere", "tui")
    assert (nowhere.code, nowhere.err.splitlines()[0]) == (2, "llm2llm: nowhere: no such folder.")


def test_a_process_that_ended_without_a_run_after_one_looked_away_is_told(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with launched(workspace, "import time; time.sleep(3); raise SystemExit(2)") as process:

        async def look_away(pilot: AppPilot) -> None:
            await leave_the_dialog(pilot)
            await until(pilot, lambda: process.exit_code() is not None)

        assert watched(monkeypatch, workspace, process, look_away) == (2, None)
    assert capsys.readouterr().err == "what it said\n"


def test_the_run_that_was_started_counts_whichever_one_looked_at_last(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store(workspace) as store:
        run = add_run(store)
        run.folder.mkdir(parents=True)
    with RunLock(run.folder, 2), launched(workspace, "import time; time.sleep(60)") as process:
        (run.folder / "lock").write_text(f"{process.pid}\n")

        async def look_at_the_other(pilot: AppPilot) -> None:
            app = pilot.app
            assert isinstance(app, Llm2LlmApp)
            await until(pilot, lambda: app.run_id == 2)
            app.choose_run(1)
            await settled(pilot)

        assert watched(monkeypatch, workspace, process, look_at_the_other) == (0, None)
    assert capsys.readouterr().out.startswith("run 2  running")


def test_a_paused_run_goes_on_and_is_the_one_that_is_shown(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(workspace) as store:
        paused = add_run(store)
        with store.transaction():
            paused.set_status(Status.PENDING, "paused")
            add_run(store, status=Status.DONE)
    paused.folder.mkdir(parents=True)
    shown: list[int | None] = []

    def run(app: Llm2LlmApp) -> None:
        shown.append(app.run_id)

    monkeypatch.setattr(Llm2LlmApp, "run", run)
    with RunLock(paused.folder, 2):
        assert terminal.resume_and_watch(workspace, None) == (0, None)
    assert shown == [2]
    assert Workspace(workspace).rows("SELECT run_id, command FROM commands") == [(2, "resume")]


def test_a_short_command_tells_how_it_ended(tmp_path: Path) -> None:
    done = run_to_end(tmp_path, "status")
    assert done.exit_code == 2
    assert done.output == "" and "no store there" in done.errors


def test_a_command_that_is_unwanted_by_now_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_command", lambda *_: ["sleep", "60"])
    assert run_to_end(tmp_path, "doctor", is_unwanted=lambda: True).exit_code == -signal.SIGTERM


@pytest.mark.anyio
async def test_a_check_of_a_configuration_is_unwanted_once_its_dialog_is_left(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / "llm2llm.toml").touch()
    ended: list[bool] = []

    def check(*_: object, is_unwanted: Callable[[], bool]) -> Finished:
        deadline = time.monotonic() + 30
        while not is_unwanted() and time.monotonic() < deadline:
            time.sleep(0.02)
        ended.append(is_unwanted())
        return Finished(-signal.SIGTERM, "", "")

    monkeypatch.setattr(new_run, "run_to_end", check)
    async with opened(workspace, "runs") as pilot:
        await press(pilot, "n", "f5", "escape")
        await until(pilot, lambda: ended == [True])
