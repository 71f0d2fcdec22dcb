"""What was measured, as a text for people and as JSON for programs, which has each repeat."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..cells import cells, padded, right_aligned
from ..counted import counted
from ..errors import DiskError, UserInputError
from ..report.plain import plain
from .machine import Machine
from .measure import Measured, MeasuredSeries, Ratio, Result, Tell, ratio
from .plan import Comparison, Series

_MIB = 2**20
_NOT_RUN = "not run: "
_GAP = "  "
_STEPS = (1, 1_000, 1_000_000)
"""Of how many further ones a slope tells the cost: as many as there were at least once."""


KEPT = "LLM2LLM_BENCH_JSON"
"""Environment: a file that gets the JSON after each part of a call, so that one that is ended loses nothing that was
measured. `make bench-gpu` tells it."""


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True)
class Report:
    """One call of `bench`. `warnings`: what disturbed it."""

    subject: str
    machine: Machine
    versions: dict[str, str]
    warnings: tuple[str, ...]
    parts: tuple[Measured | MeasuredSeries, ...]
    created_at: str = dataclasses.field(default_factory=now)

    @property
    def has_figures(self) -> bool:
        """Whether anything could be measured at all."""
        results = [
            one
            for part in self.parts
            for group in ([part.results] if isinstance(part, Measured) else [at[1] for at in part.at_sizes])
            for one in group
        ]
        return any(not one.not_run for one in results)


def report_lines(report: Report) -> Iterator[str]:
    """The whole as lines without control characters."""
    yield f"llm2llm bench {report.subject}  {report.created_at}"
    yield from report.machine.lines()
    yield ", ".join(f"{name} {version}" for name, version in report.versions.items())
    for warning in report.warnings:
        yield f"warning: {warning}"
    for part in report.parts:
        yield ""
        yield from _lines(part)


def _lines(part: Measured | MeasuredSeries) -> Iterator[str]:
    comparison = part.comparison if isinstance(part, Measured) else part.series.comparison
    varied = "" if isinstance(part, Measured) else part.series.size
    yield f"{comparison.title}: {_sizes(comparison, varied)}"
    order = "" if len(comparison.contenders) == 1 else f", {comparison.order}"
    warm_ups = f" after {counted(comparison.warm_ups, 'warm-up')}" if comparison.warm_ups else ", no warm-up"
    yield f"{counted(comparison.repeats, 'repeat')} of each{warm_ups}{order}"
    if comparison.note:
        yield plain(comparison.note)
    if isinstance(part, Measured):
        yield from _aligned(_comparison_rows(part))
    else:
        yield from _aligned(_series_rows(part))
        for size, results in part.at_sizes:
            for result in results:
                if result.not_run:
                    yield f"{_noun(part.series)} {size:,}: {result.name}: {_NOT_RUN}{plain(result.not_run)}"


def _sizes(comparison: Comparison, varied: str) -> str:
    return ", ".join(f"{name} {size:,}" for name, size in comparison.sizes().items() if name != varied)


def _comparison_rows(measured: Measured) -> list[list[str]]:
    """Heading first; a row of one cell besides its name is a sentence."""
    run = [one for one in measured.results if not one.not_run]
    counts = list(dict.fromkeys(name for one in run for name in one.counts()))
    parts = list(dict.fromkeys(name for one in run for name in one.parts()))
    found = list(dict.fromkeys(name for one in run for name in one.figures()))
    has_gpu = any(one.memory is not None and one.memory.gpu is not None for one in run)
    heading = ["contender", *counts, "median s", "spread s", *(f"{name}/s" for name in counts)]
    heading += [*(f"{name} s" for name in parts), *found, "peak MiB", "at work MiB", *(["GPU MiB"] if has_gpu else [])]
    rows = [[*heading, f"{measured.results[0].name} to it"]]
    for one in measured.results:
        rows.append(_row(measured, one, counts, parts, found, has_gpu))
    return rows


def _row(
    measured: Measured,
    one: Result,
    counts: Sequence[str],
    parts: Sequence[str],
    found: Sequence[str],
    has_gpu: bool,
) -> list[str]:
    if one.not_run:
        return [one.name, _NOT_RUN + plain(one.not_run)]
    done, seconds, figures, memory = one.counts(), one.parts(), one.figures(), one.memory
    assert memory is not None
    low, high = one.spread_seconds
    row = [one.name, *(figure(done[name]) if name in done else "" for name in counts)]
    row += [figure(one.median_seconds), f"{figure(low)}–{figure(high)}"]
    row += [figure(one.rate(name)) if name in done else "" for name in counts]
    row += [figure(seconds[name]) if name in seconds else "" for name in parts]
    row += [figure(figures[name]) if name in figures else "" for name in found]
    row += [f"{memory.whole / _MIB:,.0f}", f"{memory.working / _MIB:,.0f}"]
    if has_gpu:
        row.append("" if memory.gpu is None else f"{memory.gpu / _MIB:,.0f}")
    return [*row, _ratio(measured, one)]


def _ratio(measured: Measured, one: Result) -> str:
    ours = measured.results[0]
    if one is ours or ours.not_run:
        return ""
    found = ratio(ours, one, measured.comparison.measure)
    return "–" if found is None else ratio_text(found)


def ratio_text(found: Ratio) -> str:
    """`4× (2–6)`."""
    return f"{figure(found.of_medians)}× ({figure(found.low)}–{figure(found.high)})"


def _series_rows(measured: MeasuredSeries) -> list[list[str]]:
    sizes = sorted(measured.series.sizes)
    noun = _noun(measured.series)
    step = max(one for one in _STEPS if one <= sizes[-1])
    further = noun.removesuffix("s") if step == 1 else f"{step:,} {noun}"
    rows = [[f"median s by {noun}", *(f"{size:,}" for size in sizes), "exponent (R²)", f"each further {further} (R²)"]]
    contenders = [one.name for one in measured.series.comparison.contenders]
    for name in [*contenders, *dict.fromkeys(name for _, figures in measured.figures for name in figures)]:
        values = dict(measured.points(name))
        growth = measured.growth(name)
        fits = ["", ""]
        if growth is not None:
            unit = " s" if name in contenders else ""
            fits = [
                f"{growth.exponent:.2f} ({growth.exponent_r_squared:.3f})",
                f"{figure(step * growth.per_one)}{unit} ({growth.per_one_r_squared:.3f})",
            ]
        rows.append([name, *(figure(values[size]) if size in values else "–" for size in sizes), *fits])
    return rows


def _noun(series: Series) -> str:
    """What is varied, as people say it: the fields of cases are called `predictions` or `n_requests`."""
    return series.size.removeprefix("n_").replace("_", " ")


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The first column to the left, the others to the right; sentences take no part in it."""
    full = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(cells(row[column]) for row in full) for column in range(len(rows[0]))]
    widths[0] = max(cells(row[0]) for row in rows)
    for row in rows:
        first = padded(row[0], widths[0])
        if len(row) < len(rows[0]):
            yield _GAP.join([first, *row[1:]])
            continue
        others = (right_aligned(cell, width) for cell, width in zip(row[1:], widths[1:], strict=True))
        yield _GAP.join([first, *others]).rstrip()


