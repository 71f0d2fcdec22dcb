"""Text of data and models for widgets: never markup, never a control sequence, cut by cells and not by characters.

Textual and Rich read a `str` as markup in many places, so whatever isn't our own words goes through here.
"""

from __future__ import annotations

from rich.style import Style
from rich.text import Text

from ..report.plain import plain, shortened, visible


def one_line(text: str, cells: int | None = None, style: str | Style = "") -> Text:
    """On one line; with `cells`, cut to that many terminal cells (a wide character takes two) with an ellipsis."""
    return Text(plain(text) if cells is None else shortened(text, cells), style=style, no_wrap=True)


def many_lines(text: str, style: str | Style = "") -> Text:
    """Line ends stay; other control characters become visible codes."""
    return Text("\n".join(visible(line.expandtabs(4)) for line in text.splitlines()), style=style)


def editable(text: str) -> str:
    """For an input field: one line, control characters gone, since a field would send them to the terminal."""
    return "".join(character for character in " ".join(text.split()) if visible(character) == character)


def editable_lines(text: str) -> str:
    """For a field of several lines: as `editable`, but its lines and blanks stay."""
    lines = (line.expandtabs(4) for line in text.splitlines())
    return "\n".join("".join(character for character in line if visible(character) == character) for line in lines)
