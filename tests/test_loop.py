"""The loop with fake engines: which examples are trained, asked for, checked and kept; stop and resume anywhere."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from comparison import differences
from fake_runs import SEEDS, Crash, configuration, fork, half_learnt, rows, run_of
from fakes import FakeStudent, FakeTeacher, stable_number

from llm2llm_local.errors import ChangedSinceStartError, DiskError, RunFailedError, RunStoppedError
from llm2llm_local.loop.context import derive_rng_seed
from llm2llm_local.loop.llm2llm import llm2llm
from llm2llm_local.records import Split
from llm2llm_local.store.writer import Store
from llm2llm_local.teacher.protocol import TeacherRequest


def test_each_iteration_trains_on_the_seeds_and_all_that_was_accepted_before(tmp_path: Path) -> None:
    student = FakeStudent(half_learnt)
    with run_of(tmp_path, configuration(), student=student) as run:
        ending = llm2llm(run)
    failures = sum(
        stable_number(run.task.prompts.prompt(seed.question)) % 2 for seed in SEEDS if seed.answer != "alpha"
    )
    assert "2 rounds" in ending
    sizes = rows(tmp_path, "SELECT iteration, count(*) FROM training_set_examples GROUP BY iteration")
    assert failures > 0
    assert sizes == [(0, 12), (1, 12 + failures), (2, 12 + 2 * failures)]
    origins = rows(
        tmp_path,
        "SELECT DISTINCT e.origin, e.iteration < t.iteration FROM training_set_examples t "
        "JOIN examples e ON e.id = t.example_id WHERE e.origin = 'augmented'",
    )
    assert origins == [("augmented", 1)]


def test_only_failing_seeds_are_augmented_and_keep_their_label(tmp_path: Path) -> None:
    with run_of(tmp_path, configuration()) as run:
        llm2llm(run)
    parents = rows(
        tmp_path,
        "SELECT parent.origin, new.answer = parent.answer, p.is_correct FROM examples new "
        "JOIN examples parent ON parent.id = new.parent_example_id "
        "JOIN predictions p ON p.example_id = parent.id AND p.iteration = new.iteration "
        "WHERE new.origin = 'augmented' GROUP BY 1, 2, 3",
    )
    assert parents == [("seed", 1, 0)]


def test_augment_from_all_asks_about_failing_augmented_examples_too(tmp_path: Path) -> None:
    nothing = FakeStudent(lambda example, segment: False)
    with run_of(tmp_path, configuration(loop__augment_from="all"), student=nothing) as run:
        llm2llm(run)
    grandparents = rows(
        tmp_path,
        "SELECT count(*) FROM examples new JOIN examples parent ON parent.id = new.parent_example_id "
        "WHERE parent.origin = 'augmented'",
    )
    assert grandparents[0][0] > 0


def test_a_student_without_failures_ends_the_run_early_and_says_what_to_do(tmp_path: Path) -> None:
    knows_all = FakeStudent(lambda example, segment: True)
    teacher = FakeTeacher()
    with run_of(tmp_path, configuration(), teacher, knows_all) as run:
        ending = llm2llm(run)
    assert "nothing to augment" in ending and "student.epochs" in ending
    assert teacher.requests == []
    assert rows(tmp_path, "SELECT iteration, status FROM iterations") == [(0, "done")]


def test_rejected_candidates_are_asked_for_again_up_to_the_bound(tmp_path: Path) -> None:
    repeats = FakeTeacher(write=lambda request: " seed question 3 about things")
    nothing = FakeStudent(lambda example, segment: False)
    with run_of(tmp_path, configuration(loop__iterations=1, teacher__attempts=3), repeats, nothing) as run:
        llm2llm(run)
    # 8 seeds are not alpha, which the fake answers to everything; each is asked about three times in vain.
    assert rows(tmp_path, "SELECT attempt, count(*) FROM candidates GROUP BY attempt") == [(0, 8), (1, 8), (2, 8)]
    assert rows(tmp_path, "SELECT n_failures, n_candidates, n_accepted, n_rejected FROM teacher_yield LIMIT 1") == [
        (8, 24, 0, 24)
    ]
    assert rows(tmp_path, "SELECT DISTINCT check_name, score FROM verdicts WHERE verdict = 'reject'") == [
        ("duplicate", 1.0)
    ]


def test_accepted_failures_are_not_asked_about_again_in_the_same_iteration(tmp_path: Path) -> None:
    with run_of(tmp_path, configuration(teacher__attempts=5)) as run:
        llm2llm(run)
    assert rows(tmp_path, "SELECT DISTINCT attempt FROM candidates") == [(0,)]


def test_a_reply_that_cannot_be_parsed_is_a_rejected_candidate_with_its_text(tmp_path: Path) -> None:
    babble = FakeTeacher(write=lambda request: "one line\nanother line")
    with run_of(tmp_path, configuration(loop__iterations=1, teacher__attempts=1), babble) as run:
        llm2llm(run)
    assert rows(tmp_path, "SELECT DISTINCT question, output_text, verdict, reject_reason FROM candidates") == [
        (None, "one line\nanother line", "reject", "more than one line")
    ]


def test_test_questions_do_not_get_into_the_training_set(tmp_path: Path) -> None:
    leaks = FakeTeacher(write=lambda request: " test question 2 about stuff")
    with run_of(tmp_path, configuration(loop__iterations=1, teacher__attempts=1), leaks) as run:
        llm2llm(run)
    assert rows(tmp_path, "SELECT DISTINCT check_name FROM verdicts WHERE verdict = 'reject'") == [("leak",)]
    assert rows(tmp_path, "SELECT count(*) FROM examples WHERE origin = 'augmented'") == [(0,)]


def test_demonstrations_are_other_seeds_of_the_same_label(tmp_path: Path) -> None:
    teacher = FakeTeacher()
    with run_of(tmp_path, configuration(loop__iterations=1, teacher__demonstrations=2), teacher) as run:
        llm2llm(run)
    assert teacher.requests != []
    for request in teacher.requests:
        shown = [line[2:] for line in request.prompt.completion.splitlines() if line.startswith("- ")]
        answers = {seed.answer for seed in SEEDS if seed.question in shown}
        assert len(shown) == len(set(shown)) == 3
        assert len(answers) == 1


def test_prompts_of_a_round_begin_alike_so_that_their_beginning_is_evaluated_once(tmp_path: Path) -> None:
    teacher = FakeTeacher()
    config = configuration(loop__iterations=1, teacher__attempts=1, teacher__demonstrations=2)
    with run_of(tmp_path, config, teacher, FakeStudent(lambda example, segment: False)) as run:
        llm2llm(run)
    beginnings = Counter(request.prompt.completion.rsplit("\n- ", 1)[0] for request in teacher.requests)
    # No student knows anything but the first label. Of the other two, two of four seeds are shown to both others.
    assert sorted(beginnings.values()) == [1, 1, 1, 1, 2, 2]


def test_continue_starts_from_the_adapter_before_and_scratch_does_not(tmp_path: Path) -> None:
    for mode, expected in (("scratch", {None}), ("continue", {None, "iteration-0", "iteration-1"})):
        (tmp_path / mode).mkdir()
        student = FakeStudent(half_learnt)
        with run_of(tmp_path / mode, configuration(loop__fine_tune=mode), student=student) as run:
            llm2llm(run)
        started = {None if s.start_adapter is None else s.start_adapter.parent.name for s in student.segments}
        assert started == expected


def test_segments_cover_the_training_without_gap_and_go_on_from_the_checkpoint_before(tmp_path: Path) -> None:
    student = FakeStudent(half_learnt)
    with run_of(tmp_path, configuration(loop__iterations=1), student=student) as run:
        llm2llm(run)
    first = [segment for segment in student.segments if segment.output.parent.name == "iteration-0"]
    assert [(s.start_step, s.stop_step) for s in first] == [(0, 2), (2, 4), (4, 6)]
    assert [s.checkpoint for s in first] == [None, first[0].output, first[1].output]
    assert first[-1].output.name == "adapter"
    assert not list(run.store.folder.glob("iteration-*/step-*"))  # no use any more


@pytest.mark.parametrize("boundary", range(0, 60, 3))
def test_a_run_that_dies_at_any_unit_boundary_becomes_the_same_run(tmp_path: Path, boundary: int) -> None:
    config = configuration(teacher__attempts=2, loop__augmentations_per_failure=2)
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    for folder in (undisturbed, disturbed):
        folder.mkdir()

    def sometimes_bad(request: TeacherRequest) -> str:
        return "" if request.rng_seed % 3 == 0 else f" message number {request.rng_seed}"

    with run_of(undisturbed, config, FakeTeacher(sometimes_bad)) as run:
        llm2llm(run)

    left = boundary

    def crash_when_it_is_time() -> None:
        nonlocal left
        if left == 0:
            raise Crash
        left -= 1

    with (
        run_of(disturbed, config, FakeTeacher(sometimes_bad), obey=crash_when_it_is_time) as run,
        pytest.raises(Crash),
    ):
        llm2llm(run)
    with run_of(disturbed, config, FakeTeacher(sometimes_bad), run_id=1) as run:
        llm2llm(run)
    assert differences(undisturbed, 1, disturbed, 1) == []


def test_a_finished_run_does_nothing_when_gone_through_again(tmp_path: Path) -> None:
    with run_of(tmp_path, configuration()) as run:
        llm2llm(run)
    teacher, student = FakeTeacher(), FakeStudent(half_learnt)
    with run_of(tmp_path, configuration(), teacher, student, run_id=1) as run:
        llm2llm(run)
    assert (teacher.requests, student.segments, student.batches) == ([], [], [])


def test_a_stage_begun_under_other_conditions_is_refused_with_the_field(tmp_path: Path) -> None:
    with run_of(tmp_path, configuration()) as run:
        llm2llm(run)
    with (
        run_of(tmp_path, configuration(teacher__temperature=0.5), run_id=1) as run,
        pytest.raises(ChangedSinceStartError, match=r"iteration 0, augment.*teacher.temperature"),
    ):
        llm2llm(run)


def test_stopping_is_obeyed_at_the_next_boundary_and_loses_nothing(tmp_path: Path) -> None:
    def stop() -> None:
        if rows(tmp_path, "SELECT count(*) FROM predictions")[0][0] >= 8:
            raise RunStoppedError("stopped")

    with run_of(tmp_path, configuration(), obey=stop) as run, pytest.raises(RunStoppedError):
        llm2llm(run)
    assert rows(
        tmp_path, "SELECT count(*), max(s.units_done) FROM predictions, stages s WHERE s.stage = 'predict'"
    ) == [(8 * 1, 2)]


@pytest.mark.parametrize(
    ("changes", "kept_stages"),
    [
        ({"teacher__temperature": 0.5}, ["train", "predict", "grade"]),
        ({"checks__duplicate_threshold": 0.5}, ["train", "predict", "grade", "augment"]),
        ({"student__epochs": 1}, []),
        ({"student__predict_batch_size": 3}, ["train"]),
    ],
)
def test_a_fork_takes_over_what_is_unaffected_and_equals_a_run_from_scratch(
    tmp_path: Path, changes: dict[str, Any], kept_stages: list[str]
) -> None:
    changed = configuration(**changes)
    forked, fresh = tmp_path / "forked", tmp_path / "fresh"
    for folder in (forked, fresh):
        folder.mkdir()
    with run_of(forked, configuration()) as run:
        llm2llm(run)
    assert fork(forked, changed) == kept_stages
    assert [row[0] for row in rows(forked, "SELECT stage FROM stages WHERE run_id = 2 ORDER BY id")] == kept_stages
    with run_of(forked, changed, run_id=2) as run:
        llm2llm(run)
    with run_of(fresh, changed) as run:
        llm2llm(run)
    assert differences(fresh, 1, forked, 2) == []


def test_a_fork_with_more_iterations_goes_on_from_the_end(tmp_path: Path) -> None:
    longer = configuration(loop__iterations=3)
    with run_of(tmp_path, configuration()) as run:
        llm2llm(run)
    fork(tmp_path, longer)
    student = FakeStudent(half_learnt)
    with run_of(tmp_path, longer, student=student, run_id=2) as run:
        llm2llm(run)
    assert {segment.output.parent.name for segment in student.segments} == {"iteration-3"}


def test_random_seeds_depend_on_every_part_and_on_nothing_else() -> None:
    parts = [(0, 1, "augment", "train/1", 0, 0), (1, 1, "augment", "train/1", 0, 0), (0, 2, "augment", "train/1", 0, 0)]
    seeds = [derive_rng_seed(*part) for part in parts]
    assert len(set(seeds)) == 3
    assert seeds == [derive_rng_seed(*part) for part in parts]
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_store_of_run(tmp_path: Path) -> None:
    with run_of(tmp_path, configuration()) as run:
        assert [example.key for example in run.store.examples(Split.TEST)] == [f"test/{n}" for n in range(5)]


def test_a_damaged_adapter_is_not_predicted_with(tmp_path: Path) -> None:
    """A wrong number that looks right is worse than a run that stops."""

    def stop_before_predictions() -> None:
        if rows(tmp_path, "SELECT 1 FROM stages WHERE stage = 'predict'"):
            raise Crash

    with run_of(tmp_path, configuration(), obey=stop_before_predictions) as run, pytest.raises(Crash):
        llm2llm(run)
    (run.store.folder / "iteration-0" / "adapter" / "learnt.json").write_text("{}")
    with (
        run_of(tmp_path, configuration(), run_id=1) as run,
        pytest.raises(RunFailedError, match=r"iteration-0/adapter: missing, or not what was written there"),
    ):
        llm2llm(run)
    assert rows(tmp_path, "SELECT count(*) FROM predictions") == [(0,)]


def test_a_damaged_checkpoint_is_not_trained_from(tmp_path: Path) -> None:
    def stop_in_training() -> None:
        if rows(tmp_path, "SELECT 1 FROM checkpoints"):
            raise Crash

    with run_of(tmp_path, configuration(), obey=stop_in_training) as run, pytest.raises(Crash):
        llm2llm(run)
    (run.store.folder / "iteration-0" / "step-2" / "learnt.json").write_text("{}")
    with run_of(tmp_path, configuration(), run_id=1) as run, pytest.raises(RunFailedError, match="step-2"):
        llm2llm(run)


def test_a_stage_that_is_cut_differently_is_refused(tmp_path: Path) -> None:
    def stop_in_predictions() -> None:
        if rows(tmp_path, "SELECT 1 FROM predictions"):
            raise Crash

    with run_of(tmp_path, configuration(), obey=stop_in_predictions) as run, pytest.raises(Crash):
        llm2llm(run)
    with Store(tmp_path) as store:
        store.execute("UPDATE stages SET units_total = 9 WHERE stage = 'predict'")
    with (
        run_of(tmp_path, configuration(), run_id=1) as run,
        pytest.raises(ChangedSinceStartError, match="cut into 9 units of work and now is into"),
    ):
        llm2llm(run)


def test_a_store_that_is_deleted_during_a_run_is_noticed_at_the_next_commit(tmp_path: Path) -> None:
    def delete_the_store() -> None:
        if rows(tmp_path, "SELECT 1 FROM predictions"):
            (tmp_path / "llm2llm.db").unlink()

    with (
        run_of(tmp_path, configuration(), obey=delete_the_store) as run,
        pytest.raises(DiskError, match="deleted or replaced"),
    ):
        llm2llm(run)
