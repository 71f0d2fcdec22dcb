"""`llm2llm init --task trec --data DIR` and the like: a published data set, converted, with a configuration for it.

The configurations are in `tasks/ready/`, the readers in `datasets/`. Nothing is left out or changed without being told,
and repeated rows stay: they are part of the data sets.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from math import isclose
from pathlib import Path
from typing import Any

from .config import TaskConfig
from .counted import counted
from .datasets.distributions import expected_files, find_distribution
from .datasets.published import Published, Skip
from .datasets.repeats import describe_repeats
from .errors import DataError, UserInputError
from .records import DataRow, Split
from .scaffold import Template, jsonl
from .tasks.base import Task
from .tasks.families import make_task

_MOST_SEEDS = 1_000
"""The method is for fewer; where there are more rows and nobody said how many to take, the first preset is taken."""

LEAST_SEEDS = 4
"""What verification is worth can't be told of fewer, so that a run refuses them: see `loop.inputs`."""

_MOST_REASONS = 5
_ABOUT_TASK = ("description", "presets")


@dataclass(frozen=True, slots=True)
class Preset:
    """A number of seeds that the data set is often tried with, and its share of the training rows as people name it."""

    share: str
    n: int

    def is_named_by(self, fraction: float) -> bool:
        """Whether people mean this one by it. It may be as many for each class, or cut off, so it isn't the share to
        the row; and of a part of the data set it is another number.
        """
        return isclose(fraction, float(self.share.removesuffix("%")) / 100)


@dataclass(frozen=True, slots=True)
class ReadyTask:
    """A task file of the package. `values`: dotted field → value."""

    name: str
    description: str
    presets: tuple[Preset, ...]
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many seeds to take: a number, a fraction of the training rows (above 0, up to 1), or what suits the task."""

    n: int | None = None
    fraction: float | None = None


@dataclass(frozen=True, slots=True)
class Conversion:
    """What to write, and what to say about it, a line each."""

    template: Template
    lines: tuple[str, ...]


def ready_task(name: str) -> ReadyTask:
    """The packaged task with this name."""
    path = resources.files("llm2llm_local") / "tasks" / "ready" / f"{name}.toml"
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    return ReadyTask(
        name=name,
        description=document["description"],
        presets=tuple(Preset(share, n) for share, n in document["presets"]),
        values={
            f"{section}.{key}": value
            for section, fields in document.items()
            if section not in _ABOUT_TASK
            for key, value in fields.items()
        },
    )


def missing_data(name: str) -> UserInputError:
    """What to say when the data set's folder isn't given."""
    return UserInputError(
        f"--task {name} needs the data set's files\n" + "\n".join(expected_files(name)),
        f"Then: llm2llm init FOLDER --task {name} --data DIR",
    )


def convert(name: str, folder: Path, wanted: Wanted) -> Conversion:
    """Read the data set of a ready task from `folder`; nothing is written.

    Raises UserInputError when its files aren't there, can't be read or have no row for training.
    """
    ready = ready_task(name)
    distribution = find_distribution(name, folder)
    read = {
        split: [files.read(path) for path in distribution.files[split]]
        for split, files in distribution.form.splits.items()
        if split in distribution.files
    }
    every_train_row = _rows(read[Split.TRAIN])
    if every_train_row:
        config = {key.removeprefix("task."): value for key, value in ready.values.items() if key.startswith("task.")}
        task = make_task(TaskConfig.model_validate(config), every_train_row)
        read = {split: [_sound(task, one) for one in parts] for split, parts in read.items()}
    lines = [f"form: {distribution.form.name}"]
    for split, parts in read.items():
        for part in parts:
            lines += _account(part, split)
    lines += [f"not used: {path}" for path in distribution.unused]
    rows = {split: _rows(read.get(split, ())) for split in Split}
    if not rows[Split.TRAIN]:
        raise UserInputError(
            f"{folder}: has no row that can be trained on\n" + "\n".join(lines),
            f"Is it another data set? What is expected: llm2llm init FOLDER --task {name}",
        )
    if rows[Split.DEV] and not rows[Split.TEST]:
        rows[Split.TEST], rows[Split.DEV] = rows[Split.DEV], ()
        lines.append("no labelled test rows: those of dev become test.jsonl")
    if not rows[Split.TEST]:
        lines.append("no test rows: without a data.test nothing tells whether the student gets better on new text")
    lines += _absent_labels(ready, rows[Split.TRAIN])
    lines += [f"kept: {finding}" for finding in describe_repeats(rows, "training row")]
    n_seeds = seeds_to_take(ready, wanted, len(rows[Split.TRAIN]))
    lines.append(_seeds_line(ready, wanted, n_seeds, len(rows[Split.TRAIN])))
    lines += _too_few_seeds(ready, n_seeds, rows[Split.TRAIN])
    return Conversion(_template(ready, rows, n_seeds), tuple(lines))


def _sound(task: Task, part: Published) -> Published:
    """Without the rows that can't be of the task."""
    rows: list[DataRow] = []
    skipped = list(part.skipped)
    for row in part.rows:
        try:
            task.validate(row)
        except DataError as error:
            skipped.append(Skip(row.line, error.message.removeprefix(f"{row.source}:{row.line}: ")))
        else:
            rows.append(row)
    return replace(part, rows=tuple(rows), skipped=tuple(sorted(skipped, key=lambda skip: skip.line)))


