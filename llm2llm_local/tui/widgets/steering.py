"""What the keys that steer the run would do to it now, or how it ended."""

from __future__ import annotations

from rich.text import Text
from textual.reactive import reactive
from textual.widgets import Static

from ...report.status import RunStatus
from ..duration import duration
from ..ink import ink
from ..text import one_line

_BOTH = "p pause · s stop"
_WISHES = {"pause": "it will pause", "resume": "it will go on", "stop": "it will stop"}


class Steering(Static):
    """In a line or two. `pending`: a wish that the run hasn't obeyed yet."""

    status: reactive[RunStatus | None] = reactive(None, layout=True)
    pending: reactive[str | None] = reactive(None, layout=True)

    def render(self) -> Text:
        if self.status is None:
            return Text()
        if self.pending is not None and self.status.pid is not None:
            words = f"{_WISHES[self.pending]} {_when(self.status)}; nothing is lost"
            return Text(words, style=ink(self.app, "warning", bold=True))
        return _words(self.status)


def _words(status: RunStatus) -> Text:
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
        case _:  # what is wrong, and the key for it, is said below the screen
            return Text()


def _when(status: RunStatus) -> str:
    about = "" if status.unit_seconds is None else f", about {duration(max(1.0, status.unit_seconds))}"
    return "at once" if status.state == "paused" else f"after this unit{about}"
