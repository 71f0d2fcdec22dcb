"""Ask the verifiers: the teacher by ballots, the student by what it answers itself.

In the audit they vote on seeds, with the right answer and with wrong ones planted; later on candidates. What is asked
is the same: a ballot never shows the seed that is judged, nor, of a candidate, the seed that it was written after. Its
prompt begins like those of all others of the same vote, so that the seeds shown are evaluated once for a unit.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

from ..records import Ballot, Example, NewExample, Outcome, Reply, Split, Vote
from ..spelling import same_words
from ..store.verification import Subject
from ..student.protocol import StudentAnswer
from ..teacher.protocol import Progress, Sampling, ScoreRequest, Scores, TeacherRequest
from ..verifiers import voters
from .adapters import require_sound
from .context import Conditions, Run, derive_rng_seed
from .predict import Batch, ask_student
from .units import Wait, Write, work_through_ahead

WRITTEN = Sampling(temperature=0.7, top_p=0.95, min_p=0.0)
"""Of solutions that are voted by: diverse enough to disagree (Wang et al. 2022, arXiv 2203.11171, use 0.5 to 0.7)."""

_LEAST_LOG_PROBABILITY = math.log(1e-4)
"""Of a student's choice that was too unlikely to be scored."""


@dataclass(frozen=True, slots=True)
class Voted:
    """A question with the answers that are voted on. `seed`: which no ballot shows, and no voting student has seen."""

    question: str
    seed: Example
    subjects: tuple[Subject, ...]


def verifiers(run: Conditions) -> tuple[str, ...]:
    """Whose votes decide on candidates; nobody's when verification is off."""
    return voters(run.config.checks.verify, run.config.checks.verifier)


def audited(run: Conditions, seeds: Sequence[Example]) -> list[Voted]:
    """Every seed with its own answer and the planted ones."""
    found = []
    for seed in seeds:
        rng = random.Random(derive_rng_seed(run.config.loop.rng_seed, "planted", seed.key))
        wrong = run.task.wrong_answers(seed, seeds, rng)
        subjects = [Subject(seed.answer, example_id=seed.id)]
        subjects += [Subject(answer, example_id=seed.id, is_planted=True) for answer in wrong]
        found.append(Voted(seed.question, seed, tuple(subjects)))
    return found


# --- the teacher ---


def ask_teacher_to_vote(run: Run, iteration: int, stage: str, attempt: int, voted: Sequence[Voted], votes: int) -> None:
    """Each unit is one vote on a group of questions, so that its ballots begin alike. `votes`: on each question."""
    size = run.config.teacher.group_size
    groups = [voted[start : start + size] for start in range(0, len(voted), size)]
    seeds = run.store.examples(Split.TRAIN)

    def begin(unit: tuple[int, Sequence[Voted]]) -> Wait:
        number, group = unit
        shown = drawn_for(run, seeds, number)
        ballots = [
            (one, subject, ballot_on(run, shown, one, subject, number)) for one in group for subject in one.subjects
        ]
        distinct = {(ballot.prompt, ballot.choices): (one.question, ballot) for one, _, ballot in ballots}
        wait = _begin(run, (stage, iteration, attempt, number), list(distinct.values()))

        def finish() -> Write:
            outcomes = dict(zip(distinct, wait(run.watcher.within), strict=True))

            def write() -> int:
                for one, subject, ballot in ballots:
                    new = NewExample(one.question, subject.answer)
                    vote = _read(run, ballot, outcomes[ballot.prompt, ballot.choices], new)
                    run.store.verification.add_vote(iteration, subject, "teacher", vote, number)
                run.store.verification.add_ballot_tokens(iteration, stage, attempt, *_tokens(outcomes.values()))
                return len(distinct)

            return write

        return finish

    units = [(number, group) for group in groups for number in range(votes)]
    work_through_ahead(run, iteration, stage, attempt, units, begin)


def drawn_for(run: Conditions, seeds: Sequence[Example], number: int) -> list[Example]:
    """The seeds in the order in which the teacher's `number`-th ballot may show them."""
    return sorted(seeds, key=lambda seed: derive_rng_seed(run.config.loop.rng_seed, "vote", number, seed.key))


