"""A question before something that can't be undone or costs an evening."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from ..text import many_lines
from ..widgets.key_line import KeyLine


class ConfirmScreen(ModalScreen[bool]):
    """Ends with whether the person agrees; `no` is what escape and return mean."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape,enter", "answer(False)", "No"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(many_lines(self._question))
        yield KeyLine()

    def action_answer(self, agrees: bool) -> None:
        self.dismiss(agrees)
