"""The store's contract: what is in it, what one writer and many readers may do, and what they refuse."""

from __future__ import annotations

import itertools
import os
import resource
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database
from workspaces import Workspace, add_run, fill, grade

from llm2llm_local.errors import DiskError, OutdatedStoreError, RunBusyError, StoreError
from llm2llm_local.records import (
    CheckVerdict,
    Decision,
    Status,
)
from llm2llm_local.report.failures import failures_of
from llm2llm_local.report.lineage import lineage_of
from llm2llm_local.report.status import run_statuses
from llm2llm_local.report.summary import summarize
from llm2llm_local.store import schema
from llm2llm_local.store.lock import RunLock, holder
from llm2llm_local.store.reader import SCHEMA_VERSION, STORE_NAME, newest_run, open_reader, require_run, run_query
from llm2llm_local.store.rows import ModelRow
from llm2llm_local.store.writer import Store

TABLES = {
    "runs",
    "iterations",
    "stages",
    "examples",
    "training_set_examples",
    "checkpoints",
    "predictions",
    "teacher_calls",
    "candidates",
    "candidates_search",
    "verdicts",
    "reviews",
    "metrics",
    "events",
    "commands",
    "models",
}
VIEWS = {
    "accuracy_by_iteration": ("run_id", "iteration", "split", "n", "n_correct", "accuracy"),
    "failures": ("run_id", "iteration", "example_id", "question", "answer", "predicted_answer", "confidence"),
    "rejections": ("run_id", "iteration", "check_name", "reason", "n"),
    "teacher_yield": ("run_id", "iteration", "n_failures", "n_candidates", "n_accepted", "n_rejected", "n_doubt"),
    "lineage": (
        "run_id",
        "example_id",
        "question",
        "answer",
        "candidate_id",
        "teacher_call_id",
        "parent_example_id",
        "parent_question",
        "failed_iteration",
        "predicted_answer",
        "first_trained_iteration",
    ),
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path) as opened:
        yield opened


def query(workspace: Path, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with open_reader(workspace) as connection:
        return [tuple(row) for row in connection.execute(sql, parameters)]


# --- schema ---------------------------------------------------------------------------------------------------------


def test_the_tables_are_those_of_the_contract(store: Store) -> None:
    names = {row[0] for row in store.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    kept_by_sqlite = ("sqlite_", "_", "candidates_search_")
    assert {name for name in names if not name.startswith(kept_by_sqlite)} == TABLES


def test_the_views_have_the_columns_of_the_contract(store: Store) -> None:
    names = {row[0] for row in store.execute("SELECT name FROM sqlite_schema WHERE type = 'view'")}
    columns = {
        name: tuple(column[0] for column in store.execute(f"SELECT * FROM {name}").description) for name in names
    }
    assert columns == VIEWS


def test_the_readers_schema_version_is_the_number_of_migrations(store: Store) -> None:
    assert len(schema.migrations.pending(Database(sqlite3.connect(":memory:")))) == SCHEMA_VERSION
    assert store.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION


def test_tables_refuse_values_of_another_type(store: Store) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="cannot store TEXT value in INTEGER column"):
        add_run(store, rng_seed="many")


# --- the writer -----------------------------------------------------------------------------------------------------


def test_the_writer_is_durable_and_checks_foreign_keys(store: Store) -> None:
    pragmas = {name: store.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")}
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}  # 2 is FULL
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"), store.transaction():
        store.of_run(1).add_event("kind", "of a run that isn't there")


def test_opening_a_store_again_changes_nothing(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_run(store)
    before = (tmp_path / STORE_NAME).read_bytes()
    with Store(tmp_path) as store:
        assert store.run(1).status is Status.RUNNING
    assert (tmp_path / STORE_NAME).read_bytes() == before


def test_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    run = add_run(store)
    with pytest.raises(RuntimeError, match="in the middle"), run.transaction():
        run.add_event("kind", "lost")
        raise RuntimeError("in the middle of a unit")
    with run.transaction():
        run.add_event("kind", "kept")
    assert [row["message"] for row in store.execute("SELECT message FROM events")] == ["kept"]


def test_a_defect_in_sql_is_not_taken_for_a_full_disk(store: Store) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"), store.transaction():
        store.execute("INSERT INTO nowhere VALUES (1)")
    assert store.execute("SELECT 1").fetchone()[0] == 1


def test_a_full_disk_is_an_error_and_loses_nothing(store: Store, tmp_path: Path) -> None:
    run = add_run(store)
    with run.transaction():
        run.add_event("kind", "before")
    pages = store.execute("PRAGMA page_count").fetchone()[0]
    store.execute(f"PRAGMA max_page_count = {pages + 4}")
    with pytest.raises(DiskError) as caught, run.transaction():
        for _ in range(100):
            run.add_event("kind", "x" * 5000)
    assert str(tmp_path / STORE_NAME) in caught.value.message
    assert "llm2llm resume" in caught.value.remedy
    assert query(tmp_path, "SELECT message FROM events") == [("before",)]
    assert query(tmp_path, "PRAGMA integrity_check") == [("ok",)]
    store.execute(f"PRAGMA max_page_count = {pages + 1000}")
    with run.transaction():
        run.add_event("kind", "after")
    assert query(tmp_path, "SELECT message FROM events") == [("before",), ("after",)]


def test_another_process_that_writes_for_long_is_named_as_the_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path) as store:
        run = add_run(store)
        store.execute("PRAGMA busy_timeout = 50")
        other = sqlite3.connect(tmp_path / STORE_NAME)
        other.execute("BEGIN IMMEDIATE")
        try:
            with pytest.raises(DiskError, match="locked"), run.transaction():
                run.add_event("kind", "too late")
        finally:
            other.close()


def test_deleting_a_run_leaves_nothing_of_it_and_all_of_others(store: Store) -> None:
    kept, deleted = add_run(store), add_run(store)
    fill(kept)
    fill(deleted)
    per_run = sorted(TABLES - {"models", "candidates_search"})
    of_kept = {name: rows_of(store, name, kept.run_id) for name in per_run}
    with deleted.transaction():
        deleted.delete()
    assert {name: rows_of(store, name, deleted.run_id) for name in per_run} == {name: [] for name in per_run}
    assert {name: rows_of(store, name, kept.run_id) for name in per_run} == of_kept
    found = store.execute("SELECT rowid FROM candidates_search WHERE candidates_search MATCH 'new question'")
    assert [row[0] for row in found] == [1]
    assert add_run(store).run_id == 3  # its adapters' folder may still be there, so a number isn't used again


def rows_of(store: Store, table: str, run_id: int) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in store.execute(f"SELECT * FROM {table} WHERE run_id = ?", [run_id])]


