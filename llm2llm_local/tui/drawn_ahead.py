"""A screen that nobody has looked at yet is laid out and drawn, so that the first visit costs no more than later ones.

Done in steps of a few milliseconds: whoever works on another screen meanwhile notices nothing. Textual lays out and
draws only what is shown; the calls with which it would begin to show a screen are made here before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from textual.geometry import Region
from textual.widget import Widget

from .screen import HistoryScreen

_SECONDS_BETWEEN_LOOKS = 0.02
_MOST_ROUNDS = 4
_LINES_AT_ONCE = 8


async def draw_ahead(screen: HistoryScreen) -> None:
    """Until the screen is as it will be shown, or is shown."""
    for _ in range(_MOST_ROUNDS):
        await _quiet(screen)
        if screen.is_current:
            return
        screen._layout_required = False
        screen._refresh_layout(screen.app.size)
        await _quiet(screen)  # a widget that has another size now may fill itself anew
        for widget, lines in _parts(screen):
            if screen.is_current:
                return
            widget.render_lines(lines)
            await asyncio.sleep(0)
        await _quiet(screen)
        if not screen._layout_required:
            return


async def _quiet(screen: HistoryScreen) -> None:
    """Its data are there, and what they set off has been carried out."""
    await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
    while screen.is_reading:
        await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)


def _parts(screen: HistoryScreen) -> Iterator[tuple[Widget, Region]]:
    """What is visible of each widget, a few lines at a time."""
    for widget, (region, clip) in [*screen._compositor.visible_widgets.items()]:
        seen = region.intersection(clip).translate(-region.offset)
        for top in range(0, seen.height, _LINES_AT_ONCE):
            yield widget, Region(seen.x, seen.y + top, seen.width, min(_LINES_AT_ONCE, seen.height - top))
