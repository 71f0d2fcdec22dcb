"""Decide on the candidates of one round, in the order in which they were made.

Verifiers vote on what the checks that cost nothing let through; then all checks decide, the votes among them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache, partial

from ..checks.form import FormatCheck
from ..checks.sequence import CheckSequence
from ..checks.verification import VerifyCheck
from ..counted import counted
from ..errors import RunFailedError
from ..records import Decision, NewExample, ReviewDecision, Split, Unparsed
from ..store.rows import CandidateRow
from ..store.verification import Refused, Subject
from .audit import verify_check
from .context import Run, derive_rng_seed
from .folds import folds
from .units import work_through
from .vote import Voted, ask_students_to_vote, ask_teacher_to_vote, verifiers

_ENOUGH_TO_TELL = 30
"""Candidates, all refused, after which further ones are not waited for."""

_SHOWN = 5
_SHOWN_CHARACTERS = 120
"""Of refused candidates and of each of their texts, in an error."""

_GROUP_SIZE = 64
"""Candidates in a unit of work; checking one takes microseconds to milliseconds."""


def check_candidates(run: Run, iteration: int, attempt: int) -> None:
    """Every candidate gets its verdicts; accepted ones become examples, the others keep their reason."""
    candidates = run.store.candidates.of_round(iteration, attempt)
    if names := verifiers(run):
        voted = _to_vote_on(run, iteration, attempt, candidates)
        if "teacher" in names:
            ask_teacher_to_vote(run, iteration, "vote", attempt, voted, run.config.checks.votes)
        if "student" in names:
            fold_of = folds(run, run.store.examples(Split.TRAIN))
            ask_students_to_vote(run, iteration, attempt, voted, fold_of)
    _decide(run, iteration, attempt, candidates)


def nothing_gets_in(run: Run, iteration: int, attempt: int) -> str | None:
    """How a run ends that got new examples before, and of so many candidates of this iteration none, that more of them
    would only cost time: the next student would be the same again. None as long as that isn't so, where the student
    goes on from the last one, and for a round that the run has gone beyond: what a person decided since doesn't undo
    what came of it.

    Raises RunFailedError when none was let in since the run began, whichever student is trained.
    """
    if run.store.has_gone_beyond(iteration, attempt):
        return None
    until_now = range(iteration + 1)
    if run.store.verification.n_let_in(until_now):
        if run.config.loop.fine_tune == "continue":
            return None
        refused = _all_refused(run, range(iteration, iteration + 1), _ENOUGH_TO_TELL)
        return None if refused is None else _finished_early(run, refused)
    if (refused := _all_refused(run, until_now, _ENOUGH_TO_TELL)) is not None:
        raise RunFailedError(
            refused,
            "Accept some in the review and resume, or start anew with a stronger teacher or other checks: "
            f"llm2llm fork {run.store.run_id} --set …",
        )
    return None


def nothing_got_in(run: Run, iteration: int) -> str | None:
    """The same after the last round of asking, of a run that got no new example at all and left none to a person,
    however few there were: there is nothing new to train on. A student that goes on where the last one was does so,
    and so does a run that has gone beyond it.
    """
    if run.config.loop.fine_tune == "continue" or run.store.verification.n_in_doubt():
        return None
    if run.store.has_gone_beyond(iteration, run.config.teacher.attempts):
        return None
    refused = _all_refused(run, range(iteration + 1), 1)
    return None if refused is None else _finished_early(run, refused)


def _finished_early(run: Run, refused: str) -> str:
    fork = f"llm2llm fork {run.store.run_id}"
    return (
        f"finished early: {refused}\nThis iteration's student is the last. To go further, accept some in the "
        f"review and go on in a fork ({fork}), or fork it with other checks or another teacher: {fork} --set …"
    )


def _all_refused(run: Run, iterations: range, enough: int) -> str | None:
    """What is to be said where `enough` candidates of these iterations or more came to nothing, and none to anything;
    else None.
    """
    found = run.store.verification
    refusals = found.refusals(iterations)
    n_refused = sum(refusal.n for refusal in refusals)
    if n_refused < enough or found.n_let_in(iterations) or _a_person_lets_in(run):
        return None
    worst = refusals[0]
    which = f"iteration {iterations[0]}" if len(iterations) == 1 else f"iterations 0 to {iterations[-1]}"
    futile = ", and more of them would only cost time" if n_refused >= _ENOUGH_TO_TELL else ""
    shown = "".join(f"\n  {_line(one)}" for one in found.refused(iterations, worst, _SHOWN))
    return (
        f"{which}: of {counted(n_refused, 'candidate')} none was accepted{futile}; "
        f"{worst.n} refused by {worst.check_name} ({worst.reason}), such as:{shown}"
    )


def _a_person_lets_in(run: Run) -> bool:
    """Whether a candidate waits for the next training that a person accepted."""
    return any(review.decision is ReviewDecision.ACCEPT for review in run.store.reviews.to_carry_out())


def _line(one: Refused) -> str:
    """The question first; of an answer, which may be a whole rationale, the last line."""
    answer = f" → {_cut(one.answer.strip().splitlines()[-1])}" if one.answer.strip() else ""
    detail = f" [{_cut(one.detail)}]" if one.detail else ""
    return f"{_cut(one.question)}{answer}{detail}"


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _decide(run: Run, iteration: int, attempt: int, candidates: Sequence[CandidateRow]) -> None:
    groups = [candidates[start : start + _GROUP_SIZE] for start in range(0, len(candidates), _GROUP_SIZE)]

    @cache
    def checks() -> tuple[CheckSequence, VerifyCheck | None]:
        known = [example.question for example in run.store.ever_accepted()]
        return _checks(run, known), verify_check(run) if verifiers(run) else None

    def work(group: Sequence[CandidateRow]) -> Callable[[], int]:
        sequence, verify = checks()
        decided = []
        for candidate in group:
            votes = run.store.verification.candidate_votes(candidate.id) if verify else {}
            decided.append((candidate, sequence.decide(_parsed(candidate), partial(verify, votes) if verify else None)))

        def write() -> int:
            for candidate, verdicts in decided:
                if run.store.candidates.decide(iteration, candidate, verdicts) is Decision.ACCEPT:
                    run.watcher.accepted(candidate.question or "", candidate.answer or "")
                    if _is_drawn_for_review(run, candidate):
                        run.store.verification.mark_audited(candidate.id)
            return len(group)

        return write

    work_through(run, iteration, "check", attempt, groups, work)


def _to_vote_on(run: Run, iteration: int, attempt: int, candidates: Sequence[CandidateRow]) -> list[Voted]:
    """Those that all checks but the votes would let in. A resumed run finds the same ones, whatever of this round is
    among the accepted by then.
    """
    seeds = {seed.id: seed for seed in run.store.examples(Split.TRAIN)}
    known = [example.question for example in run.store.ever_accepted(before=(iteration, attempt))]
    sequence = _checks(run, known)
    found = []
    for candidate in candidates:
        new = _parsed(candidate)
        if isinstance(new, NewExample) and sequence.lets_in(new):
            seed = seeds[run.store.seed_of(candidate.parent_example_id)]
            found.append(Voted(new.question, seed, (Subject(new.answer, candidate_id=candidate.id),)))
    return found


def _checks(run: Run, accepted: Sequence[str]) -> CheckSequence:
    """Against all that was accepted until now. What a person keeps out counts, too, or the teacher would bring it back.

    Made once for all units of a round that are still to be done, since indexing all texts takes far longer than
    checking a unit. A resumed run sees the same: what a unit accepts joins the texts in the order in which it joins
    the examples, and nothing else is accepted during a round.
    """
    seeds = [seed.question for seed in run.store.examples(Split.TRAIN)]
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


def _is_drawn_for_review(run: Run, candidate: CandidateRow) -> bool:
    rng = random.Random(derive_rng_seed(run.config.loop.rng_seed, "audit sample", candidate.key))
    return rng.random() < run.config.checks.audit_sample
