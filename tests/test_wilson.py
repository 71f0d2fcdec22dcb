"""The interval of an accuracy is Wilson's, to the last digits, and costs no heavy import."""

from __future__ import annotations

import pytest
from fresh_interpreter import HEAVY, imported_by
from scipy.stats import binomtest

from llm2llm_local.wilson import wilson

SIZES = (1, 2, 3, 7, 10, 41, 100, 999, 8_000, 1_000_000)


@pytest.mark.parametrize("n", SIZES)
def test_the_interval_is_that_of_scipy(n: int) -> None:
    step = max(1, n // 50)
    for n_correct in {*range(0, n + 1, step), 0, 1, n - 1, n}:
        expected = binomtest(n_correct, n).proportion_ci(confidence_level=0.95, method="wilson")
        found = wilson(n_correct, n)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12, abs=1e-15)
        assert found.low <= found.share <= found.high


def test_none_right_and_all_right_end_at_the_end() -> None:
    for n in SIZES:
        assert wilson(0, n).low == 0.0 < wilson(0, n).high < 1.0
        assert wilson(n, n).high == 1.0 > wilson(n, n).low > 0.0


def test_a_known_interval() -> None:
    # Newcombe 1998 (Stat. Med. 17:857), table I, method 3: 81 of 263 and 15 of 148.
    assert (round(wilson(81, 263).low, 4), round(wilson(81, 263).high, 4)) == (0.2553, 0.3662)
    assert (round(wilson(15, 148).low, 4), round(wilson(15, 148).high, 4)) == (0.0624, 0.1605)


def test_it_takes_the_standard_library_alone() -> None:
    assert imported_by("import llm2llm_local.wilson") & HEAVY == set()
