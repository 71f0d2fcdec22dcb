"""From asking for a run until it is at work, or until it is known why it isn't."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from ...errors import StoreError
from ...launch import Launched
from ...store.lock import last_holder
from ...store.reader import open_reader
from ...store.rows import run_folder
from ..feed import PATIENCE_SECONDS
from ..text import many_lines
from ..widgets.key_line import KeyLine

_SECONDS_BETWEEN_LOOKS = 0.3
_CLOCK_SECONDS = 2.0
"""A file system's times may be whole seconds."""


class StartingScreen(ModalScreen[int | None]):
    """Ends with the run's id once the process has taken it up, with None when the process ended before that."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Close")]

    def __init__(self, launched: Launched, *, gives_up_at_once: bool) -> None:
        """`gives_up_at_once`: whoever opened this shows the failure himself."""
        super().__init__()
        self._launched = launched
        self._gives_up_at_once = gives_up_at_once

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Reading the configuration, the data and the models …", id="what", markup=False)
            yield VerticalScroll(Static(id="said", markup=False))
            yield Static("It goes on when you leave this.", id="leaving", classes="muted", markup=False)
        yield KeyLine()

    def on_mount(self) -> None:
        self.set_interval(_SECONDS_BETWEEN_LOOKS, self._look)
        self._look()

    def action_leave(self) -> None:
        self.dismiss(None)

    @work(thread=True, exclusive=True, group="starting")
    def _look(self) -> None:
        code, run_id, said = self._launched.exit_code(), self._find_run(), self._launched.output()
        self.app.call_from_thread(self._show, code, run_id, said)

    def _find_run(self) -> int | None:
        """The run that the process has taken up."""
        workspace = self._launched.workspace
        try:
            with open_reader(workspace, PATIENCE_SECONDS) as connection:
                runs = connection.execute("SELECT run_id FROM runs ORDER BY run_id DESC").fetchall()
        except (StoreError, OSError):
            return None
        taken_up = (row[0] for row in runs if self._has_taken_up(run_folder(workspace, row[0])))
        return next(taken_up, None)

    def _has_taken_up(self, folder: Path) -> bool:
        """A process id may have been used before; the lock tells when."""
        if last_holder(folder) != self._launched.pid:
            return False
        return (folder / "lock").stat().st_mtime >= self._launched.began - _CLOCK_SECONDS

    def _show(self, code: int | None, run_id: int | None, said: str) -> None:
        if not self.is_attached or not self.is_current:
            return
        if run_id is not None or (code is not None and (code == 0 or self._gives_up_at_once)):
            self.dismiss(run_id)
            return
        if code is not None:
            self.query_one("#what", Static).update(f"It ended before a run was at work (exit code {code}):")
            self.query_one("#leaving").display = False
        self.query_one("#said", Static).update(many_lines(said))
