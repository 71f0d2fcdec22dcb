"""What of the candidates is shown: four choices with their numbers, and words to search for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input, Select, Static

from ...report.candidates import DECIDED, SHORTEST_TERM, CandidateFilter, Count, FilterCounts, search_terms
from ..text import one_line

_CELLS_OF_A_CHOICE = 44
_VERDICTS = {DECIDED: "decided by a person"}


class CandidateFilters(Vertical):
    """Tells of every change; keeps the filter that is in force."""

    class Changed(Message):
        """`wanted` is to be shown."""

        def __init__(self, wanted: CandidateFilter) -> None:
            super().__init__()
            self.wanted = wanted

    def __init__(self) -> None:
        super().__init__()
        self.wanted = CandidateFilter()
        self._offered: dict[str, list[Count]] = {}

    def compose(self) -> ComposeResult:
        with Horizontal(classes="choices"):
            for name in ("iteration", "answer", "verdict", "reason"):
                yield Select[str]([], prompt=f"any {name}", id=name, compact=True)
        yield Input(placeholder="words in the texts, of 3 characters or more", compact=True, id="search")
        yield Static(classes="muted note")

    def on_mount(self) -> None:
        self._show()

    def show_counts(self, counts: FilterCounts) -> None:
        """Offer what there is; a choice that isn't there any more stays chosen."""
        for name, values in (
            ("iteration", counts.iterations),
            ("answer", counts.answers),
            ("verdict", counts.verdicts),
            ("reason", counts.reasons),
        ):
            self._offer(self.query_one(f"#{name}", Select), values)

    def clear(self, parent_example_id: int | None = None) -> None:
        """Show all again; or all that was written for one example."""
        with self.prevent(Select.Changed, Input.Changed):
            for select in self.query(Select):
                select.clear()
            self.query_one(Input).clear()
        self._want(CandidateFilter(parent_example_id=parent_example_id))

    def search(self) -> None:
        """Let the person write."""
        self.query_one(Input).display = True
        self.query_one(Input).focus()

    def on_select_changed(self, message: Select.Changed) -> None:
        message.stop()
        value = None if message.value is Select.NULL else cast(str, message.value)
        match message.select.id:
            case "iteration":
                self._want(replace(self.wanted, iteration=None if value is None else int(value)))
            case "answer":
                self._want(replace(self.wanted, answer=value))
            case "verdict":
                self._want(replace(self.wanted, verdict=value))
            case _:
                self._want(replace(self.wanted, reason=value))

    def on_input_changed(self, message: Input.Changed) -> None:
        message.stop()
        self._want(replace(self.wanted, search=message.value))

    def on_input_blurred(self, message: Input.Blurred) -> None:
        message.stop()
        self._show()

    def _want(self, wanted: CandidateFilter) -> None:
        if wanted != self.wanted:
            self.wanted = wanted
            self._show()
            self.post_message(self.Changed(wanted))

    def _show(self) -> None:
        field = self.query_one(Input)
        field.display = bool(self.wanted.search) or field.has_focus
        _, short = search_terms(self.wanted.search)
        notes = []
        if self.wanted.parent_example_id is not None:
            notes.append(f"only those written for example {self.wanted.parent_example_id} (c shows all)")
        if short:
            notes.append(f"not searched for, shorter than {SHORTEST_TERM} characters: {' '.join(short)}")
        note = self.query_one(".note", Static)
        note.display = bool(notes)
        note.update(one_line(" · ".join(notes)))

    def _offer(self, select: Select[str], values: Sequence[Count]) -> None:
        name = select.id or ""
        chosen = None if select.value is Select.NULL else cast(str, select.value)
        offered = [*values]
        if chosen is not None and chosen not in (count.value for count in values):
            offered.append(Count(chosen, 0))
        if select.expanded or offered == self._offered.get(name):
            return
        self._offered[name] = offered
        with self.prevent(Select.Changed):
            select.set_options([(_choice(name, count), count.value) for count in offered])
            if chosen is not None:
                select.value = chosen


def _choice(name: str, count: Count) -> Text:
    words = {"iteration": f"iteration {count.value}", "verdict": _VERDICTS.get(count.value, count.value)}
    return Text.assemble(one_line(words.get(name, count.value), _CELLS_OF_A_CHOICE), (f" {count.n:,}", "dim"))
