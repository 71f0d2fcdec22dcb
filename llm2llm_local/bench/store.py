"""`bench store`: how fast results are written, and how the store's size and the time of its queries grow.

The history grows as one does over months: by more runs of the same size. So what is asked of one run should take the
same time however long the history is, and what is asked of all runs should grow no faster than the history.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psutil

from ..errors import DiskError
from ..records import DataRow, FinishReason, Grade, Outcome, Reply, Split, Status
from ..report.confusion import confusion
from ..report.failures import failures_of
from ..report.lineage import lineage_of
from ..report.overview import run_overviews
from ..report.status import run_statuses
from ..store.reader import STORE_NAME, newest_run, open_reader
from ..store.rows import ModelRow
from ..store.run_store import RunStore
from ..store.writer import Store
from .history import ITERATIONS, PREDICTIONS_PER_RUN, grow_history
from .plan import Comparison, Contender, Repeat, Series

# --- writing ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WriteCase:
    """`units` of `unit_rows` predictions each, written into a new store in `folder`."""

    folder: Path
    units: int = 30
    unit_rows: int = 16


def one_transaction_per_unit(case: WriteCase) -> Repeat:
    """As the loop writes: a unit's rows and its done-mark in one transaction."""
    run, predict = _writer(case, "unit")

    def repeat() -> Mapping[str, float]:
        iteration = predict.next_iteration()
        stage = run.open_stage(iteration, "predict", 0, "", {}, case.units)
        for unit in range(case.units):
            with run.transaction():
                for position in range(unit * case.unit_rows, (unit + 1) * case.unit_rows):
                    predict.add(iteration, position)
                run.mark_unit_done(stage, 0.0)
        return {"predictions": case.units * case.unit_rows}

    return repeat


def a_commit_per_row(case: WriteCase) -> Repeat:
    """The same rows through the same code, each committed by itself, as a script writes that saves as it goes."""
    run, predict = _writer(case, "row")

    def repeat() -> Mapping[str, float]:
        iteration = predict.next_iteration()
        for position in range(case.units * case.unit_rows):
            with run.transaction():
                predict.add(iteration, position)
        return {"predictions": case.units * case.unit_rows}

    return repeat


class _Predictions:
    """Writes predictions on the rows of a run; each repeat has an iteration of its own."""

    def __init__(self, run: RunStore) -> None:
        self._run = run
        self._examples = run.examples(Split.TRAIN)
        self._iterations = count()

    def next_iteration(self) -> int:
        return next(self._iterations)

    def add(self, iteration: int, position: int) -> None:
        reply = Reply("answer", FinishReason.SCORED, 30, 0, 0.0)
        self._run.add_prediction(iteration, self._examples[position], reply, Grade(Outcome.CORRECT, "answer"), 0.5)


def _writer(case: WriteCase, name: str) -> tuple[RunStore, _Predictions]:
    folder = case.folder / name
    folder.mkdir()
    store = Store(folder)
    with store.transaction():
        model = store.add_model(ModelRow("0" * 64, "gguf", "model", "/model.gguf", "llama", "Q4_K_M", 1, 2048))
        run_id = store.insert(
            "runs",
            status=Status.RUNNING,
            status_detail="",
            config_name="llm2llm.toml",
            overrides="[]",
            config="{}",
            fingerprint="",
            fingerprint_fields="{}",
            rng_seed=0,
            labels="[]",
            teacher_model_id=model,
            student_model_id=model,
        )
        run = store.of_run(run_id)
        rows = [DataRow(f"question {n}", "answer", "train.jsonl", n) for n in range(case.units * case.unit_rows)]
        run.add_data(Split.TRAIN, rows)
    return run, _Predictions(run)


# --- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HistoryCase:
    """A store in `folder` with so many `predictions`, and the rows that belong to them."""

    folder: Path
    predictions: int


