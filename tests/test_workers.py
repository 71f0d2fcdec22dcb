"""Worker processes: what they answer, what they refuse, and how a call is abandoned."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import psutil
import pytest
from fakes import quiet, teacher_settings
from worker_pools import (
    EXAMPLES,
    Once,
    Open,
    endless_teacher,
    never,
    prediction,
    teacher_requests,
    training,
    without_times,
)

from llm2llm_local.errors import ModelError, RunStoppedError
from llm2llm_local.records import Message, TeacherPrompt
from llm2llm_local.student.protocol import StudentSettings

if TYPE_CHECKING:
    from tiny_models import TinyModels

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
    student = LoraStudent(StudentSettings(tiny_models.student, "nf4", "float32", 8, 16, 0.1, 128, "cpu", threads=1))
    assert trained == student.train(training(tmp_path / "ours"), quiet)
    expected = student.predict(prediction(tmp_path / "ours"), quiet)
    assert without_times(answers) == without_times(expected)
    assert longest == student.check_lengths(EXAMPLES, quiet)
    assert sorted(path.name for path in (tmp_path / "theirs").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


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
    StudentSettings(Path("none"), "none", "float32", 8, 16, 0.1, 128, "cpu", threads=1),
    MemoryPlan("cpu", 0, 0, 0, True, "for a test"),
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


def test_what_lies_in_the_current_folder_is_not_imported(
    open_pool: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workspace may well have a folder called datasets or a file called random.py."""
    for name in ("random", "tokenizers", "torch", "llama_cpp", "jinja2"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} of the workspace was run')\n")
    monkeypatch.chdir(tmp_path)
    opened = open_pool(retries=0)
    assert len(opened.pool.teacher.generate(teacher_requests(1), quiet)) == 1
