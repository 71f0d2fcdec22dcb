"""What an audit of verifiers measured, in a sentence: the loop tells it when it was measured, and reports ever after.

Standard library only: screens show it at once.
"""

from __future__ import annotations

from typing import Protocol

from .counted import counted
from .records import TOGETHER, Rate


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


def acceptance_ratio(true_accepts: Rate, false_accepts: Rate) -> float | None:
    """How many times likelier a right answer is to be accepted than a wrong one; None when no wrong one was."""
    return true_accepts.share / false_accepts.share if false_accepts.share else None


def rate_text(rate: Rate) -> str:
    """A share with its 95% interval."""
    return f"{rate.share:.0%} ({rate.low:.0%} to {rate.high:.0%})"
