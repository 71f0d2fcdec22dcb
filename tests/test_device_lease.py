"""One device for both: who has it when, how it is handed over, and what is left of the former holder."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from fake_workers import FOR_A_TEST, STUDENT, FakeWorker, fake_pool
from fakes import quiet
from worker_pools import EXAMPLES, Open, Reports, never, teacher_requests, without_times

from llm2llm_local.errors import RunStoppedError
from llm2llm_local.student.protocol import StudentSettings
from llm2llm_local.workers import pool as pool_module
from llm2llm_local.workers.memory import MemoryPlan, free_bytes
from llm2llm_local.workers.pool import WorkerPool


@pytest.mark.model
def test_one_at_a_time_when_both_do_not_fit(open_pool: Open, tmp_path: Path) -> None:
    opened = open_pool(keeps_both=False)
    alive: list[list[bool]] = []

    def look() -> None:
        pids = [*opened.reports.pids("teacher"), *opened.reports.pids("student")]
        alive.append([psutil.pid_exists(pid) for pid in pids])

    opened.reports.on_start = look
    first = opened.pool.teacher.generate(teacher_requests(2), quiet)
    opened.pool.student.check_lengths(EXAMPLES, quiet)
    assert opened.pool.teacher.generate(teacher_requests(2), quiet)[0].text == first[0].text
    assert alive == [[True], [False, True], [False, True, False]]
    assert not opened.reports.of("worker_died")


# --- memory is measured, not hoped for ---


def test_the_next_worker_starts_when_its_memory_is_free(
    diary: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = iter((100, 250, 299, 300))

    def free_bytes(device: str) -> int:
        diary.append(f"{device} is measured")
        return next(measured)

    monkeypatch.setattr(pool_module, "free_bytes", free_bytes)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    plan = MemoryPlan("cuda", teacher_bytes=200, student_bytes=300, free_bytes=400, keeps_both=False, reason=FOR_A_TEST)
    with fake_pool(tmp_path, plan) as pool:
        pool.teacher.check_prompts([], quiet)
        pool.student.check_lengths((), quiet)
    assert diary == [
        "teacher starts",
        "teacher loads",
        "student starts",
        "teacher works",
        "teacher ends",
        *["cuda is measured"] * 4,
        "student loads",
        "teacher starts",
        "student works",
        "student ends",
        "teacher ends",
    ]


def test_a_wait_for_memory_can_be_interrupted(
    diary: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop() -> None:
        raise RunStoppedError("stopped at once")

    monkeypatch.setattr(pool_module, "free_bytes", lambda device: 0)
    teacher: Any = None
    plan = MemoryPlan("cuda", teacher_bytes=200, student_bytes=300, free_bytes=400, keeps_both=False, reason=FOR_A_TEST)
    with WorkerPool(teacher, STUDENT, plan, tmp_path, 1, 0, Reports(), stop) as pool:
        pool.teacher.check_prompts([], quiet)
        with pytest.raises(RunStoppedError):
            pool.student.check_lengths((), quiet)
    assert "student loads" not in diary


def test_workers_that_fit_together_stay(diary: list[str], tmp_path: Path) -> None:
    plan = MemoryPlan("cpu", teacher_bytes=200, student_bytes=300, free_bytes=600, keeps_both=True, reason=FOR_A_TEST)
    with fake_pool(tmp_path, plan) as pool:
        for _ in range(2):
            pool.teacher.check_prompts([], quiet)
            pool.student.check_lengths((), quiet)
    assert [line for line in diary if "works" not in line] == [
        "teacher starts",
        "teacher loads",
        "student starts",
        "student loads",
        "teacher ends",
        "student ends",
    ]


@pytest.mark.parametrize("keeps_both", [True, False])
def test_a_student_leaves_a_teacher_beside_it_what_that_takes(
    diary: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keeps_both: bool
) -> None:
    """What it keeps to save time must not be the teacher's room, whichever is loaded first: after a pause it is it."""
    left: list[int] = []

    def load(worker: FakeWorker, settings: StudentSettings | None) -> None:
        if settings is not None:
            left.append(settings.reserved_bytes)

    monkeypatch.setattr(FakeWorker, "load", load)
    plan = MemoryPlan("cpu", teacher_bytes=200, student_bytes=300, free_bytes=600, keeps_both=keeps_both, reason="")
    with fake_pool(tmp_path, plan) as pool:
        pool.student.check_lengths((), quiet)
        pool.close()
        pool.teacher.check_prompts([], quiet)
        pool.student.check_lengths((), quiet)
    assert left == [230 if keeps_both else 30] * 2


def test_a_closed_pool_starts_workers_again(diary: list[str], tmp_path: Path) -> None:
    """A paused run closes its pool to free the device, and goes on with it later."""
    with fake_pool(tmp_path, MemoryPlan("cpu", 0, 0, 0, True, FOR_A_TEST)) as pool:
        pool.teacher.check_prompts([], quiet)
        pool.close()
        pool.close()
        pool.teacher.check_prompts([], quiet)
    assert diary == ["teacher starts", "teacher loads", "teacher works", "teacher ends"] * 2


# --- a call that is begun before the last one's results are written ---


