"""A person's decisions on candidates: when they count, what they change, and what they leave as it was."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from comparison import differences
from fake_runs import Crash, RecordingWatcher, configuration, half_learnt, rows, run_of, take_over
from fakes import FakeStudent, FakeTeacher

from llm2llm_local.config import Config
from llm2llm_local.errors import ModelError, StoreError
from llm2llm_local.loop.llm2llm import llm2llm
from llm2llm_local.records import ReviewDecision
from llm2llm_local.report.lineage import lineage_lines, lineage_of
from llm2llm_local.store.fork import copy_stages
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.wishes import add_command, add_review
from llm2llm_local.store.writer import Store
from llm2llm_local.student.protocol import Progress, TrainingExample
from llm2llm_local.teacher.protocol import TeacherRequest

ACCEPT, REJECT, WITHDRAW = ReviewDecision.ACCEPT, ReviewDecision.REJECT, ReviewDecision.WITHDRAW
CONFIG = configuration(teacher__attempts=2, loop__augmentations_per_failure=2, loop__iterations=3)

Which = Literal["passed", "refused"]
Moment = tuple[int, str, int]
FIRST, SECOND, THIRD = (0, "augment", 1), (1, "train", 0), (2, "train", 0)
"""When the person decides: before the training of iteration 1, of iteration 2, of iteration 3."""


@dataclass(frozen=True)
class Wish:
    """A decision on the n-th candidate of the first round of asking that passed the checks, or that they refused."""

    which: Which
    n: int
    decision: ReviewDecision
    question: str | None = None
    answer: str | None = None


@dataclass
class Person:
    """Decides as planned, once, when the run comes to that stage, however often it comes there."""

    workspace: Path
    plan: Mapping[Moment, Sequence[Wish]]

    def __call__(self) -> None:
        here = rows(self.workspace, "SELECT iteration, stage, attempt FROM stages ORDER BY id DESC LIMIT 1")[0]
        n_made, n_before = rows(self.workspace, "SELECT count(*) FROM reviews WHERE run_id = 1")[0][0], 0
        for moment, wishes in self.plan.items():
            if moment == here and n_made == n_before:
                for wish in wishes:
                    decide(self.workspace, wish)
            n_before += len(wishes)


def decide(workspace: Path, wish: Wish, run_id: int = 1) -> int:
    candidate, _, _ = candidate_of(workspace, wish.which, wish.n, run_id)
    return add_review(workspace, run_id, candidate, wish.decision, wish.question, wish.answer)


def candidate_of(workspace: Path, which: Which, n: int, run_id: int = 1) -> tuple[int, str, str]:
    """Its id and text."""
    (row,) = rows(
        workspace,
        f"SELECT id, question, answer FROM candidates c WHERE run_id = {run_id} AND iteration = 0 AND attempt = 0 "
        f"AND {'NOT' if which == 'refused' else ''} EXISTS "
        "(SELECT 1 FROM examples e WHERE e.candidate_id = c.id AND e.review_id IS NULL) "
        f"ORDER BY id LIMIT 1 OFFSET {n}",
    )
    return row


def sometimes_repeats(request: TeacherRequest) -> str:
    return " seed question 3 about things" if request.rng_seed % 3 == 0 else f" message number {request.rng_seed}"


def finish(
    workspace: Path,
    plan: Mapping[Moment, Sequence[Wish]],
    config: Config = CONFIG,
    *,
    write: Callable[[TeacherRequest], str] = sometimes_repeats,
    student: FakeStudent | None = None,
) -> FakeTeacher:
    workspace.mkdir(exist_ok=True)
    teacher = FakeTeacher(write)
    with run_of(workspace, config, teacher, student, obey=Person(workspace, plan)) as run:
        llm2llm(run)
    return teacher


def trained(workspace: Path, iteration: int, run_id: int = 1) -> list[tuple[str, str]]:
    """The augmented part of a training set, in its order."""
    return rows(
        workspace,
        "SELECT e.question, e.answer FROM training_set_examples t JOIN examples e ON e.id = t.example_id "
        f"WHERE t.run_id = {run_id} AND t.iteration = {iteration} AND e.origin = 'augmented' ORDER BY t.position",
    )


def state_of(workspace: Path, candidate: int) -> tuple[str, str | None]:
    ((verdict, reason),) = rows(workspace, f"SELECT verdict, reject_reason FROM candidates WHERE id = {candidate}")
    return verdict, reason


def review_verdicts(workspace: Path, run_id: int = 1) -> list[tuple[Any, ...]]:
    return rows(
        workspace,
        "SELECT candidate_id, verdict, reason FROM verdicts "
        f"WHERE check_name = 'review' AND run_id = {run_id} ORDER BY candidate_id",
    )


# --- what decisions change ------------------------------------------------------------------------------------------


def test_decisions_change_the_next_training_set_and_no_other(tmp_path: Path) -> None:
    plain, reviewed = tmp_path / "plain", tmp_path / "reviewed"
    finish(plain, {})
    wishes = [
        Wish("passed", 0, REJECT),
        Wish("passed", 1, ACCEPT, question="A text by hand", answer="gamma"),
        Wish("refused", 0, ACCEPT),
        Wish("passed", 2, ACCEPT),
    ]
    finish(reviewed, {FIRST: wishes})
    rejected, edited, confirmed = (candidate_of(reviewed, "passed", n) for n in (0, 1, 2))
    readmitted = candidate_of(reviewed, "refused", 0)
    before = trained(plain, 1)
    after = [text for text in before if text not in (rejected[1:], edited[1:])]
    added = {edited[0]: ("A text by hand", "gamma"), readmitted[0]: readmitted[1:]}
    assert len(after) == len(before) - 2
    assert trained(reviewed, 1) == after + [added[candidate] for candidate in sorted(added)]
    assert set(trained(reviewed, 1)) < set(trained(reviewed, 2)) < set(trained(reviewed, 3))
    assert [state_of(reviewed, c[0]) for c in (rejected, edited, readmitted, confirmed)] == [
        ("reject", "rejected by a person"),
        ("accept", None),
        ("accept", None),
        ("accept", None),
    ]
    assert review_verdicts(reviewed) == sorted(
        [
            (rejected[0], "reject", "rejected by a person"),
            (edited[0], "accept", "edited by a person"),
            (readmitted[0], "accept", "accepted by a person"),
            (confirmed[0], "accept", "accepted by a person"),
        ]
    )
    assert rows(reviewed, "SELECT DISTINCT applied_iteration, refused_reason FROM reviews") == [(1, None)]
    assert rows(reviewed, "SELECT iteration, message FROM events WHERE kind = 'reviews_carried_out'") == [
        (1, "reviews carried out: 2 accepted, 1 edited, 1 rejected")
    ]
    # Asking again in the same iteration was about what the checks refused, whatever the person decided meanwhile.
    asked = "SELECT attempt, count(*) FROM candidates WHERE iteration = 0 GROUP BY attempt"
    assert rows(reviewed, asked) == rows(plain, asked)


def test_a_decision_during_a_training_waits_for_the_next(tmp_path: Path) -> None:
    finish(tmp_path, {SECOND: [Wish("passed", 0, REJECT)]})
    text = candidate_of(tmp_path, "passed", 0)[1:]
    assert [text in trained(tmp_path, iteration) for iteration in (1, 2, 3)] == [True, False, False]


def test_the_newest_decision_counts(tmp_path: Path) -> None:
    finish(tmp_path, {FIRST: [Wish("passed", 0, REJECT), Wish("passed", 0, ACCEPT, question="A text by hand")]})
    candidate, question, answer = candidate_of(tmp_path, "passed", 0)
    assert ("A text by hand", answer) in trained(tmp_path, 1)
    assert (question, answer) not in trained(tmp_path, 1)
    assert rows(tmp_path, "SELECT applied_iteration, refused_reason FROM reviews ORDER BY id") == [
        (1, "a later decision counts"),
        (1, None),
    ]
    assert state_of(tmp_path, candidate) == ("accept", None)


def test_a_withdrawn_decision_gives_the_checks_their_word_back(tmp_path: Path) -> None:
    finish(
        tmp_path,
        {
            FIRST: [
                Wish("passed", 0, REJECT),
                Wish("refused", 0, ACCEPT),
                Wish("passed", 1, ACCEPT, question="By hand"),
            ],
            SECOND: [Wish("passed", 0, WITHDRAW), Wish("refused", 0, WITHDRAW), Wish("passed", 1, WITHDRAW)],
        },
    )
    refused_before, edited_before = (candidate_of(tmp_path, "passed", n) for n in (0, 1))
    accepted_before = candidate_of(tmp_path, "refused", 0)
    texts = [refused_before[1:], accepted_before[1:], edited_before[1:], ("By hand", edited_before[2])]
    for iteration, expected in ((1, [0, 1, 0, 1]), (2, [1, 0, 1, 0]), (3, [1, 0, 1, 0])):
        assert [trained(tmp_path, iteration).count(text) for text in texts] == expected, iteration
    assert review_verdicts(tmp_path) == []
    assert state_of(tmp_path, refused_before[0]) == ("accept", None)
    assert state_of(tmp_path, accepted_before[0]) == ("reject", "too similar to a seed or an accepted example")
    assert rows(tmp_path, "SELECT message FROM events WHERE kind = 'reviews_carried_out' AND iteration = 2") == [
        ("reviews carried out: 3 withdrawn",)
    ]


class ShortStudent(FakeStudent):
    """Can't train on long texts."""

    def check_lengths(self, examples: tuple[TrainingExample, ...], progress: Progress) -> int:
        longest = max(len(example.prompt) for example in examples)
        if longest > 200:
            raise ModelError("an example has too many tokens")
        return longest


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        ({"question": "test question 2 about stuff"}, "too similar to a dev or test question"),
        ({"question": "dev question of its own"}, "too similar to a dev or test question"),
        ({"answer": "delta"}, "not one of the labels"),
        ({"question": "   "}, "no question"),
        ({"answer": ""}, "no answer"),
        ({"question": "very " * 60 + "long"}, "too long for the student"),
    ],
)
def test_what_must_not_be_trained_on_is_refused_with_its_reason(
    tmp_path: Path, edit: dict[str, str], reason: str
) -> None:
    plan = {FIRST: [Wish("passed", 0, REJECT)], SECOND: [Wish("passed", 0, REJECT), Wish("passed", 0, ACCEPT, **edit)]}
    finish(tmp_path, plan, student=ShortStudent(half_learnt))
    candidate, *text = candidate_of(tmp_path, "passed", 0)
    assert rows(tmp_path, "SELECT id, applied_iteration, refused_reason FROM reviews ORDER BY id") == [
        (1, 1, None),
        (2, 2, "a later decision counts"),
        (3, 2, reason),
    ]
    assert rows(tmp_path, "SELECT iteration, message FROM events WHERE kind = 'review_refused'") == [
        (2, f"candidate {candidate}: {reason}")
    ]
    # What was in force before stays so.
    assert state_of(tmp_path, candidate) == ("reject", "rejected by a person")
    assert rows(tmp_path, f"SELECT removed_iteration FROM examples WHERE candidate_id = {candidate}") == [(1,)]
    assert tuple(text) not in trained(tmp_path, 3)


