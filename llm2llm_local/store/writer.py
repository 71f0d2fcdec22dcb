"""The one writer of a run's results.

What always holds: every change happens inside `transaction()`, so that a unit of work and its done-mark
are committed together or not at all; the database syncs to disk at every commit.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from ..errors import DiskError, StoreError
from ..records import (
    CheckVerdict,
    DataRow,
    Decision,
    Example,
    Failure,
    Grade,
    NewExample,
    Origin,
    Outcome,
    Reply,
    Split,
    Status,
)
from . import schema
from .reader import STORE_NAME, check_version

_ENVIRONMENT_ERRORS = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
    }
)
"""Primary result codes that are about the machine; all others are defects of this program."""


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
    config_path: Path
    overrides: tuple[str, ...]
    config: dict[str, Any]
    fingerprint_fields: dict[str, Any]
    rng_seed: int
    labels: tuple[str, ...]
    teacher_model_id: int
    student_model_id: int


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
class TeacherCall:
    """A request to the teacher with its reply. `prompt` and `sampling` are JSON."""

    example_id: int
    attempt: int
    slot: int
    prompt: str
    sampling: str
    rng_seed: int
    reply: Reply


class Store:
    """A connection that writes. Use as a context manager, or call `close`."""

    def __init__(self, workspace: Path) -> None:
        """Open or create the store of `workspace`; migrate it. Raises StoreError, DiskError."""
        self.workspace = workspace
        path = workspace / STORE_NAME
        if not os.access(workspace, os.W_OK):
            raise StoreError(f"{workspace}: the folder can't be written to", "The store and adapters go there.")
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise StoreError(f"{path}: can't be written to: {error.strerror}") from None
        self._connection = sqlite3.connect(path, timeout=30.0, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        try:
            with _alone_in(workspace):
                check_version(self._connection, path)
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                self._connection.execute("PRAGMA foreign_keys = ON")
                schema.migrate(self._connection)
        except StoreError:
            self._connection.close()
            raise
        except sqlite3.DatabaseError as error:
            self._connection.close()
            if error.sqlite_errorcode & 0xFF in _ENVIRONMENT_ERRORS:
                raise DiskError(f"{path}: {error}", "Make room or free the file, then try again.") from error
            raise StoreError(f"{path}: {error}", "It is damaged, or not a store of llm2llm; move it away.") from None

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Raises DiskError when the disk is full or fails; nothing is changed then."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            self._roll_back()
            if error.sqlite_errorcode & 0xFF not in _ENVIRONMENT_ERRORS:
                raise
            raise DiskError(
                f"{self.workspace / STORE_NAME}: {error}",
                "What was finished is safe. Make room, then: llm2llm resume",
            ) from error
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def insert(self, table: str, **columns: Any) -> int:
        """Insert a row, with `created_at` filled in; the new row id."""
        columns = {**columns, "created_at": now()}
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        cursor = self._connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(columns.values()))
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        return self._connection.execute(sql, parameters)

    # --- runs ---

    def add_model(self, model: ModelRow) -> int:
        """The id of the model with this content; added when new."""
        row = self.execute("SELECT id FROM models WHERE sha256 = ?", [model.sha256]).fetchone()
        if row is not None:
            return int(row["id"])
        return self.insert(
            "models",
            sha256=model.sha256,
            kind=model.kind,
            name=model.name,
            path=model.path,
            architecture=model.architecture,
            quantization=model.quantization,
            size_bytes=model.size_bytes,
            context_length=model.context_length,
        )

    def run(self, run_id: int) -> RunRow:
        """Raises StoreError when there is no such run."""
        row = self.execute("SELECT * FROM runs WHERE run_id = ?", [run_id]).fetchone()
        if row is None:
            raise StoreError(f"there is no run {run_id}", "See them all: llm2llm status")
        return RunRow(
            run_id=run_id,
            status=Status(row["status"]),
            config_path=Path(row["config_path"]),
            overrides=tuple(json.loads(row["overrides"])),
            config=json.loads(row["config"]),
            fingerprint_fields=json.loads(row["fingerprint_fields"]),
            rng_seed=row["rng_seed"],
            labels=tuple(json.loads(row["labels"])),
            teacher_model_id=row["teacher_model_id"],
            student_model_id=row["student_model_id"],
        )

    def newest_unfinished_run(self) -> int | None:
        row = self.execute("SELECT max(run_id) FROM runs WHERE status != ?", [Status.DONE]).fetchone()
        return None if row[0] is None else int(row[0])

    def of_run(self, run_id: int) -> RunStore:
        return RunStore(self, run_id)


class RunStore:
    """The store as one run sees it. Reads see what was committed; writes need `transaction()`."""

    def __init__(self, store: Store, run_id: int) -> None:
        self._store = store
        self.run_id = run_id
        self.transaction = store.transaction

    @property
    def workspace(self) -> Path:
        return self._store.workspace

    @property
    def folder(self) -> Path:
        """Where the run's adapters, logs and lock lie."""
        return run_folder(self.workspace, self.run_id)

    def row(self) -> RunRow:
        return self._store.run(self.run_id)

    def has_begun(self) -> bool:
        """Whether its first iteration was opened."""
        return self._one("SELECT 1 FROM iterations WHERE run_id = ?", []) is not None

    def delete(self) -> None:
        """Remove the run and everything that belongs to it from the tables."""
        self._store.execute("DELETE FROM runs WHERE run_id = ?", [self.run_id])

    def set_status(self, status: Status, detail: str = "") -> None:
        finished = now() if status in (Status.DONE, Status.FAILED) else None
        self._store.execute(
            "UPDATE runs SET status = ?, status_detail = ?, finished_at = ? WHERE run_id = ?",
            [status, detail, finished, self.run_id],
        )

    def add_event(self, kind: str, message: str, iteration: int | None = None) -> None:
        self._store.insert("events", run_id=self.run_id, iteration=iteration, kind=kind, message=message)

    # --- iterations and stages ---

    def open_iteration(self, iteration: int) -> None:
        """Mark the iteration as running; a no-op when it already is, or is done."""
        with self.transaction():
            known = self._one("SELECT 1 FROM iterations WHERE run_id = ? AND iteration = ?", [iteration])
            if known is None:
                self._store.insert("iterations", run_id=self.run_id, iteration=iteration, status=Status.RUNNING)
                self.add_event("iteration_started", f"iteration {iteration} started", iteration)

    def close_iteration(self, iteration: int) -> None:
        with self.transaction():
            self._store.execute(
                "UPDATE iterations SET status = ?, finished_at = ? WHERE run_id = ? AND iteration = ? AND status = ?",
                [Status.DONE, now(), self.run_id, iteration, Status.RUNNING],
            )

    def stage(self, iteration: int, stage: str, attempt: int) -> sqlite3.Row | None:
        return self._one(
            "SELECT * FROM stages WHERE run_id = ? AND iteration = ? AND stage = ? AND attempt = ?",
            [iteration, stage, attempt],
        )

    def open_stage(
        self, iteration: int, stage: str, attempt: int, fingerprint: str, fields: Mapping[str, Any], units: int
    ) -> StageRow:
        """The stage, created as running when it is new."""
        row = self.stage(iteration, stage, attempt)
        if row is not None:
            return StageRow(row["id"], row["units_done"], row["status"] == Status.DONE)
        with self.transaction():
            stage_id = self._store.insert(
                "stages",
                run_id=self.run_id,
                iteration=iteration,
                stage=stage,
                attempt=attempt,
                fingerprint=fingerprint,
                fingerprint_fields=json.dumps(fields, sort_keys=True),
                status=Status.RUNNING,
                units_total=units,
                units_done=0,
                seconds=0.0,
            )
        return StageRow(stage_id, 0, is_done=False)

    def mark_unit_done(self, stage: StageRow, seconds: float) -> None:
        """Part of the transaction that holds the unit's results."""
        self._store.execute(
            "UPDATE stages SET units_done = units_done + 1, seconds = seconds + ? WHERE id = ?", [seconds, stage.id]
        )

    def close_stage(self, stage: StageRow) -> None:
        with self.transaction():
            self._store.execute(
                "UPDATE stages SET status = ?, finished_at = ? WHERE id = ?", [Status.DONE, now(), stage.id]
            )

    # --- examples ---

    def add_data(self, split: Split, rows: Sequence[DataRow]) -> None:
        for position, row in enumerate(rows):
            source = Path(row.source)
            if source.is_relative_to(self.workspace.resolve()):
                source = source.relative_to(self.workspace.resolve())
            self._store.insert(
                "examples",
                run_id=self.run_id,
                key=f"{split}/{position}",
                split=split,
                origin=Origin.SEED,
                question=row.question,
                answer=row.answer,
                source=str(source),
                line=row.line,
            )

    def examples(self, split: Split) -> list[Example]:
        """The person's rows of one split, in file order."""
        return self._examples("WHERE run_id = ? AND split = ? AND origin = 'seed' ORDER BY id", [split])

    def augmented(self, before_iteration: int) -> list[Example]:
        """Accepted examples of all iterations before this one, in the order of their acceptance."""
        return self._examples(
            "WHERE run_id = ? AND split = 'train' AND origin = 'augmented' AND iteration < ? ORDER BY id",
            [before_iteration],
        )

    def set_training_set(self, iteration: int, examples: Sequence[Example]) -> None:
        for position, example in enumerate(examples):
            self._store.execute(
                "INSERT INTO training_set_examples (run_id, iteration, example_id, position) VALUES (?, ?, ?, ?)",
                [self.run_id, iteration, example.id, position],
            )

    def training_set(self, iteration: int) -> list[Example]:
        """In training order; empty when the iteration has not begun to train."""
        return self._examples(
            "JOIN training_set_examples t ON t.example_id = examples.id "
            "WHERE t.run_id = ? AND t.iteration = ? ORDER BY t.position",
            [iteration],
        )

    def _examples(self, tail: str, parameters: Sequence[Any]) -> list[Example]:
        rows = self._store.execute(
            f"SELECT id, key, split, origin, question, answer FROM examples {tail}", [self.run_id, *parameters]
        )
        return [
            Example(row["id"], row["key"], Split(row["split"]), Origin(row["origin"]), row["question"], row["answer"])
            for row in rows
        ]

    # --- training ---

    def last_checkpoint(self, iteration: int) -> sqlite3.Row | None:
        return self._one(
            "SELECT * FROM checkpoints WHERE run_id = ? AND iteration = ? ORDER BY step DESC LIMIT 1", [iteration]
        )

    def add_checkpoint(
        self, iteration: int, step: int, total_steps: int, path: Path, sha256: str, tokens: int, seconds: float
    ) -> None:
        """Record a checkpoint; those of the same training before it are superseded (their `path` is cleared)."""
        self._store.execute(
            "UPDATE checkpoints SET path = NULL WHERE run_id = ? AND iteration = ?", [self.run_id, iteration]
        )
        self._store.insert(
            "checkpoints",
            run_id=self.run_id,
            iteration=iteration,
            step=step,
            total_steps=total_steps,
            path=str(path.relative_to(self.workspace)),
            sha256=sha256,
            tokens=tokens,
            seconds=seconds,
        )

    def add_metric(self, iteration: int, name: str, step: int, value: float) -> None:
        self._store.insert("metrics", run_id=self.run_id, iteration=iteration, name=name, step=step, value=value)

    # --- predictions ---

    def add_prediction(
        self, iteration: int, example: Example, reply: Reply, grade: Grade, confidence: float | None
    ) -> None:
        self._store.insert(
            "predictions",
            run_id=self.run_id,
            iteration=iteration,
            example_id=example.id,
            split=example.split,
            output_text=reply.text,
            predicted_answer=grade.predicted_answer,
            outcome=grade.outcome,
            is_correct=int(grade.outcome is Outcome.CORRECT),
            confidence=confidence,
            finish_reason=reply.finish_reason,
            input_tokens=reply.input_tokens,
            output_tokens=reply.output_tokens,
        )

    def outcome_counts(self, iteration: int, split: Split) -> dict[Outcome, int]:
        """How the predictions on the person's rows of `split` were graded."""
        rows = self._store.execute(
            "SELECT p.outcome, count(*) AS n FROM predictions p JOIN examples e ON e.id = p.example_id "
            "WHERE p.run_id = ? AND p.iteration = ? AND p.split = ? AND e.origin = 'seed' GROUP BY p.outcome",
            [self.run_id, iteration, split],
        )
        return {Outcome(row["outcome"]): row["n"] for row in rows}

    def failures(self, iteration: int) -> list[Failure]:
        """Training examples predicted wrongly, in the order in which the examples came."""
        rows = self._store.execute(
            "SELECT e.id, e.key, e.split, e.origin, e.question, e.answer, p.predicted_answer "
            "FROM predictions p JOIN examples e ON e.id = p.example_id "
            "WHERE p.run_id = ? AND p.iteration = ? AND p.split = 'train' AND p.is_correct = 0 ORDER BY e.id",
            [self.run_id, iteration],
        )
        return [
            Failure(Example(row[0], row[1], Split(row[2]), Origin(row[3]), row[4], row[5]), row["predicted_answer"])
            for row in rows
        ]

    # --- augmentation ---

    def kept(self, example_id: int) -> list[NewExample]:
        """What was accepted for this example so far, in all iterations, oldest first."""
        rows = self._store.execute(
            "SELECT question, answer FROM examples WHERE run_id = ? AND parent_example_id = ? ORDER BY id",
            [self.run_id, example_id],
        )
        return [NewExample(row["question"], row["answer"]) for row in rows]

    def accepted_counts(self, iteration: int, before_attempt: int) -> dict[int, int]:
        """Failing example's id → candidates accepted for it in earlier rounds of this iteration."""
        rows = self._store.execute(
            "SELECT parent_example_id, count(*) AS n FROM candidates "
            "WHERE run_id = ? AND iteration = ? AND verdict = 'accept' AND attempt < ? GROUP BY parent_example_id",
            [self.run_id, iteration, before_attempt],
        )
        return {row["parent_example_id"]: row["n"] for row in rows}

    def add_candidate(
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
            run_id=self.run_id,
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
            run_id=self.run_id,
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

    def candidates(self, iteration: int, attempt: int) -> list[CandidateRow]:
        """All candidates of one round, in the order in which they were made."""
        rows = self._store.execute(
            "SELECT id, key, parent_example_id, question, answer, reject_reason FROM candidates "
            "WHERE run_id = ? AND iteration = ? AND attempt = ? ORDER BY id",
            [self.run_id, iteration, attempt],
        )
        return [CandidateRow(*row) for row in rows]

    def decide(self, iteration: int, candidate: CandidateRow, verdicts: Sequence[CheckVerdict]) -> Decision:
        """Record what the checks said; an accepted candidate becomes an example. The overall decision.

        The first rejection counts, then the first doubt.
        """
        for verdict in verdicts:
            self._store.insert(
                "verdicts",
                run_id=self.run_id,
                iteration=iteration,
                candidate_id=candidate.id,
                check_name=verdict.check_name,
                verdict=verdict.decision,
                reason=verdict.reason,
                detail=verdict.detail,
                score=verdict.score,
            )
        decisive = next((v for kind in (Decision.REJECT, Decision.DOUBT) for v in verdicts if v.decision is kind), None)
        decision = decisive.decision if decisive else Decision.ACCEPT
        reason = decisive.reason if decisive and decisive.decision is Decision.REJECT else None
        self._store.execute(
            "UPDATE candidates SET verdict = ?, reject_reason = ? WHERE id = ?", [decision, reason, candidate.id]
        )
        if decision is Decision.ACCEPT:
            self._store.insert(
                "examples",
                run_id=self.run_id,
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

    # --- commands ---

    def next_command(self) -> tuple[int, str] | None:
        """Id and word of the oldest command that was not obeyed yet."""
        row = self._one(
            "SELECT id, command FROM commands WHERE run_id = ? AND status = 'pending' ORDER BY id LIMIT 1", []
        )
        return None if row is None else (row["id"], row["command"])

    def mark_command_done(self, command_id: int) -> None:
        self._store.execute(
            "UPDATE commands SET status = ?, handled_at = ? WHERE id = ?", [Status.DONE, now(), command_id]
        )

    def add_command(self, command: str) -> None:
        with self.transaction():
            self._store.insert("commands", run_id=self.run_id, command=command, status=Status.PENDING)

    def cancel_commands(self) -> None:
        """Commands left from before an interruption don't concern the run that now continues."""
        self._store.execute(
            "UPDATE commands SET status = ?, handled_at = ? WHERE run_id = ? AND status = ?",
            [Status.CANCELLED, now(), self.run_id, Status.PENDING],
        )

    def _one(self, sql: str, parameters: Sequence[Any]) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._store.execute(sql, [self.run_id, *parameters]).fetchone()
        return row


@contextmanager
def _alone_in(workspace: Path) -> Iterator[None]:
    """Lock the folder: switching to WAL and migrating don't wait for each other by themselves."""
    folder = os.open(workspace, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def run_folder(workspace: Path, run_id: int) -> Path:
    return workspace / "runs" / str(run_id)


def now() -> str:
    """UTC, ISO 8601, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
