"""Where the published code puts results: EVAL_DIR/step_0/test_0.jsonl, step_1 and so on, one folder an iteration.

EVAL_DIR may also be the whole experiment's folder, in which these lie deeper. Numbers are counted as numbers: step_10
comes after step_9.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ..counted import counted
from ..errors import UserInputError

_STEP = re.compile(r"step_([0-9]{1,9})")
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class ResultsFile:
    """`step`: the iteration; None for a file outside any step's folder."""

    path: Path
    step: int | None


def results_files(folder: Path, name: str) -> list[ResultsFile]:
    """The files of that name below `folder`, in the order of their folders; at least one. Raises UserInputError."""
    if not name:
        raise UserInputError("--results-file-name is empty", "Name the files to read, such as test_0.jsonl.")
    if not folder.exists():
        raise UserInputError(f"{folder}: no such folder", "Check the path.")
    if not folder.is_dir():
        raise UserInputError(f"{folder}: is a file", "Name the folder with the step_* folders.")
    found, others = [], set()
    been = {os.path.realpath(folder)}
    for place, folders, names in os.walk(folder, onerror=_stop, followlinks=True):
        folders[:] = [one for one in folders if _is_new(Path(place, one), been)]
        for one in names:
            if one == name:
                found.append(Path(place) / one)
            elif one.endswith(".jsonl"):
                others.add(one)
    if not found:
        there = f"There are {', '.join(sorted(others)[:10])}: name one with --results-file-name."
        nothing = "It has no .jsonl file at all: name another folder."
        raise UserInputError(f"{folder}: no {name} in it or below it", there if others else nothing)
    files = [ResultsFile(path, _step_of(path.relative_to(folder))) for path in found]
    return sorted(files, key=lambda one: natural(one.path))


def natural(path: Path) -> list[list[tuple[str, int]]]:
    """To sort paths by: runs of digits count as numbers."""
    parts = (re.findall(r"([^0-9]*)([0-9]*)", part) for part in path.parts)
    return [[(text, int(digits or 0)) for text, digits in runs] for runs in parts]


def outside_steps(folder: Path, files: Sequence[ResultsFile]) -> list[str]:
    """A line on the files below `folder` that lie in no step's folder, if there are any: Step_1 or step_x is none."""
    outside = [str(file.path) for file in files if file.step is None]
    if not outside:
        return []
    n_more = len(outside) - _MOST_NAMED
    more = f", and {n_more:,} more" if n_more > 0 else ""
    return [
        f"{folder}: {counted(len(outside), 'file')} of no iteration, in no folder below it called step_ and a number; "
        f"graded all the same: {', '.join(outside[:_MOST_NAMED])}{more}"
    ]


def missing_steps(files: Sequence[ResultsFile]) -> list[str]:
    """A line for each series of steps that isn't complete from step_0 on, with what is missing by name."""
    series: dict[tuple[Path, Path], set[int]] = defaultdict(set)
    for file in files:
        if file.step is not None:
            parts = file.path.parts
            place = max(index for index, part in enumerate(parts) if _STEP.fullmatch(part))
            series[Path(*parts[:place]), Path(*parts[place + 1 :])].add(file.step)
    return [line for (parent, rest), steps in series.items() for line in _gaps(parent, rest, steps)]


def _gaps(parent: Path, rest: Path, steps: set[int]) -> Iterator[str]:
    folders = {int(match[1]) for one in parent.iterdir() if (match := _STEP.fullmatch(one.name)) and one.is_dir()}
    last = max(steps | folders)
    n = last + 1 - len(steps)
    if n == 0:
        return
    gone = (step for step in range(last + 1) if step not in steps)
    named = [
        f"step_{step} has no {rest}" if step in folders else f"step_{step} isn't there"
        for step in islice(gone, _MOST_NAMED)
    ]
    more = f", and {n - len(named):,} more" if n > len(named) else ""
    yield f"{parent}: {counted(n, 'step')} without results: {', '.join(named)}{more}"


def _is_new(folder: Path, been: set[str]) -> bool:
    """Links may lead to where one has been."""
    real = os.path.realpath(folder)
    is_new = real not in been
    been.add(real)
    return is_new


def _stop(error: OSError) -> None:
    raise UserInputError(f"{error.filename}: can't be read: {error.strerror}", "Check its permissions.")


def _step_of(path: Path) -> int | None:
    matches = [match for part in path.parts[:-1] if (match := _STEP.fullmatch(part))]
    return int(matches[-1][1]) if matches else None
