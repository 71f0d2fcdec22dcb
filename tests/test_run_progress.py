"""Where a run is said to stand is where its loop is, and what is expected of it is what then happens.

The loop runs with fake engines that take a known time for each piece of work, on a clock of the test's own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fake_runs import SEEDS, RecordingWatcher, configuration, half_learnt, run_of
from fakes import FakeStudent, FakeTeacher
from workspaces import CONFIG_BY_HAND, Workspace, add_run

from llm2llm_local.config import Config, flatten
from llm2llm_local.loop.llm2llm import llm2llm
from llm2llm_local.records import DataRow, Reply, Split, Status
from llm2llm_local.report.progress import RunProgress, run_progress
from llm2llm_local.report.rates import (
    Plan,
    Position,
    Rates,
    estimate,
    measured_rates,
    plan_of,
    rates_of,
    rates_within,
    seconds_ahead,
)
from llm2llm_local.report.work import StageProgress, run_work
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.run_store import RunStore
from llm2llm_local.store.writer import Store
from llm2llm_local.student.protocol import (
    PredictionBatch,
    Progress,
    SegmentResult,
    StudentAnswer,
    TrainingProgress,
    TrainingSegment,
)
from llm2llm_local.teacher.protocol import TeacherRequest

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


class Clock:
    """`time.monotonic`, moved by the engines alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


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
    workspace: Path, clock: Clock, config: Config, write: Callable[[TeacherRequest], str] | None = None
) -> list[Look]:
    """All that was told during a new run; it is done afterwards."""
    teacher = TimedTeacher(clock=clock) if write is None else TimedTeacher(write, clock=clock)
    with run_of(workspace, config, teacher, TimedStudent(half_learnt, clock=clock)) as run:
        with run.store.transaction():
            run.store._store.execute(
                "UPDATE runs SET status = 'running', config = ? WHERE run_id = ?",
                [json.dumps(flatten(config)), run.store.run_id],
            )
        watcher = LookingWatcher(workspace=workspace, run_id=run.store.run_id, clock=clock)
        llm2llm(replace(run, watcher=watcher))
        with run.store.transaction():
            run.store.set_status(Status.DONE)
    return watcher.looks


def sometimes_a_seed(request: TeacherRequest) -> str:
    """Some of what the teacher writes is a duplicate, so that it is asked again."""
    return f" {SEEDS[0].question}" if request.rng_seed % 3 == 0 else f" message number {request.rng_seed}"


def by_stage(looks: Sequence[Look]) -> Iterator[tuple[Look, list[Look]]]:
    """The look at the beginning of each stage, and those after its units."""
    starts = [index for index, look in enumerate(looks) if look.rows == 0]
    starts = [index for index in starts if index == 0 or looks[index].told.stages != looks[index - 1].told.stages]
    for start, stop in zip(starts, [*starts[1:], len(looks)], strict=True):
        yield looks[start], list(looks[start + 1 : stop])


# --- rows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("augment_from", ["seeds", "all"])
def test_rows_are_those_that_the_loop_commits(tmp_path: Path, clock: Clock, augment_from: str) -> None:
    config = configuration(
        loop__augment_from=augment_from,
        loop__augmentations_per_failure=3,
        student__batch_size=5,
        student__epochs=3,
        teacher__attempts=3,
    )
    stages = set()
    for start, units in by_stage(watched(tmp_path, clock, config, sometimes_a_seed)):
        begun = start.told.current
        assert begun is not None and begun.rows_done == 0 and begun.units_done == 0
        stages.add((begun.stage, begun.attempt))
        rows = 0
        for look in units:
            now = look.told.current
            assert now is not None
            assert all(stage.rows_done == stage.rows_total for stage in look.told.stages[:-1])
            rows += look.rows
            assert (now.stage, now.rows_done, now.rows_total) == (begun.stage, rows, begun.rows_total)
        assert rows == begun.rows_total  # which was known before the first unit was done
    assert stages == {("train", 0), ("predict", 0), ("grade", 0)} | {
        (stage, attempt) for stage in ("augment", "check") for attempt in (0, 1, 2)
    }


