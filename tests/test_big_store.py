"""On a store with a million predictions nothing that a screen asks for reads a large table from end to end."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from big_run import Size
from big_store import make_big_store
from plans import LARGE, assert_indexed, plan_of, scans_of, statements_of
from screen_queries import NOW, screen_queries
from workspaces import Workspace, add_run, fill

from llm2llm_local.report.curves import accuracies
from llm2llm_local.report.progress import run_progress
from llm2llm_local.report.work import run_work
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.verdicts import settle
from llm2llm_local.store.writer import Store

SMALL = Size(runs=2, iterations=2, seeds=60, dev=20, test=40, candidates=100)

QUERIES = (
    "run_progress",
    "run_progress, done",
    "run_work",
    "rates_of",
    "measured_rates, estimate",
    "loss_curve",
    "accuracies",
    "accuracies_by_run",
    "candidate_counts",
    "worker_deaths",
    "verification_of",
    "run_overviews",
    "run_statuses",
)


@pytest.fixture
def reader(big_store: Workspace) -> Iterator[sqlite3.Connection]:
    with open_reader(big_store.folder) as connection:
        yield connection


@pytest.mark.parametrize("name", QUERIES)
def test_what_a_screen_asks_for_goes_by_an_index(big_store: Workspace, reader: sqlite3.Connection, name: str) -> None:
    assert_indexed(reader, screen_queries(reader, big_store.folder)[name])


def test_every_query_of_the_screens_is_looked_at(big_store: Workspace, reader: sqlite3.Connection) -> None:
    assert set(screen_queries(reader, big_store.folder)) == set(QUERIES)


@pytest.mark.parametrize("stage", ["train", "predict", "grade", "augment", "check"])
@pytest.mark.parametrize("attempt", [0, 1])
def test_progress_of_any_stage_goes_by_an_index(tmp_path: Path, stage: str, attempt: int) -> None:
    with Store(tmp_path) as store:
        run = add_run(store)
        fill(run)
        for before in ("train", "predict", "augment"):
            run.close_stage(run.open_stage(1, before, 0, "", {}, units=1))
        with store.transaction():
            store.execute("DELETE FROM stages WHERE stage = ?", [stage])
            store.execute("DELETE FROM training_set_examples WHERE iteration = 1")
        if stage == "check" and attempt:
            run.close_stage(run.open_stage(1, "augment", 1, "", {}, units=1))
        run.open_stage(1, stage, attempt, "", {}, units=2)
    with open_reader(tmp_path) as connection:
        assert_indexed(connection, lambda: run_progress(connection, 1, NOW))


# --- the tools themselves -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", LARGE)
def test_a_scan_is_found_whatever_the_table_is_called(reader: sqlite3.Connection, table: str) -> None:
    for sql in (
        f"SELECT count(*) FROM {table}",
        f"SELECT sum(run_id) FROM {table} AS one",
        f"SELECT (SELECT count(*) FROM {table} t WHERE t.run_id + 0 = r.run_id) FROM runs r",
        f"SELECT max(run_id + 0) FROM {table}",
        f"SELECT count(*) FROM runs r CROSS JOIN {table} t ON t.run_id + 0 = r.run_id",
        f"WITH w AS (SELECT run_id FROM {table} x) SELECT count(*) FROM w",
    ):
        with pytest.raises(AssertionError, match=r" in\n(SELECT|WITH)"):
            assert_indexed(reader, lambda sql=sql: reader.execute(sql).fetchall())  # type: ignore[misc]


def test_a_scan_through_a_view_is_found(reader: sqlite3.Connection) -> None:
    assert scans_of(reader, "SELECT count(*) FROM accuracy_by_iteration")
    assert scans_of(reader, "SELECT * FROM accuracy_by_iteration WHERE run_id = 1") == []


def test_small_tables_may_be_scanned(reader: sqlite3.Connection) -> None:
    assert_indexed(reader, lambda: reader.execute("SELECT * FROM runs").fetchall())
    assert plan_of(reader, "SELECT * FROM runs") == ["SCAN runs"]


def test_a_call_that_asks_nothing_proves_nothing(reader: sqlite3.Connection) -> None:
    with pytest.raises(AssertionError, match="nothing"):
        assert_indexed(reader, lambda: None)


def test_statements_are_told_with_their_values(reader: sqlite3.Connection) -> None:
    sql = "SELECT 1 FROM runs WHERE config = ? AND run_id = ?"
    assert statements_of(reader, lambda: reader.execute(sql, ["it's", 7])) == [
        "SELECT 1 FROM runs WHERE config = 'it''s' AND run_id = 7"
    ]
    assert statements_of(reader, lambda: None) == []


# --- the store ------------------------------------------------------------------------------------------------------


def test_the_store_is_as_large_as_promised(reader: sqlite3.Connection) -> None:
    counts = {table: reader.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in LARGE}
    assert counts["predictions"] == 10 * 10 * 10_000 + 7 * 10_000  # seven runs are finished: one iteration more
    assert counts["candidates"] == counts["teacher_calls"] == 10 * 10 * 2_000
    assert counts["verdicts"] > 500_000
    assert min(counts.values()) > 150_000


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    make_big_store(folder, SMALL)
    return folder


def content(folder: Path) -> dict[str, str]:
    with open_reader(folder) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {
            name: hashlib.sha256(
                repr([tuple(row) for row in connection.execute(f"SELECT * FROM {name}")]).encode()
            ).hexdigest()
            for name in names
            if name not in ("models", "_sqlite_migrations") and not name.startswith("candidates_search")
        }


def test_the_same_size_makes_the_same_store(small: Path, tmp_path: Path) -> None:
    make_big_store(tmp_path, SMALL)
    found = content(tmp_path)
    with open_reader(tmp_path) as connection:  # where the data lie is part of the configuration
        assert str(tmp_path) in connection.execute("SELECT config FROM runs").fetchone()[0]
    assert {name for name, digest in content(small).items() if digest != found[name]} == {"runs"}


def test_views_and_figures_of_the_store_agree(small: Path) -> None:
    with open_reader(small) as connection:
        for run_id in (1, 2):
            work = run_work(connection, run_id)
            curves = accuracies(connection, run_id)
            for row in connection.execute("SELECT * FROM accuracy_by_iteration WHERE run_id = ?", [run_id]):
                accuracy = dict(curves[row["split"]])[row["iteration"]]
                assert (accuracy.n, accuracy.n_correct) == (row["n"], row["n_correct"])
            for row in connection.execute("SELECT * FROM teacher_yield WHERE run_id = ?", [run_id]):
                of_iteration = work.iterations[row["iteration"]]
                assert row["n_failures"] == (of_iteration.failures or 0)
                assert row["n_candidates"] == (100 if row["iteration"] < 2 else 0)
        # An example is in a training set when it was accepted before and isn't kept out.
        wrong = connection.execute(
            "SELECT count(*) FROM iterations i JOIN examples e ON e.run_id = i.run_id AND e.split = 'train' "
            "LEFT JOIN training_set_examples t ON t.run_id = i.run_id AND t.iteration = i.iteration "
            "AND t.example_id = e.id WHERE (t.example_id IS NOT NULL) != (coalesce(e.iteration, -1) < i.iteration "
            "AND coalesce(e.removed_iteration, 99) > i.iteration)"
        ).fetchone()[0]
        assert wrong == 0


def test_verdicts_of_the_store_are_settled(small: Path) -> None:
    """As store.verdicts would settle them: nothing changes when it does."""
    with Store(small) as store, store.transaction():
        before = [tuple(row) for row in store.execute("SELECT id, verdict, reject_reason FROM candidates")]
        for candidate_id, *_ in before:
            settle(store, candidate_id)
        assert [tuple(row) for row in store.execute("SELECT id, verdict, reject_reason FROM candidates")] == before
        decisions = store.execute("SELECT decision, count(*) FROM reviews GROUP BY decision").fetchall()
        assert {row[0] for row in decisions} == {"accept", "reject"}


def test_candidates_of_the_store_can_be_searched(small: Path) -> None:
    with Store(small) as store:
        found = store.execute("SELECT count(*) FROM candidates_search WHERE candidates_search MATCH '\"room\"'")
        like = store.execute(
            "SELECT count(*) FROM candidates WHERE question LIKE '%room%' OR output_text LIKE '%room%'"
        )
        assert found.fetchone()[0] == like.fetchone()[0] > 0
        store.execute("INSERT INTO candidates_search (candidates_search, rank) VALUES ('integrity-check', 1)")
