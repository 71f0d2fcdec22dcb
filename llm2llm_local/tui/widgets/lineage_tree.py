"""A tree of what came of an example. Whoever shows it reads the children of a node when it is opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import Tree
from textual.widgets.tree import TreeNode

from ...records import Outcome
from ...report.lineage_tree import Branch, Node, Step
from ..ink import ink
from ..text import one_line
from ..verdicts import verdict_text
from .outcomes import SIGNS, WORDS

_TEXT_CELLS = 160


class LineageTree(Tree[Node]):
    """Nodes are found by their steps, and stay as they are when new ones come."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right", "open", "Open", show=False),
        Binding("left", "close", "Close, or to the step before", show=False),
        Binding("j", "cursor_down", "Down", show=False),
        Binding("k", "cursor_up", "Up", show=False),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__("", id=id)
        self._at: dict[Step, TreeNode[Node]] = {}
        self._known: set[Step] = set()
        self.guide_depth = 2

    @property
    def chosen(self) -> Node | None:
        """The node under the cursor."""
        return None if self.cursor_node is None else self.cursor_node.data

    @property
    def open_steps(self) -> list[Step]:
        """Those whose children are shown."""
        return [step for step in self._known if self._at[step].is_expanded]

    def is_known(self, step: Step) -> bool:
        """Whether its children were read already."""
        return step in self._known

    def show_path(self, path: Sequence[Branch]) -> None:
        """A new tree, opened along the path, the cursor on its last node."""
        self.reset(self._label(path[0].node), path[0].node)
        self._at, self._known = {path[0].node.step: self.root}, set()
        for branch in path:
            self.show_children(branch.node.step, branch.children)
            self._at[branch.node.step].expand()
        last = self._at[path[-1].node.step]
        assert self.last_line >= 0  # asking for it has the lines laid out, which the cursor needs
        self.move_cursor(last)
        self.call_after_refresh(self.scroll_to_node, last, animate=False)

    def show_children(self, step: Step, children: Sequence[Node]) -> None:
        """What is below a node now; one that the tree doesn't have any more is left out."""
        parent = self._at.get(step)
        if parent is None:
            return
        self._known.add(step)
        steps = {child.step for child in children}
        for old in list(parent.children):
            if old.data is not None and old.data.step not in steps:
                del self._at[old.data.step]
                old.remove()
        for position, child in enumerate(children):
            node = self._at.get(child.step)
            if node is None:
                before = position if position < len(parent.children) else None
                self._at[child.step] = parent.add(self._label(child), child, before=before)
            elif node.data != child:
                node.data = child
                node.set_label(self._label(child))
            self._at[child.step].allow_expand = child.has_children

    def reveal(self, step: Step) -> None:
        """Scroll until what is below the node is seen, as far as the node itself can stay."""
        node = self._at.get(step)
        if node is not None and node.children:
            self.call_after_refresh(self.scroll_to_node, node.children[-1], animate=False)
            self.call_after_refresh(self.scroll_to_node, node, animate=False)

    def repaint(self) -> None:
        """In the colours of the theme."""
        for node in self._at.values():
            assert node.data is not None
            node.set_label(self._label(node.data))

    def action_open(self) -> None:
        node = self.cursor_node
        if node is None:
            return
        if node.allow_expand and not node.is_expanded:
            node.expand()
        elif node.children:
            self.move_cursor(node.children[0])

    def action_close(self) -> None:
        node = self.cursor_node
        if node is None:
            return
        if node.is_expanded and node.children:
            node.collapse()
        elif node.parent is not None:
            self.move_cursor(node.parent)

    def _label(self, node: Node) -> Text:
        return Text.assemble(self._mark(node), (node.title, "bold"), "  ", one_line(node.text, _TEXT_CELLS))

    def _mark(self, node: Node) -> Text:
        if node.step.kind == "answer":
            outcome = Outcome(node.mark)
            style = ink(self.app, "success" if outcome is Outcome.CORRECT else "error")
            flip = (" was right before ", style + Style(reverse=True)) if node.is_lost else ("", style)
            return Text.assemble((f"{SIGNS[outcome]} {WORDS[outcome]} ", style), flip, " " if node.is_lost else "")
        if node.mark == "withdraw":
            return Text("↶ ")
        return Text.assemble(verdict_text(self.app, node.mark), " ") if node.mark else Text()
