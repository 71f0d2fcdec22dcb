"""A candidate from the seed to the verdict, in one line of a wide terminal or two of a narrow one."""

from __future__ import annotations

from rich.text import Text
from textual.app import App

from ..report.plain import conclusion
from ..report.stream import StreamedCandidate
from .ink import ink
from .text import one_line
from .verdicts import verdict_style, verdict_text

_VERDICT_CELLS = 11
_ARROW = " → "


def in_columns(app: App[object], candidate: StreamedCandidate, width: int) -> Text:
    """One line, its parts below those of other candidates."""
    room = width - _VERDICT_CELLS - 2 * len(_ARROW) - 2
    seed, said, new = round(room * 0.30), round(room * 0.12), round(room * 0.36)
    return Text.assemble(
        _verdict(app, candidate),
        _filled(one_line(candidate.seed_question, seed, "dim"), seed),
        _ARROW,
        _filled(_said(app, candidate, said), said),
        _ARROW,
        _filled(_new(app, candidate, new), new),
        "  ",
        one_line(candidate.reason, room - seed - said - new, verdict_style(app, candidate.verdict)),
        no_wrap=True,
    )


def in_two_lines(app: App[object], candidate: StreamedCandidate, width: int) -> tuple[Text, Text]:
    """Where it comes from; and what it is, with the reason against it at the right."""
    room = width - _VERDICT_CELLS - len(_ARROW)
    said = _said(app, candidate, room // 3)
    origin = Text.assemble(
        _verdict(app, candidate), one_line(candidate.seed_question, room - said.cell_len, "dim"), _ARROW, said
    )
    reason = one_line(candidate.reason, 2 * room // 5, verdict_style(app, candidate.verdict))
    left = room - reason.cell_len - (2 if reason else 0)
    new = Text.assemble(" " * (_VERDICT_CELLS - 1), _ARROW, _filled(_new(app, candidate, left), left), "  ", reason)
    origin.no_wrap = new.no_wrap = True
    return origin, new


def _verdict(app: App[object], candidate: StreamedCandidate) -> Text:
    return _filled(Text.assemble(" ", verdict_text(app, candidate.verdict)), _VERDICT_CELLS)


def _said(app: App[object], candidate: StreamedCandidate, cells: int) -> Text:
    """By the student to the seed; a right answer is nothing to be struck by."""
    if candidate.is_correct is None:
        return one_line("not asked", cells, "dim")
    answer = "unreadable" if candidate.student_answer is None else candidate.student_answer
    return one_line(answer, cells, "dim" if candidate.is_correct else ink(app, "error"))


def _new(app: App[object], candidate: StreamedCandidate, cells: int) -> Text:
    """The question and, whole as far as possible, its answer; or the reply that could not be read."""
    if candidate.answer is None:
        return one_line(candidate.question, cells)
    answer = one_line(conclusion(candidate.answer), cells // 3, ink(app, "primary"))
    question = one_line(candidate.question, cells - answer.cell_len - len(" = "))
    return Text.assemble(question, " = ", answer)


def _filled(text: Text, cells: int) -> Text:
    text.append(" " * max(0, cells - text.cell_len))
    return text
