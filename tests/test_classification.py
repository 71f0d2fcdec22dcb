"""Classification: grading, what the teacher is shown, what is read out of its reply."""

from __future__ import annotations

import dataclasses
import random

import pytest

from llm2llm_local.errors import DataError
from llm2llm_local.records import (
    DataRow,
    Example,
    Failure,
    FinishReason,
    NewExample,
    Origin,
    Outcome,
    Reply,
    Split,
    Unparsed,
)
from llm2llm_local.tasks.base import PromptBuilder
from llm2llm_local.tasks.classification import ClassificationTask, label_set

TASK = ClassificationTask(
    PromptBuilder("Message", "Queue"), "Tenants write to the office.", ("rent", "keys lost"), scores_labels=True
)
FAILING = Example(1, "train/0", Split.TRAIN, Origin.SEED, "I lost\nmy key", "keys lost")
OTHER = Example(2, "train/1", Split.TRAIN, Origin.SEED, "key is gone", "keys lost")


def reply(text: str, reason: FinishReason = FinishReason.STOP) -> Reply:
    return Reply(text, reason, 1, 1, 0.0)


def test_the_student_reads_and_writes_one_rendering() -> None:
    assert TASK.prompts.prompt("hi") == "Message: hi\nQueue:"
    assert TASK.prompts.example("hi", "rent") == TASK.prompts.prompt("hi") + TASK.prompts.completion("rent")


@pytest.mark.parametrize(
    ("text", "reason", "outcome", "predicted"),
    [
        (" rent", FinishReason.STOP, Outcome.CORRECT, "rent"),
        ("rent", FinishReason.SCORED, Outcome.CORRECT, "rent"),
        ("Rent", FinishReason.STOP, Outcome.WRONG, "Rent"),
        ("keys lost", FinishReason.STOP, Outcome.WRONG, "keys lost"),
        ("", FinishReason.STOP, Outcome.UNPARSED, None),
        (" rent", FinishReason.LENGTH, Outcome.TRUNCATED, None),
    ],
)
def test_grading(text: str, reason: FinishReason, outcome: Outcome, predicted: str | None) -> None:
    grade = TASK.grade(reply(text, reason), "rent")
    assert (grade.outcome, grade.predicted_answer) == (outcome, predicted)


COMPOSED, SPLIT = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize("text", [COMPOSED, SPLIT, SPLIT + "\u200b"])
def test_a_label_that_is_written_counts_in_any_spelling_that_looks_like_it(text: str) -> None:
    """Tokenizers compose accents: a student that learnt a label in split form writes it composed."""
    task = ClassificationTask(TASK.prompts, "", (SPLIT, "bar"), scores_labels=False)
    right, wrong = task.grade(reply(text), SPLIT), task.grade(reply(text), "bar")
    assert (right.outcome, right.predicted_answer) == (Outcome.CORRECT, SPLIT)
    assert (wrong.outcome, wrong.predicted_answer) == (Outcome.WRONG, SPLIT)
    assert task.grade(reply("cafe"), SPLIT).outcome is Outcome.WRONG


def test_labels_are_scored_or_written() -> None:
    assert TASK.choices == ("rent", "keys lost")
    written = ClassificationTask(TASK.prompts, "", TASK.labels, scores_labels=False)
    assert written.choices == ()


def test_a_label_outside_the_set_names_file_line_and_the_nearest() -> None:
    TASK.validate(DataRow("q", "rent", "train.csv", 7))
    with pytest.raises(DataError, match=r"train\.csv:7: 'key lost' .*nearest: 'keys lost'"):
        TASK.validate(DataRow("q", "key lost", "train.csv", 7))


def test_the_label_set_is_declared_or_that_of_the_seeds() -> None:
    rows = [DataRow("q", answer, "f", 1) for answer in ("b", "a", "b")]
    assert label_set(("x", "y"), rows) == ("x", "y")
    assert label_set((), rows) == ("b", "a")
    with pytest.raises(DataError, match="1 different answers"):
        label_set((), rows[:1])
    with pytest.raises(DataError, match="201 different answers"):
        label_set((), [DataRow("q", str(n), "f", 1) for n in range(201)])


def test_a_label_that_looks_like_one_of_the_set_says_what_sets_them_apart() -> None:
    task = ClassificationTask(TASK.prompts, "", (COMPOSED, "bar"), scores_labels=True)
    with pytest.raises(DataError) as caught:
        task.validate(DataRow("q", SPLIT, "test.csv", 7))
    assert caught.value.message == (
        f"test.csv:7: '{SPLIT}' is not one of the 2 labels; it looks like '{COMPOSED}' but differs: "
        "U+0065 U+0301 in one, U+00E9 in the other"
    )


