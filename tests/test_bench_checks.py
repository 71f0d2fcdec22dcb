"""Contenders of `bench checks` do the same work, and the questions are what they are said to be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from llm2llm_local.bench import checks
from llm2llm_local.bench.checks import CheckCase, questions
from llm2llm_local.bench.plan import Comparison, Repeat, Series, Work, resized
from llm2llm_local.checks.similarity import words

CASE = CheckCase(candidates=60, examples=200)


def told_by(repeat: Repeat) -> Mapping[str, float]:
    """Counts and figures."""
    done = repeat()
    assert isinstance(done, Work)
    return {**done.counts, **done.figures}


@pytest.mark.parametrize("threshold", [0.95, 0.7, 0.5])
@pytest.mark.parametrize(
    ("alternative", "candidates"),
    [(checks.reference_way, 25), (checks.rapidfuzz_scan, 60)],  # the former starts processes for each candidate
)
def test_all_reject_the_same(alternative: Callable[[CheckCase], Repeat], candidates: int, threshold: float) -> None:
    case = replace(CASE, candidates=candidates, threshold=threshold)
    ours = told_by(checks.index(case))
    assert told_by(alternative(case)) == ours
    assert ours["rejected"] >= 2


def test_a_repeat_can_be_repeated() -> None:
    for contender in (checks.index, checks.reference_way, checks.rapidfuzz_scan, checks.asking_the_index):
        repeat = contender(replace(CASE, candidates=5))
        assert repeat() == repeat()


def test_questions_are_those_of_their_case() -> None:
    examples, candidates = questions(CASE)
    assert (len(examples), len(candidates)) == (200, 60)
    assert questions(CASE) == (examples, candidates)
    assert questions(replace(CASE, rng_seed=1)) != (examples, candidates)


def test_words_are_about_as_frequent_as_in_a_language() -> None:
    """The tenth is about ten times as frequent as the hundredth, and half of all there are come once."""
    examples, _ = questions(CheckCase(candidates=0, examples=5000))
    counts = [count for _, count in Counter(word for text in examples for word in words(text)[4:]).most_common()]
    assert 4 < counts[9] / counts[99] < 14
    assert 0.4 < counts.count(1) / len(counts) < 0.8
    lengths = sorted(len(words(text)) for text in examples)
    assert lengths[2500] in (9, 10, 11)


def test_a_tenth_of_the_candidates_is_like_an_example() -> None:
    case = CheckCase(candidates=200, examples=500, threshold=0.7)
    assert 15 <= told_by(checks.index(case))["rejected"] <= 24


def test_titles_say_no_size_that_can_be_another() -> None:
    comparisons = [part for part in checks.parts() if isinstance(part, Comparison)]
    resized_ones = resized(comparisons, {"threshold": 0.8, "candidates": 3, "examples": 7})
    assert all(one.case.threshold == 0.8 for one in resized_ones)
    assert not any(character.isdigit() for one in resized_ones for character in one.title)


def test_contenders_can_be_named_to_another_process() -> None:
    for part in checks.parts():
        comparison = part.comparison if isinstance(part, Series) else part
        assert isinstance(comparison, Comparison)
        for contender in comparison.contenders:
            assert getattr(checks, contender.prepare.__name__) is contender.prepare
