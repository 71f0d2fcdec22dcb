"""What happened to the run, and what its processes wrote."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.text import Text
from textual import work
from textual.widget import Widget
from textual.widgets import RichLog, Static, TabbedContent, TabPane

from ...launch import log_end, process_log
from ...report.events import Event, events_after
from ...report.plan import plan_by_part
from ...store.lock import last_holder
from ...store.reader import require_run
from ...store.rows import run_folder
from ..ink import ink
from ..screen import HistoryScreen
from ..text import many_lines, one_line

_MOST_EVENTS = 2000
"""Shown at most; all of them are in the table `events`."""

_EVENTS_AT_ONCE = 100

_NOTHING = {
    "run": "nothing so far, or it is said elsewhere: where a run was started without the terminal UI",
    "teacher": "nothing so far",
    "student": "nothing so far",
}
"""Where a process has written nothing."""

_PLANNED = {"run": ("device",), "teacher": ("teacher", "device"), "student": ("student", "device")}
"""Which lines of the run's plan belong to a process."""

_LOUD = {
    "run_failed": "error",
    "worker_died": "error",
    "memory_short": "warning",
    "plan_smaller": "warning",
    "review_refused": "warning",
}
"""Kinds of events that should be seen, and their colour in the theme."""


@dataclass(frozen=True, slots=True)
class _News:
    """What is new since the last look. `logs`: the ends of the processes' logs, by the tab that shows them; `plan`:
    what the run's models take of the device, likewise.
    """

    run_id: int
    events: list[Event]
    logs: dict[str, tuple[Path, str]]
    plan: dict[str, str]


class LogsScreen(HistoryScreen):
    """Events follow as they come, as long as one is at the end of them."""

    TITLE = "Logs"

    def __init__(self) -> None:
        super().__init__()
        self._shown_run: int | None = None
        self._cursor = 0
        self._unwritten: deque[Event] = deque()
        self._ends: dict[str, str] = {}

    def compose_body(self) -> Iterable[Widget]:
        with TabbedContent(classes="body"):
            with TabPane("Events", id="events"):
                yield RichLog(max_lines=_MOST_EVENTS, wrap=True)
            for name in ("run", "teacher", "student"):
                with TabPane(f"{name.capitalize()} process", id=name):
                    yield Static(classes="muted path")
                    yield RichLog(wrap=True)

    def update_view(self) -> None:
        workspace, chosen = self.llm2llm.workspace, self.run_id
        shown, cursor = self._shown_run, self._cursor

        def look(connection: sqlite3.Connection) -> _News:
            run_id = require_run(connection, chosen)
            events = events_after(connection, run_id, cursor if run_id == shown else 0, _MOST_EVENTS)
            return _News(run_id, events, _logs(workspace, run_id), plan_by_part(connection, run_id))

        self.read(look, self._show)

    def _show(self, news: _News) -> None:
        log = self.query_one("#events RichLog", RichLog)
        if news.run_id != self._shown_run:
            self._shown_run, self._cursor = news.run_id, 0
            self._unwritten.clear()
            log.clear()
        is_writing = bool(self._unwritten)
        for event in news.events:
            if event.id > self._cursor:
                self._cursor = event.id
                self._unwritten.append(event)
        if not is_writing:
            self._write()
        for name, (path, text) in news.logs.items():
            shown = [news.plan[part] for part in _PLANNED[name] if part in news.plan]
            self.query_one(f"#{name} .path", Static).update(many_lines("\n".join([str(path), *shown])))
            if text != self._ends.get(name):
                self._ends[name] = text
                end = self.query_one(f"#{name} RichLog", RichLog)
                line, is_followed = end.scroll_offset.y, end.is_vertical_scroll_end
                end.clear()
                end.write(many_lines(text or _NOTHING[name]), scroll_end=is_followed)
                if not is_followed:  # somebody reads it
                    end.call_after_refresh(end.scroll_to, y=line, animate=False)

    @work(group="writing")
    async def _write(self) -> None:
        """A thousand events at once would keep whoever presses a key waiting."""
        log = self.query_one("#events RichLog", RichLog)
        while self._unwritten:
            for _ in range(min(_EVENTS_AT_ONCE, len(self._unwritten))):
                log.write(self._line(self._unwritten.popleft()), scroll_end=log.is_vertical_scroll_end)
            await asyncio.sleep(0)

    def _line(self, event: Event) -> Text:
        moment = datetime.fromisoformat(event.created_at).astimezone()
        style = ink(self.app, _LOUD[event.kind], bold=True) if event.kind in _LOUD else ""
        return Text.assemble((f"{moment:%m-%d %H:%M:%S}  ", "dim"), one_line(event.message, style=style))


def _logs(workspace: Path, run_id: int) -> dict[str, tuple[Path, str]]:
    folder = run_folder(workspace, run_id)
    pid = last_holder(folder)
    paths = {
        "run": process_log(folder, pid) if pid is not None else folder,
        "teacher": folder / "teacher.log",
        "student": folder / "student.log",
    }
    return {name: (path, log_end(path)) for name, path in paths.items()}
