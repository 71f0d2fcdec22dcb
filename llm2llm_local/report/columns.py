"""Tables of figures for a terminal. Figures are never cut: what is too wide goes into a table of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text


def column_tables(columns: Sequence[Sequence[str]], width: int, n_keys: int = 1) -> Iterator[Table]:
    """One table, or several when it would be wider than `width`; each begins with the first `n_keys` columns.

    A column is its heading and then its cells, plain text all of them. Since a heading may be several words, two blanks
    part columns where one table has room for them.
    """
    if sum(_width(one) + 2 for one in columns) - 2 <= width:
        yield _table(columns, blanks=2)
        return
    keys = list(columns[:n_keys])
    taken = list(keys)
    for column in columns[n_keys:]:
        if len(taken) > n_keys and sum(_width(one) + 1 for one in [*taken, column]) - 1 > width:
            yield _table(taken)
            taken = list(keys)
        taken.append(column)
    yield _table(taken)


def _table(columns: Sequence[Sequence[str]], blanks: int = 1) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, blanks, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column[0], justify="right", no_wrap=True, min_width=_width(column))
    for row in zip(*(column[1:] for column in columns), strict=True):
        table.add_row(*map(Text, row))  # a string would be read as markup
    return table


def _width(cells: Sequence[str]) -> int:
    return max(len(cell) for cell in cells)
