"""Graded runs by hand whose students are right where a test says so, without a model or a teacher."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workspaces import CONFIG_BY_HAND, add_run

from llm2llm_local.records import (
    CheckVerdict,
    DataRow,
    Decision,
    Example,
    FinishReason,
    Grade,
    NewExample,
    Outcome,
    Reply,
    Split,
    Status,
)
from llm2llm_local.store.rows import TeacherCall
from llm2llm_local.store.run_store import RunStore
from llm2llm_local.store.writer import Store

Rows = Sequence[tuple[str, str]]
Answers = Mapping[str, str]
"""Question → what the student answers."""


def add_answering_run(
    store: Store,
    rows: Mapping[Split, Rows],
    students: Sequence[Answers],
    new: Sequence[Rows] = (),
    rng_seed: int = 0,
    forked_from_run_id: int | None = None,
    status: Status = Status.DONE,
    **config: Any,
) -> RunStore:
    """A run whose student of iteration i answers as `students[i]` says, and rightly where that says nothing.

    `new[i]`: questions and answers that the teacher wrote in iteration i, all of them accepted; each is asked about the
    first seed. Each example is an optimizer step, each training takes a minute, each request 24 tokens. `config` has
    names with __ for the dot.
    """
    fields = {**CONFIG_BY_HAND, "loop.rng_seed": rng_seed, **{k.replace("__", "."): v for k, v in config.items()}}
    run = add_run(
        store, config=json.dumps(fields), rng_seed=rng_seed, forked_from_run_id=forked_from_run_id, status=status
    )
    with run.transaction():
        for split, of_split in rows.items():
            run.add_data(split, [DataRow(*row, f"{split}.jsonl", n) for n, row in enumerate(of_split, start=1)])
    for iteration, answers in enumerate(students):
        run.open_iteration(iteration)
        with run.transaction():
            training_set = [*run.examples(Split.TRAIN), *run.augmented(before_iteration=iteration)]
            run.set_training_set(iteration, training_set)
            steps = len(training_set)
            run.add_checkpoint(iteration, steps, steps, run.folder / f"iteration-{iteration}", "0" * 64, 8, 1.0)
            for split in rows:
                asked = run.examples(split)
                right = [_predict(run, iteration, example, answers) for example in asked]
                run.add_metric(iteration, f"accuracy_{split}", 0, sum(right) / len(right))
        for name, seconds in (("train", 60.0), ("grade", 0.0)):
            stage = run.open_stage(iteration, name, 0, "", {}, units=1)
            with run.transaction():
                run.mark_unit_done(stage, seconds)
            run.close_stage(stage)
        for slot, (question, answer) in enumerate(new[iteration] if iteration < len(new) else ()):
            _accept(run, iteration, slot, question, answer)
    return run


def carry_out(workspace: Path, run_id: int) -> None:
    """A person's decisions, as before the training of iteration 1."""
    with Store(workspace) as store, store.transaction():
        reviews = store.of_run(run_id).reviews
        for review in reviews.to_carry_out():
            reviews.carry_out(review, 1)


def _predict(run: RunStore, iteration: int, example: Example, answers: Answers) -> bool:
    answer = answers.get(example.question, example.answer)
    is_right = answer == example.answer
    grade = Grade(Outcome.CORRECT if is_right else Outcome.WRONG, answer)
    run.add_prediction(iteration, example, Reply(answer, FinishReason.SCORED, 5, 0, 0.0), grade, 0.5)
    return is_right


def _accept(run: RunStore, iteration: int, slot: int, question: str, answer: str) -> None:
    parent = run.examples(Split.TRAIN)[0]
    call = TeacherCall(parent.id, 0, slot, '"prompt"', "{}", 7, Reply(question, FinishReason.STOP, 20, 4, 0.5))
    with run.transaction():
        key = f"augmented/{iteration}/{parent.key}/0.{slot}"
        run.candidates.add(iteration, 1, key, call, NewExample(question, answer), None)
        passed = CheckVerdict("format", Decision.ACCEPT, "", "", None)
        run.candidates.decide(iteration, run.candidates.of_round(iteration, 0)[-1], [passed])
