"""A student in a process of its own, outside a run: its memory is free when it ends, and it ends with this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import WorkerError
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
from ..workers.process import WorkerDiedError, WorkerProcess

_REMEDY = "What is trained is kept: the same call goes on from there."


class StudentProcess:
    """`Student` over the pipe. Raises WorkerError when the process is gone: nobody tries again but the person."""

    def __init__(self, worker: WorkerProcess) -> None:
        self._worker = worker

    def train(self, segment: TrainingSegment, progress: TrainingProgress) -> SegmentResult:
        result: SegmentResult = self._call("train", segment, progress)
        return result

    def predict(self, batch: PredictionBatch, progress: Progress) -> list[StudentAnswer]:
        answers: list[StudentAnswer] = self._call("predict", batch, progress)
        return answers

    def check_lengths(self, examples: tuple[TrainingExample, ...], progress: Progress) -> int:
        return int(self._call("check_lengths", examples, progress))

    def _call(self, method: str, argument: Any, progress: Callable[..., None]) -> Any:
        try:
            return self._worker.call(method, argument, progress=progress)
        except WorkerDiedError as error:
            raise WorkerError(str(error), _REMEDY) from None


@contextmanager
def student_process(settings: StudentSettings, log: Path, timeout_seconds: float) -> Iterator[StudentProcess]:
    """Loaded, and ended with the block. Raises as a student's loading does, and WorkerError."""
    worker = WorkerProcess("student", log, timeout_seconds, lambda: None)
    try:
        try:
            worker.load(settings)
        except WorkerDiedError as error:
            raise WorkerError(str(error), _REMEDY) from None
        yield StudentProcess(worker)
    finally:
        worker.stop()
