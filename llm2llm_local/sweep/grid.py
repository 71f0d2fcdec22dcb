"""The grid: which cells there are, in which order they are worked, and what each one sets. Pure."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..errors import ConfigError
from ..loop.fingerprint import MATCH_RUN

MATCHED = "fine_tune_matched"
MATCHES = "llm2llm"
"""The recipe whose runs have the optimizer steps that those of `MATCHED` take."""

_OWN_OPTIONS: Mapping[str, str] = {
    "loop.recipe": "--recipes",
    "data.sample": "--seeds",
    "data.sample.n": "--seeds",
    "data.sample.rng_seed": "--rng-seeds",
    "loop.rng_seed": "--rng-seeds",
}
"""Fields that a sweep has an option of its own for."""


@dataclass(frozen=True, slots=True)
class Varied:
    """A field, and the values that it takes in turn, as in `--set`."""

    field: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """A place in the grid; None: the configuration's own value. `values`: of the varied fields, in their order."""

    recipe: str | None
    n_seeds: int | None
    rng_seed: int | None
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """What a person wants to be run; an empty axis leaves what the configuration says.

    `overrides`: what is set in every cell. Raises ConfigError where a field would be set twice.
    """

    recipes: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    rng_seeds: tuple[int, ...] = ()
    varied: tuple[Varied, ...] = ()
    overrides: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        given = {"--recipes": self.recipes, "--seeds": self.seeds, "--rng-seeds": self.rng_seeds}
        varied = [one.field for one in self.varied]
        for field in varied:
            if field in _OWN_OPTIONS:
                raise ConfigError(f"--vary {field}: has an option of its own", f"Use {_OWN_OPTIONS[field]} instead.")
            if varied.count(field) > 1:
                raise ConfigError(f"--vary {field}: is given more than once", "Put all its values into one option.")
        for override in self.overrides:
            field = override.partition("=")[0].strip()
            if field in varied:
                raise ConfigError(f"--set {field}: is varied, too", "Leave one of the two out.")
            if field != "data.sample" and given.get(_OWN_OPTIONS.get(field, "")):
                raise ConfigError(f"--set {field}: is varied by {_OWN_OPTIONS[field]}", "Leave one of the two out.")
            if field == MATCH_RUN and self.finds_its_matches:
                raise ConfigError(
                    f"--set {field}: this sweep has the runs to match, those of {MATCHES}",
                    f"Leave it out, or take {MATCHES} out of --recipes.",
                )
        if MATCH_RUN in varied:
            raise ConfigError(f"--vary {MATCH_RUN}: a sweep matches its own runs", f"Add {MATCHES} to --recipes.")

    @property
    def finds_its_matches(self) -> bool:
        """Whether runs at matched steps take the steps of runs of this sweep."""
        return MATCHED in self.recipes and MATCHES in self.recipes

    def cells(self) -> Iterator[Cell]:
        """In the order of work: all of one rng_seed before the next, so that what there is of a sweep that isn't
        through is a whole comparison; and what matches another run after that.
        """
        recipes = sorted(self.recipes or (None,), key=lambda recipe: recipe == MATCHED)
        for rng_seed in self.rng_seeds or (None,):
            for n_seeds in self.seeds or (None,):
                for values in itertools.product(*(one.values for one in self.varied)):
                    for recipe in recipes:
                        yield Cell(recipe, n_seeds, rng_seed, values)

    def overrides_of(self, cell: Cell, *, has_sample: bool) -> tuple[str, ...]:
        """What its run is started with. `has_sample`: the configuration draws a part of the seeds."""
        overrides = list(self.overrides)
        if cell.n_seeds is not None:
            overrides.append(f"data.sample.n={cell.n_seeds}")
        if cell.rng_seed is not None:
            overrides.append(f"loop.rng_seed={cell.rng_seed}")
            if has_sample or cell.n_seeds is not None:
                overrides.append(f"data.sample.rng_seed={cell.rng_seed}")
        overrides += self.assignments(cell.values)
        if cell.recipe is not None:
            overrides.append(f"loop.recipe={cell.recipe}")
        return tuple(overrides)

    def assignments(self, values: Sequence[str]) -> list[str]:
        """`section.key=value` for each varied field."""
        return [f"{one.field}={value}" for one, value in zip(self.varied, values, strict=True)]

    def matched_by(self, cell: Cell) -> Cell | None:
        """The cell whose optimizer steps this one takes, where it takes those of another."""
        if cell.recipe != MATCHED or not self.finds_its_matches:
            return None
        return dataclasses.replace(cell, recipe=MATCHES)

    def baseline_of(self, cell: Cell) -> Cell:
        """What it is compared with: the first recipe, or, where there is one alone, the first of the varied values."""
        if len(self.recipes) > 1:
            return dataclasses.replace(cell, recipe=self.recipes[0])
        return dataclasses.replace(cell, values=tuple(one.values[0] for one in self.varied))

    def baseline_name(self) -> str:
        """Of what others are compared with; empty where there is nothing to compare."""
        if len(self.recipes) > 1:
            return self.recipes[0]
        return ", ".join(self.assignments([one.values[0] for one in self.varied]))
