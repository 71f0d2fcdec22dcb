"""A person's decisions in runs that were killed and go on, and in forks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from comparison import differences
from fake_runs import SEEDS, Crash, RecordingWatcher, configuration, fork, half_learnt, rows, run_of
from fakes import FakeStudent, FakeTeacher, scored
from knowing import label_in
from reviewed_runs import (
    ACCEPT,
    CONFIG,
    FIRST,
    REJECT,
    SECOND,
    THIRD,
    WITHDRAW,
    Person,
    Wish,
    candidate_of,
    decide,
    finish,
    review_verdicts,
    sometimes_repeats,
    trained,
)

from llm2llm_local.config import Config, flatten
from llm2llm_local.loop.llm2llm import llm2llm
from llm2llm_local.store.fork import copy_stages
from llm2llm_local.store.wishes import add_review
from llm2llm_local.store.writer import Store
from llm2llm_local.student.protocol import PredictionBatch, StudentAnswer
from llm2llm_local.teacher.protocol import Progress

TOO_LATE = (3, "train", 0)
MANY = {
    FIRST: [
        Wish("passed", 0, REJECT),
        Wish("passed", 1, ACCEPT, question="A text by hand"),
        Wish("refused", 0, ACCEPT),
        Wish("refused", 1, ACCEPT, answer="delta"),
    ],
    SECOND: [
        Wish("passed", 0, WITHDRAW),
        Wish("passed", 1, ACCEPT, question="Another text by hand"),
        Wish("refused", 0, REJECT),
    ],
    THIRD: [Wish("passed", 1, REJECT), Wish("passed", 2, REJECT), Wish("passed", 2, WITHDRAW)],
    TOO_LATE: [Wish("passed", 3, REJECT)],
}
"""With changes of mind, and a last one that comes too late."""

KFOLD = configuration(
    teacher__attempts=2,
    loop__augmentations_per_failure=2,
    loop__iterations=2,
    loop__failure_signal="kfold",
    loop__folds=3,
)


# --- going on after a kill ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", range(2, 92, 6))
def test_a_reviewed_run_that_dies_at_any_unit_boundary_becomes_the_same_run(tmp_path: Path, boundary: int) -> None:
    calm, disturbed = tmp_path / "calm", tmp_path / "disturbed"
    finish(calm, MANY)
    disturbed.mkdir()
    person, left = Person(disturbed, MANY), boundary

    def decide_then_crash() -> None:
        nonlocal left
        person()
        if left == 0:
            raise Crash
        left -= 1

    with (
        run_of(disturbed, CONFIG, FakeTeacher(sometimes_repeats), obey=decide_then_crash) as run,
        pytest.raises(Crash),
    ):
        llm2llm(run)
    with run_of(disturbed, CONFIG, FakeTeacher(sometimes_repeats), run_id=1, obey=person) as run:
        llm2llm(run)
    assert differences(calm, 1, disturbed, 1) == []


class DyingWatcher(RecordingWatcher):
    def message(self, text: str) -> None:
        if text.startswith("reviews"):
            raise Crash


def change_of_mind(workspace: Path) -> None:
    """A run that was killed between carrying out reviews and the training, where the person then thinks again."""
    person = Person(workspace, {FIRST: [Wish("passed", 0, ACCEPT, question="A text by hand")]})
    with run_of(workspace, CONFIG, FakeTeacher(sometimes_repeats), obey=person) as run, pytest.raises(Crash):
        llm2llm(replace(run, watcher=DyingWatcher()))
    assert rows(workspace, "SELECT applied_iteration FROM reviews") == [(1,)]
    assert rows(workspace, "SELECT count(*) FROM stages WHERE iteration = 1") == [(0,)]
    decide(workspace, Wish("passed", 0, ACCEPT, question="Better words"))
    with run_of(workspace, CONFIG, FakeTeacher(sometimes_repeats), run_id=1) as run:
        llm2llm(run)


def test_between_carrying_out_and_training_a_person_may_still_think_again(tmp_path: Path) -> None:
    change_of_mind(tmp_path)
    candidate, *_ = candidate_of(tmp_path, "passed", 0)
    assert rows(
        tmp_path,
        "SELECT question, iteration, removed_iteration FROM examples "
        f"WHERE candidate_id = {candidate} AND review_id IS NOT NULL ORDER BY id",
    ) == [("A text by hand", 0, 1), ("Better words", 0, None)]
    questions = [question for question, _ in trained(tmp_path, 1)]
    assert "Better words" in questions and "A text by hand" not in questions


def test_a_finished_reviewed_run_does_nothing_when_gone_through_again(tmp_path: Path) -> None:
    finish(tmp_path, MANY)
    before = {
        table: rows(tmp_path, f"SELECT * FROM {table}") for table in ("reviews", "examples", "verdicts", "events")
    }
    teacher, student = FakeTeacher(), FakeStudent(half_learnt)
    with run_of(tmp_path, CONFIG, teacher, student, run_id=1) as run:
        llm2llm(run)
    assert (teacher.requests, student.segments, student.batches) == ([], [], [])
    assert {table: rows(tmp_path, f"SELECT * FROM {table}") for table in before} == before


# --- forks ----------------------------------------------------------------------------------------------------------


def finished_fork(workspace: Path, config: Config) -> list[str]:
    """From run 1 to a new run 2, worked to its end; the stages that were taken over."""
    kept = fork(workspace, config)
    with run_of(workspace, config, FakeTeacher(sometimes_repeats), run_id=2) as run:
        llm2llm(run)
    return kept


def but_events(found: list[str]) -> list[str]:
    return [difference for difference in found if not difference.startswith("events:")]


def test_a_fork_takes_decisions_over_where_they_were_carried_out(tmp_path: Path) -> None:
    finish(tmp_path, {moment: wishes for moment, wishes in MANY.items() if moment != TOO_LATE})
    assert finished_fork(tmp_path, CONFIG)[-1] == "grade"
    assert but_events(differences(tmp_path, 1, tmp_path, 2)) == []


def test_a_fork_takes_over_a_change_of_mind_before_a_training(tmp_path: Path) -> None:
    change_of_mind(tmp_path)
    finished_fork(tmp_path, CONFIG)
    assert but_events(differences(tmp_path, 1, tmp_path, 2)) == []


def test_a_fork_that_ends_before_a_training_has_the_checks_word_and_all_decisions_to_carry_out(tmp_path: Path) -> None:
    finish(tmp_path, MANY)
    with run_of(tmp_path, CONFIG), Store(tmp_path) as store, store.transaction():
        stages = store.execute("SELECT * FROM stages WHERE run_id = 1 AND iteration = 0 ORDER BY id").fetchall()
        copy_stages(store, 1, 2, stages)
    assert review_verdicts(tmp_path, run_id=2) == []
    overall = "SELECT verdict, reject_reason FROM candidates WHERE run_id = 2 AND iteration = 0 ORDER BY id"
    assert rows(tmp_path, overall) == rows(
        tmp_path,
        "SELECT CASE WHEN v.candidate_id IS NULL THEN 'accept' ELSE 'reject' END, v.reason FROM candidates c "
        "LEFT JOIN verdicts v ON v.candidate_id = c.id AND v.verdict = 'reject' AND v.check_name != 'review' "
        "WHERE c.run_id = 1 AND c.iteration = 0 ORDER BY c.id",
    )
    assert rows(
        tmp_path,
        "SELECT count(*), count(removed_iteration), count(review_id) FROM examples "
        "WHERE run_id = 2 AND origin = 'augmented'",
    ) == [(rows(tmp_path, f"SELECT count(*) FROM ({overall}) WHERE verdict = 'accept'")[0][0], 0, 0)]
    made = "SELECT decision, question, answer FROM reviews WHERE run_id = {} ORDER BY id"
    assert rows(tmp_path, made.format(2)) == rows(tmp_path, made.format(1))
    assert rows(tmp_path, "SELECT count(applied_iteration), count(refused_reason) FROM reviews WHERE run_id = 2") == [
        (0, 0)
    ]


def test_decisions_that_came_too_late_are_carried_out_when_a_fork_goes_on(tmp_path: Path) -> None:
    finish(tmp_path, MANY)
    finished_fork(tmp_path, configuration(teacher__attempts=2, loop__augmentations_per_failure=2, loop__iterations=4))
    late = candidate_of(tmp_path, "passed", 3, run_id=2)
    assert [late[1:] in trained(tmp_path, iteration, 2) for iteration in (2, 3, 4)] == [True, True, False]
    assert rows(tmp_path, "SELECT applied_iteration FROM reviews WHERE run_id = 2 ORDER BY id DESC LIMIT 1") == [(4,)]
    assert rows(tmp_path, "SELECT applied_iteration FROM reviews WHERE run_id = 1 ORDER BY id DESC LIMIT 1") == [
        (None,)
    ]


def ended(workspace: Path, config: Config) -> None:
    """Run 1 is marked as the one that ended by itself under this configuration."""
    with Store(workspace) as store, store.transaction():
        store.execute("UPDATE runs SET status = 'done', config = ?", [json.dumps(flatten(config))])


def test_a_fork_of_a_finished_run_trains_its_last_student_anew_with_decisions_since(tmp_path: Path) -> None:
    finish(tmp_path, MANY)
    ended(tmp_path, CONFIG)
    late = candidate_of(tmp_path, "passed", 3)
    kept = finished_fork(tmp_path, CONFIG)
    last = CONFIG.loop.iterations
    assert (kept.count("train"), kept[-1]) == (last, "check")
    assert [late[1:] in trained(tmp_path, last, run_id) for run_id in (1, 2)] == [True, False]
    assert [trained(tmp_path, last - 1, run_id) for run_id in (1, 2)] == [trained(tmp_path, last - 1)] * 2
    assert rows(tmp_path, "SELECT max(applied_iteration) FROM reviews WHERE run_id = 2") == [(last,)]


def test_so_does_a_fork_of_a_run_that_stopped_after_its_last_training(tmp_path: Path) -> None:
    """No other training comes there either, were it resumed."""

    def crash() -> None:
        if rows(tmp_path, "SELECT iteration, stage FROM stages ORDER BY id DESC LIMIT 1") == [(3, "predict")]:
            raise Crash

    with run_of(tmp_path, CONFIG, FakeTeacher(sometimes_repeats), obey=crash) as run, pytest.raises(Crash):
        llm2llm(run)
    rejected = candidate_of(tmp_path, "passed", 0)
    decide(tmp_path, Wish("passed", 0, REJECT))
    kept = finished_fork(tmp_path, CONFIG)
    assert (kept.count("train"), kept[-1]) == (3, "check")
    assert [rejected[1:] in trained(tmp_path, 3, run_id) for run_id in (1, 2)] == [True, False]


def test_a_fork_that_ends_earlier_trains_its_last_student_anew_with_decisions_since(tmp_path: Path) -> None:
    finish(tmp_path, {(3, "train", 0): [Wish("passed", 0, REJECT)]})
    ended(tmp_path, CONFIG)
    rejected = candidate_of(tmp_path, "passed", 0)
    shorter = configuration(teacher__attempts=2, loop__augmentations_per_failure=2, loop__iterations=2)
    kept = finished_fork(tmp_path, shorter)
    assert kept.count("train") == 2
    assert rejected[1:] not in trained(tmp_path, 2, run_id=2) != []


def test_a_fork_that_ends_earlier_carries_out_what_its_origin_did_later(tmp_path: Path) -> None:
    finish(tmp_path, {(2, "train", 0): [Wish("passed", 0, REJECT)]})
    assert rows(tmp_path, "SELECT applied_iteration FROM reviews") == [(3,)]
    rejected = candidate_of(tmp_path, "passed", 0)
    shorter = configuration(teacher__attempts=2, loop__augmentations_per_failure=2, loop__iterations=2)
    assert finished_fork(tmp_path, shorter).count("train") == 2
    assert rejected[1:] in trained(tmp_path, 2)
    assert rejected[1:] not in trained(tmp_path, 2, run_id=2) != []


@pytest.mark.parametrize("changes", [{"loop__iterations": 1}, {"loop__iterations": 2}, {"loop__recipe": "fine_tune"}])
def test_a_fork_trains_nothing_anew_for_decisions_on_what_it_is_not_trained_on(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    finish(tmp_path, {})
    ended(tmp_path, CONFIG)
    (last,) = rows(tmp_path, "SELECT max(c.id) FROM candidates c JOIN examples e ON e.candidate_id = c.id")[0]
    add_review(tmp_path, 1, last, REJECT, None, None)
    settings = {"teacher__attempts": 2, "loop__augmentations_per_failure": 2, "loop__iterations": 3, **changes}
    config = configuration(**settings)
    assert fork(tmp_path, config).count("train") == config.loop.iterations + 1


class Grasping(FakeStudent):
    """Once it has learnt anything it knows the labels of seeds that it hasn't seen, too."""

    def predict(self, batch: PredictionBatch, progress: Progress) -> list[StudentAnswer]:
        answers = super().predict(batch, progress)
        if not json.loads((batch.adapter / "learnt.json").read_text()):
            return answers
        questions = (prompt.removeprefix("Question: ").partition("\n")[0] for prompt in batch.prompts)
        known = (label_in(question) for question in questions)
        return [
            answer if label is None else scored(batch.completions, f" {label}")
            for label, answer in zip(known, answers, strict=True)
        ]


