"""Signs of life in the store, for those who see only the store: a terminal UI, another process."""

from __future__ import annotations

import time

from ..store.run_store import RunStore
from .context import Watcher

_SECONDS_BETWEEN_WRITES = 1.0
"""Each write is synced to disk; people don't read faster."""


class Pulse:
    """A watcher that passes everything on and keeps `stages.progress` going while a unit is worked on.

    Raises DiskError from `within`, as every commit does.
    """

    def __init__(self, watcher: Watcher, store: RunStore) -> None:
        self._watcher = watcher
        self._store = store
        self._stage: tuple[int, str, int] | None = None  # None between stages: engines report then, too
        self._done = 0
        self._total = 0
        self._written = 0.0

    def stage(self, iteration: int, stage: str, attempt: int, done: int, total: int) -> None:
        self._watcher.stage(iteration, stage, attempt, done, total)
        self._stage, self._done, self._total = (iteration, stage, attempt), done, total
        self._write(done / total if total else 1.0)  # a killed process has perhaps left the share of a lost unit

    def unit(self, done: int, total: int, rows: int) -> None:
        self._watcher.unit(done, total, rows)
        self._done = done
        if done == total:
            self._stage = None

    def within(self, done: int, total: int) -> None:
        self._watcher.within(done, total)
        if time.monotonic() - self._written >= _SECONDS_BETWEEN_WRITES:
            self._write(self._share(done, total))

    def accepted(self, question: str, answer: str) -> None:
        self._watcher.accepted(question, answer)

    def message(self, text: str) -> None:
        self._watcher.message(text)

    def _share(self, done: int, total: int) -> float:
        """Of the stage, where `done` of `total` is of the unit, or in a training of all steps."""
        if self._stage is None or self._stage[1] != "train":
            return (self._done + done / total) / self._total if self._total else 1.0
        # The last segment may be shorter than the others; what is shown never goes back when one is complete.
        return min(done / total, (self._done + 1) / self._total)

    def _write(self, share: float) -> None:
        if self._stage is None:
            return
        self._store.set_progress(*self._stage, share)
        self._written = time.monotonic()
