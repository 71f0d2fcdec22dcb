"""What happens when memory runs out: they take turns first, then the teacher gets smaller, then the error stands."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_workers import FOR_A_TEST, STUDENT, FakeWorker, planned_student
from fakes import quiet
from worker_pools import Reports, never

from llm2llm_local.errors import OutOfMemoryError
from llm2llm_local.model_files.folder import WeightCounts
from llm2llm_local.workers import pool as pool_module
from llm2llm_local.workers.memory import MemoryPlan, plan_memory
from llm2llm_local.workers.pool import WorkerPool
from llm2llm_local.workers.process import WorkerDiedError

MIB = 2**20


# --- the teacher runs out of memory ---


class Shrinking:
    """Plans with fewer and fewer sequences; remembers why."""

    def __init__(self, n_parallel: int) -> None:
        self.n_parallel = n_parallel
        self.reasons: list[str] = []
        self.short_of: list[str] = []

    def __call__(self, why: str, what: str, plan: MemoryPlan) -> tuple[Any, MemoryPlan] | None:
        if self.n_parallel == 1:
            return None
        self.reasons.append(why)
        self.short_of.append(what)
        self.n_parallel //= 2
        return self.n_parallel, plan


def too_large(monkeypatch: pytest.MonkeyPatch, error: Exception, fits: int) -> None:
    """Workers whose settings are a number, and which fail when it is above `fits`."""

    def load(worker: FakeWorker, settings: int) -> None:
        if settings > fits:
            raise error

    monkeypatch.setattr(FakeWorker, "load", load)


def shrinking_pool(
    tmp_path: Path,
    shrink: Shrinking,
    reports: Reports,
    retries: int = 0,
    take_turns: Callable[[MemoryPlan], None] = lambda plan: None,
) -> WorkerPool:
    settings: Any = shrink.n_parallel
    plan = MemoryPlan("cpu", 0, 0, 0, True, FOR_A_TEST)
    return WorkerPool(settings, STUDENT, plan, tmp_path, 1, retries, reports, never, shrink, take_turns)


def test_what_does_not_fit_is_tried_smaller_until_it_does(
    diary: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_large(monkeypatch, OutOfMemoryError("no room for it"), fits=2)
    shrink = Shrinking(8)
    with shrinking_pool(tmp_path, shrink, Reports()) as pool:
        assert pool.teacher.check_prompts([], quiet) == 0
    assert (shrink.n_parallel, shrink.reasons) == (2, ["no room for it"] * 2)


def test_when_nothing_smaller_is_left_the_error_stands(
    diary: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_large(monkeypatch, OutOfMemoryError("no room for it", "Take a smaller model."), fits=0)
    with (
        shrinking_pool(tmp_path, Shrinking(4), Reports()) as pool,
        pytest.raises(OutOfMemoryError, match="no room for it"),
    ):
        pool.teacher.check_prompts([], quiet)


@pytest.mark.parametrize(("kills_of_the_kernel", "n_parallel"), [([0, 1], 4), ([0, 0], 8)])
def test_a_kill_changes_the_plan_only_when_the_kernel_did_it_for_want_of_memory(
    diary: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kills_of_the_kernel: list[int],
    n_parallel: int,
) -> None:
    """A person may kill a worker, too: then the plan, and with it every reply, stays as it was."""
    deaths = [WorkerDiedError("it was killed", was_killed=True)]
    before, after = kills_of_the_kernel

    def load(worker: FakeWorker, settings: int) -> None:
        if deaths:
            raise deaths.pop()

    monkeypatch.setattr(FakeWorker, "load", load)
    monkeypatch.setattr(pool_module, "out_of_memory_kills", lambda: before if deaths else after)
    shrink, reports = Shrinking(8), Reports()
    with shrinking_pool(tmp_path, shrink, reports, retries=1) as pool:
        assert pool.teacher.check_prompts([], quiet) == 0
    assert shrink.n_parallel == n_parallel
    assert len(reports.of("worker_died")) == 1


def test_a_student_without_memory_says_so_itself(
    diary: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it has the device to itself there is nothing of the teacher left to make smaller."""
    work_fails(monkeypatch, "student", OutOfMemoryError("no room for it"))
    shrink, reports = Shrinking(4), Reports()
    with shrinking_pool(tmp_path, shrink, reports) as pool, pytest.raises(OutOfMemoryError):
        pool.teacher.check_prompts([], quiet)
        pool.student.check_lengths((), quiet)
    assert shrink.n_parallel == 4
    assert len(reports.of("memory_short")) == 1
    assert [line for line in diary if line.startswith("student")].count("student works") == 2


