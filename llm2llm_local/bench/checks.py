"""`bench checks`: how fast new questions are compared with all those that are known or held out.

The questions are made up, with words as frequent as in a language and a tenth of the candidates like an example in
all words but a few: what is found is then near the threshold, and not only far from it.
"""

from __future__ import annotations

import multiprocessing
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

from rapidfuzz import process
from rapidfuzz.distance import Indel

from ..checks.form import FormatCheck
from ..checks.sequence import CheckSequence
from ..checks.similarity import TextIndex, words
from ..errors import UserInputError
from ..records import Decision, NewExample
from ..tasks.base import PromptBuilder
from ..tasks.classification import ClassificationTask
from .lifeline import end_with_parent
from .plan import Comparison, Contender, Repeat, Series, Work


@dataclass(frozen=True, slots=True)
class CheckCase:
    """`candidates` to be compared with `examples`, of which every tenth is held out; `words`: of a question, median."""

    candidates: int
    examples: int
    threshold: float = 0.95
    words: int = 10
    rng_seed: int = 0

    def __post_init__(self) -> None:
        if self.threshold > 1:
            raise UserInputError(f"--size threshold={self.threshold:g}: a similarity is 1 at most")


# --- ours -------------------------------------------------------------------------------------------------------------


def index(case: CheckCase) -> Repeat:
    """As the loop does it for a round of candidates: the index is made, and all checks decide in order."""
    examples, candidates = questions(case)

    def repeat() -> Work:
        checks = _check_sequence(case, examples)
        decisions = [checks.decide(NewExample(question, _LABEL))[-1].decision for question in candidates]
        return _work(case, decisions.count(Decision.REJECT))

    return repeat


def making_the_index(case: CheckCase) -> Repeat:
    examples, _ = questions(case)

    def repeat() -> Mapping[str, float]:
        _check_sequence(case, examples)
        return {"examples": case.examples}

    return repeat


def asking_the_index(case: CheckCase) -> Repeat:
    """For each candidate, what is nearest; none of them is added."""
    examples, candidates = questions(case)
    texts = TextIndex(examples, case.threshold)

    def repeat() -> Mapping[str, float]:
        for question in candidates:
            texts.nearest_above(question)
        return {"candidates": case.candidates}

    return repeat


_LABEL = "label"
_N_SEEDS = 1000
_TASK = ClassificationTask(PromptBuilder("Question", "Label"), "", (_LABEL, "other"), scores_labels=True)


def _check_sequence(case: CheckCase, examples: Sequence[str]) -> CheckSequence:
    return CheckSequence(
        FormatCheck(_TASK, examples[:_N_SEEDS], max_length_ratio=10),
        known=[question for position, question in enumerate(examples) if position % 10],
        held_out=examples[::10],
        duplicate_threshold=case.threshold,
        leak_threshold=case.threshold,
    )


def _work(case: CheckCase, n_rejected: int) -> Work:
    counts = {"candidates": case.candidates, "pairs": case.candidates * case.examples}
    return Work(counts, figures={"rejected": n_rejected})


# --- what a person would otherwise do ---------------------------------------------------------------------------------


def reference_way(case: CheckCase) -> Repeat:
    """As the published code of LLM2LLM does (SqueezeAILab/LLM2LLM, GSM8K/generate_data.py).

    Every text's words are kept; for each candidate a pool of processes is started, which fills the whole table of
    the longest common subsequence with every text, in Python, as the package rouge-score does. The words are ours,
    so that what is rejected can be compared.
    """
    examples, candidates = questions(case)

    def repeat() -> Work:
        known = [words(question) for question in examples]
        n_rejected = 0
        for question in candidates:
            new = words(question)
            # A pool's process would wait for ever after a measurement that was killed.
            with multiprocessing.Pool(len(os.sched_getaffinity(0)), end_with_parent) as pool:
                scores = pool.map(partial(_rouge_l_f, new), known)
            if max(scores) > case.threshold:
                n_rejected += 1
            else:
                known.append(new)
        return _work(case, n_rejected)

    return repeat


def rapidfuzz_scan(case: CheckCase) -> Repeat:
    """Every text, in C++: the measure that a person would find in a library, asked for the best with a cutoff."""
    examples, candidates = questions(case)

    def repeat() -> Work:
        known = [words(question) for question in examples]
        n_rejected = 0
        for question in candidates:
            new = words(question)
            found = process.extractOne(
                new, known, scorer=Indel.normalized_similarity, processor=None, score_cutoff=case.threshold
            )
            if found is not None and found[1] > case.threshold:
                n_rejected += 1
            else:
                known.append(new)
        return _work(case, n_rejected)

    return repeat


