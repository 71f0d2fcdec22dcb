"""What the student gets wrong: which answers it gives instead, and how each example fared from student to student."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from ...records import Outcome, Split
from ...report.confusion import Confusion, Group, Pair, confusion, members
from ...report.histories import AnswerRecord, History, Order, answer_record, histories, ranked, splits_of
from ...report.plain import conclusion
from ...store.graded import asked_iterations
from ...store.reader import require_run
from ..screen import HistoryScreen
from ..text import one_line
from ..widgets.confusion_table import ConfusionTable
from ..widgets.outcomes import WORDS, story, strip
from ..widgets.paged_table import PAGE_ROWS, Page, PagedTable

_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]
_SPLIT_WORDS = {Split.TRAIN: "train seeds", Split.DEV: "dev rows", Split.TEST: "test rows"}


@dataclass(frozen=True, slots=True)
class _Question:
    """What the lists below the confusion depend on. `graded`: the iterations up to the one that is looked at."""

    run_id: int
    split: Split
    graded: tuple[int, ...]
    order: Order
    group: Group | None


@dataclass(frozen=True, slots=True)
class _Overview:
    """What the screen shows. `all_graded`: every graded iteration that the split was asked in; `confusion` is None
    while there is none.
    """

    question: _Question
    all_graded: tuple[int, ...]
    splits: tuple[Split, ...]
    confusion: Confusion | None
    ids: tuple[int, ...]
    """All examples of the list, in its order."""

    first_page: tuple[History, ...]
    """Read along with the rest, so that the screen is drawn once."""


class FailuresScreen(HistoryScreen):
    """Graded figures never change, so it reads again only when there is another graded iteration, or a wish."""

    TITLE = "Failures"
    HORIZONTAL_BREAKPOINTS = _BREAKPOINTS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left_square_bracket", "iteration(-1)", "Earlier", key_display="[", tooltip="The student before"),
        Binding("right_square_bracket", "iteration(1)", "Later", key_display="]", tooltip="The next student"),
        Binding("d", "next_split", "Split", tooltip="Seeds, dev or test rows"),
        Binding("o", "next_order", "Order", tooltip="Another order of the rows"),
        Binding("escape", "all_examples", "All", tooltip="All rows again, and not those of one mistake"),
        Binding("l", "lineage", "Lineage", tooltip="What was made of this example"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._seen: _Overview | None = None
        self._iteration: int | None = None
        """The one that a person asked for; None: always the newest."""
        self._split = Split.TRAIN
        self._order = Order.LOST
        self._group: Group | None = None
        self._record: AnswerRecord | None = None
        self._page: tuple[History, ...] = ()

    def compose_body(self) -> Iterable[Widget]:
        with Container(classes="body"):
            with Container(id="confusion"):
                yield Static(id="where", markup=False)
                yield ConfusionTable()
                yield Static(id="cell", markup=False)
            with VerticalScroll(id="answers"):
                yield Static(id="answer", markup=False)
            yield PagedTable("fared", "lost", "gold", "predicted", "question", id="examples", nothing="no examples")

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _: self._paint())

    # --- reading ---

    def update_view(self) -> None:
        chosen, wanted, seen = self.run_id, self._iteration, self._seen
        split, order, group = self._split, self._order, self._group

        def look(connection: sqlite3.Connection) -> _Overview:
            run_id = require_run(connection, chosen)
            is_another = seen is not None and seen.question.run_id != run_id
            shown = Split.TRAIN if is_another else split
            all_graded = tuple(asked_iterations(connection, run_id, shown))
            if is_another:  # what was wished for was about the run before
                question = _Question(run_id, shown, all_graded, order, None)
            else:
                graded = all_graded if wanted is None else tuple(one for one in all_graded if one <= wanted)
                question = _Question(run_id, shown, graded, order, group)
            if seen is not None and (seen.question, seen.all_graded) == (question, all_graded):
                return seen
            return _overview(connection, question, all_graded)

        self.read(look, self._show)

    def _show(self, overview: _Overview) -> None:
        if overview is self._seen:
            return
        is_other = self._seen is None or self._seen.question != overview.question
        if self._seen is not None and self._seen.question.run_id != overview.question.run_id:
            self._iteration, self._split, self._group = None, Split.TRAIN, None
        self._seen = overview
        with self.app.batch_update():
            self._paint_confusion()
            if is_other:
                self._page = overview.first_page
                self._paint_page(0)

    def _read_page(self, offset: int) -> None:
        overview = self._seen
        if overview is None:
            return
        ids, graded = overview.ids[offset : offset + PAGE_ROWS], overview.question.graded

        def show(page: list[History]) -> None:
            if overview is self._seen:
                self._page = tuple(page)
                self._paint_page(offset)

        self.read(lambda connection: histories(connection, ids, graded), show, group="page")

    def _paint(self) -> None:
        self._paint_confusion()
        self._paint_page(self.query_one(PagedTable).first_row)

    def _paint_confusion(self) -> None:
        overview = self._seen
        if overview is None:
            return
        if overview.confusion is not None:
            self.query_one(ConfusionTable).show(overview.confusion)
        self.query_one("#where", Static).update(one_line(_where(overview)), layout=False)

    def _paint_page(self, offset: int) -> None:
        if self._seen is None:
            return
        rows = [(str(history.example_id), self._cells(history)) for history in self._page]
        self.query_one(PagedTable).show_page(Page(offset, len(self._seen.ids), rows))

    def _cells(self, history: History) -> list[Text]:
        graded = self._seen.question.graded if self._seen else ()
        losses = history.losses()
        return [
            strip(self.app, history),
            Text(f"in {graded[losses[-1]]}" if losses else ""),
            one_line(conclusion(history.answer), 14),
            Text("…") if history.predicted_answer is None else one_line(history.predicted_answer, 14),
            one_line(history.question, 100),
        ]

    # --- what the cursors are on ---

    def on_confusion_table_group_seen(self, message: ConfusionTable.GroupSeen) -> None:
        overview, group = self._seen, message.group
        if overview is not None and overview.confusion is not None:
            self.query_one("#cell", Static).update(one_line(_about(overview.confusion, group)), layout=False)

    def on_confusion_table_group_chosen(self, message: ConfusionTable.GroupChosen) -> None:
        self._group = None if message.group == self._group else message.group
        self.update_view()

    def on_paged_table_page_wanted(self, message: PagedTable.PageWanted) -> None:
        self._read_page(message.offset)

    def on_paged_table_row_chosen(self, message: PagedTable.RowChosen) -> None:
        if self._seen is None or message.key is None:
            self._show_record(None)
            return
        example_id, graded = int(message.key), self._seen.question.graded
        self.read(lambda connection: answer_record(connection, example_id, graded), self._show_record, group="record")

    def on_paged_table_row_opened(self, message: PagedTable.RowOpened) -> None:
        if message.key is None:
            return
        if self._split is Split.TRAIN:
            self.llm2llm.open_candidates(int(message.key))
        else:
            self.llm2llm.say("only seeds of the training split are augmented")

    def _show_record(self, record: AnswerRecord | None) -> None:
        self._record = record
        self.query_one("#answer", Static).update(Text() if record is None else story(record))

    # --- keys ---

    def action_iteration(self, by: int) -> None:
        if self._seen is None or not self._seen.question.graded:
            return
        graded = self._seen.all_graded
        position = graded.index(self._seen.question.graded[-1]) + by
        if 0 <= position < len(graded):
            is_newest = position == len(graded) - 1
            self._iteration = None if is_newest else graded[position]
            self.update_view()

    def action_next_split(self) -> None:
        splits = self._seen.splits if self._seen else ()
        if len(splits) > 1:
            self._split = splits[(splits.index(self._split) + 1) % len(splits)]
            self._group = None
            self.update_view()

    def action_next_order(self) -> None:
        orders = list(Order)
        self._order = orders[(orders.index(self._order) + 1) % len(orders)]
        self.update_view()

    def action_all_examples(self) -> None:
        self._group = None
        self.update_view()

    def action_lineage(self) -> None:
        chosen = self.query_one(PagedTable).chosen
        if chosen is not None:
            self.llm2llm.open_lineage(int(chosen))


def _overview(connection: sqlite3.Connection, question: _Question, all_graded: tuple[int, ...]) -> _Overview:
    run_id, split, graded, group = question.run_id, question.split, question.graded, question.group
    splits = splits_of(connection, run_id)
    if not graded:
        return _Overview(question, all_graded, splits, None, (), ())
    ids = ranked(connection, run_id, split, graded, question.order)
    if group is not None:
        wanted = members(connection, run_id, graded[-1], split, group)
        ids = tuple(one for one in ids if one in wanted)
    page = tuple(histories(connection, ids[:PAGE_ROWS], graded))
    return _Overview(question, all_graded, splits, confusion(connection, run_id, graded[-1], split), ids, page)


def _where(overview: _Overview) -> str:
    question = overview.question
    if overview.confusion is None:
        return f"run {question.run_id}: nothing is graded yet; figures come when an iteration's grade stage is done"
    total = sum(overview.confusion.outcomes.values())
    n_wrong = total - overview.confusion.outcomes.get(Outcome.CORRECT, 0)
    newest = " (newest)" if question.graded == overview.all_graded else f" of {overview.all_graded[-1]}"
    parts = [
        f"iteration {question.graded[-1]}{newest}",
        f"{_SPLIT_WORDS[question.split]}: {n_wrong:,} of {total:,} wrong",
        question.order,
    ]
    if question.group is not None:
        parts.insert(2, f"only {_name(question.group)} (esc: all)")
    return " · ".join(parts)


def _about(found: Confusion, group: Group | None) -> str:
    if group is None:
        return ""
    if not isinstance(group, Pair):
        return f"{_name(group)}: {found.outcomes.get(group, 0):,}. Return lists only these"
    n = found.n_of(group.gold)
    share = f" of {n:,} ({found.pairs.get(group, 0) / n:.0%})" if n else ""
    return f"{_name(group)}: {found.pairs.get(group, 0):,}{share}. Return lists only these"


def _name(group: Group) -> str:
    if isinstance(group, Pair):
        return f"{group.gold} → {'nothing readable' if group.predicted is None else group.predicted}"
    return WORDS[group]
