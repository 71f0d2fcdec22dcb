"""Sql."""

from __future__ import annotations

from collections.abc import Iterable

from textual.widget import Widget
from textual.widgets import Static

from ..screen import HistoryScreen


class SqlScreen(HistoryScreen):
    """Sql."""

    TITLE = "Sql"

    def compose_body(self) -> Iterable[Widget]:
        yield Static("", classes="body")

    def update_view(self) -> None:
        """Nothing yet."""