def _rows(parts: Iterable[Published]) -> tuple[DataRow, ...]:
    return tuple(row for part in parts for row in part.rows)


def _account(part: Published, split: Split) -> list[str]:
    """What became of a file, down to each kind of row that was left out."""
    lines = [f"{part.path}: {counted(len(part.rows), 'row')} for {split}"]
    lines += [f"  {note}" for note in part.notes]
    first: dict[str, int] = {}
    for skip in part.skipped:
        first.setdefault(skip.reason, skip.line)
    counts = Counter(skip.reason for skip in part.skipped)
    for reason, n in counts.most_common(_MOST_REASONS):
        lines.append(f"  skipped {counted(n, 'row')}, the first at {first[reason]:,}: {reason}")
    rest = len(part.skipped) - sum(n for _, n in counts.most_common(_MOST_REASONS))
    if rest:
        lines.append(f"  skipped {counted(rest, 'more row')} for other reasons")
    return lines


def _absent_labels(ready: ReadyTask, rows: Sequence[DataRow]) -> list[str]:
    there = {row.answer for row in rows}
    absent = [label for label in ready.values.get("task.labels", ()) if label not in there]
    if not absent:
        return []
    return [
        f"warning: no training rows for {', '.join(absent)}: a student can't learn what it never sees; add their files "
        "and convert again, or take them out of task.labels and their rows out of the other files"
    ]


def seeds_to_take(ready: ReadyTask, wanted: Wanted, n_rows: int) -> int:
    if wanted.n is not None:
        n = wanted.n
    elif wanted.fraction is not None:
        n = max(1, round(wanted.fraction * n_rows))
        n = next((one.n for one in ready.presets if one.is_named_by(wanted.fraction) and n > one.n / 2), n)
    else:
        n = ready.presets[0].n if n_rows > _MOST_SEEDS else n_rows
    return min(n, n_rows)


def _seeds_line(ready: ReadyTask, wanted: Wanted, n_seeds: int, n_rows: int) -> str:
    if n_seeds == n_rows:
        fewer = "" if wanted.n is None or wanted.n <= n_rows else f", fewer than the {wanted.n:,} that were asked for"
        return f"seeds: all {counted(n_rows, 'training row')}{fewer}"
    line = f"seeds: {n_seeds:,} of {counted(n_rows, 'training row')} ({n_seeds / n_rows:.2%}), by data.sample"
    if wanted.fraction is None or n_seeds == max(1, round(wanted.fraction * n_rows)):
        return line
    preset = next(one for one in ready.presets if one.is_named_by(wanted.fraction))
    return f"{line}; {preset.share} stands for the {preset.n} of the published data"


def _too_few_seeds(ready: ReadyTask, n_seeds: int, rows: Sequence[DataRow]) -> list[str]:
    """Warnings of what so few seeds can't do. They are drawn evenly, so each label has one where there are enough."""
    remedy = "add training rows" if n_seeds == len(rows) else "take more with --seeds, or change data.sample"
    lines = []
    if n_seeds < LEAST_SEEDS:
        lines.append(
            f"warning: {counted(n_seeds, 'seed')}: verification needs {LEAST_SEEDS} or more, or a run won't start; "
            f'{remedy}, or set checks.verify = "off"'
        )
    n_labels = len({row.answer for row in rows})
    if ready.values["task.family"] == "classification" and n_seeds < n_labels:
        lines.append(
            f"warning: {counted(n_seeds, 'seed')} for {n_labels} labels: {n_labels - n_seeds} of them have none, and a "
            f"student can't learn what it never sees; {remedy}"
        )
    return lines


def _template(ready: ReadyTask, rows: Mapping[Split, Sequence[DataRow]], n_seeds: int) -> Template:
    files = {
        f"{split}.jsonl": jsonl((row.question, row.answer) for row in of_split)
        for split, of_split in rows.items()
        if of_split
    }
    values = {field: json.dumps(value, ensure_ascii=False) for field, value in ready.values.items()}
    values |= {f"data.{name.removesuffix('.jsonl')}": json.dumps(name) for name in files}
    if n_seeds < len(rows[Split.TRAIN]):
        draw = ', draw = "balanced"' if ready.values["task.family"] == "classification" else ""
        values["data.sample"] = f"{{n = {n_seeds}, rng_seed = 0{draw}}}"
    presets = ", ".join(f"n = {preset.n} ({preset.share})" for preset in ready.presets)
    remarks = {"data.sample": f"Often tried with {presets} of the published data."}
    return Template(ready.description, values, files, remarks)
