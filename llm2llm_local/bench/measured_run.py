"""A run as `bench verification` finds it in the store: its conditions, its candidates, its students' adapters.

Nothing is written: the store is read, and what lies beside it is looked at.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from ..checks.verification import Judge
from ..config import ChecksConfig, DataConfig, HardwareConfig, Section, StudentConfig, TaskConfig
from ..errors import StoreError, UserInputError
from ..loop.adapters import is_sound
from ..loop.fingerprint import COMPUTE_DTYPE
from ..records import TOGETHER, Decision, Vote
from ..report.stages import verifiers_of
from ..store.reader import require_run
from ..store.verdicts import REVIEW
from ..store.verification import vote_of_row
from ..student.precision import ComputeDtype, find_compute_dtype
from ..teacher.plan import Device
from .worth import Candidate

AnySection = TypeVar("AnySection", bound=Section)

JUDGED_FAMILIES = ("classification", "multiple_choice")
"""One answer is right, and a judge either gives it or doesn't. Where answers are written, another isn't wrong."""

_VERIFIED = (
    "SELECT c.id, c.iteration, c.attempt, c.question, c.answer, v.verdict, v.score FROM candidates c "
    "JOIN verdicts v ON v.candidate_id = c.id AND v.check_name = 'verify' WHERE c.run_id = ? ORDER BY c.id"
)
_UNVERIFIED = (
    "SELECT c.id, c.iteration, c.attempt, c.question, c.answer, 'accept', NULL FROM candidates c WHERE c.run_id = ? "
    f"AND EXISTS (SELECT 1 FROM verdicts WHERE candidate_id = c.id AND check_name != '{REVIEW}') "
    f"AND NOT EXISTS (SELECT 1 FROM verdicts WHERE candidate_id = c.id AND check_name != '{REVIEW}' "
    "AND verdict != 'accept') ORDER BY c.id"
)


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """`conditions`: what its results depend on, field by field. `verifiers`: nobody's when verification was off.
    `accept_probability`: from which on its candidates were let in.

    `candidates`: those that all checks of form let through, in their order; `adapters`: of the student of each
    iteration that has some, unchanged since it was written.
    """

    run_id: int
    task: TaskConfig
    data: DataConfig
    student: StudentConfig
    hardware: HardwareConfig
    accept_probability: float
    conditions: Mapping[str, Any]
    labels: tuple[str, ...]
    teacher: str
    verifiers: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    adapters: Mapping[int, Path]

    def compute_dtype(self, device: Device) -> ComputeDtype:
        """What its student computed in; where that isn't known, what it would on this machine."""
        wanted = self.student.compute_dtype
        if wanted == "auto" and COMPUTE_DTYPE in self.conditions:
            wanted = self.conditions[COMPUTE_DTYPE]
        return find_compute_dtype(wanted, device)


def read_run(connection: sqlite3.Connection, workspace: Path, run_id: int) -> MeasuredRun:
    """Raises UserInputError where there is no such run, none of its candidates, or no judge for its answers."""
    require_run(connection, run_id)
    row = connection.execute(
        "SELECT r.config, r.fingerprint_fields, r.labels, m.name AS teacher FROM runs r "
        "JOIN models m ON m.id = r.teacher_model_id WHERE r.run_id = ?",
        [run_id],
    ).fetchone()
    flat = json.loads(row["config"])
    task = _section(run_id, flat, "task", TaskConfig)
    if task.family not in JUDGED_FAMILIES:
        raise UserInputError(
            f"run {run_id}: there is no judge for {task.family}: its answers are written, and one that differs "
            "from a judge's isn't wrong by that",
            f"There is one for {' and '.join(JUDGED_FAMILIES)}.",
        )
    verifiers, checks = verifiers_of(flat), _section(run_id, flat, "checks", ChecksConfig)
    rows = connection.execute(_VERIFIED if verifiers else _UNVERIFIED, [run_id])
    alone = _alone(connection, run_id)
    candidates = tuple(
        Candidate(one[1], one[2], one[3], one[4], Decision(one[5]), one[6], alone.get(one[0], {})) for one in rows
    )
    if not candidates:
        raise UserInputError(
            f"run {run_id}: no candidate has come as far as verification yet",
            f"Where it stands: llm2llm status {run_id}",
        )
    return MeasuredRun(
        run_id=run_id,
        task=task,
        data=_section(run_id, flat, "data", DataConfig),
        student=_section(run_id, flat, "student", StudentConfig),
        hardware=_section(run_id, flat, "hardware", HardwareConfig),
        accept_probability=checks.reject_probability if checks.doubt == "keep" else checks.accept_probability,
        conditions=json.loads(row["fingerprint_fields"]),
        labels=tuple(json.loads(row["labels"])),
        teacher=row["teacher"],
        verifiers=verifiers,
        candidates=candidates,
        adapters={
            iteration: _adapter(connection, workspace, run_id, iteration)
            for iteration in sorted({candidate.iteration for candidate in candidates})
        },
    )


def _alone(connection: sqlite3.Connection, run_id: int) -> dict[int, dict[str, float]]:
    """Candidate's id → verifier → the probability of a right answer, were it the only one. By what the audit made of
    each alone, which is measured where there are several.
    """
    judges = {
        row["verifier"]: Judge.of_record(json.loads(row["calibration"]))
        for row in connection.execute(
            "SELECT verifier, calibration FROM audits WHERE run_id = ? AND verifier != ?", [run_id, TOGETHER]
        )
    }
    votes: dict[tuple[int, str], list[Vote]] = {}
    if judges:
        for row in connection.execute(
            "SELECT * FROM votes WHERE run_id = ? AND candidate_id IS NOT NULL ORDER BY vote", [run_id]
        ):
            votes.setdefault((row["candidate_id"], row["verifier"]), []).append(vote_of_row(row))
    found: dict[int, dict[str, float]] = {}
    for (candidate, verifier), some in votes.items():
        found.setdefault(candidate, {})[verifier] = judges[verifier].probability({verifier: some})
    return found


def _section(run_id: int, flat: Mapping[str, Any], name: str, kind: type[AnySection]) -> AnySection:
    """Of the configuration as it was in force. Not all of that could stand in a file: recipes go beyond its bounds."""
    values = {key.partition(".")[2]: value for key, value in flat.items() if key.startswith(f"{name}.")}
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        fields = ", ".join(f"{name}.{part['loc'][0]}" for part in error.errors())
        raise StoreError(
            f"run {run_id}: this version of llm2llm does not understand its {fields}",
            "Measure it with the version that it was run with.",
        ) from None


def _adapter(connection: sqlite3.Connection, workspace: Path, run_id: int, iteration: int) -> Path:
    row = connection.execute(
        "SELECT path, sha256 FROM checkpoints WHERE run_id = ? AND iteration = ? AND fold = 0 AND step = total_steps",
        [run_id, iteration],
    ).fetchone()
    if row is None or row["path"] is None:
        raise StoreError(
            f"run {run_id}: the store has no trained student of iteration {iteration}",
            f"Finish the run first, if it isn't: llm2llm resume {run_id}",
        )
    folder = workspace / str(row["path"])
    if not is_sound(folder, row["sha256"]):
        raise StoreError(
            f"{folder}: missing, or not what was written there",
            f"Put it back: which candidates are hard is told by the student of run {run_id}'s iteration {iteration}.",
        )
    return folder
