"""One device for both: who has it, what is measured, and what happens when memory runs out."""

from __future__ import annotations

import os
import signal
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import torch
from fakes import quiet
from worker_pools import (
    EXAMPLES,
    Open,
    Reports,
    never,
    teacher_requests,
    without_times,
)

from llm2llm_local import free_memory
from llm2llm_local.errors import OutOfMemoryError
from llm2llm_local.model_files.folder import WeightCounts, count_weights, inspect_folder
from llm2llm_local.student.limits import LOGITS_AT_ONCE
from llm2llm_local.workers import pool as pool_module
from llm2llm_local.workers.memory import (
    MemoryPlan,
    StudentMemory,
    free_bytes,
    plan_memory,
    student_memory,
    with_dequantized,
)
from llm2llm_local.workers.pool import WorkerPool
from llm2llm_local.workers.process import WorkerDiedError

if TYPE_CHECKING:
    from tiny_models import TinyModels

FOR_A_TEST = "it is for a test"


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


def test_a_closed_pool_starts_workers_again(diary: list[str], tmp_path: Path) -> None:
    """A paused run closes its pool to free the device, and goes on with it later."""
    with fake_pool(tmp_path, MemoryPlan("cpu", 0, 0, 0, True, FOR_A_TEST)) as pool:
        pool.teacher.check_prompts([], quiet)
        pool.close()
        pool.close()
        pool.teacher.check_prompts([], quiet)
    assert diary == ["teacher starts", "teacher loads", "teacher works", "teacher ends"] * 2


SMALL: Any = types.SimpleNamespace(size_bytes=1, n_layers=2, n_embd=8, vocab_size=1000)
MIB = 2**20


def planned_student(
    device: Any, quantization: Any, weights: WeightCounts, n_tokens: int = 1, compute_dtype: Any = "float32"
) -> StudentMemory:
    return student_memory(
        SMALL,
        weights,
        device=device,
        training_tokens=n_tokens,
        quantization=quantization,
        compute_dtype=compute_dtype,
        lora_rank=1,
    )


def test_a_students_scores_are_planned_as_its_loss_makes_them() -> None:
    """In pieces of a fixed size, however long the rows are."""
    few, many = (planned_student("cpu", "nf4", WeightCounts(1, 1), n).logit_bytes for n in (10, 10**6))
    assert (few, many) == (10 * 1000 * 4 * 2, LOGITS_AT_ONCE * 4 * 2)


def test_a_projection_in_float32_is_planned_beside_embeddings_that_were_tied_to_it() -> None:
    tied, untied = (
        planned_student("cpu", "none", WeightCounts(10**6, n * 8000), compute_dtype="bfloat16").weight_bytes
        for n in (1, 2)
    )
    assert (tied, untied) == (2 * 10**6 + 8000 * (2 + 4), 2 * 10**6 + 8000 * (2 + 4))


@pytest.mark.model
@pytest.mark.parametrize(("compute_dtype", "n_bytes"), [("float32", 4), ("bfloat16", 2)])
def test_a_students_weights_are_planned_as_they_are_loaded(
    tiny_models: TinyModels, compute_dtype: Any, n_bytes: int
) -> None:
    """Matrices of layers in 4 bits, all else whole; dequantized, the matrices are as large as on paper. In bfloat16
    the vocabulary projection is whole still.
    """
    from trainings import settings

    from llm2llm_local.student.lora import LoraStudent

    file = inspect_folder(tiny_models.student)
    weights = count_weights(file)
    loaded = LoraStudent(settings(tiny_models.student, quantization="nf4", compute_dtype=compute_dtype))._adapted
    base = [parameter for parameter in loaded.model.parameters() if not parameter.requires_grad]
    assert weights.in_layers * n_bytes == loaded.dequantized.n_bytes
    others = sum(one.nbytes for one in base if one.dtype != torch.uint8)
    assert others == weights.others * n_bytes + file.vocab_size * file.n_embd * (4 - n_bytes)
    planned = student_memory(
        file,
        weights,
        device="cpu",
        training_tokens=1,
        quantization="nf4",
        compute_dtype=compute_dtype,
        lora_rank=8,
    )
    assert planned.weight_bytes == pytest.approx(others + weights.in_layers * 0.516, abs=1)
    matrices = sum(one.nbytes for one in base if one.dtype == torch.uint8)
    assert planned.weight_bytes - others == pytest.approx(matrices, rel=0.04)


