"""What sets runs apart: their settings and models, how their students did, and on how much data they trained."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..records import Split
from .curves import AccuracyCurve, accuracies

ABSENT = "—"
"""Stands for a field that a run of an older version doesn't have."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that isn't the same in all runs, with its value in each, in their order."""

    field: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunFigures:
    """A run's curves by split, and iteration → number of training examples."""

    run_id: int
    accuracy: Mapping[Split, AccuracyCurve]
    training_sizes: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side."""

    runs: tuple[RunFigures, ...]
    differences: tuple[Difference, ...]

    def splits(self) -> tuple[Split, ...]:
        """Those with a figure in any run, the most telling first."""
        return tuple(
            one for one in (Split.TEST, Split.DEV, Split.TRAIN) if any(one in run.accuracy for run in self.runs)
        )


def compare(connection: sqlite3.Connection, run_ids: Sequence[int]) -> Comparison:
    """The runs with these ids, in this order; those that have been deleted meanwhile are left out."""
    settings = {run_id: fields for run_id in run_ids if (fields := _settings(connection, run_id)) is not None}
    runs = tuple(
        RunFigures(run_id, accuracies(connection, run_id), _training_sizes(connection, run_id)) for run_id in settings
    )
    return Comparison(runs, _differences(list(settings.values())))


def _differences(settings: Sequence[Mapping[str, str]]) -> tuple[Difference, ...]:
    names = dict.fromkeys(name for fields in settings for name in fields)
    rows = (Difference(name, tuple(fields.get(name, ABSENT) for fields in settings)) for name in names)
    return tuple(row for row in rows if len(set(row.values)) > 1)


def _settings(connection: sqlite3.Connection, run_id: int) -> dict[str, str] | None:
    """The configuration field by field, and what the models were: the same path can hold another model."""
    row = connection.execute(
        "SELECT r.config, r.labels, t.name, t.quantization, t.sha256, s.name, s.quantization, s.sha256 "
        "FROM runs r JOIN models t ON t.id = r.teacher_model_id JOIN models s ON s.id = r.student_model_id "
        "WHERE r.run_id = ?",
        [run_id],
    ).fetchone()
    if row is None:
        return None
    fields = {name: _text(value) for name, value in json.loads(row[0]).items()}
    return {
        **fields,
        "labels": ", ".join(json.loads(row[1])),
        "teacher": f"{row[2]} {row[3]}",
        "teacher sha256": row[4],
        "student": f"{row[5]} {row[6]}",
        "student sha256": row[7],
    }


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
