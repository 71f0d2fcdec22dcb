"""What all screens share: the bars around them, reading in threads, and steering the chosen run."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget

from ..errors import HistoryGoneError, Llm2LlmError, NoHistoryError, StoreError
from ..report.last_words import last_words
from ..report.status import RunStatus, run_statuses
from ..store.reader import STORE_NAME, open_reader, require_run
from .feed import PATIENCE_SECONDS
from .widgets.bars import Navigation, RunBar, Trouble
from .widgets.key_line import KeyLine

if TYPE_CHECKING:
    from .app import Llm2LlmApp

T = TypeVar("T")


class HistoryScreen(Screen[None]):
    """A screen that shows a part of the history.

    A subclass gives `compose_body` and `update_view`; the latter calls `read` for whatever it shows. It is called
    when the screen is shown, when another run is chosen and whenever the history has changed.
    """

    TITLE: ClassVar[str | None] = None
    MARKS: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Signs that stand after a verdict on it, with what each says; told by the help."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "steer('pause')", "Pause", show=False),
        Binding("r", "steer('resume')", "Resume", show=False),
        Binding("s", "steer('stop')", "Stop", show=False),
    ]

    class ReadDone(Message):
        """A read has ended: `show` puts its result on the screen, or `error` is why there is none."""

        def __init__(self, group: str, show: Callable[[], None], error: Llm2LlmError | None) -> None:
            super().__init__()
            self.group = group
            self.show = show
            self.error = error

    def __init__(self) -> None:
        super().__init__()
        self._wanted: dict[str, Callable[[sqlite3.Connection], Callable[[], None]]] = {}
        self._busy: set[str] = set()
        self._is_stale = False
        self._errors: dict[str, Llm2LlmError] = {}
        """Of the last read of each group about the chosen run, while it failed."""
        self._errors_of: int | None = None
        self._told: tuple[RunStatus, str] | None = None
        self._is_gone = False
        self._focused_before: Widget | None = None

    @property
    def llm2llm(self) -> Llm2LlmApp:
        """The app, by its own type."""
        return cast("Llm2LlmApp", self.app)

    @property
    def run_id(self) -> int | None:
        """The run that all screens are about; None while the store has none."""
        return self.llm2llm.run_id

    @property
    def is_reading(self) -> bool:
        """Whether something that was asked for isn't on the screen yet."""
        return bool(self._busy or self._wanted)

    def compose(self) -> ComposeResult:
        yield RunBar()
        yield Navigation(self.llm2llm.screen_names, self.llm2llm.current_mode)
        yield from self.compose_body()
        yield Trouble()
        yield KeyLine()

    def compose_body(self) -> Iterable[Widget]:
        """What is between the bars."""
        raise NotImplementedError

    def update_view(self) -> None:
        """Read, and show, what belongs on the screen now."""
        raise NotImplementedError

    def read(self, what: Callable[[sqlite3.Connection], T], show: Callable[[T], None], group: str = "view") -> None:
        """Call `what` in a thread with a read-only connection, then `show` with its result in the UI's thread.

        One read of a group is under way at a time; of those asked for meanwhile only the last is done after it.
        All that `what` reads is of one state of the store: no row that it was told of is gone when it asks for more.
        What `what` raises is shown below the screen; what isn't a StoreError or OSError is a defect, and logged.
        """
        self._wanted[group] = lambda connection: partial(show, what(connection))
        if group not in self._busy:
            self._begin(group)

    def history_changed(self) -> None:
        """The feed's word, or another run was chosen: read again now, or when the screen is shown."""
        if self.is_current:
            self.prepare()
        else:
            self._is_stale = True

    def prepare(self) -> None:
        """Read all that belongs on the screen, whether it is shown now or not."""
        self._is_stale = False
        chosen = self.run_id
        if chosen != self._errors_of:  # a page of the run before is not asked for again
            self._errors.clear()
            self._errors_of = chosen
        self.read(
            lambda connection: self._read_status(connection, chosen),
            lambda found: self._show_status(chosen, *found),
            group="status",
        )
        self.update_view()

    def on_mount(self) -> None:
        self.llm2llm.history.subscribe(self, lambda _: self.history_changed())
        self.history_changed()

    def on_screen_resume(self) -> None:
        if self._is_stale:
            self.history_changed()

    def on_history_screen_read_done(self, message: ReadDone) -> None:
        self._busy.discard(message.group)
        if message.group in self._wanted:
            self._begin(message.group)
        if message.error is None:
            self._errors.pop(message.group, None)
            message.show()
        else:
            self._errors[message.group] = message.error
        self._show_trouble()

    def action_steer(self, word: str) -> None:
        """Pause, resume or stop the chosen run; the run bar's state says what that means."""
        self.llm2llm.steer(word)

    def _begin(self, group: str) -> None:
        self._busy.add(group)
        self._work(group, self._wanted.pop(group))

    @work(thread=True, group="reads")
    def _work(self, group: str, what: Callable[[sqlite3.Connection], Callable[[], None]]) -> None:
        def nothing() -> None:
            """There is nothing to show."""

        show: Callable[[], None] = nothing
        trouble: Llm2LlmError | None = None
        try:
            with open_reader(self.llm2llm.workspace, PATIENCE_SECONDS) as connection:
                connection.execute("BEGIN")  # or a run might be deleted between two statements
                show = what(connection)
        except StoreError as error:
            trouble = (self._gone() if isinstance(error, NoHistoryError) else None) or error
        except OSError as error:  # a folder that was locked away, a share that is gone
            trouble = StoreError(f"{error.filename}: {error.strerror}")
        except Exception as error:  # noqa: BLE001 - a defect, which is told and logged
            trouble = self.llm2llm.defects.told(error)
        self.post_message(self.ReadDone(group, show, trouble))

    def _gone(self) -> HistoryGoneError | None:
        """A history that was shown and is no longer there is not one that is yet to begin."""
        path = self.llm2llm.workspace / STORE_NAME
        if not self.llm2llm.has_seen_history or path.exists():
            return None
        return HistoryGoneError(
            f"{path}: was deleted or moved while it was in use", "Put it back, and the history is shown again."
        )

    def _read_status(self, connection: sqlite3.Connection, chosen: int | None) -> tuple[RunStatus, str]:
        run_id = require_run(connection, chosen)
        (status,) = run_statuses(connection, self.llm2llm.workspace, run_id)
        return status, last_words(connection, self.llm2llm.workspace, status)

    def _show_status(self, chosen: int | None, status: RunStatus, words: str) -> None:
        if self.run_id not in (chosen, status.run_id):
            return  # another run was chosen since, or this one deleted; its own read is under way
        self.query_one(RunBar).status = status
        self._told = status, words
        self.llm2llm.run_seen(status)

    def _show_trouble(self) -> None:
        """What can't be read goes before what has become of the run."""
        error = next(iter(self._errors.values()), None)
        if isinstance(self._errors.get("status"), NoHistoryError | HistoryGoneError):
            self.query_one(RunBar).status = None
        if isinstance(self._errors.get("status"), HistoryGoneError):
            self.llm2llm.history_gone()
        self._show_body(is_gone=isinstance(error, HistoryGoneError))
        if error is not None:
            self.query_one(Trouble).show_error(error)
        elif self._told is not None:
            self.query_one(Trouble).show_state(*self._told)

    def _show_body(self, *, is_gone: bool) -> None:
        """Nothing of a history that is gone stays as if it were current; what had the focus gets it back."""
        if is_gone == self._is_gone:
            return
        self._is_gone = is_gone
        if is_gone:
            self._focused_before = self.focused
        children = list(self.children)
        first = children.index(self.query_one(Navigation)) + 1
        for widget in children[first : children.index(self.query_one(Trouble))]:
            widget.set_class(is_gone, "gone")
        if not is_gone and self._focused_before is not None:
            self.call_after_refresh(self.set_focus, self._focused_before)
