"""A run for which the disk is too small is refused before anything is made, in the words that doctor has for it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, NoReturn

import pytest
from endings import DONE, USER_INPUT
from workspaces import Workspace, copied, make_workspace

from llm2llm_local.doctor import diagnose
from llm2llm_local.errors import UserInputError
from llm2llm_local.headless import headless_watcher
from llm2llm_local.loop import start
from llm2llm_local.loop.control import Interrupts
from llm2llm_local.loop.inputs import disk_plan, read_inputs
from llm2llm_local.loop.start import fork_run, resume_run, start_run

if TYPE_CHECKING:
    from tiny_models import TinyModels

pytestmark = pytest.mark.model


@pytest.fixture
def workspace(finished_run: Workspace, tmp_path: Path) -> Workspace:
    return copied(finished_run, tmp_path / "workspace")


def leave_free(monkeypatch: pytest.MonkeyPatch, n_bytes: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=n_bytes))


def start_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_far(*arguments: object) -> NoReturn:
        raise AssertionError("a run is worked on")

    monkeypatch.setattr(start, "work", too_far)


def errors(workspace: Workspace) -> list[str]:
    return [finding.text for finding in diagnose(workspace.config, ()) if finding.is_error]


def need(workspace: Workspace, overrides: Sequence[str] = (), n_trained: int = 0) -> int:
    return disk_plan(read_inputs(workspace.config, overrides), n_trained).needed_bytes


def test_a_run_that_does_not_fit_the_disk_leaves_nothing_behind(
    tmp_path: Path, tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make_workspace(tmp_path, tiny_models)
    before = sorted(tmp_path.rglob("*"))
    start_nothing(monkeypatch)
    leave_free(monkeypatch, need(workspace) - 1)
    with headless_watcher() as watcher, pytest.raises(UserInputError) as caught:
        start_run(workspace.config, (), watcher, Interrupts())
    assert (caught.value.exit_code, [caught.value.message]) == (USER_INPUT, errors(workspace))
    assert str(tmp_path) in caught.value.remedy
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_just_fits_is_no_error(
    tmp_path: Path, tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make_workspace(tmp_path, tiny_models)
    leave_free(monkeypatch, need(workspace))
    assert errors(workspace) == []
    start_nothing(monkeypatch)
    with headless_watcher() as watcher, pytest.raises(AssertionError, match="is worked on"):
        start_run(workspace.config, (), watcher, Interrupts())


def test_a_fork_that_does_not_fit_the_disk_leaves_nothing_behind(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ("student.epochs=7",)  # every training is another
    start_nothing(monkeypatch)
    leave_free(monkeypatch, need(workspace, overrides) - 1)
    with headless_watcher() as watcher, pytest.raises(UserInputError, match="disk: about"):
        fork_run(workspace.folder, 1, None, overrides, watcher, Interrupts())
    assert workspace.rows("SELECT run_id FROM runs") == [(1,)]


def test_a_run_is_resumed_where_what_is_left_of_it_fits(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert need(workspace) > need(workspace, n_trained=1) > need(workspace, n_trained=3) == 0
    workspace.execute("UPDATE runs SET status = 'failed'")
    workspace.execute("UPDATE stages SET status = 'running' WHERE iteration = 2")
    start_nothing(monkeypatch)
    leave_free(monkeypatch, need(workspace, n_trained=2) - 1)
    with headless_watcher() as watcher, pytest.raises(UserInputError, match="disk: about"):
        resume_run(workspace.folder, 1, watcher, Interrupts())
    assert workspace.rows("SELECT count(*) FROM events WHERE kind = 'run_resumed'") == [(0,)]
    leave_free(monkeypatch, need(workspace, n_trained=2))
    with headless_watcher() as watcher, pytest.raises(AssertionError, match="is worked on"):
        resume_run(workspace.folder, 1, watcher, Interrupts())
    assert workspace.llm2llm("status").code == DONE
