"""What is verification worth with these models on this task? Measured on the seeds, before anything is augmented.

The teacher judges every seed, with its own answer and with wrong ones planted; so does, where it has a vote, a student
that hasn't seen the seed. From that follows how much each one's word counts (`checks.verification`), and how many right
and wrong candidates will get in. Verifiers that can't tell right from wrong end the run: every later figure would rest
on their word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..audit_words import audit_line
from ..checks.verification import (
    AuditedSeed,
    Bias,
    Calibration,
    Thresholds,
    VerifyCheck,
    audit,
    calibrate,
    choice_bias,
    evidence_of,
    gives_answers,
    is_for,
)
from ..errors import RunFailedError
from ..recipes import recipe_of
from ..records import TOGETHER, Split, Vote
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
            "Take a stronger teacher, give it more seeds, let the other model vote, too (checks.verifier), or, against "
            f'all this, have nothing verified: llm2llm fork {run.store.run_id} --set checks.verify=\\"off\\"',
        )


def thresholds(run: Run) -> Thresholds:
    return Thresholds(run.config.checks.accept_probability, run.config.checks.reject_probability)


def verify_check(run: Run) -> VerifyCheck:
    """By the calibration of the audit, which must be done."""
    found = run.store.verification.audit().calibration
    calibration = Calibration(found["intercept"], found["weights"])
    return VerifyCheck(calibration, found["biases"], thresholds(run), run.config.checks.doubt)


def _measured(run: Run, names: Sequence[str]) -> list[AuditRow]:
    """A row for each verifier alone where there are several, and the one by which candidates are judged."""
    votes = run.store.verification.audit_votes()
    biases = {name: choice_bias(_on_right(votes, name), _on_planted(votes, name)) for name in names}
    seeds = _audited_seeds(votes, biases)
    rows = []
    for title, some in [*((name, [name]) for name in names if len(names) > 1), (TOGETHER, list(names))]:
        found, measured = calibrate(seeds, some), audit(seeds, some, thresholds(run))
        rows.append(
            AuditRow(
                verifier=title,
                n_seeds=len(seeds),
                n_planted=sum(len(seed.wrong) for seed in seeds),
                agreement=_agreement(votes, biases, some[0]) if len(some) == 1 else None,
                true_accepts=measured.true_accepts,
                false_accepts=measured.false_accepts,
                preference=measured.preference,
                calibration={
                    "intercept": found.intercept,
                    "weights": dict(found.weights),
                    "biases": {name: biases[name] for name in some},
                },
            )
        )
    return rows


def _on_right(votes: Votes, name: str) -> list[Vote]:
    return [vote for subject, by_verifier in votes.items() if not subject.is_planted for vote in by_verifier[name]]


def _on_planted(votes: Votes, name: str) -> list[Vote]:
    return [vote for subject, by_verifier in votes.items() if subject.is_planted for vote in by_verifier[name]]


def _audited_seeds(votes: Votes, biases: Mapping[str, Bias]) -> list[AuditedSeed]:
    right: dict[int | None, dict[str, float]] = {}
    wrong: dict[int | None, list[dict[str, float]]] = {}
    for subject, by_verifier in votes.items():
        evidence = {name: evidence_of(by_verifier[name], bias) for name, bias in biases.items()}
        if subject.is_planted:
            wrong.setdefault(subject.example_id, []).append(evidence)
        else:
            right[subject.example_id] = evidence
    return [AuditedSeed(right[example_id], tuple(wrong[example_id])) for example_id in right]


def _agreement(votes: Votes, biases: Mapping[str, Bias], name: str) -> float | None:
    if not gives_answers(_on_right(votes, name), _on_planted(votes, name)):
        return None
    right = [by_verifier[name] for subject, by_verifier in votes.items() if not subject.is_planted]
    return sum(is_for(one, biases[name]) for one in right) / len(right)
