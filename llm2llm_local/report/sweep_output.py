"""A sweep as it is printed: its cells and their states, and a table of what they came to; or a document."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from ..records import Split
from ..wilson import Accuracy
from .columns import column_tables
from .duration import duration
from .plain import shortened_apart
from .results import STEPS_NOTE
from .statistics import Spread, p_text
from .sweep import GroupFigures

_NONE = "–"
_CELLS_OF_VALUE = 24


@dataclass(frozen=True, slots=True)
class CellState:
    """A cell as it is listed. `values`: of the varied fields, None where it makes no difference. `reason`: why it
    failed in this call. `is_decided`: whether a person's decisions had a part in its run.
    """

    number: int
    recipe: str
    n_seeds: int
    rng_seed: int
    values: tuple[str | None, ...]
    state: str
    run_id: int | None
    reason: str | None
    is_decided: bool = False


@dataclass(frozen=True, slots=True)
class SweepTables:
    """What there is to print. `varied`: names of the varied fields; `baseline`: what the others are compared with."""

    varied: tuple[str, ...]
    baseline: str
    cells: tuple[CellState, ...]
    groups: tuple[GroupFigures, ...]


def print_cells(tables: SweepTables, console: Console) -> None:
    """Where each cell stands."""
    cells = tables.cells
    columns = [
        ["cell", *(str(cell.number) for cell in cells)],
        ["recipe", *(cell.recipe for cell in cells)],
        ["seeds", *(f"{cell.n_seeds:,}" for cell in cells)],
        ["rng seed", *(str(cell.rng_seed) for cell in cells)],
        *_value_columns(tables.varied, [cell.values for cell in cells]),
        ["state", *(cell.state for cell in cells)],
        ["run", *(_NONE if cell.run_id is None else str(cell.run_id) for cell in cells)],
    ]
    _print(columns, console, 1)


def print_groups(tables: SweepTables, console: Console) -> None:
    """What the finished cells came to, if there are any."""
    groups = tables.groups
    if not any(one.run_ids for one in groups):
        console.print(Text("no cell is done yet"))
        return
    columns = [
        ["recipe", *(one.group.recipe for one in groups)],
        ["seeds", *(f"{one.group.n_seeds:,}" for one in groups)],
        *_value_columns(tables.varied, [one.group.values for one in groups]),
        ["runs", *(f"{len(one.run_ids)} of {len(one.group.cells)}" for one in groups)],
        *_accuracy_columns(groups, Split.TEST),
        *_points_columns(groups, tables.baseline),
        *_accuracy_columns(groups, Split.DEV),
        ["new examples", *_cells(groups, lambda one: one.examples_added, _count)],
        ["steps in all", *_cells(groups, lambda one: one.steps, _count)],
        ["of the result", *_cells(groups, lambda one: one.final_steps, _count)],
        ["teacher tokens", *_cells(groups, lambda one: one.teacher_tokens, _count)],
        ["teacher votes", *_cells(groups, lambda one: one.teacher_votes, _count)],
        ["time", *_cells(groups, lambda one: one.seconds, duration)],
    ]
    _print(columns, console, 2 + len(tables.varied))
    for note in _notes(tables):
        console.print(Text(note), crop=False)


def sweep_document(tables: SweepTables) -> dict[str, Any]:
    """All figures, in the words of the dataclasses that hold them; varied values by field."""
    return {
        "cells": [_with_fields(dataclasses.asdict(cell), tables.varied) for cell in tables.cells],
        "baseline": tables.baseline,
        "groups": [_group_document(one, tables.varied) for one in tables.groups],
    }


def _group_document(figures: GroupFigures, varied: Sequence[str]) -> dict[str, Any]:
    document = dataclasses.asdict(figures)
    group = document.pop("group")
    group["n_cells"] = len(group.pop("cells"))
    return _with_fields(group | document, varied)


def _with_fields(document: dict[str, Any], varied: Sequence[str]) -> dict[str, Any]:
    return document | {"values": dict(zip(varied, document["values"], strict=True))}


def _value_columns(varied: Sequence[str], rows: Sequence[tuple[str | None, ...]]) -> Iterator[list[str]]:
    for position, name in enumerate(varied):
        values = [row[position] for row in rows]
        told = [value for value in values if value is not None]
        shown = dict(zip(told, shortened_apart(told, _CELLS_OF_VALUE), strict=True))
        yield [name, *(_NONE if value is None else shown[value] for value in values)]


def _accuracy_columns(groups: Sequence[GroupFigures], split: Split) -> Iterator[list[str]]:
    """Mean and spread where there are several runs, the interval where there is one alone."""
    if not any(split in one.accuracy for one in groups):
        return
    yield [f"{split}", *_spreads(groups, split, lambda one: f"{one.mean:.1%}")]
    if any(one.accuracy[split].n > 1 for one in groups if split in one.accuracy):
        yield ["min–max", *_spreads(groups, split, lambda one: f"{one.low:.1%}–{one.high:.1%}" if one.n > 1 else _NONE)]
        yield ["deviation", *_spreads(groups, split, lambda one: _deviation(one, 100))]
    if any(split in one.alone for one in groups):
        yield [
            "95% interval",
            *(_interval(one.alone[split]) if split in one.alone else _NONE for one in groups),
        ]


def _interval(accuracy: Accuracy) -> str:
    return f"{accuracy.low:.1%}–{accuracy.high:.1%}"


def _spreads(groups: Sequence[GroupFigures], split: Split, shown: Callable[[Spread], str]) -> Iterator[str]:
    return (shown(one.accuracy[split]) if split in one.accuracy else _NONE for one in groups)


def _points_columns(groups: Sequence[GroupFigures], baseline: str) -> Iterator[list[str]]:
    found = [one.points for one in groups]
    if not any(found):
        return
    yield [f"points to {baseline}", *(_NONE if one is None else f"{one.mean:+.1f}" for one in found)]
    if any(one.n > 1 for one in found if one is not None):
        yield ["deviation", *(_NONE if one is None else _deviation(one, 1) for one in found)]
    if any(one.p is not None for one in groups):
        yield ["p", *(_NONE if one.p is None else p_text(one.p) for one in groups)]


def _deviation(one: Spread, scale: float) -> str:
    return _NONE if one.deviation is None else f"{scale * one.deviation:.1f}"


def _cells(
    groups: Sequence[GroupFigures], figure: Callable[[GroupFigures], float | None], shown: Callable[[float], str]
) -> Iterator[str]:
    return (_NONE if (value := figure(one)) is None else shown(value) for one in groups)


def _count(mean: float) -> str:
    return f"{mean:,.0f}"


def _notes(tables: SweepTables) -> Iterator[str]:
    if any(len(one.run_ids) > 1 for one in tables.groups):
        yield "figures are means over rng seeds; deviation: of a sample of runs, in points"
    if any(one.points for one in tables.groups):
        yield STEPS_NOTE
        yield f"points to {tables.baseline}: of runs with the same seeds and rng seed, on the same test rows"
    if decided := [str(cell.run_id) for cell in tables.cells if cell.is_decided]:
        which = f"run{'s' * (len(decided) > 1)} {', '.join(decided)}"
        yield f"a person's decisions had a part in {which}, which the settings alone wouldn't have made"
    if any(one.p is not None for one in tables.groups):
        yield "p: McNemar's exact test, two-sided"


def _print(columns: Sequence[Sequence[str]], console: Console, n_keys: int) -> None:
    for table in column_tables(columns, console.width, n_keys):
        console.print(table, crop=False)
