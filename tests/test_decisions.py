"""What is shown of decisions before the store says them, and what undoing one brings back."""

from __future__ import annotations

from llm2llm_local.records import ReviewDecision
from llm2llm_local.report.candidates import CandidateLine, PersonDecision
from llm2llm_local.tui.decisions import Decisions

LINE = CandidateLine(5, 0, "doubt", "question", "answer", False, None)
ACCEPT = PersonDecision("accept", "edited")
REJECT = PersonDecision("reject")


def test_a_decision_is_shown_until_a_later_read_has_it() -> None:
    decisions = Decisions()
    assert decisions.shown(LINE) == LINE
    made = decisions.make(LINE, ACCEPT)
    assert (made.decision, made.question, made.answer) == (ReviewDecision.ACCEPT, "edited", None)
    assert decisions.shown(LINE).person == ACCEPT
    early = decisions.read_begins()
    decisions.write_done(made)
    decisions.read_done(early)  # it began before the writing was done, so it doesn't have it
    assert decisions.shown(LINE).person == ACCEPT
    decisions.read_done(decisions.read_begins())
    assert decisions.shown(LINE).person is None


def test_an_older_one_takes_nothing_from_a_newer_one() -> None:
    decisions = Decisions()
    older = decisions.make(LINE, ACCEPT)
    newer = decisions.make(decisions.shown(LINE), REJECT)
    decisions.write_done(older)
    decisions.read_done(decisions.read_begins())
    assert decisions.shown(LINE).person == REJECT
    decisions.write_failed(newer)
    assert decisions.shown(LINE).person is None


def test_undo_goes_back_step_by_step() -> None:
    decisions = Decisions()
    decisions.make(LINE, ACCEPT)
    decisions.make(decisions.shown(LINE), REJECT)
    undone = decisions.undo()
    assert undone is not None
    assert (undone.decision, undone.question) == (ReviewDecision.ACCEPT, "edited")
    undone = decisions.undo()
    assert undone is not None
    assert (undone.decision, undone.after) == (ReviewDecision.WITHDRAW, None)
    assert decisions.undo() is None


def test_what_was_not_written_cannot_be_undone() -> None:
    decisions = Decisions()
    decisions.write_failed(decisions.make(LINE, ACCEPT))
    assert decisions.undo() is None
