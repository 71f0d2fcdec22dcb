"""Every run in a line, to choose some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import DataTable

from ...report.overview import RunOverview
from ..text import one_line
from .bars import SIGNS
from .fitted_table import FittedTable
from .run_marks import Mark


class RunList(FittedTable):
    """Space or return chooses a run, or leaves it out again."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("space", "select_cursor", "Choose run")]

    class Toggled(Message):
        """This run is to be one of the chosen ones, or no longer."""

        def __init__(self, run_id: int) -> None:
            super().__init__()
            self.run_id = run_id

    def __init__(self) -> None:
        super().__init__(cursor_type="row")

    def on_mount(self) -> None:
        self.add_columns("", "run", "last", "recipe", "state", "fork of")

    def show(self, runs: Sequence[RunOverview], marks: Mapping[int, Mark]) -> None:
        """Replace the rows; the cursor stays on its run."""
        row = self.cursor_row
        at = self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value if self.row_count else None
        with self.app.batch_update():
            self.clear()
            for place, run in enumerate(runs):
                run_id = run.status.run_id
                if str(run_id) == at:
                    row = place
                self.add_row(
                    marks[run_id].text(self.app) if run_id in marks else Text("·", style="dim"),
                    Text(str(run_id), justify="right"),
                    Text(f"{run.accuracy[-1][1].share:.1%}" if run.accuracy else "", justify="right"),
                    one_line(run.status.recipe),
                    Text(f"{SIGNS[run.status.state]} {run.status.state}"),
                    Text("" if run.forked_from is None else f"run {run.forked_from}"),
                    key=str(run_id),
                )
            self.move_cursor(row=row, animate=False)

    def on_data_table_row_selected(self, message: DataTable.RowSelected) -> None:
        message.stop()
        if message.row_key.value is not None:
            self.post_message(self.Toggled(int(message.row_key.value)))
