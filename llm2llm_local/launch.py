"""Commands of this program as processes of their own.

What `launch` starts goes on when its starter is gone. It gets no terminal: neither Ctrl-C nor a hang-up of the
starter's terminal reaches it. What it writes goes to a log beside the runs, `runs/process-<pid>.log`; whoever holds
a run's lock has left its process id there, so the log of a run's last process can be found.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_SECONDS_BETWEEN_LOOKS = 0.2
_LOG_CHARACTERS = 4000
"""Of a log's end: what a person reads at once."""


class Launched:
    """A process that was started here. It isn't ended with this one."""

    def __init__(self, workspace: Path, process: subprocess.Popen[bytes], log: Path) -> None:
        self.workspace = workspace
        self._process = process
        self.log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it is alive."""
        return self._process.poll()

    def output(self) -> str:
        """What it has said so far, the last few thousand characters."""
        return log_end(self.log)


def launch(workspace: Path, *arguments: str) -> Launched:
    """Start `llm2llm -C workspace arguments`. Raises OSError when the log can't be written."""
    logs = workspace / "runs"
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
    return Launched(workspace, process, starting.rename(process_log(workspace, process.pid)))


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


def process_log(workspace: Path, pid: int) -> Path:
    """Where a process that was launched here writes to."""
    return workspace / "runs" / f"process-{pid}.log"


def log_end(path: Path) -> str:
    """The end of a log, whole lines; empty when there is none."""
    try:
        with path.open("rb") as log:
            size = log.seek(0, 2)
            log.seek(max(0, size - _LOG_CHARACTERS))
            text = log.read().decode(errors="replace")
    except OSError:
        return ""
    return text if size <= _LOG_CHARACTERS else text.partition("\n")[2]
