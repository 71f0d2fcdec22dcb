"""What a person decided on this screen until the store says it too, and the way back.

A decision is shown before it is written. It is forgotten when a read that began after the writing has been shown, or
when the writing failed: then the screen shows again what the store has.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..records import ReviewDecision
from ..report.candidates import CandidateLine, PersonDecision


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A decision to write. `before` and `after`: what counts of the person's without and with it; None: nothing."""

    candidate_id: int
    decision: ReviewDecision
    before: PersonDecision | None
    after: PersonDecision | None

    @property
    def question(self) -> str | None:
        """As edited."""
        return None if self.after is None else self.after.question

    @property
    def answer(self) -> str | None:
        """As edited."""
        return None if self.after is None else self.after.answer


class Decisions:
    """Those of one run. Each `Made` is written in the order of making."""

    def __init__(self) -> None:
        self._shown: dict[int, Made] = {}
        self._written: set[Made] = set()
        self._undoable: list[Made] = []

    def make(self, line: CandidateLine, after: PersonDecision | None) -> Made:
        """Decide on a candidate as it is shown now; `after` None withdraws."""
        made = Made(line.id, _word(after), line.person, after)
        self._undoable.append(made)
        return self._show(made)

    def undo(self) -> Made | None:
        """Make the last one not count: what counted before it does so again. None when there is nothing to undo."""
        if not self._undoable:
            return None
        last = self._undoable.pop()
        return self._show(Made(last.candidate_id, _word(last.before), last.after, last.before))

    def shown(self, line: CandidateLine) -> CandidateLine:
        """The candidate as the store has it, with what was decided meanwhile."""
        made = self._shown.get(line.id)
        return line if made is None else replace(line, person=made.after)

    def write_done(self, made: Made) -> None:
        self._written.add(made)

    def write_failed(self, made: Made) -> None:
        self._forget(made)
        if made in self._undoable:
            self._undoable.remove(made)

    def read_begins(self) -> frozenset[Made]:
        """What a read that begins now will find in the store."""
        return frozenset(self._written)

    def read_done(self, found: frozenset[Made]) -> None:
        """The result of the read with `found` is to be shown."""
        for made in found:
            self._forget(made)
        self._written -= found

    def _show(self, made: Made) -> Made:
        self._shown[made.candidate_id] = made
        return made

    def _forget(self, made: Made) -> None:
        if self._shown.get(made.candidate_id) is made:
            del self._shown[made.candidate_id]


def _word(after: PersonDecision | None) -> ReviewDecision:
    return ReviewDecision.WITHDRAW if after is None else ReviewDecision(after.decision)
