"""What verification was worth: what the audit measured on the seeds, and what a person found among the accepted.

Standard library only, and every query goes by an index: a screen asks for these whenever the store changes.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..audit_words import acceptance_ratio, audit_warnings, least_ratio, rate_text
from ..counted import counted
from ..records import TOGETHER, Rate
from ..store.audits import AuditRow, audit_of
from ..wilson import wilson
from .stages import verifiers_of

OFF = 'nothing is verified: checks.verify = "off", so every new example is taken for right as it comes'
NO_AUDIT = "verification: not audited yet"

_MOST_RUNS = 20
"""With an audit, looked into for the newest that fits."""

ONLY_FOR_WRITING = frozenset(
    f"teacher.{name}"
    for name in ("temperature", "top_p", "min_p", "demonstrations", "show_student_answer", "attempts", "grammar")
)
"""How the teacher writes new examples, which is nothing to its votes."""

LAST_DECISION = (
    "r.id = (SELECT max(id) FROM reviews WHERE candidate_id = c.id) AND r.decision != 'withdraw' "
    "AND r.refused_reason IS NULL"
)
"""Of candidate c: what a person's word r is that counts. A decision that was refused leaves it undecided."""


@dataclass(frozen=True, slots=True)
class PersonAudit:
    """A person's word on accepted candidates that were drawn at random, with the share `checks.audit_sample`: how many
    of how many `accepted` wait for it and have it, and how many of these were wrong, since they were rejected, or
    accepted with another answer or another question, with that share.
    """

    sample: float
    accepted: int
    waiting: int
    decided: int
    wrong: int
    error_rate: Rate | None


@dataclass(frozen=True, slots=True)
class Verification:
    """`is_on`: whether candidates are verified. `in_doubt`: candidates that verification or another check left so.
    `has_candidates`: whether the run's recipe makes any.
    """

    is_on: bool
    audits: tuple[AuditRow, ...]
    in_doubt: int
    person: PersonAudit
    has_candidates: bool = True


def verification_of(connection: sqlite3.Connection, run_id: int) -> Verification:
    """Of a run that exists."""
    config = json.loads(connection.execute("SELECT config FROM runs WHERE run_id = ?", [run_id]).fetchone()[0])
    in_doubt = connection.execute(
        "SELECT count(*) FROM candidates WHERE run_id = ? AND verdict = 'doubt'", [run_id]
    ).fetchone()[0]
    return Verification(
        bool(verifiers_of(config)),
        audits_of(connection, run_id),
        in_doubt,
        person_audit(connection, run_id, config.get("checks.audit_sample", 0.0)),
        config.get("loop.iterations") != 0,
    )


def audits_of(connection: sqlite3.Connection, run_id: int) -> tuple[AuditRow, ...]:
    """Each verifier alone first, where there are several; none before the audit."""
    return tuple(map(audit_of, connection.execute("SELECT * FROM audits WHERE run_id = ? ORDER BY id", [run_id])))


def audit_document(audit: AuditRow) -> dict[str, Any]:
    """As JSON has it: with its ratio (None: no wrong answer was accepted), and of the calibration the weights."""
    document = dataclasses.asdict(audit)
    del document["calibration"]
    return document | {
        "ratio": acceptance_ratio(audit.true_accepts, audit.false_accepts),
        "least_ratio": least_ratio(audit.true_accepts, audit.false_accepts),
        "weights": dict(audit.weights),
    }


def person_audit(connection: sqlite3.Connection, run_id: int, sample: float) -> PersonAudit:
    """`sample`: the share that is drawn, as configured."""
    decided, wrong = connection.execute(
        "SELECT count(*), coalesce(sum(r.decision = 'reject' OR coalesce(r.answer, c.answer) != c.answer "
        "OR coalesce(r.question, c.question) != c.question), 0) "
        f"FROM candidates c JOIN reviews r ON {LAST_DECISION} WHERE c.run_id = ? AND c.is_audited",
        [run_id],
    ).fetchone()
    drawn = connection.execute("SELECT count(*) FROM candidates WHERE run_id = ? AND is_audited", [run_id]).fetchone()[
        0
    ]
    rate = None
    if decided:
        accuracy = wilson(wrong, decided)
        rate = Rate(accuracy.share, accuracy.low, accuracy.high)
    accepted = connection.execute(
        "SELECT count(*) FROM candidates WHERE run_id = ? AND verdict = 'accept'", [run_id]
    ).fetchone()[0]
    return PersonAudit(sample, accepted, drawn - decided, decided, wrong, rate)


