"""Processes that a contender starts end with it, however it ends: a measurement that was stopped leaves none behind."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from pathlib import Path

from ..errors import Llm2LlmError

_LAST_LINES = 3
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent() -> None:
    """Of the process that calls it: the kernel kills it when the thread that started it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def run_module(log: Path, module: str, *arguments: str) -> None:
    """`python -m module arguments`, waited for; what it says goes to the log.

    Raises Llm2LlmError with the end of the log when it fails.
    """
    with log.open("ab") as noise:
        done = subprocess.run(
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=noise,
            stderr=noise,
            preexec_fn=end_with_parent,
            check=False,
        )
    if done.returncode != 0:
        said = " ".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
        raise Llm2LlmError(f"{module} {' '.join(arguments[:1])} ended with code {done.returncode}: {said}")
