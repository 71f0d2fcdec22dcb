"""What `llm2llm bench --plot` draws: how many times as much as each alternative ours does, as an SVG file.

It is drawn from what `--json` printed, so that measurements of different calls come into one picture. A bar begins at
1, where both are as fast, and its axis is logarithmic: twice as fast and half as fast are equally long. The whisker
spans the least and the most of any two repeats. All figures are there as text as well, and below them what disturbed
the measurements. The same files give the same bytes; colours follow the reader's choice of light or dark, on a ground
of their own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from ..cells import cells, cut
from ..errors import UserInputError
from ..report.plain import plain, shortened
from .machine import Machine
from .measure import Ratio
from .output import figure, ratio_text

_WIDTH, _MARGIN, _GAP = 860, 20, 12
_ROW, _BAR = 26, 14
_CELL = 7.4
"""Pixels that a character takes at most, on the average of a text in a font of 13."""

_SMALL_ROW, _SMALL_CELL = 18, 6.3
"""The same of a font of 11."""

_WHY_CELLS = 50
_MOST_TICKS = 9
_MOST_RATIO = 1e9
"""Beyond it, or below its inverse, a ratio isn't one that was measured."""

_STEPS = (1, 2, 5)

_STYLE = """
svg { font: 13px system-ui, sans-serif; }
.ground { fill: #ffffff; } text { fill: #1f2328; } .muted { fill: #59636e; } .title { font-weight: 600; }
.small { fill: #59636e; font-size: 11px; }
.grid { stroke: #d1d9e0; } .one { stroke: #59636e; } .more { fill: #54aeff; } .less { fill: #fb8f44; }
.whisker { stroke: #1f2328; }
@media (prefers-color-scheme: dark) {
.ground { fill: #0d1117; } text { fill: #f0f6fc; } .muted, .small { fill: #9198a1; }
.grid { stroke: #3d444d; } .one { stroke: #9198a1; } .more { fill: #1f6feb; } .less { fill: #bd561d; }
.whisker { stroke: #f0f6fc; }
}
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """An alternative, and ours to it; without a ratio, why there is none."""

    name: str
    ratio: Ratio | None
    why_none: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """A comparison. `measure`: what is counted."""

    title: str
    ours: str
    measure: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Measurements:
    """What is drawn. `machines`: a line of each where something of it was measured; `warnings`: what disturbed it."""

    groups: tuple[Group, ...]
    machines: tuple[str, ...]
    warnings: tuple[str, ...]


def write_plot(path: Path, files: Sequence[Path]) -> None:
    """Draw what the JSON files have. Raises UserInputError when that isn't what `bench --json` prints."""
    if path.suffix != ".svg":
        raise UserInputError(
            f"--plot {path}: the name of the picture ends in .svg", "The files of --json come after it."
        )
    path.write_text(drawn(read_measurements(files)), encoding="utf-8")


# --- reading ----------------------------------------------------------------------------------------------------------