def figure(value: float) -> str:
    """Three significant digits, and no exponent of ten; whole numbers from a hundred on."""
    if value == 0:
        return "0"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    if abs(value) < 1e-6:
        return f"{value:.1e}"
    text = f"{value:.3g}"
    return f"{value:.8f}".rstrip("0") if "e" in text else text


# --- JSON -------------------------------------------------------------------------------------------------------------


def report_document(report: Report) -> dict[str, Any]:
    """All of it: every repeat, sizes and figures; documented by the names, seconds and bytes throughout."""
    return {
        "benchmark": report.subject,
        "created_at": report.created_at,
        "machine": dataclasses.asdict(report.machine),
        "versions": report.versions,
        "warnings": list(report.warnings),
        "comparisons": [_comparison_document(one) for one in report.parts if isinstance(one, Measured)],
        "series": [_series_document(one) for one in report.parts if isinstance(one, MeasuredSeries)],
    }


class KeptDocument:
    """The JSON in the file that KEPT names, whole at any moment; without it, nowhere.

    Made before anything is measured: raises UserInputError where there can be no such file. What goes wrong later ends
    no measurement; `error` is why the file lacks what came last, to be raised when all is measured and told.
    """

    def __init__(self, tell: Tell) -> None:
        self._path = Path(name) if (name := os.environ.get(KEPT)) else None
        self._tell = tell
        self.error: DiskError | None = None
        if self._path is None:
            return
        try:
            if self._path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            self._part.touch()
            self._part.unlink()
        except OSError as error:
            raise UserInputError(
                f"{KEPT}={self._path}: can't be written: {error.strerror}", "Name a file in a folder of yours."
            ) from None

    @property
    def _part(self) -> Path:
        return Path(f"{self._path}.part")

    def keep(self, report: Report) -> None:
        self.keep_document(report_document(report))

    def keep_document(self, document: Mapping[str, Any]) -> None:
        if self._path is None:
            return
        try:
            self._part.write_text(json.dumps(document, indent=2), encoding="utf-8")
            self._part.replace(self._path)
            self.error = None
        except OSError as error:
            self.error = DiskError(f"{KEPT}={self._path}: lacks what was measured last: {error.strerror}")
            self._tell(f"warning: {self.error}")


