"""Free answers: which ones say the same, grading, what the teacher is shown, what is read out of its reply."""

from __future__ import annotations

import random

import pytest

from llm2llm_local.config import TaskConfig
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
from llm2llm_local.tasks.base import PromptBuilder, PromptStyle
from llm2llm_local.tasks.families import make_task
from llm2llm_local.tasks.text import TextTask, same_answer

TASK = TextTask(PromptBuilder("Question", "Answer"), "Answer in a few words.")
FAILING = Example(1, "train/0", Split.TRAIN, Origin.SEED, "Where is the Louvre?", "in Paris")
OTHER = Example(2, "train/1", Split.TRAIN, Origin.SEED, "Who wrote Faust?", "Goethe")


def numbered_seeds(n: int) -> list[Example]:
    return [
        Example(number, f"train/{number}", Split.TRAIN, Origin.SEED, f"What follows {number}?", f"{number + 1}")
        for number in range(n)
    ]


def reply(text: str, reason: FinishReason = FinishReason.STOP) -> Reply:
    return Reply(text, reason, 1, 1, 0.0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Paris", "paris."),
        ("The Louvre", "louvre"),
        ("a well-known man", "well known man"),
        ("don't know", "dont know"),
        ("“Faust”", "'Faust'"),
        ("U.S.A.", "USA"),
        ("caf\u00e9", "cafe\u0301"),
        ("new\u00a0york", "New  York"),
        ("Straße", "STRASSE"),
        ("1,000 ships", "1000 ships"),
        ("1,000", "1000.0"),
        ("$5", "5 dollars"),
        ("½", "0.5"),
        ("1990–1995", "1990-1995"),
        ("−5 degrees", "-5 degrees"),
        ("the", "The"),
        ("…", "…"),
    ],
)
def test_answers_that_say_the_same(one: str, other: str) -> None:
    assert same_answer(one, other)
    assert same_answer(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Paris", "London"),
        ("-5", "5"),
        ("1/2", "12"),
        ("3.5", "35"),
        ("3.5 metres long", "35 metres long"),
        ("-5 degrees outside", "5 degrees outside"),
        ("12 Monkeys", "12"),
        ("vitamin A", "vitamin"),
        ("C#", "C"),
        ("C++", "C"),
        ("5%", "5"),
        ("…", "?"),
        ("re-sign", "resign"),
        ("the", "a"),
    ],
)
def test_answers_that_do_not(one: str, other: str) -> None:
    assert not same_answer(one, other)
    assert not same_answer(other, one)


@pytest.mark.parametrize(
    ("text", "reason", "outcome", "predicted"),
    [
        (" In Paris.", FinishReason.STOP, Outcome.CORRECT, "In Paris."),
        (" in London", FinishReason.STOP, Outcome.WRONG, "in London"),
        (" in Paris\n\nQuestion: Who", FinishReason.STOP, Outcome.CORRECT, "in Paris"),
        (" in Paris\nQuestion: Who", FinishReason.LENGTH, Outcome.CORRECT, "in Paris"),
        (" in Paris", FinishReason.LENGTH, Outcome.TRUNCATED, None),
        (" \u200b\n", FinishReason.STOP, Outcome.UNPARSED, None),
    ],
)
def test_grading(text: str, reason: FinishReason, outcome: Outcome, predicted: str | None) -> None:
    grade = TASK.grade(reply(text, reason), "in Paris")
    assert (grade.outcome, grade.predicted_answer) == (outcome, predicted)


@pytest.mark.parametrize("answer", ["Question 1: Who ruled?\nQuestion 2: When?", "1. Question: why"])
def test_a_numbered_question_is_part_of_an_answer(answer: str) -> None:
    assert TASK.grade(reply(f" {answer}"), answer).outcome is Outcome.CORRECT


