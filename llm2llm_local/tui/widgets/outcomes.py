"""Outcomes as signs: what a colour says here is always said by a sign as well."""

from __future__ import annotations

from rich.style import Style
from rich.text import Text
from textual.app import App

from ...counted import counted
from ...records import Outcome
from ...report.histories import AnswerRecord, History
from ..ink import ink
from ..text import many_lines, one_line

SIGNS = {Outcome.CORRECT: "✓", Outcome.WRONG: "✗", Outcome.TRUNCATED: "…", Outcome.UNPARSED: "…", None: "·"}
"""None: not asked."""

WORDS = {
    Outcome.CORRECT: "right",
    Outcome.WRONG: "wrong",
    Outcome.TRUNCATED: "cut off at the token limit",
    Outcome.UNPARSED: "no readable answer",
}

_MOST_SIGNS = 24
_MOST_CELLS_OF_OUTPUT = 200


def strip(app: App[object], history: History) -> Text:
    """A sign an iteration, the newest last; where a right answer was lost the sign is in reverse video."""
    wrong = ink(app, "error")
    lost = set(history.losses())
    text = Text(no_wrap=True)
    first = max(0, len(history.outcomes) - _MOST_SIGNS)
    for position, outcome in enumerate(history.outcomes[first:], start=first):
        style = Style(dim=True) if outcome in (Outcome.CORRECT, None) else wrong
        text.append(SIGNS[outcome], style + Style(bold=True, reverse=True) if position in lost else style)
    return text


def story(record: AnswerRecord) -> Text:
    """The example, and all answers to it, the newest first."""
    text = Text.assemble(many_lines(record.question, style="bold"), "\ngold: ", one_line(record.answer, style="bold"))
    if record.n_candidates:
        text.append(f"\n{_candidates_of(record)} (return)")
    for answer in reversed(record.answers):
        text.append(f"\n{answer.iteration:>3} {SIGNS[answer.outcome]} ")
        if answer.outcome in (Outcome.TRUNCATED, Outcome.UNPARSED) or answer.predicted_answer is None:
            text.append(f"{WORDS[answer.outcome]}: ").append_text(one_line(answer.output_text, _MOST_CELLS_OF_OUTPUT))
        else:
            text.append_text(one_line(answer.predicted_answer, _MOST_CELLS_OF_OUTPUT))
        if answer.confidence is not None:
            text.append(f"  {answer.confidence:.0%}", style="dim")
    return text


def _candidates_of(record: AnswerRecord) -> str:
    were = "was" if record.n_candidates == 1 else "were"
    parts = [f"{counted(record.n_candidates, 'candidate')} {were} made from it"]
    if record.n_pending < record.n_candidates:
        parts.append(f"{record.n_accepted:,} accepted")
    if record.n_pending:
        parts.append(f"{record.n_pending:,} not checked yet")
    return ", ".join(parts)
