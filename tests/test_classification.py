"""Classification: grading, what the teacher is shown, what is read out of its reply."""

from __future__ import annotations

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


def test_a_completion_prompt_is_a_list_of_the_same_label_to_go_on_with() -> None:
    prompt = TASK.teacher_prompt(
        Failure(FAILING, "rent"), [OTHER], [NewExample("no key", "keys lost")], "completion", show_student_answer=False
    )
    assert prompt.completion == (
        "Tenants write to the office.\n\nMessages whose Queue is keys lost:\n"
        "- no key\n- key is gone\n- I lost my key\n-"
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
        ("it goes on and", FinishReason.LENGTH, "cut off at the token limit"),
    ],
)
def test_what_cannot_be_read_says_why(text: str, reason: FinishReason, defect: str) -> None:
    assert TASK.parse_reply(Failure(FAILING, None), reply(text, reason)) == Unparsed(defect)
