"""A table that is always drawn with columns as wide as what is in them."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text
from textual.widgets import DataTable
from textual.widgets.data_table import RowKey


class FittedTable(DataTable[Text]):
    """Textual's, which fits its columns once it has nothing else to do, but may have to draw itself before that.

    It keeps what it has drawn, and would go on to show it: cells cut off at the width that their column had before.
    """

    def _update_dimensions(self, new_rows: Iterable[RowKey]) -> None:
        super()._update_dimensions(new_rows)
        self._clear_caches()
        self.refresh()
