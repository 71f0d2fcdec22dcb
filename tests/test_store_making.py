"""A store is made once and whole, whoever is killed or comes at the same time, and for its owner alone."""

from __future__ import annotations

import itertools
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from store_contract import TABLES, VIEWS
from workspaces import add_run

from llm2llm_local.errors import StoreError
from llm2llm_local.store.lock import RunLock
from llm2llm_local.store.reader import SCHEMA_VERSION, STORE_NAME, newest_run, open_reader
from llm2llm_local.store.writer import Store


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
    assert [process.returncode for process in processes] == [0] * 4


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
