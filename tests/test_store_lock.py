"""A run is worked on by one process, and a process that dies leaves it to the next."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm2llm_local.errors import RunBusyError
from llm2llm_local.store.lock import RunLock, holder


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock in `tmp_path`."""
    program = (
        "import sys; from pathlib import Path; from llm2llm_local.store.lock import RunLock;"
        "lock = RunLock(Path(sys.argv[1]), 1); print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_run_is_worked_on_by_one_process(tmp_path: Path, worker: subprocess.Popen[str]) -> None:
    assert holder(tmp_path) == worker.pid
    with pytest.raises(RunBusyError, match=f"run 7 is being worked on by process {worker.pid}"):
        RunLock(tmp_path, 7)
    assert holder(tmp_path) == worker.pid


def test_the_lock_dies_with_a_killed_process(tmp_path: Path, worker: subprocess.Popen[str]) -> None:
    worker.kill()
    worker.wait()
    assert (tmp_path / "lock").read_text() == f"{worker.pid}\n"  # what is left says nothing by itself
    assert holder(tmp_path) is None
    with RunLock(tmp_path, 1):
        assert holder(tmp_path) == os.getpid()
    assert holder(tmp_path) is None


def test_a_run_that_was_never_worked_on_has_no_holder(tmp_path: Path) -> None:
    assert holder(tmp_path / "runs" / "1") is None


def test_looking_at_the_lock_does_not_keep_a_run_from_starting(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from llm2llm_local.store.lock import holder\n"
        "print('x', flush=True)\n"
        "while True: holder(Path(sys.argv[1]))"
    )
    RunLock(tmp_path, 1).release()
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "x\n"
        try:
            for _ in range(200):
                RunLock(tmp_path, 1).release()
            assert process.poll() is None  # it looked all the while
        finally:
            process.kill()
