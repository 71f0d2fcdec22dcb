"""Saying a question in other words: what a teacher is asked, and what is read out of its reply."""

from __future__ import annotations

import pytest

from llm2llm_local.records import Example, FinishReason, NewExample, Origin, Reply, Split, Unparsed
from llm2llm_local.tasks.base import PromptBuilder, PromptStyle, Task
from llm2llm_local.tasks.classification import ClassificationTask
from llm2llm_local.tasks.math import MathTask
from llm2llm_local.tasks.text import TextTask

PROMPTS = PromptBuilder("Message", "Queue")
CLASSES = ClassificationTask(PROMPTS, "Sort mail.", ("rent", "keys"), scores_labels=True)
SEED = Example(1, "train/1", Split.TRAIN, Origin.SEED, "When is my\nrent due?", "rent")
SUM = Example(1, "train/1", Split.TRAIN, Origin.SEED, "Ann has 3 pens and buys 2. How many?", "3+2=<<3+2=5>>5\n#### 5")


def reply(text: str, reason: FinishReason = FinishReason.STOP) -> Reply:
    return Reply(text, reason, 1, 1, 0.0)


def test_a_list_of_ways_to_say_it_is_to_be_continued() -> None:
    prompt = CLASSES.rephrase_prompt(SEED, [NewExample("By when must I pay?", "rent")], "completion")
    assert prompt.completion == (
        "Sort mail.\n\nOne Message, said in several ways with the same meaning, so that its Queue is still rent:\n"
        "- When is my rent due?\n- By when must I pay?\n-"
    )
    assert (prompt.messages, prompt.stop) == ((), ("\n",))


def test_a_chat_is_asked_for_the_question_alone() -> None:
    ((message), *_) = CLASSES.rephrase_prompt(SEED, [], "chat").messages
    assert message.content == (
        "Sort mail.\n\nA Message:\n- When is my rent due?\n\nSay this Message again in other words, with the same "
        "meaning, so that its Queue is still rent. Reply with the new Message alone."
    )


@pytest.mark.parametrize("style", ["chat", "completion"])
@pytest.mark.parametrize(
    ("task", "seed", "words"),
    [
        (MathTask(PROMPTS, ""), SUM, "with the same numbers, so that its Queue is still 5"),
        (TextTask(PROMPTS, ""), SEED, "so that its Queue is still: rent"),
    ],
)
def test_it_is_told_what_stays(task: Task, seed: Example, words: str, style: PromptStyle) -> None:
    prompt = task.rephrase_prompt(seed, [], style)
    assert words in prompt.completion + "".join(message.content for message in prompt.messages)


@pytest.mark.parametrize(
    "text",
    [
        " By when must I pay?",
        '"By when must I pay?"',
        "- By when must I pay?",
        "Message: By when\nmust I pay?\nQueue: rent",
        "**Message:** By when must I pay?",
    ],
)
def test_the_question_is_read_and_the_answer_is_the_seeds(text: str) -> None:
    assert CLASSES.parse_rephrased(SEED, reply(text)) == NewExample("By when must I pay?", "rent")


def test_a_solution_stays_as_it_is() -> None:
    new = MathTask(PROMPTS, "").parse_rephrased(SUM, reply("Ann buys 2 pens beside her 3. How many has she?"))
    assert new == NewExample("Ann buys 2 pens beside her 3. How many has she?", SUM.answer)


@pytest.mark.parametrize(
    ("text", "reason", "defect"),
    [
        ("", FinishReason.STOP, "empty reply"),
        (" - ", FinishReason.STOP, "empty reply"),
        ("Queue: rent", FinishReason.STOP, "empty reply"),
        ("By when", FinishReason.LENGTH, "cut off at the token limit"),
        ("Sure! Here is another way to say it:", FinishReason.STOP, "an announcement"),
    ],
)
def test_what_holds_no_question_is_refused(text: str, reason: FinishReason, defect: str) -> None:
    assert CLASSES.parse_rephrased(SEED, reply(text, reason)) == Unparsed(defect)
