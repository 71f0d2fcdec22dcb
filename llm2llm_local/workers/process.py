"""One worker process, seen from the run process."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from ..visible_gpu import worker_environment
from .messages import Answer, Call, Crashed, Progressed, Refused, Returned

_POLL_SECONDS = 0.2
_WARNING = re.compile(r"\S.*:\d+: \w*Warning: ")
"""How Python begins a warning: file, line, category. The line of the source follows, indented."""


class WorkerDiedError(Exception):
    """The worker ended or hung in the middle of a call; the call may be repeated in a fresh one.

    `was_killed`: by SIGKILL, which is also how the kernel ends a process when memory has run out.
    `ran_out_of_memory`: it aborted itself and said so, as llama.cpp does when CUDA has none for a forward pass.
    """

    def __init__(self, message: str, *, was_killed: bool = False, ran_out_of_memory: bool = False) -> None:
        super().__init__(message)
        self.was_killed = was_killed
        self.ran_out_of_memory = ran_out_of_memory


class WorkerProcess:
    """A child that is to hold a model. Started by the constructor; its noise goes to `log`.

    Until `load` it has the libraries alone, and nothing on the device. `interrupted` is asked a few times a second
    during a call; it may raise to abandon the call, after which the worker must be killed. `module` is what the child
    runs, with the role and the pipe's descriptor.
    """

    def __init__(
        self,
        role: str,
        log: Path,
        timeout_seconds: float,
        interrupted: Callable[[], None],
        module: str = "llm2llm_local.workers.main",
    ) -> None:
        self._role = role
        self._log = log
        self._timeout_seconds = timeout_seconds
        self._interrupted = interrupted
        self.is_in_call = False
        """Whether an answer is still to come: after an abandoned call the worker can't be used any more."""
        log.parent.mkdir(parents=True, exist_ok=True)
        here, there = _pipe()
        with log.open("ab") as noise:
            self._log_start = noise.tell()
            """What is before that in the log was written by the workers before this one."""
            self._process = subprocess.Popen(
                # -P: what lies in the current folder (a data folder called datasets, say) is not importable.
                [sys.executable, "-P", "-m", module, role, str(there)],
                stdin=subprocess.PIPE,
                stdout=noise,
                stderr=noise,
                pass_fds=[there],
                env=worker_environment(),
                # Ctrl-C in the terminal concerns the run process, which then decides what its workers do.
                start_new_session=True,
            )
        os.close(there)
        self._connection: Connection[Any, Any] = Connection(here)

    @property
    def pid(self) -> int:
        return self._process.pid

    def load(self, settings: Any) -> None:
        """Load the engine, which takes memory of the device; a worker that can't is ended. Raises as `finish` does."""
        try:
            self.call("load", settings)
        except BaseException:
            self.stop()
            raise

    def call(self, method: str, *arguments: Any, progress: Callable[..., None] | None = None) -> Any:
        """Run an engine's method in the worker and return its result. Raises as `finish` does."""
        self.begin(method, *arguments)
        return self.finish(progress)

    def begin(self, method: str, *arguments: Any) -> None:
        """Hand the worker a call, to be waited for with `finish`. Raises WorkerDiedError when the worker is gone."""
        try:
            self._connection.send(Call(method, arguments))
        except OSError:
            raise self._death() from None
        self.is_in_call = True

    def finish(self, progress: Callable[..., None] | None = None) -> Any:
        """The result of the call that was begun.

        Raises what the engine refuses with (Llm2LlmError), or WorkerDiedError when the worker is gone.
        """
        while True:
            match self._receive():
                case Progressed(figures):
                    if progress is not None:
                        progress(*figures)
                case Returned(value):
                    self.is_in_call = False
                    return value
                case Refused(error):
                    self.is_in_call = False
                    raise error
                case Crashed(summary):
                    raise WorkerDiedError(f"the {self._role} worker failed: {summary}; see {self._log}")

    def stop(self) -> None:
        """End the worker and wait until it is gone, with all its memory."""
        self._connection.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()

    def memory_bytes(self) -> int:
        """Resident memory of the worker; 0 when it is gone."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            return 0

    def _receive(self) -> Answer:
        deadline = time.monotonic() + self._timeout_seconds
        while True:
            self._interrupted()
            try:
                if self._connection.poll(_POLL_SECONDS):
                    answer: Answer = self._connection.recv()
                    return answer
            except (EOFError, OSError):
                raise self._death() from None
            if time.monotonic() > deadline:
                raise WorkerDiedError(f"the {self._role} worker said nothing for {self._timeout_seconds:g} s")

    def _death(self) -> WorkerDiedError:
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return WorkerDiedError(f"the {self._role} worker closed its pipe")
        if code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                how += " (out of memory, perhaps)"
            elif -code == signal.SIGILL and self._role == "teacher":
                how += " (llama.cpp was compiled for another processor, perhaps: make models compiles it again)"
        else:
            how = f"ended with code {code}"
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            said = log.read().decode(errors="replace")
        line = _last_line(said)
        last_words = f"; {self._log} ends: {line}" if line else ""
        return WorkerDiedError(
            f"the {self._role} worker {how}{last_words}",
            was_killed=code == -signal.SIGKILL,
            ran_out_of_memory=code == -signal.SIGABRT and "out of memory" in said.lower(),
        )


def _last_line(log: str) -> str:
    """The last line that says something: Python's warnings, with the line of source after each, don't."""
    last, is_after_warning = "", False
    for line in log.splitlines():
        is_source = is_after_warning and line[:1].isspace()
        is_after_warning = _WARNING.match(line) is not None
        if line.strip() and not is_after_warning and not is_source:
            last = line.strip()
    return last


def _pipe() -> tuple[int, int]:
    here, there = socket.socketpair()
    return here.detach(), there.detach()
