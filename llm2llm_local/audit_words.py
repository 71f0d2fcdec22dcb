"""What an audit of verifiers measured, in a sentence: the loop tells it when it was measured, and reports ever after.

Standard library only: screens show it at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from .counted import counted
from .records import TOGETHER, Rate

_HARDLY_ANY = 0.1
"""Of right answers: with fewer, ten requests are made for one new example."""


class Audited(Protocol):
    """One verifier alone, or those together that decide; `agreement`: how often its own answer is right, 0 to 1, where
    it gives one.
    """

    @property
    def verifier(self) -> str: ...
    @property
    def n_seeds(self) -> int: ...
    @property
    def true_accepts(self) -> Rate: ...
    @property
    def false_accepts(self) -> Rate: ...
    @property
    def preference(self) -> Rate: ...
    @property
    def agreement(self) -> float | None: ...


def audit_line(audit: Audited) -> str:
    who = "verification" if audit.verifier == TOGETHER else f"the {audit.verifier} alone"
    agreement = "" if audit.agreement is None else f"; its own answer is right for {audit.agreement:.0%}"
    ratio = acceptance_ratio(audit.true_accepts, audit.false_accepts)
    return (
        f"{who}, audited on {counted(audit.n_seeds, 'seed')}: accepts {rate_text(audit.true_accepts)} of right answers "
        f"and {rate_text(audit.false_accepts)} of wrong ones"
        + ("" if ratio is None else f", {ratio:.1f} times as often")
        + f"; prefers the right one in {rate_text(audit.preference)}{agreement}"
    )


def audit_warnings(audits: Sequence[Audited]) -> Iterator[str]:
    """What is to be expected of verifiers like these, as far as it should be known before an evening is spent on it."""
    own = {audit.verifier: audit.agreement for audit in audits}
    teacher, student = own.get("teacher"), own.get("student")
    if teacher is not None and student is not None and teacher <= student:
        yield (
            f"the teacher answers no more seeds right itself ({teacher:.0%}) than students that haven't seen them "
            f"({student:.0%}), so it may have little to teach: a stronger one helps more than more new examples"
        )
    for audit in audits:
        if audit.verifier == TOGETHER and audit.true_accepts.share < _HARDLY_ANY:
            yield (
                f"verification would accept {rate_text(audit.true_accepts)} of right answers, so hardly a new example "
                "gets in: give it more seeds, more votes (checks.votes), or lower checks.accept_probability"
            )


def acceptance_ratio(true_accepts: Rate, false_accepts: Rate) -> float | None:
    """How many times likelier a right answer is to be accepted than a wrong one; None when no wrong one was."""
    return true_accepts.share / false_accepts.share if false_accepts.share else None


def rate_text(rate: Rate) -> str:
    """A share with its 95% interval."""
    return f"{rate.share:.0%} ({rate.low:.0%} to {rate.high:.0%})"
