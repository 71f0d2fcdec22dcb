"""What is verification worth with these models on this task? Measured on the seeds, before anything is augmented.

The teacher judges every seed, with its own answer and with wrong ones; so does, where it has a vote, a student that
hasn't seen the seed. From that follows how much each one's word counts (`checks.audit`), and how many right
and wrong candidates will get in. Verifiers that can't tell right from wrong end the run: every later figure would rest
on their word.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from ..audit_words import audit_line, audit_warnings
from ..checks.audit import AuditedSeed, audit, judge_of, own_answers_right
from ..checks.verification import Judge, Thresholds, VerifyCheck, Votes, writes
from ..config import Config
from ..errors import RunFailedError
from ..recipes import recipe_of
from ..records import TOGETHER, Example, FinishReason, Outcome, Reply, Split, Vote
from ..spelling import same_words
from ..store.audits import AuditRow
from ..verifiers import votes_in_audit
from .context import Run
from .units import work_through
from .vote import ask_teacher_to_vote, audited, verifiers


def audit_teacher(run: Run) -> None:
    """Its votes on the seeds, if they count; said aloud where nobody's do."""
    if not verifiers(run) and recipe_of(run.config).subjects != "nothing":
        run.watcher.message('warning: checks.verify = "off": new examples are taken for right as they are written')
    if "teacher" in verifiers(run):
        votes = votes_in_audit(run.config.task.family, run.config.checks.votes)
        ask_teacher_to_vote(run, 0, "audit", 0, audited(run, run.store.examples(Split.TRAIN)), votes)


def calibrate_verifiers(run: Run) -> None:
    """From all votes on seeds the calibration by which candidates are judged.

    Raises RunFailedError when the votes carry no information.
    """
    names = verifiers(run)
    if not names:
        return

    def work(_: None) -> Callable[[], int]:
        rows = _measured(run, names)

        def write() -> int:
            for row in rows:
                run.store.verification.add_audit(row)
                run.store.add_event("audit", audit_line(row))
                run.watcher.message(audit_line(row))
            for warning in audit_warnings(rows):
                run.watcher.message(f"warning: {warning}")
            return rows[0].n_seeds

        return write

    work_through(run, 0, "calibrate", 0, [None], work)
    together = run.store.verification.audit()
    if together.preference.low <= 0.5:
        raise RunFailedError(
            f"nothing that verifiers say tells right answers from wrong ones: {audit_line(together)}",
            f"{against_bad_verifiers(run.config)}, or, against all this, have nothing verified: "
            f"llm2llm fork {run.store.run_id} --set checks.verify=off",
        )


def against_bad_verifiers(config: Config) -> str:
    """What would make their word worth more."""
    others = "" if config.checks.verifier == "both" else ', let both models vote (checks.verifier = "both")'
    return f"Take a stronger teacher, give it more seeds{others}"


def thresholds(run: Run) -> Thresholds:
    return Thresholds(run.config.checks.accept_probability, run.config.checks.reject_probability)


def verify_check(run: Run) -> VerifyCheck:
    """By the calibration of the audit, which must be done."""
    judge = Judge.of_record(run.store.verification.audit().calibration)
    return VerifyCheck(judge, thresholds(run), run.config.checks.doubt)


def _measured(run: Run, names: Sequence[str]) -> list[AuditRow]:
    """A row for each verifier alone where there are several, and the one by which candidates are judged."""
    seeds = _audited_seeds(run)
    rows = []
    for title, some in [*((name, [name]) for name in names if len(names) > 1), (TOGETHER, list(names))]:
        measured = audit(seeds, some, thresholds(run), run.config.checks.doubt)
        rows.append(
            AuditRow(
                verifier=title,
                n_seeds=len(seeds),
                n_wrong=sum(len(seed.wrong) for seed in seeds),
                n_mistaken_seeds=sum(seed.are_mistakes for seed in seeds),
                agreement=own_answers_right(seeds, some[0]) if len(some) == 1 else None,
                true_accepts=measured.true_accepts,
                false_accepts=measured.false_accepts,
                mistake_accepts=measured.mistake_accepts,
                preference=measured.preference,
                calibration=judge_of(seeds, some).record(),
            )
        )
    return rows


def _audited_seeds(run: Run) -> list[AuditedSeed]:
    """Of seeds that ask the same the first alone: a judge that has seen one has seen the others, and they are one case.

    Where a seed was answered wrongly in writing, those answers are the wrong ones: an error that is repeated is what
    verification overlooks, and a planted answer, which is another seed's, nobody comes to by mistake. Right and planted
    answers are judged by as many votes as a candidate has, and so are mistakes.
    """
    n = run.config.checks.votes
    first = _first_to_ask(run.store.examples(Split.TRAIN))
    right: dict[int | None, tuple[str, Votes]] = {}
    planted: dict[int | None, list[Votes]] = {}
    for subject, votes in run.store.verification.audit_votes().items():
        if subject.example_id not in first:
            continue
        if subject.is_planted:
            planted.setdefault(subject.example_id, []).append(_first(votes, n))
        else:
            right[subject.example_id] = subject.answer, votes
    seeds = []
    for example_id, (answer, on_right) in right.items():
        mistakes = tuple(_mistakes(run, on_right))
        seeds.append(
            AuditedSeed(
                answer, _first(on_right, n), mistakes or tuple(planted[example_id]), are_mistakes=bool(mistakes)
            )
        )
    return seeds


def _first_to_ask(seeds: Sequence[Example]) -> set[int]:
    """The ids of those that don't repeat the words of an earlier one."""
    by_words: dict[str, int] = {}
    for seed in seeds:
        by_words.setdefault(same_words(seed.question), seed.id)
    return set(by_words.values())


def _first(votes: Votes, n: int) -> Votes:
    return {name: some[:n] for name, some in votes.items()}


def _mistakes(run: Run, by_verifier: Votes) -> Iterator[Votes]:
    """Each wrong answer that a verifier wrote, with its other votes as votes on it; one that is asked once, like a
    student, has no others.
    """
    if not all(writes(votes) for votes in by_verifier.values()):
        return
    for mistake in (vote for votes in by_verifier.values() for vote in votes if vote.agrees is False):
        others = {name: [vote for vote in votes if vote is not mistake] for name, votes in by_verifier.items()}
        if all(others.values()):
            yield {name: [_on(run, mistake, vote) for vote in votes] for name, votes in others.items()}


def _on(run: Run, mistake: Vote, vote: Vote) -> Vote:
    """What a written vote says of the answer that another one came to."""
    if vote.said is None:
        return vote
    grade = run.task.grade(Reply(vote.output_text, FinishReason.STOP, 0, 0, 0.0), mistake.output_text)
    return dataclasses.replace(vote, agrees=grade.outcome is Outcome.CORRECT)
