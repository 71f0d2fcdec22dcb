"""The checks: what words are, what `format` refuses, and the order in which candidates decide over each other."""

from __future__ import annotations

import pytest

from llm2llm_local.checks.form import FormatCheck
from llm2llm_local.checks.sequence import CheckSequence
from llm2llm_local.checks.similarity import words
from llm2llm_local.records import Decision, NewExample, Unparsed
from llm2llm_local.tasks.base import PromptBuilder
from llm2llm_local.tasks.classification import ClassificationTask

TASK = ClassificationTask(PromptBuilder("Message", "Queue"), "", ("bread", "price"), scores_labels=True)
SEEDS = ["the rye loaf was warm", "prices went up again this month"]


def test_words_ignore_case_and_punctuation_and_know_other_scripts() -> None:
    assert words("Don't PAY, 20€!") == ["don", "t", "pay", "20"]
    assert words("Где мост?") == ["где", "мост"]
    assert words("?!") == ["?", "!"]


def test_texts_that_look_alike_have_the_same_words() -> None:
    assert (
        words("Le cafe\u0301\u00a0est\u200b froid") == words("le caf\u00e9 est froid") == ["le", "café", "est", "froid"]
    )
    assert words("\u2764\ufe0f !") == words("\u2764 !")


def checks(known: list[str] = SEEDS, held_out: tuple[str, ...] = (), threshold: float = 0.95) -> CheckSequence:
    return CheckSequence(FormatCheck(TASK, SEEDS, 2.0), known, held_out, threshold, threshold)


def decide(sequence: CheckSequence, question: str) -> tuple[str, Decision, str]:
    verdict = sequence.decide(NewExample(question, "bread"))[-1]
    return verdict.check_name, verdict.decision, verdict.reason


def test_a_test_question_leaks_in_another_spelling_of_the_same_look() -> None:
    sequence = checks(held_out=("ou\u0300 est passe\u0301 le ble\u0301",))
    assert decide(sequence, "o\u00f9 est pass\u00e9 le bl\u00e9")[0] == "leak"


def test_a_good_candidate_passes_all_checks_with_a_verdict_from_each() -> None:
    verdicts = checks().decide(NewExample("my roll was stale", "bread"))
    assert [(v.check_name, v.decision) for v in verdicts] == [
        ("format", Decision.ACCEPT),
        ("duplicate", Decision.ACCEPT),
        ("leak", Decision.ACCEPT),
    ]


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("x" * 63, "too long"),  # twice the longest seed's 31 characters, and one more
        ("?! …", "no words"),
        ("the loaf \x1b[31m was red", "control character"),
        ("the loaf \ufffd was red", "broken character"),
        ("хлеб был ещё тёплым", "another script"),
    ],
)
def test_format_refuses(question: str, reason: str) -> None:
    assert decide(checks(), question) == ("format", Decision.REJECT, reason)


def test_a_question_of_just_the_longest_length_passes() -> None:
    assert decide(checks(), "x" * 62)[1] is Decision.ACCEPT


def test_a_foreign_word_is_no_reason_to_refuse() -> None:
    assert decide(checks(), "the хлеб was warm and fresh")[1] is Decision.ACCEPT


def test_an_answer_outside_the_label_set_is_refused() -> None:
    verdict = checks().decide(NewExample("what a lovely day", "weather"))[-1]
    assert (verdict.check_name, verdict.decision, verdict.reason) == (
        "format",
        Decision.REJECT,
        "not one of the labels",
    )


def test_a_reply_that_was_not_parsed_is_refused_with_the_parsers_reason() -> None:
    verdicts = checks().decide(Unparsed("cut off at the token limit"))
    assert [(v.check_name, v.decision, v.reason) for v in verdicts] == [
        ("format", Decision.REJECT, "cut off at the token limit")
    ]


def test_repeating_a_seed_is_refused_however_it_is_written() -> None:
    name, decision, _ = decide(checks(), "The RYE loaf was warm!!")
    assert (name, decision) == ("duplicate", Decision.REJECT)


def test_an_accepted_candidate_refuses_its_repetition_and_a_refused_one_does_not() -> None:
    sequence = checks(held_out=("a question kept for the test",))
    assert decide(sequence, "my roll was stale")[1] is Decision.ACCEPT
    assert decide(sequence, "My roll was stale.")[0] == "duplicate"
    assert decide(sequence, "a question kept for the test")[0] == "leak"
    assert decide(sequence, "a question kept for the test")[0] == "leak"  # not among the known ones


def test_the_threshold_itself_is_still_accepted() -> None:
    # 4 of 5 words in common, each way: F = 0.8.
    assert decide(checks(threshold=0.8), "the rye loaf was cold")[1] is Decision.ACCEPT
    assert decide(checks(threshold=0.79), "the rye loaf was cold")[0] == "duplicate"
