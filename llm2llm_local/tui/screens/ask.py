"""A question that is answered in a line of text."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from ..text import editable, many_lines
from ..widgets.key_line import KeyLine


class AskScreen(ModalScreen[str | None]):
    """Ends with what was entered, or with None when escape was pressed."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Cancel")]

    def __init__(self, question: str, answer: str, objection: Callable[[str], str]) -> None:
        """`answer`: to begin with. `objection`: why an answer won't do, '' when it does."""
        super().__init__()
        self._question = question
        self._answer = answer
        self._objection = objection

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(many_lines(self._question))
            yield Input(editable(self._answer), select_on_focus=False)
            yield Static(classes="objection", markup=False)
        yield KeyLine()

    def on_input_submitted(self, message: Input.Submitted) -> None:
        objection = self._objection(message.value)
        if objection:
            self.query_one(".objection", Static).update(many_lines(objection))
        else:
            self.dismiss(message.value)

    def action_leave(self) -> None:
        self.dismiss(None)
