"""What the cells of a sweep came to: those that differ in their rng_seed alone are a group, with mean and spread.

Only finished runs count. A difference to what a group is compared with is taken run by run, on the same test rows and
under the same rng_seed, and then averaged.
"""

from __future__ import annotations

import sqlite3
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..records import Split
from ..wilson import Accuracy
from .curves import accuracies
from .results import RunResult, baseline_of, run_cost, run_result
from .statistics import Spread, spread


@dataclass(frozen=True, slots=True)
class CellRuns:
    """A cell's finished run, and that of the cell that it is compared with; None: there is none, or none yet."""

    run_id: int | None
    baseline_run_id: int | None


@dataclass(frozen=True, slots=True)
class SweepGroup:
    """Cells that differ in their rng_seed alone. `values`: of the varied fields, None where it makes no difference."""

    recipe: str
    n_seeds: int
    values: tuple[str | None, ...]
    cells: tuple[CellRuns, ...]


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """Of the `run_ids` that are finished. `accuracy`: the spread of their shares by split; `alone`: with intervals,
    where it is one run. `points`: by how many percentage points they are better than what they are compared with; `p`
    of McNemar's exact test, where that is one pair of runs. The rest are means: examples added, optimizer steps of all
    trainings and of the result's (`final_steps`), tokens that the teacher read and wrote (votes too, where they are
    on record for all), its votes, wall time in seconds. None: there are no figures.
    """

    group: SweepGroup
    run_ids: tuple[int, ...] = ()
    accuracy: Mapping[Split, Spread] = field(default_factory=dict)
    alone: Mapping[Split, Accuracy] = field(default_factory=dict)
    points: Spread | None = None
    p: float | None = None
    examples_added: float | None = None
    steps: float | None = None
    final_steps: float | None = None
    teacher_tokens: float | None = None
    teacher_votes: float | None = None
    seconds: float | None = None


def group_figures(connection: sqlite3.Connection, groups: Sequence[SweepGroup]) -> list[GroupFigures]:
    """In the order of the groups."""
    return [_figures(connection, group) for group in groups]


def _figures(connection: sqlite3.Connection, group: SweepGroup) -> GroupFigures:
    results = {
        cell.run_id: result
        for cell in group.cells
        if cell.run_id is not None and (result := _result(connection, cell.run_id, cell.baseline_run_id)) is not None
    }
    of_runs = list(results.values())
    costs = [run_cost(connection, run_id) for run_id in results]
    shares = {split: [one.accuracy[split].share for one in of_runs if split in one.accuracy] for split in Split}
    pairs = [one.paired for one in of_runs if one.paired is not None]
    are_recorded = all(cost.vote_input_tokens is not None for cost in costs)
    return GroupFigures(
        group=group,
        run_ids=tuple(results),
        accuracy={split: spread(figures) for split, figures in shares.items() if figures},
        alone=of_runs[0].accuracy if len(of_runs) == 1 else {},
        points=spread([pair.points for pair in pairs]) if pairs else None,
        p=pairs[0].p if len(pairs) == 1 else None,
        examples_added=_mean([one.examples_added for one in of_runs]),
        steps=_mean([one.steps for one in of_runs if one.steps is not None]),
        final_steps=_mean([one.final_steps for one in of_runs if one.final_steps is not None]),
        teacher_tokens=_mean([cost.input_tokens + cost.output_tokens for cost in costs]) if are_recorded else None,
        teacher_votes=_mean([cost.teacher_votes for cost in costs]),
        seconds=_mean([sum(cost.seconds.values()) for cost in costs]),
    )


def _result(connection: sqlite3.Connection, run_id: int, baseline: int | None) -> RunResult | None:
    paired_with = None if baseline is None else baseline_of(connection, baseline)
    return run_result(connection, run_id, accuracies(connection, run_id), paired_with)


def _mean(figures: Sequence[float]) -> float | None:
    return statistics.fmean(figures) if figures else None
