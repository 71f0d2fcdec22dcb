"""The longest single example with which a training step is done within a budget of the GPU's memory."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

from ...errors import Llm2LlmError, OutOfMemoryError
from ...student.protocol import TrainingExample
from ..plan import Repeat, Work
from .limits import time_limits
from .student import StudentCase
from .training import LEARNT, segment

CONTEXT, TOO_LONG, LONGEST = "context tokens", "memory ran out at", "the model's longest"
NO_TIME, BUDGET = "no time left for", "budget GiB"
"""Figures: the largest, and what ended the search: the least that memory ran out with, the model's longest, or the size
that there was no time left to try. `BUDGET`: what could be had of the one asked for, on a GPU."""

_GIB = 2**30
_WORD = " river"
_PRECISION = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextCase(StudentCase):
    """`shortest`: tokens tried first. The budget is of a GPU's memory; with the device "cpu" there is none."""

    shortest: int = 8_192
    budget_gib: float = 24.0


def largest_context(case: ContextCase) -> Repeat:
    """By doubling, then halving what lies between. Raises Llm2LlmError when not even the shortest fits."""
    import torch

    budget: dict[str, float] = {}
    if case.device == "cuda":
        whole = torch.cuda.get_device_properties(0).total_memory / _GIB
        budget = {BUDGET: min(case.budget_gib, whole)}
        torch.cuda.set_per_process_memory_fraction(budget[BUDGET] / whole)
    trials = _Trials(case, time_limits().end)

    def repeat() -> Work:
        trials.begin()
        with suppress(_NoTimeError):
            search(trials.fits, min(case.shortest, case.longest), case.longest)
        if not trials.fitting:
            within = budget.get(BUDGET, case.budget_gib)
            raise Llm2LlmError(f"{trials.too_long} tokens don't fit into {within:.3g} GiB")
        return Work({"trainings": trials.n_trainings}, figures=trials.figures() | budget)

    return repeat


class _NoTimeError(Exception):
    """The next training would not be done in time."""


class _Trials:
    """Trainings on one example each, and what came of them: an end of the search loses none of it.

    `fitting`: the longest that was done, in tokens; `too_long`: the shortest that memory ran out with. `end`: by
    time.monotonic(), when this process is ended.
    """

    def __init__(self, case: ContextCase, end: float) -> None:
        from ...student.lora import LoraStudent

        self._case, self._end = case, end
        self._student, self._numbers = LoraStudent(case.settings()), count()
        self._few, self._many = self._tokens_of(1), self._tokens_of(11)
        self.begin()

    def begin(self) -> None:
        self.n_trainings, self.fitting, self.too_long, self._no_time_for = 0, 0, 0, 0
        self._seconds = 0.0  # of the longest that was done

    def fits(self, tokens: int) -> bool:
        """Raises _NoTimeError instead when time would be up meanwhile. A training takes at most as many times as long
        as the square of how many times as long the example is, which is so of attention.
        """
        started = time.monotonic()
        if self.fitting and started + self._seconds * (tokens / self.fitting) ** 2 > self._end:
            self._no_time_for = tokens
            raise _NoTimeError
        self.n_trainings += 1
        if not self._is_done(tokens):
            self.too_long = tokens
            return False
        self.fitting, self._seconds = tokens, time.monotonic() - started
        return True

    def _is_done(self, tokens: int) -> bool:
        if self._case.device == "cuda":
            import torch

            torch.cuda.empty_cache()  # what the last one cached would lie in the way, which no run has to cope with
        output = self._case.scratch / f"context-{next(self._numbers)}"
        example = _example(self._words_for(tokens))
        try:
            self._student.train(segment(self._case, (example,), 1, output), lambda *_: None)
        except OutOfMemoryError:
            return False
        shutil.rmtree(output)
        return True

    def figures(self) -> dict[str, float]:
        """In the tokens that the examples really had."""
        found = {CONTEXT: self._real(self.fitting)}
        if self.fitting == self._case.longest:
            found[LONGEST] = self._case.longest
        if self.too_long:
            found[TOO_LONG] = self._real(self.too_long)
        if self._no_time_for:
            found[NO_TIME] = self._real(self._no_time_for)
        return found

    def _real(self, tokens: int) -> float:
        return self._tokens_of(self._words_for(tokens))

    def _tokens_of(self, words: int) -> int:
        return self._student.check_lengths((_example(words),), lambda *_: None)

    def _words_for(self, tokens: int) -> int:
        """Most words whose example has no more tokens: each takes as many as the others."""
        return 1 + (tokens - self._few) * 10 // (self._many - self._few)


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
