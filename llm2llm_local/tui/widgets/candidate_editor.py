"""Question and answer of a candidate to change in place, before it is accepted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Select, Static, TextArea

from ..text import editable_lines, one_line


class CandidateEditor(Vertical):
    """Ends with `Saved` or `Left`. For a task with labels the answer is chosen, otherwise written."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", "Accept as edited"),
        Binding("escape", "leave", "Leave it as it was"),
    ]

    class Saved(Message):
        """None: that text is as it was."""

        def __init__(self, question: str | None, answer: str | None) -> None:
            super().__init__()
            self.question = question
            self.answer = answer

    class Left(Message):
        """Nothing is to be changed."""

    def __init__(self) -> None:
        super().__init__()
        self._question = self._answer = ""
        self._has_labels = False

    def compose(self) -> ComposeResult:
        yield Static(classes="muted what", markup=False)
        yield TextArea(id="question", tab_behavior="focus", compact=True)
        yield Static("Answer", classes="muted", markup=False)
        yield TextArea(id="answer_text", tab_behavior="focus", compact=True)
        yield Select[str]([], id="answer_label", compact=True, prompt="choose its answer")
        yield Static("ctrl+s accepts it like this, escape leaves it as it was", classes="muted", markup=False)

    def edit(
        self, what: str, question: str | None, answer: str | None, labels: Sequence[str], *, suggested_answer: str
    ) -> None:
        """Begin. `what` is named above. None: there is no such text. `labels`: the answers there can be; none: any."""
        self.query_one(".what", Static).update(f"Question of {what}")
        self._question, self._answer = editable_lines(question or ""), editable_lines(answer or "")
        self._has_labels = bool(labels)
        self.query_one("#question", TextArea).text = self._question
        written, chosen = self.query_one("#answer_text", TextArea), self._select
        written.display, chosen.display = not self._has_labels, self._has_labels
        proposed = suggested_answer if answer is None else answer
        written.text = editable_lines(proposed)
        chosen.set_options((one_line(label), label) for label in labels)
        if proposed in labels:
            chosen.value = proposed
            self._answer = answer or ""
        field = self.query_one("#question", TextArea)
        field.move_cursor(field.document.end)
        field.focus()

    @property
    def _select(self) -> Select[str]:
        return self.query_one("#answer_label", Select)

    def action_save(self) -> None:
        question = self.query_one("#question", TextArea).text
        if self._has_labels:
            answer = "" if self._select.value is Select.NULL else str(self._select.value)
        else:
            answer = self.query_one("#answer_text", TextArea).text
        if not question.strip() or not answer.strip():
            self.notify("It needs a question and an answer.", severity="warning", markup=False)
            return
        self.post_message(
            self.Saved(
                None if question == self._question else question.strip(),
                None if answer == self._answer else answer.strip(),
            )
        )

    def action_leave(self) -> None:
        self.post_message(self.Left())
