"""`llm2llm delete`: a run is removed whole, when that is meant and nobody works on it, and nothing else is."""

from __future__ import annotations

import os
import pty
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
from big_run import Size
from big_store import make_big_store
from fake_runs import configuration, half_learnt, rows, run_of
from fakes import FakeStudent
from workspaces import COMMAND, Workspace, add_run, fill

from llm2llm_local.errors import EXIT_DONE, EXIT_USER_INPUT, DiskError, RunBusyError, StoreError
from llm2llm_local.loop.adapters import adapter_folder, share_adapter
from llm2llm_local.loop.llm2llm import llm2llm
from llm2llm_local.store.delete import delete_run, run_size
from llm2llm_local.store.lock import RunLock
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.writer import Store


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Two runs with a history and a folder each."""
    with Store(tmp_path) as store:
        for _ in range(2):
            run = add_run(store)
            fill(run)
            adapter = adapter_folder(run, 0)
            adapter.mkdir(parents=True)
            (adapter / "weights").write_bytes(b"x" * 2**20)
    return Workspace(tmp_path)


def runs_in(workspace: Workspace) -> list[int]:
    return [row[0] for row in workspace.rows("SELECT run_id FROM runs ORDER BY run_id")]


def test_a_run_goes_with_its_folder_and_the_other_stays(workspace: Workspace) -> None:
    before = workspace.rows("SELECT * FROM predictions WHERE run_id = 2")
    ending = workspace.llm2llm("delete", "1", "--yes")
    assert (ending.code, ending.err) == (EXIT_DONE, "")
    said = "deleted run 1: 2 iterations, 11 predictions, 5 candidates, 0 reviews; runs/1 with 1.0 MiB\n"
    assert ending.out == said
    assert runs_in(workspace) == [2]
    assert [path.name for path in (workspace.folder / "runs").iterdir()] == ["2"]
    assert (workspace.folder / "runs/2/iteration-0/adapter/weights").stat().st_size == 2**20
    assert workspace.rows("SELECT * FROM predictions WHERE run_id = 2") == before != []
    assert workspace.rows("SELECT count(*) FROM models") == [(1,)]
    assert workspace.rows("PRAGMA foreign_key_check") == []


def test_without_a_terminal_it_must_be_said_twice(workspace: Workspace) -> None:
    ending = workspace.llm2llm("delete", "1")
    assert ending.code == EXIT_USER_INPUT
    assert ending.err.splitlines()[0].startswith("llm2llm: run 1: 2 iterations, 11 predictions")
    assert "llm2llm delete 1 --yes" in ending.err
    assert runs_in(workspace) == [1, 2]


@pytest.mark.parametrize(("answer", "left"), [("y", [2]), ("n", [1, 2]), ("", [1, 2])])
def test_in_a_terminal_it_asks(workspace: Workspace, answer: str, left: list[int]) -> None:
    ours, its = pty.openpty()
    process = subprocess.Popen([COMMAND, "delete", "1"], cwd=workspace.folder, stdin=its, stdout=its, stderr=its)
    os.close(its)
    said = b""
    while b"[y/N]" not in said:
        said += os.read(ours, 1024)
    assert b"run 1: 2 iterations, 11 predictions" in said
    assert b"runs/1 with 1.0 MiB" in said
    assert runs_in(workspace) == [1, 2]
    os.write(ours, f"{answer}\n".encode())
    assert process.wait(60) == EXIT_DONE
    os.close(ours)
    assert runs_in(workspace) == left
    assert (workspace.folder / "runs" / "1").exists() == (1 in left)


def test_a_run_that_is_worked_on_is_refused(workspace: Workspace) -> None:
    with RunLock(workspace.folder / "runs" / "1", 1):
        ending = workspace.llm2llm("delete", "1", "--yes")
        assert ending.code == EXIT_USER_INPUT
        assert f"run 1 is being worked on by process {os.getpid()}" in ending.err
        with pytest.raises(RunBusyError):
            delete_run(workspace.folder, 1)
        delete_run(workspace.folder, 2)
    assert runs_in(workspace) == [1]
    assert adapter_of(workspace, 1).exists()


def adapter_of(workspace: Workspace, run_id: int) -> Path:
    return workspace.folder / "runs" / str(run_id) / "iteration-0" / "adapter" / "weights"


def test_a_run_that_is_not_there_is_named(workspace: Workspace) -> None:
    with pytest.raises(StoreError, match="there is no run 3"):
        delete_run(workspace.folder, 3)
    ending = workspace.llm2llm("delete", "3", "--yes")
    assert (ending.code, "there is no run 3" in ending.err) == (EXIT_USER_INPUT, True)
    assert not (workspace.folder / "runs" / "3").exists()


def test_a_damaged_store_is_told_and_nothing_is_deleted(workspace: Workspace) -> None:
    """In a table that is read for nothing but the deleting."""
    workspace.damage("teacher_calls")
    ending = workspace.llm2llm("delete", "1", "--yes")
    assert (ending.code, ending.out) == (EXIT_USER_INPUT, "")
    assert ending.err.splitlines() == [
        "llm2llm: llm2llm.db: database disk image is malformed.",
        "  It is damaged, or not a store of llm2llm: move it away, or put a copy in its place.",
    ]
    assert runs_in(workspace) == [1, 2]
    assert adapter_of(workspace, 1).exists()


def test_a_run_without_its_folder_can_be_deleted(workspace: Workspace) -> None:
    shutil.rmtree(workspace.folder / "runs")
    with open_reader(workspace.folder) as connection:
        assert run_size(connection, workspace.folder, 1).folder_bytes == 0
    delete_run(workspace.folder, 1)
    assert runs_in(workspace) == [2]


def test_a_forks_adapters_stay(tmp_path: Path) -> None:
    with run_of(tmp_path, configuration(loop__iterations=1), student=FakeStudent(half_learnt)) as run:
        llm2llm(run)
    with run_of(tmp_path, configuration()) as fork:
        share_adapter(adapter_folder(run.store, 0), adapter_folder(fork.store, 0))
        (shared,) = adapter_folder(fork.store, 0).iterdir()
        content = shared.read_bytes()
    assert shared.stat().st_nlink == 2
    delete_run(tmp_path, 1)
    assert (shared.stat().st_nlink, shared.read_bytes()) == (1, content)


def test_a_folder_that_cannot_be_removed_is_named_and_refers_to_no_run(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the machine stops in between: the rows are gone, and nothing takes the folder for a run's."""

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path / "weights"))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(DiskError, match="weights: Permission denied") as caught:
        delete_run(workspace.folder, 1)
    assert str(workspace.folder / "runs" / "1") in caught.value.remedy
    assert runs_in(workspace) == [2]
    assert adapter_of(workspace, 1).exists()
    with Store(workspace.folder) as store:
        assert add_run(store).run_id == 3


