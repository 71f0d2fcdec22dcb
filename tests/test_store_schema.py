"""The tables and views of a store are those of the contract; files of another version or kind are refused untouched."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from audits import audit_row
from sqlite_utils import Database
from store_contract import TABLES, VIEWS
from workspaces import Workspace, add_run

from llm2llm_local.errors import OutdatedStoreError, StoreError
from llm2llm_local.store import schema
from llm2llm_local.store.audits import columns_of
from llm2llm_local.store.reader import SCHEMA_VERSION, STORE_NAME, open_reader, require_run
from llm2llm_local.store.writer import Store


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


# --- files that are no store of this version ---


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


def test_a_verifiers_leaning_of_before_becomes_that_of_each_of_its_ballots(tmp_path: Path) -> None:
    before = {"intercept": 0.5, "weights": {"teacher": 1.0}, "biases": {"teacher": {"a": -1.0}, "student": {"a": -2.0}}}
    with Store(tmp_path) as store:
        run_id = add_run(store, config=json.dumps({"checks.votes": 3})).run_id
        with store.transaction():
            store.insert("audits", run_id=run_id, **columns_of(audit_row(calibration=before)))
            schema.m007_leaning_of_each_ballot(Database(store._connection))
        (text,) = store.execute("SELECT calibration FROM audits").fetchone()
    assert json.loads(text) == {**before, "biases": {"teacher": [{"a": -1.0}] * 3, "student": [{"a": -2.0}]}}


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
