"""How fast the terminal UI is on a large store, and whether its memory stays flat: `python tests/tui_speed.py FOLDER`.

The store is one that `python tests/big_store.py FOLDER` made. Printed, not asserted: figures of a machine, not facts.
"""

from __future__ import annotations

import asyncio
import os
import pty
import select
import statistics
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Awaitable, Callable
from fcntl import ioctl
from functools import partial
from pathlib import Path
from typing import Self

import psutil
from screens import AppPilot, opened, settled
from workspaces import COMMAND

from llm2llm_local.store.run_store import RunStore
from llm2llm_local.store.writer import Store

_TIMES = 5
_COMMITS = 400
_ROUNDS = 40
_IDLE_CPU_SHARE = 0.1
_SECONDS_TO_SETTLE = 1.0
_PATIENCE_SECONDS = 20.0
_MIB = 2**20


_SCREENS = (
    ("1", "runs", "1–10 of 10"),
    ("2", "dashboard", "Iteration "),
    ("3", "failures", "seeds:"),
    ("4", "lineage", "1–100 of"),
    ("5", "review", "1–100 of"),
    ("7", "compare", "95% interval"),
    ("8", "logs", "Run process"),
    ("6", "sql", "ELECT * FROM"),  # the last, since its fields take keys
)
"""The key of a screen, its name, and what is on it once its data are."""


def main(folder: Path) -> None:
    for arguments in ([], ["1"]):
        frames = []
        for _ in range(_TIMES):
            with Watched(folder, *arguments) as ui:
                wall = ui.wait_for("iteration")
                frames.append((ui.cpu_seconds(), wall))
        cpu, wall = (statistics.median(column) for column in zip(*frames, strict=True))
        say(f"llm2llm tui {' '.join(arguments):2} first frame with the run's state: {cpu:.2f} s of CPU, {wall:.2f} s")
    visits: dict[str, list[tuple[float, float]]] = {mode: [] for _, mode, _ in _SCREENS}
    idle = []
    for _ in range(_TIMES):
        with Watched(folder) as ui:
            ui.wait_until_idle()
            idle.append(ui.cpu_seconds())
            for key, mode, marker in _SCREENS:
                away = "1" if mode == "logs" else "8"
                visits[mode].append((ui.seconds_to(key, marker, away=away), ui.seconds_to(key, marker, away=away)))
    say(f"idle afterwards: {statistics.median(idle):.2f} s of CPU spent since the start")
    for mode, pairs in visits.items():
        first, later = ([1000 * seconds for seconds in column] for column in zip(*pairs, strict=True))
        say(f"screen {mode:10} first visit {spread(first)} ms, second {spread(later)} ms")
    asyncio.run(memories(folder))


class Watched:
    """The terminal UI in a terminal of 140×45 that is read here."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._terminal, inner = pty.openpty()
        ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 45, 140, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            [COMMAND, "-C", folder, "tui", *arguments], stdin=inner, stdout=inner, stderr=inner, env=environment
        )
        os.close(inner)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)

    def cpu_seconds(self) -> float:
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    def wait_until_idle(self) -> None:
        """Until it has made its screens ready and does nothing any more."""
        before = -1.0
        while self.cpu_seconds() - before > _IDLE_CPU_SHARE * 2 * _SECONDS_TO_SETTLE:
            before = self.cpu_seconds()
            self._settle()
            self._settle()

    def wait_for(self, marker: str) -> float:
        """Seconds since the last key, or the start, until this text has been written."""
        written = b""
        while marker.encode() not in written:
            assert time.monotonic() - self._began < _PATIENCE_SECONDS, f"{marker!r} never came: {written[-2000:]!r}"
            if select.select([self._terminal], [], [], 1.0)[0]:
                written += os.read(self._terminal, 65536)
        return time.monotonic() - self._began

    def seconds_to(self, key: str, marker: str, *, away: str) -> float:
        """From the key until the screen's data are there; coming from another screen."""
        self._settle()  # a field may yet get the focus
        self._press("\x1b")  # and would take the next key
        self._press(away)
        self._press(key, wait=False)
        return self.wait_for(marker)

    def _press(self, key: str, *, wait: bool = True) -> None:
        self._began = time.monotonic()
        os.write(self._terminal, key.encode())
        if wait:
            self._settle()

    def _settle(self) -> None:
        until = time.monotonic() + _SECONDS_TO_SETTLE
        while (left := until - time.monotonic()) > 0:
            if select.select([self._terminal], [], [], left)[0]:
                os.read(self._terminal, 65536)


def spread(figures: list[float]) -> str:
    return f"{statistics.median(figures):.0f} ({min(figures):.0f}–{max(figures):.0f})"


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def memories(folder: Path) -> None:
    """Resident memory while another process's commits keep coming, and while somebody goes from screen to screen."""
    async with opened(folder, "dashboard") as pilot:
        for mode in ("dashboard", "review"):
            pilot.app.switch_mode(mode)
            await settled(pilot)
            with Store(folder) as store:
                run = store.of_run(int(store.execute("SELECT max(run_id) FROM runs").fetchone()[0]))
                await memory(f"on {mode} over {_COMMITS} commits", _COMMITS, partial(commit, pilot, run))
        await memory(f"over {_ROUNDS} rounds of all screens", _ROUNDS, partial(go_round, pilot))


async def commit(pilot: AppPilot, run: RunStore) -> None:
    with run.transaction():
        run.add_event("note", "a commit to see what watching costs")
    pilot.app.history.publish(None)  # type: ignore[attr-defined]
    await settled(pilot)


async def go_round(pilot: AppPilot) -> None:
    for _, mode, _ in _SCREENS:
        pilot.app.switch_mode(mode)
        await settled(pilot)


async def memory(what: str, times: int, act: Callable[[], Awaitable[None]]) -> None:
    process, figures = psutil.Process(), []
    for number in range(times):
        await act()
        if number % (times // 8) == 0:
            figures.append(process.memory_info().rss / _MIB)
    rounded = " ".join(f"{figure:.0f}" for figure in figures)
    say(f"memory {what}: {rounded} MiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
