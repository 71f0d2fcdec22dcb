"""The cells of a sweep with all that they need, read and found sound before the first run begins.

Cells that come to the same are one: a training on the seeds alone, say, is the same with and without verification.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config_file import load_config
from ..counted import counted
from ..errors import ConfigError, UserInputError
from ..loop.fingerprint import COMPUTE_DTYPE, MATCH_RUN, MATCHED_STEPS, Fingerprint, digest
from ..loop.inputs import DiskPlan, disk_plan, hash_inputs, read_inputs
from ..loop.matching import matched
from ..loop.remarks import remarks
from ..model_files.catalogue import content_hash
from ..records import Split
from .grid import MATCHED, MATCHES, Cell, Grid


@dataclass(frozen=True)
class PlannedCell:
    """A cell that will be a run, the `number`-th of its sweep from 1 on.

    `values`: of the varied fields, None where it makes no difference here. `overrides`: of its run, without the run to
    match. `fields`: what its results depend on, without the steps to match. `matches`: number of the cell whose steps
    it takes. `baseline`: number of the cell that it is compared with, None for that one itself.
    """

    number: int
    recipe: str
    n_seeds: int
    rng_seed: int
    values: tuple[str | None, ...]
    overrides: tuple[str, ...]
    fields: Mapping[str, Any]
    chooses_dtype: bool
    disk: DiskPlan
    matches: int | None = None
    baseline: int | None = None

    def is_worked_by(self, fields: Mapping[str, Any], steps: int | None) -> bool:
        """Whether a run whose results depend on `fields` is this cell's. `steps`: those to match, if it does that.

        Where the machine decides in what precision the student computes, a run of another machine counts as well.
        """
        if fields.get("loop.recipe") != self.fields.get("loop.recipe"):
            return False  # as of most runs: no need to look closer
        own = dict(self.fields)
        if steps is not None:
            own[MATCHED_STEPS] = steps
        if self.chooses_dtype and COMPUTE_DTYPE in fields:
            own[COMPUTE_DTYPE] = fields[COMPUTE_DTYPE]
        return conditions(own) == conditions(fields)


@dataclass(frozen=True)
class SweepPlan:
    """Everything that a sweep will do. `cells`: in the order of work. `hash_model`: knows the models read so far."""

    config_path: Path
    grid: Grid
    cells: tuple[PlannedCell, ...]
    hash_model: Callable[[Path], str]

    @property
    def workspace(self) -> Path:
        return self.config_path.parent

    def described(self, cell: PlannedCell) -> str:
        """`cell 3 of 12: recipe llm2llm, 60 seeds, rng seed 1`."""
        parts = [f"recipe {cell.recipe}", counted(cell.n_seeds, "seed"), f"rng seed {cell.rng_seed}"]
        parts += [
            f"{one.field}={value}"
            for one, value in zip(self.grid.varied, cell.values, strict=True)
            if value is not None
        ]
        return f"cell {cell.number} of {len(self.cells)}: {', '.join(parts)}"


def conditions(fields: Mapping[str, Any]) -> str:
    """Equal for runs whose results are equal. Which run was matched doesn't count beside its steps; and where nothing
    is augmented, nothing counts but what the only student is trained and asked with.
    """
    if fields.get("loop.iterations") == 0:
        chain = Fingerprint(fields)
        *_, graded = [chain.advance(0, stage, 0) for stage in ("train", "predict", "grade")]
        return digest({"recipe": fields.get("loop.recipe"), "graded": graded})
    return digest({name: value for name, value in fields.items() if name != MATCH_RUN})


def plan_sweep(config_path: Path, grid: Grid) -> SweepPlan:
    """Read what each cell needs. Raises UserInputError with all mistakes in it."""
    config_path = Path(os.path.realpath(config_path))
    has_sample = _has_sample(config_path, grid)
    hash_model = functools.cache(content_hash)  # the models are the same, cell after cell
    read: dict[Cell, PlannedCell] = {}
    mistakes: dict[str, list[tuple[Cell, UserInputError]]] = defaultdict(list)
    for place in grid.cells():
        try:
            read[place] = _read(config_path, grid, place, grid.overrides_of(place, has_sample=has_sample), hash_model)
        except UserInputError as error:
            mistakes[error.message].append((place, error))
    if mistakes:
        raise _all_in_one(mistakes, len(read))
    return SweepPlan(config_path, grid, _merged(grid, read), hash_model)


def overrides_with_match(overrides: tuple[str, ...], run_id: int | None) -> tuple[str, ...]:
    """`run_id`: the run whose steps are taken, where they are those of a run of this sweep."""
    return overrides if run_id is None else (*overrides, f"{MATCH_RUN}={run_id}")


def read_fields(plan: SweepPlan, overrides: Sequence[str]) -> dict[str, Any]:
    """What the results of a run that is started with these depend on, as all but the models are now.

    Raises UserInputError.
    """
    return hash_inputs(matched(read_inputs(plan.config_path, overrides)), plan.hash_model).fields


def remarks_on(plan: SweepPlan) -> tuple[str, ...]:
    """What is sound in the cells and still should be known, each once. Reads their data again."""
    found: dict[str, None] = {}
    for cell in plan.cells:
        overrides = cell.overrides if cell.matches is None else overrides_with_match(cell.overrides, 1)
        found |= dict.fromkeys(remarks(read_inputs(plan.config_path, overrides)))
    return tuple(found)


def _has_sample(config_path: Path, grid: Grid) -> bool:
    """Whether a part of the seeds is drawn. Raises ConfigError, also where there is no run whose steps to match."""
    overrides = [*grid.overrides, *grid.assignments([one.values[0] for one in grid.varied])]
    if grid.recipes:
        overrides.append(f"loop.recipe={MATCHES}")  # one that needs nothing
    config = load_config(config_path, overrides)
    if MATCHED in grid.recipes and not grid.finds_its_matches and config.loop.match_run is None:
        raise ConfigError(
            f"--recipes {','.join(grid.recipes)}: {MATCHED} takes as many optimizer steps as another run, and there is "
            "none to take them from",
            f"Add {MATCHES} to --recipes, or name a finished run: --set {MATCH_RUN}=RUN",
        )
    return config.data.sample is not None


def _read(
    config_path: Path, grid: Grid, place: Cell, overrides: tuple[str, ...], hash_model: Callable[[Path], str]
) -> PlannedCell:
    if grid.matched_by(place) is None:
        inputs = matched(read_inputs(config_path, overrides))
    else:  # which run it matches isn't known yet: for all the rest any number will do
        inputs = read_inputs(config_path, overrides_with_match(overrides, 1))
    n_seeds = len(inputs.data.rows[Split.TRAIN])
    if place.n_seeds is not None and n_seeds < place.n_seeds:
        raise ConfigError(
            f"--seeds {place.n_seeds}: {inputs.config.data.train} has {counted(n_seeds, 'row')}",
            "Leave out the sizes that the data doesn't have.",
        )
    return PlannedCell(
        number=0,
        recipe=inputs.config.loop.recipe,
        n_seeds=n_seeds,
        rng_seed=inputs.config.loop.rng_seed,
        values=place.values,
        overrides=overrides,
        fields=hash_inputs(inputs, hash_model).fields,
        chooses_dtype=inputs.config.student.compute_dtype == "auto",
        disk=disk_plan(inputs),
    )


def _merged(grid: Grid, read: Mapping[Cell, PlannedCell]) -> tuple[PlannedCell, ...]:
    """One cell for those that come to the same, in the place of the first. Those that take the steps of other cells do
    so where these come to the same, too.
    """
    groups: dict[tuple[str, str | None], list[Cell]] = defaultdict(list)
    for place, cell in read.items():
        match = grid.matched_by(place)
        groups[conditions(cell.fields), None if match is None else conditions(read[match].fields)].append(place)
    numbers = {place: number for number, places in enumerate(groups.values(), start=1) for place in places}
    merged = []
    for first, *others in groups.values():
        match, baseline = grid.matched_by(first), numbers[grid.baseline_of(first)]
        merged.append(
            dataclasses.replace(
                read[first],
                number=numbers[first],
                values=tuple(
                    value if all(other.values[position] == value for other in others) else None
                    for position, value in enumerate(first.values)
                ),
                matches=None if match is None else numbers[match],
                baseline=None if baseline == numbers[first] else baseline,
            )
        )
    return tuple(merged)


def _all_in_one(mistakes: Mapping[str, Sequence[tuple[Cell, UserInputError]]], n_sound: int) -> UserInputError:
    """Each mistake once; where not all cells have it, with the first that does."""
    is_everywhere = len(mistakes) == 1 and n_sound == 0
    lines, remedies = [], []
    for message, found in mistakes.items():
        place, error = found[0]
        lines.append(message if is_everywhere else f"{message}{_in(place)}")
        remedies.append(error.remedy)
    return UserInputError("\n".join(lines), next((one for one in remedies if one), ""))


def _in(place: Cell) -> str:
    """Where in the grid a mistake is."""
    named = {"recipe": place.recipe, "seeds": place.n_seeds, "rng seed": place.rng_seed}
    words = [f"{name} {value}" for name, value in named.items() if value is not None]
    return f" (with {', '.join([*words, *place.values])})"
