"""Runs contenders and takes their figures together.

Each contender is a child process of its own, so that none warms another's caches, holds its memory or takes it along
when it dies. Warm-ups are run and not counted. Repeats of different contenders alternate, and between two turns the
machine gets a moment's rest, in which spinning threads of the one before go to sleep.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ..errors import Llm2LlmError
from ..workers.process import WorkerDiedError, WorkerProcess
from .growth import Growth, Point, fit_growth
from .plan import Comparison, Contender, Memory, Series, Timed

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

    def parts(self) -> dict[str, float]:
        """Seconds of each part of a repeat, the median; empty where it isn't one of parts."""
        return {name: median(one.parts[name] for one in self.repeats) for name in self.repeats[0].parts}

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


@dataclass(frozen=True, slots=True)
class Measured:
    """A comparison and what came of it, a result for each contender."""

    comparison: Comparison
    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class MeasuredSeries:
    """A series, measured at each size. `figures`: what `grow` told at each size.

    `growth`: of the median seconds of each contender and of each figure, by name; only where two sizes at least were
    measured.
    """

    series: Series
    at_sizes: tuple[tuple[int, tuple[Result, ...]], ...]
    figures: tuple[tuple[int, dict[str, float]], ...]

    def points(self, name: str) -> list[Point]:
        """Of the contender or the figure of that name: the sizes and what was measured there."""
        timed = [
            (float(size), one.median_seconds)
            for size, results in self.at_sizes
            for one in results
            if one.name == name and not one.not_run
        ]
        return timed or [(float(size), figures[name]) for size, figures in self.figures if figures.get(name, 0) > 0]

    def growth(self, name: str) -> Growth | None:
        """None when there are less than two sizes to go by."""
        points = self.points(name)
        return fit_growth(points) if len({size for size, _ in points}) > 1 else None


def ratio(ours: Result, other: Result, measure: str) -> Ratio:
    """By the rate of the count `measure`."""
    mine, theirs = ours.rates(measure), other.rates(measure)
    return Ratio(ours.rate(measure) / other.rate(measure), min(mine) / max(theirs), max(mine) / min(theirs))


def measure_series(series: Series, tell: Tell = lambda _: None) -> MeasuredSeries:
    """Size by size, the smallest first."""
    at_sizes, all_figures = [], []
    for size in sorted(series.sizes):
        comparison = series.at(size)
        if series.grow is not None:
            tell(f"{comparison.title}: {series.size} {size:,}")
            all_figures.append((size, dict(series.grow(comparison.case))))
        at_sizes.append((size, measure(comparison, tell).results))
    return MeasuredSeries(series, tuple(at_sizes), tuple(all_figures))


def measure(comparison: Comparison, tell: Tell = lambda _: None, deadline: float = math.inf) -> Measured:
    """The results of all contenders, in their order. One that fails doesn't keep the others from being measured.

    `deadline` by time.monotonic(): no contender is prepared, and no repeat but the first begun, after it.
    """
    groups: list[Sequence[Contender]] = [[one] for one in comparison.contenders]
    if comparison.order == "interleaved":
        groups = [comparison.contenders]
    results = tuple(result for group in groups for result in _measure_together(comparison, group, tell, deadline))
    return Measured(comparison, results)


def _measure_together(
    comparison: Comparison, contenders: Sequence[Contender], tell: Tell, deadline: float
) -> Iterator[Result]:
    if time.monotonic() > deadline:
        yield from (Result(one.name, not_run="there was no time left") for one in contenders)
        return
    logs = Path(tempfile.mkdtemp(prefix="llm2llm-bench-"))
    turns = [_Turns(one, comparison, logs / f"{position}.log") for position, one in enumerate(contenders)]
    with ExitStack() as stack:
        stack.callback(_remove_unless_named, logs, turns)
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
                if one.can_go_on and not (one.has_a_repeat and time.monotonic() > deadline):
                    time.sleep(_REST_SECONDS)
                    seconds = one.take(is_warm_up)
                    kind = "warm-up" if is_warm_up else "repeat"
                    tell(f"{comparison.title}: {one.name}, {kind} {done} of {total}{seconds}")
        for one in turns:
            yield one.result()


def _remove_unless_named(logs: Path, turns: Sequence[_Turns]) -> None:
    """The message of one that has crashed names its log."""
    if not any(one.has_crashed for one in turns):
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

    @property
    def has_a_repeat(self) -> bool:
        return bool(self._repeats)

    def prepare(self) -> None:
        try:
            self._worker = WorkerProcess(self.name, self._log, float("inf"), lambda: None, _CHILD)
            self._worker.load((self._contender.prepare, self._case))
            self._preparation_seconds = self._ask("preparation_seconds")
        except (Llm2LlmError, WorkerDiedError) as error:
            self._give_up(error)

    def take(self, is_warm_up: bool) -> str:
        """One repeat; what there is to tell of it."""
        try:
            timed: Timed = self._ask("repeat")
        except (Llm2LlmError, WorkerDiedError) as error:
            self._give_up(error)
            return f": {self._not_run}"
        (self._warm_ups if is_warm_up else self._repeats).append(timed)
        return f": {timed.seconds:.2f} s"

    def result(self) -> Result:
        if self._worker is not None and self.can_go_on:
            try:
                memory: Memory = self._ask("memory")
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

    def _ask(self, method: str) -> Any:
        assert self._worker is not None
        self._worker.begin(method)
        return self._worker.finish()

    def end(self) -> None:
        if self._worker is not None:
            self._worker.stop()

    def _give_up(self, error: Llm2LlmError | WorkerDiedError) -> None:
        self._not_run = " ".join(str(error).split())
        self.has_crashed = isinstance(error, WorkerDiedError)
        self.end()
        self._worker = None
