"""What verification was worth to a run: how many of its candidates were right, and which of them it let in.

Everything here is a function of its arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..records import TOGETHER, Decision
from ..wilson import Accuracy, wilson

THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95)
"""Accept probabilities that are compared, so that the one in force can be judged."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One that verification was asked about, in a round of asking (`attempt`, from 0). `decision`: what became of it, a
    person's word left aside; `probability`: of its answer's being right, as verification had it, None where nothing was
    verified. `alone`: the same by each verifier, were it the only one; of none where there was one alone.
    """

    iteration: int
    attempt: int
    question: str
    answer: str
    decision: Decision
    probability: float | None
    alone: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judged:
    """`is_right`: the judge gives its answer; `is_hard`: it is right, and the student of its iteration doesn't."""

    candidate: Candidate
    is_right: bool
    is_hard: bool


@dataclass(frozen=True, slots=True)
class Part:
    """`n` of `of`."""

    n: int
    of: int

    @property
    def share(self) -> Accuracy | None:
        """With its 95% interval; None of nothing."""
        return wilson(self.n, self.of) if self.of else None


@dataclass(frozen=True, slots=True)
class Kept:
    """Of the right candidates, those that were accepted: of all, of the hard and of the easy ones."""

    right: Part
    hard: Part
    easy: Part


@dataclass(frozen=True, slots=True)
class AtThreshold:
    """What would have been accepted of the same candidates from another probability on."""

    threshold: float
    accepted: Part
    kept: Kept


@dataclass(frozen=True, slots=True)
class By:
    """What one verifier alone, or all together, would have accepted from the probability on that was in force."""

    verifier: str
    accepted: Part
    kept: Kept


@dataclass(frozen=True, slots=True)
class Worth:
    """Right ones among all candidates, and among those of each decision.

    `unverified`: among those of the first rounds of asking, which a run without verification takes: it has no reason to
    ask once more. `at`: by accept probability; empty where nothing was verified. `by`: each verifier alone, and
    all together; empty where there weren't several.
    """

    all: Part
    unverified: Part
    accepted: Part
    in_doubt: Part
    rejected: Part
    kept: Kept
    at: tuple[AtThreshold, ...]
    by: tuple[By, ...]


def worth_of(judged: Sequence[Judged], in_force: float, thresholds: Sequence[float] = THRESHOLDS) -> Worth:
    """`in_force`: the accept probability that was."""

    def of(decision: Decision) -> Part:
        return _right([one for one in judged if one.candidate.decision is decision])

    has_probabilities = all(one.candidate.probability is not None for one in judged)
    return Worth(
        all=_right(judged),
        unverified=_right([one for one in judged if one.candidate.attempt == 0]),
        accepted=of(Decision.ACCEPT),
        in_doubt=of(Decision.DOUBT),
        rejected=of(Decision.REJECT),
        kept=_kept(judged, lambda one: one.decision is Decision.ACCEPT),
        at=tuple(_at(judged, threshold) for threshold in thresholds) if has_probabilities else (),
        by=tuple(_by(judged, in_force)),
    )


def _by(judged: Sequence[Judged], in_force: float) -> Iterator[By]:
    """Candidates that not all verifiers have judged count for none of them."""
    names = sorted({name for one in judged for name in one.candidate.alone})
    for name in [*names, TOGETHER] if names else ():

        def is_accepted(one: Candidate, name: str = name) -> bool:
            probability = one.probability if name == TOGETHER else one.alone[name]
            return probability is not None and probability >= in_force

        asked = [one for one in judged if one.candidate.alone.keys() == set(names)]
        accepted = [one for one in asked if is_accepted(one.candidate)]
        yield By(name, _right(accepted), _kept(asked, is_accepted))


def _at(judged: Sequence[Judged], threshold: float) -> AtThreshold:
    def is_accepted(candidate: Candidate) -> bool:
        return candidate.probability is not None and candidate.probability >= threshold

    accepted = [one for one in judged if is_accepted(one.candidate)]
    return AtThreshold(threshold, _right(accepted), _kept(judged, is_accepted))


def _right(judged: Sequence[Judged]) -> Part:
    return Part(sum(one.is_right for one in judged), len(judged))


def _kept(judged: Sequence[Judged], is_accepted: Callable[[Candidate], bool]) -> Kept:
    def part(some: Sequence[Judged]) -> Part:
        return Part(sum(is_accepted(one.candidate) for one in some), len(some))

    right = [one for one in judged if one.is_right]
    hard, easy = ([one for one in right if one.is_hard is wanted] for wanted in (True, False))
    return Kept(part(right), part(hard), part(easy))
