"""Panels whose text changes all the time: only the lines that are others now are drawn anew.

A whole panel takes several milliseconds to draw, a line of it a tenth of that, and a run that is watched for hours
changes a few figures in it every fifth second.
"""

from __future__ import annotations

from rich.text import Text
from textual.content import Content
from textual.geometry import Region
from textual.widget import Widget
from textual.widgets import Static


class Panel(Static):
    """A subclass gives its `lines`, which are cut at the right edge, and calls `redraw` when they may have changed."""

    def __init__(self) -> None:
        super().__init__()
        self._drawn: list[Text] = []

    def lines(self) -> list[Text]:
        """From the top; as many as there are."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Draw what has changed; the panel stays as large as it is."""
        before, now = self._drawn, self.lines()
        if len(before) != len(now):
            self.refresh()
            return
        changed = [y for y, (old, new) in enumerate(zip(before, now, strict=True)) if not _is_same(old, new)]
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    def render(self) -> Text:
        self._drawn = self.lines()
        return Text("\n").join(line[: self.size.width] for line in self._drawn)


def set_title(widget: Widget, title: Text) -> None:
    """Of its border, drawing no more than that anew."""
    content = Content.from_rich_text(title)
    before = widget._border_title
    if before is not None and before.is_same(content):
        return
    widget._border_title = content  # to set the public one would draw all of the widget
    offset = widget.content_offset
    widget.refresh(Region(-offset.x, -offset.y, widget.outer_size.width, 1))


def _is_same(one: Text, other: Text) -> bool:
    return one == other and one.style == other.style