def test_a_reply_that_could_not_be_parsed_can_be_written_by_hand_but_not_just_accepted(tmp_path: Path) -> None:
    wishes = [Wish("refused", 0, ACCEPT), Wish("refused", 1, ACCEPT, "What is new?", "beta")]
    finish(tmp_path, {FIRST: wishes}, write=lambda request: "" if request.rng_seed % 2 else f" say {request.rng_seed}")
    assert rows(tmp_path, "SELECT refused_reason FROM reviews ORDER BY id") == [("no question",), (None,)]
    assert ("What is new?", "beta") in trained(tmp_path, 1)


def test_a_student_that_cannot_be_loaded_is_not_taken_for_a_text_that_is_too_long(tmp_path: Path) -> None:
    class Broken(FakeStudent):
        def check_lengths(self, examples: tuple[TrainingExample, ...], progress: Progress) -> int:
            raise ModelError("weights are missing")

    with pytest.raises(ModelError, match="weights are missing"):
        finish(tmp_path, {FIRST: [Wish("refused", 0, ACCEPT)]}, student=Broken(half_learnt))
    assert rows(tmp_path, "SELECT applied_iteration FROM reviews") == [(None,)]


def test_a_decision_that_comes_while_others_are_carried_out_is_for_the_next_training(tmp_path: Path) -> None:
    class Slow(FakeStudent):
        def check_lengths(self, examples: tuple[TrainingExample, ...], progress: Progress) -> int:
            if rows(tmp_path, "SELECT count(*) FROM reviews") == [(1,)]:
                decide(tmp_path, Wish("refused", 0, REJECT))
            return 12

    finish(tmp_path, {FIRST: [Wish("refused", 0, ACCEPT)]}, student=Slow(half_learnt))
    assert rows(tmp_path, "SELECT applied_iteration, refused_reason FROM reviews") == [(1, None), (2, None)]
    text = candidate_of(tmp_path, "refused", 0)[1:]
    assert [text in trained(tmp_path, iteration) for iteration in (1, 2)] == [True, False]


