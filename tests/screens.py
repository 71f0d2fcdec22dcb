"""The terminal UI without a terminal: open a screen on a store, press keys, look at what is shown."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from textual.message_pump import MessagePump
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets import DataTable

from llm2llm_local.launch import Launched
from llm2llm_local.tui.app import Llm2LlmApp
from llm2llm_local.tui.defects import defects_log
from llm2llm_local.tui.screen import HistoryScreen
from llm2llm_local.tui.themes import DARK

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
"""What the clock of an opened app says."""

SMALL, LARGE = (80, 24), (140, 45)

_PATIENCE_SECONDS = 120.0
_QUIET_LOOKS = 3
_SECONDS_BETWEEN_LOOKS = 0.02

AppPilot = Pilot[Launched]


@asynccontextmanager
async def opened(
    workspace: Path, mode: str, *, run_id: int | None = None, size: tuple[int, int] = LARGE
) -> AsyncIterator[AppPilot]:
    """The app on a store, at one of its screens, which has read all it shows. Fails where a defect was logged."""
    app = Llm2LlmApp(workspace, run_id=run_id, clock=lambda: NOW)
    async with app.run_test(size=size) as pilot:
        app.theme = DARK.name
        app.switch_mode(mode)
        await settled(pilot)
        yield pilot
    log = defects_log(workspace)
    assert not log.exists(), f"a screen has met a defect:\n{log.read_text()}"


async def settled(pilot: AppPilot) -> None:
    """Wait until nothing is being read any more and all of it is shown."""
    await _still(pilot, lambda: isinstance(pilot.app.screen, HistoryScreen) and pilot.app.screen.is_reading)


async def until(pilot: AppPilot, condition: Callable[[], bool]) -> None:
    """Wait for what must happen, and for what is shown with it."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain; the screen says:\n{shown(pilot)}"
        await pilot.pause()
        await asyncio.sleep(0.02)
    await _still(pilot, lambda: False)


async def _still(pilot: AppPilot, is_busy: Callable[[], bool]) -> None:
    """Wait until it isn't busy, and what is shown stays the same for some looks: a layout comes after its texts."""
    deadline, quiet, before = time.monotonic() + _PATIENCE_SECONDS, 0, ""
    while quiet < _QUIET_LOOKS:
        assert time.monotonic() < deadline, f"it reads and reads; the screen says:\n{shown(pilot)}"
        await pilot.pause(_SECONDS_BETWEEN_LOOKS)
        now = shown(pilot)
        quiet = 0 if is_busy() or _has_more_to_do(pilot) or now != before else quiet + 1
        before = now


def _has_more_to_do(pilot: AppPilot) -> bool:
    """Whether a part of the screen will yet change by itself: it is being made, laid out, fitted, styled or moved.

    On a busy machine any of it may come long after the reading, and the screen stays the same meanwhile.
    """
    app, screen = pilot.app, pilot.app.screen
    animator = app.animator
    return bool(
        screen._callbacks
        or screen._dirty_widgets
        or animator._animations
        or animator._scheduled
        or any(_is_pending(pump) for pump in (app, *screen.walk_children(with_self=True)))
    )


def _is_pending(pump: MessagePump) -> bool:
    if not pump._is_mounted or not pump._message_queue.empty() or pump._next_callbacks:
        return True
    if isinstance(pump, DataTable) and pump._require_update_dimensions:
        return True
    return isinstance(pump, Widget) and (
        pump._layout_required
        or pump._repaint_required
        or pump._scroll_required
        or pump._recompose_required
        or pump._refresh_styles_required
    )


async def press(pilot: AppPilot, *keys: str) -> None:
    """Press keys one after another, and wait until their effects are shown."""
    for key in keys:
        await pilot.press(key)
        await settled(pilot)


def shown(pilot: AppPilot) -> str:
    """The text on the screen, line by line."""
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


def words(pilot: AppPilot) -> str:
    """The words on the screen, one space apart, wherever lines end: paths make them end at other places elsewhere."""
    return " ".join(re.findall(r"[^\s│┃▎▊]+", shown(pilot)))


def line_with(pilot: AppPilot, text: str) -> str:
    """The only line on the screen that has this text."""
    (line,) = [line for line in shown(pilot).splitlines() if text in line]
    return line


def said(pilot: AppPilot) -> str:
    """The notes that go away by themselves, all of them."""
    return "\n".join(notification.message for notification in pilot.app._notifications)
