"""Right answers that the next student lost, and which new examples may have taught it otherwise.

Between two students that were graded one after the other lie nothing but the examples that came into the training set,
those that a person took out of it, and another random start. In classification a lost answer is traced to those of the
new examples that have the wrong label and a word in common, the most similar first. In other families it is traced to
the most similar ones, whatever their answer, after those that have the wrong one; a letter says nothing from one
question to the next. That is a trail to follow, no proof.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..counted import counted
from ..errors import StoreError
from ..records import Origin, Split
from ..spelling import look, words_in
from ..store.graded import asked_iterations, graded_iterations
from .plain import conclusion, shortened

_MOST_SUSPECTS = 3
_MOST_SHOWN = 20
"""Of one iteration's lost answers, where a person reads them; JSON has them all."""

_NAMES = {Split.TEST: "test", Split.DEV: "dev", Split.TRAIN: "seeds"}


@dataclass(frozen=True, slots=True)
class Suspect:
    """A new example that may have taught the wrong answer. `overlap`: share of words in common, 0 to 1."""

    example_id: int
    question: str
    overlap: float


@dataclass(frozen=True, slots=True)
class LostAnswer:
    """A row of the person's data that the student before answered rightly. `predicted_answer`: None, if unreadable."""

    split: Split
    example_id: int
    question: str
    answer: str
    predicted_answer: str | None
    suspects: tuple[Suspect, ...]


@dataclass(frozen=True, slots=True)
class IterationFlips:
    """What became of right and wrong answers since the iteration before.

    `n_new`: the teacher's examples that this student was trained on and that one wasn't; `n_out`: the reverse.
    `lost`, `gained`: answers by split that are wrong now and were right, and the reverse, of the splits that both
    students were asked. `answers`: those that were lost, test first.
    """

    iteration: int
    n_new: int
    n_out: int
    lost: Mapping[Split, int]
    gained: Mapping[Split, int]
    answers: tuple[LostAnswer, ...]


@dataclass(frozen=True, slots=True)
class _NewExample:
    example_id: int
    question: str
    answers: frozenset[str]
    words: frozenset[str]


def flips_of(connection: sqlite3.Connection, run_id: int, iteration: int | None) -> tuple[IterationFlips, ...]:
    """Of one iteration, or of each from the second graded one on.

    Raises StoreError when there aren't two students to compare.
    """
    graded = graded_iterations(connection, run_id)
    pairs = [(before, now) for before, now in pairwise(graded) if now == before + 1]
    if iteration is not None:
        pairs = [one for one in pairs if one[1] == iteration]
    if not pairs:
        which = "two students" if iteration is None else f"iteration {iteration} and the one before it"
        raise StoreError(
            f"run {run_id}: {which} must be graded to see what was lost between them",
            f"Graded are: {', '.join(map(str, graded)) or 'none'}. Where it stands: llm2llm status {run_id}; "
            f"beside another run: llm2llm compare {run_id} …",
        )
    asked = {split: asked_iterations(connection, run_id, split) for split in Split}
    return tuple(
        _flips(connection, run_id, *one, [split for split in Split if {*one} <= {*asked[split]}]) for one in pairs
    )


def _flips(
    connection: sqlite3.Connection, run_id: int, before: int, now: int, splits: Sequence[Split]
) -> IterationFlips:
    new = _only_in(connection, run_id, now, before)
    n_out = len(_only_in(connection, run_id, before, now))
    family = _family(connection, run_id)
    changed = connection.execute(
        "SELECT n.split, n.is_correct, e.id, e.question, e.answer, n.predicted_answer "
        "FROM predictions n CROSS JOIN predictions b ON b.example_id = n.example_id AND b.iteration = ? "
        "CROSS JOIN examples e ON e.id = n.example_id "
        "WHERE n.run_id = ? AND n.iteration = ? AND n.split IN ('train', 'dev', 'test') "
        "AND b.is_correct != n.is_correct AND e.origin = ? ORDER BY n.example_id",
        [before, run_id, now, Origin.SEED],
    ).fetchall()
    counts = Counter((row["split"], row["is_correct"]) for row in changed)
    lost, gained = ({split: counts[split, is_correct] for split in splits} for is_correct in (0, 1))
    answers = (
        LostAnswer(
            split=split,
            example_id=row["id"],
            question=row["question"],
            answer=row["answer"],
            predicted_answer=row["predicted_answer"],
            suspects=_suspects(new, row["question"], row["predicted_answer"], family),
        )
        for split in _NAMES
        for row in changed
        if row["split"] == split and not row["is_correct"]
    )
    return IterationFlips(now, len(new), n_out, lost, gained, tuple(answers))


