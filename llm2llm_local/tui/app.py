"""The terminal UI as a whole: its screens and their keys, the chosen run, and what a person asks of it.

Nothing here or in the screens reads the store in the UI's thread, and nothing changes a result: commands and
reviews are rows that the run process carries out, and whatever needs more is a command of its own, started as a
process that goes on when this one ends.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from textual import work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.driver import Driver
from textual.events import Event, InputEvent, Paste, ScreenSuspend
from textual.filter import LineFilter
from textual.message import Message
from textual.screen import Screen
from textual.signal import Signal

from ..errors import EXIT_DONE, EXIT_USER_INPUT, Llm2LlmError
from ..launch import Launched, launch
from ..report.status import RunStatus
from .defects import Defects
from .drawn_ahead import draw_ahead
from .feed import Feed
from .ink import Styled
from .text import editable_lines, one_line
from .themes import DARK, LIGHT, SIXTEEN_COLORS, THEMES

if TYPE_CHECKING:
    from .screen import HistoryScreen

ScreenT = TypeVar("ScreenT", bound=Screen[None])

_TOAST_SECONDS = 8.0
_WEB_FONT = re.compile(r"@font-face \{.*?\}", re.DOTALL)
_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_UNTIL_IDLE = 0.3
_STYLED = Styled()


_SCREENS = {
    "runs": ("Runs", "RunsScreen"),
    "dashboard": ("Run", "DashboardScreen"),
    "failures": ("Failures", "FailuresScreen"),
    "lineage": ("Lineage", "LineageScreen"),
    "review": ("Review", "ReviewScreen"),
    "sql": ("SQL", "SqlScreen"),
    "compare": ("Compare", "CompareScreen"),
    "logs": ("Logs", "LogsScreen"),
}
"""Mode, which is the name of its module in `screens`, too → name for people, and class."""


def _screen_class(mode: str) -> type[HistoryScreen]:
    """Imported only now: the first frame should not wait for screens that nobody looks at."""
    module = importlib.import_module(f".screens.{mode}", __package__)
    found: type[HistoryScreen] = getattr(module, _SCREENS[mode][1])
    return found


def _make_screen(mode: str) -> HistoryScreen:
    return _screen_class(mode)()


class Llm2LlmApp(App[Launched]):
    """Returns the process that it was to watch, when that ended before its run began."""

    CSS_PATH = "llm2llm.tcss"
    TITLE = "llm2llm"
    MODES: ClassVar[dict[str, str | Callable[[], Screen]]] = {mode: partial(_make_screen, mode) for mode in _SCREENS}  # type: ignore[type-arg]
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(key), f"switch_mode('{mode}')", name, show=False)
            for key, (mode, (name, _)) in enumerate(_SCREENS.items(), start=1)
        ),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("t", "next_theme", "Light/dark", show=False),
        Binding("ctrl+z", "suspend_process", "Suspend", show=False),
        Binding("q", "quit", "Quit"),
    ]

    class Changed(Message):
        """The feed saw a change."""

    def __init__(
        self,
        workspace: Path,
        *,
        run_id: int | None = None,
        launched: Launched | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`run_id`: the run to show, by default the newest. `launched`: a process to wait for, and then show."""
        super().__init__()
        self.workspace = workspace
        self.run_id = run_id
        self.clock = clock
        self.defects = Defects(workspace)
        self.screen_names = {mode: name for mode, (name, _) in _SCREENS.items()}
        self.history: Signal[None] = Signal(self, "history")
        """Published at every change of the history, and when another run is chosen."""
        self.status: RunStatus | None = None
        """The chosen run as it was seen last."""
        self.has_seen_history = False
        self._waits_for_input = False
        """Whether the screens that weren't looked at are made ready only when somebody uses the terminal."""
        self.launched_run_id: int | None = None
        """The run of the process that this was opened for, once that has one."""
        self._opens_with = launched
        self._feed = Feed(workspace, self._history_changed)
        for theme in THEMES:
            self.register_theme(theme)

    def on_mount(self) -> None:
        self.theme = SIXTEEN_COLORS if self.console.color_system == "standard" else DARK.name
        self._feed.start()
        self.switch_mode("dashboard" if self.run_id is not None or self._opens_with else "runs")
        if self._opens_with is not None:
            self._wait_for(self._opens_with, is_all=True)
        # After ctrl+z and fg, the terminal shows nothing of what was there.
        self.app_resume_signal.subscribe(self, lambda _: self.screen.refresh(layout=True))
        if self.is_headless:
            return
        if self._opens_with is not None:
            self._waits_for_input = True
        else:
            self.set_timer(_SECONDS_UNTIL_IDLE, self.prepare_screens)

    def on_unmount(self) -> None:
        self._feed.stop()

    @work(group="prepare")
    async def prepare_screens(self) -> None:
        """Make the screens that weren't looked at yet, one after another, so that going to one takes no time.

        Beside a run that was just started it waits for a key or the mouse: it takes one or two seconds of CPU, which
        would be the run's where nobody looks around.
        What is there stays, so it is taken out of what is looked through for garbage, little by little: to look
        through all of it took 0.1 to 0.2 s, in the middle of a key press.
        """
        gc.freeze()
        for mode in _SCREENS:
            await asyncio.sleep(_SECONDS_UNTIL_IDLE)
            await asyncio.to_thread(_screen_class, mode)
            await self._init_mode(mode)  # nothing public makes a mode's screen without going there
            if mode != self.current_mode:
                screen = self.get_screen_stack(mode)[0]
                self.stylesheet.update(screen)
                screen._css_update_count = self._css_update_count  # or going there would style all screens again
                screen.post_message(ScreenSuspend())
                history = cast("HistoryScreen", screen)
                history.prepare()
                await draw_ahead(history)
            gc.collect()
            gc.freeze()

    def _history_changed(self) -> None:
        self.post_message(self.Changed())

    def on_llm2llm_app_changed(self) -> None:
        self.history.publish(None)

    # --- the chosen run ---

    def choose_run(self, run_id: int) -> None:
        """Make all screens about this run."""
        if run_id != self.run_id:
            self.run_id = run_id
            self.status = None
            self.history.publish(None)

    def open_lineage(self, example_id: int) -> None:
        """Show where an example of the chosen run came from."""
        from .screens.lineage import LineageScreen

        screen = self._at("lineage", LineageScreen)
        screen.call_later(screen.show_example, example_id)

    def open_candidate_lineage(self, candidate_id: int) -> None:
        """Show where a candidate of the chosen run came from, and what became of it."""
        from .screens.lineage import LineageScreen

        screen = self._at("lineage", LineageScreen)
        screen.call_later(screen.show_candidate, candidate_id)

    def open_candidates(self, parent_example_id: int) -> None:
        """Show what the teacher wrote about a seed of the chosen run."""
        from .screens.review import ReviewScreen

        screen = self._at("review", ReviewScreen)
        screen.call_later(screen.show_candidates_of, parent_example_id)

    def _at(self, mode: str, kind: type[ScreenT]) -> ScreenT:
        """Go to a screen; what is called on it later finds it as it is when shown."""
        self.switch_mode(mode)
        screen = self.get_screen_stack(mode)[0]
        assert isinstance(screen, kind)
        return screen

    def forget_run(self, run_id: int) -> None:
        """It was deleted: from now on the newest one is shown."""
        if run_id == self.run_id:
            self.run_id = None
            self.status = None
            self.history.publish(None)

    def run_seen(self, status: RunStatus) -> None:
        """A screen has read where the chosen run stands."""
        self.status = status
        self.run_id = status.run_id
        self.has_seen_history = True

    def history_gone(self) -> None:
        """Nothing can be asked of the chosen run until it is seen again."""
        self.status = None

    def steer(self, word: str) -> None:
        """Pause, resume or stop the chosen run, and say what that will do."""
        status = self.status
        if status is None:
            self.say("no run is chosen")
            return
        match word, status.state:
            case "pause", "running" | "starting":
                self._command(status, word, "waits then with its models unloaded; r lets it go on")
            case "stop", "running" | "starting" | "paused":
                self._command(status, word, "ends then; r continues it later. Nothing is lost")
            case "resume", "paused":
                self._command(status, word, "goes on")
            case "resume", "running" | "starting":
                self._take_back(status)
            case "resume", "stopped" | "interrupted" | "failed":
                self.begin("resume", str(status.run_id))
            case _:
                self.say(f"run {status.run_id} is {status.state}: there is nothing to {word}")

    @work(thread=True, group="commands")
    def _command(self, status: RunStatus, word: str, effect: str) -> None:
        from ..store.wishes import add_command

        when = ""
        if status.state in ("running", "starting"):
            seconds = status.unit_seconds
            when = " after this unit of work" + ("" if seconds is None else f", about {max(1, round(seconds))} s")
        try:
            add_command(self.workspace, status.run_id, word)
        except Llm2LlmError as error:
            self.call_from_thread(self.say, str(error), is_error=True)
        else:
            self._history_changed()
            self.call_from_thread(self.say, f"run {status.run_id} will {word}{when}: it {effect}.")

    @work(thread=True, group="commands")
    def _take_back(self, status: RunStatus) -> None:
        """What was asked of a run that is at work, as long as it hasn't obeyed."""
        from ..store.wishes import withdraw_commands

        try:
            words = withdraw_commands(self.workspace, status.run_id)
        except Llm2LlmError as error:
            self.call_from_thread(self.say, str(error), is_error=True)
        else:
            self._history_changed()
            self.call_from_thread(
                self.say,
                f"{' and '.join(words)} taken back: run {status.run_id} goes on."
                if words
                else f"run {status.run_id} is {status.state}: there is nothing to resume",
            )

    # --- other commands of this program ---

    def begin(self, *arguments: str) -> None:
        """Start run, resume or fork as a process of its own and wait, on the screen, until it has taken up a run."""
        try:
            launched = launch(self.workspace, *arguments, "--headless")
        except OSError as error:
            self.say(f"{error.filename}: {error.strerror}", is_error=True)
        else:
            self._wait_for(launched, is_all=False)

    def _wait_for(self, launched: Launched, *, is_all: bool) -> None:
        """Say that a process is starting, then show its run.

        `is_all`: the app was opened for this process alone, and ends when there is no run to show.
        """
        from .screens.starting import StartingScreen

        def started(run_id: int | None) -> None:
            if run_id is not None:
                if is_all:
                    self.launched_run_id = run_id
                self.choose_run(run_id)
                self.switch_mode("dashboard")
                self._watch_refusal(launched, is_all)
            elif is_all and launched.exit_code() not in (None, EXIT_DONE):
                self.exit(launched)

        self.push_screen(StartingScreen(launched, gives_up_at_once=is_all), started)

    def _watch_refusal(self, launched: Launched, is_all: bool) -> None:
        """A process may yet find, with the models loaded, that its run can't be: the store then knows nothing of it."""

        def look() -> None:
            code = launched.exit_code()
            if code is None:
                return
            timer.stop()
            if code == EXIT_USER_INPUT and is_all:
                self.exit(launched)
            elif code == EXIT_USER_INPUT:
                from .screens.told import ToldScreen

                self.push_screen(ToldScreen("The run can't go on as it is:", launched.output()))

        timer = self.set_interval(_SECONDS_BETWEEN_LOOKS, look)

    # --- what concerns all screens ---

    def get_driver_class(self) -> type[Driver]:
        from .terminal_input import TerminalDriver

        return TerminalDriver

    async def on_event(self, event: Event) -> None:
        if self._waits_for_input and isinstance(event, InputEvent):
            self._waits_for_input = False
            self.prepare_screens()
        if isinstance(event, Paste):  # a field would send what it is given to the terminal
            event.text = editable_lines(event.text)
        await super().on_event(event)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """What all that is drawn goes through."""
        filters = super().get_line_filters()
        return [_STYLED, *filters] if self.no_color else filters

    def say(self, text: str, *, is_error: bool = False) -> None:
        """A note that goes away by itself."""
        self.notify(
            one_line(text).plain,
            severity="error" if is_error else "information",
            timeout=_TOAST_SECONDS,
            markup=False,
        )

    def action_help_quit(self) -> None:
        """Ctrl-C, by which many mean to stop a run."""
        self.say("q leaves, and runs go on. s stops the chosen run after its unit of work.")

    def export_screenshot(self, *, title: str | None = None, simplify: bool = False) -> str:
        """As Textual has it, without the fonts that a browser would fetch from the network."""
        return _WEB_FONT.sub("", super().export_screenshot(title=title, simplify=simplify))

    def deliver_screenshot(
        self, filename: str | None = None, path: str | None = None, time_format: str | None = None
    ) -> str | None:
        """Into the workspace: there need not be a folder of downloads. It may show texts of the data."""
        name = filename or f"llm2llm-{self.clock().astimezone():{time_format or '%Y-%m-%d-%H%M%S'}}.svg"
        self._write_screenshot((Path(path) if path else self.workspace) / name, self.export_screenshot())
        return None

    @work(thread=True, group="screenshots")
    def _write_screenshot(self, path: Path, svg: str) -> None:
        from .query_files import write_private

        try:
            write_private(path, svg)
        except OSError as error:
            self.call_from_thread(self.say, f"no screenshot: {path}: {error.strerror}", is_error=True)
        else:
            self.call_from_thread(self.say, f"the screenshot is {path}")

    def action_help(self) -> None:
        from .screens.help import HelpScreen

        self.push_screen(HelpScreen(self.screen))

    def action_next_theme(self) -> None:
        self.theme = LIGHT.name if self.current_theme.dark else DARK.name

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The command palette."""
        for mode, name in self.screen_names.items():
            yield SystemCommand(f"Go to {name}", f"The screen {name}", lambda mode=mode: self.switch_mode(mode))
        for word, effect in (
            ("pause", "Let the chosen run wait after its unit of work, its models unloaded"),
            ("resume", "Let the chosen run go on"),
            ("stop", "End the chosen run after its unit of work"),
        ):
            yield SystemCommand(f"{word.capitalize()} the run", effect, lambda word=word: self.steer(word))
        yield from super().get_system_commands(screen)
