"""What the keys that steer the run would do to it now, or how it ended."""

from __future__ import annotations

from rich.text import Text
from textual.reactive import reactive
from textual.widgets import Static

from ...report.duration import duration
from ...report.status import RunStatus
from ..ink import ink
from ..text import one_line

_BOTH = "p pause · s stop"
_WISHES = {"pause": "it will pause", "resume": "it will go on", "stop": "it will stop"}


class Steering(Static):
    """In a line or two. `pending`: a wish that the run hasn't obeyed yet."""

    status: reactive[RunStatus | None] = reactive(None, layout=True)
    pending: reactive[str | None] = reactive(None, layout=True)

    def watch_status(self) -> None:
        self.display = bool(self._words())

    def render(self) -> Text:
        return self._words()

    def _words(self) -> Text:
        """Empty where what is wrong, and the key for it, is said below the screen."""
        status = self.status
        if status is None:
            return Text()
        if self.pending is not None and status.pid is not None:
            words = f"{_WISHES[self.pending]} {_when(status)}; nothing is lost"
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


def _when(status: RunStatus) -> str:
    about = "" if status.unit_seconds is None else f", about {duration(max(1.0, status.unit_seconds))}"
    return "at once" if status.state == "paused" else f"after this unit{about}"
