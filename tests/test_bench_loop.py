"""`bench loop` with the tiny models: the same work in both ways, and nothing goes on when it is stopped."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from workspaces import COMMAND, PATIENCE_SECONDS, Workspace, add_run

from llm2llm_local.bench.lifeline import own_cpu_seconds, run_module
from llm2llm_local.bench.loop import REST, LoopCase, _parts, parts, process_per_stage
from llm2llm_local.bench.plan import resized
from llm2llm_local.bench.watching import RUN_CPU, SHARE, UI_CPU, TerminalUi
from llm2llm_local.errors import Llm2LlmError, UserInputError
from llm2llm_local.store.reader import SCHEMA_VERSION, STORE_NAME, open_reader
from llm2llm_local.store.writer import Store

if TYPE_CHECKING:
    from tiny_models import TinyModels

SIZES = ("--size", "iterations=1", "--size", "seeds=14", "--size", "tests=7", "--size", "epochs=1")


def test_without_models_it_says_how_to_name_them(tmp_path: Path) -> None:
    ending = Workspace(tmp_path).llm2llm("bench", "loop")
    assert ending.code == 2
    assert "no such model" in ending.err and "--teacher" in ending.err


def test_the_reference_does_what_our_run_did_and_so_needs_one(tmp_path: Path) -> None:
    with pytest.raises(Llm2LlmError, match="taken from our run"):
        process_per_stage(LoopCase(tmp_path, tmp_path, tmp_path))


@pytest.mark.parametrize(("size", "most"), [("seeds", 49), ("tests", 154)])
def test_more_rows_than_the_demo_has_are_refused(tmp_path: Path, size: str, most: int) -> None:
    (comparison,) = parts(tmp_path, tmp_path, tmp_path)
    assert resized([comparison], {size: most})
    with pytest.raises(UserInputError, match=f"--size {size}=500: the demo has {most}"):
        resized([comparison], {size: 500})


def test_seconds_are_told_by_part_also_those_of_a_stage_that_nobody_has_named(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        run = add_run(store)
        for stage, seconds in (("train", 1.0), ("predict", 2.0), ("grade", 4.0), ("audit", 8.0)):
            row = run.open_stage(0, stage, 0, "", {}, units=1)
            with run.transaction():
                run.mark_unit_done(row, seconds)
    with open_reader(tmp_path) as connection:
        parts = _parts(connection)
    assert parts == {"train": 1.0, "evaluate": 6.0, "teach": 0.0, "check": 0.0, "audit": 8.0}


def test_a_processs_cpu_seconds_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that it starts and waits for computes more than it does itself."""
    busy = "import time\nwhile time.process_time() < {}: pass\n"
    (tmp_path / "child.py").write_text(busy.format(0.8))
    (tmp_path / "parent.py").write_text(
        busy.format(0.4) + "import subprocess, sys\nsubprocess.run([sys.executable, sys.argv[1]], check=True)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    heard: list[float] = []
    arguments = ("parent", str(tmp_path / "child.py"))
    run_module(tmp_path / "log", *arguments, look=lambda pid: heard.append(own_cpu_seconds(pid)))
    assert 0.35 <= heard[-1] < 0.7
    with pytest.raises(Llm2LlmError, match=r"parent nowhere ended with code 1: .*CalledProcessError"):
        run_module(tmp_path / "log", "parent", "nowhere")


def test_a_terminal_ui_opens_on_the_run_and_what_it_takes_is_told(tmp_path: Path) -> None:
    with TerminalUi(tmp_path) as terminal_ui:
        terminal_ui.look(os.getpid())
        with Store(tmp_path):
            pass
        for version in (0, SCHEMA_VERSION):  # while the store is being made, and after
            with closing(sqlite3.connect(tmp_path / STORE_NAME)) as connection:
                connection.execute(f"PRAGMA user_version = {version}")
            terminal_ui.look(os.getpid())
        assert not children_with("tui")
        with Store(tmp_path) as store:
            add_run(store).open_stage(0, "predict", 0, "", {}, units=1)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while terminal_ui.figures().get(UI_CPU, 0) < 0.2:
            terminal_ui.look(os.getpid())
            assert time.monotonic() < deadline
        assert terminal_ui.figures()[RUN_CPU] == pytest.approx(own_cpu_seconds(os.getpid()), abs=0.5)
        assert terminal_ui.figures()[SHARE] > 0
        (process,) = children_with("tui")
    assert not process.is_running()


def test_a_terminal_ui_that_ends_early_is_an_error(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_run(store)
    with TerminalUi(tmp_path) as terminal_ui:
        terminal_ui.look(os.getpid())
        (process,) = children_with("tui")
        process.kill()
        with pytest.raises(Llm2LlmError, match="the terminal UI ended with code -9") as caught:
            for _ in range(100):
                terminal_ui.look(os.getpid())
                time.sleep(0.05)
    assert caught.value.message.isprintable()


@pytest.mark.model
def test_both_ways_do_the_same_work_and_tell_it_by_stage(tmp_path: Path, tiny_models: TinyModels) -> None:
    models = ("--teacher", tiny_models.teacher, "--student", tiny_models.student)
    ending = Workspace(tmp_path).llm2llm("bench", "loop", "--json", *models, *SIZES)
    assert ending.code == 0, ending.err
    (comparison,) = json.loads(ending.out)["comparisons"]
    ours, reference = comparison["contenders"]
    assert ours["not_run"] is None and reference["not_run"] is None
    counts = ours["repeats"][0]["counts"]
    others = reference["repeats"][0]["counts"]
    assert counts.pop("reply tokens") > 0 and others.pop("reply tokens") > 0  # sampled: as many as there happen to be
    assert counts == others
    assert counts["trained"] >= 28 and counts["evaluated"] == 2 * (14 + 28 + 7) and counts["requests"] > 0
    assert set(ours["repeats"][0]["parts"]) == {"train", "evaluate", "teach", "check", REST}
    assert set(reference["repeats"][0]["parts"]) == {"train", "evaluate", "teach", REST}
    figures = ours["repeats"][0]["figures"]
    # They start, hash, write and draw; torch, which takes seconds to import, is the workers'.
    seconds = sum(ours["repeats"][0]["parts"].values())
    assert all(0.1 < figures[name] < 0.9 * seconds for name in (RUN_CPU, UI_CPU))
    assert 0 < figures[SHARE] < 100
    assert reference["repeats"][0]["figures"] == {}
    for one in (ours, reference):
        assert sum(one["repeats"][0]["parts"].values()) == pytest.approx(one["median_seconds"], rel=0.2)
        assert one["peak_bytes"] > 250_000_000  # torch alone takes that: processes that were started count
    assert reference["ratio"]["median"] > 0


@pytest.mark.model
def test_a_run_that_is_measured_ends_with_the_measurement(tmp_path: Path, tiny_models: TinyModels) -> None:
    models = ["--teacher", str(tiny_models.teacher), "--student", str(tiny_models.student)]
    process = subprocess.Popen([COMMAND, "bench", "loop", *models], cwd=tmp_path, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (started := descendants(process.pid, "--headless")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=PATIENCE_SECONDS)
    psutil.wait_procs(started, timeout=PATIENCE_SECONDS)
    assert not [one for one in started if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def children_with(word: str) -> list[psutil.Process]:
    return descendants(os.getpid(), word)


def descendants(pid: int, word: str) -> list[psutil.Process]:
    found = []
    for one in psutil.Process(pid).children(recursive=True):
        try:
            if word in one.cmdline():
                found.append(one)
        except psutil.Error:
            continue
    return found