def test_rows_of_finished_stages_are_the_rows_there_are(big_store: Workspace) -> None:
    with open_reader(big_store.folder) as connection:
        stages = run_work(connection, 2).stages
        counts = {
            "train": "SELECT count(*) FROM metrics WHERE run_id = 2 AND iteration = ? AND name = 'loss' AND ? = 0",
            "predict": "SELECT count(*) FROM predictions WHERE run_id = 2 AND iteration = ? AND ? = 0",
            "grade": "SELECT count(*) FROM predictions WHERE run_id = 2 AND iteration = ? AND ? = 0",
            "augment": "SELECT count(*) FROM teacher_calls WHERE run_id = 2 AND iteration = ? AND attempt = ?",
            "check": "SELECT count(*) FROM candidates WHERE run_id = 2 AND iteration = ? AND attempt = ?",
        }
        for stage in stages:
            n = connection.execute(counts[stage.stage], [stage.iteration, stage.attempt]).fetchone()[0]
            assert (stage.rows_done, stage.rows_total, stage.status) == (n, n, "done")
    assert len(stages) == 10 * 7 + 3


def test_the_newest_iteration_tells_how_much_there_is_to_do(big_store: Workspace) -> None:
    with open_reader(big_store.folder) as connection:
        rates = rates_within(run_work(connection, 2))
        view = "SELECT n_failures, n_candidates FROM teacher_yield WHERE run_id = 2 AND iteration = ?"
        last, before = (connection.execute(view, [iteration]).fetchone() for iteration in (10, 9))
    assert rates.failures == last[0] / 1000
    assert rates.requests == before[1] / (5 * before[0])


def test_a_person_who_keeps_an_example_out_shortens_the_next_training(tmp_path: Path, clock: Clock) -> None:
    watched(tmp_path, clock, configuration())
    with Store(tmp_path) as store:
        with store.transaction():
            store.execute("DELETE FROM training_set_examples WHERE iteration = 2")
            store.execute("DELETE FROM checkpoints WHERE iteration = 2")
        with open_reader(tmp_path) as connection:
            whole = run_work(connection, 1).iterations[2].training_examples
        with store.transaction():
            candidate, example = store.execute(
                "SELECT candidate_id, id FROM examples WHERE origin = 'augmented' AND iteration = 0"
            ).fetchone()
            store.insert("reviews", run_id=1, candidate_id=candidate, decision="reject", applied_iteration=2)
            store.execute("UPDATE examples SET removed_iteration = 2 WHERE id = ?", [example])
        with open_reader(tmp_path) as connection:
            assert run_work(connection, 1).iterations[2].training_examples == whole - 1


# --- time -----------------------------------------------------------------------------------------------------------


def test_what_is_left_is_what_it_then_takes(tmp_path: Path, clock: Clock) -> None:
    config = configuration(loop__iterations=4)
    first = watched(tmp_path, clock, config)
    end = clock.now
    second = watched(tmp_path, clock, config)
    for looks, done, first_known in ((first, end, 1), (second, clock.now, 0)):
        for look in looks:
            told = look.told
            if told.stages[-1].iteration < first_known:
                assert told.seconds_left is None  # nobody knows yet what an iteration's candidates take
            else:
                assert told.seconds_left == pytest.approx(done - look.at, rel=0.03, abs=0.5)


def test_what_is_left_of_a_stage_is_what_it_then_takes(tmp_path: Path, clock: Clock) -> None:
    for start, units in by_stage(watched(tmp_path, clock, configuration())):
        assert start.told.current is not None
        is_first = start.told.current.iteration == 0
        for look in [start, *units]:
            told = look.told
            if is_first and look is start:
                assert (told.stage_seconds_left, told.rows_per_second) == (None, None)
            else:
                if look is start and told.stage_seconds_left:  # as quick as it was before
                    assert told.rows_per_second == pytest.approx(told.current.rows_total / told.stage_seconds_left)  # type: ignore[union-attr]
                assert told.stage_seconds_left == pytest.approx(units[-1].at - look.at, abs=0.01)
            if look is not start and told.rows_per_second is not None:
                passed = look.at - start.at
                assert told.rows_per_second == pytest.approx(told.current.rows_done / passed)  # type: ignore[union-attr]
                assert told.seconds == pytest.approx(passed)