def test_texts_that_are_numbered_are_one_question() -> None:
    task = TextTask(PromptBuilder("Text", "Answer"), "")
    texts = "Text 1: A man sleeps.\nText 2: A man is awake.\nDo they agree?"
    assert task.parse_reply(Failure(FAILING, None), reply(f"{texts}\nAnswer: no")) == NewExample(texts, "no")


def test_the_configuration_makes_the_task_and_any_row_will_do() -> None:
    seeds = [DataRow("q", "a", "f", 1)]
    task = make_task(TaskConfig(family="text", question_name="Q", answer_name="A"), seeds)
    task.validate(seeds[0])
    assert task.choices == ()
    assert task.prompts.example("q", "a") == "Q: q\nA: a"
    assert task.kind(FAILING) == task.kind(OTHER)


def test_a_completion_prompt_is_a_list_to_continue() -> None:
    prompt = TASK.teacher_prompt(
        Failure(FAILING, "Rome"), [OTHER], [NewExample("Where is Big Ben?", "in London")], "completion",
        show_student_answer=True,
    )  # fmt: skip
    assert prompt.completion == (
        "Answer in a few words.\n\nQuestion: Who wrote Faust?\nAnswer: Goethe\n\n"
        "Question: Where is Big Ben?\nAnswer: in London\n\n"
        "A student answered the following wrongly with Rome:\n\nQuestion: Where is the Louvre?\nAnswer: in Paris\n\n"
        "Question:"
    )
    assert (prompt.messages, prompt.stop) == ((), ("\nQuestion:",))


@pytest.mark.parametrize("style", ["chat", "completion"])
def test_the_students_answer_is_shown_only_when_wanted(style: PromptStyle) -> None:
    prompt = TASK.teacher_prompt(Failure(FAILING, "Rome"), [], [], style, show_student_answer=False)
    assert "Rome" not in prompt.completion + "".join(message.content for message in prompt.messages)


@pytest.mark.parametrize(
    "text",
    [
        " Where is Big Ben?\nAnswer: in London",
        "Question: Where is Big Ben?\nAnswer: in London\n",
        "Here you are!\n\n**Question:** Where is Big Ben?\n**Answer:** in London",
        "Question: Where is Big Ben?\nAnswer: in London\n\nQuestion: Where",
    ],
)
def test_a_reply_is_read(text: str) -> None:
    assert TASK.parse_reply(Failure(FAILING, None), reply(text)) == NewExample("Where is Big Ben?", "in London")


@pytest.mark.parametrize(
    ("text", "reason", "problem"),
    [
        ("Where is Big Ben?", FinishReason.STOP, "no answer"),
        ("Where is Big Ben?\nAnswer:\nQuestion: Who?", FinishReason.STOP, "no answer"),
        ("Where is Big Ben?\nAnswer: in Lon", FinishReason.LENGTH, "cut off at the token limit"),
        ("\nAnswer: in London", FinishReason.STOP, "empty question"),
    ],
)
def test_a_reply_that_holds_no_example_has_a_reason(text: str, reason: FinishReason, problem: str) -> None:
    assert TASK.parse_reply(Failure(FAILING, None), reply(text, reason)) == Unparsed(problem)


def test_a_reply_that_runs_on_past_its_answer_counts() -> None:
    text = " Where is Big Ben?\nAnswer: in London\n\nQuestion: Wh"
    new = TASK.parse_reply(Failure(FAILING, None), reply(text, FinishReason.LENGTH))
    assert new == NewExample("Where is Big Ben?", "in London")


def test_an_answer_without_words_is_a_defect() -> None:
    assert TASK.defect(NewExample("Where?", "…")) == "no words in the answer"
    assert TASK.defect(NewExample("Where?", "42")) is None


