"""The candidates of a run as a list to look through: what a person should decide first, then the newest.

All of it by index, so that a page and the numbers beside the filters take milliseconds with 20,000 candidates a run.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from .verification import LAST_DECISION

DECIDED = "decided"
"""Among the verdicts to filter by: those that a person decided on, whatever the checks said."""

SHORTEST_TERM = 3
"""Characters: the index of the texts is one of trigrams."""

_MOST_ANSWERS = 50
"""To filter by, the most frequent ones: a task without labels has as many answers as examples."""

_WITHOUT_DECISION = f"NOT EXISTS (SELECT 1 FROM reviews r WHERE {LAST_DECISION})"

_DECIDED_IDS = (
    "SELECT r.candidate_id FROM reviews r WHERE r.run_id = :run AND r.decision != 'withdraw' "
    "AND r.id = (SELECT max(id) FROM reviews WHERE candidate_id = r.candidate_id)"
)
_DOUBTS = "run_id = :run AND iteration IN (SELECT iteration FROM iterations WHERE run_id = :run) AND verdict = 'doubt'"


@dataclass(frozen=True, slots=True)
class CandidateFilter:
    """Which candidates are wanted; None and '' are no condition. `verdict` can be DECIDED.

    `reason`: of a rejection or of a doubt. `search`: terms that must all be in the candidate's texts.
    """

    iteration: int | None = None
    answer: str | None = None
    verdict: str | None = None
    reason: str | None = None
    parent_example_id: int | None = None
    search: str = ""


@dataclass(frozen=True, slots=True)
class PersonDecision:
    """What a person decided last on a candidate. `question` and `answer`: as edited, None where unchanged.

    `applied_iteration`: the first training set it was considered for, None while it waits for one.
    `refused_reason`: why it could not be carried out there.
    """

    decision: str
    question: str | None = None
    answer: str | None = None
    applied_iteration: int | None = None
    refused_reason: str | None = None


@dataclass(frozen=True, slots=True)
class CandidateLine:
    """A candidate in a list. `question` and `answer` are the teacher's, None when its reply could not be read.

    `verdict`: of the checks, and of a person once that is carried out. `repeats_test`: rejected by the leak check.
    `person`: None also when what was decided was withdrawn. `is_audited`: accepted by the checks, and drawn at random
    for a person to look at.
    """

    id: int
    iteration: int
    verdict: str
    question: str | None
    answer: str | None
    repeats_test: bool
    person: PersonDecision | None
    is_audited: bool = False

    @property
    def waits(self) -> bool:
        """Whether a person is asked to decide: a decision that was refused leaves it as it was."""
        is_asked = self.verdict == "doubt" or (self.verdict == "accept" and self.is_audited)
        return is_asked and (self.person is None or self.person.refused_reason is not None)


@dataclass(frozen=True, slots=True)
class Count:
    """So many candidates have this."""

    value: str
    n: int


@dataclass(frozen=True, slots=True)
class FilterCounts:
    """What a run's candidates can be filtered by, most frequent first; iterations newest first."""

    iterations: tuple[Count, ...]
    answers: tuple[Count, ...]
    verdicts: tuple[Count, ...]
    reasons: tuple[Count, ...]


def search_terms(text: str) -> tuple[list[str], list[str]]:
    """The terms that can be searched for, and those that are too short."""
    terms = text.split()
    return [t for t in terms if len(t) >= SHORTEST_TERM], [t for t in terms if len(t) < SHORTEST_TERM]


def candidate_order(
    connection: sqlite3.Connection, run_id: int, wanted: CandidateFilter, held: Collection[int] = ()
) -> list[int]:
    """Ids of all that are wanted: those without a decision that a person is asked about, oldest first, the doubtful
    ones before those that were drawn for an audit of the checks; then the others, newest first.

    A decision that was refused leaves its candidate undecided. `held`: these stay among the first though they are
    decided by now, so that a list doesn't move while one works it off.
    """
    condition, parameters = _condition(run_id, wanted)
    ids = [
        row[0]
        for row in connection.execute(f"SELECT c.id FROM candidates c WHERE {condition} ORDER BY c.id DESC", parameters)
    ]

    def undecided(which: str) -> set[int]:
        rows = connection.execute(
            f"SELECT c.id FROM candidates c WHERE {condition} AND {which} AND {_WITHOUT_DECISION}", parameters
        )
        return {row[0] for row in rows}

    kept = set(held) & set(ids)
    audited = connection.execute("SELECT id FROM candidates WHERE run_id = ? AND is_audited", [run_id])
    kept_drawn = kept & {row[0] for row in audited}
    first = sorted(undecided("c.verdict = 'doubt'") | (kept - kept_drawn))
    first += sorted(undecided("c.verdict = 'accept' AND c.is_audited") | kept_drawn)
    taken = set(first)
    return [*first, *(id for id in ids if id not in taken)]