@pytest.mark.parametrize(
    ("device", "quantization", "compute_dtype", "free", "keeps_both", "kept"),
    [
        ("cpu", "nf4", "float32", 2000 * MIB, "never", 200 * MIB),
        ("cpu", "nf4", "float32", 1600 * MIB, "never", 0),  # with 850 MiB taken, a quarter of the rest is too little
        ("cpu", "nf4", "float32", 2000 * MIB, "always", 0),  # the teacher has 400 MiB of it
        ("cpu", "nf4", "float32", 2400 * MIB, "always", 200 * MIB),
        ("cpu", "nf4", "bfloat16", 1600 * MIB, "never", 100 * MIB),  # half as large
        ("cpu", "none", "float32", 2000 * MIB, "never", 0),  # nothing is quantized
        ("cuda", "nf4", "bfloat16", 2000 * MIB, "never", 0),
    ],
)
def test_dequantized_weights_are_planned_where_the_student_keeps_them(
    device: Any, quantization: Any, compute_dtype: Any, free: int, keeps_both: Any, kept: int
) -> None:
    weights = WeightCounts(in_layers=50 * MIB, others=6 * MIB)
    student = planned_student(device, quantization, weights, compute_dtype=compute_dtype)
    teacher: Any = types.SimpleNamespace(device=device, total_bytes=400 * MIB)
    memory = plan_memory(teacher, student, free, keeps_both)
    planned = with_dequantized(student, weights, quantization, compute_dtype, memory)
    assert planned.dequantized_bytes == kept
    # They are given up for anything else, so nothing that has to fit counts them.
    assert planned.needed_bytes == student.needed_bytes == memory.student_bytes


def test_free_memory_is_what_control_groups_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan and the student ask the same question."""
    monkeypatch.setattr(free_memory, "_left_in_groups", lambda: [12345])
    assert free_bytes("cpu") == 12345


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
    with WorkerPool(settings, settings, plan, tmp_path, 1, 0, reports, never) as pool:
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
    with WorkerPool(settings, settings, plan, tmp_path, 1, 0, reports, never) as pool:  # type: ignore[arg-type]
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
    opened = open_pool(keeps_both=False)
    opened.pool.teacher.generate(teacher_requests(2), quiet)
    opened.pool.student.check_lengths(EXAMPLES, quiet)
    opened.pool.close()
    assert free - free_bytes("cuda") < 64 * 2**20


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
    return WorkerPool(settings, settings, plan, tmp_path, 1, retries, reports, never, shrink, take_turns)


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
    with WorkerPool(settings, settings, plan, tmp_path, 1, 0, reports, never) as pool:  # type: ignore[arg-type]
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


@pytest.mark.parametrize(("free", "keeps_both"), [(1000 * MIB, True), (999 * MIB, False)])
def test_both_stay_loaded_when_they_take_no_more_than_95_percent_of_what_is_free(free: int, keeps_both: bool) -> None:
    """As for a teacher alone: what fragments, and what other programs come to need, is beside it."""
    student = planned_student("cpu", "nf4", WeightCounts(1, 1))
    teacher: Any = types.SimpleNamespace(device="cpu", total_bytes=950 * MIB - student.needed_bytes)
    plan = plan_memory(teacher, student, free, "auto")
    assert plan.keeps_both == keeps_both
    compared = "no more" if keeps_both else "more"
    assert f"950 MiB, {compared} than 95% of the {free // MIB} MiB free" in plan.reason
