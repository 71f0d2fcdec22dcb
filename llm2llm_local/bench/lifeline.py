"""Processes that a contender starts end with it, however it ends: a measurement that was stopped leaves none behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from ..errors import Llm2LlmError

_LAST_LINES = 3
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent() -> None:
    """Of the process that calls it: the kernel kills it when the thread that started it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def run_module(log: Path, module: str, *arguments: str) -> float:
    """`python -m module arguments`, waited for; what it says goes to the log. Returns its CPU seconds, without those of
    processes that it started in its turn.

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
        # Its times are known until it is waited for; what is known afterwards has those of its children in it.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        times = psutil.Process(process.pid).cpu_times()
    if process.returncode != 0:
        said = " ".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
        raise Llm2LlmError(f"{module} {' '.join(arguments[:1])} ended with code {process.returncode}: {said}")
    return float(times.user + times.system)