def test_what_a_person_refused_does_not_come_back_and_is_not_shown_to_the_teacher(tmp_path: Path) -> None:
    nothing = FakeStudent(lambda example, segment: False)
    teacher = finish(
        tmp_path, {FIRST: [Wish("passed", 0, REJECT)]}, write=lambda request: " always the same", student=nothing
    )
    assert rows(tmp_path, "SELECT question, removed_iteration FROM examples WHERE origin = 'augmented'") == [
        ("always the same", 1)
    ]
    n_first = rows(tmp_path, "SELECT count(*) FROM teacher_calls WHERE iteration = 0")[0][0]
    shown = [request for request in teacher.requests if "always the same" in request.prompt.completion]
    assert shown and all(request in teacher.requests[:n_first] for request in shown)


def test_the_lineage_of_an_edited_example_leads_to_the_reply(tmp_path: Path) -> None:
    finish(tmp_path, {FIRST: [Wish("passed", 0, ACCEPT, question="A text by hand")]})
    candidate, question, _ = candidate_of(tmp_path, "passed", 0)
    ids = [row[0] for row in rows(tmp_path, f"SELECT id FROM examples WHERE candidate_id = {candidate} ORDER BY id")]
    with open_reader(tmp_path) as connection:
        old, new = (lineage_of(connection, example) for example in ids)
    assert (new[0]["question"], new[0]["output_text"].strip(), new[0]["review_id"]) == ("A text by hand", question, 1)
    assert new[0]["trained_iterations"] == [1, 2, 3]
    assert new[-1]["origin"] == "seed"
    assert "  check review: accept edited by a person" in lineage_lines(new)
    assert (old[0]["question"], old[0]["trained_iterations"]) == (question, [])
    assert "  kept out by a person from iteration 1 on" in lineage_lines(old)


