"""Where a run is said to stand is where its loop is, and what is expected of it is what then happens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from fake_runs import LABELS, SEEDS, configuration
from knowing import writes
from timed_runs import NOW, Clock, Look, watched
from workspaces import CONFIG_BY_HAND, Workspace, add_run

from llm2llm_local.records import DataRow, Split, Status
from llm2llm_local.report.progress import RunProgress, run_progress
from llm2llm_local.report.work import StageProgress, run_work
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.run_store import RunStore
from llm2llm_local.store.writer import Store
from llm2llm_local.teacher.protocol import TeacherRequest


def sometimes_a_seed(request: TeacherRequest) -> str:
    """Some of what the teacher writes is a duplicate, so that it is asked again."""
    return f" {SEEDS[0].question}" if request.rng_seed % 3 == 0 else f" message number {request.rng_seed}"


def by_stage(looks: Sequence[Look]) -> Iterator[tuple[Look, list[Look]]]:
    """The look at the beginning of each stage, and those after its units."""
    starts = [index for index, look in enumerate(looks) if look.rows == 0]
    n_stages = [len(look.told.stages) for look in looks]
    starts = [index for index in starts if index == 0 or n_stages[index] != n_stages[index - 1]]
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


@pytest.mark.parametrize(
    ("verifier", "signal", "of_verification"),
    [
        ("teacher", "train", {"audit", "calibrate", "vote"}),
        ("student", "confidence", {"fold_train", "fold_predict", "calibrate", "student_vote"}),
        ("both", "kfold", {"audit", "fold_train", "fold_predict", "calibrate", "vote", "student_vote"}),
    ],
)
def test_rows_of_folds_and_votes_are_those_that_the_loop_commits(
    tmp_path: Path, clock: Clock, verifier: str, signal: str, of_verification: set[str]
) -> None:
    """No check refuses a candidate before the vote here, so the rows of votes are known, too."""
    config = configuration(
        checks__verify="on",
        checks__verifier=verifier,
        checks__votes=2,
        loop__failure_signal=signal,
        loop__folds=5,
        loop__augment_from="all" if signal == "kfold" else "seeds",
        student__batch_size=5,
        teacher__group_size=5,
    )
    found = set()
    for start, units in by_stage(watched(tmp_path, clock, config, writes)):
        begun = start.told.current
        assert begun is not None and begun.rows_done == 0
        found.add(begun.stage)
        rows = 0
        for look in units:
            now = look.told.current
            assert now is not None
            assert all(stage.rows_done == stage.rows_total for stage in look.told.stages[:-1])
            rows += look.rows
            assert (now.stage, now.rows_total) == (begun.stage, begun.rows_total)
            assert now.rows_done == rows or now.stage in ("student_vote", "calibrate")
        assert rows == begun.rows_total
        assert set(start.told.stage_names) >= found
    assert found == {"train", "predict", "grade", "augment", "check"} | of_verification
    assert set(start.told.stage_names) == found


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


def always_right(request: TeacherRequest) -> str:
    label = next(label for label in LABELS if f"is {label}" in request.prompt.completion)
    return f" new ({label}) thing {request.rng_seed} to talk about"


def test_what_is_left_counts_folds_and_votes(tmp_path: Path, clock: Clock) -> None:
    """By what an earlier run measured; every candidate is accepted, so that all iterations are alike."""
    config = configuration(
        checks__verify="on",
        checks__verifier="both",
        loop__failure_signal="kfold",
        loop__iterations=4,
        student__checkpoint_steps=100,
    )
    watched(tmp_path, clock, config, always_right)
    for look in watched(tmp_path, clock, config, always_right):
        assert look.told.seconds_left == pytest.approx(clock.now - look.at, rel=0.03, abs=0.5)


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


def test_words_that_are_changed_without_a_teacher_are_no_tokens_of_it(tmp_path: Path, clock: Clock) -> None:
    config = configuration(loop__recipe="eda")
    watched(tmp_path, clock, config)
    with Store(tmp_path) as store, store.transaction():
        store.execute("UPDATE teacher_calls SET seconds = 0.01")
    with open_reader(tmp_path) as connection:
        assert run_progress(connection, 1, NOW).teacher_tokens_per_second is None


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
