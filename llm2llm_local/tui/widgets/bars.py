"""The lines around every screen: the chosen run, where one is, and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text
from textual.content import Content
from textual.reactive import reactive
from textual.widgets import Static

from ...errors import Llm2LlmError, NoHistoryError
from ...report.status import RunStatus
from ..text import many_lines, one_line

SIGNS = {
    "running": "▶",
    "starting": "▷",
    "paused": "‖",
    "stopped": "■",
    "interrupted": "✗",
    "failed": "✗",
    "done": "✓",
}
"""A state as a sign, for those who don't see its colour."""


class RunBar(Static):
    """The chosen run in a line."""

    status: reactive[RunStatus | None] = reactive(None)

    def render(self) -> Text:
        status = self.status
        if status is None:
            return Text("llm2llm")
        parts = [f"run {status.run_id} {SIGNS[status.state]} {status.state}"]
        if status.stage is not None:
            parts.append(f"iteration {status.iteration} of {status.iterations}")
            if status.state not in ("done", "failed"):
                parts.append(f"{status.stage} {status.done}/{status.total}")
        if status.test_accuracy is not None:
            parts.append(f"test {status.test_accuracy:.1%}")
        return one_line(" · ".join(parts), self.size.width or None)

    def watch_status(self, status: RunStatus | None) -> None:
        for state in SIGNS:
            self.set_class(status is not None and status.state == state, state)


class Navigation(Static):
    """The screens with their keys; a click goes there."""

    def __init__(self, names: Mapping[str, str], current: str) -> None:
        """`names`: mode → name, in the order of their keys from 1 on."""
        parts = []
        for key, (mode, name) in enumerate(names.items(), start=1):
            style = " reverse bold" if mode == current else ""
            parts.append(f"[@click=app.switch_mode('{mode}'){style}] {key} {name} [/]")
        super().__init__(Content.from_markup("".join(parts)))


class Trouble(Static):
    """What is wrong, and the key or command that helps. Not there while nothing is."""

    def __init__(self) -> None:
        super().__init__()
        self.display = False

    def show_error(self, error: Llm2LlmError) -> None:
        self.set_class(isinstance(error, NoHistoryError), "hint")
        self._say("No runs yet: n starts one." if isinstance(error, NoHistoryError) else str(error))

    def show_state(self, status: RunStatus, last_words: str) -> None:
        """A run that ended before it was through says why, and how it goes on."""
        self.set_class(status.state == "stopped", "hint")
        match status.state:
            case "interrupted":
                self._say(f"run {status.run_id}: its process is gone. {last_words}\nr continues it; nothing is lost.")
            case "failed":
                self._say(f"run {status.run_id} failed: {last_words}\nr continues it where it was.")
            case "stopped":
                self._say(f"{last_words}\nr continues it.")
            case _:
                self.display = False

    def _say(self, text: str) -> None:
        self.update(many_lines(text))
        self.display = True
