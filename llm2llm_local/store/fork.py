"""Take over another run's finished stages, as far as their conditions are the same.

Stages are deterministic and chained by fingerprints, so the rows copied here are those that the new run
would have made itself. A person's decisions go along: carried out where they were, as far as the trainings that
they were carried out for are taken over, and otherwise waiting for the first training that is done anew: the last one
at least. (Or the one after that, where students of folds, who are trained before, are taken over.)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ..records import ReviewDecision, Status
from .reviews import settle_review
from .rows import run_folder
from .verdicts import REVIEW, settle
from .writer import Store

Ids = Mapping[int, int]
Stages = Sequence[sqlite3.Row]


class Conditions(Protocol):
    """What the results of a run's stages depend on."""

    def place(self, iteration: int, stage: str, attempt: int) -> tuple[int, ...]:
        """Sorts stages into the order in which they are worked."""

    def advance(self, iteration: int, stage: str, attempt: int) -> str:
        """The fingerprint of the next stage in that order."""

    def is_aside(self, stage: str) -> bool:
        """Whether the stages after it can be as they were although it has changed."""


def unchanged_stages(store: Store, origin: int, new: Conditions) -> list[sqlite3.Row]:
    """The longest row of finished stages, from the first on, whose conditions are those of the new run; one aside that
    has changed doesn't end it.
    """
    rows = store.execute("SELECT * FROM stages WHERE run_id = ?", [origin]).fetchall()
    stages = []
    for row in sorted(rows, key=lambda row: new.place(row["iteration"], row["stage"], row["attempt"])):
        fingerprint = new.advance(row["iteration"], row["stage"], row["attempt"])
        if row["status"] == "done" and fingerprint == row["fingerprint"]:
            stages.append(row)
        elif not new.is_aside(row["stage"]):
            break
    return stages


def before_decisions(
    store: Store, origin: int, stages: Stages, iterations: int, *, asks_where_nothing_fails: bool
) -> Stages:
    """Of the stages that are taken over, those before the last student, where a person has decided since that it should
    be trained on something else, and no training to come would carry that out: the new run trains it anew. It has so
    many `iterations`.
    """
    reviews = store.of_run(origin).reviews
    last = stages[-1]["iteration"] if stages else 0
    of_last = {stage["stage"] for stage in stages if stage["iteration"] == last}
    if "train" not in of_last or all(one.wanted == one.active for one in reviews.since_training(last)):
        return stages
    status, went_on, fails = store.execute(
        "SELECT status, EXISTS (SELECT 1 FROM stages WHERE run_id = ?1 AND iteration > ?2), "
        "EXISTS (SELECT 1 FROM failures WHERE run_id = ?1 AND iteration = ?2) FROM runs WHERE run_id = ?1",
        [origin, last],
    ).fetchone()
    # What got no new example in goes on where a person lets something in, which the next training has then.
    is_stuck = (
        status == Status.DONE
        and stages[-1]["stage"] == "check"
        and all(one.decision is not ReviewDecision.ACCEPT for one in reviews.to_carry_out())
    )
    has_no_failures = "grade" in of_last and not fails and not asks_where_nothing_fails
    goes_on = last < iterations and (went_on or not (is_stuck or has_no_failures))
    return stages if goes_on else [stage for stage in stages if stage["iteration"] < last]


def copy_stages(store: Store, origin: int, target: int, stages: Stages) -> None:
    """Copy what these stages made. The new run must have its data already: examples are matched by their keys.

    Part of a transaction.
    """
    copy = _Copy(store, origin, target)
    for row in stages:
        copy.stage(row)
    copy.reviews_to_carry_out()
    asked = [row["finished_at"] for row in stages if row["stage"] in ("audit", "augment", "vote")]
    if asked:
        copy.plan(max(asked))