def grow(case: HistoryCase) -> dict[str, float]:
    """Make the store as large as that; its file's bytes. Raises DiskError when there is no room."""
    case.folder.mkdir(exist_ok=True)
    try:
        grow_history(case.folder, case.predictions)
    except sqlite3.OperationalError as error:
        raise DiskError(
            f"{case.folder / STORE_NAME}: {error}", "Make room, or measure another disk: llm2llm -C FOLDER bench store"
        ) from error
    return {"bytes of the file": (case.folder / STORE_NAME).stat().st_size}


Query = Callable[[sqlite3.Connection, Path], object]


def _asking(case: HistoryCase, query: Query) -> Repeat:
    """On one connection that stays open, as in the terminal UI."""
    opened = open_reader(case.folder)
    connection = opened.__enter__()  # for as long as the process lives

    def repeat() -> Mapping[str, float]:
        assert opened is not None  # kept, since the connection is closed when it goes
        query(connection, case.folder)
        return {"queries": 1}

    return repeat


def status_of_all_runs(case: HistoryCase) -> Repeat:
    return _asking(case, lambda connection, folder: run_statuses(connection, folder, None))


def status_of_a_run(case: HistoryCase) -> Repeat:
    return _asking(case, lambda connection, folder: run_statuses(connection, folder, newest_run(connection)))


def overview_of_all_runs(case: HistoryCase) -> Repeat:
    return _asking(case, run_overviews)


def failures_of_a_run(case: HistoryCase) -> Repeat:
    return _asking(case, lambda connection, _: failures_of(connection, newest_run(connection), None))


def accuracy_of_a_run(case: HistoryCase) -> Repeat:
    sql = "SELECT * FROM accuracy_by_iteration WHERE run_id = ?"
    return _asking(case, lambda connection, _: connection.execute(sql, [newest_run(connection)]).fetchall())


def accuracy_of_all_runs(case: HistoryCase) -> Repeat:
    return _asking(case, lambda connection, _: connection.execute("SELECT * FROM accuracy_by_iteration").fetchall())


def confusion_of_a_student(case: HistoryCase) -> Repeat:
    return _asking(
        case, lambda connection, _: confusion(connection, newest_run(connection), ITERATIONS - 1, Split.TEST)
    )


def lineage_of_an_example(case: HistoryCase) -> Repeat:
    """The newest augmented one."""
    sql = "SELECT max(id) FROM examples WHERE run_id = ? AND split = 'train' AND origin = 'augmented'"
    with open_reader(case.folder) as connection:
        example = int(connection.execute(sql, [newest_run(connection)]).fetchone()[0])
    return _asking(case, lambda connection, _: lineage_of(connection, example))


QUERIES = (
    status_of_a_run,
    failures_of_a_run,
    accuracy_of_a_run,
    confusion_of_a_student,
    lineage_of_an_example,
    status_of_all_runs,
    overview_of_all_runs,
    accuracy_of_all_runs,
)


def _disk(folder: Path) -> str:
    """Type and place of the file system that a folder is on."""
    place = folder.resolve()
    mounts = [one for one in psutil.disk_partitions(all=True) if place.is_relative_to(one.mountpoint)]
    if not mounts:
        return str(place)
    mount = max(reversed(mounts), key=lambda one: len(one.mountpoint))  # the last one of a place covers the others
    return f"{mount.fstype} at {mount.mountpoint}"


def parts(scratch: Path) -> list[Comparison | Series]:
    """`scratch`: a folder for the stores, on the disk that is measured."""
    disk = _disk(scratch)
    writing = Comparison(
        "writing predictions",
        WriteCase(scratch),
        (
            Contender("a transaction per unit", one_transaction_per_unit),
            Contender("commit-per-row", a_commit_per_row),
        ),
        measure="predictions",
        note=f"on {disk}",
    )
    reading = Comparison(
        "the store as it grows",
        HistoryCase(scratch / "history", PREDICTIONS_PER_RUN),
        tuple(Contender(query.__name__.replace("_", " "), query) for query in QUERIES),
        measure="queries",
        note=f"a history grows by runs of {PREDICTIONS_PER_RUN:,} predictions each, on {disk}",
    )
    return [writing, Series(reading, "predictions", (10_000, 100_000, 1_000_000), grow, step=PREDICTIONS_PER_RUN)]
