"""A new run: choose a configuration, read what `llm2llm doctor` says of it, start."""

from __future__ import annotations

import shlex
import threading
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from ...errors import EXIT_DONE
from ...launch import Finished, run_to_end
from ..text import many_lines, one_line
from ..widgets.key_line import KeyLine

_UNFIT = "It can't run like this: see what has an error."


class NewRunScreen(ModalScreen[list[str] | None]):
    """Ends with the arguments of `llm2llm run`, or None.

    Only configurations beside the store are offered: one elsewhere has its store elsewhere.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f5", "check", "Check", key_display="F5"),
        Binding("f9", "start", "Start", key_display="F9"),
        Binding("escape", "dismiss", "Close"),
    ]

    def __init__(self, workspace: Path) -> None:
        super().__init__()
        self._workspace = workspace
        self._files = sorted(workspace.glob("*.toml"), key=lambda path: (path.name != "llm2llm.toml", path.name))
        self._is_left = threading.Event()
        self._checked_last: list[str] | None = None
        """The arguments that were checked, as long as nothing else was chosen since."""
        self._is_sound = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog tall"):
            yield Static("New run: a configuration", markup=False, classes="heading")
            yield OptionList(*self._configurations(), id="configurations", markup=False)
            yield Input(placeholder="changed fields, such as loop.iterations=5 student.epochs=3", id="overrides")
            yield Static("", id="state", classes="muted", markup=False)
            with VerticalScroll(id="findings"):
                yield Static("", markup=False)
        yield KeyLine()

    def on_mount(self) -> None:
        self._say("Return or F5 checks it on this machine; nothing is started yet.")

    def on_unmount(self) -> None:
        self._is_left.set()  # the app waits for its threads

    def _configurations(self) -> list[Option]:
        if not self._files:
            nothing = f"no .toml file in {self._workspace}: llm2llm init FOLDER writes one"
            return [Option(one_line(nothing), disabled=True)]
        return [Option(one_line(path.name)) for path in self._files]

    @on(OptionList.OptionHighlighted)
    @on(Input.Changed)
    def _forget(self) -> None:
        self._checked_last = None

    @on(OptionList.OptionSelected)
    @on(Input.Submitted)
    def action_check(self) -> None:
        arguments = self._arguments()
        if arguments is not None:
            self._say("Checking …")
            self._check(arguments)

    def action_start(self) -> None:
        arguments = self._arguments()
        if arguments is None:
            return
        if arguments != self._checked_last:
            self._say("Check it first: F5")
        elif self._is_sound:
            self.dismiss(arguments)
        else:
            self._say(_UNFIT)

    def _arguments(self) -> list[str] | None:
        """Of `run` and `doctor`: the configuration's name and the changed fields."""
        chosen = self.query_one(OptionList).highlighted
        if chosen is None or not self._files:
            return None
        try:
            overrides = shlex.split(self.query_one(Input).value)
        except ValueError:
            self._say("A quote is never closed.")
            self._show_findings("")
            return None
        return [self._files[chosen].name, *(word for override in overrides for word in ("--set", override))]

    @work(thread=True, exclusive=True, group="doctor")
    def _check(self, arguments: list[str]) -> None:
        found = run_to_end(self._workspace, "doctor", *arguments, is_unwanted=self._is_left.is_set)
        self.app.call_from_thread(self._checked, arguments, found)

    def _checked(self, arguments: list[str], found: Finished) -> None:
        if not self.is_attached:
            return
        self._show_findings(found.output + found.errors)
        if arguments != self._arguments():
            self._say("Something else is chosen now: F5 checks it.")
            return
        self._checked_last, self._is_sound = arguments, found.exit_code == EXIT_DONE
        self._say("F9 starts it. It goes on when you leave the terminal UI." if self._is_sound else _UNFIT)

    def _show_findings(self, text: str) -> None:
        self.query_one("#findings Static", Static).update(many_lines(text))

    def _say(self, text: str) -> None:
        self.query_one("#state", Static).update(many_lines(text))
