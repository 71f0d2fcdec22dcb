"""Teacher and student as the loop sees them: the real protocols, with a worker process behind each.

A worker that dies in a call is replaced and the call repeated, a bounded number of times; that is sound
because an engine's result depends on the call alone. Teacher and student share one device: both stay
loaded when both fit, otherwise one ends before the other starts. When memory runs out all the same, they take turns
from then on, even where a person wants both to stay, since the run would stop otherwise; only a teacher that has the
device to itself is loaded smaller. A call may be begun before its result is waited for, so that the worker goes on
while the results of the last one are written.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..byte_size import byte_size
from ..errors import OutOfMemoryError, WorkerError
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
from ..teacher.protocol import ScoreRequest, Scores, TeacherRequest, TeacherSettings
from .memory import MemoryPlan, free_bytes, out_of_memory_kills
from .process import WorkerDiedError, WorkerProcess

Role = Literal["teacher", "student"]

ShortOf = Literal["weights", "context"]
"""What of the teacher the device had no memory for, as in OutOfMemoryError."""

Shrink = Callable[[str, ShortOf, MemoryPlan], tuple[TeacherSettings, MemoryPlan] | None]
"""Given why and the plan in force, a smaller way to load the teacher, already stored and told; None when there is none.

Teacher and student that take turns in the plan in force do so in the new one.
"""

_FREEING_SECONDS = 30.0
"""How long the memory of an ended worker may take to be measured free again."""

_FREED_SHARE = 0.95
"""Of what was free before any worker: when so much is free again, nothing of a worker is left."""


@dataclass(slots=True)
class _HandOver:
    """A worker was started in the place of another; `loading` in seconds."""

    giver: Role
    taker: Role
    started: float
    loading: float = 0.0


class WorkerPool:
    """Starts, shares out and ends the workers of a run. Use as a context manager, or call `close`.

    `report(kind, message)` is told what a person should know: starts, deaths, retries, hand-overs. `shrink` is asked
    when the teacher runs out of memory; `take_turns` is told the plan in force once memory ran out with both loaded.
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
        shrink: Shrink = lambda why, what, plan: None,
        take_turns: Callable[[MemoryPlan], None] = lambda plan: None,
    ) -> None:
        self._teacher_settings, self._student_settings = teacher, student
        self._plan = plan
        self._logs = logs
        self._timeout_seconds = timeout_seconds
        self._retries = retries
        self._report = report
        self._interrupted = interrupted
        self._shrink = shrink
        self._take_turns = take_turns
        self._workers: dict[Role, WorkerProcess] = {}
        self._kills: dict[Role, int] = {}
        """The kernel's count when a worker was last known to live: before its loading, or at its last answer. One that
        has nothing to do may be killed long before its next call.
        """
        self._spares: dict[Role, WorkerProcess] = {}
        """Started, but nothing loaded: they wait for the device."""
        self._hand_over: _HandOver | None = None
        self.teacher = RemoteTeacher(self)
        self.student = RemoteStudent(self)

    def call(self, role: Role, method: str, *arguments: Any, progress: Callable[..., None]) -> Any:
        """Run an engine's method in its worker; raises WorkerError when it keeps dying."""
        return self._finish(role, None, method, arguments, progress)

    def begin(self, role: Role, method: str, *arguments: Any) -> Callable[[Callable[..., None]], Any]:
        """Hand a loaded worker its next call; the function that is returned waits for the result, as `call` does.

        Without a worker that is ready nothing happens before the wait.
        """
        worker = self._workers.get(role)
        if worker is not None and worker.is_in_call:
            worker = None
        if worker is not None:
            try:
                worker.begin(method, *arguments)
            except WorkerDiedError:
                worker = None  # found dead again, and told, by who waits
        return lambda progress: self._finish(role, worker, method, arguments, progress)

    def close(self) -> None:
        """End all workers, at once."""
        for role in list(self._workers):
            self._end(role)
        while self._spares:
            self._spares.popitem()[1].stop()

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _finish(
        self,
        role: Role,
        begun: WorkerProcess | None,
        method: str,
        arguments: tuple[Any, ...],
        progress: Callable[..., None],
    ) -> Any:
        """The result of a call, which was `begun` in a worker or not yet.

        What memory ran out for is tried again with more room; that ends, since the other worker is ended for good
        and plans only get smaller.
        """
        n_deaths = 0
        while True:
            try:
                return self._attempt(role, begun, method, arguments, progress)
            except OutOfMemoryError as error:
                self._end(role)
                if not self._make_room(role, error.message, error.what):
                    raise
                n_deaths = 0
            except WorkerDiedError as error:
                what: ShortOf = "context" if role in self._workers else "weights"  # it is there once it is loaded
                self._end(role)
                n_deaths += 1
                self._report("worker_died", f"{error}; attempt {n_deaths} of {self._retries + 1}")
                # A person may kill a worker, too; that is no reason to change the plan, and with it the replies.
                by_kernel = error.was_killed and out_of_memory_kills() > self._kills[role]
                ran_out = error.ran_out_of_memory or by_kernel
                if ran_out and self._make_room(role, str(error), what):
                    n_deaths = 0
                elif n_deaths > self._retries:
                    raise WorkerError(
                        f"{error} ({n_deaths} times at the same work)",
                        f"What was finished is safe. See {self._logs / f'{role}.log'}; then: llm2llm resume",
                    ) from None
            except BaseException:
                worker = self._workers.get(role)
                if worker is not None and worker.is_in_call:
                    self._end(role)  # its late answer would be taken for that of the next call
                raise
            begun = None

    def _attempt(
        self,
        role: Role,
        begun: WorkerProcess | None,
        method: str,
        arguments: tuple[Any, ...],
        progress: Callable[..., None],
    ) -> Any:
        worker = self._workers.get(role)
        if worker is None or worker is not begun:
            if worker is not None and worker.is_in_call:
                self._end(role)  # with a call that nobody waits for any more
            worker = self._worker(role)
            worker.begin(method, *arguments)

        def heard(*figures: float) -> None:
            self._complete_hand_over(role)
            progress(*figures)

        result = worker.finish(heard)
        self._complete_hand_over(role)
        self._kills[role] = out_of_memory_kills()
        return result

    def _make_room(self, role: Role, why: str, what: ShortOf) -> bool:
        """Whether there may be more room for the role, whose worker has ended: first the other's, then its own."""
        if self._workers:
            # A person's word that both stay is taken as long as they can: otherwise the run would stop here.
            self._report(
                "memory_short",
                f"memory ran out ({why}): from here on teacher and student take turns, although {self._plan.reason}",
            )
            # The loading of the one that is wanted ends the other and waits for its memory.
            self._plan = dataclasses.replace(self._plan, keeps_both=False, reason="memory ran out with both loaded")
            self._take_turns(self._plan)
            return True
        found = self._shrink(why, what, self._plan) if role == "teacher" else None
        if found is not None:
            self._teacher_settings, self._plan = found
        return found is not None

    def _worker(self, role: Role) -> WorkerProcess:
        if role not in self._workers:
            if not self._plan.keeps_both:
                self._free_device_of_all_but(role)
            started = time.monotonic()
            worker = self._spares.pop(role, None) or self._started(role)
            self._kills[role] = out_of_memory_kills()
            worker.load(self._settings(role))
            self._workers[role] = worker
            seconds = time.monotonic() - started
            if self._hand_over is not None:
                self._hand_over.loading = seconds
            self._report(
                "worker_started",
                f"{role} loaded in {seconds:.1f} s, process {worker.pid}, {byte_size(worker.memory_bytes())}",
            )
            self._start_imports_of_the_other(role)
        return self._workers[role]

    def _settings(self, role: Role) -> TeacherSettings | StudentSettings:
        if role == "teacher":
            return self._teacher_settings
        student, plan = self._student_settings, self._plan
        if not plan.keeps_both:
            return student
        # Also of a teacher that is there already: where its weights are mapped from their file, they count as free.
        return dataclasses.replace(student, reserved_bytes=student.reserved_bytes + plan.teacher_bytes)

    def _started(self, role: Role) -> WorkerProcess:
        return WorkerProcess(role, self._logs / f"{role}.log", self._timeout_seconds, self._interrupted)

    def _start_imports_of_the_other(self, role: Role) -> None:
        """While a GPU works, the cores have time for the imports of who comes next. On a CPU they would take it from
        the one that works: its threads wait for each other at every layer.
        """
        other: Role = "student" if role == "teacher" else "teacher"
        if self._plan.device == "cuda" and other not in self._workers and other not in self._spares:
            self._spares[other] = self._started(other)

    def _complete_hand_over(self, role: Role) -> None:
        """The first sign of the new holder's work ends it."""
        done = self._hand_over
        if done is None or done.taker != role:
            return
        self._hand_over = None
        self._report(
            "hand_over",
            f"hand-over {done.giver} → {done.taker}: {time.monotonic() - done.started:.1f} s, of which loading "
            f"{done.loading:.1f} s",
        )

    def _free_device_of_all_but(self, role: Role) -> None:
        others: list[Role] = [other for other in self._workers if other != role]
        if not others:
            return
        self._hand_over = _HandOver(others[0], role, time.monotonic())
        for other in others:
            self._end(other)
        needed = min(self._plan.needed_bytes(role), int(_FREED_SHARE * self._plan.free_bytes))
        deadline = time.monotonic() + _FREEING_SECONDS
        while (free := free_bytes(self._plan.device)) < needed:
            if time.monotonic() > deadline:
                self._report(
                    "memory_short",
                    f"the {role} waits for {byte_size(needed)}, but {byte_size(free)} are free "
                    f"{_FREEING_SECONDS:g} s after the other worker ended; trying all the same",
                )
                return
            self._interrupted()
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

    def begin_generate(self, group: Sequence[TeacherRequest]) -> Callable[[Progress], list[Reply]]:
        return self._pool.begin("teacher", "generate", tuple(group))

    def check_prompts(self, group: Sequence[TeacherRequest], progress: Progress) -> int:
        return int(self._pool.call("teacher", "check_prompts", tuple(group), progress=progress))

    def check_memory(self, progress: Progress) -> None:
        self._pool.call("teacher", "check_memory", progress=progress)

    def score(self, group: Sequence[ScoreRequest], progress: Progress) -> list[Scores]:
        scores: list[Scores] = self._pool.call("teacher", "score", tuple(group), progress=progress)
        return scores

    def begin_score(self, group: Sequence[ScoreRequest]) -> Callable[[Progress], list[Scores]]:
        return self._pool.begin("teacher", "score", tuple(group))


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

    def begin_predict(self, batch: PredictionBatch) -> Callable[[Progress], list[StudentAnswer]]:
        return self._pool.begin("student", "predict", batch)

    def check_lengths(self, examples: tuple[TrainingExample, ...], progress: Progress) -> int:
        return int(self._pool.call("student", "check_lengths", examples, progress=progress))
