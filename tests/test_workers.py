"""Worker processes: what they answer, how they end, and what becomes of work whose worker died."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import psutil
import pytest
from fakes import quiet, teacher_settings

from llm2llm_local.errors import ModelError, RunStoppedError, WorkerError
from llm2llm_local.records import Message, Reply, TeacherPrompt
from llm2llm_local.student.protocol import (
    PredictionBatch,
    StudentAnswer,
    StudentSettings,
    TrainingExample,
    TrainingSegment,
)
from llm2llm_local.teacher.protocol import Sampling, TeacherRequest
from llm2llm_local.workers import pool as pool_module
from llm2llm_local.workers.memory import MemoryPlan
from llm2llm_local.workers.pool import WorkerPool
from llm2llm_local.workers.process import _last_line

if TYPE_CHECKING:
    from tiny_models import TinyModels

EXAMPLES = tuple(
    TrainingExample(f"question: {question}\nanswer:", f" {answer}")
    for question, answer in (
        ("Where is the library?", "place"),
        ("Who opened the door?", "person"),
        ("Where do the brothers live?", "place"),
        ("Who signed?", "person"),
    )
)


def never() -> None:
    """Nobody interrupts."""


class Reports:
    """What a pool tells a person."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.on_start: Callable[[], None] = never

    def __call__(self, kind: str, message: str) -> None:
        self.lines.append((kind, message))
        if kind == "worker_started":
            self.on_start()

    def of(self, kind: str) -> list[str]:
        return [message for other, message in self.lines if other == kind]

    def pids(self, role: str) -> list[int]:
        """The processes that were started for a role, in order."""
        found = (re.match(rf"{role} loaded in .* process (\d+)", message) for message in self.of("worker_started"))
        return [int(match[1]) for match in found if match]


@dataclasses.dataclass
class Opened:
    """A pool and what it reported."""

    pool: WorkerPool
    reports: Reports
    logs: Path


Open = Callable[..., Opened]


@pytest.fixture
def open_pool(tiny_models: TinyModels, tmp_path: Path, request: pytest.FixtureRequest) -> Open:
    """Opens pools with the tiny models, which are closed when the test ends."""

    def open_one(
        *,
        teacher: Path = tiny_models.teacher,
        context_length: int = 512,
        keeps_both: bool = True,
        retries: int = 2,
        interrupted: Callable[[], None] = never,
    ) -> Opened:
        reports = Reports()
        pool = WorkerPool(
            teacher=teacher_settings(teacher, context_length),
            student=StudentSettings(tiny_models.student, "nf4", 8, 16, 0.1, 128, "cpu", threads=1),
            plan=MemoryPlan("cpu", 0, 0, 0, keeps_both),
            logs=tmp_path,
            timeout_seconds=120,
            retries=retries,
            report=reports,
            interrupted=interrupted,
        )
        request.addfinalizer(pool.close)
        return Opened(pool, reports, tmp_path)

    return open_one


def teacher_requests(n: int, max_tokens: int = 16) -> list[TeacherRequest]:
    prompt = TeacherPrompt((), "question: Where is the library?", ())
    return [TeacherRequest(prompt, Sampling(1.0, 1.0, 0.0), None, number, max_tokens) for number in range(n)]


def training(output: Path) -> TrainingSegment:
    return TrainingSegment(
        examples=EXAMPLES,
        epochs=4,
        batch_size=2,
        micro_batch_size=2,
        learning_rate=1e-2,
        warmup_ratio=0.1,
        weight_decay=0.0,
        max_grad_norm=1.0,
        rng_seed=7,
        start_step=0,
        stop_step=8,
        total_steps=8,
        start_adapter=None,
        checkpoint=None,
        output=output,
    )


def prediction(adapter: Path) -> PredictionBatch:
    return PredictionBatch(adapter, tuple(example.prompt for example in EXAMPLES), (" place", " person"), 8)