def newest_audit(
    connection: sqlite3.Connection,
    config: Mapping[str, Any],
    seeds: Sequence[tuple[str, str]],
    model_bytes: Mapping[str, int],
) -> tuple[int, tuple[AuditRow, ...]] | None:
    """Id and audit of the newest run that had it with this configuration (by dotted names), on these seeds (question
    and answer), with model files of this size at the same place. None: there is none among the newest with an audit.
    """
    rows = connection.execute(
        "SELECT r.run_id, r.config, t.size_bytes AS teacher, s.size_bytes AS student FROM runs r "
        "JOIN models t ON t.id = r.teacher_model_id JOIN models s ON s.id = r.student_model_id "
        "WHERE EXISTS (SELECT 1 FROM audits a WHERE a.run_id = r.run_id) ORDER BY r.run_id DESC LIMIT ?",
        [_MOST_RUNS],
    ).fetchall()
    wanted = _audited_with(json.loads(json.dumps(config)))
    for row in rows:
        is_same = all(row[role] == size for role, size in model_bytes.items())
        if is_same and _audited_with(json.loads(row["config"])) == wanted:
            of_run = connection.execute(
                "SELECT question, answer FROM examples WHERE run_id = ? AND split = 'train' AND origin = 'seed' "
                "ORDER BY id",
                [row["run_id"]],
            )
            if [tuple(seed) for seed in of_run] == list(seeds):
                return row["run_id"], audits_of(connection, row["run_id"])
    return None


def _audited_with(config: Mapping[str, Any]) -> dict[str, Any]:
    """What an audit follows from, the data aside."""
    of_judge = ("verif", "votes", "accept", "reject", "doubt")
    fields = ["task.", "teacher.", "loop.rng_seed", *(f"checks.{name}" for name in of_judge)]
    if "student" in verifiers_of(config):
        fields += ["student.", "loop.folds"]
    return {
        name: value for name, value in config.items() if name.startswith(tuple(fields)) and name not in ONLY_FOR_WRITING
    }


def verification_notes(verification: Verification) -> Iterator[str]:
    """For a terminal: what there is to say beside the audit's figures."""
    if not verification.has_candidates:
        return
    if not verification.is_on:
        yield OFF
    elif not verification.audits:
        yield NO_AUDIT
    yield from audit_warnings(verification.audits)
    yield from _person_lines(verification.person)


def _person_lines(person: PersonAudit) -> Iterator[str]:
    if person.error_rate is not None:
        waiting = f"; {person.waiting:,} more {_wait(person.waiting)} in the review" if person.waiting else ""
        yield (
            f"accepted answers that are wrong, by a person's {counted(person.decided, 'decision')} (rejected or "
            f"changed): {rate_text(person.error_rate)}{waiting}"
        )
    elif person.waiting:
        yield (
            f"accepted answers that are wrong: not known yet: {counted(person.waiting, 'accepted candidate')}, drawn "
            f"at random, {_wait(person.waiting)} in the review for a person's word (llm2llm tui)"
        )
    elif person.accepted:
        yield (
            f"accepted answers that are wrong: not known: of {person.accepted:,} accepted none was drawn for a "
            f"person's word (checks.audit_sample = {person.sample:g})"
        )


def _wait(n: int) -> str:
    return "waits" if n == 1 else "wait"


def short_lines(verification: Verification) -> Iterator[str]:
    """The same in one line, in ever fewer words, for where there is little room; nothing before the audit."""
    if not verification.has_candidates:
        yield ""
        return
    if not verification.is_on:
        yield from ('NOTHING IS VERIFIED: checks.verify = "off"', "NOTHING IS VERIFIED", "")
        return
    together = next((audit for audit in verification.audits if audit.verifier == TOGETHER), None)
    if together is None:
        yield ""
        return
    right, wrong, person = together.true_accepts, together.false_accepts, verification.person
    intervals = f"accepts {_short(right)} of right, {_short(wrong)} of wrong answers"
    figures = f"accepts {right.share:.0%} of right, {wrong.share:.0%} of wrong"
    if person.error_rate is not None:
        found = f"a person finds {_short(person.error_rate)} wrong"
    elif person.waiting:
        found = f"{person.waiting:,} accepted ones wait in the review"
    else:
        found = ""
    for text in (intervals, figures):
        if found:
            yield f"{text} · {found}"
    yield from (intervals, figures, "")


def _short(rate: Rate) -> str:
    return f"{rate.share:.0%} ({100 * rate.low:.0f}–{100 * rate.high:.0f})"
