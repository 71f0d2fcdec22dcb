"""Commands of this program as processes of their own.

What `launch` starts goes on when its starter is gone. It gets no terminal: neither Ctrl-C nor a hang-up of the
starter's terminal reaches it. What it writes goes to a log beside the runs, which it takes along into the folder of
its run as soon as it works on one. Whoever holds a run's lock has left its process id there, so the log of a run's
last process can be found.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_SECONDS_BETWEEN_LOOKS = 0.2
_LOG_CHARACTERS = 4000
"""Of a log's end: what a person reads at once."""


class Launched:
    """A process that was started here. It isn't ended with this one."""

    def __init__(self, workspace: Path, process: subprocess.Popen[bytes], log: BinaryIO) -> None:
        """`log`: opened for reading, since the file will be moved."""
        self.workspace = workspace
        self.began = time.time()
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it is alive."""
        return self._process.poll()

    def output(self) -> str:
        """What it has said so far, the last few thousand characters."""
        return _end_of(self._log)


def launch(workspace: Path, *arguments: str) -> Launched:
    """Start `llm2llm -C workspace arguments`. Raises OSError when the log can't be written."""
    logs = _folder_of_logs(workspace)
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    starting = logs / f"process-starting-{os.getpid()}.log"
    with starting.open("wb") as output:
        process = subprocess.Popen(
            _command(workspace, arguments),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    log = starting.open("rb")
    starting.rename(process_log(logs, process.pid))
    return Launched(workspace, process, log)


@dataclass(frozen=True, slots=True)
class Finished:
    """How a short command ended, and what it said."""

    exit_code: int
    output: str
    errors: str


def run_to_end(workspace: Path, *arguments: str, is_unwanted: Callable[[], bool] = lambda: False) -> Finished:
    """Run a short command and wait for it; it is ended once it `is_unwanted`."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        _command(workspace, arguments), stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, errors="replace"
    )
    while True:
        try:
            output, errors = process.communicate(timeout=_SECONDS_BETWEEN_LOOKS)
        except subprocess.TimeoutExpired:
            if is_unwanted():
                process.terminate()
        else:
            return Finished(process.returncode, output, errors)


def _command(workspace: Path, arguments: tuple[str, ...]) -> list[str]:
    # -P: what lies in the current folder (a data folder called datasets, say) is not importable.
    return [sys.executable, "-P", "-m", "llm2llm_local", "-C", str(workspace), *arguments]


def process_log(folder: Path, pid: int) -> Path:
    """Where a process that was launched here writes to, once it works on the run in `folder`."""
    return folder / f"process-{pid}.log"


def take_log_along(workspace: Path, folder: Path) -> None:
    """Move the log of this very process, if it was launched, to the run that it works on: it stays and goes with it."""
    with suppress(FileNotFoundError):
        process_log(_folder_of_logs(workspace), os.getpid()).rename(process_log(folder, os.getpid()))


def log_end(path: Path) -> str:
    """The end of a log, whole lines; empty when there is none."""
    try:
        with path.open("rb") as log:
            return _end_of(log)
    except OSError:
        return ""


def _end_of(log: BinaryIO) -> str:
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - _LOG_CHARACTERS))
    text = log.read().decode(errors="replace")
    return text if size <= _LOG_CHARACTERS else text.partition("\n")[2]


def _folder_of_logs(workspace: Path) -> Path:
    return workspace / "runs"
