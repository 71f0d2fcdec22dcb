"""One device for both: who has it, what is measured, and what happens when memory runs out."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from fakes import quiet
from worker_pools import (
    EXAMPLES,
    Open,
    Reports,
    never,
    teacher_requests,
)

from llm2llm_local.workers import pool as pool_module
from llm2llm_local.workers.memory import MemoryPlan
from llm2llm_local.workers.pool import WorkerPool

if TYPE_CHECKING:
    pass


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


class FakeWorker:
    """Stands in for a worker process; `diary` has what was done in order."""

    diary: list[str]
    pid = 1

    is_in_call = False

    def __init__(self, role: str, *_: object) -> None:
        self.role = role
        self.diary.append(f"{role} starts")

    def load(self, settings: object) -> None:
        self.diary.append(f"{self.role} loads")

    def begin(self, method: str, *arguments: Any) -> None:
        self.diary.append(f"{self.role} works")

    def finish(self, progress: Callable[[int, int], None]) -> int:
        return 0

    def stop(self) -> None:
        self.diary.append(f"{self.role} ends")

    def memory_bytes(self) -> int:
        return 0


@pytest.fixture
def diary(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens in a pool without real processes."""
    lines: list[str] = []
    monkeypatch.setattr(FakeWorker, "diary", lines, raising=False)
    monkeypatch.setattr(pool_module, "WorkerProcess", FakeWorker)
    return lines


def fake_pool(tmp_path: Path, plan: MemoryPlan) -> WorkerPool:
    settings: Any = None
    return WorkerPool(settings, settings, plan, tmp_path, 1, 0, Reports(), never)


def test_the_next_worker_starts_when_its_memory_is_free(
    diary: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = iter((100, 250, 299, 300))

    def free_bytes(device: str) -> int:
        diary.append(f"{device} is measured")
        return next(measured)

    monkeypatch.setattr(pool_module, "free_bytes", free_bytes)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    plan = MemoryPlan("cuda", teacher_bytes=200, student_bytes=300, free_bytes=400, keeps_both=False)
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


def test_workers_that_fit_together_stay(diary: list[str], tmp_path: Path) -> None:
    plan = MemoryPlan("cpu", teacher_bytes=200, student_bytes=300, free_bytes=600, keeps_both=True)
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


def test_a_closed_pool_starts_workers_again(diary: list[str], tmp_path: Path) -> None:
    """A paused run closes its pool to free the device, and goes on with it later."""
    with fake_pool(tmp_path, MemoryPlan("cpu", 0, 0, 0, True)) as pool:
        pool.teacher.check_prompts([], quiet)
        pool.close()
        pool.close()
        pool.teacher.check_prompts([], quiet)
    assert diary == ["teacher starts", "teacher loads", "teacher works", "teacher ends"] * 2
