"""Remove a run: its rows, then its folder.

In this order, since rows refer to adapters and not the other way round: killed in between, it leaves a folder that no
run has, whose number is never used again. Adapters that a fork shares by hard link stay the fork's.
"""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from ..errors import DiskError
from .lock import RunLock
from .reader import STORE_NAME
from .rows import run_folder
from .writer import Store

_COUNTED = ("iterations", "predictions", "candidates", "reviews")


@dataclass(frozen=True, slots=True)
class RunSize:
    """What a run takes up: rows of the tables that a person knows, and the bytes of its folder."""

    rows: dict[str, int]
    folder: Path
    folder_bytes: int


def run_size(connection: sqlite3.Connection, workspace: Path, run_id: int) -> RunSize:
    """Of a run that exists."""
    folder = run_folder(workspace, run_id)
    counts = {
        table: int(connection.execute(f"SELECT count(*) FROM {table} WHERE run_id = ?", [run_id]).fetchone()[0])
        for table in _COUNTED
    }
    return RunSize(counts, folder, sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file()))


def delete_run(workspace: Path, run_id: int) -> None:
    """Raises StoreError when there is no such run, RunBusyError when a process works on it, DiskError."""
    with Store(workspace) as store:
        run = store.of_run(run_id)
        run.row()
        try:
            run.folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # the lock lies there
            with RunLock(run.folder, run_id):
                with run.transaction():
                    run.delete()
                shutil.rmtree(run.folder)
        except OSError as error:
            raise DiskError(
                f"{error.filename or run.folder}: {error.strerror}",
                f"If {workspace / STORE_NAME} has no run {run_id} any more, delete {run.folder} by hand.",
            ) from error
