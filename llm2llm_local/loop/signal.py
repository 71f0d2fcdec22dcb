"""Which training examples the teacher is asked about: the student's failures, by the signal that the person chose."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..counted import counted
from ..records import Example, Failure
from .context import Run

_NEXT = {
    "train": 'ask for those that a student fails at which has not seen them (loop.failure_signal = "kfold"), or for '
    'the least sure ones ("confidence")',
    "kfold": 'ask for the least sure ones (loop.failure_signal = "confidence")',
}
"""What a person may try when nothing fails by a signal."""


def failing(run: Run, iteration: int, asked: Sequence[Example]) -> list[Failure]:
    """Of the training examples that were `asked`; in file order, the least confident first where that is the signal."""
    if run.config.loop.failure_signal == "confidence":
        return run.store.least_confident(iteration, math.ceil(run.config.loop.least_confident * len(asked)))
    return run.store.failures(iteration)


def nothing_fails(run: Run, iteration: int, n_asked: int) -> str:
    """How a run ends whose signal has run dry, and what would go further."""
    signal = run.config.loop.failure_signal
    how = "although no student had seen the ones that it was asked" if signal == "kfold" else "of its own training"
    return (
        f"finished early: in iteration {iteration} all of {counted(n_asked, 'training question')} are answered right, "
        f"{how}, so there is nothing to augment. To go further, {_NEXT[signal]}, give it more or harder seeds, or "
        f"train it less (student.epochs, student.learning_rate): llm2llm fork {run.store.run_id} --set …"
    )
