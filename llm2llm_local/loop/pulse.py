"""Signs of life in the store, for those who see only the store: a terminal UI, another process."""

from __future__ import annotations

import time

from ..store.run_store import RunStore
from .context import Watcher

_SECONDS_BETWEEN_WRITES = 1.0
"""Each write is synced to disk; people don't read faster."""


class Pulse:
    """A watcher that passes everything on and keeps `stages.progress` going while a unit is worked on.

    Of a training it keeps the losses since the last checkpoint, too; those before it have their metrics.
    Raises DiskError from `within` and `step`, as every commit does.
    """

    def __init__(self, watcher: Watcher, store: RunStore) -> None:
        self._watcher = watcher
        self._store = store
        self._stage: tuple[int, str, int] | None = None  # None between stages: engines report then, too
        self._done = 0
        self._total = 0
        self._steps_done = 0
        self._losses: list[float] = []
        self._written = 0.0

    def stage(self, iteration: int, stage: str, attempt: int, done: int, total: int) -> None:
        self._watcher.stage(iteration, stage, attempt, done, total)
        self._stage, self._done, self._total = (iteration, stage, attempt), done, total
        self._write(done / total if total else 1.0)  # a killed process has perhaps left those of a lost unit

    def unit(self, done: int, total: int, rows: int) -> None:
        self._watcher.unit(done, total, rows)
        self._done = done
        self._losses.clear()
        if done == total:
            self._stage = None

    def within(self, done: int, total: int) -> None:
        self._watcher.within(done, total)
        self._write_in_time((self._done + done / total) / self._total if self._total else 1.0)

    def step(self, done: int, total: int, loss: float) -> None:
        self._watcher.step(done, total, loss)
        if done != self._steps_done + 1:  # a new worker has begun the segment again
            self._losses.clear()
        self._steps_done = done
        self._losses.append(loss)
        # The last segment may be shorter than the others; what is shown never goes back when one is complete.
        self._write_in_time(min(done / total, (self._done + 1) / self._total))

    def accepted(self, question: str, answer: str) -> None:
        self._watcher.accepted(question, answer)

    def message(self, text: str) -> None:
        self._watcher.message(text)

    def _write_in_time(self, share: float) -> None:
        if time.monotonic() - self._written >= _SECONDS_BETWEEN_WRITES:
            self._write(share)

    def _write(self, share: float) -> None:
        if self._stage is None:
            return
        self._store.set_progress(*self._stage, share, self._losses)
        self._written = time.monotonic()
