"""A person's decisions on candidates, and what they change.

What always holds: of the decisions on a candidate that were carried out (`applied_iteration` is set,
`refused_reason` is not) the newest is in force. The candidate's `review` verdict and its overall verdict follow
from it. Examples are neither changed nor deleted, since earlier training sets hold them: one that is out has the
iteration from which on it is, and another text is another example.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..records import Decision, NewExample, Origin, ReviewDecision, Split
from .rows import ReviewRow
from .verdicts import REVIEW, settle

if TYPE_CHECKING:
    from .writer import Store

_SUPERSEDED = "a later decision counts"

_REASONS = {Decision.ACCEPT: "accepted by a person", Decision.REJECT: "rejected by a person"}
_EDITED = "edited by a person"


class ReviewStore:
    """One run's reviews. Made by `RunStore.reviews`; what changes anything is part of a transaction."""

    def __init__(self, store: Store, run_id: int) -> None:
        self._store = store
        self._run_id = run_id

    def to_carry_out(self) -> list[ReviewRow]:
        """The newest decision on each candidate that has new ones, in the order of the candidates."""
        return self._newest("applied_iteration IS NULL", "e.removed_iteration IS NULL", [])

    def since_training(self, iteration: int) -> list[ReviewRow]:
        """The same, as things stood when this iteration's student was trained, of what was there by then."""
        return self._newest(
            "(applied_iteration IS NULL OR applied_iteration > ?2 AND refused_reason IS NULL) "
            "AND candidate_id IN (SELECT id FROM candidates WHERE run_id = ?1 AND iteration < ?2)",
            "e.id IN (SELECT example_id FROM training_set_examples WHERE run_id = ?1 AND iteration = ?2)",
            [iteration],
        )

    def _newest(self, among: str, is_active: str, parameters: list[int]) -> list[ReviewRow]:
        """On each candidate, in their order, of the reviews that are `among` those meant; `is_active`: of an example e
        of a candidate, whether it is the one that is trained on. ?1 is the run, ?2 the first of `parameters`.
        """
        rows = self._store.execute(
            "SELECT r.id, r.candidate_id, r.decision, r.question AS edited_question, r.answer AS edited_answer, "
            "c.question, c.answer, e.question AS active_question, e.answer AS active_answer, "
            "EXISTS (SELECT 1 FROM examples own WHERE own.candidate_id = c.id AND own.review_id IS NULL) AS passed "
            "FROM reviews r JOIN candidates c ON c.id = r.candidate_id "
            f"LEFT JOIN examples e ON e.candidate_id = c.id AND {is_active} "
            f"WHERE r.id IN (SELECT max(id) FROM reviews WHERE run_id = ?1 AND {among} "
            "GROUP BY candidate_id) ORDER BY r.candidate_id",
            [self._run_id, *parameters],
        )
        found = []
        for row in rows.fetchall():
            decision = ReviewDecision(row["decision"])
            own = NewExample(row["question"] or "", row["answer"] or "")
            edited = NewExample(
                own.question if row["edited_question"] is None else row["edited_question"],
                own.answer if row["edited_answer"] is None else row["edited_answer"],
            )
            wanted = {
                ReviewDecision.ACCEPT: edited,
                ReviewDecision.REJECT: None,
                ReviewDecision.WITHDRAW: own if row["passed"] else None,
            }[decision]
            is_in = row["active_question"] is not None
            active = NewExample(row["active_question"], row["active_answer"]) if is_in else None
            is_edited = decision is ReviewDecision.ACCEPT and edited != own
            found.append(ReviewRow(row["id"], row["candidate_id"], decision, is_edited, wanted, active))
        return found

    def refuse(self, review: ReviewRow, iteration: int, reason: str) -> None:
        """The decision can't be carried out; what was in force stays."""
        self._mark(review, iteration, reason)

    def carry_out(self, review: ReviewRow, iteration: int) -> None:
        """Training sets from this iteration on are as the decision wants them."""
        self._mark(review, iteration, None)
        if review.wanted != review.active:
            self._store.execute(
                "UPDATE examples SET removed_iteration = ? WHERE candidate_id = ? AND removed_iteration IS NULL",
                [iteration, review.candidate_id],
            )
            if review.wanted is not None:
                self._add_example(review, review.wanted, iteration)
        settle_review(self._store, review.candidate_id)

    def _mark(self, review: ReviewRow, iteration: int, reason: str | None) -> None:
        self._store.execute(
            "UPDATE reviews SET applied_iteration = ?, refused_reason = iif(id = ?, ?, ?) "
            "WHERE candidate_id = ? AND applied_iteration IS NULL AND id <= ?",
            [iteration, review.id, reason, _SUPERSEDED, review.candidate_id, review.id],
        )

    def _add_example(self, review: ReviewRow, wanted: NewExample, iteration: int) -> None:
        candidate = self._store.execute(
            "SELECT key, parent_example_id, (SELECT count(*) FROM examples e WHERE e.candidate_id = c.id "
            "AND e.review_id IS NOT NULL) AS n_before FROM candidates c WHERE id = ?",
            [review.candidate_id],
        ).fetchone()
        self._store.insert(
            "examples",
            run_id=self._run_id,
            key=f"{candidate['key']}/review-{candidate['n_before'] + 1}",
            split=Split.TRAIN,
            origin=Origin.AUGMENTED,
            question=wanted.question,
            answer=wanted.answer,
            parent_example_id=candidate["parent_example_id"],
            candidate_id=review.candidate_id,
            iteration=iteration - 1,
            review_id=review.id,
        )


def settle_review(store: Store, candidate_id: int) -> None:
    """Bring the candidate's verdicts in line with the decision that is in force; part of a transaction."""
    store.execute("DELETE FROM verdicts WHERE candidate_id = ? AND check_name = ?", [candidate_id, REVIEW])
    row = store.execute(
        "SELECT r.decision, coalesce(r.question, c.question) IS NOT c.question "
        "OR coalesce(r.answer, c.answer) IS NOT c.answer AS is_edited, c.run_id, c.iteration "
        "FROM reviews r JOIN candidates c ON c.id = r.candidate_id "
        "WHERE r.candidate_id = ? AND r.applied_iteration IS NOT NULL AND r.refused_reason IS NULL "
        "ORDER BY r.id DESC LIMIT 1",
        [candidate_id],
    ).fetchone()
    if row is not None and row["decision"] != ReviewDecision.WITHDRAW:
        decision = Decision(row["decision"])
        store.insert(
            "verdicts",
            run_id=row["run_id"],
            iteration=row["iteration"],
            candidate_id=candidate_id,
            check_name=REVIEW,
            verdict=decision,
            reason=_EDITED if decision is Decision.ACCEPT and row["is_edited"] else _REASONS[decision],
            detail="",
        )
    settle(store, candidate_id)