def without_times(answers: Sequence[Reply] | Sequence[StudentAnswer]) -> list[Any]:
    return [
        dataclasses.replace(answer, seconds=0.0)
        if isinstance(answer, Reply)
        else dataclasses.replace(answer, reply=dataclasses.replace(answer.reply, seconds=0.0))
        for answer in answers
    ]


class Once:
    """Progress that does something to a worker when it hears of it the first time: in the middle of a call."""

    def __init__(self, action: Callable[[], object], times: int = 1) -> None:
        self._action = action
        self._left = times
        self.heard: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int, *_: float) -> None:
        self.heard.append((done, total))
        if self._left and done == 1:
            self._left -= 1
            self._action()


# --- both engines behind the pipe ---


@pytest.mark.model
def test_workers_answer_as_the_engines_do_even_when_they_are_killed(
    open_pool: Open, tiny_models: TinyModels, tmp_path: Path
) -> None:
    """Both are loaded at once; the student is killed in its training, the teacher in its group."""
    from llm2llm_local.student.lora import LoraStudent
    from llm2llm_local.teacher.llama import LlamaTeacher

    opened = open_pool()
    pool, reports = opened.pool, opened.reports
    killing_teacher = Once(lambda: os.kill(reports.pids("teacher")[-1], signal.SIGKILL))
    replies = pool.teacher.generate(teacher_requests(6), killing_teacher)
    killing_student = Once(lambda: os.kill(reports.pids("student")[-1], signal.SIGKILL))
    trained = pool.student.train(training(tmp_path / "theirs"), killing_student)
    answers = pool.student.predict(prediction(tmp_path / "theirs"), quiet)
    longest = pool.student.check_lengths(EXAMPLES, quiet)
    prompt_tokens = pool.teacher.check_prompts(teacher_requests(2), quiet)

    pids = [*reports.pids("teacher"), *reports.pids("student")]
    assert len(pids) == len(set(pids)) == 4
    assert [psutil.pid_exists(pid) for pid in pids] == [False, True, False, True]
    pool.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)

    died = reports.of("worker_died")
    assert len(died) == 2
    for message, role in zip(died, ("teacher", "student"), strict=True):
        assert message.startswith(f"the {role} worker was killed by SIGKILL")
        assert "attempt 1 of 3" in message
    assert killing_teacher.heard[-1] == (6 * 16, 6 * 16)
    assert killing_student.heard[-1] == (8, 8)
    for role in ("teacher", "student"):
        assert (opened.logs / f"{role}.log").is_file()
    assert str(tiny_models.teacher) in (opened.logs / "teacher.log").read_text()  # llama.cpp's own words

    teacher = LlamaTeacher(teacher_settings(tiny_models.teacher, 512))
    assert without_times(replies) == without_times(teacher.generate(teacher_requests(6), quiet))
    assert prompt_tokens == teacher.check_prompts(teacher_requests(2), quiet)
    student = LoraStudent(StudentSettings(tiny_models.student, "nf4", 8, 16, 0.1, 128, "cpu", threads=1))
    assert trained == student.train(training(tmp_path / "ours"), quiet)
    expected = student.predict(prediction(tmp_path / "ours"), quiet)
    assert without_times(answers) == without_times(expected)
    assert longest == student.check_lengths(EXAMPLES, quiet)
    assert sorted(path.name for path in (tmp_path / "theirs").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


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
    opened.pool.teacher.generate(teacher_requests(600, max_tokens=40), quiet)
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


# --- errors that a new worker would not help with ---


@pytest.mark.model
def test_what_an_engine_refuses_arrives_as_it_was_raised(open_pool: Open) -> None:
    opened = open_pool()
    for wanted, words in (
        (teacher_requests(1, max_tokens=512), "don't fit into a context of 512 tokens"),
        ([dataclasses.replace(teacher_requests(1)[0], grammar="root ::= [")], "llama.cpp can't read it"),
    ):
        with pytest.raises(ModelError, match=words) as caught:
            opened.pool.teacher.generate(wanted, quiet)
        assert caught.value.remedy
    assert len(opened.pool.teacher.generate(teacher_requests(2), quiet)) == 2
    assert len(opened.reports.pids("teacher")) == 1
    assert not opened.reports.of("worker_died")


@pytest.mark.model
def test_a_model_that_cannot_be_loaded_is_a_model_error(
    open_pool: Open, tiny_models: TinyModels, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(tiny_models.teacher.read_bytes()[:5000])
    opened = open_pool(teacher=broken)
    for _ in range(2):
        with pytest.raises(ModelError, match=r"broken\.gguf: llama\.cpp can't load it"):
            opened.pool.teacher.generate(teacher_requests(1), quiet)
    assert not opened.reports.lines
    assert not [child for child in psutil.Process().children() if str(broken) in child.cmdline()]
    assert not [child for child in psutil.Process().children() if "llm2llm_local.workers.main" in child.cmdline()]


@pytest.mark.model
def test_a_chat_without_a_template_is_refused_through_the_pipe(
    open_pool: Open, tiny_models: TinyModels, tmp_path: Path
) -> None:
    from tiny_models import rewrite_gguf

    path = rewrite_gguf(tiny_models.teacher, tmp_path / "a.gguf", {"tokenizer.chat_template": None})
    opened = open_pool(teacher=path)
    chat = TeacherPrompt((Message("user", "Hello"),), "", ())
    with pytest.raises(ModelError, match="has no chat template"):
        opened.pool.teacher.check_prompts([dataclasses.replace(teacher_requests(1)[0], prompt=chat)], quiet)


# --- the run process has other plans ---


@pytest.mark.model
@pytest.mark.parametrize(("n_requests", "max_tokens"), [(1, 90_000), (1000, 40)])
def test_a_call_can_be_interrupted(
    open_pool: Open, tiny_models: TinyModels, tmp_path: Path, n_requests: int, max_tokens: int
) -> None:
    """An impatient stop: the call is abandoned at once, be it one long answer or many short ones.

    Closing the pool then ends the worker in the middle of its work.
    """
    is_impatient = False

    def interrupted() -> None:
        if is_impatient:
            raise RunStoppedError("stopped")

    endless = endless_teacher(tiny_models, tmp_path)
    opened = open_pool(teacher=endless, context_length=100_000, interrupted=interrupted)
    opened.pool.teacher.check_prompts(teacher_requests(1), quiet)
    is_impatient = True
    heard = Once(never)
    with pytest.raises(RunStoppedError):
        opened.pool.teacher.generate(teacher_requests(n_requests, max_tokens), heard)
    assert len(heard.heard) < n_requests * max_tokens / 2
    assert not opened.reports.of("worker_died")
    opened.pool.close()
    assert not psutil.pid_exists(opened.reports.pids("teacher")[0])


@pytest.mark.model
@pytest.mark.parametrize("error", [BrokenPipeError("the terminal is gone"), ValueError("anything")])
def test_an_error_of_who_looks_on_is_not_the_workers(open_pool: Open, error: Exception) -> None:
    def fail(done: int, total: int) -> NoReturn:
        raise error

    opened = open_pool()
    with pytest.raises(type(error), match=str(error)):
        opened.pool.teacher.generate(teacher_requests(3), fail)
    assert not opened.reports.of("worker_died")


@pytest.mark.model
def test_after_an_abandoned_call_the_next_gets_its_own_answer(open_pool: Open) -> None:
    def fail(done: int, total: int) -> NoReturn:
        raise ValueError

    opened = open_pool()
    with pytest.raises(ValueError):
        opened.pool.teacher.generate(teacher_requests(3), fail)
    (expected,) = teacher_requests(5)[4:]
    with_own_pool = open_pool().pool.teacher.generate([expected], quiet)
    assert without_times(opened.pool.teacher.generate([expected], quiet)) == without_times(with_own_pool)


PARENT = """
import sys
from pathlib import Path
from llm2llm_local.records import TeacherPrompt
from llm2llm_local.student.protocol import StudentSettings
from llm2llm_local.teacher.protocol import Sampling, TeacherRequest, TeacherSettings
from llm2llm_local.workers.memory import MemoryPlan
from llm2llm_local.workers.pool import WorkerPool
from llm2llm_local.workers.process import _last_line

in_call = False

def request(max_tokens):
    prompt = TeacherPrompt((), "question: Where is the library?", ())
    return TeacherRequest(prompt, Sampling(1.0, 1.0, 0.0), None, 0, max_tokens)

def quiet(done, total):
    pass

def interrupted():
    if in_call:
        print("busy", flush=True)

pool = WorkerPool(
    TeacherSettings(Path(sys.argv[1]), 100_000, 1, 0, 1, 512, 2**30, "f16", "auto"),
    StudentSettings(Path("none"), "none", 8, 16, 0.1, 128, "cpu", threads=1),
    MemoryPlan("cpu", 0, 0, 0, True),
    Path(sys.argv[2]), 600, 0, lambda kind, message: print(message, flush=True), interrupted,
)
pool.teacher.check_prompts([request(16)], quiet)
if sys.argv[3] == "idle":
    print("idle", flush=True)
    sys.stdin.read()
in_call = True
pool.teacher.generate([request(90_000)], quiet)
"""


@pytest.mark.model
@pytest.mark.parametrize("state", ["idle", "busy"])
def test_a_worker_ends_with_its_parent(tiny_models: TinyModels, tmp_path: Path, state: str) -> None:
    """Even when the parent is killed with SIGKILL and the worker is in the middle of a single long answer."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, endless_teacher(tiny_models, tmp_path), tmp_path, state],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        try:
            assert parent.stdout is not None
            started = parent.stdout.readline()
            worker = psutil.Process(int(re.findall(r"process (\d+)", started)[0]))
            assert parent.stdout.readline() == f"{state}\n"
            assert worker.is_running()
        finally:
            parent.kill()
    gone, alive = psutil.wait_procs([worker], timeout=5)
    for left in alive:
        left.kill()
    assert gone and not alive


def endless_teacher(tiny_models: TinyModels, folder: Path) -> Path:
    """A teacher that never ends a reply."""
    from tiny_models import always_writes  # torch and transformers: seconds that most tests need not wait

    return always_writes(tiny_models, folder, "a")


# --- memory is measured, not hoped for ---


class FakeWorker:
    """Stands in for a worker process; `diary` has what was done in order."""

    diary: list[str]
    pid = 1

    def __init__(self, role: str, *_: object) -> None:
        self.role = role
        self.diary.append(f"{role} starts")

    def call(self, method: str, *arguments: Any, progress: Callable[[int, int], None]) -> int:
        self.diary.append(f"{self.role} works")
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
        "teacher works",
        "teacher ends",
        *["cuda is measured"] * 4,
        "student starts",
        "student works",
        "student ends",
    ]


def test_workers_that_fit_together_stay(diary: list[str], tmp_path: Path) -> None:
    plan = MemoryPlan("cpu", teacher_bytes=200, student_bytes=300, free_bytes=600, keeps_both=True)
    with fake_pool(tmp_path, plan) as pool:
        for _ in range(2):
            pool.teacher.check_prompts([], quiet)
            pool.student.check_lengths((), quiet)
    assert [line for line in diary if "works" not in line] == [
        "teacher starts",
        "student starts",
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
    assert diary == ["teacher starts", "teacher works", "teacher ends"] * 2


def test_what_lies_in_the_current_folder_is_not_imported(
    open_pool: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workspace may well have a folder called datasets or a file called random.py."""
    for name in ("random", "tokenizers", "torch", "llama_cpp", "jinja2"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} of the workspace was run')\n")
    monkeypatch.chdir(tmp_path)
    opened = open_pool(retries=0)
    assert len(opened.pool.teacher.generate(teacher_requests(1), quiet)) == 1


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
