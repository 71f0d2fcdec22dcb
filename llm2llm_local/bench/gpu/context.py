"""The longest single example with which a training step is done within a budget of the GPU's memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from ...errors import Llm2LlmError, ModelError
from ...student.protocol import TrainingExample
from ..plan import Repeat, Work
from .student import StudentCase
from .training import LEARNT, segment

CONTEXT, TOO_LONG, LONGEST = "context tokens", "memory ran out at", "the model's longest"
"""Figures: the largest; what ended the search is told by which of the other two is there."""

_GIB = 2**30
_WORD = " river"
_PRECISION = 0.05
_MEMORY_RAN_OUT = "out of memory"
"""How the message of the ModelError begins that a training raises when nothing is left to be done about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextCase(StudentCase):
    """`shortest`: tokens tried first. The budget is of a GPU's memory; with the device "cpu" there is none."""

    shortest: int = 8_192
    budget_gib: float = 24.0


def largest_context(case: ContextCase) -> Repeat:
    """By doubling, then halving what lies between. Raises Llm2LlmError when not even the shortest fits."""
    import torch

    from ...student.lora import LoraStudent

    if case.device == "cuda":
        share = case.budget_gib * _GIB / torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, share))
    student, numbers = LoraStudent(case.settings()), count()
    n_trainings = 0

    def tokens_of(words: int) -> int:
        return student.check_lengths((_example(words),), lambda *_: None)

    def fits(tokens: int) -> bool:
        nonlocal n_trainings
        n_trainings += 1
        if case.device == "cuda":
            torch.cuda.empty_cache()  # what the last one cached would lie in the way, which no run has to cope with
        output = case.scratch / f"context-{next(numbers)}"
        try:
            student.train(segment(case, (_example(words_for(tokens)),), 1, output), lambda *_: None)
        except ModelError as error:
            if not error.message.startswith(_MEMORY_RAN_OUT):
                raise
            return False
        shutil.rmtree(output)
        return True

    few, many = tokens_of(1), tokens_of(11)

    def words_for(tokens: int) -> int:
        """Most words whose example has no more tokens: each takes as many as the others."""
        return 1 + (tokens - few) * 10 // (many - few)

    def repeat() -> Work:
        nonlocal n_trainings
        n_trainings = 0
        fitting, too_long = search(fits, min(case.shortest, case.longest), case.longest)
        if not fitting:
            raise Llm2LlmError(f"{too_long} tokens don't fit into {case.budget_gib:g} GiB")
        ended = {LONGEST: case.longest} if too_long is None else {TOO_LONG: tokens_of(words_for(too_long))}
        return Work({"trainings": n_trainings}, figures={CONTEXT: tokens_of(words_for(fitting)), **ended})

    return repeat


def search(fits: Callable[[int], bool], shortest: int, longest: int) -> tuple[int, int | None]:
    """The largest size that fits and a larger one that doesn't, no more than 5% apart; None: `longest` fits.

    The largest is 0 when the shortest doesn't fit.
    """
    fitting, size = 0, shortest
    while fits(size):
        if size == longest:
            return size, None
        fitting, size = size, min(2 * size, longest)
    too_long = size
    while fitting and too_long - fitting > max(1, _PRECISION * fitting):
        middle = (fitting + too_long) // 2
        if fits(middle):
            fitting = middle
        else:
            too_long = middle
    return fitting, too_long


def _example(words: int) -> TrainingExample:
    return TrainingExample(_WORD * words, LEARNT)