class _Copy:
    """Old ids → new ids, filled as rows are copied."""

    def __init__(self, store: Store, origin: int, target: int) -> None:
        self._store = store
        self._origin = origin
        self._target = target
        self._calls: dict[int, int] = {}
        self._candidates: dict[int, int] = {}
        self._reviews: dict[int, int] = {}
        self._reviewed: set[int] = set()
        rows = store.execute(
            "SELECT old.id, new.id FROM examples old JOIN examples new ON new.key = old.key "
            "WHERE old.run_id = ? AND new.run_id = ?",
            [origin, target],
        )
        self._examples: dict[int, int] = {row[0]: row[1] for row in rows}

    def stage(self, row: sqlite3.Row) -> None:
        iteration, stage, attempt = row["iteration"], row["stage"], row["attempt"]
        self._rows("stages", "id = ?", [row["id"]], {})
        match stage:
            case "train":
                self._reviews_of(iteration)
                self._rows("training_set_examples", "iteration = ?", [iteration], {"example_id": self._examples})
                self._rows("metrics", "iteration = ? AND name = 'loss'", [iteration], {})
                self._checkpoints(iteration, 0)
            case "fold_train":
                self._reviews_of(iteration)
                self._rows("metrics", "iteration = ? AND name = ?", [iteration, f"loss_fold_{attempt}"], {})
                self._checkpoints(iteration, attempt)
            case "predict":
                self._predictions(iteration, 0)
            case "fold_predict":
                self._predictions(iteration, attempt)
                self._audit_votes(iteration, "student", attempt)
            case "audit":
                self._audit_votes(iteration, "teacher", 0)
            case "calibrate":
                self._rows("audits", "true", [], {})
            case "grade":
                self._rows("metrics", "iteration = ? AND name NOT LIKE 'loss%'", [iteration], {})
            case "augment":
                self._candidates_of(iteration, attempt)
            case "vote" | "student_vote":
                verifier = "teacher" if stage == "vote" else "student"
                of_round = (
                    "candidate_id IN (SELECT id FROM candidates WHERE run_id = ? AND iteration = ? AND attempt = ?)"
                )
                parameters = [verifier, self._origin, iteration, attempt]
                self._rows("votes", f"verifier = ? AND {of_round}", parameters, self._of_candidate())
            case "check":
                self._decisions_of(iteration, attempt)

    def _candidates_of(self, iteration: int, attempt: int) -> None:
        where, parameters = "iteration = ? AND attempt = ?", [iteration, attempt]
        self._calls |= self._rows("teacher_calls", where, parameters, {"example_id": self._examples})
        copied = self._rows(
            "candidates", where, parameters, {"teacher_call_id": self._calls, "parent_example_id": self._examples}
        )
        # As before their checks: only a reply that could not be parsed has its reason already.
        self._store.execute(
            "UPDATE candidates SET verdict = 'pending', is_audited = 0, "
            "reject_reason = iif(question IS NULL, reject_reason, NULL) "
            "WHERE run_id = ? AND iteration = ? AND attempt = ?",
            [self._target, *parameters],
        )
        self._candidates |= copied

    def _decisions_of(self, iteration: int, attempt: int) -> None:
        of_round = "candidate_id IN (SELECT id FROM candidates WHERE run_id = ? AND iteration = ? AND attempt = ?)"
        parameters = [self._origin, iteration, attempt]
        self._rows("verdicts", f"{of_round} AND check_name != ?", [*parameters, REVIEW], self._of_candidate())
        self._accepted(f"{of_round} AND review_id IS NULL", parameters)
        for row in self._store.execute(
            "SELECT id, is_audited FROM candidates WHERE run_id = ? AND iteration = ? AND attempt = ?", parameters
        ).fetchall():
            settle(self._store, self._candidates[row["id"]])
            if row["is_audited"]:
                self._store.of_run(self._target).verification.mark_audited(self._candidates[row["id"]])

    def _reviews_of(self, iteration: int) -> None:
        """The decisions that were carried out before this iteration's trainings, with what they changed."""
        if iteration in self._reviewed:
            return
        self._reviewed.add(iteration)
        carried_out = "SELECT id FROM reviews WHERE run_id = ? AND applied_iteration = ?"
        copied = self._rows("reviews", "applied_iteration = ?", [iteration], self._of_candidate())
        self._reviews |= copied
        self._accepted(f"review_id IN ({carried_out})", [self._origin, iteration])
        for row in self._store.execute(
            "SELECT id FROM examples WHERE run_id = ? AND removed_iteration = ?", [self._origin, iteration]
        ).fetchall():
            self._store.execute(
                "UPDATE examples SET removed_iteration = ? WHERE id = ?", [iteration, self._examples[row["id"]]]
            )
        for row in self._store.execute(
            f"SELECT DISTINCT candidate_id FROM reviews WHERE id IN ({carried_out})", [self._target, iteration]
        ).fetchall():
            settle_review(self._store, row["candidate_id"])

    def reviews_to_carry_out(self) -> None:
        """All other decisions on the candidates that were copied, as if they had just been made."""
        for row in self._store.execute(
            "SELECT id, candidate_id FROM reviews WHERE run_id = ? ORDER BY id", [self._origin]
        ).fetchall():
            if row["candidate_id"] in self._candidates and row["id"] not in self._reviews:
                new = {"applied_iteration": None, "refused_reason": None}
                self._rows("reviews", "id = ?", [row["id"]], self._of_candidate(), new)

    def plan(self, replied_at: str) -> None:
        """The teacher goes on as it was loaded for what is taken over, the last word of which came at `replied_at`:
        replies and votes depend on what is decoded together, and a later plan may be a smaller one.
        """
        in_force = "id = (SELECT max(id) FROM plans WHERE run_id = ? AND created_at <= ?)"
        self._rows("plans", in_force, [self._origin, replied_at], {}, {"reason": f"taken over from run {self._origin}"})

    def _accepted(self, where: str, parameters: list[Any]) -> None:
        """Examples as they were when accepted: a later decision that keeps one out comes with its training."""
        ids = {**self._of_candidate(), "parent_example_id": self._examples, "review_id": self._reviews}
        self._examples |= self._rows("examples", where, parameters, ids, {"removed_iteration": None})

    def _of_candidate(self) -> dict[str, Ids]:
        return {"candidate_id": self._candidates}

    def _predictions(self, iteration: int, fold: int) -> None:
        self._rows("predictions", "iteration = ? AND fold = ?", [iteration, fold], {"example_id": self._examples})

    def _audit_votes(self, iteration: int, verifier: str, fold: int) -> None:
        of_seeds = "example_id IS NOT NULL AND iteration = ? AND verifier = ? AND fold = ?"
        self._rows("votes", of_seeds, [iteration, verifier, fold], {"example_id": self._examples})

    def _checkpoints(self, iteration: int, fold: int) -> None:
        self._rows("checkpoints", "iteration = ? AND fold = ?", [iteration, fold], {})
        old, new = (run_folder(Path(), run) for run in (self._origin, self._target))
        self._store.execute(
            "UPDATE checkpoints SET path = replace(path, ?, ?) WHERE run_id = ? AND iteration = ? AND fold = ?",
            [f"{old}/", f"{new}/", self._target, iteration, fold],
        )

    def _rows(
        self,
        table: str,
        where: str,
        parameters: list[Any],
        ids: Mapping[str, Ids],
        new: Mapping[str, object] | None = None,
    ) -> dict[int, int]:
        """Copy the origin's rows that match; columns in `ids` are translated, those in `new` are that. Old → new id."""
        copied = {}
        key = "position" if table == "training_set_examples" else "id"
        for row in self._store.execute(
            f"SELECT * FROM {table} WHERE run_id = ? AND {where} ORDER BY {key}", [self._origin, *parameters]
        ).fetchall():
            columns = {name: row[name] for name in row.keys() if name != "id"}  # noqa: SIM118 - a Row isn't a dict
            columns |= {"run_id": self._target, **(new or {})}
            for name, translation in ids.items():
                if columns[name] is not None:
                    columns[name] = translation[columns[name]]
            marks = ", ".join("?" * len(columns))
            cursor = self._store.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", list(columns.values())
            )
            if "id" in row.keys() and cursor.lastrowid is not None:  # noqa: SIM118
                copied[row["id"]] = cursor.lastrowid
        return copied
