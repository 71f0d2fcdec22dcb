"""Texts of data and models in full, each beside its name, to scroll through."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text
from textual.containers import VerticalScroll
from textual.widgets import Static

from ..text import many_lines

Section = tuple[str, str | Text]
"""A name of ours, and a text; a `str` is one of data or models."""

_NAME_CELLS = 10


class FullText(VerticalScroll):
    """Empty until something is shown."""

    DEFAULT_CSS = """
    FullText { height: 1fr; padding: 0 1; }
    FullText Static { height: auto; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._shown: tuple[str, str, list[Section]] | None = None

    def compose(self) -> Iterable[Static]:
        yield Static(markup=False)

    def show(self, what: str, sections: Iterable[Section]) -> None:
        """`what` names what it is about: the same again stays where it was scrolled to."""
        wanted, before = (what, self.app.theme, [*sections]), self._shown
        if wanted == before:
            return  # laying out long texts anew is the costliest part of a key press
        self._shown = wanted
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_column(width=_NAME_CELLS)
        table.add_column(overflow="fold", ratio=1)
        for name, text in wanted[2]:
            table.add_row(Text(name, style="dim"), many_lines(text) if isinstance(text, str) else text)
        self.query_one(Static).update(table)
        if before is None or before[0] != what:
            self.scroll_home(animate=False)
