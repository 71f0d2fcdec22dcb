"""What an audit of verifiers measured, in a sentence: the loop tells it when it was measured, and reports ever after.

Standard library only: screens show it at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .counted import counted
from .records import TOGETHER, Rate
from .store.audits import AuditRow

_NEXT_TO_NOTHING = 0.02
"""As the weight of evidence, which is 10 nats at most: it moves the log-odds by no more than 0.2."""

_HARDLY_ANY = 0.1
"""Of right answers: with fewer, ten requests are made for one new example."""


def audit_line(audit: AuditRow) -> str:
    who = "verification" if audit.verifier == TOGETHER else f"the {audit.verifier} alone"
    agreement = "" if audit.agreement is None else f"; its own answer is right for {audit.agreement:.0%}"
    right, wrong = audit.true_accepts, audit.false_accepts
    return (
        f"{who}, audited on {counted(audit.n_seeds, 'seed')}: accepts {rate_text(right)} of right answers and "
        f"{rate_text(wrong)} of wrong ones, {ratio_text(right, wrong)} times as often; prefers the right one in "
        f"{rate_text(audit.preference)}{agreement}{_on_mistakes(audit)}"
    )


def _on_mistakes(audit: AuditRow) -> str:
    if audit.mistake_accepts is None:
        return ""
    of_seeds = f"of the teacher's own mistakes, on {counted(audit.n_mistaken_seeds, 'seed')}"
    by = "" if audit.verifier == "student" else " by the other votes"
    return f"; {of_seeds}, {rate_text(audit.mistake_accepts)} would be accepted{by}"


def audit_warnings(audits: Sequence[AuditRow]) -> Iterator[str]:
    """What is to be expected of verifiers like these, as far as it should be known before an evening is spent on it."""
    own = {audit.verifier: audit.agreement for audit in audits}
    teacher, student = own.get("teacher"), own.get("student")
    if teacher is not None and student is not None and teacher <= student:
        yield (
            f"the teacher answers no more seeds right itself ({teacher:.0%}) than students that haven't seen them "
            f"({student:.0%}), so it may have little to teach: a stronger one helps more than more new examples"
        )
    for audit in audits:
        if audit.verifier == TOGETHER:
            yield from _warnings_together(audit)


def _warnings_together(audit: AuditRow) -> Iterator[str]:
    right, wrong = audit.true_accepts, audit.false_accepts
    more_votes = ", more votes (checks.votes)" if "teacher" in audit.weights else ""
    if right.share < _HARDLY_ANY:
        yield (
            f"verification would accept {rate_text(right)} of right answers, so hardly a new example gets in: give it "
            f"more seeds{more_votes}, or lower checks.accept_probability (reject_probability, where "
            'checks.doubt = "keep")'
        )
    elif right.low <= wrong.high:
        yield (
            f"as far as {counted(audit.n_seeds, 'seed')} can tell, verification may accept wrong answers as often as "
            f"right ones ({rate_text(wrong)} against {rate_text(right)}): give it more seeds, or a stronger teacher"
        )
    for idle, weight in audit.weights.items():
        for other, of_other in audit.weights.items():
            if weight < _NEXT_TO_NOTHING <= of_other:
                yield (
                    f"the {idle}'s votes count for next to nothing beside the {other}'s (weights {weight:.2f} and "
                    f'{of_other:.2f}): checks.verifier = "{other}" judges nearly the same, in less time'
                )


def acceptance_ratio(true_accepts: Rate, false_accepts: Rate) -> float | None:
    """How many times likelier a right answer is to be accepted than a wrong one; None when no wrong one was."""
    return true_accepts.share / false_accepts.share if false_accepts.share else None


def least_ratio(true_accepts: Rate, false_accepts: Rate) -> float:
    """The same by those bounds of both intervals where it is least: lower than a 95% interval of its own would go."""
    return true_accepts.low / false_accepts.high


def ratio_text(true_accepts: Rate, false_accepts: Rate) -> str:
    """With the least that it may be; that alone where no wrong answer was accepted."""
    ratio, least = acceptance_ratio(true_accepts, false_accepts), f"≥ {least_ratio(true_accepts, false_accepts):.1f}"
    return least if ratio is None else f"{ratio:.1f} ({least})"


def rate_text(rate: Rate) -> str:
    """A share with its 95% interval."""
    return f"{percent(rate.share)} ({rate.low:.0%} to {rate.high:.0%})"


def percent(share: float) -> str:
    """In whole points, but for what isn't quite nothing or all."""
    return f"{share:.1%}" if 0 < share < 0.005 or 0.995 < share < 1 else f"{share:.0%}"
