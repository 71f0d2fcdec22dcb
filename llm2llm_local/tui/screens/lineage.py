"""From a seed to everything that came of it, and back from an example or a candidate."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.widget import Widget
from textual.widgets import ContentSwitcher, DataTable, Input, Tree

from ...errors import StoreError
from ...report.histories import History, histories
from ...report.lineage_texts import Texts, texts_of_step
from ...report.lineage_tree import (
    Branch,
    Node,
    Step,
    branches,
    children,
    path_to_candidate,
    path_to_example,
    seed_ids,
)
from ...report.plain import conclusion
from ...store.graded import graded_iterations
from ...store.reader import require_run
from ..screen import HistoryScreen
from ..text import one_line
from ..widgets.full_text import FullText
from ..widgets.lineage_tree import LineageTree
from ..widgets.outcomes import strip
from ..widgets.paged_table import PAGE_ROWS, Page, PagedTable

_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]
_MOST_DIGITS = 18
"""Of an id; SQLite's integers have 19."""

_QUESTION_CELLS = 200
_ANSWER_CELLS = 16

Path = Callable[[sqlite3.Connection, int, int], list[Step]]


@dataclass(frozen=True, slots=True)
class _Seeds:
    """A page of the seeds."""

    run_id: int
    offset: int
    total: int
    seeds: list[History]


