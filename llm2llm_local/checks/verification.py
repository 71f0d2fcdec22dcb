"""From what verifiers say of a new example to how probably its answer is right, and what becomes of it.

A verifier's *evidence* for an answer is a log-odds: positive speaks for it, 0 says nothing. What it is worth isn't the
verifier's own affair, but measured on seeds (`audit`).

Everything here is a function of its arguments.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..records import CheckVerdict, Decision, Vote

_LARGEST_EVIDENCE = 10.0
"""Nats; a single vote can't be surer."""

Evidence = Mapping[str, float]
"""By verifier."""

Votes = Mapping[str, Sequence[Vote]]
"""On one answer, by verifier."""

Leaning = Mapping[str, float]
"""What one ballot makes a verifier say whatever it is asked: the mean log-probability of each choice, in nats."""

Bias = Sequence[Leaning]
"""A verifier's, ballot by ballot: each has an order of choices and shows seeds of its own, and so leans its own way."""

Doubt = Literal["review", "drop", "keep"]
"""What becomes of candidates between the thresholds."""

_OF_DOUBTFUL: Mapping[Doubt, Decision] = {
    "review": Decision.DOUBT,
    "drop": Decision.REJECT,
    "keep": Decision.ACCEPT,
}


def mean_scores(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each choice; every row has all of them."""
    return {choice: sum(row[choice] for row in rows) / len(rows) for choice in rows[0]}


def evidence_of(votes: Sequence[Vote], bias: Bias) -> float:
    """What one verifier's votes on one answer come to.

    Scored votes: the mean of their log-odds for the intended choice against all others, without the bias. Written
    ones: the log-odds of agreement, (agreeing + ½) / (others + ½).
    """
    if not writes(votes):
        return sum(_log_odds(vote, leaning) for vote, leaning in zip(votes, bias, strict=True)) / len(votes)
    n_agreeing = sum(vote.agrees is True for vote in votes)
    return math.log((n_agreeing + 0.5) / (len(votes) - n_agreeing + 0.5))


def is_for(votes: Sequence[Vote], bias: Bias) -> bool:
    """Whether one verifier, asked for its own answer, gives the intended one: of all choices the likeliest, or what it
    wrote more often than not.
    """
    if writes(votes):
        return 2 * sum(vote.agrees is True for vote in votes) > len(votes)
    freed = mean_scores([_freed(vote, leaning) for vote, leaning in zip(votes, bias, strict=True)])
    return max(freed, key=freed.__getitem__) == votes[0].intended


def _freed(vote: Vote, leaning: Leaning) -> dict[str, float]:
    return {choice: score - leaning[choice] for choice, score in vote.scores.items()}


def _log_odds(vote: Vote, leaning: Leaning) -> float:
    assert vote.intended is not None
    freed = _freed(vote, leaning)
    intended = freed.pop(vote.intended)
    most = max(freed.values())
    others = most + math.log(sum(math.exp(score - most) for score in freed.values()))
    return max(-_LARGEST_EVIDENCE, min(_LARGEST_EVIDENCE, intended - others))


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the audit made of the verifiers: the probability that an answer is right is a logistic function of
    `intercept` and `weights` × evidence.
    """

    intercept: float
    weights: Mapping[str, float]

    def probability(self, evidence: Evidence) -> float:
        """Of an answer's being right, 0 to 1, if right and wrong were equally frequent."""
        log_odds = self.intercept + sum(weight * evidence[name] for name, weight in self.weights.items())
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, log_odds))))


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Probabilities of being right, from which on a candidate is accepted, and below which it is rejected."""

    accept: float
    reject: float

    def decide(self, probability: float) -> Decision:
        if probability >= self.accept:
            return Decision.ACCEPT
        return Decision.REJECT if probability < self.reject else Decision.DOUBT


@dataclass(frozen=True, slots=True)
class Judge:
    """From the votes on an answer to the probability that it is right: what the audit keeps for candidates.

    `majority_of`: the verifier that writes its answers (`writes`) and must give this one more often than not for it to
    be accepted, since of several different ones, most of which are wrong, a wrong one agrees as well; None where
    choices are scored.
    """

    calibration: Calibration
    biases: Mapping[str, Bias]
    majority_of: str | None = None

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Judge:
        calibration = Calibration(record["intercept"], record["weights"])
        return cls(calibration, record["biases"], record.get("majority_of"))

    def record(self) -> dict[str, Any]:
        """As it is stored."""
        return {
            "intercept": self.calibration.intercept,
            "weights": dict(self.calibration.weights),
            "biases": dict(self.biases),
            "majority_of": self.majority_of,
        }

    def probability(self, votes: Votes) -> float:
        """That an answer is right. `votes`: of every verifier that has a weight."""
        return self.calibration.probability(evidence_by_verifier(votes, self.biases))

    def decide(self, votes: Votes, thresholds: Thresholds) -> Decision:
        decision = thresholds.decide(self.probability(votes))
        if decision is Decision.ACCEPT and self.majority_of is not None:
            has_majority = is_for(votes[self.majority_of], self.biases[self.majority_of])
            return Decision.ACCEPT if has_majority else Decision.DOUBT
        return decision


def evidence_by_verifier(votes: Votes, biases: Mapping[str, Bias]) -> Evidence:
    """See `evidence_of`."""
    return {name: evidence_of(votes[name], bias) for name, bias in biases.items()}


def writes(votes: Sequence[Vote]) -> bool:
    """Whether a verifier writes its answers, which then agree or don't, instead of scoring what is given."""
    return not votes[0].scores


@dataclass(frozen=True, slots=True)
class VerifyCheck:
    """The `verify` check."""

    judge: Judge
    thresholds: Thresholds
    doubt: Doubt

    def lets_in(self, votes: Votes) -> bool:
        """Whether an answer with these votes is trained on without a person's word."""
        return self._settled(self.judge.decide(votes, self.thresholds)) is Decision.ACCEPT

    def _settled(self, decision: Decision) -> Decision:
        return _OF_DOUBTFUL[self.doubt] if decision is Decision.DOUBT else decision

    def __call__(self, votes: Votes) -> CheckVerdict:
        """`votes` by verifier, of every one that has a weight."""
        probability, decision = self.judge.probability(votes), self.judge.decide(votes, self.thresholds)
        reason = {Decision.REJECT: "answer is probably wrong", Decision.DOUBT: "answer is doubtful"}.get(decision, "")
        said = "; ".join(f"{name}: {_said(votes[name], bias)}" for name, bias in self.judge.biases.items())
        return CheckVerdict("verify", self._settled(decision), reason, said, probability)


def _said(votes: Sequence[Vote], bias: Bias) -> str:
    """What a verifier says most once it is freed from its bias, such as "Location, 3 of 4"."""
    choices = (_choice(vote, leaning) or "no answer" for vote, leaning in zip(votes, bias, strict=True))
    (said, n), *_ = Counter(choices).most_common(1)
    return said if len(votes) == 1 else f"{said}, {n} of {len(votes)}"


def _choice(vote: Vote, leaning: Leaning) -> str | None:
    if not vote.scores:
        return vote.said
    freed = _freed(vote, leaning)
    return max(freed, key=freed.__getitem__).strip()
