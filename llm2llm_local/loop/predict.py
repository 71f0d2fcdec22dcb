"""Let the student answer, in fixed batches; every answer is graded and kept."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import groupby

from ..records import Example
from ..student.protocol import PredictionBatch
from .adapters import require_sound
from .context import Run
from .units import Wait, Write, work_through_ahead


def predict(run: Run, iteration: int, examples: Sequence[Example]) -> None:
    """Predict `examples` with the adapter of this iteration, which must be unchanged since it was written."""
    adapter = cache(lambda: require_sound(run.store, iteration))  # looked at when, and only if, it is needed
    completions = tuple(run.task.prompts.completion(choice) for choice in run.task.choices)

    def begin(batch: Sequence[Example]) -> Wait:
        wait = run.student.begin_predict(
            PredictionBatch(
                adapter=adapter(),
                prompts=tuple(run.task.prompts.prompt(example.question) for example in batch),
                completions=completions,
                max_new_tokens=run.config.student.max_new_tokens,
            )
        )

        def finish() -> Write:
            answers = wait(run.watcher.within)

            def write() -> int:
                for example, answer in zip(batch, answers, strict=True):
                    grade = run.task.grade(answer.reply, example.answer)
                    run.store.add_prediction(iteration, example, answer.reply, grade, answer.confidence)
                return len(batch)

            return write

        return finish

    batches = _batches(examples, run.config.student.predict_batch_size)
    work_through_ahead(run, iteration, "predict", 0, batches, begin)


def _batches(examples: Sequence[Example], size: int) -> list[list[Example]]:
    """Batches within a split, of similar length so that little is padded; a function of the data alone."""
    batches = []
    for _, group in groupby(examples, key=lambda example: example.split):
        rows = sorted(group, key=lambda example: (len(example.question), example.key))
        batches += [rows[start : start + size] for start in range(0, len(rows), size)]
    return batches
