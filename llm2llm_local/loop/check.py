"""Decide on the candidates of one round, in the order in which they were made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from ..checks.form import FormatCheck
from ..checks.sequence import CheckSequence
from ..records import Decision, NewExample, Split, Unparsed
from ..store.rows import CandidateRow
from .context import Run
from .units import work_through

_GROUP_SIZE = 64
"""Candidates in a unit of work; checking one takes microseconds to milliseconds."""


def check_candidates(run: Run, iteration: int, attempt: int) -> None:
    """Every candidate gets its verdicts; accepted ones become examples, the others keep their reason."""
    candidates = run.store.candidates(iteration, attempt)
    groups = [candidates[start : start + _GROUP_SIZE] for start in range(0, len(candidates), _GROUP_SIZE)]

    @cache
    def checks() -> CheckSequence:
        return _checks(run)

    def work(group: Sequence[CandidateRow]) -> Callable[[], int]:
        decided = [(candidate, checks().decide(_parsed(candidate))) for candidate in group]

        def write() -> int:
            for candidate, verdicts in decided:
                if run.store.decide(iteration, candidate, verdicts) is Decision.ACCEPT:
                    run.watcher.accepted(candidate.question or "", candidate.answer or "")
            return len(group)

        return write

    work_through(run, iteration, "check", attempt, groups, work)


def _checks(run: Run) -> CheckSequence:
    """Against all that was accepted until now. What a person keeps out counts, too, or the teacher would bring it back.

    Made once for all units of a round that are still to be done, since indexing all texts takes far longer than
    checking a unit. A resumed run sees the same: what a unit accepts joins the texts in the order in which it joins
    the examples, and nothing else is accepted during a round.
    """
    seeds = [seed.question for seed in run.store.examples(Split.TRAIN)]
    accepted = [example.question for example in run.store.ever_accepted()]
    held_out = [example.question for split in (Split.DEV, Split.TEST) for example in run.store.examples(split)]
    settings = run.config.checks
    return CheckSequence(
        FormatCheck(run.task, seeds, settings.max_length_ratio),
        [*seeds, *accepted],
        held_out,
        settings.duplicate_threshold,
        settings.leak_threshold,
    )


def _parsed(candidate: CandidateRow) -> NewExample | Unparsed:
    if candidate.question is None or candidate.answer is None:
        return Unparsed(candidate.reject_reason or "can't be parsed")
    return NewExample(candidate.question, candidate.answer)
