"""The index of texts finds what comparing with every text finds: always the same text and the same score."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from typing import Any
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rapidfuzz import process

from llm2llm_local.checks import similarity
from llm2llm_local.checks.similarity import Match, TextIndex, words


def rouge_l_f(one: str, other: str) -> float:
    """By the textbook: the longest common subsequence in a table, then F with β = 1."""
    a, b = words(one), words(other)
    if not a or not b:
        return float(a == b)
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, left in enumerate(a):
        for j, right in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if left == right else max(table[i][j + 1], table[i + 1][j])
    return 2 * table[-1][-1] / (len(a) + len(b))


def nearest_of_all(text: str, others: Sequence[str], threshold: float) -> Match | None:
    """By comparing with each."""
    nearest = None
    for other in others:
        score = rouge_l_f(text, other)
        if score > (threshold if nearest is None else nearest.score):
            nearest = Match(other, score)
    return nearest


def texts_of(vocabulary: Sequence[str], max_size: int) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(vocabulary), max_size=max_size).map(" ".join)


FEW = texts_of(["the", "cat", "sat"], 8)
SOME = texts_of(["the", "cat", "dog", "sat", "on", "a", "mat", "again", "and", "The", "cat!"], 14)
LONG = texts_of(["a", "b", "c", "d", "e"], 90)  # more than the 64 words that are compared at once
STRANGE = st.text("aé😀 -", max_size=6)
TEXTS = st.one_of(FEW, SOME, LONG, STRANGE)

# Those that scores of such texts can have, too: whether one counts that is just the threshold.
THRESHOLDS = st.one_of(
    st.sampled_from([0.95, 0.9, 0.8, 0.75, 0.7, 2 / 3, 0.6, 0.5, 0.4, 1 / 3, 0.2, 0.1, 1.0]), st.floats(0, 1)
)


@given(texts=st.lists(TEXTS, max_size=20), later=st.lists(TEXTS, max_size=8), asked=TEXTS, threshold=THRESHOLDS)
@example(texts=["", "!", "a"], later=[], asked="", threshold=0.5)
@example(texts=["a a b"], later=[], asked="a b b", threshold=0.6)
@example(texts=["a b c d x", "b a c d e"], later=["a b c d e f"], asked="a b c d e", threshold=0.79)
def test_the_nearest_is_the_one_that_comparing_with_all_finds(
    texts: list[str], later: list[str], asked: str, threshold: float
) -> None:
    index = TextIndex(texts, threshold)
    for text in later:
        index.add(text)
    for text in (asked, *texts[:3], *later[:3]):
        assert index.nearest_above(text) == nearest_of_all(text, texts + later, threshold)


@given(texts=st.lists(SOME, max_size=20), asked=SOME, threshold=THRESHOLDS, most=st.integers(1, 12))
def test_more_words_than_there_are_characters_change_nothing(
    texts: list[str], asked: str, threshold: float, most: int
) -> None:
    with mock.patch.object(similarity, "_CODE_POINTS", most):
        assert TextIndex(texts, threshold).nearest_above(asked) == nearest_of_all(asked, texts, threshold)


def test_there_may_be_more_words_than_characters() -> None:
    numbers = range(sys.maxunicode + 1000)
    index = TextIndex([" ".join(map(str, numbers[at : at + 2000])) for at in range(0, len(numbers), 2000)], 0.95)
    last = list(map(str, numbers[-100:]))
    index.add(" ".join(last))
    assert index.nearest_above(" ".join(["new", *last[1:]])) == Match(" ".join(last), 0.99)
    assert index.nearest_above(" ".join(map(str, numbers[1:2001]))) == Match(" ".join(map(str, numbers[:2000])), 0.9995)


def changed(text: str, rng: random.Random) -> str:
    """With up to three words replaced, left out or put in."""
    changing = text.split()
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(changing))
        changing[at : at + rng.randrange(2)] = rng.choices("abcdefgh", k=rng.randrange(2))
    return " ".join(changing) or "a"


@pytest.mark.parametrize("threshold", [0.95, 0.9, 0.7, 0.5, 0.2])
def test_texts_that_are_nearly_the_same_are_told_apart(threshold: float) -> None:
    """Questions like each other in most words, so that scores crowd about the threshold."""
    rng = random.Random(1)
    origins = [" ".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randrange(3, 45))) for _ in range(12)]
    texts = [changed(rng.choice(origins), rng) for _ in range(120)]
    index = TextIndex(texts, threshold)
    found = 0
    for _ in range(120):
        asked = changed(rng.choice(origins), rng)
        match = index.nearest_above(asked)
        assert match == nearest_of_all(asked, texts, threshold)
        found += match is not None
    assert found > 20


def test_the_score_of_the_threshold_itself_is_not_above_it() -> None:
    for n_words in range(1, 60):
        for n_common in range(1, n_words):
            text = " ".join(f"w{n}" for n in range(n_words))
            other = " ".join(f"w{n}" if n < n_common else f"x{n}" for n in range(n_words))
            assert TextIndex([other], n_common / n_words).nearest_above(text) is None
            assert TextIndex([other], (n_common - 0.001) / n_words).nearest_above(text) is not None


def test_at_a_threshold_of_one_nothing_is_above_it() -> None:
    assert TextIndex(["the cat sat"], 1.0).nearest_above("the cat sat") is None
    assert TextIndex(["the cat sat"], 0.999).nearest_above("The cat sat.") == Match("the cat sat", 1.0)


def test_of_equals_the_first_is_named_in_its_own_spelling() -> None:
    index = TextIndex(["A dog sat!", "a dog sat"], 0.5)
    index.add("a DOG sat")
    index.add("a cat sat")
    assert index.nearest_above("a dog sat") == Match("A dog sat!", 1.0)
    assert index.nearest_above("a cow sat") == Match("A dog sat!", 2 / 3)


def test_of_equals_of_different_lengths_the_first_is_named_too() -> None:
    longer, as_long = "a cow sat in the hay", "a cow stood"  # 3 words of 3 + 6, and 2 of 3 + 3
    assert TextIndex([longer, as_long], 0.5).nearest_above("a cow sat") == Match(longer, 2 / 3)
    assert TextIndex([as_long, longer], 0.5).nearest_above("a cow sat") == Match(as_long, 2 / 3)


def test_what_was_asked_does_not_become_part_of_the_index() -> None:
    index = TextIndex(["a dog sat"], 0.5)
    assert index.nearest_above("what a wonderful day") is None
    assert index.nearest_above("what a wonderful day") is None


@pytest.mark.parametrize(("threshold", "share"), [(0.95, 0.0005), (0.7, 0.01), (0.5, 0.1)])
def test_most_texts_need_no_comparison(monkeypatch: pytest.MonkeyPatch, threshold: float, share: float) -> None:
    """Of texts with words as frequent as in language: the n-th word 1/n times as often as the first."""
    rng = random.Random(1)
    vocabulary = [f"w{n}" for n in range(3000)]
    texts = [
        " ".join(rng.choices(vocabulary, [1 / n for n in range(1, 3001)], k=rng.randrange(5, 16))) for _ in range(2000)
    ]
    asked = [changed(text, rng) for text in rng.sample(texts, 200)]
    index = TextIndex(texts, threshold)
    compared = 0

    def count(query: Any, choices: Any, **settings: Any) -> Any:
        nonlocal compared
        compared += len(choices)
        return original(query, choices, **settings)

    original = process.extractOne
    monkeypatch.setattr(process, "extractOne", count)
    found = sum(index.nearest_above(text) is not None for text in asked)
    assert found > 40
    assert compared < share * len(asked) * len(texts)
