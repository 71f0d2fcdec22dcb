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
from collections.abc import Callable, Iterator, Mapping, Sequence
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
_NO_TIME = "there was no time left"

Tell = Callable[[str], None]
"""Hears what is being done, a line each."""


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """By time.monotonic(). After `begin` no contender is prepared, and no repeat but a first one begun; at `end` what
    still runs is ended.
    """

    begin: float = math.inf
    end: float = math.inf

    @property
    def nothing_new(self) -> bool:
        return time.monotonic() > self.begin


UNLIMITED = TimeLimits()


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
        return _medians([one.counts for one in self.repeats])

    def parts(self) -> dict[str, float]:
        """Seconds of each part of a repeat, the median; empty where it isn't one of parts."""
        return _medians([one.parts for one in self.repeats])

    def figures(self) -> dict[str, float]:
        """What was found, the median."""
        return _medians([one.figures for one in self.repeats])

    def rates(self, count: str) -> list[float]:
        """Per second, of each repeat that has counted that."""
        return [one.counts[count] / one.seconds for one in self.repeats if count in one.counts]

    def rate(self, count: str) -> float:
        """Per second, the median."""
        return median(self.rates(count))


def _medians(repeats: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each name, over the repeats that have it: what one finds may depend on what came in its way."""
    names = dict.fromkeys(name for one in repeats for name in one)
    return {name: median(one[name] for one in repeats if name in one) for name in names}


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as much ours does in a second: that of the median rates, and the least and the most of any two
    repeats. (The first is called `median` in JSON.)"""

    of_medians: float
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


def ratio(ours: Result, other: Result, measure: str) -> Ratio | None:
    """By the rate of the count `measure`; None where a repeat did nothing of it, beside which all is infinite."""
    mine, theirs = ours.rates(measure), other.rates(measure)
    if not all(mine) or not all(theirs):
        return None
    return Ratio(ours.rate(measure) / other.rate(measure), min(mine) / max(theirs), max(mine) / min(theirs))


def measure_series(series: Series, tell: Tell = lambda _: None) -> MeasuredSeries:
    """Size by size, the smallest first. When one can't be made, neither it nor a larger one is measured."""
    at_sizes: list[tuple[int, tuple[Result, ...]]] = []
    all_figures = []
    reason = ""
    for size in sorted(series.sizes):
        comparison = series.at(size)
        if series.grow is not None and not reason:
            tell(f"{comparison.title}: {series.size} {size:,}")
            try:
                all_figures.append((size, dict(series.grow(comparison.case))))
            except Llm2LlmError as error:
                reason = _one_line(error)
        if reason:
            at_sizes.append((size, tuple(Result(one.name, not_run=reason) for one in comparison.contenders)))
        else:
            at_sizes.append((size, measure(comparison, tell).results))
    return MeasuredSeries(series, tuple(at_sizes), tuple(all_figures))


def measure(comparison: Comparison, tell: Tell = lambda _: None, limits: TimeLimits = UNLIMITED) -> Measured:
    """The results of all contenders, in their order. One that fails doesn't keep the others from being measured; when
    what they all need can't be made, none is.
    """
    if comparison.before is not None and (reason := _why_not_ready(comparison, tell, limits)):
        return Measured(comparison, tuple(Result(one.name, not_run=reason) for one in comparison.contenders))
    groups: list[Sequence[Contender]] = [[one] for one in comparison.contenders]
    if comparison.order == "interleaved":
        groups = [comparison.contenders]
    results = tuple(result for group in groups for result in _measure_together(comparison, group, tell, limits))
    return Measured(comparison, results)


def _why_not_ready(comparison: Comparison, tell: Tell, limits: TimeLimits) -> str:
    """Makes what all contenders need, in a process that has ended then; why that failed, or nothing."""
    assert comparison.before is not None
    if limits.nothing_new:
        return _NO_TIME
    tell(f"{comparison.title}: what all need is made")
    logs = Path(tempfile.mkdtemp(prefix="llm2llm-bench-"))
    child = _Child("preparation", logs / "preparation.log", limits)
    with ExitStack() as stack:
        stack.callback(_remove_unless_named, logs, [child])
        stack.callback(child.end)
        child.prepare(comparison.before, comparison.case)
    return child.not_run


def _measure_together(
    comparison: Comparison, contenders: Sequence[Contender], tell: Tell, limits: TimeLimits
) -> Iterator[Result]:
    if limits.nothing_new:
        yield from (Result(one.name, not_run=_NO_TIME) for one in contenders)
        return
    logs = Path(tempfile.mkdtemp(prefix="llm2llm-bench-"))
    children = [_Child(one.name, logs / f"{position}.log", limits) for position, one in enumerate(contenders)]
    with ExitStack() as stack:
        stack.callback(_remove_unless_named, logs, children)
        for child in children:
            stack.callback(child.end)
        for child, one in zip(children, contenders, strict=True):
            tell(f"{comparison.title}: {one.name} is prepared")
            child.prepare(one.prepare, comparison.case)
        for position in range(comparison.warm_ups + comparison.repeats):
            is_warm_up = position < comparison.warm_ups
            done = position + 1 if is_warm_up else position + 1 - comparison.warm_ups
            total = comparison.warm_ups if is_warm_up else comparison.repeats
            for child in children:
                if child.can_go_on and not (child.has_a_repeat and limits.nothing_new):
                    time.sleep(_REST_SECONDS)
                    seconds = child.take(is_warm_up)
                    kind = "warm-up" if is_warm_up else "repeat"
                    tell(f"{comparison.title}: {child.name}, {kind} {done} of {total}{seconds}")
        for child in children:
            yield child.result()


def _remove_unless_named(logs: Path, children: Sequence[_Child]) -> None:
    """The message of one that has crashed names its log."""
    if not any(one.has_crashed for one in children):
        shutil.rmtree(logs)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


class _OutOfTimeError(Exception):
    """A call was abandoned."""


class _Child:
    """One contender's process and what it has done so far."""

    def __init__(self, name: str, log: Path, limits: TimeLimits) -> None:
        self.name = name
        self._log = log
        self._limits = limits
        self._worker: WorkerProcess | None = None
        self.not_run = ""
        self.has_crashed = False
        self._preparation_seconds = 0.0
        self._warm_ups: list[Timed] = []
        self._repeats: list[Timed] = []
        self._memory: Memory | None = None

    @property
    def can_go_on(self) -> bool:
        return self._worker is not None

    @property
    def has_a_repeat(self) -> bool:
        return bool(self._repeats)

    def prepare(self, prepare: Callable[[Any], object], case: Any) -> None:
        try:
            self._worker = WorkerProcess(self.name, self._log, float("inf"), self._check_time, _CHILD)
            self._worker.load((prepare, case))
            self._preparation_seconds = self._ask("preparation_seconds")
        except (Llm2LlmError, WorkerDiedError, _OutOfTimeError) as error:
            self._give_up(error)

    def take(self, is_warm_up: bool) -> str:
        """One repeat; what there is to tell of it."""
        try:
            timed: Timed = self._ask("repeat")
            memory: Memory = self._ask("memory")
        except (Llm2LlmError, WorkerDiedError, _OutOfTimeError) as error:
            self._give_up(error)
            return f": {self.not_run or _NO_TIME}"
        (self._warm_ups if is_warm_up else self._repeats).append(timed)
        self._memory = memory
        return f": {timed.seconds:.2f} s"

    def result(self) -> Result:
        if self.not_run:
            return Result(self.name, not_run=self.not_run)
        return Result(
            self.name,
            preparation_seconds=self._preparation_seconds,
            warm_ups=tuple(self._warm_ups),
            repeats=tuple(self._repeats),
            memory=self._memory,
        )

    def end(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def _check_time(self) -> None:
        if time.monotonic() > self._limits.end:
            raise _OutOfTimeError

    def _ask(self, method: str) -> Any:
        assert self._worker is not None
        self._worker.begin(method)
        return self._worker.finish()

    def _give_up(self, error: Llm2LlmError | WorkerDiedError | _OutOfTimeError) -> None:
        """Whoever had no time for another repeat keeps those that are done."""
        self.has_crashed = isinstance(error, WorkerDiedError)
        if not isinstance(error, _OutOfTimeError):
            self.not_run = _one_line(error)
        elif not self._repeats:
            self.not_run = _NO_TIME
        self.end()