# --- going on after a kill ------------------------------------------------------------------------------------------

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
    (3, "train", 0): [Wish("passed", 3, REJECT)],
}
"""With changes of mind, and a last one that comes too late."""


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


def fork(workspace: Path, config: Config) -> list[str]:
    """From run 1 to a new run 2, worked to its end; the stages that were taken over."""
    with run_of(workspace, config, FakeTeacher(sometimes_repeats)) as run:
        with Store(workspace) as store, store.transaction():
            take_over(store, config)
        kept = [row[0] for row in rows(workspace, "SELECT stage FROM stages WHERE run_id = 2 ORDER BY id")]
        llm2llm(run)
    return kept


def but_events(found: list[str]) -> list[str]:
    return [difference for difference in found if not difference.startswith("events:")]


def test_a_fork_takes_decisions_over_where_they_were_carried_out(tmp_path: Path) -> None:
    finish(tmp_path, MANY)
    assert fork(tmp_path, CONFIG)[-1] == "grade"
    assert but_events(differences(tmp_path, 1, tmp_path, 2)) == []


def test_a_fork_takes_over_a_change_of_mind_before_a_training(tmp_path: Path) -> None:
    change_of_mind(tmp_path)
    fork(tmp_path, CONFIG)
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
    fork(tmp_path, configuration(teacher__attempts=2, loop__augmentations_per_failure=2, loop__iterations=4))
    late = candidate_of(tmp_path, "passed", 3, run_id=2)
    assert [late[1:] in trained(tmp_path, iteration, 2) for iteration in (2, 3, 4)] == [True, True, False]
    assert rows(tmp_path, "SELECT applied_iteration FROM reviews WHERE run_id = 2 ORDER BY id DESC LIMIT 1") == [(4,)]
    assert rows(tmp_path, "SELECT applied_iteration FROM reviews WHERE run_id = 1 ORDER BY id DESC LIMIT 1") == [
        (None,)
    ]


