"""Runs of the loop with fake engines that take a known time for each piece of work, on a clock of the test's own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fake_runs import RecordingWatcher, half_learnt, run_of
from fakes import FakeStudent, FakeTeacher
from knowing import KindStudent, KnowingTeacher

from llm2llm_local.config import Config, flatten
from llm2llm_local.loop.fingerprint import MATCHED_STEPS
from llm2llm_local.loop.llm2llm import llm2llm
from llm2llm_local.records import Reply, Status
from llm2llm_local.report.progress import RunProgress, run_progress
from llm2llm_local.store.reader import open_reader
from llm2llm_local.student.protocol import (
    PredictionBatch,
    Progress,
    SegmentResult,
    StudentAnswer,
    TrainingProgress,
    TrainingSegment,
)
from llm2llm_local.teacher.protocol import ScoreRequest, Scores, TeacherRequest

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


class Clock:
    """`time.monotonic`, moved by the engines alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@dataclass
class TimedStudent(FakeStudent):
    clock: Clock | None = None

    def train(self, segment: TrainingSegment, progress: TrainingProgress) -> SegmentResult:
        assert self.clock is not None
        share = (segment.stop_step - segment.start_step) / segment.total_steps
        self.clock.now += 0.5 * len(segment.examples) * segment.epochs * share
        return super().train(segment, progress)

    def predict(self, batch: PredictionBatch, progress: Progress) -> list[StudentAnswer]:
        assert self.clock is not None
        self.clock.now += 0.25 * len(batch.prompts)
        return super().predict(batch, progress)


@dataclass
class TimedTeacher(FakeTeacher):
    clock: Clock | None = None

    def generate(self, group: Sequence[TeacherRequest], progress: Progress) -> list[Reply]:
        assert self.clock is not None
        self.clock.now += 2.0 * len(group)
        return super().generate(group, progress)


@dataclass
class TimedVotes(TimedTeacher, KnowingTeacher):
    """A teacher whose ballots carry information."""

    def score(self, group: Sequence[ScoreRequest], progress: Progress) -> list[Scores]:
        assert self.clock is not None
        self.clock.now += 0.125 * len(group)
        return super().score(group, progress)


@dataclass
class TimedKindStudent(TimedStudent, KindStudent):
    """A student whose votes do."""


@dataclass(frozen=True)
class Look:
    """What was told after a unit of `rows` rows, or at a stage's beginning (no rows), and when."""

    at: float
    rows: int
    told: RunProgress


@dataclass
class LookingWatcher(RecordingWatcher):
    """Looks at the run's progress, from another connection, whenever something is committed."""

    workspace: Path = Path()
    run_id: int = 0
    clock: Clock | None = None
    looks: list[Look] = field(default_factory=list)

    def stage(self, iteration: int, stage: str, attempt: int, done: int, total: int) -> None:
        self._look(0)

    def unit(self, done: int, total: int, rows: int) -> None:
        self._look(rows)

    def accepted(self, question: str, answer: str) -> None:
        assert self.clock is not None
        self.clock.now += 0.5  # the time that a check takes

    def _look(self, rows: int) -> None:
        assert self.clock is not None
        with open_reader(self.workspace) as connection:
            self.looks.append(Look(self.clock.now, rows, run_progress(connection, self.run_id, NOW)))


def watched(
    workspace: Path,
    clock: Clock,
    config: Config,
    write: Callable[[TeacherRequest], str] | None = None,
    matched_steps: int | None = None,
) -> list[Look]:
    """All that was told during a new run; it is done afterwards."""
    verifies = config.checks.verify == "on"
    teacher = (TimedVotes if verifies else TimedTeacher)(write or FakeTeacher.write, clock=clock)
    student = (
        TimedKindStudent(lambda example, segment: False, clock=clock)
        if verifies
        else TimedStudent(half_learnt, clock=clock)
    )
    with run_of(workspace, config, teacher, student) as run:
        with run.store.transaction():
            run.store._store.execute(
                "UPDATE runs SET status = 'running', config = ?, fingerprint_fields = ? WHERE run_id = ?",
                [json.dumps(flatten(config)), json.dumps({MATCHED_STEPS: matched_steps}), run.store.run_id],
            )
        watcher = LookingWatcher(workspace=workspace, run_id=run.store.run_id, clock=clock)
        llm2llm(replace(run, watcher=watcher, matched_steps=matched_steps))
        with run.store.transaction():
            run.store.set_status(Status.DONE)
    return watcher.looks
