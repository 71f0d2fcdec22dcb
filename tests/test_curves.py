"""The plots' figures are those that counting every row gives."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator

import pytest
from workspaces import Workspace, add_run, fill

from llm2llm_local.records import DataRow, Outcome, Split, Status
from llm2llm_local.report.curves import CandidateCounts, LossPoint, accuracies, candidate_counts, loss_curve
from llm2llm_local.report.overview import run_overviews
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.run_store import RunStore
from llm2llm_local.store.writer import Store
from llm2llm_local.wilson import wilson


def grade_for_metrics(run: RunStore) -> None:
    """What the loop's grade stage leaves of what `fill` predicted."""
    with run.transaction():
        for iteration in (0, 1):
            for split in Split:
                counts = run.outcome_counts(iteration, split)
                if counts:
                    share = counts.get(Outcome.CORRECT, 0) / sum(counts.values())
                    run.add_metric(iteration, f"accuracy_{split}", 0, share)


@pytest.fixture
def run(store: Store) -> RunStore:
    """The second of two runs by hand; the first has one seed more and no figures."""
    other, filled = add_run(store), add_run(store, forked_from_run_id=1)
    for one in (other, filled):
        fill(one)
    with other.transaction():
        other.add_data(Split.DEV, [DataRow("dev 1", "answer 1", "dev.jsonl", 1)])
    grade_for_metrics(filled)
    return filled


@pytest.fixture
def reader(run: RunStore) -> Iterator[sqlite3.Connection]:
    with open_reader(run.workspace) as connection:
        yield connection


def counted(connection: sqlite3.Connection, run_id: int) -> dict[tuple[str, int], tuple[int, int]]:
    """Right answers and all of them, by split and iteration, from the view that counts."""
    rows = connection.execute(
        "SELECT split, iteration, n_correct, n FROM accuracy_by_iteration WHERE run_id = ?", [run_id]
    )
    return {(row[0], row[1]): (row[2], row[3]) for row in rows}


def from_metrics(connection: sqlite3.Connection, run_id: int) -> dict[tuple[str, int], tuple[int, int]]:
    return {
        (split, iteration): (accuracy.n_correct, accuracy.n)
        for split, curve in accuracies(connection, run_id).items()
        for iteration, accuracy in curve
    }


# --- accuracy -------------------------------------------------------------------------------------------------------


def test_accuracies_by_hand(run: RunStore, reader: sqlite3.Connection) -> None:
    assert accuracies(reader, run.run_id) == {
        Split.TRAIN: ((0, wilson(1, 3)), (1, wilson(2, 3))),
        Split.TEST: ((0, wilson(2, 2)), (1, wilson(1, 2))),
    }
    assert from_metrics(reader, run.run_id) == counted(reader, run.run_id)


def test_a_run_without_figures_has_no_curves(reader: sqlite3.Connection) -> None:
    assert accuracies(reader, 1) == {}


def test_accuracies_of_a_real_run_are_what_the_view_counts(finished_run: Workspace) -> None:
    with open_reader(finished_run.folder) as connection:
        found = from_metrics(connection, 1)
        assert len(found) == 6  # seeds and test, in three iterations
        assert found == counted(connection, 1)


def test_accuracies_of_a_large_run_are_what_the_view_counts(big_store: Workspace) -> None:
    with open_reader(big_store.folder) as connection:
        for run_id in (1, 10):
            assert from_metrics(connection, run_id) == counted(connection, run_id)


# --- losses ---------------------------------------------------------------------------------------------------------


def add_losses(run: RunStore, n: int) -> None:
    with run.transaction():
        for step in range(n):
            run.add_metric(0, "loss", step, float(step))
        run.add_metric(1, "loss", 0, 99.0)


@pytest.mark.parametrize(("n", "max_points"), [(1, 10), (9, 10), (10, 10)])
def test_few_losses_are_all_shown(run: RunStore, reader: sqlite3.Connection, n: int, max_points: int) -> None:
    add_losses(run, n)
    expected = tuple(LossPoint(float(step), float(step)) for step in range(n))
    assert loss_curve(reader, run.run_id, 0, max_points) == expected


