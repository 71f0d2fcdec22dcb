"""Runs at work are paused, stopped, interrupted and killed, and go on as if nothing had been."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from comparison import differences
from endings import DONE, FAILED, RESUMABLE, assert_refused
from workspaces import PATIENCE_SECONDS, Workspace, make_workspace, wait_for

from llm2llm_local.store.writer import Store

if TYPE_CHECKING:
    from tiny_models import TinyModels

Started = Callable[..., tuple[Workspace, subprocess.Popen[str]]]


@pytest.fixture
def started(tiny_models: TinyModels, tmp_path: Path) -> Iterator[Started]:
    """Starts runs of the same configuration as the finished run's, unless fields are changed."""
    processes: list[subprocess.Popen[str]] = []

    def start(**fields: str) -> tuple[Workspace, subprocess.Popen[str]]:
        changes = {name.replace("__", "."): value for name, value in fields.items()}
        workspace = make_workspace(tmp_path / "workspace", tiny_models, changes)
        processes.append(workspace.start("run"))
        return workspace, processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def end_of(process: subprocess.Popen[str]) -> int:
    return process.wait(PATIENCE_SECONDS)


@pytest.mark.model
def test_a_live_run_is_not_resumed_twice_and_stops_when_told(started: Started, finished_run: Workspace) -> None:
    workspace, process = started()
    assert workspace.wait_until("running").pid == process.pid
    with frozen_workers(process):
        assert_refused(workspace.llm2llm("resume", "1"), f"run 1 is being worked on by process {process.pid}")
        assert workspace.llm2llm("pause", "1").code == DONE
        back = workspace.llm2llm("resume", "1")
        assert (back.code, back.err) == (DONE, f"run 1 goes on in process {process.pid}: pause taken back in time\n")
        told = workspace.llm2llm("stop")
    assert (told.code, told.err) == (DONE, "")
    assert f"run 1 will stop after its current unit of work (process {process.pid})" in told.out
    assert end_of(process) == RESUMABLE
    assert re.search(r"^llm2llm: run 1 stopped", workspace.error_output(), re.MULTILINE)
    lines = workspace.llm2llm("status").out.splitlines()
    assert lines[0].startswith("run 1  stopped  ")
    assert lines[1] == "    continue it: llm2llm resume 1"

    resumed = workspace.llm2llm("resume")
    assert resumed.code == DONE, resumed.err
    assert resumed.out.startswith("run 1: done")
    assert differences(workspace.folder, 1, finished_run.folder, 1) == []


@pytest.mark.model
def test_a_paused_run_frees_its_models_and_goes_on(started: Started, finished_run: Workspace) -> None:
    workspace, process = started()
    workspace.wait_until("running")
    with frozen_workers(process):
        assert workspace.llm2llm("pause", "1").code == DONE
    assert workspace.wait_until("paused").pid == process.pid
    wait_for(lambda: "paused; go on with: llm2llm resume 1" in workspace.error_output())
    assert children(process.pid) == []
    units = workspace.rows("SELECT sum(units_done) FROM stages")
    time.sleep(1)
    assert workspace.rows("SELECT sum(units_done) FROM stages") == units

    resumed = workspace.llm2llm("resume", "1")
    assert resumed.code == DONE, resumed.err
    assert f"run 1 goes on in process {process.pid}" in resumed.err
    assert end_of(process) == DONE
    assert workspace.state() == "done"
    assert differences(workspace.folder, 1, finished_run.folder, 1) == []
    words = workspace.rows("SELECT command, status FROM commands ORDER BY id")
    assert words == [("pause", "done"), ("resume", "done")]


