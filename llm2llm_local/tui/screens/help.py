"""Every key of a screen, made from the keys themselves, and what its marks say. Where the word at the foot of the
screen is too short, a key's tooltip says it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from ..screen import HistoryScreen
from ..widgets.key_line import KeyLine

_ELSEWHERE = (
    ("tab, shift+tab", "Next and previous part of the screen"),
    ("arrows, page up, page down, home, end", "Move in a table, a tree or a text"),
    ("escape", "Leave an input field or a dialog"),
    ("ctrl+p", "Command palette: everything by name"),
)


class HelpScreen(ModalScreen[None]):
    """The keys of the screen below it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q", "dismiss", "Close")]

    def __init__(self, of: Screen[object]) -> None:
        super().__init__()
        self._of = of

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog"):
            if isinstance(self._of, HistoryScreen) and self._of.MARKS:  # first, where a small terminal shows them
                yield Static(Text("Marks after a verdict", style="bold"))
                yield Static(_table(self._of.MARKS))
                yield Static()
            yield Static(Text(f"Keys of this screen: {self._of.title or ''}", style="bold"))
            yield Static(_keys(self._of.BINDINGS))
            yield Static(Text("\nKeys of every screen", style="bold"))
            yield Static(_keys([*self._inherited(), *self.app.BINDINGS]))
            yield Static(Text("\nEverywhere", style="bold"))
            yield Static(_table(_ELSEWHERE))
        yield KeyLine()

    def _inherited(self) -> list[BindingType]:
        """What all screens on the history have, but for keys that this one has for itself."""
        if not isinstance(self._of, HistoryScreen):
            return []
        own = {binding.key for binding in self._of.BINDINGS if isinstance(binding, Binding)}
        return [one for one in HistoryScreen.BINDINGS if isinstance(one, Binding) and one.key not in own]


def _keys(bindings: Iterable[BindingType]) -> Table:
    shown = [binding for binding in bindings if isinstance(binding, Binding)]
    return _table(
        (binding.key_display or binding.key.replace(",", ", "), binding.tooltip or binding.description)
        for binding in shown
    )


def _table(rows: Iterable[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 3))
    for keys, what in rows:
        table.add_row(Text(keys), Text(what))
    return table
