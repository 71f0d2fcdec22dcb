"""From what verifiers say of a new example to how probably its answer is right, and what the audit makes of them.

A verifier's *evidence* for an answer is a log-odds: positive speaks for it, 0 says nothing. How much it is worth is not
the verifier's own affair: the audit has it judge seeds, whose answers are known, with their right answer and with wrong
ones, and a logistic regression tells right from wrong by its evidence. So several verifiers are weighted by
what each was measured to be worth, and one that says nothing gets no weight. A seed's answer is as often right as wrong
there, which makes the probability one under even odds.

Everything here is a function of its arguments.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

import numpy as np

from ..records import CheckVerdict, Decision, Rate, Vote
from ..wilson import interval

_RIDGE = 1.0
"""Of the squared weights, in nats: with few seeds a verifier is trusted less than they alone would have it."""

_FOLDS = 10
_NEWTON_STEPS = 50
_LARGEST_EVIDENCE = 10.0
"""Nats; a single vote can't be surer."""

Evidence = Mapping[str, float]
"""By verifier."""

Votes = Mapping[str, Sequence[Vote]]
"""On one answer, by verifier."""

Bias = Mapping[str, float]
"""What a verifier tends to say whatever it is asked: the mean log-probability of each choice, in nats."""


def gives_answers(votes: Sequence[Vote], planted: Sequence[Vote]) -> bool:
    """Whether a verifier gives an answer of its own, by its votes on right answers and on planted ones. It doesn't
    where one choice is intended every time: then it judges the answer that it is shown, by yes or no.
    """
    intended = {vote.intended for vote in votes}
    return len(intended) != 1 or intended == {None} or any(vote.intended not in intended for vote in planted)


def choice_bias(votes: Sequence[Vote], planted: Sequence[Vote] = ()) -> dict[str, float]:
    """From votes on right answers: the mean log-probability of each choice, every intended choice counting alike.

    Subtracting it is batch calibration (Zhou et al. 2023, arXiv 2309.17249), balanced over the answers so that a
    frequent answer isn't taken for a bias. Of a verifier that says yes or no (`gives_answers`), yes being likelier is
    what should be: there is no telling a bias from it, and none is found.
    """
    by_intended: defaultdict[str, list[Mapping[str, float]]] = defaultdict(list)
    for vote in votes:
        if vote.scores and vote.intended is not None:
            by_intended[vote.intended].append(vote.scores)
    means = [_mean_scores(rows) for rows in by_intended.values()]
    if means and not gives_answers(votes, planted):
        return dict.fromkeys(means[0], 0.0)
    return _mean_scores(means) if means else {}