@pytest.mark.model
def test_a_run_of_a_configuration_that_lies_elsewhere_advises_its_folder(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    """The store lies beside the configuration: from where the person is, commands need that folder."""
    workspace, here = make_workspace(tmp_path / "there", tiny_models), Workspace(tmp_path)
    with here.start("run", "there/llm2llm.toml") as process:
        try:
            workspace.wait_until("running")
            with frozen_workers(process):
                assert here.llm2llm("-C", "there", "pause", "1").code == DONE
            wait_for(lambda: "paused; go on with: llm2llm -C there resume 1\n" in here.error_output())
            assert here.llm2llm("-C", "there", "stop", "1").code == DONE
            assert end_of(process) == RESUMABLE
        finally:
            process.kill()
    assert here.error_output().endswith("Continue: llm2llm -C there resume 1\n")


@contextmanager
def frozen_workers(process: subprocess.Popen[str]) -> Iterator[None]:
    """No unit is finished meanwhile, so that the run can't end before it was told something."""
    wait_for(lambda: len(children(process.pid)) == 2)
    workers = children(process.pid)
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.model
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_interrupt_stops_a_run_after_its_unit(started: Started, number: signal.Signals) -> None:
    workspace, process = started(student__epochs="40", loop__iterations="1")  # some 60 segments in a few seconds
    wait_for(lambda: n_units(workspace) > 2)
    process.send_signal(number)
    assert end_of(process) == RESUMABLE
    err = workspace.error_output()
    assert "stopping after this unit of work; Ctrl-C again stops at once" in " ".join(err.split())
    assert "Traceback" not in err
    assert workspace.state() == "stopped"
    ((done, total, segments),) = workspace.rows(
        "SELECT units_done, units_total, (SELECT count(*) FROM checkpoints) FROM stages"
    )
    assert 2 < done == segments < total
    resumed = workspace.llm2llm("resume")
    assert resumed.code == DONE, resumed.err
    assert f"iteration 0 train: {total - done} segments" in resumed.err
    assert workspace.rows("SELECT count(*) FROM stages WHERE units_done != units_total OR status != 'done'") == [(0,)]


def n_units(workspace: Workspace) -> int:
    try:
        rows = workspace.rows("SELECT coalesce(sum(units_done), 0) FROM stages")
    except sqlite3.OperationalError:  # the store is just being made
        return 0
    return int(rows[0][0]) if rows else 0


@pytest.mark.model
def test_two_interrupts_stop_a_run_within_its_unit(started: Started) -> None:
    workspace, process = started(student__epochs="100", student__checkpoint_steps="100000", loop__iterations="1")
    wait_for(lambda: "iteration 0 train: 1 segment\n" in workspace.error_output())
    time.sleep(0.2)  # well within the only segment
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert end_of(process) == RESUMABLE
    err = workspace.error_output()
    assert "Traceback" not in err
    assert n_units(workspace) == 0, "the unit was worked to its end"
    assert re.search(r"^llm2llm: .*stopped at once by .*Ctrl-C", err, re.MULTILINE)
    assert workspace.state() == "stopped"
    assert workspace.llm2llm("resume").code == DONE
    assert workspace.rows("SELECT status FROM runs") == [("done",)]


@pytest.mark.model
def test_an_audit_that_is_interrupted_promises_nothing(tiny_models: TinyModels, tmp_path: Path) -> None:
    """Its store is a temporary one: there is no run to resume."""
    fields = {"checks.verify": '"on"', "checks.verifier": '"student"', "student.epochs": "100"}
    workspace = make_workspace(tmp_path, tiny_models, fields)
    with workspace.start("doctor", "--audit") as process:
        try:
            wait_for(lambda: "fold_train" in workspace.error_output())
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            assert end_of(process) == RESUMABLE
        finally:
            process.kill()
    assert "the audit was stopped, and nothing of it is kept" in workspace.error_output()
    assert "resume" not in workspace.error_output() and not workspace.store.exists()


@pytest.mark.model
def test_an_interrupt_before_anything_was_done_leaves_a_resumable_run_or_none(started: Started) -> None:
    """The store has perhaps not even been made."""
    workspace, process = started()
    wait_for(workspace.store.exists)
    process.send_signal(signal.SIGINT)
    code = end_of(process)
    assert "Traceback" not in workspace.error_output()
    with Store(workspace.folder):  # so that another run can start
        pass
    status = workspace.llm2llm("status", "--json")
    assert status.code == DONE, status.err
    states = [state["state"] for state in status.json()]
    assert (code, states) in [(FAILED, []), (FAILED, ["interrupted"]), (RESUMABLE, ["stopped"])]


@pytest.mark.model
def test_a_killed_run_is_shown_as_interrupted(started: Started) -> None:
    workspace, process = started()
    workspace.wait_until("running")
    process.kill()
    process.wait()
    assert workspace.wait_until("interrupted").pid is None
    assert workspace.llm2llm("status", "1").out.splitlines()[1] == "    continue it: llm2llm resume 1"
