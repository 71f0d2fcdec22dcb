"""What a command said, to be read."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from ..text import many_lines
from ..widgets.key_line import KeyLine


class ToldScreen(ModalScreen[None]):
    """A heading and a text; any of the usual keys closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q", "dismiss", "Close")]

    def __init__(self, heading: str, text: str) -> None:
        super().__init__()
        self._heading = heading
        self._text = text

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(many_lines(self._heading, "bold"))
            yield VerticalScroll(Static(many_lines(self._text)))
        yield KeyLine()
