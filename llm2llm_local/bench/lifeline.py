"""Processes that a contender starts end with it, however it ends: a measurement that was stopped leaves none behind."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from ..errors import Llm2LlmError

_LAST_LINES = 3
_SECONDS_BETWEEN_LOOKS = 0.1
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent() -> None:
    """Of the process that calls it: the kernel kills it when the thread that started it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def run_module(log: Path, module: str, *arguments: str, look: Callable[[int], None] = lambda pid: None) -> None:
    """`python -m module arguments`, waited for; what it says goes to the log. `look` is called several times a second
    with its process id while it is at work; what `look` raises ends it.

    Raises Llm2LlmError with the end of the log when it fails.
    """
    with (
        log.open("ab") as noise,
        subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=noise,
            stderr=noise,
            preexec_fn=end_with_parent,
        ) as process,
    ):
        try:
            while process.poll() is None:
                look(process.pid)
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        finally:
            process.kill()
    if process.returncode != 0:
        said = " ".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
        raise Llm2LlmError(f"{module} {' '.join(arguments[:1])} ended with code {process.returncode}: {said}")


def own_cpu_seconds(pid: int) -> float:
    """Of a process so far, until it is waited for; without those that it started."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