def test_a_model_is_known_by_its_content(store: Store) -> None:
    here = ModelRow("a" * 64, "gguf", "here", "/here.gguf", "llama", "F32", 1, 512)
    there = ModelRow("a" * 64, "gguf", "there", "/there.gguf", "llama", "F32", 1, 512)
    assert store.add_model(here) == store.add_model(there)
    assert [row["name"] for row in store.execute("SELECT name FROM models")] == ["here"]


def test_runs_that_are_not_done_are_unfinished(store: Store) -> None:
    assert store.unfinished_runs() == []
    first, second, third = add_run(store), add_run(store), add_run(store)
    with store.transaction():
        second.set_status(Status.FAILED, "why")
        third.set_status(Status.DONE)
    assert store.unfinished_runs() == [first.run_id, second.run_id]


def test_commands_are_obeyed_in_order_and_those_of_before_are_cancelled(store: Store) -> None:
    run, other = add_run(store), add_run(store)
    other.add_command("stop")
    run.add_command("pause")
    run.add_command("resume")
    pause = run.next_command()
    assert pause is not None and pause[1] == "pause"
    with run.transaction():
        run.mark_command_done(pause[0])
    with run.transaction():
        run.cancel_commands()
    assert run.next_command() is None
    statuses = store.execute("SELECT command, status FROM commands WHERE run_id = ? ORDER BY id", [run.run_id])
    assert [tuple(row) for row in statuses] == [("pause", "done"), ("resume", "cancelled")]
    assert other.next_command() is not None


def test_a_rejection_counts_more_than_an_earlier_doubt(store: Store) -> None:
    run = add_run(store)
    fill(run)
    candidate = run.candidates(0, 0)[-1]
    store.execute("DELETE FROM verdicts WHERE candidate_id = ?", [candidate.id])
    verdicts = [
        CheckVerdict(name, decision, f"by {name}", "", None)
        for name, decision in (("format", Decision.DOUBT), ("duplicate", Decision.REJECT), ("leak", Decision.REJECT))
    ]
    with run.transaction():
        assert run.decide(0, candidate, verdicts) is Decision.REJECT
    row = store.execute("SELECT verdict, reject_reason FROM candidates WHERE id = ?", [candidate.id]).fetchone()
    assert tuple(row) == ("reject", "by duplicate")


