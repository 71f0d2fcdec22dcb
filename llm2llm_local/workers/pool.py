"""Teacher and student as the loop sees them: the real protocols, with a worker process behind each.

A worker that dies in a call is replaced and the call repeated, a bounded number of times; that is sound
because an engine's result depends on the call alone. Teacher and student share one device: both stay
loaded when both fit, otherwise one ends before the other starts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from ..errors import WorkerError
from ..records import Reply
from ..student.protocol import (
    PredictionBatch,
    Progress,
    SegmentResult,
    StudentAnswer,
    StudentSettings,
    TrainingExample,
    TrainingProgress,
    TrainingSegment,
)
from ..teacher.protocol import TeacherRequest, TeacherSettings
from .memory import MemoryPlan, free_bytes
from .process import WorkerDiedError, WorkerProcess

Role = Literal["teacher", "student"]

_FREEING_SECONDS = 30.0
"""How long the memory of an ended worker may take to be measured free again."""


class WorkerPool:
    """Starts, shares out and ends the workers of a run. Use as a context manager, or call `close`.

    `report(kind, message)` is told what a person should know: starts, deaths, retries.
    """

    def __init__(
        self,
        teacher: TeacherSettings,
        student: StudentSettings,
        plan: MemoryPlan,
        logs: Path,
        timeout_seconds: float,
        retries: int,
        report: Callable[[str, str], None],
        interrupted: Callable[[], None],
    ) -> None:
        self._settings: dict[Role, Any] = {"teacher": teacher, "student": student}
        self._plan = plan
        self._logs = logs
        self._timeout_seconds = timeout_seconds
        self._retries = retries
        self._report = report
        self._interrupted = interrupted
        self._workers: dict[Role, WorkerProcess] = {}
        self.teacher = RemoteTeacher(self)
        self.student = RemoteStudent(self)

    def call(self, role: Role, method: str, *arguments: Any, progress: Callable[..., None]) -> Any:
        """Run an engine's method in its worker; raises WorkerError when it keeps dying."""
        for attempt in range(self._retries + 1):
            try:
                return self._worker(role).call(method, *arguments, progress=progress)
            except WorkerDiedError as error:
                self._end(role)
                last = str(error)
                self._report("worker_died", f"{last}; attempt {attempt + 1} of {self._retries + 1}")
            except BaseException:
                worker = self._workers.get(role)
                if worker is not None and worker.is_in_call:
                    self._end(role)  # its late answer would be taken for that of the next call
                raise
        raise WorkerError(
            f"{last} ({self._retries + 1} times at the same work)",
            f"What was finished is safe. See {self._logs / f'{role}.log'}; then: llm2llm resume",
        )

    def close(self) -> None:
        """End all workers, at once."""
        for role in list(self._workers):
            self._end(role)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _worker(self, role: Role) -> WorkerProcess:
        if role not in self._workers:
            if not self._plan.keeps_both:
                self._free_device_of_all_but(role)
            started = time.monotonic()
            log = self._logs / f"{role}.log"
            worker = WorkerProcess(role, self._settings[role], log, self._timeout_seconds, self._interrupted)
            self._workers[role] = worker
            self._report(
                "worker_started",
                f"{role} loaded in {time.monotonic() - started:.1f} s, process {worker.pid}, "
                f"{worker.memory_bytes() / 2**20:.0f} MiB",
            )
        return self._workers[role]

    def _free_device_of_all_but(self, role: Role) -> None:
        others = [other for other in self._workers if other != role]
        if not others:
            return
        for other in others:
            self._end(other)
        needed, deadline = self._plan.needed_bytes(role), time.monotonic() + _FREEING_SECONDS
        while (free := free_bytes(self._plan.device)) < needed:
            if time.monotonic() > deadline:
                self._report(
                    "memory_short",
                    f"the {role} is estimated to need {needed / 2**30:.1f} GiB, but {free / 2**30:.1f} GiB are free "
                    f"{_FREEING_SECONDS:g} s after the other worker ended; trying all the same",
                )
                return
            time.sleep(0.1)

    def _end(self, role: Role) -> None:
        worker = self._workers.pop(role, None)
        if worker is not None:
            worker.stop()


class RemoteTeacher:
    """`Teacher` over the pipe."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool

    def generate(self, group: Sequence[TeacherRequest], progress: Progress) -> list[Reply]:
        replies: list[Reply] = self._pool.call("teacher", "generate", tuple(group), progress=progress)
        return replies

    def check_prompts(self, group: Sequence[TeacherRequest], progress: Progress) -> int:
        return int(self._pool.call("teacher", "check_prompts", tuple(group), progress=progress))


class RemoteStudent:
    """`Student` over the pipe."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool

    def train(self, segment: TrainingSegment, progress: TrainingProgress) -> SegmentResult:
        result: SegmentResult = self._pool.call("student", "train", segment, progress=progress)
        return result

    def predict(self, batch: PredictionBatch, progress: Progress) -> list[StudentAnswer]:
        answers: list[StudentAnswer] = self._pool.call("student", "predict", batch, progress=progress)
        return answers

    def check_lengths(self, examples: tuple[TrainingExample, ...], progress: Progress) -> int:
        return int(self._pool.call("student", "check_lengths", examples, progress=progress))
