"""How fast the terminal UI is on a large store, and whether its memory stays flat: `python tests/tui_speed.py FOLDER`.

The store is one that `python tests/big_store.py FOLDER` made. Printed, not asserted: figures of a machine, not facts.
"""

from __future__ import annotations

import asyncio
import os
import pty
import resource
import select
import statistics
import struct
import subprocess
import sys
import termios
import time
from fcntl import ioctl
from pathlib import Path
from typing import Self

import psutil
from screens import AppPilot, opened, settled
from workspaces import COMMAND

from llm2llm_local.store.writer import Store

_TIMES = 5
_COMMITS = 400
_SECONDS_TO_PREPARE = 12.0
_SECONDS_TO_SETTLE = 1.0
_PATIENCE_SECONDS = 20.0
_MIB = 2**20


_MARKERS = {
    "runs": "1–10 of 10",
    "dashboard": "Iteration ",
    "failures": "seeds:",
    "lineage": "1–100 of",
    "review": "1–100 of",
    "sql": "ELECT * FROM",
    "compare": "95% interval",
    "logs": "Run process",
}
"""What is on a screen once its data are."""


def main(folder: Path) -> None:
    for arguments in ([], ["1"]):
        frames = []
        for _ in range(_TIMES):
            with Watched(folder, *arguments) as ui:
                wall = ui.wait_for("iteration")
                frames.append((ui.cpu_seconds(), wall))
        cpu, wall = (statistics.median(column) for column in zip(*frames, strict=True))
        say(f"llm2llm tui {' '.join(arguments):2} first frame with the run's state: {cpu:.2f} s of CPU, {wall:.2f} s")
    with Watched(folder) as ui:
        ui.wait_for(_MARKERS["runs"])
        time.sleep(_SECONDS_TO_PREPARE)
        say(f"idle afterwards: {ui.cpu_seconds():.2f} s of CPU spent since the start")
        for number, (mode, marker) in enumerate(_MARKERS.items(), start=1):
            figures = [
                ui.seconds_to(str(number), marker, away="8" if mode != "logs" else "1") for _ in range(_TIMES + 1)
            ]
            first, later = 1000 * figures[0], 1000 * statistics.median(figures[1:])
            say(f"screen {mode:10} first {first:4.0f} ms, later {later:4.0f} ms")
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


async def memories(folder: Path) -> None:
    async with opened(folder, "dashboard") as pilot:
        for mode in ("dashboard", "review"):
            pilot.app.switch_mode(mode)
            await settled(pilot)
            await memory(pilot, folder, mode)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def memory(pilot: AppPilot, folder: Path, mode: str) -> None:
    """Resident memory while another process's commits keep coming."""
    process = psutil.Process()
    figures = []
    with Store(folder) as store:
        run = store.of_run(int(store.execute("SELECT max(run_id) FROM runs").fetchone()[0]))
        for number in range(_COMMITS):
            with store.transaction():
                run.add_event("note", f"commit {number} to see what watching costs")
            pilot.app.history.publish(None)  # type: ignore[attr-defined]
            await settled(pilot)
            if number % (_COMMITS // 8) == 0:
                figures.append(process.memory_info().rss / _MIB)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rounded = " ".join(f"{figure:.0f}" for figure in figures)
    say(f"memory on {mode} over {_COMMITS} commits: {rounded} MiB, peak {peak:.0f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
