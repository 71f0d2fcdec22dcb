"""One process a run: an operating system's lock on `runs/<run_id>/lock`, which dies with its holder.

The file's content names the holder for messages; the lock itself, not the content, says who works.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from ..errors import RunBusyError

_PATIENCE_SECONDS = 1.0
"""`is_held` takes the lock for a moment, so a starting run waits out such a look."""


class RunLock:
    """Held from construction until `release`; raises RunBusyError, naming the holder, when another has it."""

    def __init__(self, folder: Path, run_id: int) -> None:
        self._file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    holder = os.pread(self._file, 32, 0).decode("ascii", "replace").strip()
                    os.close(self._file)
                    raise RunBusyError(
                        f"run {run_id} is being worked on by process {holder}",
                        f"Watch it: llm2llm tui {run_id}   Stop it first: llm2llm stop {run_id}",
                    ) from None
                time.sleep(0.05)
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode("ascii"), 0)

    def release(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def holder(folder: Path) -> int | None:
    """Process id of the process that works on the run in `folder`, or None."""
    try:
        file = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(file, 32, 0).strip()
        return int(text) if text.isdigit() else -1
    finally:
        os.close(file)
    return None


def last_holder(folder: Path) -> int | None:
    """Process id of the process that works, or last worked, on the run in `folder`; None when none ever did."""
    try:
        text = (folder / "lock").read_bytes().strip()
    except FileNotFoundError:
        return None
    return int(text) if text.isdigit() else None
