"""What every stage is given, and how a stage works through its units."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ..config import Config
from ..errors import ChangedSinceStartError
from ..records import Reply
from ..store.rows import StageRow
from ..store.run_store import RunStore
from ..student.protocol import PredictionBatch, Progress, Student, StudentAnswer
from ..tasks.base import PromptStyle, Task
from ..teacher.protocol import Teacher, TeacherRequest
from .fingerprint import Fingerprint

Unit = TypeVar("Unit")
Write = Callable[[], int]
"""Writes the results of a unit, inside its transaction; how many rows (steps, examples or requests) it had."""

Wait = Callable[[], Write]
"""Waits for a unit that a worker is at."""


class AheadTeacher(Teacher, Protocol):
    """A teacher that can be handed a group before its replies are waited for."""

    def begin_generate(self, group: Sequence[TeacherRequest]) -> Callable[[Progress], list[Reply]]:
        """Begin on the group; the function that is returned waits, and is otherwise as `generate`."""


class AheadStudent(Student, Protocol):
    """A student that can be handed a batch before its answers are waited for."""

    def begin_predict(self, batch: PredictionBatch) -> Callable[[Progress], list[StudentAnswer]]:
        """Begin on the batch; the function that is returned waits, and is otherwise as `predict`."""


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
    """A run in progress. `obey` carries out pending commands; it may wait (pause) or raise RunStoppedError."""

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


def work_through(
    run: Run, iteration: int, stage: str, attempt: int, units: Sequence[Unit], work: Callable[[Unit], Write]
) -> None:
    """Do the units of a stage that aren't done yet, in order; each commits its results with its done-mark.

    `work` does a unit and returns a function that writes the results and tells how many rows it had; that
    function runs inside the unit's transaction. What the units are must follow from earlier stages alone; a unit
    may need the rows of those before it.
    Raises ChangedSinceStartError when the stage was begun under other conditions.
    """
    row = _open_stage(run, iteration, stage, attempt, len(units))
    for index in range(row.units_done, len(units)):
        run.obey()
        started = time.monotonic()
        _commit(run, row, work(units[index]), index, len(units), started)
    _close_stage(run, row)


def work_through_ahead(
    run: Run, iteration: int, stage: str, attempt: int, units: Sequence[Unit], begin: Callable[[Unit], Wait]
) -> None:
    """As `work_through`, for units that need no row of another unit of the stage: while one is written, the worker
    is at the next.

    `begin` hands a unit to its worker and returns a function that waits for it and returns what writes it. One unit
    is ahead at most, and when the run ends or pauses there it is done again.
    """
    row = _open_stage(run, iteration, stage, attempt, len(units))
    ahead: Wait | None = None
    for index in range(row.units_done, len(units)):
        run.obey()
        started = time.monotonic()
        write = (ahead or begin(units[index]))()
        ahead = begin(units[index + 1]) if index + 1 < len(units) else None
        _commit(run, row, write, index, len(units), started)
    _close_stage(run, row)


def _open_stage(run: Run, iteration: int, stage: str, attempt: int, n_units: int) -> StageRow:
    fields = run.fingerprint.fields_of(iteration, stage, attempt)
    fingerprint = run.fingerprint.advance(iteration, stage, attempt)
    known = run.store.stage(iteration, stage, attempt)
    if known is not None and known["fingerprint"] != fingerprint:
        raise ChangedSinceStartError(
            f"iteration {iteration}, {stage}: begun under other conditions ({_difference(known, fields)})",
            f"Start a new run from there: llm2llm fork {run.store.run_id}",
        )
    if known is not None and known["units_total"] != n_units:
        raise ChangedSinceStartError(
            f"iteration {iteration}, {stage}: was cut into {known['units_total']} units of work and now is into "
            f"{n_units}",
            f"Start a new run from there: llm2llm fork {run.store.run_id}",
        )
    row = run.store.open_stage(iteration, stage, attempt, fingerprint, fields, n_units)
    if not row.is_done:
        run.watcher.stage(iteration, stage, attempt, row.units_done, n_units)
    return row


def _commit(run: Run, row: StageRow, write: Write, index: int, total: int, started: float) -> None:
    with run.store.transaction():
        rows = write()
        run.store.mark_unit_done(row, time.monotonic() - started)
    run.watcher.unit(index + 1, total, rows)


def _close_stage(run: Run, row: StageRow) -> None:
    if not row.is_done:
        run.store.close_stage(row)


def derive_rng_seed(run_rng_seed: int, *parts: object) -> int:
    """32 random bits that depend on the run's rng_seed and on what they are for, on nothing else."""
    text = "/".join(str(part) for part in (run_rng_seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _difference(known: Any, fields: dict[str, Any]) -> str:
    before = json.loads(known["fingerprint_fields"])
    names = sorted(name for name in before.keys() | fields.keys() if before.get(name) != fields.get(name))
    return ", ".join(names) or "an earlier stage differs"