def test_between_iterations_all_of_the_next_is_left(tmp_path: Path, clock: Clock) -> None:
    looks = watched(tmp_path, clock, configuration())
    begun = next(look.at for look in looks if look.told.stages[-1].iteration == 2)
    with Store(tmp_path) as store, store.transaction():
        store.execute("UPDATE runs SET status = 'running'")
        for table in ("stages", "iterations", "training_set_examples", "predictions"):
            store.execute(f"DELETE FROM {table} WHERE iteration = 2")
    with open_reader(tmp_path) as connection:
        told = run_progress(connection, 1, NOW)
    assert (told.current, told.stage_seconds_left) == (None, None)
    assert told.seconds_left == pytest.approx(clock.now - begun)


def test_a_stage_of_which_nothing_is_known_hides_what_is_left(begun: RunStore, store: Store) -> None:
    config = {**CONFIG_BY_HAND, "loop.iterations": 0}
    with begun.transaction():
        store.execute("UPDATE runs SET config = ?", [json.dumps(config)])
        store.execute("UPDATE stages SET status = 'done', units_done = 3, seconds = 6")
    for stage in ("predict", "grade"):
        assert told_after(begun, 0).seconds_left is None
        row = begun.open_stage(0, stage, 0, "", {}, units=3)
        assert told_after(begun, 0).seconds_left is None
        if stage == "predict":
            for _ in range(3):
                with begun.transaction():
                    begun.mark_unit_done(row, 1.0)
            begun.close_stage(row)


def test_a_finished_run_has_nothing_left(tmp_path: Path, clock: Clock) -> None:
    watched(tmp_path, clock, configuration())
    with open_reader(tmp_path) as connection:
        told = run_progress(connection, 1, NOW)
    assert (told.current, told.seconds, told.stage_seconds_left, told.seconds_left) == (None, None, None, 0.0)
    assert [stage.share for stage in told.stages] == [1.0] * len(told.stages)


def test_a_new_run_is_estimated_by_those_before_it(tmp_path: Path, clock: Clock) -> None:
    config = flatten(configuration(loop__iterations=4))
    watched(tmp_path, clock, configuration(loop__iterations=4))
    took = clock.now
    with open_reader(tmp_path) as connection:
        plan = plan_of(run_work(connection, 1))
        rates = measured_rates(connection, config)
    assert plan == Plan(12, 1, 5, iterations=4, epochs=2, augmentations_per_failure=1)
    assert estimate(rates, plan) == pytest.approx(took, rel=0.01)
    shorter = replace(plan, iterations=2, epochs=1)
    watched(tmp_path, clock, configuration(loop__iterations=2, student__epochs=1))
    assert estimate(rates, shorter) == pytest.approx(clock.now - took, rel=0.01)


# --- the first unit -------------------------------------------------------------------------------------------------


@pytest.fixture
def begun(store: Store) -> RunStore:
    """A run whose first training, of 2 × 3 steps in 3 segments, was begun at NOW and is a tenth done."""
    run = add_run(store)
    run.open_iteration(0)
    run.open_stage(0, "train", 0, "", {}, units=3)
    with run.transaction():
        run.add_data(Split.TRAIN, [DataRow(f"seed {n}", "a", "train.jsonl", n) for n in range(5)])
        store.execute("UPDATE stages SET created_at = ?, progress = 0.1", [NOW.isoformat(timespec="milliseconds")])
    return run


def told_after(run: RunStore, seconds: float) -> RunProgress:
    with open_reader(run.workspace) as connection:
        return run_progress(connection, run.run_id, NOW + timedelta(seconds=seconds))