def read_measurements(files: Sequence[Path]) -> Measurements:
    """In the order of the files. Comparisons without an alternative have nothing to draw."""
    groups: list[Group] = []
    machines: dict[str, None] = {}
    warnings: list[str] = []
    for file in files:
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
            found = [_group(one) for one in document["comparisons"] if len(one["contenders"]) > 1]
            lines = Machine(**document["machine"]).lines()
            warned = [f"bench {document['benchmark']}: {one}" for one in document["warnings"]]
        except OSError as error:
            reason = "no such file" if isinstance(error, FileNotFoundError) else f"can't be read: {error.strerror}"
            raise UserInputError(
                f"{file}: {reason}", "Measure first: llm2llm bench teacher --json > teacher.json"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise UserInputError(
                f"{file}: not what llm2llm bench --json prints: {type(error).__name__}: {error}",
                "Measure again: llm2llm bench teacher --json > teacher.json",
            ) from None
        groups += found
        if found:
            machines |= dict.fromkeys(lines)
            warnings += warned
    if not any(bar.ratio for group in groups for bar in group.bars):
        raise UserInputError(
            "nothing to draw: no alternative was measured",
            "Measure first: llm2llm bench teacher --json > teacher.json, and then: llm2llm bench --plot F teacher.json",
        )
    return Measurements(tuple(groups), tuple(machines), tuple(warnings))


def _group(comparison: Mapping[str, Any]) -> Group:
    ours, *others = comparison["contenders"]
    bars = [Bar(str(one["name"]), _ratio(one["ratio"]), _why_none(one["not_run"] or ours["not_run"])) for one in others]
    return Group(str(comparison["title"]), str(ours["name"]), str(comparison["measure"]), tuple(bars))


def _why_none(not_run: str | None) -> str:
    return f"not run: {not_run}" if not_run else "no ratio: a repeat did nothing"


def _ratio(found: Mapping[str, Any] | None) -> Ratio | None:
    if found is None:
        return None
    ratio = Ratio(float(found["median"]), float(found["low"]), float(found["high"]))
    if not 1 / _MOST_RATIO <= ratio.low <= ratio.of_medians <= ratio.high <= _MOST_RATIO:
        raise ValueError(f"no ratio: {found}")
    return ratio


# --- drawing ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Axis:
    """A logarithmic one: `low` is at the pixel `left`, `high` at `right`."""

    low: float
    high: float
    left: float
    right: float

    def at(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.left + share * (self.right - self.left)

    def ticks(self) -> list[float]:
        exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for steps in (_STEPS, _STEPS[:1]):
            ticks = [step * 10.0**exponent for exponent in exponents for step in steps]
            ticks = [tick for tick in ticks if self.low <= tick <= self.high]
            if len(ticks) <= _MOST_TICKS:
                break
        return ticks


def drawn(measurements: Measurements) -> str:
    """The whole file."""
    groups = measurements.groups
    bars = [bar for group in groups for bar in group.bars]
    ratios = [bar.ratio for bar in bars if bar.ratio is not None]
    names = max(cells(plain(bar.name)) for bar in bars) * _CELL
    values = max(cells(ratio_text(one)) for one in ratios) * _CELL
    axis = _Axis(
        low=min(1.0, *(one.low for one in ratios)) / 1.1,
        high=max(2.0, *(one.high for one in ratios)) * 1.1,
        left=_MARGIN + names + _GAP,
        right=_WIDTH - _MARGIN - values - _GAP,
    )
    top = 2 * _ROW + _MARGIN
    bottom = top + _ROW * sum(1 + len(group.bars) for group in groups) + _GAP
    machines = [line for one in measurements.machines for line in _wrapped(one, _CELL)]
    warnings = [line for one in measurements.warnings for line in _wrapped(f"warning: {one}", _SMALL_CELL)]
    first_machine = bottom + 2 * _ROW
    first_warning = first_machine + _ROW * len(machines)
    height = first_warning + _SMALL_ROW * len(warnings)
    title = "Work in a second: how many times that of the alternative"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" role="img" aria-labelledby="title">',
        f'<title id="title">{title}</title>',
        f"<style>{_STYLE}</style>",
        f'<rect class="ground" width="{_WIDTH}" height="{height}"/>',
        _text(_MARGIN, _MARGIN + _BAR, title, "title"),
        _text(_MARGIN, _MARGIN + _BAR + 20, "Whiskers: the least and the most of any two repeats", "muted"),
        *(_text(axis.at(tick), bottom + 6, f"{figure(tick)}×", "muted", "middle") for tick in axis.ticks()),
    ]
    y = top
    for group in groups:
        lines += _drawn_group(group, axis, y)
        y += _ROW * (1 + len(group.bars))
    lines += [_text(_MARGIN, first_machine + _ROW * number, line, "muted") for number, line in enumerate(machines)]
    lines += [
        _text(_MARGIN, first_warning + _SMALL_ROW * number, line, "small") for number, line in enumerate(warnings)
    ]
    return "\n".join([*lines, "</svg>", ""])


def _drawn_group(group: Group, axis: _Axis, y: float) -> Iterator[str]:
    yield _text(_MARGIN, y + 18, f"{group.title}: {group.measure} a second, {group.ours} to …", "title")
    top, bottom = y + _ROW, y + _ROW * (1 + len(group.bars))
    for tick in axis.ticks():
        x, kind = axis.at(tick), "one" if tick == 1 else "grid"
        yield f'<line class="{kind}" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}"/>'
    for number, bar in enumerate(group.bars, 1):
        middle = y + _ROW * number + _ROW / 2
        yield _text(axis.left - _GAP, middle + 5, bar.name, "", "end")
        if bar.ratio is None:
            shown = shortened(bar.why_none, _WHY_CELLS)
            yield _text(axis.at(1) + _GAP / 2, middle + 5, shown, "muted")
            continue
        start, end = sorted((axis.at(1), axis.at(bar.ratio.of_medians)))
        low, high = axis.at(bar.ratio.low), axis.at(bar.ratio.high)
        kind = "more" if bar.ratio.of_medians >= 1 else "less"
        yield (
            f'<rect class="{kind}" x="{start:.1f}" y="{middle - _BAR / 2:.1f}" width="{end - start:.1f}" '
            f'height="{_BAR}"/>'
        )
        yield (
            f'<path class="whisker" fill="none" d="M{low:.1f} {middle - 4:.1f}v8M{low:.1f} {middle:.1f}H{high:.1f}'
            f'M{high:.1f} {middle - 4:.1f}v8"/>'
        )
        yield _text(_WIDTH - _MARGIN, middle + 5, ratio_text(bar.ratio), "", "end")


def _wrapped(text: str, cell: float) -> Iterator[str]:
    """Lines as wide as the picture at most, broken at blanks; a longer word is cut."""
    width = int((_WIDTH - 2 * _MARGIN) / cell)
    line = ""
    for word in plain(text).split():
        longer = f"{line} {word}" if line else word
        if line and cells(longer) > width:
            yield cut(line, width)
            longer = word
        line = longer
    yield cut(line, width)


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    shown = f' class="{kind}"' if kind else ""
    return f'<text{shown} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(plain(text))}</text>'
