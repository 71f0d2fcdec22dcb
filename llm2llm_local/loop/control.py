"""How a person steers a run: commands in the store, and Ctrl-C.

Both are obeyed between units of work; a second Ctrl-C abandons the unit that is being worked on. Either way
the run is resumable.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ..errors import RunStoppedError
from ..records import Status
from ..store.writer import RunStore

_POLL_SECONDS = 0.3


class Control:
    """Pending wishes of the person for one run."""

    def __init__(self, store: RunStore, say: Callable[[str], None]) -> None:
        self._store = store
        self._say = say
        self._interrupts = 0

    @contextmanager
    def listening_to_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM stop the run at the next unit boundary, the second one at once."""
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def obey(self, free_device: Callable[[], None]) -> None:
        """Carry out pending commands; returns when the run may go on. Raises RunStoppedError on stop.

        While paused, the device is freed.
        """
        paused = False
        while True:
            if self._interrupts:
                raise RunStoppedError("stopped by Ctrl-C")
            command = self._store.next_command()
            if command is None:
                if not paused:
                    return
                time.sleep(_POLL_SECONDS)
                continue
            command_id, word = command
            paused = word == "pause"
            with self._store.transaction():
                self._store.mark_command_done(command_id)
                self._store.add_event(f"command_{word}", f"{word} obeyed")
                if paused:
                    self._store.set_status(Status.PENDING, "paused")
                elif word == "resume":
                    self._store.set_status(Status.RUNNING)
            if word == "stop":
                raise RunStoppedError("stopped")
            if paused:
                free_device()
                self._say(f"paused; go on with: llm2llm resume {self._store.run_id}")

    def raise_if_impatient(self) -> None:
        """Called while a unit is worked on: two interrupts abandon it."""
        if self._interrupts > 1:
            raise RunStoppedError("stopped at once by a second Ctrl-C; the unit of work in progress will be redone")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += 1
        if self._interrupts == 1:
            self._say("stopping after this unit of work; Ctrl-C again stops at once (both are resumable)")
