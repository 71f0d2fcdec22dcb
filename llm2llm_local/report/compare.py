"""What sets runs apart: their settings and models, how their students did, and on how much data they trained.

The first run is what the others are compared with. Runs that differ in nothing but their rng_seed, that of the loop and
that by which their seeds were drawn, are repetitions of one another: how far their figures lie apart says how much of a
difference is chance.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..records import Split, Status
from .curves import AccuracyCurve, accuracies
from .results import Baseline, RunResult, baseline_of, n_decided, run_result
from .statistics import Spread, spread

_MATCH_RUN, _MATCHED_STEPS = "loop.match_run", "loop.matched_steps"
_OF_REPETITION = frozenset({"loop.rng_seed", _MATCH_RUN, _MATCHED_STEPS})
"""Fields in which repetitions differ. What a control at matched steps matches counts by `_matched`."""

_SAMPLE = "data.sample"
_OF_DRAWN_SEEDS = frozenset({"labels", "task.labels", "data.train_rows"})
"""What the fingerprint and the run have of them is read off the seeds: other draws have other rows, and may have labels
in another order, or lack one. What the person set is in the configuration.
"""

_DECIDED = "decided by a person"
"""Beside the settings: how many candidates were let in or taken out."""

ABSENT = "—"
"""Stands for a field that a run of an older version doesn't have."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that isn't the same in all runs, with its value in each, in their order."""

    field: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunFigures:
    """A run's curves by split, iteration → number of training examples, and what it came to (None: nothing yet); of a
    run that isn't `is_done`, until now.
    """

    run_id: int
    is_done: bool
    accuracy: Mapping[Split, AccuracyCurve]
    training_sizes: Mapping[int, int]
    result: RunResult | None


@dataclass(frozen=True, slots=True)
class Repetitions:
    """Finished runs that share everything but their rng_seed, two or more, and the spread of their accuracy by
    split. A run whose rng_seeds another has too is that run once more, so it isn't counted. `rng_seeds`: of the loop.
    """

    run_ids: tuple[int, ...]
    rng_seeds: tuple[int, ...]
    accuracy: Mapping[Split, Spread]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side."""

    runs: tuple[RunFigures, ...]
    differences: tuple[Difference, ...]
    repetitions: tuple[Repetitions, ...]

    def splits(self) -> tuple[Split, ...]:
        """Those with a figure in any run, the most telling first."""
        return tuple(
            one for one in (Split.TEST, Split.DEV, Split.TRAIN) if any(one in run.accuracy for run in self.runs)
        )


_RngSeeds = tuple[int, int | None]
"""Of the loop, and of the draw of the seeds, where they are a part of the file."""


@dataclass(frozen=True, slots=True)
class _Setup:
    """What a run was begun with: the fields that are shown, and all there is to tell it from others."""

    fields: Mapping[str, str]
    without_rng_seed: object
    rng_seed: int
    sample_rng_seed: int | None
    is_done: bool


def compare(connection: sqlite3.Connection, run_ids: Sequence[int]) -> Comparison:
    """The runs with these ids, in this order; those that have been deleted meanwhile are left out."""
    setups = {run_id: setup for run_id in run_ids if (setup := _setup(connection, run_id)) is not None}
    baseline: Baseline | None = None
    runs: list[RunFigures] = []
    for run_id in setups:
        curves = accuracies(connection, run_id)
        result = run_result(connection, run_id, curves, baseline)
        runs.append(RunFigures(run_id, setups[run_id].is_done, curves, _training_sizes(connection, run_id), result))
        if baseline is None and len(setups) > 1:
            baseline = baseline_of(connection, run_id)
    return Comparison(tuple(runs), _differences([one.fields for one in setups.values()]), _repetitions(runs, setups))


def _differences(settings: Sequence[Mapping[str, str]]) -> tuple[Difference, ...]:
    names = dict.fromkeys(name for fields in settings for name in fields)
    rows = (Difference(name, tuple(fields.get(name, ABSENT) for fields in settings)) for name in names)
    return tuple(row for row in rows if len(set(row.values)) > 1)