@pytest.mark.parametrize("n", [11, 19, 20, 101])
def test_many_losses_are_averaged_in_order(run: RunStore, reader: sqlite3.Connection, n: int) -> None:
    add_losses(run, n)
    points = loss_curve(reader, run.run_id, 0, 10)
    assert len(points) == 10
    assert [point.step for point in points] == sorted(point.step for point in points)
    assert all(point.loss == point.step for point in points)  # the mean of the same steps
    gaps = [after.step - before.step for before, after in itertools.pairwise(points)]
    assert max(gaps) - min(gaps) <= 1


def test_losses_since_the_last_checkpoint_follow_those_before_it(run: RunStore, reader: sqlite3.Connection) -> None:
    run.open_stage(0, "train", 0, "", {}, units=3)
    run.set_progress(0, "train", 0, 0.2, [0.0, 1.0])
    assert loss_curve(reader, run.run_id, 0, 10) == (LossPoint(0.0, 0.0), LossPoint(1.0, 1.0))
    add_losses(run, 4)
    run.set_progress(0, "train", 0, 0.5, [4.0, 5.0])
    assert loss_curve(reader, run.run_id, 0, 10) == tuple(LossPoint(float(step), float(step)) for step in range(6))
    assert [point.step for point in loss_curve(reader, run.run_id, 0, 3)] == [0.5, 2.5, 4.5]


def test_losses_that_are_not_there_make_no_curve(run: RunStore, reader: sqlite3.Connection) -> None:
    assert loss_curve(reader, run.run_id, 0, 10) == ()


# --- candidates -----------------------------------------------------------------------------------------------------


def test_candidates_are_counted_by_what_all_their_verdicts_come_to(run: RunStore, store: Store) -> None:
    with store.transaction():
        store.execute(
            "UPDATE candidates SET iteration = 1, verdict = 'pending' WHERE id = (SELECT max(id) FROM candidates)"
        )
    with open_reader(run.workspace) as connection:
        assert candidate_counts(connection, run.run_id) == (
            CandidateCounts(0, accepted=1, rejected=3, doubtful=0, pending=0),
            CandidateCounts(1, accepted=0, rejected=0, doubtful=0, pending=1),
        )
        (first,) = candidate_counts(connection, 1)
        assert first == CandidateCounts(0, accepted=1, rejected=3, doubtful=1, pending=0)


def test_candidates_of_a_large_run_are_what_the_view_counts(big_store: Workspace) -> None:
    with open_reader(big_store.folder) as connection:
        view = connection.execute(
            "SELECT iteration, n_accepted, n_rejected, n_doubt FROM teacher_yield WHERE run_id = 3 AND n_candidates > 0"
        )
        assert [(c.iteration, c.accepted, c.rejected, c.doubtful) for c in candidate_counts(connection, 3)] == [
            tuple(row) for row in view
        ]


# --- all runs -------------------------------------------------------------------------------------------------------


def test_every_run_is_there_newest_first(run: RunStore, store: Store) -> None:
    newest_run = add_run(store)
    for stage, seconds in (("train", 1.5), ("predict", 2.0)):
        row = run.open_stage(0, stage, 0, "", {}, units=1)
        with run.transaction():
            run.mark_unit_done(row, seconds)
    with run.transaction():
        run.set_status(Status.DONE)
    with open_reader(run.workspace) as connection:
        newest, filled, first = run_overviews(connection, run.workspace)
    assert (newest.status.run_id, newest.split, newest.accuracy) == (newest_run.run_id, None, ())
    assert (first.status.run_id, first.forked_from) == (1, None)
    assert (filled.status.state, filled.forked_from) == ("done", 1)
    assert (filled.split, filled.accuracy) == (Split.TEST, ((0, wilson(2, 2)), (1, wilson(1, 2))))
    assert (newest.seconds, filled.seconds) == (0.0, 3.5)


@pytest.mark.parametrize(
    ("without", "split"), [([], Split.TEST), (["test"], Split.DEV), (["test", "dev"], Split.TRAIN)]
)
def test_the_sparkline_is_about_the_best_split_there_is(
    run: RunStore, store: Store, without: list[str], split: Split
) -> None:
    with run.transaction():
        run.add_data(Split.DEV, [DataRow("dev 1", "answer 1", "dev.jsonl", 1)])
        run.add_metric(0, "accuracy_dev", 0, 1.0)
        for one in without:
            store.execute("DELETE FROM metrics WHERE name = ?", [f"accuracy_{one}"])
    with open_reader(run.workspace) as connection:
        assert run_overviews(connection, run.workspace)[0].split is split
