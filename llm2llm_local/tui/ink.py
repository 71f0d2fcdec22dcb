"""The theme's colours and a bar, for what widgets draw themselves."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.app import App
from textual.color import Color
from textual.filter import LineFilter


def ink(app: App[object], name: str, *, bold: bool = False) -> Style:
    """The colour that the theme of the moment has under this name (primary, success …), in the terminal's own terms."""
    return Style(color=Color.parse(app.theme_variables[name]).rich_color, bold=bold or None)


def bar(share: float, cells: int, style: Style) -> Text:
    """A share from 0 to 1; its two parts differ in shape too."""
    full = round(min(max(share, 0.0), 1.0) * cells)
    return Text.assemble(("━" * full, style), ("╌" * (cells - full), "dim"))


class Styled(LineFilter):
    """Gives what has no style an empty one: NO_COLOR's filter fails without one, and plots have lines without."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [Segment(text, style or Style.null(), control) for text, style, control in segments]
