"""Pools of workers with the tiny models, and what to ask them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fakes import teacher_settings

from llm2llm_local.records import Reply, TeacherPrompt
from llm2llm_local.student.protocol import (
    PredictionBatch,
    StudentAnswer,
    StudentSettings,
    TrainingExample,
    TrainingSegment,
)
from llm2llm_local.teacher.plan import Device
from llm2llm_local.teacher.protocol import Sampling, TeacherRequest
from llm2llm_local.workers.memory import MemoryPlan
from llm2llm_local.workers.pool import WorkerPool

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


def opener(tiny_models: TinyModels, logs: Path, request: pytest.FixtureRequest) -> Open:
    """Opens pools that are closed when the test ends."""

    def open_one(
        *,
        teacher: Path = tiny_models.teacher,
        context_length: int = 512,
        keeps_both: bool = True,
        device: Device = "cpu",
        retries: int = 2,
        interrupted: Callable[[], None] = never,
    ) -> Opened:
        reports = Reports()
        pool = WorkerPool(
            teacher=dataclasses.replace(
                teacher_settings(teacher, context_length), gpu_layers=0 if device == "cpu" else -1
            ),
            student=StudentSettings(tiny_models.student, "nf4", "float32", 8, 16, 0.1, 128, device, threads=1),
            plan=MemoryPlan(device, 0, 0, 0, keeps_both, "for a test"),
            logs=logs,
            timeout_seconds=120,
            retries=retries,
            report=reports,
            interrupted=interrupted,
        )
        request.addfinalizer(pool.close)
        return Opened(pool, reports, logs)

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
    """Progress that does something to a worker at its first sign of life: in the middle of a call."""

    def __init__(self, action: Callable[[], object], times: int = 1) -> None:
        self._action = action
        self._left = times
        self.heard: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int, *_: float) -> None:
        begins_anew = not self.heard or done <= self.heard[-1][0]
        self.heard.append((done, total))
        if self._left and begins_anew:
            self._left -= 1
            self._action()


def endless_teacher(tiny_models: TinyModels, folder: Path) -> Path:
    """A teacher that never ends a reply."""
    from tiny_models import always_writes  # torch and transformers: seconds that most tests need not wait

    return always_writes(tiny_models, folder, "a")
