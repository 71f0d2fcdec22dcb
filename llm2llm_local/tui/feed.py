"""Notices, from a thread of its own, that the history or the processes of its runs have changed.

`PRAGMA data_version` tells of commits by other connections without reading a row, so an idle store costs nothing.
However fast a run commits, the screens hear of it at once and then every fifth second: to read and draw anew costs
what the run could use. A process that has come or gone, and a run that has paused or goes on, is told of without delay.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import StoreError
from ..store.lock import holder
from ..store.reader import STORE_NAME, open_reader
from ..store.rows import run_folder

_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_BETWEEN_TELLINGS = 5.0
"""Of new rows. A run tells the store every second how far it is. The run's process and the terminal UI are to take less
than 2% of a core once they are up: `llm2llm bench loop` told 2.0% with 4 seconds and 1.8% with 5.
"""

PATIENCE_SECONDS = 1.0
"""Until a locked store is said to be: a person waits, and leaving the terminal UI waits for its reads."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is compared from look to look: the file, its version, and of the runs that aren't done the status and who
    works on them.
    """

    file: tuple[int, int]
    data_version: int
    unfinished: tuple[tuple[int, str, int | None], ...]


class Feed:
    """Calls `changed` (in its own thread) at every change, and at first; `stop` ends it."""

    def __init__(self, workspace: Path, changed: Callable[[], None]) -> None:
        self._workspace = workspace
        self._changed = changed
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="feed", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _follow(self) -> None:
        trouble = ""
        while not self._stopping.is_set():
            try:
                self._follow_one_file()
            except (StoreError, OSError) as error:
                if str(error) != trouble:
                    trouble = str(error)
                    self._changed()  # the screens then read, and say what is wrong
                self._stopping.wait(_SECONDS_BETWEEN_LOOKS)
            else:
                trouble = ""

    def _follow_one_file(self) -> None:
        """Until the store is another file, or can't be read (StoreError, OSError)."""
        with open_reader(self._workspace, PATIENCE_SECONDS) as connection:
            file = self._identity()
            seen: _Seen | None = None
            told_at = 0.0
            while not self._stopping.is_set() and self._identity() == file:
                now = self._look(connection, file)
                is_urgent = seen is None or now.unfinished != seen.unfinished
                if now != seen and (is_urgent or time.monotonic() - told_at >= _SECONDS_BETWEEN_TELLINGS):
                    seen, told_at = now, time.monotonic()
                    self._changed()
                self._stopping.wait(_SECONDS_BETWEEN_LOOKS)

    def _look(self, connection: sqlite3.Connection, file: tuple[int, int]) -> _Seen:
        version = connection.execute("PRAGMA data_version").fetchone()[0]
        rows = connection.execute("SELECT run_id, status FROM runs WHERE status != 'done' ORDER BY run_id").fetchall()
        unfinished = tuple((run_id, status, holder(run_folder(self._workspace, run_id))) for run_id, status in rows)
        return _Seen(file, version, unfinished)

    def _identity(self) -> tuple[int, int]:
        try:
            status = (self._workspace / STORE_NAME).stat()
        except FileNotFoundError:
            return (0, 0)
        return (status.st_dev, status.st_ino)
