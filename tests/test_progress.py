"""`stages.progress`: how far a stage is, for those who see only the store."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest
from fake_runs import RecordingWatcher, configuration, half_learnt, rows, run_of
from fakes import FakeStudent, FakeTeacher

from llm2llm_local.errors import DiskError
from llm2llm_local.loop.llm2llm import llm2llm
from llm2llm_local.loop.pulse import Pulse
from llm2llm_local.records import Reply
from llm2llm_local.store.writer import Store
from llm2llm_local.student.protocol import Progress, SegmentResult, TrainingProgress, TrainingSegment
from llm2llm_local.teacher.protocol import TeacherRequest


class Clock:
    """`time.monotonic` that goes on by as much as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@dataclass
class Rhythm:
    """Notes what the store says of the newest stage whenever a model reports."""

    workspace: Path
    clock: Clock
    seconds: float
    seen: list[tuple[int, str, float, str | None]] = field(default_factory=list)

    def after(self, report: Callable[[], None]) -> None:
        self.clock.now += self.seconds
        report()
        self.seen += rows(
            self.workspace,
            "SELECT iteration, stage, progress, losses_since_checkpoint FROM stages ORDER BY id DESC LIMIT 1",
        )

    def of(self, iteration: int, stage: str) -> list[float]:
        return [round(share, 4) for i, name, share, _ in self.seen if (i, name) == (iteration, stage)]


@dataclass
class SlowStudent(FakeStudent):
    rhythm: Rhythm | None = None

    def train(self, segment: TrainingSegment, progress: TrainingProgress) -> SegmentResult:
        rhythm = self.rhythm
        assert rhythm is not None
        return super().train(segment, lambda *figures: rhythm.after(lambda: progress(*figures)))


@dataclass
class SlowTeacher(FakeTeacher):
    rhythm: Rhythm | None = None

    def generate(self, group: Sequence[TeacherRequest], progress: Progress) -> list[Reply]:
        assert self.rhythm is not None
        for n in range(len(group)):
            self.rhythm.after(partial(progress, n + 1, len(group)))
        return super().generate(group, progress)


def watch(workspace: Path, clock: Clock, seconds: float) -> tuple[Rhythm, RecordingWatcher]:
    """A whole run whose models report every `seconds`; of 5 steps in 3 segments first."""
    rhythm = Rhythm(workspace, clock, seconds)
    inner = RecordingWatcher()
    config = configuration(loop__iterations=1, student__epochs=5, student__batch_size=12)
    student, teacher = SlowStudent(half_learnt, rhythm=rhythm), SlowTeacher(rhythm=rhythm)
    with run_of(workspace, config, teacher, student) as run:
        llm2llm(replace(run, watcher=Pulse(inner, run.store)))
    return rhythm, inner


def test_progress_goes_on_within_a_unit_and_never_back(tmp_path: Path, clock: Clock) -> None:
    rhythm, _ = watch(tmp_path, clock, seconds=1.0)
    # Steps 1, 2 | 3, 4 | 5: the fourth is two thirds of the segments, though four fifths of the steps.
    assert rhythm.of(0, "train") == [0.2, 0.3333, 0.6, 0.6667, 1.0]
    asked = rhythm.of(0, "augment")
    n_groups = rows(tmp_path, "SELECT units_total FROM stages WHERE stage = 'augment'")[0][0]
    assert len(asked) > n_groups > 1  # two requests in a group, so that there is something between
    assert asked == sorted(asked)
    assert asked[:2] == [round(0.5 / n_groups, 4), round(1 / n_groups, 4)]


def test_progress_is_written_once_a_second_at_most(tmp_path: Path, clock: Clock) -> None:
    rhythm, _ = watch(tmp_path, clock, seconds=0.5)
    assert rhythm.of(0, "train") == [0.0, 0.3333, 0.3333, 0.6667, 0.6667]  # what stands there comes from units, too


def test_a_finished_stage_is_done_whatever_was_reported(tmp_path: Path, clock: Clock) -> None:
    watch(tmp_path, clock, seconds=0.3)
    assert rows(tmp_path, "SELECT DISTINCT progress, losses_since_checkpoint, status FROM stages") == [
        (1.0, None, "done")
    ]