def _mean_scores(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {choice: sum(row[choice] for row in rows) / len(rows) for choice in rows[0]}


def evidence_of(votes: Sequence[Vote], bias: Bias, n: int | None = None) -> float:
    """What one verifier's votes on one answer come to.

    Scored votes: the mean of their log-odds for the intended choice against all others, without the bias. Written
    ones: the log-odds of agreement, (agreeing + ½) / (others + ½), where `n` would agree in the share that these do.
    """
    if not writes(votes):
        return sum(_log_odds(vote, bias) for vote in votes) / len(votes)
    n = n or len(votes)
    n_agreeing = n * sum(vote.agrees is True for vote in votes) / len(votes)
    return math.log((n_agreeing + 0.5) / (n - n_agreeing + 0.5))


def is_for(votes: Sequence[Vote], bias: Bias) -> bool:
    """Whether one verifier, asked for its own answer, gives the intended one: of all choices the likeliest, or what it
    wrote more often than not.
    """
    if writes(votes):
        return 2 * sum(vote.agrees is True for vote in votes) > len(votes)
    means = _mean_scores([vote.scores for vote in votes])
    return max(means, key=lambda choice: means[choice] - bias[choice]) == votes[0].intended


def _log_odds(vote: Vote, bias: Bias) -> float:
    assert vote.intended is not None
    freed = {choice: score - bias[choice] for choice, score in vote.scores.items()}
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

    def probability(self, votes: Votes, as_many_as: Votes | None = None) -> float:
        """That an answer is right. `votes`: of every verifier that has a weight; `as_many_as`: as which they count."""
        return self.calibration.probability(evidence_by_verifier(votes, self.biases, as_many_as))

    def decide(self, votes: Votes, thresholds: Thresholds, as_many_as: Votes | None = None) -> Decision:
        decision = thresholds.decide(self.probability(votes, as_many_as))
        if decision is Decision.ACCEPT and self.majority_of is not None:
            has_majority = is_for(votes[self.majority_of], self.biases[self.majority_of])
            return Decision.ACCEPT if has_majority else Decision.DOUBT
        return decision


def evidence_by_verifier(votes: Votes, biases: Mapping[str, Bias], as_many_as: Votes | None = None) -> Evidence:
    """See `evidence_of`; the written votes count as so many as the others are."""
    n = as_many_as or votes
    return {name: evidence_of(votes[name], bias, len(n[name])) for name, bias in biases.items()}


def writes(votes: Sequence[Vote]) -> bool:
    """Whether a verifier writes its answers, which then agree or don't, instead of scoring what is given."""
    return not votes[0].scores


@dataclass(frozen=True, slots=True)
class AuditedSeed:
    """The votes on a seed's own answer, and on each wrong one that it is held against."""

    right: Votes
    wrong: tuple[Votes, ...]


@dataclass(frozen=True, slots=True)
class SeedEvidence:
    """What these votes come to."""

    right: Evidence
    wrong: tuple[Evidence, ...]


def judge_of(
    seeds: Sequence[AuditedSeed], verifiers: Sequence[str], leaning: Sequence[AuditedSeed] | None = None
) -> Judge:
    """By these verifiers together; of several the first is the one that is asked several times. `leaning`: the seeds
    that tell what they tend to say, if others.
    """
    biases = {name: bias_on(leaning or seeds, name) for name in verifiers}
    found = [
        SeedEvidence(
            evidence_by_verifier(seed.right, biases),
            tuple(evidence_by_verifier(wrong, biases, seed.right) for wrong in seed.wrong),
        )
        for seed in seeds
    ]
    first = verifiers[0]
    return Judge(calibrate(found, verifiers), biases, first if writes(seeds[0].right[first]) else None)


def bias_on(seeds: Sequence[AuditedSeed], verifier: str) -> dict[str, float]:
    """See `choice_bias`."""
    return choice_bias(*_votes_of(seeds, verifier))


def _votes_of(seeds: Sequence[AuditedSeed], verifier: str) -> tuple[list[Vote], list[Vote]]:
    """Those on right answers, and those on wrong ones."""
    on_right = [vote for seed in seeds for vote in seed.right[verifier]]
    return on_right, [vote for seed in seeds for wrong in seed.wrong for vote in wrong[verifier]]


def calibrate(seeds: Sequence[SeedEvidence], verifiers: Sequence[str]) -> Calibration:
    """A logistic regression of right against wrong on the verifiers' evidence, each seed counting alike.

    Evidence that speaks for wrong answers is no evidence for right ones: such a verifier gets the weight 0.
    """
    names = list(verifiers)
    while True:
        intercept, weights = _fit(seeds, names)
        negative = [name for name, weight in zip(names, weights, strict=True) if weight < 0]
        if not negative:
            found = dict(zip(names, weights, strict=True))
            return Calibration(intercept, {name: found.get(name, 0.0) for name in verifiers})
        names = [name for name in names if name not in negative]


def _fit(seeds: Sequence[SeedEvidence], names: Sequence[str]) -> tuple[float, list[float]]:
    """Newton's method on the penalised log-likelihood, which is concave."""
    if not seeds:
        return 0.0, [0.0] * len(names)
    cases = [
        (evidence, target, share)
        for seed in seeds
        for evidence, target, share in (
            (seed.right, 1.0, 1.0),
            *((wrong, 0.0, 1 / len(seed.wrong)) for wrong in seed.wrong),
        )
    ]
    features = np.array([[1.0, *(evidence[name] for name in names)] for evidence, _, _ in cases])
    target, share = (np.array([case[place] for case in cases]) for place in (1, 2))
    penalty = np.diag([1e-6, *[_RIDGE] * len(names)])
    parameters: np.ndarray[Any, np.dtype[np.float64]] = np.zeros(len(names) + 1)
    for _ in range(_NEWTON_STEPS):
        fitted = 1 / (1 + np.exp(-np.clip(features @ parameters, -50, 50)))
        gradient = features.T @ (share * (target - fitted)) - penalty @ parameters
        curvature = (features.T * (share * fitted * (1 - fitted))) @ features + penalty
        step = np.linalg.solve(curvature, gradient)
        parameters = parameters + step
        if np.abs(step).max() < 1e-9:
            break
    return float(parameters[0]), [float(weight) for weight in parameters[1:]]


@dataclass(frozen=True, slots=True)
class _Fold:
    """Some seeds, and those that they are judged by: `others` tell what the verifiers' word is worth, `leaning` what
    they tend to say.
    """

    left_out: Sequence[AuditedSeed]
    others: Sequence[AuditedSeed]
    leaning: Sequence[AuditedSeed]


def _folds(seeds: Sequence[AuditedSeed]) -> Iterator[_Fold]:
    """Each seed is judged by others, so that it shows what verification is worth where it wasn't measured.

    Those with the same answer are dealt to different folds; where there are two or three, the figures are a little too
    low, since the judge of candidates knows one more of them. The only seed of its answer has a say in the leaning:
    without it what verifiers say to that answer wouldn't be known at all, which isn't so of that judge.
    """
    answers = Counter(map(_intended, seeds))
    order = list(answers)
    dealt = sorted(seeds, key=lambda seed: order.index(_intended(seed)))
    n_folds = min(_FOLDS, len(dealt))
    for fold in range(n_folds):
        left_out = dealt[fold::n_folds]
        others = [seed for place, seed in enumerate(dealt) if place % n_folds != fold]
        yield _Fold(left_out, others, [*others, *(seed for seed in left_out if answers[_intended(seed)] == 1)])


def _intended(seed: AuditedSeed) -> str | None:
    """The seed's answer, where choices are scored."""
    return next(iter(seed.right.values()))[0].intended


@dataclass(frozen=True, slots=True)
class Audit:
    """What verification is worth, each seed judged by what was made of others.

    `true_accepts`: of right answers, how many are accepted; `false_accepts`: of wrong ones; `preference`: how often
    a seed's right answer is thought likelier than a wrong one, ties counting half: 0.5 is chance.
    """

    true_accepts: Rate
    false_accepts: Rate
    preference: Rate


def audit(seeds: Sequence[AuditedSeed], verifiers: Sequence[str], thresholds: Thresholds) -> Audit:
    """Of these verifiers together."""
    true_accepts, false_accepts, preferred = [], [], []
    for fold in _folds(seeds):
        judge = judge_of(fold.others, verifiers, fold.leaning)
        for seed in fold.left_out:
            right = judge.probability(seed.right)
            true_accepts.append(float(judge.decide(seed.right, thresholds) is Decision.ACCEPT))
            wrong = [judge.decide(one, thresholds, seed.right) for one in seed.wrong]
            false_accepts.append(wrong.count(Decision.ACCEPT) / len(wrong))
            preferred.append(fmean(_preferred(right, judge.probability(one, seed.right)) for one in seed.wrong))
    return Audit(_rate(true_accepts), _rate(false_accepts), _rate(preferred))


def own_answers_right(seeds: Sequence[AuditedSeed], verifier: str) -> float | None:
    """The share of seeds that a verifier answers right itself, less what it tends to say on others; None where it
    gives no answers.
    """
    if not gives_answers(*_votes_of(seeds, verifier)):
        return None
    n_right = 0
    for fold in _folds(seeds):
        bias = bias_on(fold.leaning, verifier)
        n_right += sum(is_for(seed.right[verifier], bias) for seed in fold.left_out)
    return n_right / len(seeds)


def _rate(shares: Sequence[float]) -> Rate:
    """The mean of one share of each seed: the wrong answers to one seed count as one case together."""
    mean = sum(shares) / len(shares)
    return Rate(mean, *interval(mean, len(shares)))


def _preferred(right: float, wrong: float) -> float:
    return 0.5 if right == wrong else float(right > wrong)


@dataclass(frozen=True, slots=True)
class VerifyCheck:
    """The `verify` check. `doubt`: what becomes of candidates between the thresholds."""

    judge: Judge
    thresholds: Thresholds
    doubt: Literal["review", "drop", "keep"]

    def __call__(self, votes: Votes) -> CheckVerdict:
        """`votes` by verifier, of every one that has a weight."""
        probability, decision, reason = self.judge.probability(votes), self.judge.decide(votes, self.thresholds), ""
        if decision is Decision.REJECT:
            reason = "answer is probably wrong"
        elif decision is Decision.DOUBT:
            reason = "answer is doubtful"
            decision = {"review": Decision.DOUBT, "drop": Decision.REJECT, "keep": Decision.ACCEPT}[self.doubt]
        said = "; ".join(f"{name}: {_said(votes[name], bias)}" for name, bias in self.judge.biases.items())
        return CheckVerdict("verify", decision, reason, said, probability)


def _said(votes: Sequence[Vote], bias: Bias) -> str:
    """What a verifier says most once it is freed from its bias, such as "Location, 3 of 4"."""
    (said, n), *_ = Counter(_choice(vote, bias) or "no answer" for vote in votes).most_common(1)
    return said if len(votes) == 1 else f"{said}, {n} of {len(votes)}"


def _choice(vote: Vote, bias: Bias) -> str | None:
    if not vote.scores:
        return vote.said
    return max(vote.scores, key=lambda choice: vote.scores[choice] - bias[choice]).strip()