def test_rows_that_cannot_be_deleted_leave_the_folder(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.execute("CREATE TRIGGER refuse BEFORE DELETE ON events BEGIN SELECT raise(ABORT, 'no'); END")
    with pytest.raises(sqlite3.IntegrityError):
        delete_run(workspace.folder, 1)
    assert runs_in(workspace) == [1, 2]
    assert adapter_of(workspace, 1).exists()


def test_no_table_is_searched_row_by_row(tmp_path: Path) -> None:
    """Foreign keys without an index would take a look at every row for each that goes: minutes, not a second."""
    make_big_store(tmp_path, Size(runs=1, iterations=1, seeds=60, dev=10, test=100, candidates=60))
    connection = sqlite3.connect(tmp_path / "llm2llm.db")
    tables = [row[0] for row in connection.execute("SELECT name FROM pragma_table_list WHERE type = 'table'")]
    columns = [
        (table, row[0])
        for table in tables
        for row in connection.execute(
            f'SELECT "from" FROM pragma_foreign_key_list({table!r}) WHERE "table" != \'models\''
        )
    ]
    assert ("examples", "review_id") in columns and len(columns) > 20
    for table, column in columns:
        plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT 1 FROM {table} WHERE {column} = ?", [1]).fetchall()
        assert plan[0][3].startswith("SEARCH"), (table, column, plan)
    connection.close()
    delete_run(tmp_path, 1)
    for table in ("predictions", "candidates", "candidates_search", "reviews"):
        assert rows(tmp_path, f"SELECT count(*) FROM {table}") == [(0,)]
