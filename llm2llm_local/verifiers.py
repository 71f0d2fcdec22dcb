"""Who votes on candidates: the same for the loop, for forecasts and for reports.

Standard library only: screens and forecasts need it.
"""

from __future__ import annotations


def voters(verify: str, verifier: str) -> tuple[str, ...]:
    """Of "teacher" and "student", by `checks.verify` and `checks.verifier`; nobody when verification is off."""
    if verify == "off":
        return ()
    return ("teacher", "student") if verifier == "both" else (verifier,)
