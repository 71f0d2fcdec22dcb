"""A console for questions in SQL that no screen answers. It reads; it can't write, and it can't hold up a run."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widget import Widget
from textual.widgets import Static, TextArea

from ...errors import StoreError, UserInputError
from ...report.query import csv_text, json_text, tsv_text
from ...report.questions import Question
from ...report.relations import Relation, relations
from ...store.reader import QueryResult, run_query
from ..query_files import own_queries, query_file, write_private
from ..screen import HistoryScreen
from ..text import editable_lines, many_lines
from ..widgets.query_catalogue import QueryCatalogue
from ..widgets.result_table import ResultTable
from .ask import AskScreen
from .confirm import ConfirmScreen

_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]
_SECONDS_ALLOWED = 60.0
_SECONDS_BETWEEN_TICKS = 0.5
_MOST_CHARACTERS_OF_CLIPBOARD = 1_000_000
_MOST_VALUES_OF_CLIPBOARD = 100_000
"""More than most terminals take by OSC 52; what they don't take they drop without a word."""

_FIRST_QUERY = "SELECT * FROM accuracy_by_iteration"
_WRITERS = {".csv": csv_text, ".json": json_text}


@dataclass(frozen=True, slots=True)
class _Ran:
    """How a query ended: with a result or with what was wrong."""

    result: QueryResult | None
    trouble: str
    seconds: float


