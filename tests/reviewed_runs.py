"""Runs of the loop with fake engines in which a person decides on candidates, and what then is in the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fake_runs import configuration, rows, run_of
from fakes import FakeStudent, FakeTeacher

from llm2llm_local.config import Config
from llm2llm_local.loop.llm2llm import llm2llm
from llm2llm_local.records import ReviewDecision
from llm2llm_local.store.wishes import add_review
from llm2llm_local.teacher.protocol import TeacherRequest

ACCEPT, REJECT, WITHDRAW = ReviewDecision.ACCEPT, ReviewDecision.REJECT, ReviewDecision.WITHDRAW
CONFIG = configuration(teacher__attempts=2, loop__augmentations_per_failure=2, loop__iterations=3)

Which = Literal["passed", "refused"]
Moment = tuple[int, str, int]
FIRST, SECOND, THIRD = (0, "augment", 1), (1, "train", 0), (2, "train", 0)
"""When the person decides: before the training of iteration 1, of iteration 2, of iteration 3."""


@dataclass(frozen=True)
class Wish:
    """A decision on the n-th candidate of the first round of asking that passed the checks, or that they refused."""

    which: Which
    n: int
    decision: ReviewDecision
    question: str | None = None
    answer: str | None = None


@dataclass
class Person:
    """Decides as planned, once, when the run comes to that stage, however often it comes there."""

    workspace: Path
    plan: Mapping[Moment, Sequence[Wish]]

    def __call__(self) -> None:
        here = rows(self.workspace, "SELECT iteration, stage, attempt FROM stages ORDER BY id DESC LIMIT 1")[0]
        n_made, n_before = rows(self.workspace, "SELECT count(*) FROM reviews WHERE run_id = 1")[0][0], 0
        for moment, wishes in self.plan.items():
            if moment == here and n_made == n_before:
                for wish in wishes:
                    decide(self.workspace, wish)
            n_before += len(wishes)


def decide(workspace: Path, wish: Wish, run_id: int = 1) -> int:
    """The id of the review."""
    candidate, _, _ = candidate_of(workspace, wish.which, wish.n, run_id)
    return add_review(workspace, run_id, candidate, wish.decision, wish.question, wish.answer)


def candidate_of(workspace: Path, which: Which, n: int, run_id: int = 1) -> tuple[int, str, str]:
    """Its id and text."""
    (row,) = rows(
        workspace,
        f"SELECT id, question, answer FROM candidates c WHERE run_id = {run_id} AND iteration = 0 AND attempt = 0 "
        f"AND {'NOT' if which == 'refused' else ''} EXISTS "
        "(SELECT 1 FROM examples e WHERE e.candidate_id = c.id AND e.review_id IS NULL) "
        f"ORDER BY id LIMIT 1 OFFSET {n}",
    )
    return row


def sometimes_repeats(request: TeacherRequest) -> str:
    """A third of what the teacher writes is too similar to a seed."""
    return " seed question 3 about things" if request.rng_seed % 3 == 0 else f" message number {request.rng_seed}"


def finish(
    workspace: Path,
    plan: Mapping[Moment, Sequence[Wish]],
    config: Config = CONFIG,
    *,
    write: Callable[[TeacherRequest], str] = sometimes_repeats,
    student: FakeStudent | None = None,
) -> FakeTeacher:
    """A run from its beginning to its end, with the person's plan; what the teacher was asked."""
    workspace.mkdir(exist_ok=True)
    teacher = FakeTeacher(write)
    with run_of(workspace, config, teacher, student, obey=Person(workspace, plan)) as run:
        llm2llm(run)
    return teacher


def trained(workspace: Path, iteration: int, run_id: int = 1) -> list[tuple[str, str]]:
    """The augmented part of a training set, in its order."""
    return rows(
        workspace,
        "SELECT e.question, e.answer FROM training_set_examples t JOIN examples e ON e.id = t.example_id "
        f"WHERE t.run_id = {run_id} AND t.iteration = {iteration} AND e.origin = 'augmented' ORDER BY t.position",
    )


def review_verdicts(workspace: Path, run_id: int = 1) -> list[tuple[Any, ...]]:
    """What stands beside the checks' verdicts."""
    return rows(
        workspace,
        "SELECT candidate_id, verdict, reason FROM verdicts "
        f"WHERE check_name = 'review' AND run_id = {run_id} ORDER BY candidate_id",
    )
