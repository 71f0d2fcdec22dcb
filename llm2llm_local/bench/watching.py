"""A terminal UI on a run that is measured, as a person has it open, and what it and the run's process cost."""

from __future__ import annotations

import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from fcntl import ioctl
from pathlib import Path
from types import TracebackType

from ..errors import Llm2LlmError, NoHistoryError, OutdatedStoreError
from ..report.plain import plain
from ..store.reader import open_reader
from .lifeline import end_with_parent, own_cpu_seconds

_LINES, _COLUMNS = 45, 140
_LEAVING_SECONDS = 10.0
_MOST_LAST_WORDS = 2000
_CONTROL_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|.)")
"""Of a terminal (ECMA-48): CSI with its parameters, OSC up to its bell, or one character after the escape."""

RUN_CPU, UI_CPU, SHARE = "run process CPU s", "terminal UI CPU s", "both, % of wall after the first training"
"""Figures: CPU seconds that each computes itself, without the workers, which have the models. And their share of the
time since the first training ended: before that they start, which takes a larger part of a short run.
"""


class TerminalUi:
    """Opens on the run of `workspace` as soon as there is one; `look` is to be called several times a second."""

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._terminal, self._inner = pty.openpty()
        ioctl(self._inner, termios.TIOCSWINSZ, struct.pack("HHHH", _LINES, _COLUMNS, 0, 0))
        self._process: subprocess.Popen[bytes] | None = None
        self._last_words = b""
        self._trained: tuple[float, float] | None = None
        self._now = (0.0, 0.0)
        self._cpu_seconds = (0.0, 0.0)

    def __enter__(self) -> TerminalUi:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._process is not None:
            self._leave(self._process)
        os.close(self._terminal)
        os.close(self._inner)

    def look(self, run_pid: int) -> None:
        """Open it if there is a run; read what it writes, since it would wait; note what both took so far."""
        if self._process is None:
            if _count(self._workspace, "runs"):
                self._process = self._opened()
            return
        self._read()
        if self._process.poll() is not None:
            said = plain(_CONTROL_SEQUENCE.sub("", self._last_words.decode(errors="replace")))
            raise Llm2LlmError(f"the terminal UI ended with code {self._process.returncode}: {said}")
        self._cpu_seconds = own_cpu_seconds(run_pid), own_cpu_seconds(self._process.pid)
        self._now = time.perf_counter(), sum(self._cpu_seconds)
        if self._trained is None and _count(self._workspace, "stages WHERE stage = 'predict'"):
            self._trained = self._now

    def figures(self) -> dict[str, float]:
        """As far as it looked. Empty where the run ended before there was anything to see."""
        if self._trained is None or self._now == self._trained:
            return {}
        (began, before), (ended, after) = self._trained, self._now
        run, terminal_ui = self._cpu_seconds
        return {RUN_CPU: run, UI_CPU: terminal_ui, SHARE: 100 * (after - before) / (ended - began)}

    def _opened(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "llm2llm_local", "-C", str(self._workspace), "tui", "1"],
            stdin=self._inner,
            stdout=self._inner,
            stderr=self._inner,
            env={**os.environ, "TERM": "xterm-256color"},
            preexec_fn=end_with_parent,
        )

    def _read(self) -> None:
        while select.select([self._terminal], [], [], 0)[0]:
            self._last_words = (self._last_words + os.read(self._terminal, 2**16))[-_MOST_LAST_WORDS:]

    def _leave(self, process: subprocess.Popen[bytes]) -> None:
        os.write(self._terminal, b"q")
        deadline = time.monotonic() + _LEAVING_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            self._read()
            time.sleep(0.05)
        process.kill()
        process.wait()


def _count(workspace: Path, what: str) -> int:
    """Rows, 0 before there is a store with its tables."""
    try:
        with open_reader(workspace) as connection:
            return int(connection.execute(f"SELECT count(*) FROM {what}").fetchone()[0])
    except (NoHistoryError, OutdatedStoreError):
        return 0