def test_an_opened_stage_is_found_again_with_its_progress(store: Store) -> None:
    run = add_run(store)
    opened = run.open_stage(0, "train", 0, "fingerprint", {"b": 1, "a": 2}, units=2)
    with run.transaction():
        run.mark_unit_done(opened, 1.5)
    again = run.open_stage(0, "train", 0, "fingerprint", {}, units=2)
    assert (again.id, again.units_done, again.is_done) == (opened.id, 1, False)
    run.close_stage(again)
    row = run.stage(0, "train", 0)
    assert row is not None
    assert (row["status"], row["seconds"], row["fingerprint_fields"]) == ("done", 1.5, '{"a": 2, "b": 1}')


# --- files that are no store of this version ------------------------------------------------------------------------


def read_as_reader(workspace: Path) -> None:
    with open_reader(workspace) as connection:
        require_run(connection, None)


def open_as_writer(workspace: Path) -> None:
    Store(workspace).close()


EACH_WAY = pytest.mark.parametrize("open_store", [read_as_reader, open_as_writer])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@EACH_WAY
def test_a_newer_store_is_refused_untouched(tmp_path: Path, open_store: Callable[[Path], None]) -> None:
    with Store(tmp_path) as store:
        add_run(store)
        store.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = (tmp_path / STORE_NAME).read_bytes()
    with pytest.raises(StoreError, match="newer version") as caught:
        open_store(tmp_path)
    assert f"schema {SCHEMA_VERSION + 1}" in caught.value.message
    assert (tmp_path / STORE_NAME).read_bytes() == before


def store_of_the_first_schema(folder: Path) -> None:
    connection = sqlite3.connect(folder / STORE_NAME)
    with connection:
        schema.migrations.apply(Database(connection), stop_before="m002_reviews_progress_and_search")
        connection.execute("PRAGMA user_version = 1")
    connection.close()


def test_a_reader_says_that_a_store_is_of_an_earlier_version_and_a_writer_makes_it_of_this_one(tmp_path: Path) -> None:
    store_of_the_first_schema(tmp_path)
    with pytest.raises(OutdatedStoreError, match="earlier version") as caught, open_reader(tmp_path):
        pass
    assert "llm2llm status" in str(caught.value)
    Store(tmp_path).close()
    with open_reader(tmp_path) as connection:
        connection.execute("SELECT progress FROM stages")


def test_commands_bring_a_store_of_an_earlier_version_up_to_date(tmp_path: Path) -> None:
    store_of_the_first_schema(tmp_path)
    ending = Workspace(tmp_path).llm2llm("query", "SELECT count(progress) FROM stages", "--csv")
    assert (ending.code, ending.out.split()) == (0, ["count(progress)", "0"]), ending.err


@EACH_WAY
@pytest.mark.parametrize("user_version", [0, 1], ids=["unnumbered", "numbered"])
def test_somebody_elses_database_is_refused_untouched(
    tmp_path: Path, open_store: Callable[[Path], None], user_version: int
) -> None:
    connection = sqlite3.connect(tmp_path / STORE_NAME)
    connection.execute("CREATE TABLE recipes (title TEXT)")
    connection.execute(f"PRAGMA user_version = {user_version}")
    connection.close()
    before = contents(tmp_path)
    with pytest.raises(StoreError):
        open_store(tmp_path)
    assert contents(tmp_path) == before


