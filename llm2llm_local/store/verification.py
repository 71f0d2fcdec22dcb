"""What verifiers said, what the audit made of it, and which accepted candidates a person is asked to look at."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from ..records import TOGETHER, Vote
from .audits import AuditRow, audit_of, columns_of
from .verdicts import REVIEW

if TYPE_CHECKING:
    import sqlite3

    from .writer import Store


@dataclass(frozen=True, slots=True)
class Subject:
    """What is voted on: a candidate, or a seed in the audit, with its own answer or a planted one."""

    answer: str
    candidate_id: int | None = None
    example_id: int | None = None
    is_planted: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """How many candidates a check refused, or left in doubt, for a reason."""

    check_name: str
    reason: str
    n: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A candidate that is not let in; `detail` as the check has it."""

    question: str
    answer: str
    detail: str


class VerificationStore:
    """One run's votes and audits. Made by `RunStore.verification`; what changes anything is part of a transaction."""

    def __init__(self, store: Store, run_id: int) -> None:
        self._store = store
        self._run_id = run_id

    def add_vote(
        self, iteration: int, subject: Subject, verifier: str, vote: Vote, number: int = 0, fold: int = 0
    ) -> None:
        """`number`: of the teacher's ballot; `fold`: of the student."""
        self._store.insert(
            "votes",
            run_id=self._run_id,
            iteration=iteration,
            candidate_id=subject.candidate_id,
            example_id=subject.example_id,
            answer=subject.answer,
            is_planted=int(subject.is_planted),
            verifier=verifier,
            fold=fold,
            vote=number,
            said=vote.said,
            scores=json.dumps({choice: round(score, 4) for choice, score in vote.scores.items()}, ensure_ascii=False)
            if vote.scores
            else None,
            intended=vote.intended,
            agrees=None if vote.agrees is None else int(vote.agrees),
            output_text=vote.output_text,
        )

    def add_ballot_tokens(self, iteration: int, stage: str, attempt: int, read: int, written: int) -> None:
        """Of a unit of the teacher's ballots; part of its transaction."""
        self._store.execute(
            "UPDATE stages SET ballot_input_tokens = coalesce(ballot_input_tokens, 0) + ?, "
            "ballot_output_tokens = coalesce(ballot_output_tokens, 0) + ? "
            "WHERE run_id = ? AND iteration = ? AND stage = ? AND attempt = ?",
            [read, written, self._run_id, iteration, stage, attempt],
        )

    def audit_votes(self) -> dict[Subject, dict[str, list[Vote]]]:
        """Seed and answer → verifier → its votes in order; seeds in file order, each with its own answer first."""
        rows = self._store.execute(
            "SELECT * FROM votes WHERE run_id = ? AND example_id IS NOT NULL "
            "ORDER BY example_id, is_planted, verifier, answer, vote",
            [self._run_id],
        )
        found: defaultdict[Subject, dict[str, list[Vote]]] = defaultdict(dict)
        read = cache(_scores)  # a seed's right and wrong answers have the same, of a hundred labels perhaps
        for row in rows:
            subject = Subject(row["answer"], example_id=row["example_id"], is_planted=bool(row["is_planted"]))
            found[subject].setdefault(row["verifier"], []).append(vote_of_row(row, read))
        return dict(found)

    def candidate_votes(self, candidate_id: int) -> dict[str, list[Vote]]:
        """Verifier → its votes in order."""
        rows = self._store.execute("SELECT * FROM votes WHERE candidate_id = ? ORDER BY verifier, vote", [candidate_id])
        found: defaultdict[str, list[Vote]] = defaultdict(list)
        for row in rows:
            found[row["verifier"]].append(vote_of_row(row))
        return dict(found)

    def add_audit(self, audit: AuditRow) -> None:
        self._store.insert("audits", run_id=self._run_id, **columns_of(audit))

    def audit(self) -> AuditRow:
        """The one by which candidates are judged; there is one once the audit is done."""
        return audit_of(
            self._store.execute(
                "SELECT * FROM audits WHERE run_id = ? AND verifier = ?", [self._run_id, TOGETHER]
            ).fetchone()
        )

    def n_let_in(self, iterations: range) -> int:
        """Candidates of these iterations that the checks accepted, whatever a person decided on them since, or that
        are accepted, or will be, by a person's decision.
        """
        row = self._store.execute(
            "SELECT count(*) FROM candidates c WHERE run_id = ? AND iteration BETWEEN ? AND ? "
            "AND (verdict = 'accept' "
            "OR EXISTS (SELECT 1 FROM examples e WHERE e.candidate_id = c.id AND e.review_id IS NULL) "
            "OR EXISTS (SELECT 1 FROM reviews r WHERE r.decision = 'accept' AND r.refused_reason IS NULL "
            "AND r.id = (SELECT max(id) FROM reviews WHERE candidate_id = c.id)))",
            [self._run_id, iterations[0], iterations[-1]],
        ).fetchone()
        return int(row[0])

    def n_in_doubt(self) -> int:
        """Candidates that the checks left to a person, whatever was decided since."""
        (n,) = self._store.execute(
            "SELECT count(*) FROM verdicts WHERE run_id = ? AND verdict = 'doubt'", [self._run_id]
        ).fetchone()
        return int(n)

    def refusals(self, iterations: range) -> list[Refusal]:
        """By check and reason, the most frequent first; a person's decisions are none."""
        rows = self._store.execute(
            "SELECT check_name, reason, count(*) AS n FROM verdicts WHERE run_id = ? AND iteration BETWEEN ? AND ? "
            "AND verdict != 'accept' AND check_name != ? "
            "GROUP BY check_name, reason ORDER BY n DESC, check_name, reason",
            [self._run_id, iterations[0], iterations[-1], REVIEW],
        )
        return [Refusal(row["check_name"], row["reason"], row["n"]) for row in rows]

    def refused(self, iterations: range, refusal: Refusal, n: int) -> list[Refused]:
        """The first `n` of them."""
        rows = self._store.execute(
            "SELECT coalesce(c.question, c.output_text) AS question, coalesce(c.answer, '') AS answer, v.detail "
            "FROM verdicts v JOIN candidates c ON c.id = v.candidate_id "
            "WHERE v.run_id = ? AND v.iteration BETWEEN ? AND ? "
            "AND v.check_name = ? AND v.reason = ? ORDER BY v.id LIMIT ?",
            [self._run_id, iterations[0], iterations[-1], refusal.check_name, refusal.reason, n],
        )
        return [Refused(row["question"], row["answer"], row["detail"]) for row in rows]

    def mark_audited(self, candidate_id: int) -> None:
        """A person is asked to look at this accepted candidate."""
        self._store.execute("UPDATE candidates SET is_audited = 1 WHERE id = ?", [candidate_id])


def _scores(text: str) -> Mapping[str, float]:
    scores: dict[str, float] = json.loads(text)
    return scores


def vote_of_row(row: sqlite3.Row, read: Callable[[str], Mapping[str, float]] = _scores) -> Vote:
    """`read`: reads scores as they are stored."""
    return Vote(
        said=row["said"],
        scores=read(row["scores"]) if row["scores"] else {},
        intended=row["intended"],
        agrees=None if row["agrees"] is None else bool(row["agrees"]),
        output_text=row["output_text"],
    )
