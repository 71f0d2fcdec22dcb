"""Progress of a run on standard error: a live line in a terminal, plain lines elsewhere (a pipe, CI, a log)."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from .report.plain import plain, shortened

_UNITS = {"train": "segments", "predict": "batches", "grade": "splits", "augment": "groups", "check": "groups"}
_ROWS = {"train": "steps", "predict": "examples", "grade": "rows", "augment": "requests", "check": "candidates"}
_SECONDS_BETWEEN_LINES = 15.0


@contextmanager
def headless_watcher() -> Iterator[HeadlessWatcher]:
    """A watcher fit for standard error as it is; restores the terminal at the end."""
    console = Console(stderr=True, highlight=False)
    if not sys.stderr.isatty():
        yield HeadlessWatcher(console, None)
        return
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
        TextColumn("{task.fields[accepted]}", markup=False),
        console=console,
    )
    with progress:
        yield HeadlessWatcher(console, progress)


class HeadlessWatcher:
    """`loop.context.Watcher` on a console; `progress` is None where lines can't be rewritten."""

    def __init__(self, console: Console, progress: Progress | None) -> None:
        self._console = console
        self._progress = progress
        self._task: TaskID | None = None
        self._stage = ""
        self._where = ""
        self._began = 0.0
        self._rows = 0
        self._first_done = 0
        self._units: tuple[int, int] = (0, 0)
        self._accepted = ""
        self._printed = 0.0

    def stage(self, iteration: int, stage: str, attempt: int, done: int, total: int) -> None:
        self._stage = stage
        self._where = f"iteration {iteration} {stage}" + (f" (attempt {attempt + 1})" if attempt else "")
        self._began, self._rows, self._first_done = time.monotonic(), 0, done
        self._units = (done, total)
        if self._progress is None:
            self._line(f"{self._where}: {total - done} {_UNITS[stage]}")
            self._printed = time.monotonic()
            return
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(self._where, total=total, completed=done, rate="", accepted=self._accepted)

    def unit(self, done: int, total: int, rows: int) -> None:
        self._rows += rows
        self._units = (done, total)
        self._show(float(done))

    def within(self, done: int, total: int) -> None:
        finished, _ = self._units
        if self._stage == "augment":
            self._show(finished + done / total)
        else:
            self._show(float(finished))

    def accepted(self, question: str, answer: str) -> None:
        self._accepted = f"+ {shortened(question, 48)} → {shortened(answer, 16)}"

    def message(self, text: str) -> None:
        self._line("\n".join(plain(line) for line in text.splitlines()))

    def _line(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def _show(self, completed: float) -> None:
        elapsed = time.monotonic() - self._began
        rate = f"{self._rows / elapsed:.1f} {_ROWS[self._stage]}/s" if self._rows and elapsed > 0 else ""
        done, total = self._units
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=completed, rate=rate, accepted=self._accepted)
        elif time.monotonic() - self._printed > _SECONDS_BETWEEN_LINES and done > self._first_done:
            left = elapsed / (done - self._first_done) * (total - done)
            line = f"{self._where}: {done}/{total}  {rate}  {left:.0f} s left  {self._accepted}"
            self._line(line.rstrip())
            self._printed = time.monotonic()