@EACH_WAY
@pytest.mark.parametrize("garbage", [b"no database at all. " * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_file_that_is_no_database_is_refused_untouched(
    tmp_path: Path, open_store: Callable[[Path], None], garbage: bytes
) -> None:
    (tmp_path / STORE_NAME).write_bytes(garbage)
    with pytest.raises(StoreError, match=STORE_NAME):
        open_store(tmp_path)
    assert contents(tmp_path) == {STORE_NAME: garbage}


def test_a_missing_store_is_not_made_by_reading(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store there"), open_reader(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_store_whose_making_is_killed_anywhere_is_made_by_the_next(tmp_path: Path) -> None:
    """Killed before its first statement, then before its second, and so on until it is made without a kill."""
    for n_statements in itertools.count(1):
        workspace = tmp_path / str(n_statements)
        workspace.mkdir()
        was_killed = kill_while_making(workspace, n_statements)
        with Store(workspace) as store:
            assert add_run(store).run_id == 1
            assert store.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
        if not was_killed:
            break
    assert n_statements > len(TABLES | VIEWS.keys())


def kill_while_making(workspace: Path, n_statements: int) -> bool:
    """Make the store in a child that dies at its n-th SQL statement; whether it came to that."""
    child = os.fork()
    if child == 0:
        connect, left = sqlite3.connect, itertools.count(n_statements, -1)

        def connect_traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*arguments, **options)
            connection.set_trace_callback(lambda _: os._exit(9) if next(left) == 1 else None)
            return connection

        try:
            sqlite3.connect = connect_traced  # type: ignore[assignment]
            Store(workspace).close()
            os._exit(0)
        finally:
            os._exit(1)  # whatever went wrong, it mustn't go on as a second pytest
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, 9)
    return os.waitstatus_to_exitcode(status) == 9


def test_processes_that_make_the_store_at_once_get_on(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from llm2llm_local.store.writer import Store;"
        "print('ready', flush=True); sys.stdin.readline(); Store(Path(sys.argv[1])).close()"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    endings = [process.communicate(timeout=60)[1].strip().splitlines()[-1:] for process in processes]
    assert endings == [[]] * 4


# --- permissions ----------------------------------------------------------------------------------------------------


def test_the_stores_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Store(tmp_path) as store:
            run = add_run(store)
            run.folder.mkdir(parents=True)
            with RunLock(run.folder, run.run_id), open_reader(tmp_path) as connection:
                assert newest_run(connection) == 1
                files = [path for path in tmp_path.rglob("*") if path.is_file()]
                assert {path.name for path in files} == {
                    STORE_NAME,
                    f"{STORE_NAME}-wal",
                    f"{STORE_NAME}-shm",
                    "lock",
                }
                modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in files}
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o600}, modes


# --- readers --------------------------------------------------------------------------------------------------------

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


@pytest.mark.parametrize("sql", CHANGES)
def test_a_query_can_not_change_the_history(tmp_path: Path, sql: str) -> None:
    with Store(tmp_path) as store:
        add_run(store)
    before = contents(tmp_path)[STORE_NAME]
    with open_reader(tmp_path) as connection:
        with pytest.raises(StoreError, match="only SELECT is allowed"):
            run_query(connection, sql, 5.0)
        assert run_query(connection, "SELECT run_id, status FROM runs", 5.0).rows == [(1, "running")]
    assert contents(tmp_path)[STORE_NAME] == before


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


# --- the lock -------------------------------------------------------------------------------------------------------


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock in `tmp_path`."""
    program = (
        "import sys; from pathlib import Path; from llm2llm_local.store.lock import RunLock;"
        "lock = RunLock(Path(sys.argv[1]), 1); print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_run_is_worked_on_by_one_process(tmp_path: Path, worker: subprocess.Popen[str]) -> None:
    assert holder(tmp_path) == worker.pid
    with pytest.raises(RunBusyError, match=f"run 7 is being worked on by process {worker.pid}"):
        RunLock(tmp_path, 7)
    assert holder(tmp_path) == worker.pid


def test_the_lock_dies_with_a_killed_process(tmp_path: Path, worker: subprocess.Popen[str]) -> None:
    worker.kill()
    worker.wait()
    assert (tmp_path / "lock").read_text() == f"{worker.pid}\n"  # what is left says nothing by itself
    assert holder(tmp_path) is None
    with RunLock(tmp_path, 1):
        assert holder(tmp_path) == os.getpid()
    assert holder(tmp_path) is None


def test_a_run_that_was_never_worked_on_has_no_holder(tmp_path: Path) -> None:
    assert holder(tmp_path / "runs" / "1") is None


def test_looking_at_the_lock_does_not_keep_a_run_from_starting(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from llm2llm_local.store.lock import holder\n"
        "print('x', flush=True)\n"
        "while True: holder(Path(sys.argv[1]))"
    )
    RunLock(tmp_path, 1).release()
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "x\n"
        try:
            for _ in range(200):
                RunLock(tmp_path, 1).release()
        finally:
            process.kill()


# --- the views' figures ---------------------------------------------------------------------------------------------


@pytest.fixture
def filled(store: Store, tmp_path: Path) -> Path:
    """Two runs with the same rows, so that figures that mix runs would be twice too large."""
    for run in (add_run(store), add_run(store)):
        fill(run)
        grade(run)
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


# --- speed ----------------------------------------------------------------------------------------------------------


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
