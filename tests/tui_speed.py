"""How fast the terminal UI is on a large store, and whether its memory stays flat: `python tests/tui_speed.py FOLDER`.

The store is one that `python tests/big_store.py FOLDER` made. Printed, not asserted: figures of a machine, not facts.
"""

from __future__ import annotations

import asyncio
import os
import pty
import resource
import statistics
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from fcntl import ioctl
from pathlib import Path

import psutil
from screens import AppPilot, opened, settled
from workspaces import COMMAND

from llm2llm_local.store.writer import Store
from llm2llm_local.tui.screen import HistoryScreen

_TIMES = 5
_COMMITS = 400
_MIB = 2**20


def main(folder: Path) -> None:
    for arguments in (["tui"], ["tui", "1"]):
        figures = [first_frame(folder, *arguments) for _ in range(_TIMES)]
        cpu, wall = (statistics.median(column) for column in zip(*figures, strict=True))
        sys.stdout.write(f"llm2llm {' '.join(arguments):6} first frame: {cpu:.2f} s of CPU, {wall:.2f} s\n")
    asyncio.run(screens(folder))


def first_frame(folder: Path, *arguments: str) -> tuple[float, float]:
    """CPU and wall seconds from the start of the command until the chosen run is on the screen."""
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 45, 140, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    started = time.monotonic()
    process = subprocess.Popen(
        [COMMAND, "-C", folder, *arguments], stdin=slave, stdout=slave, stderr=slave, env=environment
    )
    os.close(slave)
    shown = b""
    while b"iteration" not in shown:
        shown += os.read(master, 65536)
    wall = time.monotonic() - started
    times = psutil.Process(process.pid).cpu_times()
    process.kill()
    process.wait()
    os.close(master)
    return times.user + times.system, wall


async def screens(folder: Path) -> None:
    """Milliseconds from a key until everything that belongs on the screen is there; then memory over many commits."""
    async with opened(folder, "runs") as pilot:
        modes = list(pilot.app.screen_names)  # type: ignore[attr-defined]
        for number, mode in enumerate(modes, start=1):
            first = await timed(pilot, lambda: pilot.press(str(number)))  # noqa: B023
            later = []
            for _ in range(_TIMES):
                await pilot.press("8" if mode != "logs" else "1")
                await settled(pilot)
                later.append(await timed(pilot, lambda: pilot.press(str(number))))  # noqa: B023
            milliseconds = [1000 * seconds for seconds in (first, statistics.median(later))]
            sys.stdout.write("screen {:10} first {:5.0f} ms, later {:5.0f} ms\n".format(mode, *milliseconds))
        for mode in ("dashboard", "review"):
            pilot.app.switch_mode(mode)
            await settled(pilot)
            await memory(pilot, folder, mode)


async def timed(pilot: AppPilot, act: Callable[[], object]) -> float:
    started = time.perf_counter()
    await act()  # type: ignore[misc]
    while isinstance(screen := pilot.app.screen, HistoryScreen) and (screen.is_reading or not screen.is_mounted):
        await asyncio.sleep(0.001)
    await pilot.pause(0)
    return time.perf_counter() - started


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
    sys.stdout.write(f"memory on {mode} over {_COMMITS} commits: {rounded} MiB, peak {peak:.0f}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
