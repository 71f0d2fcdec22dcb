"""Runs contenders and takes their figures together.

Each contender is a child process of its own, so that none warms another's caches, holds its memory or takes it along
when it dies. Warm-ups are run and not counted. Repeats of different contenders alternate, and between two turns the
machine gets a moment's rest, in which spinning threads of the one before go to sleep.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ..errors import Llm2LlmError
from ..workers.process import WorkerDiedError, WorkerProcess
from .plan import Comparison, Contender, Memory, Timed

_CHILD = "llm2llm_local.bench.child"
_REST_SECONDS = 0.3

Tell = Callable[[str], None]
"""Hears what is being done, a line each."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one contender did. With `not_run`, a sentence, it did not: nothing else is there then.

    `repeats` are in the order in which they were run; `warm_ups` are those before them.
    """

    name: str
    not_run: str = ""
    preparation_seconds: float = 0.0
    warm_ups: tuple[Timed, ...] = ()
    repeats: tuple[Timed, ...] = ()
    memory: Memory | None = None

    @property
    def median_seconds(self) -> float:
        return median(one.seconds for one in self.repeats)

    @property
    def spread_seconds(self) -> tuple[float, float]:
        """The fastest and the slowest repeat."""
        seconds = [one.seconds for one in self.repeats]
        return min(seconds), max(seconds)

    def counts(self) -> dict[str, float]:
        """Work of a repeat, by what it is counted in: the median, where repeats differ."""
        return {name: median(one.counts[name] for one in self.repeats) for name in self.repeats[0].counts}

    def rates(self, count: str) -> list[float]:
        """Per second, of each repeat."""
        return [one.counts[count] / one.seconds for one in self.repeats]

    def rate(self, count: str) -> float:
        """Per second, the median."""
        return median(self.rates(count))


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as much ours does in a second: of the medians, and the least and the most of any two repeats."""

    median: float
    low: float
    high: float


def ratio(ours: Result, other: Result, measure: str) -> Ratio:
    """By the rate of the count `measure`."""
    mine, theirs = ours.rates(measure), other.rates(measure)
    return Ratio(ours.rate(measure) / other.rate(measure), min(mine) / max(theirs), max(mine) / min(theirs))


def measure(comparison: Comparison, tell: Tell = lambda _: None) -> list[Result]:
    """The results of all contenders, in their order. One that fails doesn't keep the others from being measured."""
    groups: list[Sequence[Contender]] = [[one] for one in comparison.contenders]
    if comparison.order == "interleaved":
        groups = [comparison.contenders]
    results = [result for group in groups for result in _measure_together(comparison, group, tell)]
    return results


def _measure_together(comparison: Comparison, contenders: Sequence[Contender], tell: Tell) -> Iterator[Result]:
    logs = Path(tempfile.mkdtemp(prefix="llm2llm-bench-"))
    turns = [_Turns(one, comparison, logs / f"{position}.log") for position, one in enumerate(contenders)]
    with ExitStack() as stack:
        for one in turns:
            stack.callback(one.end)
        for one in turns:
            tell(f"{comparison.title}: {one.name} is prepared")
            one.prepare()
        for position in range(comparison.warm_ups + comparison.repeats):
            is_warm_up = position < comparison.warm_ups
            done = position + 1 if is_warm_up else position + 1 - comparison.warm_ups
            total = comparison.warm_ups if is_warm_up else comparison.repeats
            for one in turns:
                if one.can_go_on:
                    time.sleep(_REST_SECONDS)
                    seconds = one.take(is_warm_up)
                    kind = "warm-up" if is_warm_up else "repeat"
                    tell(f"{comparison.title}: {one.name}, {kind} {done} of {total}{seconds}")
        for one in turns:
            yield one.result()
    if not any(one.has_crashed for one in turns):  # else its message names the log
        shutil.rmtree(logs)


class _Turns:
    """One contender's process and what it has done so far."""

    def __init__(self, contender: Contender, comparison: Comparison, log: Path) -> None:
        self.name = contender.name
        self._contender = contender
        self._case = comparison.case
        self._measure = comparison.measure
        self._log = log
        self._worker: WorkerProcess | None = None
        self._not_run = ""
        self.has_crashed = False
        self._preparation_seconds = 0.0
        self._warm_ups: list[Timed] = []
        self._repeats: list[Timed] = []

    @property
    def can_go_on(self) -> bool:
        return not self._not_run

    def prepare(self) -> None:
        try:
            self._worker = WorkerProcess(
                self.name, (self._contender.prepare, self._case), self._log, float("inf"), lambda: None, _CHILD
            )
            self._preparation_seconds = self._worker.call("preparation_seconds")
        except (Llm2LlmError, WorkerDiedError) as error:
            self._give_up(error)

    def take(self, is_warm_up: bool) -> str:
        """One repeat; what there is to tell of it."""
        assert self._worker is not None
        try:
            timed: Timed = self._worker.call("repeat")
        except (Llm2LlmError, WorkerDiedError) as error:
            self._give_up(error)
            return f": {self._not_run}"
        (self._warm_ups if is_warm_up else self._repeats).append(timed)
        return f": {timed.seconds:.2f} s"

    def result(self) -> Result:
        if self._worker is not None and self.can_go_on:
            try:
                memory: Memory = self._worker.call("memory")
            except (Llm2LlmError, WorkerDiedError) as error:
                self._give_up(error)
            else:
                return Result(
                    self.name,
                    preparation_seconds=self._preparation_seconds,
                    warm_ups=tuple(self._warm_ups),
                    repeats=tuple(self._repeats),
                    memory=memory,
                )
        return Result(self.name, not_run=self._not_run)

    def end(self) -> None:
        if self._worker is not None:
            self._worker.stop()

    def _give_up(self, error: Llm2LlmError | WorkerDiedError) -> None:
        self._not_run = " ".join(str(error).split())
        self.has_crashed = isinstance(error, WorkerDiedError)
        self.end()
        self._worker = None