def test_a_fork_of_a_kfold_run_that_ran_dry_trains_its_last_student_anew_with_decisions_since(tmp_path: Path) -> None:
    student = Grasping(lambda example, segment: len(segment.examples) > len(SEEDS))
    finish(tmp_path, {(1, "fold_train", 2): [Wish("passed", 0, REJECT)]}, KFOLD, student=student)
    ended(tmp_path, KFOLD)
    assert rows(tmp_path, "SELECT max(iteration) FROM stages") == [(1,)]  # nothing failed any more
    rejected = candidate_of(tmp_path, "passed", 0)
    fork(tmp_path, KFOLD)
    with run_of(tmp_path, KFOLD, FakeTeacher(sometimes_repeats), student, run_id=2) as run:
        assert "finished early" in llm2llm(run)
    assert rejected[1:] not in trained(tmp_path, 1, run_id=2) != []


def test_a_fork_trains_nothing_anew_for_decisions_that_the_checks_made_already(tmp_path: Path) -> None:
    finish(tmp_path, {(3, "train", 0): [Wish("passed", 0, ACCEPT), Wish("refused", 0, REJECT)]})
    ended(tmp_path, CONFIG)
    assert finished_fork(tmp_path, CONFIG)[-1] == "grade"


def test_a_fork_that_goes_on_carries_decisions_out_at_its_next_training(tmp_path: Path) -> None:
    finish(tmp_path, MANY)
    ended(tmp_path, CONFIG)
    longer = configuration(teacher__attempts=2, loop__augmentations_per_failure=2, loop__iterations=4)
    assert finished_fork(tmp_path, longer)[-1] == "grade"
    assert rows(tmp_path, "SELECT max(applied_iteration) FROM reviews WHERE run_id = 2") == [(4,)]


