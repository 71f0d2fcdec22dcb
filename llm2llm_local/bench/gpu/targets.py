"""`python -m llm2llm_local.bench.gpu.targets FILE`: the table of what was wanted of a GPU and what was found.

FILE is what `llm2llm bench gpu --json` printed. Nothing is measured here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click

from ...report.plain import plain
from ..output import figure
from .context import BUDGET, CONTEXT, LONGEST, NO_TIME, TOO_LONG
from .hand_over import FIRST_STEP, LEFT
from .training import DISTANCE, PEAK, PEAK_SHARE

_TIMES_THE_LOOP = 12.0
_SHARE_OF_BARE_LOOP = 0.95
_TIMES_TRAINER = 2.0
_HAND_OVER_SECONDS = 10.0
_NOTHING_MIB = 16.0
"""Free memory of a GPU is told in steps; less than that is none."""

_MIB = 2**20
_GAP = "  "


@dataclass(frozen=True, slots=True)
class Line:
    """`wanted` and `verdict` are empty where nothing was; `verdict`: "met", "missed", or why there is none."""

    what: str
    found: str
    wanted: str
    verdict: str


def main(file: Path) -> None:
    try:
        lines = list(table(json.loads(file.read_text("utf-8"))))
    except (OSError, ValueError, KeyError, TypeError) as error:
        click.echo(f"error: {file}: not what llm2llm bench gpu --json prints: {error!r}", err=True)
        raise SystemExit(1) from None
    for line in lines:
        click.echo(line)


def table(document: Mapping[str, Any]) -> Iterator[str]:
    """The machine, then a line for each thing that was looked at."""
    machine, versions = document["machine"], document["versions"]
    yield f"{machine['gpu']}, {machine['gpu_bytes'] / 2**30:.0f} GiB, driver {machine['driver']}; {machine['cpu']}"
    yield ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [Line("GPU check", "found", "wanted", "")]
    for comparison in document["comparisons"]:
        lines += _lines(comparison)
    rows = [[plain(one.what), plain(one.found), one.wanted, plain(one.verdict)] for one in lines]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        yield _GAP.join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip()


def _lines(comparison: Mapping[str, Any]) -> Iterator[Line]:
    """Of one comparison, known by its contenders; a contender that wasn't run has a line with the reason."""
    title, contenders = comparison["title"], {one["name"]: one for one in comparison["contenders"]}
    for name, one in contenders.items():
        if one["not_run"]:
            yield Line(f"{title}: {name}", "", "", f"not run: {one['not_run']}")
    run = {name: one for name, one in contenders.items() if not one["not_run"]}
    if "batched" in run:
        yield from _ratio(
            run,
            "one_at_a_time",
            f"teacher, {comparison['case']['n_parallel']} in parallel, to the loop",
            _TIMES_THE_LOOP,
        )
        yield from _ratio(run, "bare_loop", "teacher, to llama.cpp's bare loop", _SHARE_OF_BARE_LOOP)
    if "training" in run:
        yield from _training(title, run)
    if "hand-over" in run:
        yield from _hand_over(title, run["hand-over"])
    if "largest context" in run:
        yield _context(title, run["largest context"])
    if "two segments" in run:
        yield Line(f"{title}, {DISTANCE}", figure(_median_figure(run["two segments"], DISTANCE)), "", "")


def _ratio(run: Mapping[str, Any], other: str, what: str, least: float) -> Iterator[Line]:
    if other in run and run[other]["ratio"]:
        ratio = run[other]["ratio"]
        found = f"{figure(ratio['median'])}× ({figure(ratio['low'])}–{figure(ratio['high'])})"
        yield Line(what, found, f"≥ {figure(least)}×", _verdict(ratio["median"] >= least))


def _training(title: str, run: Mapping[str, Any]) -> Iterator[Line]:
    yield from _ratio(run, "Trainer", f"{title}, to Trainer", _TIMES_TRAINER)
    ours, other = run["training"], run.get("Trainer")
    if other and ours["peak_gpu_bytes"] is not None and other["peak_gpu_bytes"] is not None:
        mine, theirs = ours["peak_gpu_bytes"], other["peak_gpu_bytes"]
        found = f"{mine / _MIB:,.0f} MiB, Trainer {theirs / _MIB:,.0f} MiB"
        yield Line(f"{title}, peak memory", found, "no more", _verdict(mine <= theirs))
    yield Line(f"{title}, tokens/s", figure(ours["rates"]["tokens"]), "", "")
    share, peak = _median_figure(ours, PEAK_SHARE), _median_figure(ours, PEAK)
    yield Line(f"{title}, share of the matrix peak", f"{share:.0f}% of {figure(peak)} TFLOP/s", "", "")


def _hand_over(title: str, one: Mapping[str, Any]) -> Iterator[Line]:
    slowest = max(repeat["parts"][FIRST_STEP] for repeat in one["repeats"])
    wanted = f"< {figure(_HAND_OVER_SECONDS)} s"
    yield Line(f"{title}, {FIRST_STEP}", f"{figure(slowest)} s", wanted, _verdict(slowest < _HAND_OVER_SECONDS))
    left = max(repeat["figures"][LEFT] for repeat in one["repeats"])
    yield Line(f"{title}, memory left by both", f"{figure(left)} MiB", "nothing", _verdict(left < _NOTHING_MIB))


def _context(title: str, one: Mapping[str, Any]) -> Line:
    figures = one["repeats"][0]["figures"]
    found = [f"{figures[CONTEXT]:,.0f} tokens"]
    if LONGEST in figures:
        found.append("the model's longest")
    found += [f"{name} {figures[name]:,.0f}" for name in (TOO_LONG, NO_TIME) if name in figures]
    budget = f" in {figures[BUDGET]:.3g} GiB" if BUDGET in figures else ""
    return Line(f"{title}{budget}", "; ".join(found), "", "")


def _median_figure(one: Mapping[str, Any], name: str) -> float:
    return float(median(repeat["figures"][name] for repeat in one["repeats"]))


def _verdict(is_met: bool) -> str:
    return "met" if is_met else "missed"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