class LineageScreen(HistoryScreen):
    """A list of the seeds, and the tree of one of them. Nothing of a tree is read before it is opened."""

    TITLE = "Lineage"
    HORIZONTAL_BREAKPOINTS = _BREAKPOINTS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("g", "jump", "Go to id", tooltip="The example of a number"),
        Binding("slash", "search", "Find", key_display="/", tooltip="Find an example by its words"),
        Binding("escape", "back", "Seeds", tooltip="Back to the list of seeds"),
        Binding("c", "candidates", "Candidates", tooltip="The candidates of this seed, in the review"),
        Binding("j", "move(1)", "Next", show=False),
        Binding("k", "move(-1)", "Previous", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._seeds: _Seeds | None = None
        self._offset = 0

    def compose_body(self) -> Iterable[Widget]:
        yield Input(placeholder="id of an example, or c and that of a candidate (c12)", compact=True, id="jump")
        with ContentSwitcher(initial="seeds", classes="body"):
            with Vertical(id="seeds"):
                yield Input(placeholder="words in the seed's question", compact=True, id="find")
                yield PagedTable("id", "fared", "answer", "question", nothing="no such seeds")
            with Container(id="line", classes="split"):
                yield LineageTree()
                yield FullText(classes="beside")

    def on_mount(self) -> None:
        for field in self.query(Input):
            field.display = False
        self.llm2llm.theme_changed_signal.subscribe(self, lambda _: self._repaint())
        self.query_one(DataTable).focus()

    # --- the seeds ---

    def update_view(self) -> None:
        chosen, offset, search = self.run_id, self._offset, self.query_one("#find", Input).value

        def look(connection: sqlite3.Connection) -> _Seeds:
            run_id = require_run(connection, chosen)
            ids = seed_ids(connection, run_id, search)
            start = offset if offset < len(ids) else 0
            page = histories(connection, ids[start : start + PAGE_ROWS], graded_iterations(connection, run_id))
            return _Seeds(run_id, start, len(ids), page)

        self.read(look, self._show_seeds)
        self._read_open()

    def on_paged_table_page_wanted(self, message: PagedTable.PageWanted) -> None:
        self._offset = message.offset
        self.update_view()

    def on_paged_table_row_opened(self, message: PagedTable.RowOpened) -> None:
        if message.key is not None:
            self.show_example(int(message.key))

    def on_input_changed(self, message: Input.Changed) -> None:
        if message.input.id == "find":
            self._offset = 0
            self.update_view()

    def _show_seeds(self, seeds: _Seeds) -> None:
        if self._seeds is not None and self._seeds.run_id != seeds.run_id:
            self._show_list()
        self._seeds = seeds
        rows = [
            (
                str(seed.example_id),
                [
                    Text(str(seed.example_id), justify="right"),
                    strip(self.app, seed),
                    one_line(conclusion(seed.answer), _ANSWER_CELLS),
                    one_line(seed.question, _QUESTION_CELLS),
                ],
            )
            for seed in seeds.seeds
        ]
        self.query_one(PagedTable).show_page(Page(seeds.offset, seeds.total, rows))

    # --- the tree ---

    def show_example(self, example_id: int) -> None:
        """Open the tree of its seed, with the way to it, if it is of the chosen run."""
        self._open(path_to_example, example_id)

    def show_candidate(self, candidate_id: int) -> None:
        """Open the tree of its seed, with the way to it, if it is of the chosen run."""
        self._open(path_to_candidate, candidate_id)

    def _open(self, path: Path, id: int) -> None:
        chosen = self.run_id

        def look(connection: sqlite3.Connection) -> list[Branch] | StoreError:
            run_id = require_run(connection, chosen)
            try:
                return branches(connection, path(connection, run_id, id))
            except StoreError as error:
                return error

        self.read(look, lambda found: self._show_tree(chosen, found), group="tree")

    def _show_tree(self, chosen: int | None, found: list[Branch] | StoreError) -> None:
        if self.run_id != chosen:
            return  # another run was chosen while this one's tree was read
        if isinstance(found, StoreError):
            self.llm2llm.say(str(found), is_error=True)
            return
        self.query_one(ContentSwitcher).current = "line"
        self._tree.show_path(found)
        self._tree.focus()
        if self._tree.chosen is not None:  # the cursor may be on the line where it was, and says nothing then
            self._read_texts(self._tree.chosen)

    @property
    def _tree(self) -> LineageTree:
        return self.query_one(LineageTree)

    def on_tree_node_expanded(self, message: Tree.NodeExpanded[Node]) -> None:
        node = message.node.data
        if node is None or self._tree.is_known(node.step):
            return
        step = node.step

        def show(found: tuple[Node, ...]) -> None:
            self._tree.show_children(step, found)
            self._tree.reveal(step)

        self.read(lambda connection: children(connection, step), show, group=f"children of {step.kind} {step.id}")

    def on_tree_node_highlighted(self, message: Tree.NodeHighlighted[Node]) -> None:
        if message.node.data is not None:
            self._read_texts(message.node.data)

    def _read_texts(self, node: Node) -> None:
        self.read(
            lambda connection: texts_of_step(connection, node.step),
            lambda texts: self._show_texts(node, texts),
            group="texts",
        )

    def _read_open(self) -> None:
        """What is new below the open nodes."""
        steps = self._tree.open_steps

        def look(connection: sqlite3.Connection) -> list[tuple[Step, tuple[Node, ...]]]:
            return [(step, children(connection, step)) for step in steps]

        def show(found: list[tuple[Step, tuple[Node, ...]]]) -> None:
            for step, nodes in found:
                self._tree.show_children(step, nodes)

        if steps:
            self.read(look, show, group="open")

    def _show_texts(self, node: Node, texts: Texts) -> None:
        self.query_one(FullText).show(f"{node.step.kind} {node.step.id}", texts)

    # --- moving about ---

    def on_input_submitted(self, message: Input.Submitted) -> None:
        if message.input.id == "find":
            self._show_list()
            return
        text = message.value.strip().lower()
        number = text.removeprefix("c").strip()
        if not number.isdecimal() or len(number) > _MOST_DIGITS:
            self.llm2llm.say("that is not an id: a number, or c and a number", is_error=True)
            return
        self._leave_jump()
        if text.startswith("c"):
            self.show_candidate(int(number))
        else:
            self.show_example(int(number))

    def action_jump(self) -> None:
        field = self.query_one("#jump", Input)
        field.clear()
        field.display = True
        field.focus()

    def action_search(self) -> None:
        self._show_list()
        field = self.query_one("#find", Input)
        field.display = True
        field.focus()

    def action_back(self) -> None:
        """Out of the field, then out of the text, then out of the tree."""
        if self.query_one("#jump").has_focus:
            self._leave_jump()
        elif self.query_one(FullText).has_focus:
            self._tree.focus()
        else:
            self._show_list()

    def action_candidates(self) -> None:
        """What the teacher wrote about the seed, to decide on."""
        node = self._tree.root.data if self._is_at_tree else None
        key = self.query_one(PagedTable).chosen
        if node is not None:
            self.llm2llm.open_candidates(node.step.id)
        elif key is not None and not self._is_at_tree:
            self.llm2llm.open_candidates(int(key))

    def action_move(self, by: int) -> None:
        if not self._is_at_tree:
            self.query_one(PagedTable).move(1 if by > 0 else -1)

    @property
    def _is_at_tree(self) -> bool:
        return self.query_one(ContentSwitcher).current == "line"

    def _leave_jump(self) -> None:
        self.query_one("#jump").display = False
        (self._tree if self._is_at_tree else self.query_one(DataTable)).focus()

    def _show_list(self) -> None:
        field = self.query_one("#find", Input)
        field.display = bool(field.value)
        self.query_one(ContentSwitcher).current = "seeds"
        self.query_one(DataTable).focus()

    def _repaint(self) -> None:
        self._tree.repaint()
        if self._seeds is not None:
            self._show_seeds(self._seeds)
