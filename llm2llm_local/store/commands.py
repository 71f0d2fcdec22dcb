"""What a person asks of a run at work: pause, stop, go on. A row waits until the run obeys it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..records import Status
from .rows import now

if TYPE_CHECKING:
    from .writer import Store


class CommandStore:
    """One run's commands. Made by `RunStore.commands`."""

    def __init__(self, store: Store, run_id: int) -> None:
        self._store = store
        self._run_id = run_id

    def next(self) -> tuple[int, str] | None:
        """Id and word of the oldest command that was not obeyed yet."""
        row = self._store.execute(
            "SELECT id, command FROM commands WHERE run_id = ? AND status = 'pending' ORDER BY id LIMIT 1",
            [self._run_id],
        ).fetchone()
        return None if row is None else (row["id"], row["command"])

    def take(self, command_id: int) -> bool:
        """Mark it as obeyed; False when it was withdrawn meanwhile. Part of a transaction."""
        taken = self._store.execute(
            "UPDATE commands SET status = ?, handled_at = ? WHERE id = ? AND status = ?",
            [Status.DONE, now(), command_id, Status.PENDING],
        )
        return taken.rowcount == 1

    def add(self, command: str) -> None:
        with self._store.transaction():
            self._store.insert("commands", run_id=self._run_id, command=command, status=Status.PENDING)

    def cancel(self) -> None:
        """Commands left from before an interruption don't concern the run that now continues."""
        self._store.execute(
            "UPDATE commands SET status = ?, handled_at = ? WHERE run_id = ? AND status = ?",
            [Status.CANCELLED, now(), self._run_id, Status.PENDING],
        )
