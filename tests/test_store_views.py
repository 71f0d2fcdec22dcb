"""The views' figures are right for each run alone, and are found by index."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from workspaces import add_graded_run, add_run, fill

from llm2llm_local.report.failures import failures_of
from llm2llm_local.report.lineage import lineage_of
from llm2llm_local.report.status import run_statuses
from llm2llm_local.report.summary import summarize
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.writer import Store


def query(workspace: Path, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with open_reader(workspace) as connection:
        return [tuple(row) for row in connection.execute(sql, parameters)]


@pytest.fixture
def filled(store: Store, tmp_path: Path) -> Path:
    """Two runs with the same rows, so that figures that mix runs would be twice too large."""
    for _ in range(2):
        add_graded_run(store)
    return tmp_path


def test_accuracy_counts_seeds_and_test_rows_of_each_iteration(filled: Path) -> None:
    rows = query(filled, "SELECT * FROM accuracy_by_iteration WHERE run_id = 2 ORDER BY iteration, split")
    assert rows == [
        (2, 0, "test", 2, 2, 1.0),
        (2, 0, "train", 3, 1, pytest.approx(1 / 3)),
        (2, 1, "test", 2, 1, 0.5),
        (2, 1, "train", 3, 2, pytest.approx(2 / 3)),  # without the augmented example
    ]


def test_failures_are_the_wrong_training_predictions(filled: Path) -> None:
    sql = (
        "SELECT iteration, question, answer, predicted_answer, confidence FROM failures WHERE run_id = 1 ORDER BY 1, 2"
    )
    assert query(filled, sql) == [
        (0, "seed 1", "answer 1", "wrong", 0.25),
        (0, "seed 3", "answer 3", None, 0.25),
        (1, "seed 2", "answer 2", "wrong", 0.25),
    ]


def test_rejections_are_counted_by_reason(filled: Path) -> None:
    assert query(filled, "SELECT * FROM rejections WHERE run_id = 1 ORDER BY check_name") == [
        (1, 0, "duplicate", "too similar", 1),
        (1, 0, "format", "empty reply", 2),
    ]


def test_the_teachers_yield_counts_failures_and_candidates(filled: Path) -> None:
    assert query(filled, "SELECT * FROM teacher_yield WHERE run_id = 2 ORDER BY iteration") == [
        (2, 0, 2, 5, 1, 3, 1),
        (2, 1, 1, 0, 0, 0, 0),
    ]


def test_lineage_goes_from_the_example_to_its_seed(filled: Path) -> None:
    rows = query(
        filled,
        "SELECT l.run_id, l.question, l.answer, c.question, t.output_text, s.key, l.parent_question, "
        "l.failed_iteration, l.predicted_answer, l.first_trained_iteration "
        "FROM lineage l JOIN candidates c ON c.id = l.candidate_id JOIN teacher_calls t ON t.id = l.teacher_call_id "
        "JOIN examples s ON s.id = l.parent_example_id ORDER BY 1",
    )
    assert rows == [
        (run_id, "new question", "answer 1", "new question", "new question", "train/0", "seed 1", 0, "wrong", 1)
        for run_id in (1, 2)
    ]


def test_an_accepted_example_that_never_trained_has_no_first_iteration(store: Store, tmp_path: Path) -> None:
    run = add_run(store)
    fill(run)
    with run.transaction():
        store.execute("DELETE FROM training_set_examples WHERE iteration = 1")
    assert query(tmp_path, "SELECT first_trained_iteration FROM lineage") == [(None,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM failures WHERE run_id = ? AND iteration = ?",
        "SELECT * FROM lineage WHERE example_id = ?",
        "SELECT * FROM accuracy_by_iteration WHERE run_id = ?",
        "SELECT * FROM rejections WHERE run_id = ?",
        "SELECT question FROM examples WHERE run_id = ? AND split = ? AND origin = ?",
        "SELECT * FROM candidates WHERE run_id = ? AND iteration = ? AND verdict = ?",
        "SELECT * FROM predictions WHERE example_id = ? ORDER BY iteration",
        "SELECT * FROM candidates WHERE parent_example_id = ?",
        "SELECT * FROM teacher_calls WHERE example_id = ?",
    ],
)
def test_people_and_the_program_ask_by_index(store: Store, sql: str) -> None:
    assert scanned(store, sql, [1] * sql.count("?")) == []


def test_no_report_reads_a_table_from_end_to_end(filled: Path) -> None:
    """Whatever the reports ask, captured as they ask it."""
    asked: list[str] = []
    with open_reader(filled) as connection:
        example = connection.execute("SELECT example_id FROM lineage").fetchone()[0]
        connection.set_trace_callback(asked.append)
        run_statuses(connection, filled, None)
        summarize(connection, 1)
        assert failures_of(connection, 1, None) != []
        lineage_of(connection, example)
        connection.set_trace_callback(None)
        assert len(asked) > 10
        scans = {sql: scanned(connection, sql, []) for sql in asked}
    a_row_a_run = {"SCAN runs"}
    of_a_materialized_view = {"SCAN l LEFT-JOIN", "SCAN r"}
    allowed = a_row_a_run | of_a_materialized_view
    assert {sql: lines for sql, lines in scans.items() if not set(lines) <= allowed} == {}


def scanned(store: Store | sqlite3.Connection, sql: str, parameters: list[Any]) -> list[str]:
    """What SQLite would read from end to end, but for results that it has just worked out itself."""
    plan = [row["detail"] for row in store.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]
    assert plan != []
    made = {line.split()[1] for line in plan if line.startswith(("CO-ROUTINE", "MATERIALIZE"))}
    return [line for line in plan if line.startswith("SCAN") and line.split()[1] not in made]