def test_losses_are_told_between_checkpoints(tmp_path: Path, clock: Clock) -> None:
    rhythm, _ = watch(tmp_path, clock, seconds=1.0)
    # Steps 1, 2 | 3, 4 | 5: each checkpoint leaves the losses before it to the metrics.
    told = [losses for iteration, stage, _, losses in rhythm.seen if (iteration, stage) == (0, "train")]
    assert told == ["[1.0]", "[1.0, 0.5]", "[0.33333]", "[0.33333, 0.25]", "[0.2]"]
    assert not any(losses for _, stage, _, losses in rhythm.seen if stage != "train")


def test_a_segment_that_is_begun_again_tells_its_losses_once(tmp_path: Path, clock: Clock) -> None:
    with run_of(tmp_path, configuration()) as run:
        watcher = Pulse(RecordingWatcher(), run.store)
        run.store.open_stage(0, "train", 0, "", {}, units=2)
        watcher.stage(0, "train", 0, 0, 2)
        for step, loss in ((1, 3.0), (2, 2.0), (1, 3.0)):  # its worker died after two
            clock.now += 5
            watcher.step(step, 8, loss)
    assert rows(tmp_path, "SELECT losses_since_checkpoint FROM stages") == [("[3.0]",)]


def test_everything_is_passed_on(tmp_path: Path, clock: Clock) -> None:
    _, inner = watch(tmp_path, clock, seconds=1.0)
    assert inner.stages[0] == (0, "train", 0)
    assert inner.stages[-1] == (1, "grade", 0)
    assert inner.withins == rows(tmp_path, "SELECT count(*) FROM teacher_calls")[0][0]
    assert inner.steps == rows(tmp_path, "SELECT count(*) FROM metrics WHERE name = 'loss'")[0][0] > 0
    assert inner.units == rows(tmp_path, "SELECT sum(units_total) FROM stages")[0][0]
    assert inner.n_accepted == rows(tmp_path, "SELECT count(*) FROM examples WHERE origin = 'augmented'")[0][0]


def test_a_unit_that_was_lost_is_not_counted_when_the_run_goes_on(tmp_path: Path, clock: Clock) -> None:
    with run_of(tmp_path, configuration()) as run:
        watcher = Pulse(RecordingWatcher(), run.store)
        run.store.open_stage(0, "train", 0, "", {}, units=4)
        watcher.stage(0, "train", 0, 1, 4)
        clock.now += 5
        watcher.step(2, 4, 0.7)
        assert rows(tmp_path, "SELECT progress, losses_since_checkpoint FROM stages") == [(0.5, "[0.7]")]
        Pulse(RecordingWatcher(), run.store).stage(0, "train", 0, 1, 4)
    assert rows(tmp_path, "SELECT progress, losses_since_checkpoint FROM stages") == [(0.25, None)]


def test_reports_between_stages_belong_to_none(tmp_path: Path, clock: Clock) -> None:
    with run_of(tmp_path, configuration()) as run:
        watcher = Pulse(RecordingWatcher(), run.store)
        watcher.within(1, 2)
        stage = run.store.open_stage(0, "check", 0, "", {}, units=1)
        watcher.stage(0, "check", 0, 0, 1)
        watcher.unit(1, 1, 3)
        run.store.close_stage(stage)
        clock.now += 5
        watcher.within(1, 2)
    assert rows(tmp_path, "SELECT progress FROM stages") == [(1.0,)]


def test_a_sign_of_life_that_cannot_be_written_ends_the_run_as_any_write_does(tmp_path: Path, clock: Clock) -> None:
    with run_of(tmp_path, configuration()) as run:
        watcher = Pulse(RecordingWatcher(), run.store)
        run.store.open_stage(0, "predict", 0, "", {}, units=4)
        watcher.stage(0, "predict", 0, 0, 4)
        clock.now += 5
        run.store._store.execute("PRAGMA busy_timeout = 50")
        other = sqlite3.connect(tmp_path / "llm2llm.db")
        other.execute("BEGIN IMMEDIATE")
        try:
            with pytest.raises(DiskError, match="locked"):
                watcher.within(1, 2)
        finally:
            other.close()


def test_a_committed_unit_counts_whatever_was_reported_before(tmp_path: Path) -> None:
    with Store(tmp_path) as store, run_of(tmp_path, configuration()) as run:
        stage = run.store.open_stage(0, "train", 0, "", {}, units=4)
        run.store.set_progress(0, "train", 0, 0.9, [0.5])
        with run.store.transaction():
            run.store.mark_unit_done(stage, 1.0)
        assert tuple(store.execute("SELECT progress, losses_since_checkpoint FROM stages").fetchone()) == (0.25, None)
