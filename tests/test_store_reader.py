"""Readers see the history and can neither change it, nor reach beyond it, nor work for ever."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from workspaces import add_run, fill

from llm2llm_local.errors import NoHistoryError, StoreError
from llm2llm_local.store.reader import STORE_NAME, open_reader, require_run, run_query
from llm2llm_local.store.writer import Store

CHANGES = (
    "INSERT INTO events (run_id, kind, message, created_at) VALUES (1, 'kind', 'message', 'now')",
    "INSERT INTO events (run_id, kind, message, created_at) VALUES (1, 'k', 'm', 'now') RETURNING id",
    "REPLACE INTO runs (run_id) VALUES (1)",
    "UPDATE runs SET status = 'done'",
    "WITH every AS (SELECT run_id FROM runs) UPDATE runs SET status = 'x' WHERE run_id IN every",
    "DELETE FROM runs",
    "DROP TABLE runs",
    "DROP VIEW lineage",
    "ALTER TABLE runs RENAME TO walks",
    "CREATE TABLE more (x)",
    "CREATE TEMP TABLE more (x)",
    "CREATE TEMP VIEW more AS SELECT 1",
    "CREATE INDEX more ON runs (status)",
    "CREATE VIRTUAL TABLE more USING fts5(x)",
    "REINDEX",
    "ANALYZE",
    "VACUUM",
    "BEGIN IMMEDIATE",
    "BEGIN",
    "SAVEPOINT here",
    "PRAGMA user_version = 99",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA writable_schema = ON",
    "PRAGMA query_only = OFF",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "PRAGMA main.application_id = 1",
)


@pytest.mark.parametrize("n_bytes", [0, 100])
def test_a_damaged_store_says_what_to_do(tmp_path: Path, n_bytes: int) -> None:
    """As another file, or with its header sound and the rest overwritten."""
    with Store(tmp_path) as store:
        add_run(store)
    content = (tmp_path / STORE_NAME).read_bytes()
    (tmp_path / STORE_NAME).write_bytes(content[:n_bytes] + b"x" * (len(content) - n_bytes))
    with pytest.raises(StoreError) as caught, open_reader(tmp_path):
        pass
    assert caught.value.message.startswith(f"{tmp_path / STORE_NAME}: ")
    assert caught.value.remedy.startswith("It is damaged, or not a store of llm2llm: move it away")


def test_a_store_that_another_keeps_to_itself_says_what_to_do(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_run(store)
    other = sqlite3.connect(tmp_path / STORE_NAME, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked") as caught, open_reader(tmp_path, patience_seconds=0.01):
        pass
    other.close()
    assert caught.value.remedy == "Another process keeps it to itself; try again when that is done."


def test_a_folder_of_the_stores_name_is_no_missing_store(tmp_path: Path) -> None:
    (tmp_path / STORE_NAME).mkdir()
    with pytest.raises(StoreError, match="is a folder") as caught, open_reader(tmp_path):
        pass
    assert caught.value.remedy.startswith("Move it away")
    assert not isinstance(caught.value, NoHistoryError)  # which would count as an empty history


def test_who_names_a_table_that_is_not_there_is_told_how_to_list_them(tmp_path: Path) -> None:
    Store(tmp_path).close()
    with open_reader(tmp_path) as connection, pytest.raises(StoreError, match="no such table: foo") as caught:
        run_query(connection, "SELECT * FROM foo", 60.0)
    with open_reader(tmp_path) as connection:
        told = run_query(connection, caught.value.remedy.partition('"')[2].removesuffix('"'), 60.0)
    assert {("runs",), ("failures",)} <= set(told.rows)


@pytest.mark.parametrize("sql", CHANGES)
def test_a_query_can_not_change_the_history(tmp_path: Path, sql: str) -> None:
    with Store(tmp_path) as store:
        add_run(store)
    before = (tmp_path / STORE_NAME).read_bytes()
    with open_reader(tmp_path) as connection:
        with pytest.raises(StoreError, match="only SELECT is allowed"):
            run_query(connection, sql, 5.0)
        assert run_query(connection, "SELECT run_id, status FROM runs", 5.0).rows == [(1, "running")]
    assert (tmp_path / STORE_NAME).read_bytes() == before


@pytest.mark.parametrize(
    "sql",
    [
        "ATTACH '{}' AS other",
        "ATTACH ':memory:' AS other",
        "DETACH main",
        "VACUUM INTO '{}'",
        "SELECT load_extension('{}')",
        "SELECT writefile('{}', 'x')",
        "SELECT readfile('/etc/hostname')",
        "SELECT 1; DROP TABLE runs",
    ],
)
def test_a_query_can_not_reach_beyond_the_history(tmp_path: Path, sql: str) -> None:
    workspace, other = tmp_path / "workspace", tmp_path / "other.db"
    workspace.mkdir()
    with Store(workspace) as store:
        add_run(store)
    with open_reader(workspace) as connection:
        with pytest.raises(StoreError):
            run_query(connection, sql.format(other), 5.0)
        assert run_query(connection, "SELECT run_id FROM runs", 5.0).rows == [(1,)]
    assert not other.exists()


@pytest.mark.parametrize(
    "sql", [change for change in CHANGES if change.startswith(("INSERT", "UPDATE", "DELETE", "DROP"))]
)
def test_the_readers_connection_itself_can_not_write(tmp_path: Path, sql: str) -> None:
    """Even without the query command's guard."""
    with Store(tmp_path) as store:
        add_run(store)
    with pytest.raises(StoreError, match="readonly database"), open_reader(tmp_path) as connection:
        connection.execute(sql)


