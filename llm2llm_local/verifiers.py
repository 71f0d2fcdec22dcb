"""Who votes on candidates: the same for the loop, for forecasts and for reports.

Standard library only: screens and forecasts need it.
"""

from __future__ import annotations


def voters(verify: str, verifier: str) -> tuple[str, ...]:
    """Of "teacher" and "student", by `checks.verify` and `checks.verifier`; nobody when verification is off."""
    if verify == "off":
        return ()
    return ("teacher", "student") if verifier == "both" else (verifier,)


def votes_in_audit(family: str, votes: int) -> int:
    """Of the teacher on each seed, where a candidate has so many: one more in math, where it writes solutions, so that
    each of them that is wrong is voted on by as many others.
    """
    return votes + (family == "math")
