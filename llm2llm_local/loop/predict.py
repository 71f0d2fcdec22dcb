"""Let students answer, in fixed batches; every answer is graded and kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Generic, TypeVar

from ..records import Example
from ..student.protocol import PredictionBatch, StudentAnswer
from .adapters import require_sound
from .context import Run
from .units import Wait, Write, work_through_ahead

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Batch(Generic[Item]):
    """What one student answers at once; `adapter` is looked at when, and only if, it is needed."""

    adapter: Callable[[], Path]
    items: Sequence[Item]


def predict(run: Run, iteration: int, examples: Sequence[Example]) -> None:
    """Predict `examples` with the adapter of this iteration, which must be unchanged since it was written."""

    def keep(example: Example, answer: StudentAnswer) -> None:
        keep_prediction(run, iteration, 0, example, answer)

    ask_student(run, iteration, "predict", 0, batches(run, iteration, 0, examples), _question, keep)


def batches(run: Run, iteration: int, fold: int, examples: Sequence[Example]) -> list[Batch[Example]]:
    """Within a split, of similar length so that little is padded; a function of the data alone."""
    adapter = cache(lambda: require_sound(run.store, iteration, fold))
    size = run.config.student.predict_batch_size
    found = []
    for _, group in groupby(examples, key=lambda example: example.split):
        rows = sorted(group, key=lambda example: (len(example.question), example.key))
        found += [Batch(adapter, rows[start : start + size]) for start in range(0, len(rows), size)]
    return found


def ask_student(
    run: Run,
    iteration: int,
    stage: str,
    attempt: int,
    units: Sequence[Batch[Item]],
    question: Callable[[Item], str],
    keep: Callable[[Item, StudentAnswer], None],
) -> None:
    """Answers to `units`, a unit of work each; `keep` stores one, inside the unit's transaction."""
    completions = tuple(run.task.prompts.completion(choice) for choice in run.task.choices)

    def begin(batch: Batch[Item]) -> Wait:
        wait = run.student.begin_predict(
            PredictionBatch(
                adapter=batch.adapter(),
                prompts=tuple(run.task.prompts.prompt(question(item)) for item in batch.items),
                completions=completions,
                max_new_tokens=run.config.student.max_new_tokens,
            )
        )

        def finish() -> Write:
            answers = wait(run.watcher.within)

            def write() -> int:
                for item, answer in zip(batch.items, answers, strict=True):
                    keep(item, answer)
                return len(batch.items)

            return write

        return finish

    work_through_ahead(run, iteration, stage, attempt, units, begin)


def keep_prediction(run: Run, iteration: int, fold: int, example: Example, answer: StudentAnswer) -> None:
    """Graded; part of a transaction."""
    grade = run.task.grade(answer.reply, example.answer)
    gold = None
    if answer.log_probabilities:
        gold = math.exp(answer.log_probabilities[run.task.choices.index(example.answer)])
    run.store.add_prediction(iteration, example, answer.reply, grade, answer.confidence, gold, fold)


def _question(example: Example) -> str:
    return example.question
