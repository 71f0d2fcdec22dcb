"""What is verification worth with these models on this task? Measured on the seeds, before anything is augmented.

The teacher judges every seed, with its own answer and with wrong ones; so does, where it has a vote, a student that
hasn't seen the seed. From that follows how much each one's word counts (`checks.verification`), and how many right
and wrong candidates will get in. Verifiers that can't tell right from wrong end the run: every later figure would rest
on their word.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

from ..audit_words import audit_line
from ..checks.verification import (
    AuditedSeed,
    Bias,
    Judge,
    Thresholds,
    VerifyCheck,
    audit,
    calibrate,
    choice_bias,
    evidence_of,
    gives_answers,
    is_for,
    writes,
)
from ..config import Config
from ..errors import RunFailedError
from ..recipes import recipe_of
from ..records import TOGETHER, FinishReason, Outcome, Reply, Split, Vote
from ..store.verification import AuditRow, Subject
from .context import Run
from .units import work_through
from .vote import ask_teacher_to_vote, audited, verifiers

Votes = Mapping[Subject, Mapping[str, Sequence[Vote]]]
"""Of each seed with one answer, by verifier."""


def audit_teacher(run: Run) -> None:
    """Its votes on the seeds, if they count; said aloud where nobody's do."""
    if not verifiers(run) and recipe_of(run.config).subjects != "nothing":
        run.watcher.message('warning: checks.verify = "off": new examples are taken for right as they are written')
    if "teacher" in verifiers(run):
        ask_teacher_to_vote(run, 0, "audit", 0, audited(run, run.store.examples(Split.TRAIN)))


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
    votes = run.store.verification.audit_votes()
    biases = {name: choice_bias(_on_right(votes, name), _on_planted(votes, name)) for name in names}
    seeds = _audited_seeds(run, votes, biases)
    rows = []
    for title, some in [*((name, [name]) for name in names if len(names) > 1), (TOGETHER, list(names))]:
        # The teacher's, where it votes: it is asked several times.
        majority_of = some[0] if writes(_on_right(votes, some[0])) else None
        judge = Judge(calibrate(seeds, some), {name: biases[name] for name in some}, majority_of)
        measured = audit(seeds, some, thresholds(run), majority_of)
        rows.append(
            AuditRow(
                verifier=title,
                n_seeds=len(seeds),
                n_planted=sum(len(seed.wrong) for seed in seeds),
                agreement=_agreement(votes, biases, some[0]) if len(some) == 1 else None,
                true_accepts=measured.true_accepts,
                false_accepts=measured.false_accepts,
                preference=measured.preference,
                calibration=judge.record(),
            )
        )
    return rows


def _on_right(votes: Votes, name: str) -> list[Vote]:
    return [vote for subject, by_verifier in votes.items() if not subject.is_planted for vote in by_verifier[name]]


def _on_planted(votes: Votes, name: str) -> list[Vote]:
    return [vote for subject, by_verifier in votes.items() if subject.is_planted for vote in by_verifier[name]]


def _audited_seeds(run: Run, votes: Votes, biases: Mapping[str, Bias]) -> list[AuditedSeed]:
    """Where a seed was answered wrongly in writing, those answers are the wrong ones: an error that is repeated is what
    verification overlooks, and a planted answer, which is another seed's, nobody comes to by mistake.
    """

    def evidence(by_verifier: Mapping[str, Sequence[Vote]], n: Mapping[str, int]) -> dict[str, float]:
        return {name: evidence_of(by_verifier[name], bias, n[name]) for name, bias in biases.items()}

    right = {subject.example_id: votes[subject] for subject in votes if not subject.is_planted}
    planted: dict[int | None, list[dict[str, float]]] = {}
    for subject, by_verifier in votes.items():
        if subject.is_planted:
            planted.setdefault(subject.example_id, []).append(evidence(by_verifier, _counts(by_verifier)))
    found = []
    for example_id, by_verifier in right.items():
        n = _counts(by_verifier)
        mistakes = [evidence(on_mistake, n) for on_mistake in _mistakes(run, by_verifier)]
        found.append(AuditedSeed(evidence(by_verifier, n), tuple(mistakes or planted[example_id])))
    return found


def _counts(by_verifier: Mapping[str, Sequence[Vote]]) -> dict[str, int]:
    return {name: len(votes) for name, votes in by_verifier.items()}


def _mistakes(run: Run, by_verifier: Mapping[str, Sequence[Vote]]) -> Iterator[dict[str, list[Vote]]]:
    """Each wrong answer that a verifier wrote, with the other votes as votes on it."""
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


def _agreement(votes: Votes, biases: Mapping[str, Bias], name: str) -> float | None:
    if not gives_answers(_on_right(votes, name), _on_planted(votes, name)):
        return None
    right = [by_verifier[name] for subject, by_verifier in votes.items() if not subject.is_planted]
    return sum(is_for(one, biases[name]) for one in right) / len(right)