def test_until_a_unit_is_done_the_clock_tells(begun: RunStore, store: Store) -> None:
    told = told_after(begun, 20)
    assert told.current is not None
    assert (told.current.rows_done, told.current.rows_total) == (0, 6)
    assert told.rows_per_second == pytest.approx(0.1 * 6 / 20)
    assert (told.seconds, told.seconds_left) == (20, None)
    assert told.stage_seconds_left == pytest.approx(180)
    for too_little in (0, 0.01):  # in which a model was loaded: nothing follows from it
        with store.transaction():
            store.execute("UPDATE stages SET progress = ?", [too_little])
        told = told_after(begun, 20)
        assert (told.stage_seconds_left, told.rows_per_second) == (None, None)


@pytest.mark.parametrize(("share", "rows"), [(0.0, 0), (1 / 14, 1), (3 / 14, 3), (0.5, 7), (1.0, 14)])
def test_steps_within_a_unit_are_told_whole(share: float, rows: int) -> None:
    stage = StageProgress(0, "train", 0, "running", share, 0, 1, 0, 14, 0.0, "")
    assert stage.rows_with_part == rows


@pytest.mark.parametrize("kind", ["run_resumed", "command_resume"])
def test_what_was_lost_does_not_count(begun: RunStore, store: Store, kind: str) -> None:
    with begun.transaction():
        for event, seconds in ((kind, 50), ("iteration_started", 60)):
            begun.add_event(event, "")
            at = (NOW + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")
            store.execute("UPDATE events SET created_at = ? WHERE kind = ?", [at, event])
    told = told_after(begun, 70)
    assert told.seconds == 20
    assert told.stage_seconds_left == pytest.approx(180)


def test_time_does_not_pass_for_a_run_that_nobody_works_on(begun: RunStore) -> None:
    with begun.transaction():
        begun.set_status(Status.PENDING, "paused")
    told = told_after(begun, 20)
    assert (told.seconds, told.stage_seconds_left) == (None, None)


def test_later_only_complete_units_have_a_time(begun: RunStore, store: Store) -> None:
    with begun.transaction():
        store.execute("UPDATE stages SET units_done = 1, seconds = 12, progress = 0.5")
    told = told_after(begun, 9999)
    assert told.current is not None
    assert (told.current.seconds, told.current.rows_done, told.rows_per_second) == (12, 2, 2 / 12)
    assert told.seconds == pytest.approx(18)
    assert told.stage_seconds_left == pytest.approx(18)


def test_the_last_unit_is_as_large_as_what_is_left(begun: RunStore, store: Store) -> None:
    config = {**CONFIG_BY_HAND, "student.checkpoint_steps": 4}
    with begun.transaction():
        store.execute("UPDATE runs SET config = ?", [json.dumps(config)])
        store.execute("UPDATE stages SET units_total = 2, units_done = 1, seconds = 12, progress = 0.75")
    told = told_after(begun, 9999)  # 4 steps are done in 12 s, and half of the last 2
    assert told.seconds == pytest.approx(15)
    assert told.stage_seconds_left == pytest.approx(3)


def test_a_run_that_has_not_begun_has_no_stage(store: Store) -> None:
    told = told_after(add_run(store), 0)
    assert (told.stages, told.current, told.seconds_left) == ((), None, None)


def test_tokens_a_second_are_those_of_the_newest_work(tmp_path: Path, clock: Clock) -> None:
    config = configuration(loop__augmentations_per_failure=20)
    first, *_, last = watched(tmp_path, clock, config)
    assert (first.told.teacher_tokens_per_second, first.told.student_tokens_per_second) == (None, None)
    assert last.told.teacher_tokens_per_second == pytest.approx(3 / 0.01)  # as FakeTeacher says
    with Store(tmp_path) as store, store.transaction():
        store.execute("UPDATE teacher_calls SET seconds = 1 WHERE id = (SELECT max(id) FROM teacher_calls)")
        store.execute("UPDATE teacher_calls SET seconds = 50 WHERE id = (SELECT max(id) - 32 FROM teacher_calls)")
        store.execute("UPDATE checkpoints SET tokens = 0")
        store.execute("UPDATE checkpoints SET tokens = 60, seconds = 4 WHERE id = (SELECT max(id) FROM checkpoints)")
    watched(tmp_path, clock, config)  # another run's work doesn't count
    with open_reader(tmp_path) as connection:
        told = run_progress(connection, 1, NOW)
    assert told.teacher_tokens_per_second == pytest.approx(32 * 3 / (31 * 0.01 + 1))
    assert told.student_tokens_per_second == 15


# --- whose rates count ----------------------------------------------------------------------------------------------


def changed(config: dict[str, Any], name: str) -> dict[str, Any]:
    assert name in config
    return {**config, name: "something else"}


@pytest.fixture
def measured(tmp_path: Path, clock: Clock) -> dict[str, Any]:
    """A run of this configuration is done in tmp_path."""
    watched(tmp_path, clock, configuration())
    return flatten(configuration())


def test_rates_of_a_run_are_what_its_engines_took(tmp_path: Path, measured: dict[str, Any]) -> None:
    with open_reader(tmp_path) as connection:
        rates = measured_rates(connection, measured)
        assert rates_within(run_work(connection, 1)) == rates
        n_failures = connection.execute("SELECT count(*) FROM failures WHERE iteration = 2").fetchone()[0]
    expected = Rates(0.5, 0.25, 0.0, 2.0, 0.5, failures=n_failures / len(SEEDS), requests=1.0, accepted=1.0)
    assert astuple(rates) == pytest.approx(astuple(expected))


@pytest.mark.parametrize("name", ["student.model", "student.batch_size", "student.lora_rank", "student.quantization"])
def test_another_student_has_other_rates(tmp_path: Path, measured: dict[str, Any], name: str) -> None:
    with open_reader(tmp_path) as connection:
        rates = measured_rates(connection, changed(measured, name))
    assert (rates.train, rates.predict, rates.grade, rates.failures) == (None, None, None, None)
    assert rates.augment is not None and rates.requests is not None


@pytest.mark.parametrize("name", ["teacher.model", "teacher.attempts", "teacher.max_new_tokens"])
def test_another_teacher_has_other_rates(tmp_path: Path, measured: dict[str, Any], name: str) -> None:
    with open_reader(tmp_path) as connection:
        rates = measured_rates(connection, changed(measured, name))
    assert (rates.augment, rates.check, rates.requests, rates.accepted) == (None, None, None, None)
    assert rates.train is not None and rates.failures is not None


@pytest.mark.parametrize("name", ["task.family", "data.train", "hardware.device", "hardware.threads"])
def test_another_task_or_machine_has_other_rates(tmp_path: Path, measured: dict[str, Any], name: str) -> None:
    with open_reader(tmp_path) as connection:
        assert measured_rates(connection, changed(measured, name)) == Rates()


@pytest.mark.parametrize("name", ["student.learning_rate", "loop.iterations", "teacher.temperature", "student.epochs"])
def test_what_changes_no_speed_changes_no_rate(tmp_path: Path, measured: dict[str, Any], name: str) -> None:
    with open_reader(tmp_path) as connection:
        assert measured_rates(connection, changed(measured, name)) == measured_rates(connection, measured) != Rates()


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_model_is_known_by_its_content(tmp_path: Path, measured: dict[str, Any], role: str) -> None:
    config = json.dumps(measured)
    with Store(tmp_path) as store:
        with store.transaction():
            store.execute(
                "INSERT INTO models SELECT 9, 'other', kind, name, path, architecture, quantization, 1, 1, "
                "created_at FROM models WHERE id = 1"
            )
        same = add_run(store, config=config)
        other = add_run(store, config=config, **{f"{role}_model_id": 9})
        with store.transaction():  # add_run brings a model of its own
            store.execute("UPDATE runs SET student_model_id = 1 WHERE student_model_id != 9")
            store.execute("UPDATE runs SET teacher_model_id = 1 WHERE teacher_model_id != 9")
    with open_reader(tmp_path) as connection:
        rates = [rates_of(connection, run_work(connection, run.run_id)) for run in (same, other)]
        newest = measured_rates(connection, measured)
    missing = {"student": (True, False), "teacher": (False, True)}[role]
    assert None not in (rates[0].train, rates[0].augment)
    assert (rates[1].train is None, rates[1].augment is None) == missing
    assert newest == rates[1]  # what lies at that path now is the other model


def test_only_earlier_runs_count_for_a_run(tmp_path: Path, clock: Clock) -> None:
    with Store(tmp_path) as store, store.transaction():
        early = add_run(store, config=json.dumps(flatten(configuration())))
    watched(tmp_path, clock, configuration())
    with Store(tmp_path) as store, store.transaction():
        store.execute("UPDATE runs SET student_model_id = 1, teacher_model_id = 1")
    with open_reader(tmp_path) as connection:
        assert rates_of(connection, run_work(connection, early.run_id)) == Rates()


# --- arithmetic -----------------------------------------------------------------------------------------------------

RATES = Rates(1.0, 10.0, 100.0, 1000.0, 10_000.0, failures=0.2, requests=1.5, accepted=0.5)
PLAN = Plan(seeds=10, dev=2, test=3, iterations=1, epochs=2, augmentations_per_failure=3)


def test_an_estimate_by_hand() -> None:
    # 2 failures, 6 examples wanted: 9 requests and candidates, 3 accepted.
    first = 1 * 2 * 10 + 10 * 15 + 100 * 15 + 1000 * 9 + 10_000 * 9
    assert estimate(RATES, PLAN) == pytest.approx(first + 1 * 2 * 13 + 10 * 15 + 100 * 15)
    asked_all = estimate(RATES, replace(PLAN, augment_from="all"))
    assert asked_all == pytest.approx(first + 1 * 2 * 13 + 10 * 18 + 100 * 15)


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        (Position(1, 13), 2 * 13 + 150 + 1500),
        (Position(1, 13, frozenset({"train"})), 150 + 1500),
        (Position(1, 13, frozenset({"train", "predict"})), 1500),
        (Position(1, 13, frozenset({"train", "predict", "grade"}), failures=2), 0),
        (Position(2, 16), 0),  # the last iteration is done, the run not yet
    ],
)
def test_stages_that_were_opened_are_not_ahead(position: Position, expected: float) -> None:
    assert seconds_ahead(RATES, PLAN, position) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("asked", "unchecked", "may_ask", "requests", "candidates"),
    [
        (0, 0, True, 18, 18),  # 4 failures, 12 examples wanted, 18 requests expected
        (12, 12, True, 6, 18),
        (12, 0, True, 6, 6),
        (20, 8, True, 0, 8),
        (12, 12, False, 0, 12),
    ],
)
def test_what_was_asked_is_not_asked_again(
    asked: int, unchecked: int, may_ask: bool, requests: int, candidates: int
) -> None:
    opened = frozenset({"train", "predict", "grade", "augment"})
    position = Position(0, 10, opened, failures=4, asked=asked, unchecked=unchecked, may_ask=may_ask)
    last_iteration = 1 * 2 * 16 + 10 * 15 + 100 * 15  # with 6 more examples
    expected = 1000 * requests + 10_000 * candidates + last_iteration
    assert seconds_ahead(RATES, PLAN, position) == pytest.approx(expected)


def test_a_student_without_failures_ends_the_run() -> None:
    assert estimate(replace(RATES, failures=0.0), PLAN) == pytest.approx(1 * 2 * 10 + 10 * 15 + 100 * 15)


@pytest.mark.parametrize("name", [field.name for field in fields(Rates)])
def test_an_estimate_that_lacks_anything_is_none(name: str) -> None:
    assert estimate(replace(RATES, **{name: None}), PLAN) is None


def test_what_is_not_needed_may_be_unknown() -> None:
    only_a_student = Rates(train=1.0, predict=10.0, grade=100.0)
    assert estimate(only_a_student, replace(PLAN, iterations=0)) == pytest.approx(1 * 2 * 10 + 10 * 15 + 100 * 15)
