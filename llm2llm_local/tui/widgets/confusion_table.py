"""What was answered instead of what, as a table to choose from."""

from __future__ import annotations

from rich.text import Text
from textual.coordinate import Coordinate
from textual.events import Resize
from textual.message import Message
from textual.widgets import DataTable

from ...records import Outcome
from ...report.confusion import Confusion, Group, Pair
from ..ink import ink
from ..text import one_line
from .fitted_table import FittedTable
from .outcomes import SIGNS, WORDS

MOST_LABELS = 20
"""With more, a matrix says nothing at a glance: the most confused pairs are listed."""

_MOST_PAIRS = 200
_MOST_CELLS_OF_LABEL = 14
_FEWEST_CELLS_OF_LABEL = 6
_SHARE_CELLS = 6
_NOTHING_READABLE = "…"


class ConfusionTable(FittedTable):
    """A matrix of labels (rows: gold, columns: predicted), a list of pairs, or a list of outcomes."""

    class GroupSeen(Message):
        """The cursor is on these predictions; None: on nothing that could be chosen."""

        def __init__(self, group: Group | None) -> None:
            super().__init__()
            self.group = group

    class GroupChosen(GroupSeen):
        """Return was pressed on them."""

    def __init__(self) -> None:
        super().__init__(cell_padding=0)
        self._confusion: Confusion | None = None
        self._groups: dict[Coordinate, Group] = {}

    @property
    def group(self) -> Group | None:
        """What the cursor is on."""
        return self._groups.get(self.cursor_coordinate)

    def show(self, confusion: Confusion) -> None:
        """Replace what is shown; the cursor stays where it is if it can."""
        self._confusion = confusion
        cursor = self.cursor_coordinate
        with self.app.batch_update(), self.prevent(DataTable.CellHighlighted, DataTable.RowHighlighted):
            self.clear(columns=True)
            self._groups.clear()
            if not confusion.labels:
                self._add_outcomes(confusion)
            elif len(confusion.labels) > MOST_LABELS:
                self._add_mistakes(confusion)
            else:
                self._add_matrix(confusion)
            self.move_cursor(row=cursor.row, column=max(cursor.column, self.fixed_columns), animate=False)
        self.post_message(self.GroupSeen(self.group))

    def on_resize(self, event: Resize) -> None:
        if self._confusion is not None:
            self.show(self._confusion)  # names or numbers above the columns: as there is room

    def on_data_table_cell_highlighted(self, event: DataTable.CellHighlighted) -> None:
        event.stop()
        self.post_message(self.GroupSeen(self.group))

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        event.stop()
        self.post_message(self.GroupSeen(self.group))

    def on_data_table_cell_selected(self, event: DataTable.CellSelected) -> None:
        event.stop()
        self.post_message(self.GroupChosen(self.group))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        event.stop()
        self.post_message(self.GroupChosen(self.group))

    def _add_matrix(self, confusion: Confusion) -> None:
        self.cursor_type, self.fixed_columns = "cell", 2
        labels = confusion.labels
        predicted = [*labels, *([None] if any(pair.predicted is None for pair in confusion.pairs) else [])]
        digits = len(str(max(confusion.pairs.values(), default=0)))
        names = [_NOTHING_READABLE if label is None else label for label in predicted]
        widths = [max(digits + 1, min(_MOST_CELLS_OF_LABEL, one_line(name).cell_len)) + 1 for name in names]
        gold_cells = min(_MOST_CELLS_OF_LABEL, max(one_line(label).cell_len for label in labels))
        rows = ["" for _ in labels]
        if sum(widths) + gold_cells + _SHARE_CELLS > self.size.width:
            # The sign or blank after a count keeps it apart from the next one, so a number takes no cell more.
            rows = [f"{number:>2} " for number in range(1, len(labels) + 1)]
            names = [row.strip() for row in rows] + names[len(labels) :]
            widths = [max(digits + 1, 3)] * len(names)
            room = self.size.width - sum(widths) - len(rows[0]) - _SHARE_CELLS - 1
            gold_cells = min(gold_cells, max(room, _FEWEST_CELLS_OF_LABEL))
        self.add_column("gold", width=gold_cells + len(rows[0]) + 1)
        self.add_column(Text("right ", justify="right"), width=_SHARE_CELLS)
        for name, width in zip(names, widths, strict=True):
            self.add_column(_right(one_line(name, width - 1)), width=width)
        for row, gold in enumerate(labels):
            cells = [Text(rows[row], style="dim") + one_line(gold, gold_cells), _share(confusion, gold)]
            for column, label in enumerate(predicted):
                pair = Pair(gold, label)
                self._groups[Coordinate(row, column + self.fixed_columns)] = pair
                cells.append(self._count(confusion.pairs.get(pair, 0), is_diagonal=gold == label))
            self.add_row(*cells)

    def _count(self, n: int, *, is_diagonal: bool) -> Text:
        if is_diagonal:
            return Text(f"{n}✓", style=ink(self.app, "success", bold=True), justify="right")
        if not n:
            return _right(Text("·", style="dim"))
        return _right(Text(str(n), style=ink(self.app, "error")))

    def _add_mistakes(self, confusion: Confusion) -> None:
        self.cursor_type, self.fixed_columns = "row", 0
        self.add_columns("gold  ", "predicted  ", Text("times", justify="right"))
        cells = max(_MOST_CELLS_OF_LABEL, (self.size.width - 12) // 2)
        for row, (pair, n) in enumerate(confusion.mistakes()[:_MOST_PAIRS]):
            self._groups[Coordinate(row, 0)] = pair
            predicted = one_line(_NOTHING_READABLE if pair.predicted is None else pair.predicted, cells)
            self.add_row(one_line(pair.gold, cells), predicted, Text(f"{n:,}", justify="right"))

    def _add_outcomes(self, confusion: Confusion) -> None:
        self.cursor_type, self.fixed_columns = "row", 0
        self.add_columns("", "outcome", Text("answers", justify="right"), Text("share", justify="right"))
        total = sum(confusion.outcomes.values())
        for row, outcome in enumerate(one for one in Outcome if one in confusion.outcomes):
            n = confusion.outcomes[outcome]
            self._groups[Coordinate(row, 0)] = outcome
            share = Text(f"  {n / total:.1%}", justify="right")
            self.add_row(
                Text(f"{SIGNS[outcome]} "), Text(f"{WORDS[outcome]}  "), Text(f"{n:,}", justify="right"), share
            )


def _right(text: Text) -> Text:
    """Aligned with the digits of the diagonal, which are followed by a sign."""
    aligned = text + Text(" ")
    aligned.justify = "right"
    return aligned


def _share(confusion: Confusion, gold: str) -> Text:
    n = confusion.n_of(gold)
    right = confusion.pairs.get(Pair(gold, gold), 0)
    return Text(f"{right / n:.0%} " if n else "", style="dim", justify="right")