def ballot_on(run: Conditions, shown: Sequence[Example], one: Voted, subject: Subject, number: int) -> Ballot:
    """The teacher's `number`-th on one answer; `shown`: the seeds as they are drawn for it."""
    rng = random.Random(derive_rng_seed(run.config.loop.rng_seed, "ballot", number))
    new = NewExample(one.question, subject.answer)
    judged = {same_words(one.seed.question), same_words(one.question)}
    others = [seed for seed in shown if same_words(seed.question) not in judged]
    return run.task.ballot(new, others, run.prompt_style, rng)


Said = Reply | Scores
"""Of a ballot: what was written, or how likely each choice is."""


def _begin(
    run: Run, place: tuple[str | int, ...], asked: Sequence[tuple[str, Ballot]]
) -> Callable[[Progress], Sequence[Said]]:
    """`place`: of the vote in the run; `asked`: questions with the ballots on them. What is written is drawn for each
    question by itself.
    """
    if asked[0][1].choices:
        return run.teacher.begin_score([ScoreRequest(ballot.prompt, ballot.choices) for _, ballot in asked])
    rng_seed, max_tokens = run.config.loop.rng_seed, run.config.teacher.max_new_tokens
    return run.teacher.begin_generate(
        [
            TeacherRequest(
                ballot.prompt, WRITTEN, None, derive_rng_seed(rng_seed, "solve", *place, question), max_tokens
            )
            for question, ballot in asked
        ]
    )


def _read(run: Run, ballot: Ballot, outcome: Said, new: NewExample) -> Vote:
    if isinstance(outcome, Reply):
        said, agrees = _written(run, outcome, new)
        return Vote(said, {}, None, agrees, outcome.text)
    most = max(outcome.log_likelihoods)
    total = most + math.log(sum(math.exp(score - most) for score in outcome.log_likelihoods))
    answers = ballot.answers or ballot.choices
    scores = {answer: score - total for answer, score in zip(answers, outcome.log_likelihoods, strict=True)}
    assert ballot.intended is not None
    intended = answers[ballot.choices.index(ballot.intended)]
    return Vote(max(scores, key=scores.__getitem__).strip(), scores, intended, None, "")


def _tokens(outcomes: Collection[Said]) -> tuple[int, int]:
    """Read and written: the choices of a scored ballot are read."""
    read = sum(outcome.input_tokens for outcome in outcomes)
    return read, sum(outcome.output_tokens for outcome in outcomes if isinstance(outcome, Reply))


def _written(run: Run, reply: Reply, new: NewExample) -> tuple[str | None, bool | None]:
    """The answer that was written, and whether it is the example's (None: unreadable)."""
    grade = run.task.grade(reply, new.answer)
    return grade.predicted_answer, None if grade.predicted_answer is None else grade.outcome is Outcome.CORRECT


# --- the student ---


def keep_student_votes(run: Run, iteration: int, fold: int, one: Voted, answer: StudentAnswer) -> None:
    """What the answer of a fold's student says of each of the answers; part of a transaction."""
    for subject in one.subjects:
        vote = _student_vote(run, NewExample(one.question, subject.answer), answer)
        run.store.verification.add_vote(iteration, subject, "student", vote, fold=fold)


def _student_vote(run: Run, new: NewExample, answer: StudentAnswer) -> Vote:
    if answer.log_probabilities:
        scores = {
            choice: max(score, _LEAST_LOG_PROBABILITY)
            for choice, score in zip(run.task.choices, answer.log_probabilities, strict=True)
        }
        return Vote(answer.reply.text.strip(), scores, new.answer, None, "")
    said, agrees = _written(run, answer.reply, new)
    return Vote(said, {}, None, agrees, answer.reply.text)


def ask_students_to_vote(
    run: Run, iteration: int, attempt: int, voted: Sequence[Voted], fold_of: Mapping[int, int]
) -> None:
    """Each question is answered by the student of iteration 0 that hasn't seen the seed it was written after."""
    size = run.config.student.predict_batch_size
    units = []
    for fold in sorted(set(fold_of.values())):
        adapter = cache(partial(require_sound, run.store, 0, fold))
        of_fold = [one for one in voted if fold_of[one.seed.id] == fold]
        of_fold.sort(key=lambda one: (len(one.question), one.subjects[0].candidate_id))
        units += [Batch(adapter, of_fold[start : start + size]) for start in range(0, len(of_fold), size)]

    def keep(one: Voted, answer: StudentAnswer) -> None:
        keep_student_votes(run, iteration, fold_of[one.seed.id], one, answer)

    ask_student(run, iteration, "student_vote", attempt, units, lambda one: one.question, keep)
