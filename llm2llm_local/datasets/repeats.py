"""Rows that meet each other again, within a split or across splits, as lines for the person to read.

None of this makes data unusable, so nothing here raises: it is counted and said, and the person decides.
Two questions are the same when they differ in letter case only, or in what can't be seen (see `spelling`). Answers
are compared exactly, because to a grader "Yes" and "yes" may be two labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..records import DataRow, Split
from ..spelling import same_question

Pair = tuple[DataRow, DataRow]


def describe_repeats(rows: Mapping[Split, Sequence[DataRow]], called: str = "seed") -> tuple[str, ...]:
    """One line for each kind of repeat there is, with a count and the first two places; empty when there is none.

    `rows` holds all three splits; `called`: what those for training are. A row counts once in a line, however often it
    is repeated.
    """
    seeds, dev, test = rows[Split.TRAIN], rows[Split.DEV], rows[Split.TEST]
    repeated, contradictory = _repeats_among(seeds)
    findings: list[str] = []
    if repeated:
        subject = f"1 {called} repeats" if len(repeated) == 1 else f"{len(repeated):,} {called}s repeat"
        findings.append(f"{subject} an earlier one ({_first(repeated)})")
    if contradictory:
        subject = f"1 {called} asks" if len(contradictory) == 1 else f"{len(contradictory):,} {called}s ask"
        findings.append(f"{subject} an earlier question with another answer ({_first(contradictory)})")
    for split, held_out in ((Split.DEV, dev), (Split.TEST, test)):
        if again := _asking_again(held_out):
            subject = f"1 {split} row asks" if len(again) == 1 else f"{len(again):,} {split} rows ask"
            findings.append(
                f"{subject} what an earlier one does ({_first(again)}): intervals take them for independent"
            )
        if shared := _shared(held_out, seeds):
            subject = f"1 {split} question is also a {called}"
            if len(shared) > 1:
                subject = f"{len(shared):,} {split} questions are also {called}s"
            findings.append(f"{subject} ({_first(shared)}): their accuracy says nothing about new text")
    if shared := _shared(test, dev):
        subject = "1 test question is" if len(shared) == 1 else f"{len(shared):,} test questions are"
        findings.append(f"{subject} also in dev ({_first(shared)}): what is tuned on dev is tuned on them")
    return tuple(findings)


def _repeats_among(seeds: Sequence[DataRow]) -> tuple[list[Pair], list[Pair]]:
    """(earlier, later) pairs of exact repeats, and of one question with different answers."""
    by_question: dict[str, DataRow] = {}
    by_content: dict[tuple[str, str], DataRow] = {}
    repeated: list[Pair] = []
    contradictory: list[Pair] = []
    for seed in seeds:
        question = same_question(seed.question)
        content = question, seed.answer
        if content in by_content:
            repeated.append((by_content[content], seed))
        elif question in by_question:
            contradictory.append((by_question[question], seed))
        by_question.setdefault(question, seed)
        by_content.setdefault(content, seed)
    return repeated, contradictory


def _asking_again(rows: Sequence[DataRow]) -> list[Pair]:
    """(earlier, later) pairs of one question, whatever the answers."""
    by_question: dict[str, DataRow] = {}
    pairs = []
    for row in rows:
        earlier = by_question.setdefault(same_question(row.question), row)
        if earlier is not row:
            pairs.append((earlier, row))
    return pairs


def _shared(rows: Iterable[DataRow], others: Sequence[DataRow]) -> list[Pair]:
    """Each of `rows` whose question is in `others` too, with the first such row there."""
    by_question: dict[str, DataRow] = {}
    for other in others:
        by_question.setdefault(same_question(other.question), other)
    return [(row, by_question[key]) for row in rows if (key := same_question(row.question)) in by_question]


def _first(pairs: Sequence[Pair]) -> str:
    one, other = pairs[0]
    return f"first: {one.source}:{one.line} and {other.source}:{other.line}"
