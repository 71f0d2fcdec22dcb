"""What becomes of work whose worker died, and what is told of its death."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
from fakes import quiet
from worker_pools import (
    Once,
    Open,
    never,
    teacher_requests,
    without_times,
)

from llm2llm_local.errors import WorkerError
from llm2llm_local.workers.process import WorkerDiedError, WorkerProcess, _last_line

# --- workers that die ---


@pytest.mark.model
def test_a_worker_that_keeps_dying_is_an_error(open_pool: Open) -> None:
    opened = open_pool(retries=1)
    killing = Once(lambda: os.kill(opened.reports.pids("teacher")[-1], signal.SIGKILL), times=2)
    with pytest.raises(WorkerError, match="the teacher worker was killed by SIGKILL") as caught:
        opened.pool.teacher.generate(teacher_requests(50), killing)
    assert "2 times at the same work" in caught.value.message
    assert str(opened.logs / "teacher.log") in caught.value.remedy
    assert "llm2llm resume" in caught.value.remedy
    assert len(opened.reports.pids("teacher")) == 2
    assert [message[-14:] for message in opened.reports.of("worker_died")] == ["attempt 1 of 2", "attempt 2 of 2"]
    assert not any(psutil.pid_exists(pid) for pid in opened.reports.pids("teacher"))

    # The next work has all its retries again.
    killing = Once(lambda: os.kill(opened.reports.pids("teacher")[-1], signal.SIGKILL))
    assert len(opened.pool.teacher.generate(teacher_requests(50), killing)) == 50


@pytest.mark.model
def test_a_worker_that_died_between_two_calls_is_replaced(open_pool: Open) -> None:
    opened = open_pool()
    before = opened.pool.teacher.generate(teacher_requests(2), quiet)
    (pid,) = opened.reports.pids("teacher")
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert without_times(opened.pool.teacher.generate(teacher_requests(2), quiet)) == without_times(before)
    assert len(opened.reports.of("worker_died")) == 1


@pytest.mark.model
def test_a_worker_that_hangs_is_replaced(open_pool: Open) -> None:
    opened = open_pool()

    def stop_it() -> None:
        os.kill(opened.reports.pids("teacher")[-1], signal.SIGSTOP)
        opened.pool._workers["teacher"]._timeout_seconds = 0.5  # of this one; the next may take its time to load

    stopping = Once(stop_it)
    replies = opened.pool.teacher.generate(teacher_requests(20), stopping)
    first, second = opened.reports.pids("teacher")
    assert not psutil.pid_exists(first)
    assert opened.reports.of("worker_died") == ["the teacher worker said nothing for 0.5 s; attempt 1 of 3"]
    assert without_times(replies) == without_times(opened.pool.teacher.generate(teacher_requests(20), quiet))
    assert opened.reports.pids("teacher") == [first, second]


@pytest.mark.model
def test_a_worker_that_is_busy_for_long_but_shows_signs_of_life_is_left_alone(open_pool: Open) -> None:
    opened = open_pool()
    opened.pool.teacher.check_prompts(teacher_requests(1), quiet)
    opened.pool._workers["teacher"]._timeout_seconds = 0.8
    started = psutil.Process(opened.reports.pids("teacher")[0]).cpu_times().user
    opened.pool.teacher.generate(teacher_requests(1500, max_tokens=40), quiet)
    assert psutil.Process(opened.reports.pids("teacher")[0]).cpu_times().user - started > 0.8
    assert not opened.reports.of("worker_died")


@pytest.mark.model
def test_a_failure_nobody_thought_of_ends_the_worker_and_is_in_its_log(open_pool: Open) -> None:
    opened = open_pool(retries=0)
    nothing: Any = None
    broken = [dataclasses.replace(teacher_requests(1)[0], sampling=nothing)]
    with pytest.raises(WorkerError, match="the teacher worker failed: AttributeError: 'NoneType' object"):
        opened.pool.teacher.generate(broken, quiet)
    assert "Traceback (most recent call last)" in (opened.logs / "teacher.log").read_text()
    assert not psutil.pid_exists(opened.reports.pids("teacher")[0])
    assert len(opened.pool.teacher.generate(teacher_requests(2), quiet)) == 2


ABORTING = """
import os
os.write(2, {words!r})
os.abort()
"""


@pytest.mark.parametrize(
    ("words", "ran_out"), [(b"CUDA error: out of memory\n", True), (b"GGML_ASSERT(n > 0) failed\n", False)]
)
def test_a_worker_that_aborts_for_want_of_memory_ran_out_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: bytes, ran_out: bool
) -> None:
    """What the workers before it wrote to the same log doesn't count."""
    (tmp_path / "aborting.py").write_text(ABORTING.format(words=words))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    log = tmp_path / "teacher.log"
    log.write_text("CUDA error: out of memory\n")
    worker = WorkerProcess("teacher", log, 60, never, module="aborting")
    with pytest.raises(WorkerDiedError, match="SIGABRT") as caught:
        worker.call("generate")
    worker.stop()
    assert (caught.value.ran_out_of_memory, caught.value.was_killed) == (ran_out, False)


# --- the last words of a worker that died ---

WARNED = "/x/torch/lora.py:12: UserWarning: a setting is odd\n  warnings.warn(\n"


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (f"loading\n{WARNED}", "loading"),
        (f"loading\n{WARNED}\n  \n{WARNED}", "loading"),
        (f"{WARNED}RuntimeError: out of memory\n\n", "RuntimeError: out of memory"),
        ("/x/lora.py:12: FutureWarning: it goes\nTraceback:\n  File x\n", "File x"),
        ("<string>:1: DeprecationWarning: old\n  f()\n", ""),
        ("Warning: the disk is slow\n", "Warning: the disk is slow"),
        (WARNED, ""),
        ("", ""),
    ],
)
def test_last_words_are_no_warnings_of_python(log: str, words: str) -> None:
    assert _last_line(log) == words
