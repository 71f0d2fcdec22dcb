"""What each verifier said of a candidate, vote by vote."""

from __future__ import annotations

import json
import math
import sqlite3
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CandidateVote:
    """`said`: its own answer, None when none could be read. Of scored answers `probability` is that of `said`, and
    `intended` the probability of the one that speaks for the candidate, before the audit's calibration; of written
    ones `agrees` tells whether it is the candidate's. What doesn't apply is None. `number`: from 0; `fold`: of the
    student.
    """

    verifier: str
    number: int
    fold: int
    said: str | None
    probability: float | None
    intended: float | None
    agrees: bool | None


FREED = "freed of what they lean to"
"""Stands before what verifiers are for by the verify check. By their votes, which are told beside it, they may be for
something else: an answer that one of them tends to give anyway counts for less.
"""


def votes_on(connection: sqlite3.Connection, candidate_id: int | None) -> tuple[CandidateVote, ...]:
    """The teacher's first, in order; none on what was no candidate."""
    rows = connection.execute(
        "SELECT verifier, vote, fold, said, scores, intended, agrees FROM votes WHERE candidate_id = ? "
        "ORDER BY verifier DESC, vote",
        [candidate_id],
    )
    return tuple(_vote(row) for row in rows)


def _vote(row: sqlite3.Row) -> CandidateVote:
    scores = json.loads(row["scores"]) if row["scores"] else {}
    return CandidateVote(
        verifier=row["verifier"],
        number=row["vote"],
        fold=row["fold"],
        said=row["said"],
        probability=math.exp(max(scores.values())) if scores else None,
        intended=math.exp(scores[row["intended"]]) if scores else None,
        agrees=None if row["agrees"] is None else bool(row["agrees"]),
    )


def vote_text(vote: CandidateVote) -> str:
    """Such as "teacher, ballot 2: Location 63%, the candidate's answer 21%"."""
    who = f"student without fold {vote.fold}" if vote.fold else f"{vote.verifier}, ballot {vote.number + 1}"
    said = "no answer" if vote.said is None else vote.said
    if vote.probability is not None and vote.intended is not None:
        is_same = vote.probability == vote.intended
        other = "" if is_same else f", the candidate's answer {vote.intended:.0%}"
        return f"{who}: {said} {vote.probability:.0%}{other}"
    agreement = "" if vote.agrees is None else ", as the candidate" if vote.agrees else ", not as the candidate"
    return f"{who}: {said}{agreement}"
