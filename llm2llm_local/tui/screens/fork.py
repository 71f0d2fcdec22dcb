"""What a fork should do otherwise than its origin."""

from __future__ import annotations

import shlex
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, Static


class ForkScreen(ModalScreen[str | None]):
    """Ends with the overrides as typed, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "Close")]

    def __init__(self, run_id: int) -> None:
        super().__init__()
        self._run_id = run_id

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(
                f"Fork run {self._run_id}: a new run that takes over all stages whose conditions stay the same, and "
                "your decisions on candidates. The configuration file is read anew.",
                markup=False,
            )
            yield Input(placeholder="changed fields, such as teacher.temperature=0.7 loop.iterations=5")
            yield Static("return starts it", classes="muted complaint", markup=False)
        yield Footer(show_command_palette=False)

    def on_input_submitted(self, message: Input.Submitted) -> None:
        try:
            shlex.split(message.value)
        except ValueError as error:
            self.query_one(".complaint", Static).update(f"{error}: a quote is never closed")
            return
        self.dismiss(message.value)
