"""What verifiers are worth, measured on seeds, whose answers are known.

They judge each seed with its right answer and with wrong ones, and a logistic regression tells right from wrong by
their evidence. So several are weighted by what each was measured to be worth, and one that says nothing gets no weight.
A seed's answer is as often right as wrong there, which makes the probability one under even odds.

Everything here is a function of its arguments.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from ..records import Rate, Vote
from ..wilson import interval
from .verification import (
    Bias,
    Calibration,
    Doubt,
    Evidence,
    Judge,
    Thresholds,
    VerifyCheck,
    Votes,
    evidence_by_verifier,
    is_for,
    mean_scores,
    writes,
)

_RIDGE = 1.0
"""Of the squared weights, in nats: with few seeds a verifier is trusted less than they alone would have it."""

_FOLDS = 10
_NEWTON_STEPS = 50


def gives_answers(votes: Sequence[Vote], planted: Sequence[Vote]) -> bool:
    """Whether a verifier gives an answer of its own, by its votes on right answers and on planted ones. It doesn't
    where one choice is intended every time: then it judges the answer that it is shown, by yes or no.
    """
    intended = {vote.intended for vote in votes}
    return len(intended) != 1 or intended == {None} or any(vote.intended not in intended for vote in planted)


def leaning_of(votes: Sequence[Vote], planted: Sequence[Vote] = ()) -> dict[str, float]:
    """Of one ballot, from its votes on right answers: the mean log-probability of each choice, where every intended
    choice counts alike.

    Subtracting it is batch calibration (Zhou et al. 2023, arXiv 2309.17249), balanced over the answers so that a
    frequent answer isn't taken for a bias. Of a verifier that says yes or no (`gives_answers`), yes being likelier is
    what should be: there is no telling a bias from it, and none is found.
    """
    by_intended: defaultdict[str, list[Mapping[str, float]]] = defaultdict(list)
    for vote in votes:
        if vote.scores and vote.intended is not None:
            by_intended[vote.intended].append(vote.scores)
    means = [mean_scores(rows) for rows in by_intended.values()]
    if means and not gives_answers(votes, planted):
        return dict.fromkeys(means[0], 0.0)
    return mean_scores(means) if means else {}


@dataclass(frozen=True, slots=True)
class AuditedSeed:
    """The votes on a seed's own answer, and on each wrong one that it is held against. `are_mistakes`: these are what
    verifiers wrote themselves, and not planted.
    """

    answer: str
    right: Votes
    wrong: tuple[Votes, ...]
    are_mistakes: bool = False


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
            tuple(evidence_by_verifier(wrong, biases) for wrong in seed.wrong),
        )
        for seed in seeds
    ]
    first = verifiers[0]
    return Judge(calibrate(found, verifiers), biases, first if writes(seeds[0].right[first]) else None)


def bias_on(seeds: Sequence[AuditedSeed], verifier: str) -> Bias:
    """The leaning of each of its ballots."""
    return [leaning_of(*_ballot(seeds, verifier, number)) for number in range(len(seeds[0].right[verifier]))]


def _ballot(seeds: Sequence[AuditedSeed], verifier: str, number: int) -> tuple[list[Vote], list[Vote]]:
    """The votes on right answers, and those on wrong ones."""
    on_right = [seed.right[verifier][number] for seed in seeds]
    return on_right, [wrong[verifier][number] for seed in seeds for wrong in seed.wrong]


def calibrate(seeds: Sequence[SeedEvidence], verifiers: Sequence[str]) -> Calibration:
    """A logistic regression of right against wrong on the verifiers' evidence, each seed counting alike.

    Evidence that speaks for wrong answers is no evidence for right ones: such a verifier gets the weight 0. Of several
    the worst goes first, since without it the others may speak for right ones.
    """
    names = list(verifiers)
    while True:
        intercept, weights = _fit(seeds, names)
        found = dict(zip(names, weights, strict=True))
        if not names or min(weights) >= 0:
            return Calibration(intercept, {name: found.get(name, 0.0) for name in verifiers})
        names.remove(min(names, key=lambda name: found[name]))


def _fit(seeds: Sequence[SeedEvidence], names: Sequence[str]) -> tuple[float, list[float]]:
    """Newton's method on the penalised log-likelihood, which is concave."""
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
    answers = Counter(seed.answer for seed in seeds)
    order = {answer: place for place, answer in enumerate(answers)}
    dealt = sorted(seeds, key=lambda seed: order[seed.answer])
    n_folds = min(_FOLDS, len(dealt))
    for fold in range(n_folds):
        left_out = dealt[fold::n_folds]
        others = [seed for place, seed in enumerate(dealt) if place % n_folds != fold]
        yield _Fold(left_out, others, [*others, *(seed for seed in left_out if answers[seed.answer] == 1)])


@dataclass(frozen=True, slots=True)
class Audit:
    """What verification is worth, each seed judged by what was made of others.

    `true_accepts`: of right answers, how many are let in; `false_accepts`: of wrong ones; `mistake_accepts`: of those
    wrong ones that verifiers came to themselves, None where there are none; `preference`: how often a seed's right
    answer is thought likelier than a wrong one, ties counting half: 0.5 is chance.
    """

    true_accepts: Rate
    false_accepts: Rate
    mistake_accepts: Rate | None
    preference: Rate


def audit(seeds: Sequence[AuditedSeed], verifiers: Sequence[str], thresholds: Thresholds, doubt: Doubt) -> Audit:
    """Of these verifiers together, on two seeds or more, each with a question of its own."""
    true_accepts, false_accepts, mistake_accepts, preferred = [], [], [], []
    for fold in _folds(seeds):
        judge = judge_of(fold.others, verifiers, fold.leaning)
        check = VerifyCheck(judge, thresholds, doubt)
        for seed in fold.left_out:
            right = judge.probability(seed.right)
            true_accepts.append(float(check.lets_in(seed.right)))
            false_accepts.append(fmean(check.lets_in(one) for one in seed.wrong))
            if seed.are_mistakes:
                mistake_accepts.append(false_accepts[-1])
            preferred.append(fmean(_preferred(right, judge.probability(one)) for one in seed.wrong))
    of_mistakes = _rate(mistake_accepts) if mistake_accepts else None
    return Audit(_rate(true_accepts), _rate(false_accepts), of_mistakes, _rate(preferred))


def own_answers_right(seeds: Sequence[AuditedSeed], verifier: str) -> float | None:
    """The share of seeds that a verifier answers right itself, less what it tends to say on others; None where it
    gives no answers.
    """
    if not gives_answers(*_ballot(seeds, verifier, 0)):
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
