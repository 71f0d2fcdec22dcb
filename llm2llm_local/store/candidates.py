"""What the teacher wrote, what the checks said of it, and the examples that came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..records import CheckVerdict, Decision, NewExample, Origin, Split
from .rows import CandidateRow, TeacherCall
from .verdicts import settle

if TYPE_CHECKING:
    from .writer import Store


class CandidateStore:
    """One run's candidates. Made by `RunStore.candidates`; what changes anything is part of a transaction."""

    def __init__(self, store: Store, run_id: int) -> None:
        self._store = store
        self._run_id = run_id

    def kept_for(self, example_id: int) -> list[NewExample]:
        """What was accepted for this example so far, in all iterations, and isn't kept out; oldest first."""
        rows = self._store.execute(
            "SELECT question, answer FROM examples WHERE run_id = ? AND parent_example_id = ? "
            "AND removed_iteration IS NULL ORDER BY id",
            [self._run_id, example_id],
        )
        return [NewExample(row["question"], row["answer"]) for row in rows]

    def accepted_counts(self, iteration: int, before_attempt: int) -> dict[int, int]:
        """Failing example's id → candidates that passed the checks for it in earlier rounds of this iteration.

        Whatever a person decided since: how often the teacher was asked must follow from this when a run goes on.
        """
        rows = self._store.execute(
            "SELECT c.parent_example_id, count(*) AS n FROM candidates c "
            "JOIN examples e ON e.candidate_id = c.id AND e.review_id IS NULL "
            "WHERE c.run_id = ? AND c.iteration = ? AND c.attempt < ? GROUP BY c.parent_example_id",
            [self._run_id, iteration, before_attempt],
        )
        return {row["parent_example_id"]: row["n"] for row in rows}

    def add(
        self,
        iteration: int,
        model_id: int,
        key: str,
        call: TeacherCall,
        new: NewExample | None,
        reject_reason: str | None,
    ) -> None:
        """Record a teacher's reply and the candidate in it; `new` is None when it could not be parsed."""
        call_id = self._store.insert(
            "teacher_calls",
            run_id=self._run_id,
            iteration=iteration,
            example_id=call.example_id,
            attempt=call.attempt,
            slot=call.slot,
            model_id=model_id,
            prompt=call.prompt,
            sampling=call.sampling,
            rng_seed=call.rng_seed,
            output_text=call.reply.text,
            finish_reason=call.reply.finish_reason,
            input_tokens=call.reply.input_tokens,
            output_tokens=call.reply.output_tokens,
            seconds=call.reply.seconds,
        )
        self._store.insert(
            "candidates",
            run_id=self._run_id,
            iteration=iteration,
            attempt=call.attempt,
            key=key,
            teacher_call_id=call_id,
            parent_example_id=call.example_id,
            question=new.question if new else None,
            answer=new.answer if new else None,
            output_text=call.reply.text,
            verdict="pending",
            reject_reason=reject_reason,
        )

    def of_round(self, iteration: int, attempt: int) -> list[CandidateRow]:
        """All candidates of one round, in the order in which they were made."""
        rows = self._store.execute(
            "SELECT id, key, parent_example_id, question, answer, reject_reason FROM candidates "
            "WHERE run_id = ? AND iteration = ? AND attempt = ? ORDER BY id",
            [self._run_id, iteration, attempt],
        )
        return [CandidateRow(*row) for row in rows]

    def decide(self, iteration: int, candidate: CandidateRow, verdicts: Sequence[CheckVerdict]) -> Decision:
        """Record what the checks said; an accepted candidate becomes an example. The overall decision."""
        for verdict in verdicts:
            self._store.insert(
                "verdicts",
                run_id=self._run_id,
                iteration=iteration,
                candidate_id=candidate.id,
                check_name=verdict.check_name,
                verdict=verdict.decision,
                reason=verdict.reason,
                detail=verdict.detail,
                score=verdict.score,
            )
        decision = settle(self._store, candidate.id)
        if decision is Decision.ACCEPT:
            self._store.insert(
                "examples",
                run_id=self._run_id,
                key=candidate.key,
                split=Split.TRAIN,
                origin=Origin.AUGMENTED,
                question=candidate.question,
                answer=candidate.answer,
                parent_example_id=candidate.parent_example_id,
                candidate_id=candidate.id,
                iteration=iteration,
            )
        return decision