def test_a_fork_of_a_run_that_ran_dry_trains_its_last_student_anew_with_decisions_since(tmp_path: Path) -> None:
    student = FakeStudent(lambda example, segment: len(segment.examples) > len(SEEDS))
    finish(tmp_path, {(1, "train", 0): [Wish("passed", 0, REJECT)]}, student=student)
    ended(tmp_path, CONFIG)
    assert rows(tmp_path, "SELECT max(iteration) FROM stages") == [(1,)]  # nothing failed any more
    kept = finished_fork(tmp_path, CONFIG)
    assert (kept.count("train"), kept[-1]) == (1, "check")
    assert candidate_of(tmp_path, "passed", 0)[1:] not in trained(tmp_path, 1, run_id=2) != []
    longer = configuration(teacher__attempts=2, loop__augmentations_per_failure=2, loop__iterations=4)
    assert fork(tmp_path, longer) == kept  # nothing would fail, so no training would come


def test_decisions_on_what_a_fork_checks_anew_are_carried_out_at_its_next_training(tmp_path: Path) -> None:
    finish(tmp_path, {FIRST: [Wish("passed", 0, REJECT)], SECOND: [Wish("passed", 1, ACCEPT, answer="delta")]})
    kept = finished_fork(
        tmp_path,
        configuration(
            teacher__attempts=2,
            loop__augmentations_per_failure=2,
            loop__iterations=3,
            checks__duplicate_threshold=0.9,
        ),
    )
    assert kept == ["train", "predict", "grade", "augment"]
    assert rows(tmp_path, "SELECT applied_iteration, refused_reason FROM reviews WHERE run_id = 2 ORDER BY id") == [
        (1, None),
        (1, "not one of the labels"),
    ]
    rejected = candidate_of(tmp_path, "passed", 0, run_id=2)
    assert rejected[1:] not in trained(tmp_path, 1, run_id=2)
    assert review_verdicts(tmp_path, run_id=2) == [(rejected[0], "reject", "rejected by a person")]