def _only_in(connection: sqlite3.Connection, run_id: int, iteration: int, other: int) -> list[_NewExample]:
    """The teacher's examples of one iteration's training set that the other's hasn't."""
    rows = connection.execute(
        "SELECT e.id, e.question, e.answer FROM training_set_examples t CROSS JOIN examples e ON e.id = t.example_id "
        "WHERE t.run_id = ? AND t.iteration = ? AND e.origin = ? AND NOT EXISTS (SELECT 1 FROM training_set_examples o "
        " WHERE o.run_id = t.run_id AND o.iteration = ? AND o.example_id = t.example_id) ORDER BY e.id",
        [run_id, iteration, Origin.AUGMENTED, other],
    )
    return [_NewExample(row[0], row[1], _spellings(row[2]), _words(row[1])) for row in rows]


def _spellings(answer: str) -> frozenset[str]:
    """As it is, and what a rationale comes to: `#### 72` is predicted as `72`."""
    return frozenset({answer, conclusion(answer).removeprefix("####").strip()})


def _family(connection: sqlite3.Connection, run_id: int) -> str:
    config = json.loads(connection.execute("SELECT config FROM runs WHERE run_id = ?", [run_id]).fetchone()[0])
    return str(config.get("task.family", "classification"))


def _suspects(
    new: Sequence[_NewExample], question: str, predicted_answer: str | None, family: str
) -> tuple[Suspect, ...]:
    words = _words(question)
    found = []
    for one in new:
        overlap, says_so = _overlap(words, one.words), predicted_answer in one.answers
        if (says_so and overlap > 0) if family == "classification" else (says_so or overlap > 0):
            found.append((says_so and family != "multiple_choice", Suspect(one.example_id, one.question, overlap)))
    found.sort(key=lambda one: (not one[0], -one[1].overlap))
    return tuple(suspect for _, suspect in found[:_MOST_SUSPECTS])


def _words(text: str) -> frozenset[str]:
    return frozenset(words_in(look(text).casefold()))


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    """Dice's coefficient (Dice 1945, Ecology 26:297): 2·common / (words of both)."""
    return 2 * len(one & other) / (len(one) + len(other)) if one or other else 0.0


def flip_lines(flips: Sequence[IterationFlips]) -> list[str]:
    """For each iteration what was lost and gained, the lost answers, and below each the new examples it may be from."""
    return [line for one in flips for line in _lines(one)]


def _lines(flips: IterationFlips) -> Iterator[str]:
    counts = ", ".join(
        f"{name} lost {flips.lost[split]:,} and gained {flips.gained[split]:,}"
        for split, name in _NAMES.items()
        if split in flips.lost
    )
    out = f", {flips.n_out:,} taken out" if flips.n_out else ""
    yield f"iteration {flips.iteration}, {counted(flips.n_new, 'new example')}{out}: {counts}"
    for one in flips.answers[:_MOST_SHOWN]:
        predicted = "nothing readable" if one.predicted_answer is None else one.predicted_answer
        gold = shortened(conclusion(one.answer), 24)
        yield (
            f"{one.example_id:>6}  {_NAMES[one.split]:<5}  {gold} → {shortened(predicted, 24)}  "
            f"{shortened(one.question, 80)}"
        )
        for suspect in one.suspects:
            question = shortened(suspect.question, 80)
            yield f"{'':>15}{suspect.overlap:4.0%} alike: new example {suspect.example_id}: {question}"
    if len(flips.answers) > _MOST_SHOWN:
        yield f"{'':>8}… and {len(flips.answers) - _MOST_SHOWN:,} more, which --json has"