def _head(comparison: Comparison) -> dict[str, Any]:
    case = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in (
            (one.name, getattr(comparison.case, one.name)) for one in dataclasses.fields(comparison.case)
        )
    }
    return {
        "title": comparison.title,
        "note": comparison.note,
        "case": case,
        "order": comparison.order,
        "warm_ups": comparison.warm_ups,
    }


def _comparison_document(measured: Measured) -> dict[str, Any]:
    ours, measure = measured.results[0], measured.comparison.measure
    results = []
    for one in measured.results:
        is_compared = one is not ours and not one.not_run and not ours.not_run
        found = ratio(ours, one, measure) if is_compared else None
        results.append({**_result_document(one), "ratio": None if found is None else _ratio_document(found)})
    return {**_head(measured.comparison), "measure": measure, "contenders": results}


def _ratio_document(found: Ratio) -> dict[str, float]:
    return {"median": found.of_medians, "low": found.low, "high": found.high}


def _result_document(one: Result) -> dict[str, Any]:
    if one.not_run:
        return {"name": one.name, "not_run": one.not_run}
    assert one.memory is not None
    low, high = one.spread_seconds
    return {
        "name": one.name,
        "not_run": None,
        "preparation_seconds": one.preparation_seconds,
        "median_seconds": one.median_seconds,
        "least_seconds": low,
        "most_seconds": high,
        "rates": {name: one.rate(name) for name in one.counts()},
        "peak_bytes": one.memory.whole,
        "peak_bytes_at_work": one.memory.working,
        "peak_gpu_bytes": one.memory.gpu,
        "warm_ups": [dataclasses.asdict(repeat) for repeat in one.warm_ups],
        "repeats": [dataclasses.asdict(repeat) for repeat in one.repeats],
    }


def _series_document(measured: MeasuredSeries) -> dict[str, Any]:
    series = measured.series
    names = [one.name for one in series.comparison.contenders]
    names += dict.fromkeys(name for _, figures in measured.figures for name in figures)
    growths = {name: measured.growth(name) for name in names}
    return {
        **_head(series.comparison),
        "size": series.size,
        "at": [
            {"size": size, "contenders": [_result_document(one) for one in results]}
            for size, results in measured.at_sizes
        ],
        "figures": [{"size": size, **figures} for size, figures in measured.figures],
        "growth": {name: None if one is None else dataclasses.asdict(one) for name, one in growths.items()},
    }