@pytest.mark.parametrize("style", ["chat", "completion"])
def test_a_ballot_asks_for_yes_or_no_after_as_many_of_both(style: PromptStyle) -> None:
    seeds = numbered_seeds(20)
    ballot = TASK.ballot(NewExample("Where is Big Ben?", "in London"), seeds, style, random.Random(0))
    *shown, asked = ballot.prompt.completion.removeprefix(f"{TASK.instruction}\n\n").split("\n\n")
    assert asked.endswith("Where is Big Ben?\nAnswer: in London\nIs this Answer right?")
    assert (ballot.choices, ballot.intended) == ((" yes", " no"), " yes")
    verdicts = {"yes": 0, "no": 0}
    for block, seed in zip(shown, seeds, strict=False):
        question, answer, judged = block.split("\n")
        assert question == f"Question: {seed.question}"
        verdict = "yes" if answer == f"Answer: {seed.answer}" else "no"
        assert judged == f"Is this Answer right? {verdict}"
        verdicts[verdict] += 1
    assert verdicts == {"yes": 4, "no": 4}


def test_what_was_planted_is_not_told_by_the_rest_of_a_ballot() -> None:
    seeds = numbered_seeds(12)
    for place, judged in enumerate(seeds):
        others = [seed for seed in seeds if seed is not judged]
        for planted in TASK.wrong_answers(judged, seeds, random.Random(place)):
            ballot = TASK.ballot(NewExample(judged.question, planted), others, "completion", random.Random(place))
            *shown, _ = ballot.prompt.completion.removeprefix(f"{TASK.instruction}\n\n").split("\n\n")
            answers = [block.split("\n")[1].removeprefix("Answer: ") for block in shown]
            asked = {block.split("\n")[0].removeprefix("Question: ") for block in shown}
            answers_shown = {seed.answer for seed in others if seed.question in asked}
            assert planted not in {*answers, *answers_shown}
            wrong = [answer for answer, block in zip(answers, shown, strict=True) if block.endswith(" no")]
            assert len(wrong) == len(shown) // 2 == 3
            assert not answers_shown & set(wrong)


def test_ballots_on_a_few_frequent_answers_are_alike_whichever_is_judged() -> None:
    seeds = [
        Example(n, f"train/{n}", Split.TRAIN, Origin.SEED, f"question {n}?", "yes" if n % 2 else "no")
        for n in range(20)
    ]
    for place, judged in enumerate(seeds):
        others = [seed for seed in seeds if seed is not judged]
        right, wrong = (
            TASK.ballot(NewExample(judged.question, answer), others, "completion", random.Random(place))
            for answer in (judged.answer, *TASK.wrong_answers(judged, seeds, random.Random(place)))
        )
        before = [one.prompt.completion.partition(judged.question)[0] for one in (right, wrong)]
        assert before[0] == before[1]
        assert "not yes" not in before[0] and "not no" not in before[0]


def test_ballots_on_different_questions_begin_alike() -> None:
    """So that the teacher reads it once."""
    seeds = numbered_seeds(60)
    beginnings = set()
    for judged in seeds[20:40]:
        others = [seed for seed in seeds if seed is not judged]
        for answer in (judged.answer, *TASK.wrong_answers(judged, seeds[20:40], random.Random(judged.id))):
            ballot = TASK.ballot(NewExample(judged.question, answer), others, "completion", random.Random(0))
            beginnings.add(ballot.prompt.completion.partition(judged.question)[0])
    assert len(beginnings) == 1


def test_what_ballots_begin_with_is_the_same_whatever_is_judged() -> None:
    seeds = numbered_seeds(20)
    prompts = [
        TASK.ballot(NewExample("Where?", answer), seeds, "completion", random.Random(3)).prompt.completion
        for answer in ("here", "there")
    ]
    assert prompts[0].partition("Where?")[0] == prompts[1].partition("Where?")[0]


def test_planted_answers_are_wrong() -> None:
    assert TASK.wrong_answers(FAILING, [FAILING, OTHER], random.Random(0)) == ["Goethe"]
    assert TASK.wrong_answers(FAILING, [FAILING], random.Random(0)) == ["not in Paris"]