def _repetitions(runs: Sequence[RunFigures], setups: Mapping[int, _Setup]) -> tuple[Repetitions, ...]:
    groups: dict[object, dict[_RngSeeds, tuple[int, RunResult]]] = defaultdict(dict)
    for run in runs:
        setup = setups[run.run_id]
        if run.result is not None and run.is_done:
            rng_seeds = setup.rng_seed, setup.sample_rng_seed
            groups[setup.without_rng_seed].setdefault(rng_seeds, (run.run_id, run.result))
    return tuple(_spread_over(group) for group in groups.values() if len(group) > 1)


def _spread_over(group: Mapping[_RngSeeds, tuple[int, RunResult]]) -> Repetitions:
    """`group`: rng_seeds → run and its result."""
    results = [result for _, result in group.values()]
    shares = {split: [one.accuracy[split].share for one in results if split in one.accuracy] for split in Split}
    return Repetitions(
        tuple(run_id for run_id, _ in group.values()),
        tuple(rng_seed for rng_seed, _ in group),
        {split: spread(figures) for split, figures in shares.items() if figures},
    )


def _matched(connection: sqlite3.Connection, run_id: int, fields: Mapping[str, Any]) -> object:
    """Of a control at matched steps, that is repeated with the run that it matches: what that run is a repetition of;
    where that run is gone, the steps.
    """
    match_run = fields.get(_MATCH_RUN)
    if match_run is None or fields.get(_MATCHED_STEPS) is None:
        return None
    matched = _setup(connection, match_run) if match_run < run_id else None
    return fields[_MATCHED_STEPS] if matched is None else matched.without_rng_seed


def _setup(connection: sqlite3.Connection, run_id: int) -> _Setup | None:
    """The configuration field by field, and what the models were: the same path can hold another model."""
    row = connection.execute(
        "SELECT r.config, r.labels, t.name, t.quantization, t.sha256, s.name, s.quantization, s.sha256, "
        "r.fingerprint_fields, r.rng_seed, r.status "
        "FROM runs r JOIN models t ON t.id = r.teacher_model_id JOIN models s ON s.id = r.student_model_id "
        "WHERE r.run_id = ?",
        [run_id],
    ).fetchone()
    if row is None:
        return None
    config, fingerprint = json.loads(row[0]), json.loads(row[8])
    models = {
        "teacher": f"{row[2]} {row[3]}",
        "teacher sha256": row[4],
        "student": f"{row[5]} {row[6]}",
        "student sha256": row[7],
    }
    fields = {
        **{name: _text(value) for name, value in config.items()},
        "labels": ", ".join(json.loads(row[1])),
        **models,
    }
    # The fingerprint tells what the configuration can't: what is in the data, the code and its packages.
    seen = {**fingerprint, **models, "labels": fields["labels"]}
    sample = config.get(_SAMPLE)
    decided = n_decided(connection, run_id)
    fields[_DECIDED] = str(decided)
    seen[_DECIDED] = run_id if decided else None  # nobody decides the same twice: it repeats no other run
    if sample:
        seen = {name: value for name, value in seen.items() if name not in _OF_DRAWN_SEEDS}
    everything = tuple(
        frozenset(_repeated(name, value) for name, value in part.items() if name not in _OF_REPETITION)
        for part in (config, seen)
    )
    without_rng_seed = everything, _matched(connection, run_id, fingerprint)
    return _Setup(fields, without_rng_seed, row[9], sample and sample["rng_seed"], row[10] == Status.DONE)


def _repeated(name: str, value: Any) -> tuple[str, str]:
    """A field as it is in all repetitions: of the sample of seeds, how many they are, but not which."""
    return name, _text({**value, "rng_seed": None} if name == _SAMPLE and value else value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _training_sizes(connection: sqlite3.Connection, run_id: int) -> dict[int, int]:
    # Positions count from 0, so the last one tells the size: counting would read every row.
    rows = connection.execute(
        "SELECT i.iteration, (SELECT max(position) + 1 FROM training_set_examples t "
        " WHERE t.run_id = i.run_id AND t.iteration = i.iteration) FROM iterations i WHERE i.run_id = ? "
        "ORDER BY i.iteration",
        [run_id],
    )
    return {iteration: size for iteration, size in rows if size is not None}
