"""What an audit's figures are said to mean."""

from __future__ import annotations

from typing import Any

import pytest
from audits import audit_row

from llm2llm_local.audit_words import audit_line, audit_warnings, rate_text, ratio_text
from llm2llm_local.records import Rate

NONE, FEW, MOST = Rate(0.0, 0.0, 0.2), Rate(0.1, 0.02, 0.25), Rate(0.8, 0.6, 0.9)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0% "),
        (0.004, "0.4% "),
        (0.006, "1% "),
        (0.42, "42% "),
        (0.994, "99% "),
        (0.997, "99.7% "),
        (1.0, "100% "),
    ],
)
def test_what_is_not_quite_nothing_is_not_told_as_nothing(share: float, text: str) -> None:
    assert rate_text(Rate(share, 0.0, 1.0)).startswith(text)


def test_a_ratio_has_the_least_that_it_may_be() -> None:
    assert ratio_text(MOST, FEW) == "8.0 (≥ 2.4)"
    assert ratio_text(MOST, NONE) == "≥ 3.0"


def test_the_verifiers_own_mistakes_are_told_apart() -> None:
    row = audit_row(true_accepts=MOST, false_accepts=FEW, mistake_accepts=Rate(1.0, 0.4, 1.0), n_mistaken_seeds=3)
    told = "of the teacher's own mistakes, on 3 seeds, 100% (40% to 100%) would be accepted by the other votes"
    assert audit_line(row).endswith(told)
    assert "mistakes" not in audit_line(audit_row())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"true_accepts": MOST, "false_accepts": FEW}, []),
        ({"true_accepts": FEW, "false_accepts": FEW}, ["may accept wrong answers as often as right ones (10% (2%"]),
        ({"true_accepts": Rate(0.05, 0.01, 0.1), "false_accepts": FEW}, ["hardly a new example gets in"]),
    ],
)
def test_what_is_to_be_expected_is_said(changes: dict[str, Any], words: list[str]) -> None:
    warnings = list(audit_warnings([audit_row(**changes)]))
    assert len(warnings) == len(words) and all(word in one for word, one in zip(words, warnings, strict=True))


@pytest.mark.parametrize(("of_student", "n"), [(0.0, 1), (0.01, 1), (0.03, 0), (1.0, 0)])
def test_a_verifier_that_counts_for_nothing_is_told(of_student: float, n: int) -> None:
    calibration = {"intercept": 0.0, "weights": {"teacher": 1.2, "student": of_student}, "biases": {}}
    warnings = list(audit_warnings([audit_row(true_accepts=MOST, false_accepts=FEW, calibration=calibration)]))
    assert len(warnings) == n
    assert all(one.startswith("the student's votes count for next to nothing") for one in warnings)
    assert all('checks.verifier = "teacher"' in one for one in warnings)
