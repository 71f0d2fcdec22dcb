"""What a sweep came to so far, from the store; and the error that it ends with where cells failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..counted import counted
from ..errors import NoHistoryError, RunFailedError
from ..report.sweep import CellRuns, GroupFigures, SweepGroup, group_figures
from ..report.sweep_output import CellState, SweepTables
from ..store.reader import open_reader
from .plan import PlannedCell, SweepPlan
from .standing import Standing, standings
from .work import FailedCell


def sweep_tables(plan: SweepPlan, failed: Sequence[FailedCell] = ()) -> SweepTables:
    """`failed`: in this call."""
    found = standings(plan)
    reasons = {one.cell.number: one.reason for one in failed}
    return SweepTables(
        varied=tuple(one.field for one in plan.grid.varied),
        baseline=plan.grid.baseline_name(),
        cells=tuple(
            CellState(
                cell.number,
                cell.recipe,
                cell.n_seeds,
                cell.rng_seed,
                cell.values,
                found[cell.number].state,
                found[cell.number].run_id,
                reasons.get(cell.number),
                is_decided=found[cell.number].is_decided,
            )
            for cell in plan.cells
        ),
        groups=tuple(_figures(plan, _groups(plan, found))),
    )


def sweep_error(plan: SweepPlan, failed: Sequence[FailedCell]) -> RunFailedError:
    """A line for each of the cells that have no result."""
    found = standings(plan)
    lines = [f"{len(failed)} of {counted(len(plan.cells), 'cell')} have no result:"]
    for one in failed:
        run_id = found[one.cell.number].run_id
        reason = " ".join(one.reason.split())
        lines.append(f"{plan.described(one.cell)}{'' if run_id is None else f', run {run_id}'}: {reason}")
    return RunFailedError("\n".join(lines), "The same llm2llm sweep tries them again.")


def _groups(plan: SweepPlan, found: Mapping[int, Standing]) -> list[SweepGroup]:
    """By recipe, seeds and values, as the person gave them."""
    members: dict[tuple[str, int, tuple[str | None, ...]], list[PlannedCell]] = {}
    for cell in sorted(plan.cells, key=lambda cell: (cell.n_seeds, _place_of_recipe(plan, cell))):
        members.setdefault((cell.recipe, cell.n_seeds, cell.values), []).append(cell)
    return [
        SweepGroup(*key, tuple(CellRuns(_done(found, one.number), _done(found, one.baseline)) for one in cells))
        for key, cells in members.items()
    ]


def _place_of_recipe(plan: SweepPlan, cell: PlannedCell) -> int:
    return plan.grid.recipes.index(cell.recipe) if plan.grid.recipes else 0


def _done(found: Mapping[int, Standing], number: int | None) -> int | None:
    if number is None or not found[number].is_done:
        return None
    return found[number].run_id


def _figures(plan: SweepPlan, groups: Sequence[SweepGroup]) -> list[GroupFigures]:
    try:
        with open_reader(plan.workspace) as connection:
            return group_figures(connection, groups)
    except NoHistoryError:
        return [GroupFigures(group) for group in groups]