def _rouge_l_f(one: Sequence[str], other: Sequence[str]) -> float:
    if not one or not other:
        return 0.0
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for row, left in enumerate(one, 1):
        for column, right in enumerate(other, 1):
            if left == right:
                table[row][column] = table[row - 1][column - 1] + 1
            else:
                table[row][column] = max(table[row - 1][column], table[row][column - 1])
    return 2 * table[-1][-1] / (len(one) + len(other))


# --- questions --------------------------------------------------------------------------------------------------------

_OPENINGS = (
    "what is the",
    "how many",
    "who was the first",
    "where is the",
    "when did",
    "which of these",
    "what kind of",
    "how do you",
    "why does a",
    "name the",
    "in which year did",
    "can you tell me",
)
_SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
_VOCABULARY_SIZE = 60_000
_RANK_OFFSET = 2.7
"""Zipf's law with Mandelbrot's correction: the word of rank r is 1 / (r + 2.7) as frequent, as in English."""

_LENGTH_SPREAD = 0.4
"""Standard deviation of the logarithm of a question's length."""

_MOST_CHANGES = 2
"""Words at which a candidate that is like an example differs from it."""


def questions(case: CheckCase) -> tuple[list[str], list[str]]:
    """Examples and candidates: the same for the same case."""
    rng = random.Random(case.rng_seed)
    draw = _drawing(rng)
    examples = [_question(case, rng, draw) for _ in range(case.examples)]
    candidates = [
        _question(case, rng, draw) if position % 10 else _changed(rng.choice(examples), rng, draw)
        for position in range(case.candidates)
    ]
    return examples, candidates


Draw = Callable[[int], list[str]]


def _drawing(rng: random.Random) -> Draw:
    """Draws so many words."""
    vocabulary = [_word(rank) for rank in range(_VOCABULARY_SIZE)]
    weights = list(accumulate(1 / (rank + _RANK_OFFSET) for rank in range(1, _VOCABULARY_SIZE + 1)))
    return lambda n: rng.choices(vocabulary, cum_weights=weights, k=n)


def _word(rank: int) -> str:
    """A word of its own for each rank; the frequent ones are short."""
    word = _SYLLABLES[rank % len(_SYLLABLES)]
    while rank := rank // len(_SYLLABLES):
        word += _SYLLABLES[rank % len(_SYLLABLES)]
    return word


def _question(case: CheckCase, rng: random.Random, draw: Draw) -> str:
    opening = rng.choice(_OPENINGS).split()
    length = round(case.words * rng.lognormvariate(0, _LENGTH_SPREAD))
    return " ".join([*opening, *draw(max(1, length - len(opening)))]).capitalize() + "?"


def _changed(question: str, rng: random.Random, draw: Draw) -> str:
    """With none, one or two words replaced, left out or put in."""
    changing = question.rstrip("?").split()
    for _ in range(rng.randint(0, _MOST_CHANGES)):
        at = rng.randrange(len(changing))
        changing[at : at + rng.randint(0, 1)] = draw(rng.randint(0, 1))
    return " ".join(changing) + "?"


def parts() -> list[Comparison | Series]:
    """At the size that the checks are made for, at lower thresholds, against the others, and as the examples grow."""
    ours = (Contender("index", index),)
    others = (Contender("reference", reference_way), Contender("rapidfuzz-scan", rapidfuzz_scan))
    large = [
        Comparison(
            "duplicates and leaks",
            CheckCase(20_000, 200_000, threshold),
            ours,
            measure="candidates",
            repeats=repeats,
            warm_ups=0,
        )
        for threshold, repeats in ((0.95, 5), (0.7, 3), (0.5, 3))
    ]
    against_others = Comparison(
        "duplicates and leaks, compared",
        CheckCase(200, 10_000),
        (*ours, *others),
        measure="candidates",
        repeats=3,
        warm_ups=0,
        note="reference: for each candidate a pool of processes, the whole table in Python",
    )
    growing = Comparison(
        "the index as the examples grow",
        CheckCase(2_000, 10_000),
        (Contender("making it", making_the_index), Contender("asking it", asking_the_index)),
        measure="candidates",
        repeats=3,
    )
    return [*large, against_others, Series(growing, "examples", (10_000, 50_000, 200_000, 1_000_000))]
