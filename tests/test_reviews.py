"""A person's decisions on candidates: when they count, what they change, and what they leave as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_runs import half_learnt, rows
from fakes import FakeStudent
from reviewed_runs import (
    ACCEPT,
    FIRST,
    REJECT,
    SECOND,
    WITHDRAW,
    Wish,
    candidate_of,
    decide,
    finish,
    review_verdicts,
    trained,
)

from llm2llm_local.errors import ModelError
from llm2llm_local.report.lineage import lineage_lines, lineage_of
from llm2llm_local.store.reader import open_reader
from llm2llm_local.student.protocol import Progress, TrainingExample
from llm2llm_local.teacher.protocol import TeacherRequest


def state_of(workspace: Path, candidate: int) -> tuple[str, str | None]:
    ((verdict, reason),) = rows(workspace, f"SELECT verdict, reject_reason FROM candidates WHERE id = {candidate}")
    return verdict, reason


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

    def write(request: TeacherRequest) -> str:
        return f" other {request.rng_seed}" if request.rng_seed % 8 == 0 else " always the same"

    teacher = finish(tmp_path, {FIRST: [Wish("passed", 0, REJECT)]}, write=write, student=nothing)
    assert rows(tmp_path, "SELECT removed_iteration FROM examples WHERE question = 'always the same'") == [(1,)]
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
