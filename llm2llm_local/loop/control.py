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
from ..store.run_store import RunStore

_POLL_SECONDS = 0.3


class Interrupts:
    """SIGINT and SIGTERM since listening began.

    Until `are_deferred`, one ends the process at once, by KeyboardInterrupt; and should some library swallow
    that, it is still remembered here. Afterwards they are only remembered, for `Control` to act on.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.are_deferred = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.names.append("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)
        if not self.are_deferred:
            raise KeyboardInterrupt


class Control:
    """Pending wishes of the person for one run."""

    def __init__(self, store: RunStore, interrupts: Interrupts, say: Callable[[str], None]) -> None:
        """From now on interrupts are obeyed between units; the second one at once."""
        self._store = store
        self._interrupts = interrupts
        self._say = say
        self._answered = False
        interrupts.are_deferred = True

    def obey(self, free_device: Callable[[], None]) -> None:
        """Carry out pending commands; returns when the run may go on. Raises RunStoppedError on stop.

        While paused, the device is freed.
        """
        paused = False
        while True:
            if self._interrupts.names:
                raise self._stopped(f"stopped by {self._interrupts.names[0]}")
            command = self._store.commands.next()
            if command is None:
                if not paused:
                    return
                time.sleep(_POLL_SECONDS)
                continue
            command_id, word = command
            with self._store.transaction():
                if not self._store.commands.take(command_id):
                    continue
                paused = word == "pause"
                self._store.add_event(f"command_{word}", f"{word} obeyed")
                if paused:
                    self._store.set_status(Status.PENDING, "paused")
                elif word == "resume":
                    self._store.set_status(Status.RUNNING)
            if word == "stop":
                raise self._stopped("stopped")
            if paused:
                free_device()
                self._say(f"paused; go on with: llm2llm resume {self._store.run_id}")

    def look(self) -> None:
        """Called a few times a second while a unit is worked on: a second signal abandons it."""
        if self._interrupts.names and not self._answered:
            self._answered = True
            self._say("stopping after this unit of work; Ctrl-C again stops at once")
        if len(self._interrupts.names) > 1:
            raise self._stopped(
                f"stopped at once by {self._interrupts.names[1]}; the unit in progress will be done again"
            )

    def _stopped(self, how: str) -> RunStoppedError:
        return RunStoppedError(
            f"run {self._store.run_id} {how}", f"Nothing is lost. Continue: llm2llm resume {self._store.run_id}"
        )