class SqlScreen(HistoryScreen):
    """The result stands until another query is run: it isn't read again when the history changes."""

    TITLE = "SQL"
    HORIZONTAL_BREAKPOINTS = _BREAKPOINTS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f5,ctrl+r,ctrl+enter", "run_query", "Run", key_display="F5", priority=True),
        Binding("escape", "leave", "Leave"),
        Binding("c", "copy_value", "Copy"),
        Binding("C", "copy_result", "Copy all", key_display="C"),
        Binding("e", "export", "Export"),
        Binding("ctrl+s", "save", "Save", key_display="^s"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._is_cancelled = threading.Event()
        self._started: float | None = None
        """When the query that is under way was started; None: there is none."""

    def compose_body(self) -> Iterable[Widget]:
        with Container(classes="body"):
            yield TextArea(_FIRST_QUERY, id="statement", soft_wrap=True)
            yield QueryCatalogue()
            yield Static(id="outcome", markup=False)
            yield ResultTable(id="result")

    def on_mount(self) -> None:
        self.set_interval(_SECONDS_BETWEEN_TICKS, self._tick)
        self.query_one("#outcome", Static).update("F5 or ctrl+r runs it; tab goes on to the catalogue and the result")

    def on_unmount(self) -> None:
        self._is_cancelled.set()  # the app waits for its threads

    def update_view(self) -> None:
        workspace = self.llm2llm.workspace
        self.read(lambda connection: (own_queries(workspace), relations(connection)), self._show_catalogue)

    def _show_catalogue(self, found: tuple[tuple[Question, ...], tuple[Relation, ...]]) -> None:
        self.query_one(QueryCatalogue).show(*found)

    # --- running ---

    def action_run_query(self) -> None:
        if self._started is not None:
            self.llm2llm.say("a query is under way: esc cancels it")
            return
        sql = self.query_one("#statement", TextArea).text
        self._is_cancelled.clear()
        self._started = monotonic()
        self._tick()

        def look(connection: sqlite3.Connection) -> _Ran:
            began = monotonic()
            result, trouble = None, ""
            try:
                result = run_query(connection, sql, _SECONDS_ALLOWED, self._is_cancelled.is_set)
            except StoreError as error:
                trouble = error.message
            return _Ran(result, trouble, monotonic() - began)

        self.read(look, self._show_result, group="query")

    def on_history_screen_read_done(self, message: HistoryScreen.ReadDone) -> None:
        if message.group == "query":  # with a result, or because there was no store to ask
            self._started = None
            self.query_one("#outcome", Static).update("")

    def _show_result(self, ran: _Ran) -> None:
        outcome = self.query_one("#outcome", Static)
        outcome.set_class(ran.result is None, "error")
        if ran.result is None:
            outcome.update(many_lines(ran.trouble))
            return
        n = len(ran.result.rows)
        outcome.update(f"{n:,} {'row' if n == 1 else 'rows'} · {ran.seconds * 1000:,.0f} ms")
        self.query_one(ResultTable).show(ran.result)

    def _tick(self) -> None:
        if self._started is not None:
            outcome = self.query_one("#outcome", Static)
            outcome.remove_class("error")
            outcome.update(f"running, {monotonic() - self._started:.0f} s; esc cancels it")

    def action_leave(self) -> None:
        """Cancel what is under way; else leave the editor, in which digits and letters are text."""
        if self._started is not None:
            self._is_cancelled.set()
        elif self.focused is self.query_one("#statement"):
            self.query_one("#result DataTable").focus()
        else:
            self.query_one("#statement").focus()

    # --- the catalogue ---

    def on_query_catalogue_query_taken(self, message: QueryCatalogue.QueryTaken) -> None:
        editor = self.query_one("#statement", TextArea)
        editor.replace(editable_lines(message.query.sql), (0, 0), editor.document.end)  # ctrl+z brings the other back
        editor.focus()

    def on_query_catalogue_name_taken(self, message: QueryCatalogue.NameTaken) -> None:
        self.query_one("#statement", TextArea).insert(message.name)

    def on_query_catalogue_query_unwanted(self, message: QueryCatalogue.QueryUnwanted) -> None:
        file = query_file(self.llm2llm.workspace, message.query.name)

        def answered(agrees: bool | None) -> None:
            if agrees:
                self._write(file, None, f"{message.query.name} is deleted")

        self.app.push_screen(ConfirmScreen(f"Delete the saved query {message.query.name}?"), answered)

    def action_save(self) -> None:
        workspace, sql = self.llm2llm.workspace, self.query_one("#statement", TextArea).text

        def objection(name: str) -> str:
            try:
                query_file(workspace, name.strip())
            except UserInputError as error:
                return str(error)
            return ""

        def named(name: str | None) -> None:
            if name is not None:
                self._write_if_agreed(query_file(workspace, name.strip()), lambda: sql, f"saved as {name.strip()}")

        self.app.push_screen(AskScreen("Save the query under which name?", "", objection), named)

    # --- taking the result away ---

    def action_copy_value(self) -> None:
        value = self.query_one(ResultTable).value
        if value is not None:
            self._copy(str(value))

    def action_copy_result(self) -> None:
        result = self.query_one(ResultTable).result
        if result is not None:
            is_small = len(result.rows) * len(result.columns) <= _MOST_VALUES_OF_CLIPBOARD
            self._copy(tsv_text(result) if is_small else None)

    def _copy(self, text: str | None) -> None:
        if text is None or len(text) > _MOST_CHARACTERS_OF_CLIPBOARD:
            self.llm2llm.say("too much for a terminal's clipboard: e writes it to a file", is_error=True)
        else:
            self.app.copy_to_clipboard(text)
            self.llm2llm.say(f"copied {len(text):,} characters, if this terminal allows it (OSC 52)")

    def action_export(self) -> None:
        result, workspace = self.query_one(ResultTable).result, self.llm2llm.workspace
        if result is None:
            self.llm2llm.say("there is no result yet")
            return

        def path_of(name: str) -> Path:
            return workspace / Path(name.strip()).expanduser()

        def objection(name: str) -> str:
            try:
                path = path_of(name)
            except RuntimeError as error:  # ~someone
                return str(error)
            if not name.isprintable() or path.suffix not in _WRITERS:
                return "The name decides the format: .csv or .json"
            try:
                path.exists()
                return "" if path.parent.is_dir() else f"{path.parent}: no such folder"
            except OSError as error:  # the name is too long, the folder is shut
                return str(error.strerror)

        def named(name: str | None) -> None:
            if name is not None:
                path = path_of(name)
                self._write_if_agreed(path, partial(_WRITERS[path.suffix], result), f"written to {path}")

        proposal = str(workspace.resolve() / f"query-{self.llm2llm.clock():%Y%m%d-%H%M%S}.csv")
        self.app.push_screen(AskScreen("Write the result to which file? (.csv or .json)", proposal, objection), named)

    def _write_if_agreed(self, path: Path, text: Callable[[], str], said: str) -> None:
        def answered(agrees: bool | None) -> None:
            if agrees:
                self._write(path, text, said)

        try:
            is_there = path.exists()
        except OSError as error:  # its folder was shut meanwhile
            self.llm2llm.say(f"{path}: {error.strerror}", is_error=True)
            return
        if is_there:
            self.app.push_screen(ConfirmScreen(f"{path} exists. Replace it?"), answered)
        else:
            self._write(path, text, said)

    @work(thread=True, group="files")
    def _write(self, path: Path, text: Callable[[], str] | None, said: str) -> None:
        """`text`: None to delete the file."""
        try:
            if text is None:
                path.unlink(missing_ok=True)
            else:
                write_private(path, text())
        except OSError as error:
            self.app.call_from_thread(self.llm2llm.say, f"{path}: {error.strerror}", is_error=True)
        else:
            self.app.call_from_thread(self.llm2llm.say, said)
            self.app.call_from_thread(self.update_view)
