"""What all verdicts on a candidate come to: a person's word counts, then the checks' first rejection, then doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..records import Decision

if TYPE_CHECKING:
    from .writer import Store

REVIEW = "review"
"""The `check_name` of a person's verdict."""


def settle(store: Store, candidate_id: int) -> Decision:
    """Write into the candidate what its verdicts come to; part of a transaction."""
    decision, reason = _overall(store, candidate_id)
    store.execute(
        "UPDATE candidates SET verdict = ?, reject_reason = ? WHERE id = ?",
        [decision, reason if decision is Decision.REJECT else None, candidate_id],
    )
    return decision


def _overall(store: Store, candidate_id: int) -> tuple[Decision, str]:
    rows = store.execute(
        "SELECT verdict, reason FROM verdicts WHERE candidate_id = ? AND (verdict != 'accept' OR check_name = ?) "
        "ORDER BY check_name = ? DESC, verdict = 'reject' DESC, id",
        [candidate_id, REVIEW, REVIEW],
    )
    row = rows.fetchone()
    return (Decision.ACCEPT, "") if row is None else (Decision(row["verdict"]), row["reason"])