def test_decisions_on_what_a_fork_checks_anew_are_carried_out_at_its_next_training(tmp_path: Path) -> None:
    finish(tmp_path, {FIRST: [Wish("passed", 0, REJECT)], SECOND: [Wish("passed", 1, ACCEPT, answer="delta")]})
    kept = fork(
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
    fork(tmp_path, configuration(teacher__temperature=0.5))
    assert rows(tmp_path, "SELECT count(*) FROM reviews WHERE run_id = 2") == [(0,)]


# --- wishes ---------------------------------------------------------------------------------------------------------


def test_an_edit_that_changes_nothing_is_stored_as_none(tmp_path: Path) -> None:
    finish(tmp_path, {})
    candidate, question, answer = candidate_of(tmp_path, "passed", 0)
    made = [
        add_review(tmp_path, 1, candidate, ACCEPT, f" {question}\n", "gamma " if answer != "gamma" else "beta"),
        add_review(tmp_path, 1, candidate, ACCEPT),
        add_review(tmp_path, 1, candidate, REJECT, "Some text", "beta"),
    ]
    stored = rows(tmp_path, "SELECT id, decision, question, answer, applied_iteration FROM reviews ORDER BY id")
    assert [row[0] for row in stored] == made
    assert [row[1:3] for row in stored] == [("accept", None), ("accept", None), ("reject", None)]
    assert stored[0][3] in ("gamma", "beta") and [row[3] for row in stored[1:]] == [None, None]


def test_a_candidate_of_another_run_is_refused(tmp_path: Path) -> None:
    finish(tmp_path, {})
    with pytest.raises(StoreError, match="run 2 has no candidate 1") as caught:
        add_review(tmp_path, 2, 1, REJECT)
    assert "SELECT id, question FROM candidates" in caught.value.remedy
    with pytest.raises(StoreError, match="there is no run 2"):
        add_command(tmp_path, 2, "pause")
    assert rows(tmp_path, "SELECT (SELECT count(*) FROM reviews) + (SELECT count(*) FROM commands)") == [(0,)]


def test_a_command_is_a_pending_row(tmp_path: Path) -> None:
    finish(tmp_path, {})
    add_command(tmp_path, 1, "pause")
    assert rows(tmp_path, "SELECT run_id, command, status, handled_at FROM commands") == [(1, "pause", "pending", None)]


def test_a_wish_makes_no_store_and_says_when_it_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreError, match="unable to open") as caught:
        add_command(tmp_path, 1, "stop")
    assert caught.value.remedy
    assert list(tmp_path.iterdir()) == []
    finish(tmp_path, {})
    monkeypatch.setattr("llm2llm_local.store.wishes._PATIENCE_SECONDS", 0.05)
    other = sqlite3.connect(tmp_path / "llm2llm.db")
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreError, match="locked") as caught:
            add_review(tmp_path, 1, 1, REJECT)
    finally:
        other.close()
    assert "nothing was changed" in caught.value.remedy


def test_wishes_need_the_standard_library_only() -> None:
    program = (
        "import sys; before = set(sys.modules); import llm2llm_local.store.wishes;"
        "print({name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'llm2llm_local'}"
