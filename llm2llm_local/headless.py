"""Progress of a run on standard error: a live line in a terminal, plain lines elsewhere (a pipe, CI, a log)."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from .counted import counted
from .report.plain import conclusion, plain, shortened
from .report.stages import ROWS, part_told
from .report.work import LEAST_PART_OF_UNIT
from .terminal import from_here

_UNITS = {
    "audit": ("group", "groups"),
    "fold_train": ("segment", "segments"),
    "fold_predict": ("batch", "batches"),
    "calibrate": ("part", "parts"),
    "train": ("segment", "segments"),
    "predict": ("batch", "batches"),
    "grade": ("split", "splits"),
    "augment": ("group", "groups"),
    "vote": ("group", "groups"),
    "student_vote": ("batch", "batches"),
    "check": ("group", "groups"),
}
_SECONDS_BETWEEN_LINES = 15.0
_SECONDS_FOR_A_RATE = 0.5


class _Console(Console):
    """A console whose reader may go away: the run then goes on in silence."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


@contextmanager
def headless_watcher(workspace: Path = Path()) -> Iterator[HeadlessWatcher]:
    """A watcher fit for standard error as it is; restores the terminal at the end."""
    console = _console()
    if not console.is_terminal:
        yield HeadlessWatcher(console, None, workspace)
        return
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[count]}", markup=False),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
        # Takes what room the others leave.
        TextColumn("{task.fields[accepted]}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
        console=console,
        expand=True,
        transient=True,
    )
    with progress:
        yield HeadlessWatcher(console, progress, workspace)


@contextmanager
def line_watcher(workspace: Path) -> Iterator[HeadlessWatcher]:
    """A watcher that writes plain lines, in a terminal too."""
    yield HeadlessWatcher(_console(), None, workspace)


def _console() -> Console:
    return _Console(stderr=True, highlight=False, quiet=sys.stderr is None)


class HeadlessWatcher:
    """`loop.context.Watcher` on a console; `progress` is None where lines can't be rewritten.

    `workspace`: of the run. Commands that a message advises are told as they are to be typed in the current folder.
    """

    def __init__(self, console: Console, progress: Progress | None, workspace: Path = Path()) -> None:
        self._console = console
        self._progress = progress
        self._workspace = workspace
        self._task: TaskID | None = None
        self._stage = ""
        self._where = ""
        self._began = 0.0
        self._printed = 0.0
        self._total = 0
        self._first = 0.0  # units that were done before this process began to work on the stage
        self._done = 0  # units committed
        self._rows = 0  # rows of the units committed since then
        self._steps: tuple[int, int, int] | None = None  # of a training: first seen, done, in all
        self._loss = 0.0  # of the newest step
        self._accepted = ""

    def stage(self, iteration: int, stage: str, attempt: int, done: int, total: int) -> None:
        self._stage = stage
        self._where = f"iteration {iteration} {stage}{part_told(stage, attempt, 'attempt')}"
        self._began = time.monotonic()
        self._total, self._first, self._done = total, float(done), done
        self._rows, self._steps = 0, None
        if self._progress is None:
            self._line(f"{self._where}: {counted(total - done, *_UNITS[stage])}")
            self._printed = time.monotonic()
            return
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(
            self._where, total=total, completed=done, count=self._count(), rate="", accepted=self._accepted
        )

    def unit(self, done: int, total: int, rows: int) -> None:
        self._rows += rows
        self._done = done
        self._show(float(done))

    def within(self, done: int, total: int) -> None:
        self._show(self._done + done / total)

    def step(self, done: int, total: int, loss: float) -> None:
        first = self._steps[0] if self._steps else done - 1
        self._steps, self._loss = (first, done, total), loss
        self._first = max(self._first, first / total * self._total)
        self._show(done / total * self._total)

    def accepted(self, question: str, answer: str) -> None:
        self._accepted = f"+ {shortened(question, 48)} → {shortened(conclusion(answer), 16)}"

    def message(self, text: str) -> None:
        text = from_here(text, self._workspace)
        self._line("\n".join(plain(line) for line in text.splitlines()))

    def _line(self, text: str) -> None:
        try:
            self._console.print(Text(text), soft_wrap=True)
        except OSError:  # the terminal is gone, or the log's disk is full: no reason to lose a night
            self._console.quiet = True

    def _show(self, completed: float) -> None:
        """`completed`: units, with the part of the one in progress."""
        elapsed = time.monotonic() - self._began
        rows = self._steps[1] - self._steps[0] if self._steps else self._rows
        rate = f"{rows / elapsed:.1f} {ROWS[self._stage]}/s" if rows and elapsed > _SECONDS_FOR_A_RATE else ""
        if self._progress is not None and self._task is not None:
            self._progress.update(
                self._task, completed=completed, count=self._count(), rate=rate, accepted=self._accepted
            )
            return
        part = completed - self._first
        if time.monotonic() - self._printed > _SECONDS_BETWEEN_LINES and part >= LEAST_PART_OF_UNIT:
            left = elapsed / part * (self._total - completed)
            line = f"{self._where}: {self._count()}  {rate}  {left:.0f} s left  {self._accepted}"
            self._line(line.rstrip())
            self._printed = time.monotonic()

    def _count(self) -> str:
        if self._steps:
            return f"{self._steps[1]}/{counted(self._steps[2], 'step')}, loss {self._loss:.3g}"
        return f"{self._done}/{counted(self._total, *_UNITS[self._stage])}"