def test_a_student_that_does_not_fit_beside_a_loaded_teacher_gets_the_device_to_itself(
    diary: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(worker: FakeWorker, settings: int) -> None:
        if worker.role == "student" and "teacher ends" not in worker.diary:
            raise OutOfMemoryError("folder: does not fit into the memory of cuda", "", "weights")
        worker.diary.append(f"{worker.role} loads")

    monkeypatch.setattr(FakeWorker, "load", load)
    shrink, reports = Shrinking(4), Reports()
    with shrinking_pool(tmp_path, shrink, reports) as pool:
        pool.teacher.check_prompts([], quiet)
        assert pool.student.check_lengths((), quiet) == 0
    assert shrink.n_parallel == 4
    assert len(reports.of("memory_short")) == 1
    assert diary[diary.index("teacher ends") :].count("student loads") == 1


# --- memory runs out while both are loaded ---


def work_fails(monkeypatch: pytest.MonkeyPatch, role: str, error: Exception, only_beside_other: bool = False) -> None:
    """A worker that is short of memory at its work: always, or as long as the other is loaded."""

    def finish(worker: FakeWorker, progress: Callable[[int, int], None]) -> int:
        lives = {line.split()[0]: line.split()[1] != "ends" for line in worker.diary if line[-4:] in ("oads", "ends")}
        if worker.role == role and not (only_beside_other and sum(lives.values()) < 2):
            raise error
        return 0

    monkeypatch.setattr(FakeWorker, "finish", finish)


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError("no room for it"),
        WorkerDiedError("it was killed", was_killed=True),
        WorkerDiedError("it aborted", ran_out_of_memory=True),
    ],
)
@pytest.mark.parametrize("role", ["teacher", "student"])
def test_memory_that_runs_out_with_both_loaded_lets_them_take_turns_before_a_plan_changes(
    diary: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str, error: Exception
) -> None:
    work_fails(monkeypatch, role, error, only_beside_other=True)
    kills = iter(range(100))
    monkeypatch.setattr(pool_module, "out_of_memory_kills", lambda: next(kills))
    shrink, reports, told = Shrinking(8), Reports(), list[MemoryPlan]()
    with shrinking_pool(tmp_path, shrink, reports, take_turns=told.append) as pool:
        for _ in range(3):
            pool.teacher.check_prompts([], quiet)
            pool.student.check_lengths((), quiet)
    assert shrink.n_parallel == 8
    (said,) = reports.of("memory_short")
    assert said.endswith(f"from here on teacher and student take turns, although {FOR_A_TEST}")
    assert [(plan.keeps_both, plan.reason) for plan in told] == [(False, "memory ran out with both loaded")]
    loaded: set[str] = set()
    turns = [line.split() for line in diary[diary.index(f"{role} ends") :]]
    for who, what in turns:
        loaded = loaded | {who} if what == "loads" else loaded - {who} if what == "ends" else loaded
        assert len(loaded) < 2 or what == "starts"


