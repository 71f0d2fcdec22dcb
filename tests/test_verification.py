"""From votes on a candidate to its verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from votes import scored, written

from llm2llm_local.checks.verification import Calibration, Judge, Thresholds, VerifyCheck, evidence_of, is_for
from llm2llm_local.records import Decision, Vote

THRESHOLDS = Thresholds(accept=0.8, reject=0.5)


def test_evidence_is_the_log_odds_of_the_intended_choice() -> None:
    votes = [scored("a", a=0.5, b=0.3, c=0.2), scored("a", a=0.8, b=0.1, c=0.1)]
    none = dict.fromkeys("abc", 0.0)
    assert evidence_of(votes, [none, none]) == pytest.approx((math.log(0.5 / 0.5) + math.log(0.8 / 0.2)) / 2)


def test_written_votes_count_agreement_and_what_is_unreadable_is_none() -> None:
    assert evidence_of([written(True)] * 3, []) == pytest.approx(math.log(3.5 / 0.5))
    assert evidence_of([written(True), written(False), written(None)], []) == pytest.approx(math.log(1.5 / 2.5))
    assert evidence_of([written(True), written(False)], []) == 0.0
    assert is_for([written(True), written(True), written(None)], [])
    assert not is_for([written(True), written(False)], [])


def test_what_a_verifier_is_for_is_freed_from_its_bias() -> None:
    votes = [scored("b", a=0.6, b=0.4)]
    assert not is_for(votes, [{"a": 0.0, "b": 0.0}])
    assert is_for(votes, [{"a": -0.1, "b": -1.0}])


@pytest.mark.parametrize(
    ("probability", "decision"),
    [(0.8, Decision.ACCEPT), (0.79, Decision.DOUBT), (0.5, Decision.DOUBT), (0.49, Decision.REJECT)],
)
def test_thresholds(probability: float, decision: Decision) -> None:
    assert THRESHOLDS.decide(probability) is decision


@pytest.mark.parametrize(
    ("policy", "decision"), [("review", Decision.DOUBT), ("drop", Decision.REJECT), ("keep", Decision.ACCEPT)]
)
def test_what_becomes_of_a_doubt_is_the_persons_choice(policy: str, decision: Decision) -> None:
    judge = Judge(Calibration(math.log(0.6 / 0.4), {"teacher": 0.0}), {"teacher": [{"a": 0.0, "b": 0.0}] * 3})
    check = VerifyCheck(judge, THRESHOLDS, policy)  # type: ignore[arg-type]
    verdict = check({"teacher": [scored("a", a=0.7, b=0.3), scored("a", a=0.4, b=0.6), scored("a", a=0.9, b=0.1)]})
    assert (verdict.decision, verdict.reason) == (decision, "answer is doubtful")
    assert verdict.score == pytest.approx(0.6)
    assert verdict.detail == "teacher: a, 2 of 3"


def test_a_verdict_tells_what_was_said_without_the_bias() -> None:
    bias = {"a": math.log(0.9), "b": math.log(0.1)}
    check = VerifyCheck(Judge(Calibration(0.0, {"teacher": 1.0}), {"teacher": [bias]}), THRESHOLDS, "review")
    assert check({"teacher": [scored("b", a=0.6, b=0.4)]}).detail == "teacher: b"


def test_every_verifier_is_told_of_in_the_verdict() -> None:
    biases = {name: [{"a": 0.0, "b": 0.0}] for name in ("teacher", "student")}
    check = VerifyCheck(Judge(Calibration(0.0, {"teacher": 1.0, "student": 2.0}), biases), THRESHOLDS, "review")
    votes: dict[str, Sequence[Vote]] = {"teacher": [scored("a", a=0.2, b=0.8)], "student": [scored("a", a=0.1, b=0.9)]}
    verdict = check(votes)
    assert verdict.decision is Decision.REJECT
    assert verdict.detail == "teacher: b; student: b"
    assert verdict.score == pytest.approx(1 / (1 + math.exp(math.log(4) + 2 * math.log(9))))
