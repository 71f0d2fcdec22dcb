"""The checks in their order. The first rejection ends them: a later check would cost more and add nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..records import CheckVerdict, Decision, NewExample, Unparsed
from .form import FormatCheck
from .similarity import Match, TextIndex

Verify = Callable[[], CheckVerdict]
"""The verdict of what verifiers said of a candidate."""


class CheckSequence:
    """`format` → `duplicate` → `leak` → `verify`, where there is one.

    `known`: all seeds' and all accepted examples' questions; `held_out`: those of dev and test. Thresholds
    are ROUGE-L F; a candidate is rejected above them.
    """

    def __init__(
        self,
        form: FormatCheck,
        known: Sequence[str],
        held_out: Sequence[str],
        duplicate_threshold: float,
        leak_threshold: float,
    ) -> None:
        self._form = form
        self._known = TextIndex(known, duplicate_threshold)
        self._held_out = TextIndex(held_out, leak_threshold)

    def decide(self, candidate: NewExample | Unparsed, verify: Verify | None = None) -> list[CheckVerdict]:
        """Verdicts in order. When all of them accept, later candidates are compared with this one, too."""
        if isinstance(candidate, Unparsed):
            return [CheckVerdict("format", Decision.REJECT, candidate.reason, "", None)]
        verdicts = self._before_votes(candidate)
        if verify is not None and verdicts[-1].decision is Decision.ACCEPT:
            verdicts.append(verify())
        if verdicts[-1].decision is Decision.ACCEPT:
            self._known.add(candidate.question)
        return verdicts

    def lets_in(self, candidate: NewExample) -> bool:
        """Whether all checks but `verify` accept; nothing is compared with this one later."""
        return self._before_votes(candidate)[-1].decision is Decision.ACCEPT

    def _before_votes(self, candidate: NewExample) -> list[CheckVerdict]:
        verdicts: list[CheckVerdict] = []
        for check in (self._form, self._duplicate, self._leak):
            verdicts.append(check(candidate))
            if verdicts[-1].decision is not Decision.ACCEPT:
                break
        return verdicts

    def _duplicate(self, candidate: NewExample) -> CheckVerdict:
        match = self._known.nearest_above(candidate.question)
        return _verdict("duplicate", match, "too similar to a seed or an accepted example")

    def _leak(self, candidate: NewExample) -> CheckVerdict:
        match = self._held_out.nearest_above(candidate.question)
        return _verdict("leak", match, "too similar to a dev or test question")


def _verdict(check_name: str, match: Match | None, reason: str) -> CheckVerdict:
    if match is None:
        return CheckVerdict(check_name, Decision.ACCEPT, "", "", None)
    return CheckVerdict(check_name, Decision.REJECT, reason, f"like {match.text!r}", match.score)
