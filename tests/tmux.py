"""A real terminal for a test: a tmux server of its own, ended with the test."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_PATIENCE_SECONDS = 400.0


class Terminal:
    """One pane. `start` runs a command in it; when that ends the pane stays, and says its exit code."""

    def __init__(self, folder: Path, size: tuple[int, int]) -> None:
        self._folder = folder
        self._size = size
        self._n_started = 0

    def start(self, command: str, folder: Path, **environment: str) -> None:
        width, height = self._size
        self._n_started += 1  # a server that was ended may still be about to go
        script = f"{command}; code=$?; echo; echo it ended with code $code; exec sleep 600"
        settings = [option for name, value in environment.items() for option in ("-e", f"{name}={value}")]
        self._tmux(
            "new-session", "-d", "-s", "test", "-x", str(width), "-y", str(height), "-c", str(folder), *settings, script
        )

    def press(self, *keys: str) -> None:
        """Keys by tmux's names."""
        self._tmux("send-keys", "-t", "test", *keys)

    def paste(self, text: str) -> None:
        """As a terminal does it: between the marks of a paste, if the program has asked for them."""
        (file := self._folder / "pasted").write_text(text)
        self._tmux("load-buffer", str(file))
        self._tmux("paste-buffer", "-p", "-t", "test")

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-t", "test", "-x", str(width), "-y", str(height))

    def shown(self) -> str:
        return self._tmux("capture-pane", "-p", "-t", "test")

    def until(self, condition: Callable[[str], bool]) -> str:
        """The first screen that meets the condition."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not condition(screen := self.shown()):
            assert time.monotonic() < deadline, f"waited in vain; the terminal shows:\n{screen}"
            time.sleep(0.2)
        return screen

    @property
    def _server(self) -> Path:
        return self._folder / f"tmux-{self._n_started}"

    def end(self) -> None:
        subprocess.run(["tmux", "-S", self._server, "kill-server"], capture_output=True)

    def _tmux(self, *arguments: str) -> str:
        command = ["tmux", "-f", os.devnull, "-S", str(self._server), *arguments]
        environment = {**os.environ, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def terminal(folder: Path, size: tuple[int, int] = (80, 24)) -> Iterator[Terminal]:
    """Skips where there is no tmux. `folder` is for the server's socket, whose path must be short."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    pane = Terminal(folder, size)
    try:
        yield pane
    finally:
        pane.end()