def test_a_call_that_was_begun_is_only_waited_for(diary: list[str], tmp_path: Path) -> None:
    with fake_pool(tmp_path, MemoryPlan("cpu", 0, 0, 0, True, FOR_A_TEST)) as pool:
        pool.teacher.generate([], quiet)
        wait = pool.teacher.begin_generate([])
        diary.append("written")
        wait(quiet)
        assert diary == ["teacher starts", "teacher loads", "teacher works", "teacher works", "written"]


def test_without_a_worker_a_call_begins_when_it_is_waited_for(diary: list[str], tmp_path: Path) -> None:
    """Starting one takes the device, and perhaps ends the other: not while something is being written."""
    with fake_pool(tmp_path, MemoryPlan("cpu", 0, 0, 0, True, FOR_A_TEST)) as pool:
        wait = pool.teacher.begin_generate([])
        assert diary == []
        wait(quiet)
        assert diary == ["teacher starts", "teacher loads", "teacher works"]


def test_a_call_ahead_of_a_pause_is_begun_again_after_it(diary: list[str], tmp_path: Path) -> None:
    with fake_pool(tmp_path, MemoryPlan("cpu", 0, 0, 0, True, FOR_A_TEST)) as pool:
        pool.teacher.generate([], quiet)
        wait = pool.teacher.begin_generate([])
        pool.close()
        wait(quiet)
    begun = ["teacher starts", "teacher loads", "teacher works"]
    assert diary == [*begun, "teacher works", "teacher ends", *begun, "teacher ends"]


@pytest.mark.model
def test_a_worker_killed_ahead_of_the_wait_is_replaced_and_answers_the_same(open_pool: Open) -> None:
    """As when it dies while the results before it are written."""
    opened = open_pool()
    before = opened.pool.teacher.generate(teacher_requests(3), quiet)
    wait = opened.pool.teacher.begin_generate(teacher_requests(3))
    (pid,) = opened.reports.pids("teacher")
    os.kill(pid, signal.SIGKILL)
    assert without_times(wait(quiet)) == without_times(before)
    assert len(opened.reports.of("worker_died")) == 1
    assert len(opened.reports.pids("teacher")) == 2


# --- hand-over ---


def test_a_hand_over_is_told_with_its_first_sign_of_work(
    diary: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0

    def load(worker: FakeWorker, settings: object) -> None:
        nonlocal now
        now += 7

    def finish(worker: FakeWorker, progress: Callable[[int, int], None]) -> int:
        nonlocal now
        now += 1
        progress(1, 2)
        now += 50
        return 0

    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(FakeWorker, "load", load)
    monkeypatch.setattr(FakeWorker, "finish", finish)
    reports = Reports()
    settings: Any = None
    plan = MemoryPlan("cpu", 0, 0, 0, keeps_both=False, reason=FOR_A_TEST)
    with WorkerPool(settings, STUDENT, plan, tmp_path, 1, 0, reports, never) as pool:
        pool.teacher.check_prompts([], quiet)
        pool.student.check_lengths((), quiet)
        pool.student.check_lengths((), quiet)
        pool.teacher.check_prompts([], quiet)
    assert reports.of("hand_over") == [
        "hand-over teacher → student: 8.0 s, of which loading 7.0 s",
        "hand-over student → teacher: 8.0 s, of which loading 7.0 s",
    ]


@pytest.mark.parametrize("keeps_both", [True, False])
def test_a_load_that_ends_nobody_is_no_hand_over(diary: list[str], tmp_path: Path, keeps_both: bool) -> None:
    """Both stay, or the device was given back in between: the next load takes it from nobody."""
    reports, settings = Reports(), None
    plan = MemoryPlan("cpu", 0, 0, 0, keeps_both, FOR_A_TEST)
    with WorkerPool(settings, STUDENT, plan, tmp_path, 1, 0, reports, never) as pool:  # type: ignore[arg-type]
        pool.teacher.check_prompts([], quiet)
        if not keeps_both:
            pool.close()
        pool.student.check_lengths((), quiet)
        pool.student.check_lengths((), quiet)
    assert len(reports.of("worker_started")) == 2
    assert not reports.of("hand_over")


@pytest.mark.model
def test_nothing_of_the_former_holder_is_left_in_memory(open_pool: Open) -> None:
    """Measured at the processes: only the new holder's is there, and this one has not grown by a model."""
    opened = open_pool(keeps_both=False)
    mine = psutil.Process()
    opened.pool.teacher.generate(teacher_requests(2), quiet)
    before = mine.memory_info().rss
    opened.pool.student.check_lengths(EXAMPLES, quiet)
    opened.pool.teacher.generate(teacher_requests(2), quiet)
    children = [child for child in mine.children(recursive=True) if "llm2llm_local.workers.main" in child.cmdline()]
    assert [child.pid for child in children] == opened.reports.pids("teacher")[-1:]
    assert mine.memory_info().rss - before < 20 * 2**20


@pytest.mark.model
def test_nothing_of_the_former_holder_is_left_on_a_gpu(open_pool: Open) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU whose memory could be measured")
    free = free_bytes("cuda")
    opened = open_pool(keeps_both=False, device="cuda")
    opened.pool.teacher.generate(teacher_requests(2), quiet)
    of_teacher = free - free_bytes("cuda")
    opened.pool.student.check_lengths(EXAMPLES, quiet)
    of_student = free - free_bytes("cuda")
    opened.pool.close()
    assert free - free_bytes("cuda") < 64 * 2**20 < min(of_teacher, of_student)
