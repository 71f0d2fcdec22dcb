"""The store's rows as the loop sees them, and where and when they are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..records import NewExample, Reply, ReviewDecision, Status


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model as the store knows it; see the `models` table."""

    sha256: str
    kind: str
    name: str
    path: str
    architecture: str
    quantization: str
    size_bytes: int
    context_length: int


@dataclass(frozen=True, slots=True)
class RunRow:
    """What a run was started with; see the `runs` table."""

    run_id: int
    status: Status
    config_name: str
    overrides: tuple[str, ...]
    fingerprint_fields: dict[str, Any]
    teacher_model_id: int


@dataclass(frozen=True, slots=True)
class StageRow:
    """An open stage: the first `units_done` units are complete."""

    id: int
    units_done: int
    is_done: bool


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """A candidate that waits for its checks. `question` is None when the reply could not be parsed."""

    id: int
    key: str
    parent_example_id: int
    question: str | None
    answer: str | None
    reject_reason: str | None


@dataclass(frozen=True, slots=True)
class ReviewRow:
    """A person's decision on a candidate that is still to be carried out.

    `wanted`: what the next training set should have of the candidate; `active`: what it has as things stand, or stood
    when the last student was trained. None: nothing. A text that is wanted but missing is empty here.
    """

    id: int
    candidate_id: int
    decision: ReviewDecision
    is_edited: bool
    wanted: NewExample | None
    active: NewExample | None


@dataclass(frozen=True, slots=True)
class TeacherCall:
    """A request to the teacher with its reply. `prompt` and `sampling` are JSON."""

    example_id: int
    attempt: int
    slot: int
    prompt: str
    sampling: str
    rng_seed: int
    reply: Reply


def run_folder(workspace: Path, run_id: int) -> Path:
    return workspace / "runs" / str(run_id)


def now() -> str:
    """UTC, ISO 8601, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