@pytest.mark.parametrize(
    ("answers", "places", "code_points"),
    [
        ((COMPOSED, "bar", SPLIT), "f:1 and f:3", "U+00E9 in one, U+0065 U+0301 in the other"),
        (("new york", "new\u00a0york", "bar"), "f:1 and f:2", "U+0020 in one, U+00A0 in the other"),
        (("bar", "so", "so\u200b"), "f:2 and f:3", "nothing in one, U+200B in the other"),
    ],
)
def test_labels_that_look_alike_are_refused_with_places_and_code_points(
    answers: tuple[str, ...], places: str, code_points: str
) -> None:
    rows = [DataRow("q", answer, "f", line) for line, answer in enumerate(answers, start=1)]
    with pytest.raises(DataError) as caught:
        label_set((), rows)
    assert caught.value.message.startswith(f"{places}: the labels ")
    assert caught.value.message.endswith(f" look alike but differ: {code_points}")
    assert label_set(("one", "two"), rows) == ("one", "two")


def test_an_answer_that_is_a_whole_text_is_shown_short() -> None:
    with pytest.raises(DataError) as caught:
        TASK.validate(DataRow("q", "text " * 100, "test.csv", 7))
    assert len(caught.value.message) < 200


def test_a_completion_prompt_is_a_list_of_the_same_label_to_go_on_with() -> None:
    prompt = TASK.teacher_prompt(
        Failure(FAILING, "rent"), [OTHER], [NewExample("no key", "keys lost")], "completion", show_student_answer=False
    )
    assert prompt.completion == (
        "Tenants write to the office.\n\nMessages whose Queue is keys lost:\n"
        "- key is gone\n- no key\n- I lost my key\n-"
    )
    assert (prompt.messages, prompt.stop) == ((), ("\n",))


def test_a_chat_prompt_asks_for_one_message_with_the_same_list() -> None:
    prompt = TASK.teacher_prompt(Failure(FAILING, None), [OTHER], [], "chat", show_student_answer=True)
    assert [message.role for message in prompt.messages] == ["user"]
    assert "- key is gone\n- I lost my key\n" in prompt.messages[0].content
    assert "mistaken" not in prompt.messages[0].content  # the student gave no readable answer


@pytest.mark.parametrize("style", ["chat", "completion"])
def test_the_students_answer_is_shown_when_wanted(style: str) -> None:
    texts = []
    for show in (False, True):
        prompt = TASK.teacher_prompt(
            Failure(FAILING, "rent"),
            [],
            [],
            "chat" if style == "chat" else "completion",
            show_student_answer=show,
        )
        texts.append(prompt.completion + "".join(message.content for message in prompt.messages))
    assert ["mistaken for rent" in text for text in texts] == [False, True]


def test_a_label_in_a_ballot_is_told_from_one_that_goes_on() -> None:
    """With what stands after a label between examples: "loan" is no beginning of "loan application" then."""
    ballot = TASK.ballot(NewExample("when is it due", "rent"), [FAILING], "completion", random.Random(0))
    assert (ballot.choices, ballot.intended) == ((" rent", " keys lost"), " rent")
    task = dataclasses.replace(TASK, labels=("loan", "loan application"))
    seed = dataclasses.replace(FAILING, answer="loan application")
    ballot = task.ballot(NewExample("when is it due", "loan"), [seed], "completion", random.Random(0))
    assert ballot.choices == (" loan\n\n", " loan application\n\n") and ballot.intended == " loan\n\n"
    assert ballot.answers == (" loan", " loan application")
    assert f"Queue:{ballot.choices[1]}Message: when is it due\nQueue:" in ballot.prompt.completion


@pytest.mark.parametrize(
    ("text", "question"),
    [
        (" lost it again", "lost it again"),
        ("- lost it again\n", "lost it again"),
        ('"lost it again"', "lost it again"),
        ("Message: lost it again", "lost it again"),
        ("message: “lost it again”", "lost it again"),
        ("it's gone, isn't it", "it's gone, isn't it"),
    ],
)
def test_a_reply_is_one_line_without_decoration(text: str, question: str) -> None:
    assert TASK.parse_reply(Failure(FAILING, None), reply(text)) == NewExample(question, "keys lost")


@pytest.mark.parametrize(
    ("text", "reason", "defect"),
    [
        ("", FinishReason.STOP, "empty reply"),
        ("\n  \n", FinishReason.STOP, "empty reply"),
        ("-", FinishReason.STOP, "empty reply"),
        ("one\ntwo", FinishReason.STOP, "more than one line"),
        ("Sure! Here is another one:", FinishReason.STOP, "an announcement"),
        ("it goes on and", FinishReason.LENGTH, "cut off at the token limit"),
    ],
)
def test_what_cannot_be_read_says_why(text: str, reason: FinishReason, defect: str) -> None:
    assert TASK.parse_reply(Failure(FAILING, None), reply(text, reason)) == Unparsed(defect)
