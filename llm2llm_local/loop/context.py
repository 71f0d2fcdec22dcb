"""What every stage is given, and where it gets its randomness from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..config import Config
from ..records import Reply
from ..store.run_store import RunStore
from ..student.protocol import PredictionBatch, Progress, Student, StudentAnswer
from ..tasks.base import PromptStyle, Task
from ..teacher.protocol import ScoreRequest, Scores, Teacher, TeacherRequest
from .fingerprint import Fingerprint


class AheadTeacher(Teacher, Protocol):
    """A teacher that can be handed a group before its replies are waited for."""

    def begin_generate(self, group: Sequence[TeacherRequest]) -> Callable[[Progress], list[Reply]]:
        """Begin on the group; the function that is returned waits, and is otherwise as `generate`."""

    def begin_score(self, group: Sequence[ScoreRequest]) -> Callable[[Progress], list[Scores]]:
        """The same for `score`."""


class AheadStudent(Student, Protocol):
    """A student that can be handed a batch before its answers are waited for."""

    def begin_predict(self, batch: PredictionBatch) -> Callable[[Progress], list[StudentAnswer]]:
        """Begin on the batch; the function that is returned waits, and is otherwise as `predict`."""


class Conditions(Protocol):
    """All that prompts and ballots follow from, beside the seeds: of a run, or of inputs before there is one."""

    @property
    def config(self) -> Config: ...
    @property
    def task(self) -> Task: ...
    @property
    def prompt_style(self) -> PromptStyle: ...


class Watcher(Protocol):
    """Is told how the run goes, for a person to see; knows nothing that the store doesn't."""

    def stage(self, iteration: int, stage: str, attempt: int, done: int, total: int) -> None:
        """A stage begins or continues; `done` of its `total` units are complete."""

    def unit(self, done: int, total: int, rows: int) -> None:
        """A unit was committed; it had `rows` rows (steps, examples or requests)."""

    def within(self, done: int, total: int) -> None:
        """A sign of life from within a unit."""

    def step(self, done: int, total: int, loss: float) -> None:
        """An optimizer step was taken, the training's `done`-th of `total`."""

    def accepted(self, question: str, answer: str) -> None:
        """A candidate was accepted."""

    def message(self, text: str) -> None:
        """Something a person should know."""


@dataclass(frozen=True)
class Run:
    """A run in progress. `obey` carries out pending commands; it may wait (pause) or raise RunStoppedError.

    `matched_steps`: optimizer steps of its training, where that has as many as another run's.
    """

    config: Config
    task: Task
    store: RunStore
    teacher: AheadTeacher
    student: AheadStudent
    teacher_model_id: int
    prompt_style: PromptStyle
    grammar: str | None
    fingerprint: Fingerprint
    watcher: Watcher
    obey: Callable[[], None]
    matched_steps: int | None = None


def derive_rng_seed(run_rng_seed: int, *parts: object) -> int:
    """32 random bits that depend on the run's rng_seed and on what they are for, on nothing else."""
    text = "/".join(str(part) for part in (run_rng_seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