@pytest.mark.parametrize("table", ["json_each", "json_tree"])
def test_a_query_can_take_json_apart(tmp_path: Path, table: str) -> None:
    with Store(tmp_path) as store:
        add_run(store, labels='["spam", "ham"]')
    sql = f"SELECT label.atom FROM runs, {table}(runs.labels) AS label WHERE label.atom IS NOT NULL"
    with open_reader(tmp_path) as connection:
        assert run_query(connection, sql, 5.0).rows == [("spam",), ("ham",)]


@pytest.mark.timeout(120, method="thread")  # SQLite alone can't be interrupted by a signal
def test_a_query_can_search_the_candidates(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        fill(add_run(store))
    sql = (
        "SELECT c.question FROM candidates_search s JOIN candidates c ON c.id = s.rowid WHERE candidates_search MATCH "
    )
    with open_reader(tmp_path) as connection:
        assert run_query(connection, sql + """'"w quest"'""", 5.0).rows == [("new question",)]
        with pytest.raises(StoreError, match="only SELECT"):
            run_query(connection, "INSERT INTO candidates_search (candidates_search) VALUES ('delete-all')", 5.0)
        with pytest.raises(StoreError, match="only SELECT"):
            run_query(connection, "PRAGMA user_version", 5.0)


def test_columns_are_told_where_one_is_wrong_and_where_they_are_asked_for(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_run(store)
    with open_reader(tmp_path) as connection:
        with pytest.raises(StoreError, match="no such column: id") as caught:
            run_query(connection, "SELECT id FROM runs JOIN lineage", 5.0)
        tables = [line.partition(": ") for line in caught.value.remedy.splitlines()]
        assert [table for table, _, _ in tables] == ["Columns of lineage", "Columns of runs"]
        assert tables[1][2].startswith("run_id, ")
        names = run_query(connection, "SELECT name FROM pragma_table_info('runs')", 5.0).rows
        assert ", ".join(name for (name,) in names) == tables[1][2]
        assert run_query(connection, "PRAGMA table_info(runs)", 5.0).columns[1] == "name"


def test_a_query_that_never_ends_is_ended(tmp_path: Path) -> None:
    Store(tmp_path).close()
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    with open_reader(tmp_path) as connection:
        started = time.monotonic()
        with pytest.raises(StoreError, match=r"longer than 0\.3 s") as caught:
            run_query(connection, endless, 0.3)
        assert time.monotonic() - started < 20
        assert "--timeout" in caught.value.remedy
        assert run_query(connection, "SELECT 1 AS one", 5.0).rows == [(1,)]


def test_a_result_that_never_ends_does_not_fill_the_memory(tmp_path: Path) -> None:
    """A query is often run beside a training that needs the memory."""
    Store(tmp_path).close()
    program = (
        "import sys; from pathlib import Path; from llm2llm_local.store.reader import open_reader, run_query\n"
        "with open_reader(Path(sys.argv[1])) as c: run_query(c, sys.argv[2], 60.0)"
    )
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x, x, x, x, x, x, x, x FROM n"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), endless],
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30)),
    )
    assert "MemoryError" not in done.stderr, done.stderr
    assert "errors.StoreError: " in done.stderr


@pytest.mark.parametrize("word", ["authorized", "prohibited"])
def test_a_wrong_column_is_named_whatever_it_is_called(tmp_path: Path, word: str) -> None:
    Store(tmp_path).close()
    with open_reader(tmp_path) as connection, pytest.raises(StoreError, match=f"no such column: {word}"):
        run_query(connection, f"SELECT {word} FROM runs", 5.0)


@pytest.mark.parametrize("sql", ["", "   ", "-- nothing"])
def test_an_empty_query_is_an_error(tmp_path: Path, sql: str) -> None:
    Store(tmp_path).close()
    with open_reader(tmp_path) as connection, pytest.raises(StoreError, match="the query is empty"):
        run_query(connection, sql, 5.0)


def test_a_query_with_half_a_character_is_an_error(tmp_path: Path) -> None:
    Store(tmp_path).close()
    with open_reader(tmp_path) as reader, pytest.raises(StoreError, match="character 9 of the query"):
        run_query(reader, "SELECT '\udcff'", timeout_seconds=1.0)


def test_a_query_has_its_columns_names_even_without_rows(tmp_path: Path) -> None:
    Store(tmp_path).close()
    with open_reader(tmp_path) as connection:
        result = run_query(connection, "SELECT run_id, status AS state FROM runs", 5.0)
    assert (result.columns, result.rows) == (("run_id", "state"), [])


def test_a_run_that_is_not_there_is_named_with_those_that_are(store: Store, tmp_path: Path) -> None:
    with open_reader(tmp_path) as connection:
        with pytest.raises(StoreError, match="no runs yet"):
            require_run(connection, None)
        add_run(store)
        add_run(store)
        assert require_run(connection, None) == 2
        assert require_run(connection, 1) == 1
        with pytest.raises(StoreError, match="no run 3") as caught:
            require_run(connection, 3)
    assert "1, 2" in caught.value.remedy


def test_a_made_up_value_that_nothing_could_show_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_run(store)
    with open_reader(tmp_path) as connection:
        with pytest.raises(StoreError, match="too big"):
            run_query(connection, "SELECT zeroblob(500000000)", 5)
        assert run_query(connection, "SELECT length(zeroblob(10000000))", 5).rows == [(10_000_000,)]
