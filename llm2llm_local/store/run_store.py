"""The store as one run sees it.

What is read was committed; what is written needs `transaction()`, so that a unit of work and its done-mark
are committed together or not at all.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..records import (
    DataRow,
    Example,
    Failure,
    Grade,
    Origin,
    Outcome,
    Reply,
    Split,
    Status,
)
from .candidates import CandidateStore
from .commands import CommandStore
from .reviews import ReviewStore
from .rows import RunRow, StageRow, now, run_folder
from .verification import VerificationStore

if TYPE_CHECKING:
    from .writer import Store


class RunStore:
    """One run's rows. Made by `Store.of_run`."""

    def __init__(self, store: Store, run_id: int) -> None:
        self._store = store
        self.run_id = run_id
        self.transaction = store.transaction
        self.candidates = CandidateStore(store, run_id)
        self.commands = CommandStore(store, run_id)
        self.reviews = ReviewStore(store, run_id)
        self.verification = VerificationStore(store, run_id)

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

    def has_asked_teacher(self) -> bool:
        """Whether anything that it said, new examples or votes, is in the store."""
        sql = "SELECT 1 FROM stages WHERE run_id = ? AND stage IN ('audit', 'augment', 'vote') AND units_done > 0"
        return self._one(sql, []) is not None

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

    # --- how the models share the device ---

    def teacher_plan(self) -> dict[str, Any] | None:
        """The newest one, as it was recorded; None before the run's first."""
        row = self._one("SELECT teacher FROM plans WHERE run_id = ? ORDER BY id DESC LIMIT 1", [])
        return None if row is None else json.loads(row["teacher"])

    def add_plan(
        self, reason: str, teacher: Mapping[str, Any], memory: Mapping[str, Any], summary: Sequence[str]
    ) -> None:
        """From now on this one is in force. Part of a transaction."""
        self._store.insert(
            "plans",
            run_id=self.run_id,
            reason=reason,
            teacher=json.dumps(teacher),
            memory=json.dumps(memory),
            summary=json.dumps(list(summary), ensure_ascii=False),
        )

    def change_teacher_plan(self, teacher: Mapping[str, Any]) -> None:
        """Of the plan in force. Part of a transaction."""
        self._store.execute(
            "UPDATE plans SET teacher = ? WHERE id = (SELECT max(id) FROM plans WHERE run_id = ?)",
            [json.dumps(teacher), self.run_id],
        )

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

    def has_gone_beyond(self, iteration: int, attempt: int) -> bool:
        """Whether anything was begun after this round of asking: a further round, or the next iteration."""
        sql = (
            "SELECT 1 FROM stages WHERE run_id = ?1 "
            "AND (iteration > ?2 OR iteration = ?2 AND stage = 'augment' AND attempt > ?3) LIMIT 1"
        )
        return self._one(sql, [iteration, attempt]) is not None

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
            "UPDATE stages SET units_done = units_done + 1, progress = (units_done + 1.0) / units_total, "
            "losses_since_checkpoint = NULL, seconds = seconds + ? WHERE id = ?",
            [seconds, stage.id],
        )

    def set_progress(
        self, iteration: int, stage: str, attempt: int, share: float, losses_since_checkpoint: Sequence[float] = ()
    ) -> None:
        """How much of the stage is done, 0 to 1, the unit in progress included; a transaction of its own."""
        losses = json.dumps([float(f"{loss:.5g}") for loss in losses_since_checkpoint])
        with self.transaction():
            self._store.execute(
                "UPDATE stages SET progress = ?, losses_since_checkpoint = nullif(?, '[]') "
                "WHERE run_id = ? AND iteration = ? AND stage = ? AND attempt = ?",
                [share, losses, self.run_id, iteration, stage, attempt],
            )

    def close_stage(self, stage: StageRow) -> None:
        with self.transaction():
            self._store.execute(
                "UPDATE stages SET status = ?, progress = 1, finished_at = ? WHERE id = ?",
                [Status.DONE, now(), stage.id],
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
        """Accepted examples of all iterations before this one, in the order of their acceptance.

        A decision that keeps one out leaves the training sets before it as they were.
        """
        return self._examples(
            "WHERE run_id = ? AND split = 'train' AND origin = 'augmented' AND iteration < ? "
            "AND (removed_iteration IS NULL OR removed_iteration > ?) ORDER BY id",
            [before_iteration, before_iteration],
        )

    def ever_accepted(self, before: tuple[int, int] | None = None) -> list[Example]:
        """All augmented examples, those that a person keeps out too; `before`: those that there were when this
        iteration's round of asking began. A person may let in a candidate of an earlier round later on, and then it
        wasn't among them.
        """
        tail = "WHERE run_id = ? AND split = 'train' AND origin = 'augmented'"
        if before is None:
            return self._examples(f"{tail} ORDER BY id", [])
        earlier = (
            "candidate_id IN (SELECT id FROM candidates WHERE run_id = ? AND (iteration, attempt) < (?, ?)) "
            "AND (review_id IS NULL OR iteration < ?)"
        )
        return self._examples(f"{tail} AND {earlier} ORDER BY id", [self.run_id, *before, before[0]])

    def seed_of(self, example_id: int) -> int:
        """Id of the seed that an example descends from, itself when it is one."""
        row = self._store.execute(
            "WITH RECURSIVE line (id, parent) AS (SELECT id, parent_example_id FROM examples WHERE id = ? "
            "UNION ALL SELECT e.id, e.parent_example_id FROM examples e JOIN line ON e.id = line.parent) "
            "SELECT id FROM line WHERE parent IS NULL",
            [example_id],
        ).fetchone()
        return int(row["id"])

    def set_training_set(self, iteration: int, examples: Sequence[Example]) -> None:
        for position, example in enumerate(examples):
            self._store.execute(
                "INSERT INTO training_set_examples (run_id, iteration, example_id, position) VALUES (?, ?, ?, ?)",
                [self.run_id, iteration, example.id, position],
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

    def n_trained(self) -> int:
        """Trainings that are complete, those of folds too."""
        sql = "SELECT count(*) FROM stages WHERE run_id = ? AND stage IN ('train', 'fold_train') AND status = 'done'"
        row = self._one(sql, [])
        return 0 if row is None else int(row[0])

    def last_checkpoint(self, iteration: int, fold: int = 0) -> sqlite3.Row | None:
        return self._one(
            "SELECT * FROM checkpoints WHERE run_id = ? AND iteration = ? AND fold = ? ORDER BY step DESC LIMIT 1",
            [iteration, fold],
        )

    def add_checkpoint(
        self,
        iteration: int,
        step: int,
        total_steps: int,
        path: Path,
        sha256: str,
        tokens: int,
        seconds: float,
        fold: int = 0,
    ) -> None:
        """Record a checkpoint; those of the same training before it are superseded (their `path` is cleared)."""
        self._store.execute(
            "UPDATE checkpoints SET path = NULL WHERE run_id = ? AND iteration = ? AND fold = ?",
            [self.run_id, iteration, fold],
        )
        self._store.insert(
            "checkpoints",
            run_id=self.run_id,
            iteration=iteration,
            fold=fold,
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
        self,
        iteration: int,
        example: Example,
        reply: Reply,
        grade: Grade,
        confidence: float | None,
        gold_confidence: float | None = None,
        fold: int = 0,
    ) -> None:
        """`confidence` is of the predicted answer, `gold_confidence` of the right one; None: it was written."""
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
            gold_confidence=gold_confidence,
            fold=fold,
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
        return self._failures(iteration, "p.is_correct = 0 ORDER BY e.id")

    def least_confident_first(self, iteration: int) -> list[Failure]:
        """Every training example that was answered, in the order of the probability that its right answer was given."""
        return self._failures(iteration, "true ORDER BY p.gold_confidence, e.id")

    def _failures(self, iteration: int, tail: str) -> list[Failure]:
        rows = self._store.execute(
            "SELECT e.id, e.key, e.split, e.origin, e.question, e.answer, "
            "iif(p.is_correct, NULL, p.predicted_answer) AS predicted_answer "
            "FROM predictions p JOIN examples e ON e.id = p.example_id "
            f"WHERE p.run_id = ? AND p.iteration = ? AND p.split = 'train' AND {tail}",
            [self.run_id, iteration],
        )
        return [
            Failure(Example(row[0], row[1], Split(row[2]), Origin(row[3]), row[4], row[5]), row["predicted_answer"])
            for row in rows
        ]

    def _one(self, sql: str, parameters: Sequence[Any]) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._store.execute(sql, [self.run_id, *parameters]).fetchone()
        return row
