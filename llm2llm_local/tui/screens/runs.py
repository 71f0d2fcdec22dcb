"""All runs of the store, and what can be done with them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import ClassVar

from rich.text import Text
from textual import on, work
from textual.binding import Binding, BindingType
from textual.widget import Widget

from ...launch import run_to_end
from ...report.overview import RunOverview, run_overviews
from ...report.status import age
from ..screen import HistoryScreen
from ..text import one_line
from ..widgets.bars import SIGNS
from ..widgets.paged_table import PAGE_ROWS, Page, PagedTable
from ..widgets.sparkline import sparkline
from .ask import AskScreen
from .confirm import ConfirmScreen
from .told import ToldScreen

_COLUMNS = ("run", "state", "recipe", "iteration", "accuracy", "", "age", "from")
_MOST_BLOCKS = 12


class RunsScreen(HistoryScreen):
    """The run under the cursor is the one that all other screens show."""

    TITLE = "Runs"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open", show=False),
        Binding("n", "new_run", "New run"),
        Binding("p", "steer('pause')", "Pause"),
        Binding("r", "steer('resume')", "Resume"),
        Binding("s", "steer('stop')", "Stop"),
        Binding("f", "fork", "Fork"),
        Binding("d", "delete", "Delete"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._runs: tuple[RunOverview, ...] = ()
        self._cursor_on: str | None = None
        """The key of the row on which the cursor was put, or seen, last."""
        self._at_work: list[int] = []

    def compose_body(self) -> Iterable[Widget]:
        yield PagedTable(*_COLUMNS, nothing="no runs yet: n starts one")

    @property
    def _table(self) -> PagedTable:
        return self.query_one(PagedTable)

    def update_view(self) -> None:
        """The chosen run stays under the cursor, on whatever page it is now."""
        workspace, chosen = self.llm2llm.workspace, self.run_id
        self.read(lambda connection: run_overviews(connection, workspace), partial(self._show, chosen))

    def _show(self, chosen_before: int | None, runs: tuple[RunOverview, ...]) -> None:
        """`chosen_before`: when the runs were to be read."""
        self._follow_cursor()
        numbers = [run.status.run_id for run in runs]
        if self.run_id is not None and self.run_id not in numbers:
            if self.run_id != chosen_before:
                return  # it is newer than what was read, and will be read
            self._leave(self.run_id, numbers)  # deleted, perhaps by another process
        self._runs = runs
        self._at_work = [run.status.run_id for run in runs if run.status.state in ("running", "starting")]
        row = numbers.index(self.run_id) if self.run_id in numbers else 0
        self._show_page(row // PAGE_ROWS * PAGE_ROWS, choose=str(numbers[row]) if numbers else None)

    def _show_page(self, offset: int, *, choose: str | None = None) -> None:
        now = self.llm2llm.clock()
        rows = [(str(run.status.run_id), _cells(run, now)) for run in self._runs[offset : offset + PAGE_ROWS]]
        self._table.show_page(Page(offset, len(self._runs), rows), choose=choose)
        self._follow_cursor()

    @on(PagedTable.PageWanted)
    def _turn_page(self, message: PagedTable.PageWanted) -> None:
        self._show_page(message.offset)

    @on(PagedTable.RowChosen)
    def _follow_cursor(self) -> None:
        """Choose the run that the cursor was moved to; where it wasn't moved, another screen may have chosen one.

        Not by the message's key: by the time it is handled the cursor may be on another row.
        """
        key = self._table.chosen
        if key != self._cursor_on:
            self._cursor_on = key
            if key is not None:
                self.llm2llm.choose_run(int(key))

    def _leave(self, run_id: int, numbers: Sequence[int]) -> None:
        """It was deleted: the next older run is chosen, as if the cursor stayed at its height."""
        if numbers:
            self.llm2llm.choose_run(max((number for number in numbers if number < run_id), default=min(numbers)))
        else:
            self.llm2llm.forget_run(run_id)

    @on(PagedTable.RowOpened)
    def action_open(self) -> None:
        """Return, which the table takes while it has the focus, or a click on the row under the cursor."""
        self.app.switch_mode("dashboard")

    def action_new_run(self) -> None:
        from .new_run import NewRunScreen

        self.app.push_screen(NewRunScreen(self.llm2llm.workspace), self._start)

    def action_fork(self) -> None:
        if self.run_id is not None:
            question = (
                f"Fork run {self.run_id}: a new run that takes over all stages whose conditions stay the same, and "
                "your decisions on candidates. The configuration file is read anew.\n"
                "Changed fields, such as teacher.temperature=0.7 loop.iterations=5 (return starts it):"
            )
            self.app.push_screen(AskScreen(question, "", _objection), partial(self._fork, self.run_id))

    def action_delete(self) -> None:
        status = self.llm2llm.status
        if status is None:
            return
        if status.pid is not None:
            self.llm2llm.say(f"run {status.run_id} is being worked on: stop it first (s)", is_error=True)
            return
        question = (
            f"Delete run {status.run_id} with all it has: its rows in the store, its adapters and logs in "
            f"runs/{status.run_id}?\nOther runs stay. This can't be undone."
        )
        self.app.push_screen(ConfirmScreen(question), partial(self._delete_if, status.run_id))

    def _start(self, arguments: list[str] | None) -> None:
        if arguments:
            self._launch("run", *arguments)

    def _fork(self, run_id: int, overrides: str | None) -> None:
        if overrides is not None:
            words = [word for override in shlex.split(overrides) for word in ("--set", override)]
            self._launch("fork", str(run_id), *words)

    def _launch(self, *arguments: str) -> None:
        """Start it; while another run is at work, only after a question."""

        def begin_if(agrees: bool | None) -> None:
            if agrees:
                self.llm2llm.begin(*arguments)

        if not self._at_work:
            begin_if(True)
            return
        question = (
            f"Run {', '.join(map(str, self._at_work))} is at work. Two runs share this machine and slow each other "
            "down far more than by half.\nStart another all the same?"
        )
        self.app.push_screen(ConfirmScreen(question), begin_if)

    def _delete_if(self, run_id: int, agrees: bool | None) -> None:
        if agrees:
            self._delete(run_id)

    @work(thread=True, group="delete")
    def _delete(self, run_id: int) -> None:
        done = run_to_end(self.llm2llm.workspace, "delete", str(run_id), "--yes")
        self.app.call_from_thread(self._deleted, run_id, done.exit_code, done.errors)

    def _deleted(self, run_id: int, code: int, errors: str) -> None:
        if code:
            self.app.push_screen(ToldScreen(f"Run {run_id} was not deleted:", errors))
        else:
            if run_id == self.run_id:
                self._leave(run_id, [run.status.run_id for run in self._runs if run.status.run_id != run_id])
            self.llm2llm.say(f"run {run_id} is deleted")


def _objection(overrides: str) -> str:
    try:
        shlex.split(overrides)
    except ValueError:
        return "a quote is never closed"
    return ""


def _cells(run: RunOverview, now: datetime) -> tuple[Text, ...]:
    status = run.status
    shares = [accuracy.share for _, accuracy in run.accuracy]
    figure = f"{run.split} {shares[-1]:.1%}" if shares else "–"
    iteration = "–" if status.iteration is None else f"{status.iteration} of {status.iterations}"
    origin = "" if run.forked_from is None else f"run {run.forked_from}"
    return (
        Text(str(status.run_id), justify="right"),
        Text(f"{SIGNS[status.state]} {status.state}"),
        one_line(status.recipe),
        Text(iteration),
        Text(sparkline(shares[-_MOST_BLOCKS:])),
        Text(figure),
        Text(age(status.created_at, now)),
        one_line(origin),
    )
