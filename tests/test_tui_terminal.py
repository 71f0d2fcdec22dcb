"""The terminal UI in a real terminal, on real runs: start, watch, leave, come back, and being killed."""

from __future__ import annotations

import os
import shlex
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from tmux import Terminal, terminal
from workspaces import COMMAND, Workspace, add_graded_run, make_workspace

from llm2llm_local.records import Status
from llm2llm_local.store.lock import holder
from llm2llm_local.store.rows import run_folder
from llm2llm_local.store.writer import Store

if TYPE_CHECKING:
    from tiny_models import TinyModels

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[1]
LONG_ENOUGH_TO_BE_KILLED = {"loop.iterations": "5", "student.epochs": "8", "student.learning_rate": "1e-7"}
"""Many steps that teach nothing, so that no iteration runs out of failures."""
DEFAULT_TEACHER = ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(autouse=True)
def _no_run_is_left_behind(tmp_path: Path) -> Iterator[None]:
    """Runs go on when their terminal is gone, so a test that fails would leave its run at work."""
    yield
    for lock in tmp_path.rglob("lock"):
        pid = holder(lock.parent)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def pane() -> Iterator[Terminal]:
    with tempfile.TemporaryDirectory(prefix="llm2llm-") as folder, terminal(Path(folder)) as pane:
        yield pane


def command(*arguments: str) -> str:
    return shlex.join([str(COMMAND), *arguments])


def test_a_mistake_in_the_configuration_is_said_in_the_shell(pane: Terminal, tmp_path: Path) -> None:
    (tmp_path / "llm2llm.toml").write_text("[nonsense]\n")
    pane.start(command("run"), tmp_path)
    screen = pane.until(lambda text: "it ended with code" in text)
    assert "it ended with code 2" in screen
    assert "nonsense: unknown key" in "".join(screen.splitlines()) and "Traceback" not in screen


def test_a_missing_configuration_leaves_nothing_behind(pane: Terminal, tmp_path: Path) -> None:
    pane.start(command("run"), tmp_path)
    assert "it ended with code 2" in pane.until(lambda text: "it ended with code" in text)
    assert list(tmp_path.iterdir()) == []


def test_it_is_whole_again_after_it_was_suspended(pane: Terminal, tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_graded_run(store, status=Status.DONE)
    pane.start("bash --norc -i", tmp_path)
    pane.press(command("tui"), "Enter")
    looks = [""]

    def is_whole(text: str) -> bool:
        """Two looks in a row show the same."""
        looks.append(text)
        return "1–1 of 1" in text and "q Quit" in text and looks[-2] == text

    before = pane.until(is_whole)
    pane.press("C-z")
    pane.until(lambda text: "Stopped" in text and "1–1 of 1" not in text)
    pane.press("fg", "Enter")
    pane.until(lambda text: text == before)


def test_a_killed_terminal_ui_leaves_its_run_running(pane: Terminal, tiny_models: TinyModels, tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "work", tiny_models, LONG_ENOUGH_TO_BE_KILLED)
    pane.start(command("run"), workspace.folder)
    pane.until(lambda text: "run 1" in text.splitlines()[0] and "iteration" in text.splitlines()[0])
    run = holder(run_folder(workspace.folder, 1))
    assert run is not None
    ui = psutil.Process(run).parent()  # it started the run
    assert ui is not None
    ui.send_signal(signal.SIGKILL)
    pane.until(lambda text: "it ended with code" in text)
    workspace.wait_until("done")
    assert not psutil.pid_exists(ui.pid)


def test_a_run_is_checked_started_and_stopped_by_keys_alone(
    pane: Terminal, tiny_models: TinyModels, tmp_path: Path
) -> None:
    workspace = make_workspace(tmp_path / "work", tiny_models)
    pane.start(command("tui"), workspace.folder)
    pane.until(lambda text: "n starts one" in text)
    pane.press("n")
    pane.until(lambda text: "llm2llm.toml" in text)
    pane.press("Enter")
    pane.until(lambda text: "F9 starts it" in text)
    pane.press("F9")
    pane.until(lambda text: "iteration" in text.splitlines()[0])
    assert list((workspace.folder / "runs").glob("process-*.log")) == []  # what it says lies with its run
    assert len(list((workspace.folder / "runs/1").glob("process-*.log"))) == 1
    pane.press("s")
    screen = pane.until(lambda text: "■ stopped" in text.splitlines()[0] or "✓ done" in text.splitlines()[0])
    if "stopped" in screen.splitlines()[0]:  # else it was at its last unit of work
        assert workspace.rows("SELECT command, status FROM commands") == [("stop", "done")]
        assert "r continues it" in screen
    pane.press("q")
    assert "it ended with code 0" in pane.until(lambda text: "it ended with code" in text)


def test_a_run_that_was_killed_is_resumed_with_one_key(pane: Terminal, tiny_models: TinyModels, tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "work", tiny_models, LONG_ENOUGH_TO_BE_KILLED)
    pane.start(command("run"), workspace.folder)
    pane.until(lambda text: "iteration" in text.splitlines()[0])
    run = holder(run_folder(workspace.folder, 1))
    assert run is not None
    os.kill(run, signal.SIGKILL)
    pane.until(lambda text: "r continues it; nothing is lost." in text)
    pane.press("r")
    pane.until(lambda text: "✓ done" in text.splitlines()[0])
    pane.press("q")
    screen = pane.until(lambda text: "it ended with code" in text)
    assert "test accuracy: seeds only" in screen  # the report
    assert "it ended with code 0" in screen


def test_watch_pause_leave_come_back_resume_and_stop_with_the_default_models(pane: Terminal, tmp_path: Path) -> None:
    """As a person does it, on the bundled task, with shorter trainings."""
    if not DEFAULT_TEACHER.is_file():
        pytest.skip("the default models are not there: make models")
    workspace = Workspace(tmp_path / "demo")
    made = Workspace(tmp_path).llm2llm("init", "demo", "--task", "demo", "--models", str(ROOT / "models"))
    assert made.code == 0, made.err
    pane.start(command("run", "--set", "student.epochs=2"), workspace.folder)
    pane.until(lambda text: "iteration 0" in text.splitlines()[0])  # not a stage that is over before it is drawn
    pane.press("p")
    pane.until(lambda text: "‖ paused" in text.splitlines()[0])
    pane.press("q")
    assert "it ended with code 0" in pane.until(lambda text: "it ended with code" in text)
    assert workspace.state() == "paused"

    pane.end()
    pane.start(command("tui", "1"), workspace.folder)
    pane.until(lambda text: "‖ paused" in text.splitlines()[0])
    pane.press("r")
    pane.until(lambda text: "▶ running" in text.splitlines()[0] and "iteration 1" in text.splitlines()[0])
    pane.resize(140, 45)
    pane.until(lambda text: len(text.splitlines()) > 40 and "iteration 1" in text.splitlines()[0])
    pane.press("s")
    pane.until(lambda text: "■ stopped" in text.splitlines()[0])
    pane.press("q")
    pane.until(lambda text: "it ended with code 0" in text)
    assert workspace.state() == "stopped"
    assert holder(run_folder(workspace.folder, 1)) is None
