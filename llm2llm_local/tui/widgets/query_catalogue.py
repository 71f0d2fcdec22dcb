"""What there is to ask and to ask about: saved queries, tables, views and their columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Tree

from ...report.questions import QUESTIONS, Question
from ...report.relations import Relation
from ..text import one_line

_Entry = Question | str | None
"""What return gives on a node: a query, a name to insert, or nothing of the tree's own headings."""


class QueryCatalogue(Tree[_Entry]):
    """Return on a query takes it up, on a table, a view or a column inserts its name."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("delete", "delete", "Delete")]

    class QueryTaken(Message):
        """A saved query should be put into the editor."""

        def __init__(self, query: Question) -> None:
            super().__init__()
            self.query = query

    class QueryUnwanted(QueryTaken):
        """A person's own query should be deleted."""

    class NameTaken(Message):
        """A name should be inserted."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self) -> None:
        super().__init__("")
        self.show_root = False
        self.guide_depth = 2
        self._shown: tuple[Sequence[Question], Sequence[Relation]] | None = None

    def show(self, own: Sequence[Question], relations: Sequence[Relation]) -> None:
        """Replace what is shown, if it is something else."""
        if self._shown == (own, relations):
            return
        self._shown = (own, relations)
        is_open = {str(node.label): node.is_expanded for node in self.root.children}
        self.clear()
        parts: tuple[tuple[str, Sequence[Question]], ...] = (("own queries", own), ("questions", QUESTIONS))
        for heading, queries in parts:
            if queries:
                branch = self.root.add(Text(heading, style="bold"), expand=is_open.get(heading, True))
                for query in queries:
                    branch.add_leaf(one_line(query.name), query)
        for kind, heading in (("table", "tables"), ("view", "views")):
            branch = self.root.add(Text(heading, style="bold"), expand=is_open.get(heading, True))
            for relation in relations:
                if relation.kind == kind:
                    node = branch.add(one_line(relation.name), relation.name)
                    for column in relation.columns:
                        label = one_line(column.name).append(f" {column.type.lower()}", style="dim")
                        node.add_leaf(label, column.name)

    def on_tree_node_selected(self, message: Tree.NodeSelected[_Entry]) -> None:
        message.stop()
        entry = message.node.data
        if isinstance(entry, Question):
            self.post_message(self.QueryTaken(entry))
        elif entry is not None:
            self.post_message(self.NameTaken(entry))

    def action_delete(self) -> None:
        entry = self.cursor_node.data if self.cursor_node else None
        if isinstance(entry, Question) and entry not in QUESTIONS:
            self.post_message(self.QueryUnwanted(entry))