def candidate_lines(connection: sqlite3.Connection, ids: Sequence[int]) -> list[CandidateLine]:
    """These candidates, in this order; at most a few hundred."""
    marks = ", ".join("?" * len(ids))
    rows = connection.execute(
        "SELECT c.id, c.iteration, c.verdict, c.question, c.answer, c.is_audited, "
        "EXISTS (SELECT 1 FROM verdicts v WHERE v.candidate_id = c.id AND v.check_name = 'leak' "
        "AND v.verdict = 'reject') AS repeats_test, "
        "r.decision, r.question AS edited_question, r.answer AS edited_answer, r.applied_iteration, r.refused_reason "
        "FROM candidates c LEFT JOIN reviews r ON r.id = (SELECT max(id) FROM reviews WHERE candidate_id = c.id) "
        f"WHERE c.id IN ({marks})",
        list(ids),
    )
    lines = {row["id"]: _line(row) for row in rows}
    return [lines[id] for id in ids if id in lines]


def filter_counts(connection: sqlite3.Connection, run_id: int) -> FilterCounts:
    """How many of all candidates of the run have each value."""
    iterations = connection.execute(
        "SELECT iteration, count(*) FROM candidates WHERE run_id = ? GROUP BY iteration ORDER BY iteration DESC",
        [run_id],
    )
    answers = connection.execute(
        "SELECT answer, count(*) AS n FROM candidates WHERE run_id = ? AND answer IS NOT NULL "
        "GROUP BY answer ORDER BY n DESC, answer LIMIT ?",
        [run_id, _MOST_ANSWERS],
    )
    verdicts = connection.execute(
        "SELECT verdict, count(*) AS n FROM candidates WHERE run_id = ? GROUP BY verdict ORDER BY n DESC", [run_id]
    )
    decided = connection.execute(f"SELECT count(*) FROM ({_DECIDED_IDS})", {"run": run_id}).fetchone()[0]
    reasons = connection.execute(
        "SELECT reason, sum(n) AS n FROM ("
        "SELECT reject_reason AS reason, count(*) AS n FROM candidates "
        "WHERE run_id = :run AND reject_reason IS NOT NULL GROUP BY reject_reason "
        f"UNION ALL SELECT reason, count(*) FROM verdicts WHERE {_DOUBTS} GROUP BY reason"
        ") GROUP BY reason ORDER BY n DESC, reason",
        {"run": run_id},
    )
    return FilterCounts(
        _counts(iterations), _counts(answers), (*_counts(verdicts), Count(DECIDED, decided)), _counts(reasons)
    )


def _condition(run_id: int, wanted: CandidateFilter) -> tuple[str, dict[str, int | str]]:
    """SQL on `candidates c`, with its parameters by name."""
    terms, _ = search_terms(wanted.search)
    conditions: dict[str, tuple[int | str | None, str]] = {
        "run": (run_id, "c.run_id = :run"),
        "iteration": (wanted.iteration, "c.iteration = :iteration"),
        "answer": (wanted.answer, "c.answer = :answer"),
        "parent": (wanted.parent_example_id, "c.parent_example_id = :parent"),
        "verdict": (
            wanted.verdict,
            f"c.id IN ({_DECIDED_IDS})" if wanted.verdict == DECIDED else "c.verdict = :verdict",
        ),
        "reason": (
            wanted.reason,
            "c.id IN (SELECT id FROM candidates WHERE run_id = :run AND reject_reason = :reason "
            f"UNION ALL SELECT candidate_id FROM verdicts WHERE {_DOUBTS} AND reason = :reason)",
        ),
        # Ids of a run are close together: the rest of a large history need not be searched.
        "terms": (
            " ".join('"' + term.replace('"', '""') + '"' for term in terms) or None,
            "c.id IN (SELECT rowid FROM candidates_search WHERE candidates_search MATCH :terms "
            "AND rowid BETWEEN (SELECT min(id) FROM candidates WHERE run_id = :run) "
            "AND (SELECT max(id) FROM candidates WHERE run_id = :run))",
        ),
    }
    used = {name: (value, sql) for name, (value, sql) in conditions.items() if value is not None}
    parameters = {name: value for name, (value, _) in used.items() if value is not None}
    return " AND ".join(sql for _, sql in used.values()), parameters


def _line(row: sqlite3.Row) -> CandidateLine:
    person = None
    if row["decision"] not in (None, "withdraw"):
        person = PersonDecision(
            row["decision"],
            row["edited_question"],
            row["edited_answer"],
            row["applied_iteration"],
            row["refused_reason"],
        )
    return CandidateLine(
        row["id"],
        row["iteration"],
        row["verdict"],
        row["question"],
        row["answer"],
        bool(row["repeats_test"]),
        person,
        bool(row["is_audited"]),
    )


def _counts(rows: sqlite3.Cursor) -> tuple[Count, ...]:
    return tuple(Count(str(value), n) for value, n in rows)
