"""What the keys that steer the run would do to it now, or how it ended; and whether its workers live."""

from __future__ import annotations

from datetime import datetime

from rich.text import Text
from textual.widgets import Static

from ...report.duration import duration
from ...report.events import WorkerDeaths
from ...report.status import RunStatus
from ..ink import ink
from ..text import one_line

_BOTH = "p pause · s stop"
_WISHES = {"pause": "it will pause", "resume": "it will go on", "stop": "it will stop"}


class Steering(Static):
    """In a line or two. `pending`: a wish that the run hasn't obeyed yet. `deaths`: since its process was started."""

    def __init__(self) -> None:
        super().__init__()
        self._status: RunStatus | None = None
        self._pending: str | None = None
        self._deaths: WorkerDeaths | None = None

    def show(self, status: RunStatus, pending: str | None, deaths: WorkerDeaths | None) -> None:
        """The screen is laid out anew only when this may need another height: that costs as much as drawing all."""
        before = self._text()
        self._status, self._pending, self._deaths = status, pending, deaths
        self.display = bool(self._words())
        now = self._text()
        if now != before:
            self.refresh(layout=self._lines_of(now) != self._lines_of(before))

    def render(self) -> Text:
        return self._text()

    def _text(self) -> Text:
        words = self._words()
        if self._deaths is None or self._status is None or self._status.pid is None:
            return words
        told = one_line(_told(self._deaths), self.size.width or None, ink(self.app, "error", bold=True))
        return Text("\n").join([words, told])

    def _lines_of(self, text: Text) -> int:
        return len(text.wrap(self.app.console, self.size.width)) if self.size.width else 0

    def _words(self) -> Text:
        """Empty where what is wrong, and the key for it, is said below the screen."""
        status = self._status
        if status is None:
            return Text()
        if self._pending is not None and status.pid is not None:
            words = f"{_WISHES[self._pending]} {_when(status)}; nothing is lost"
            if status.state != "paused":
                words += " · r takes it back"
            return Text(words, ink(self.app, "warning", bold=True))
        match status.state:
            case "running":
                return Text(f"{_BOTH}: {_when(status)}; nothing is lost")
            case "starting":
                return Text(f"{_BOTH}: as soon as the models are loaded; nothing is lost")
            case "paused":
                return Text("paused, its models unloaded · r goes on · s stops; nothing is lost")
            case "done":
                ending = one_line(status.detail)
                ending.no_wrap = False
                return ending
            case _:
                return Text()


def _told(deaths: WorkerDeaths) -> str:
    died_at = datetime.fromisoformat(deaths.newest.created_at).astimezone()
    who = "a worker died" if deaths.n == 1 else f"{deaths.n:,} workers died, the last"
    return f"{who} {died_at:%a %H:%M}: {deaths.newest.message}"


def _when(status: RunStatus) -> str:
    about = "" if status.unit_seconds is None else f", about {duration(max(1.0, status.unit_seconds))}"
    return "at once" if status.state == "paused" else f"after this unit{about}"
