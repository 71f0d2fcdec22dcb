"""Look through a run's candidates and decide on them; those that a person is asked about come first."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widget import Widget
from textual.widgets import Input, Static

from ...report.candidate import NextTraining, WholeCandidate, labels_of, next_training, whole_candidate
from ...report.candidates import (
    CandidateFilter,
    CandidateLine,
    FilterCounts,
    PersonDecision,
    candidate_lines,
    candidate_order,
    filter_counts,
)
from ...report.plain import conclusion
from ...store.reader import require_run
from ...store.wishes import add_review
from ..candidate_text import effect_of, hindrance, sections_of, texts_of, verdict_of
from ..decisions import Decisions, Made
from ..screen import HistoryScreen
from ..text import many_lines, one_line
from ..verdicts import VERDICT_MARKS
from ..widgets.candidate_editor import CandidateEditor
from ..widgets.candidate_filters import CandidateFilters
from ..widgets.full_text import FullText
from ..widgets.paged_table import PAGE_ROWS, Page, PagedTable

_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]
_COLUMNS = ("id", "it", "verdict", "answer", "question")
_QUESTION_CELLS = 200
_ANSWER_CELLS = 16


@dataclass(frozen=True, slots=True)
class _View:
    """What was read; `found`: decisions that are in it."""

    run_id: int
    labels: tuple[str, ...]
    training: NextTraining
    counts: FilterCounts
    order: list[int]
    offset: int
    lines: list[CandidateLine]
    found: frozenset[Made]


class ReviewScreen(HistoryScreen):
    """Decisions are shown at once and written one after the other in a thread."""

    TITLE = "Candidates and review"
    MARKS = VERDICT_MARKS
    HORIZONTAL_BREAKPOINTS = _BREAKPOINTS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "decide('accept')", "Accept"),
        Binding("x", "decide('reject')", "Reject"),
        Binding("e", "edit", "Edit", tooltip="Change its words, and accept it so"),
        Binding("u", "undo", "Undo", tooltip="Take the last decision back"),
        Binding("w", "withdraw", "Withdraw the decision on this one", show=False),
        Binding("slash", "search", "Find", key_display="/", tooltip="Find candidates by their words"),
        Binding("f", "filter", "Filter", tooltip="By verdict, check, iteration or answer"),
        Binding("c", "clear", "Clear the filters", show=False),
        Binding("l", "lineage", "Origin", tooltip="What this candidate was made of"),
        Binding("j", "move(1)", "Next", show=False),
        Binding("k", "move(-1)", "Previous", show=False),
        Binding("escape", "to_table", "Back to the table", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._view: _View | None = None
        self._whole: WholeCandidate | None = None
        self._editing: CandidateLine | None = None
        self._shown: tuple[str, Page] | None = None
        self._offset = 0
        self._going_to: int | None = None
        self._held: set[int] = set()
        self._decisions = Decisions()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reviews")

    def compose_body(self) -> Iterable[Widget]:
        yield CandidateFilters()
        with Container(classes="body split"):
            yield PagedTable(*_COLUMNS, id="candidates", nothing="no candidates like this")
            with Container(classes="beside"):
                yield Static(id="effect", markup=False)
                yield FullText(id="whole")
                yield CandidateEditor()

    def on_mount(self) -> None:
        self.query_one(CandidateEditor).display = False
        self.llm2llm.theme_changed_signal.subscribe(self, lambda _: self._show_lines())
        self._table.query_one("DataTable").focus()

    @property
    def _table(self) -> PagedTable:
        return self.query_one("#candidates", PagedTable)

    # --- reading ---

    def update_view(self) -> None:
        """Page and cursor stay."""
        chosen, wanted, offset = self.run_id, self.query_one(CandidateFilters).wanted, self._offset
        held, found = frozenset(self._held), self._decisions.read_begins()

        def look(connection: sqlite3.Connection) -> _View:
            return _look(connection, require_run(connection, chosen), wanted, held, offset, found)

        self.read(look, self._show)

    def show_candidates_of(self, parent_example_id: int) -> None:
        """Only what the teacher wrote about this example."""
        self.query_one(CandidateFilters).clear(parent_example_id)

    def on_paged_table_page_wanted(self, message: PagedTable.PageWanted) -> None:
        self._turn_to(message.offset)

    def on_candidate_filters_changed(self, message: CandidateFilters.Changed) -> None:
        self._held.clear()
        self._turn_to(0)

    def _turn_to(self, offset: int) -> None:
        self._offset = offset
        self.update_view()

    def _show(self, view: _View) -> None:
        before, self._view = self._view, view
        if before is not None and before.run_id != view.run_id:
            self._forget_run()
        self._decisions.read_done(view.found)
        self.query_one(CandidateFilters).show_counts(view.counts)
        if before is None or before.training != view.training:
            self.query_one("#effect", Static).update(many_lines(effect_of(view.training)))
        self._show_lines(self._going_to)
        self._read_whole()
        if self._table.chosen == str(self._going_to):
            self._going_to = None

    def _forget_run(self) -> None:
        """Another run is shown: what was decided here is no longer undone by a key."""
        self._decisions = Decisions()
        self._held.clear()

    def _show_lines(self, choose: int | None = None) -> None:
        view = self._view
        if view is None:
            return
        page = Page(view.offset, len(view.order), [self._row(self._decisions.shown(line)) for line in view.lines])
        shown = (self.app.theme, page)
        if choose is not None or shown != self._shown:  # drawing a table anew costs more than reading it
            self._shown = shown
            self._table.show_page(page, choose=None if choose is None else str(choose))

    def _row(self, line: CandidateLine) -> tuple[str, list[Text]]:
        question, answer = texts_of(line)
        cells = [
            Text(str(line.id), justify="right"),
            Text(str(line.iteration), justify="right"),
            verdict_of(self.app, line),
            one_line("–" if answer is None else conclusion(answer), _ANSWER_CELLS),
            Text("can't be read", style="dim") if question is None else one_line(question, _QUESTION_CELLS),
        ]
        return str(line.id), cells

    @property
    def _chosen(self) -> CandidateLine | None:
        """The candidate under the cursor, with what was just decided."""
        key = self._table.chosen
        lines = self._view.lines if self._view is not None else []
        line = next((line for line in lines if str(line.id) == key), None)
        return None if line is None else self._decisions.shown(line)

    def on_paged_table_row_chosen(self, message: PagedTable.RowChosen) -> None:
        self._show_whole()
        self._read_whole()

    def _read_whole(self) -> None:
        line = self._chosen
        if line is not None:
            candidate_id = line.id
            self.read(lambda connection: whole_candidate(connection, candidate_id), self._whole_read, group="whole")

    def _whole_read(self, whole: WholeCandidate) -> None:
        self._whole = whole
        self._show_whole()

    def _show_whole(self) -> None:
        line, whole = self._chosen, self._whole
        pane = self.query_one("#whole", FullText)
        if line is None:
            pane.show("", [])
        elif whole is not None and whole.line.id == line.id:
            pane.show(str(line.id), sections_of(self.app, whole, line))

    # --- deciding ---

    def action_decide(self, word: str) -> None:
        line = self._chosen
        if line is None or self._editing is not None:
            return
        person = line.person
        if person is not None and person.decision == word and person.refused_reason is None:
            self.action_move(1)
        elif word == "reject":
            self._decide(line, PersonDecision(word))
        elif person is not None and person.decision == word:
            self._accept(line, person.question, person.answer)
        else:
            self._accept(line, None, None)

    def action_edit(self) -> None:
        line, view, whole = self._chosen, self._view, self._whole
        if line is None or view is None or whole is None or whole.line.id != line.id or self._editing is not None:
            return
        self._editing = line
        question, answer = texts_of(line)
        self._show_editor(True)
        self.query_one(CandidateEditor).edit(
            f"candidate {line.id}", question, answer, view.labels, suggested_answer=whole.seed_answer
        )

    def on_candidate_editor_saved(self, message: CandidateEditor.Saved) -> None:
        line = self._editing
        self._leave_editor()
        if line is not None:
            before = line.person or PersonDecision("accept")
            question = before.question if message.question is None else message.question
            answer = before.answer if message.answer is None else message.answer
            self._accept(line, question, answer)

    def on_candidate_editor_left(self, message: CandidateEditor.Left) -> None:
        self._leave_editor()

    def action_withdraw(self) -> None:
        line = self._chosen
        if line is not None and line.person is not None and self._editing is None:
            self._decide(line, None)

    def action_undo(self) -> None:
        if self._editing is not None:
            return
        made = self._decisions.undo()
        if made is None:
            self.action_withdraw()
            return
        self._write(made)
        self._go_to(made.candidate_id)
        self.llm2llm.say(f"undone: the last decision on candidate {made.candidate_id}")

    def _accept(self, line: CandidateLine, question: str | None, answer: str | None) -> None:
        after = PersonDecision("accept", question, answer)
        hinders = hindrance(replace(line, person=after))
        if hinders is None:
            self._decide(line, after)
        else:
            self.llm2llm.say(f"candidate {line.id} can't be accepted like this: {hinders}", is_error=True)

    def _decide(self, line: CandidateLine, after: PersonDecision | None) -> None:
        if line.waits:
            self._held.add(line.id)
        self._write(self._decisions.make(line, after))
        self._show_lines()
        if after is not None:
            self.action_move(1)

    def _go_to(self, candidate_id: int) -> None:
        """Put the cursor on a candidate, on whatever page it is."""
        view = self._view
        if view is None or candidate_id not in view.order:
            self._show_lines()
        elif any(line.id == candidate_id for line in view.lines):
            self._show_lines(candidate_id)
        else:
            self._going_to = candidate_id
            self._turn_to(view.order.index(candidate_id) // PAGE_ROWS * PAGE_ROWS)

    def _write(self, made: Made) -> None:
        """In the order of deciding; what is still to be written when the app is left gets written then."""
        assert self._view is not None
        writing = self._writer.submit(
            add_review,
            self.llm2llm.workspace,
            self._view.run_id,
            made.candidate_id,
            made.decision,
            made.question,
            made.answer,
        )
        writing.add_done_callback(lambda done: self.call_later(self._wrote, made, done))

    def _wrote(self, made: Made, done: Future[int]) -> None:
        error = done.exception()
        if error is None:
            self._decisions.write_done(made)
        else:
            self._decisions.write_failed(made)
            self._show_lines()
            self.llm2llm.say(f"the decision on candidate {made.candidate_id} was not kept: {error}", is_error=True)

    # --- moving about ---

    def action_move(self, by: Literal[1, -1]) -> None:
        self._table.move(by)

    def action_search(self) -> None:
        self.query_one(CandidateFilters).search()

    def on_input_submitted(self, message: Input.Submitted) -> None:
        self.action_to_table()

    def action_filter(self) -> None:
        self.query_one("#iteration").focus()

    def action_clear(self) -> None:
        self.query_one(CandidateFilters).clear()

    def action_lineage(self) -> None:
        line = self._chosen
        if line is not None:
            self.llm2llm.open_candidate_lineage(line.id)

    def action_to_table(self) -> None:
        self._table.query_one("DataTable").focus()

    def _leave_editor(self) -> None:
        self._editing = None
        self._show_editor(False)
        self.action_to_table()

    def _show_editor(self, is_shown: bool) -> None:
        self.query_one(CandidateEditor).display = is_shown
        self.query_one("#whole").display = not is_shown


def _look(
    connection: sqlite3.Connection,
    run_id: int,
    wanted: CandidateFilter,
    held: frozenset[int],
    offset: int,
    found: frozenset[Made],
) -> _View:
    order = candidate_order(connection, run_id, wanted, held)
    if offset >= len(order):
        offset = 0
    return _View(
        run_id,
        labels_of(connection, run_id),
        next_training(connection, run_id),
        filter_counts(connection, run_id),
        order,
        offset,
        candidate_lines(connection, order[offset : offset + PAGE_ROWS]),
        found,
    )
