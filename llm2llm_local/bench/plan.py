"""What is measured: contenders doing the same work, and what travels to and from their processes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import UserInputError

ALL_LAYERS = -1
"""On the GPU, as the teacher's settings and llama-cpp-python say it."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a repeat returns that has more to tell than its counts.

    `parts`: the wall seconds of each part, which it takes itself; `figures`: what was found, which has no rate.
    """

    counts: Mapping[str, float]
    parts: Mapping[str, float] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)


Repeat = Callable[[], Mapping[str, float] | Work]
"""Does the work once; how much it was, counted by what: {"requests": 32}. A count is of work, so that it has a rate."""

Prepare = Callable[[Any], Repeat]
"""Loads and prepares what a case needs. A function at the top of a module, since it is called in another process."""

Order = Literal["interleaved", "one by one"]
"""Interleaved: all are loaded, and repeats alternate, so that what disturbs the machine meets all alike. One by one:
each has ended before the next is loaded, for those that don't fit into memory together."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A way of doing the work; `name` is what `--against` and the table call it."""

    name: str
    prepare: Prepare


@dataclass(frozen=True, slots=True)
class Comparison:
    """Contenders that do the work of `case`, a frozen dataclass; the first is ours.

    `measure`: the count by whose rate they are compared. `repeats` and `warm_ups`: of each, those not timed for the
    result being the warm-ups. `note`: what a reader should know about what is compared. `before` makes what all
    contenders need (an adapter, say), in a process of its own that has ended before the first of them begins.
    """

    title: str
    case: Any
    contenders: tuple[Contender, ...]
    measure: str
    order: Order = "interleaved"
    repeats: int = 5
    warm_ups: int = 1
    note: str = ""
    before: Callable[[Any], object] | None = None

    def sizes(self) -> dict[str, int | float]:
        """The numbers of the case, by name."""
        values = {one.name: getattr(self.case, one.name) for one in dataclasses.fields(self.case)}
        return {name: value for name, value in values.items() if type(value) in (int, float)}


@dataclass(frozen=True, slots=True)
class Series:
    """How the cost of each contender grows with one number of the case, the field `size`, taking the values `sizes`.

    `grow` makes what a case needs, before its contenders are prepared; what it returns (bytes of a file, say) are
    figures that grow, too; it makes multiples of `step` alone. Contenders are not compared with each other.
    """

    comparison: Comparison
    size: str
    sizes: tuple[int, ...]
    grow: Callable[[Any], Mapping[str, float]] | None = None
    step: int = 1

    def at(self, size: int) -> Comparison:
        case = dataclasses.replace(self.comparison.case, **{self.size: size})
        return dataclasses.replace(self.comparison, case=case)


@dataclass(frozen=True, slots=True)
class Timed:
    """One repeat in a child: wall seconds, and counts, seconds of parts and figures as the contender told them."""

    seconds: float
    counts: dict[str, float]
    parts: dict[str, float] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Memory:
    """Most memory that a child has held, in bytes: of its whole life, and since it was prepared.

    `gpu`: of the GPU's, since it was prepared; None without one.
    """

    whole: int
    working: int
    gpu: int | None


def against(comparisons: Sequence[Comparison], names: Sequence[str]) -> list[Comparison]:
    """Ours and the named alternatives, where they belong; all of them when none is named.

    Raises UserInputError for a name that no comparison has.
    """
    if not names:
        return list(comparisons)
    known = {one.name for comparison in comparisons for one in comparison.contenders[1:]}
    for name in names:
        if name not in known:
            raise UserInputError(f"--against {name}: nothing of that name", f"There is: {', '.join(sorted(known))}")
    chosen = []
    for comparison in comparisons:
        ours, *others = comparison.contenders
        others = [one for one in others if one.name in names]
        if others:
            chosen.append(dataclasses.replace(comparison, contenders=(ours, *others)))
    return chosen


def resized(comparisons: Sequence[Comparison], sizes: Mapping[str, float]) -> list[Comparison]:
    """The cases with other sizes; each size must be one of a case at least. Raises UserInputError otherwise."""
    known = {name: value for comparison in comparisons for name, value in comparison.sizes().items()}
    for name, size in sizes.items():
        if name not in known:
            raise UserInputError(f"--size {name}: there is no such size", f"There is: {', '.join(sorted(known))}")
        if not math.isfinite(size) or size < 0 or (size == 0 and known[name] > 0):
            raise UserInputError(f"--size {name}={size}: must be a number above 0")
        if isinstance(known[name], int) and size != int(size):
            raise UserInputError(f"--size {name}={size}: must be an integer")
    return [_resized(comparison, sizes) for comparison in comparisons]


def _resized(comparison: Comparison, sizes: Mapping[str, float]) -> Comparison:
    changed = {name: type(before)(sizes[name]) for name, before in comparison.sizes().items() if name in sizes}
    return dataclasses.replace(comparison, case=dataclasses.replace(comparison.case, **changed))
