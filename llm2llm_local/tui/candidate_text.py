"""A candidate in words: as a row, in full, and what a decision on it does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from rich.text import Text
from textual.app import App

from ..records import Outcome
from ..report.candidate import CheckResult, MadeExample, NextTraining, ReviewRecord, WholeCandidate
from ..report.candidates import CandidateLine
from ..report.votes import FREED, vote_text
from .ink import ink
from .text import many_lines, one_line
from .verdicts import ASKED, BY_PERSON, REFUSED, verdict_text
from .widgets.full_text import Section

_UNREAD = "(the reply could not be read)"


def verdict_of(app: App[object], line: CandidateLine) -> Text:
    """The person's word where there is one, else the checks'."""
    if line.person is None:
        return verdict_text(app, line.verdict, ASKED if line.waits and line.verdict == "accept" else "")
    if line.person.refused_reason is not None:
        return verdict_text(app, line.verdict, REFUSED)
    return verdict_text(app, line.person.decision, BY_PERSON)


def texts_of(line: CandidateLine) -> tuple[str | None, str | None]:
    """Question and answer as they are, or would be, trained on: with a person's edits."""
    person = line.person
    if person is None:
        return line.question, line.answer
    return (
        line.question if person.question is None else person.question,
        line.answer if person.answer is None else person.answer,
    )


def hindrance(line: CandidateLine) -> str | None:
    """Why the candidate can't be accepted as it is; None: it can."""
    question, answer = texts_of(line)
    if question is None or answer is None:
        return "the teacher's reply could not be read: e writes the example that it should have been"
    if line.repeats_test and question == line.question:
        return "it repeats a dev or test question, which must not be trained on: e changes it"
    return None


def effect_of(training: NextTraining) -> str:
    """What deciding does in this run, in a sentence."""
    waiting = f" Waiting so far: {training.waiting:,}." if training.waiting else ""
    if training.iteration is not None:
        return f"Decisions count from the training of iteration {training.iteration} on.{waiting}"
    return (
        f"Run {training.run_id} begins no more trainings: llm2llm fork {training.run_id} trains its last student anew "
        f"with what you decide.{waiting}"
    )


def sections_of(app: App[object], whole: WholeCandidate, line: CandidateLine) -> list[Section]:
    """`line`: the candidate with what was just decided."""
    origin = "" if whole.seed_origin == "seed" else " (itself written by the teacher)"
    question, answer = texts_of(line)
    new = ink(app, "primary", bold=True)
    sections: list[Section] = [
        ("verdict", Text.assemble(verdict_of(app, line), "  ", _reason(whole, line))),
        ("seed", whole.seed_question),
        ("gold", whole.seed_answer),
        ("student", _student(app, whole)),
        ("new", many_lines(_UNREAD if question is None else question, new)),
        ("answer", many_lines(_UNREAD if answer is None else answer, new)),
    ]
    if line.person is not None and line.person.question is not None:
        sections.append(("unedited", line.question or _UNREAD))
    if line.person is not None and line.person.answer is not None:
        sections.append(("unedited", line.answer or _UNREAD))
    hinders = hindrance(line)
    if hinders is not None:
        sections.append(("", Text(f"Can't be accepted as it is: {hinders}.", style=ink(app, "warning"))))
    sections += [("", ""), *_judgements(app, whole)]
    sections += [("", ""), ("reply", whole.output_text), ("", ""), ("from", _origin(whole) + origin)]
    sections += [("example", _example(made)) for made in whole.examples]
    return sections


def _reason(whole: WholeCandidate, line: CandidateLine) -> Text:
    if line.person is not None and line.person.refused_reason is not None:
        return one_line(f"not carried out: {line.person.refused_reason}")
    if line.person is not None:
        applied = line.person.applied_iteration
        where = "waits" if applied is None else f"in since iteration {applied}"
        if applied is not None and line.person.decision == "reject":
            where = f"out since iteration {applied}"
        return Text(f"by a person, {where}")
    if line.waits and line.verdict == "accept":
        return Text("accepted; drawn for an audit of the checks: is its answer right?")
    checks = [check for check in whole.checks if check.verdict == line.verdict and check.reason]
    return one_line(checks[0].reason if checks else "")


def _student(app: App[object], whole: WholeCandidate) -> Text:
    if whole.outcome is None:
        return Text("its answer was not recorded", style="dim")
    answer = "nothing readable" if whole.predicted_answer is None else whole.predicted_answer
    confidence = "" if whole.confidence is None else f" ({whole.confidence:.0%})"
    ink_of_answer = "" if whole.outcome == Outcome.CORRECT else ink(app, "error")
    return Text.assemble(many_lines(answer, ink_of_answer), f"{confidence}  {whole.outcome}")


def _judgements(app: App[object], whole: WholeCandidate) -> Iterator[Section]:
    for check in whole.checks:
        yield check.check_name, _judgement(app, check)
        if check.check_name == "verify":
            yield from (("vote", many_lines(vote_text(vote))) for vote in whole.votes)
    for review in whole.reviews:
        yield "person", _review(app, review)


def _judgement(app: App[object], check: CheckResult) -> Text:
    score = "" if check.score is None else f"  {check.score:.2f}"
    if check.score is not None and check.check_name == "verify":
        score = f"  {check.score:.0%} right, if right and wrong were equally frequent"
    parts = [verdict_text(app, check.verdict), Text(f"{score}  "), one_line(check.reason)]
    if check.detail:
        said_by = f"{FREED}: " if check.check_name == "verify" else ""
        parts.append(many_lines(f"\n{said_by}{check.detail}"))
    return Text.assemble(*parts)


def _review(app: App[object], review: ReviewRecord) -> Text:
    moment = datetime.fromisoformat(review.created_at).astimezone()
    edited = ", edited" if review.question is not None or review.answer is not None else ""
    if review.refused_reason is not None:
        fate = f"not carried out: {review.refused_reason}"
    elif review.applied_iteration is None:
        fate = "waits"
    else:
        fate = f"since iteration {review.applied_iteration}"
    word = (
        Text("↶ withdraw")
        if review.decision == "withdraw"
        else Text.assemble(verdict_text(app, review.decision), edited)
    )
    return Text.assemble(word, f"  {moment:%m-%d %H:%M}  ", many_lines(fate))


def _origin(whole: WholeCandidate) -> str:
    return (
        f"example {whole.seed_id}, asked about in iteration {whole.line.iteration}; "
        f"round {whole.attempt + 1} of asking, place {whole.slot + 1}"
    )


def _example(made: MadeExample) -> str:
    until = "" if made.removed_iteration is None else f", kept out from iteration {made.removed_iteration} on"
    return f"{made.example_id}, trains from iteration {made.iteration + 1} on{until}"