def test_a_fork_leaves_decisions_on_candidates_that_it_does_not_have(tmp_path: Path) -> None:
    finish(tmp_path, MANY)
    finished_fork(tmp_path, configuration(teacher__temperature=0.5))
    assert rows(tmp_path, "SELECT count(*) FROM reviews WHERE run_id = 2") == [(0,)]


# --- beside students that leave seeds out ----------------------------------------------------------------------------


@pytest.mark.parametrize("moment", [(1, "fold_train", 2), (1, "fold_train", 3), (1, "fold_predict", 3)])
def test_a_decision_after_the_first_fold_of_an_iteration_was_begun_is_for_the_next(
    tmp_path: Path, moment: tuple[int, str, int]
) -> None:
    plan = {moment: [Wish("passed", n, REJECT) for n in range(6)]}
    calm, disturbed = tmp_path / "calm", tmp_path / "disturbed"
    finish(calm, plan, KFOLD)
    disturbed.mkdir()
    person = Person(disturbed, plan)

    def decide_then_crash() -> None:
        person()
        if rows(disturbed, "SELECT count(*) FROM reviews") != [(0,)]:
            raise Crash

    with (
        run_of(disturbed, KFOLD, FakeTeacher(sometimes_repeats), obey=decide_then_crash) as run,
        pytest.raises(Crash),
    ):
        llm2llm(run)
    with run_of(disturbed, KFOLD, FakeTeacher(sometimes_repeats), run_id=1) as run:
        llm2llm(run)
    assert rows(disturbed, "SELECT DISTINCT applied_iteration FROM reviews") == [(2,)]
    assert differences(calm, 1, disturbed, 1) == []


def test_a_fork_takes_decisions_over_with_the_first_fold_that_they_were_carried_out_for(tmp_path: Path) -> None:
    finish(tmp_path, {FIRST: [Wish("passed", 0, REJECT)]}, KFOLD)
    with run_of(tmp_path, KFOLD), Store(tmp_path) as store, store.transaction():
        before = "(SELECT id FROM stages WHERE iteration = 1 AND stage = 'fold_train' AND attempt = 2)"
        copy_stages(store, 1, 2, store.execute(f"SELECT * FROM stages WHERE id < {before} ORDER BY id").fetchall())
    assert rows(tmp_path, "SELECT applied_iteration FROM reviews WHERE run_id = 2") == [(1,)]
    removed = "SELECT question FROM examples WHERE run_id = {} AND removed_iteration = 1"
    assert rows(tmp_path, removed.format(2)) == rows(tmp_path, removed.format(1)) != []