@pytest.mark.parametrize("keep_both", ["always", "auto"])
def test_even_a_persons_word_gives_way_when_memory_runs_out_and_this_is_said_once(
    diary: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep_both: Any
) -> None:
    """The run would stop otherwise."""
    teacher: Any = types.SimpleNamespace(device="cpu", total_bytes=400 * MIB)
    plan = plan_memory(teacher, planned_student("cpu", "nf4", WeightCounts(1, 1)), 2048 * MIB, keep_both)
    assert plan.keeps_both
    work_fails(monkeypatch, "student", OutOfMemoryError("no room for it"), only_beside_other=True)
    reports, settings = Reports(), None
    with WorkerPool(settings, STUDENT, plan, tmp_path, 1, 0, reports, never) as pool:  # type: ignore[arg-type]
        for _ in range(3):
            pool.teacher.check_prompts([], quiet)
            pool.student.check_lengths((), quiet)
    (said,) = reports.of("memory_short")
    assert said.startswith("memory ran out (no room for it): from here on teacher and student take turns, although ")
    because = {
        "always": 'hardware.keep_both = "always"',
        "auto": "together they need about 1.2 GiB, no more than 95% of the 2.0 GiB free",
    }
    assert because[keep_both] in said


def test_what_ran_out_while_loading_are_the_weights(
    diary: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink = Shrinking(4)
    too_large(monkeypatch, WorkerDiedError("it aborted", ran_out_of_memory=True), fits=2)
    with shrinking_pool(tmp_path, shrink, Reports()) as pool:
        pool.teacher.check_prompts([], quiet)
    too_large(monkeypatch, OutOfMemoryError("no room", "", "weights"), fits=1)
    with shrinking_pool(tmp_path, shrink, Reports()) as pool:
        pool.teacher.check_prompts([], quiet)
    too_large(monkeypatch, OutOfMemoryError("no room"), fits=1)
    more = Shrinking(2)
    with shrinking_pool(tmp_path, more, Reports()) as pool:
        pool.teacher.check_prompts([], quiet)
    assert (shrink.short_of, more.short_of) == (["weights", "weights"], ["context"])


def test_a_kill_by_the_kernel_ahead_of_the_wait_is_seen(
    diary: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = 0
    monkeypatch.setattr(pool_module, "out_of_memory_kills", lambda: kills)
    shrink = Shrinking(8)
    with shrinking_pool(tmp_path, shrink, Reports(), retries=1) as pool:
        pool.teacher.generate([], quiet)
        deaths = [WorkerDiedError("it was killed", was_killed=True)]

        def finish(worker: FakeWorker, progress: Callable[[int, int], None]) -> list[Any]:
            if deaths:
                raise deaths.pop()
            return []

        monkeypatch.setattr(FakeWorker, "finish", finish)
        wait = pool.teacher.begin_generate([])
        kills = 1
        wait(quiet)
    assert (shrink.n_parallel, shrink.short_of) == (4, ["context"])


@pytest.mark.parametrize(("kills_of_the_kernel", "turns"), [(1, True), (0, False)])
def test_a_worker_that_the_kernel_killed_while_it_had_nothing_to_do_makes_them_take_turns(
    diary: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills_of_the_kernel: int, turns: bool
) -> None:
    """As when the student's training needs what the teacher holds; the kernel kills whom it likes."""
    kills = 0
    monkeypatch.setattr(pool_module, "out_of_memory_kills", lambda: kills)
    dead: set[str] = set()

    def begin(worker: FakeWorker, method: str, *arguments: Any) -> None:
        if worker.role in dead:
            dead.remove(worker.role)
            raise WorkerDiedError("it was killed", was_killed=True)

    monkeypatch.setattr(FakeWorker, "begin", begin)
    shrink, reports = Shrinking(8), Reports()
    with shrinking_pool(tmp_path, shrink, reports, retries=1) as pool:
        pool.teacher.check_prompts([], quiet)
        pool.student.check_lengths((), quiet)
        kills += kills_of_the_kernel
        dead.add("teacher")
        pool.student.check_lengths((), quiet)
        pool.teacher.check_prompts([], quiet)
        assert len(reports.of("worker_died")) == 1
        assert bool(reports.of("memory_short")) == turns
        assert ("student ends" in diary) == turns
    assert shrink.n_parallel == 8
