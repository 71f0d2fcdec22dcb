"""How fast teacher and student are on this machine, measured in about half a minute on the person's own texts.

The real models work in their worker processes, loaded as a run loads them, at what a run asks of them: a whole group of
requests, or as many as half a minute is enough for, optimizer steps of the configured batch, a batch of predictions. A
first, short call warms up and tells how much more there is time for. Where a call alone takes a minute, it is ended.
What a run doesn't ask a model isn't measured, and a teacher that it never asks isn't loaded.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .counted import counted
from .errors import RunFailedError
from .loop.fingerprint import threads
from .loop.inputs import Inputs
from .loop.plans import DevicePlan, device_plan, student_settings
from .loop.prompts import demonstrations_for, drawn_to_show, prompt_for, sampling_of
from .loop.train import segment_of
from .loop.vote import WRITTEN, audited, ballot_on, drawn_for, verifiers
from .recipes import teacher_writes, uses_teacher
from .records import Ballot, Example, Failure, FinishReason, Origin, Reply, Split, TeacherPrompt
from .student.batching import total_steps
from .student.protocol import PredictionBatch, Student, TrainingExample, TrainingSegment
from .teacher.protocol import ScoreRequest, Teacher, TeacherRequest
from .workers.pool import WorkerPool

_TEACHER_SECONDS, _TRAINING_SECONDS, _PREDICTION_SECONDS = 15.0, 10.0, 5.0
"""Once their model is loaded, as far as the first call of each leaves it to us."""

_MOST_SECONDS = 60.0
"""Of one call."""

_PLANNED_SECONDS = 30.0
"""Of one call at most, as far as a smaller one tells: others may be longer, and the machine be busy."""

_FIRST_TOKENS = 16
_FIRST_STEPS = 2
_FIRST_ROWS = 8
"""Of the first call of each."""

_LEAST_SECONDS = 1e-6
"""No call is quicker, so that rates are finite."""

Clock = Callable[[], float]


class TooSlowError(RunFailedError):
    """A call took longer than a measurement may."""


@dataclass(frozen=True, slots=True)
class WritingSpeed:
    """`request_seconds`: wall time of a group's call for each of its requests. Replies that were cut off to save time
    are as long as they were; in `longest_request_seconds` each of them is as long as the configuration lets it be.
    """

    requests: int
    request_seconds: float
    longest_request_seconds: float
    tokens_per_second: float


@dataclass(frozen=True, slots=True)
class TeacherSpeed:
    """`writing`: of new examples; None where the teacher writes none. `ballot_seconds`: of a vote on a group of
    questions, for each, and `longest_ballot_seconds` where it is written and as long as it may be; None where it has no
    vote.
    """

    loading: float
    writing: WritingSpeed | None
    ballot_seconds: float | None = None
    longest_ballot_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class StudentSpeed:
    """`example_seconds`: of training, for an example in an epoch. `answer_seconds`: of a prediction."""

    loading: float
    example_seconds: float
    tokens_per_second: float
    answer_seconds: float


@dataclass(frozen=True, slots=True)
class Speed:
    """`teacher`: None where it is never asked. `takes_turns`: both are asked and only one fits."""

    teacher: TeacherSpeed | None
    student: StudentSpeed
    takes_turns: bool


class TimeLimit:
    """Ends a call that goes on for too long: a worker pool looks at it while it waits."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._end: float | None = None
        self._what = ""

    def look(self) -> None:
        if self._end is not None and self._clock() > self._end:
            self._end = None
            raise TooSlowError(
                f"{self._what} takes longer than {_MOST_SECONDS:g} s, so no more was measured",
                "Smaller models, or measure again when nothing else is at work here.",
            )

    def timed(self, what: str, call: Callable[[], object]) -> float:
        """Seconds of a call that may take a minute."""
        began = self._clock()
        self._what, self._end = what, began + _MOST_SECONDS
        call()
        self._end = None
        return max(_LEAST_SECONDS, self._clock() - began)


def measure_speed(inputs: Inputs) -> Speed:
    """With workers of its own, which end. Raises Llm2LlmError: what a run would be refused or stopped for, or
    TooSlowError.
    """
    plan = device_plan(inputs)
    limit = TimeLimit(time.monotonic)
    with tempfile.TemporaryDirectory(prefix="llm2llm-speed-") as name:
        folder = Path(name)
        with _pool(inputs, plan, folder, limit) as pool:
            return measure_models(inputs, pool.teacher, pool.student, plan, folder, limit, time.monotonic)


def measure_models(
    inputs: Inputs, teacher: Teacher, student: Student, plan: DevicePlan, folder: Path, limit: TimeLimit, clock: Clock
) -> Speed:
    """Of both models, as far as a run asks them anything."""
    of_teacher = measure_teacher(inputs, teacher, limit, clock) if uses_teacher(inputs.config) else None
    of_student = measure_student(inputs, student, folder, limit, clock)
    return Speed(of_teacher, of_student, takes_turns=of_teacher is not None and not plan.memory.keeps_both)


def measure_teacher(inputs: Inputs, teacher: Teacher, limit: TimeLimit, clock: Clock) -> TeacherSpeed:
    """What it is asked of new examples and votes; at least one of them."""
    ballots = _ballots(inputs)
    began = clock()
    teacher.check_prompts(_requests(inputs, 1) or _as_requests(ballots, 1), _quiet)  # loads it
    loading = clock() - began
    writing = None
    if teacher_writes(inputs.config):
        writing = _writing_speed(inputs, lambda tokens: _requests(inputs, tokens), teacher, limit)
    return TeacherSpeed(loading, writing, *_ballot_seconds(inputs, ballots, writing, teacher, limit))


def _writing_speed(
    inputs: Inputs, requests_of: Callable[[int], Sequence[TeacherRequest]], teacher: Teacher, limit: TimeLimit
) -> WritingSpeed:
    """One request with a short reply first, then the group with such replies, then with as long ones as the time is
    enough for. `requests_of`: with so many tokens to a reply at most.
    """
    longest = inputs.config.teacher.max_new_tokens

    def group(n: int, tokens: int) -> tuple[float, list[Reply]]:
        replies: list[Reply] = []
        requests = requests_of(tokens)[:n]
        what = f"the teacher's answer to {counted(len(requests), 'request')}, {tokens} tokens each at most,"
        return limit.timed(what, lambda: replies.extend(teacher.generate(requests, _quiet))), replies

    first = min(_FIRST_TOKENS, longest)
    n = _most_at_once(len(requests_of(first)), lambda n: group(n, first)[0])
    seconds, replies = group(n, first)
    token_seconds = seconds / max(1, _written(replies))
    most = min(longest, int(first * (_TEACHER_SECONDS - seconds) / seconds))
    if _cut(replies):
        # The reading of the prompts, which both calls have, isn't in the difference.
        other = most if most > first else 1
        other_seconds, others = group(n, other)
        if (more := _written(others) - _written(replies)) != 0:
            token_seconds = max(0.0, (other_seconds - seconds) / more)
        if other > first:
            seconds, replies = other_seconds, others
    missing = sum(longest - reply.output_tokens for reply in _cut(replies))
    return WritingSpeed(
        requests=len(replies),
        request_seconds=seconds / len(replies),
        longest_request_seconds=(seconds + missing * token_seconds) / len(replies),
        tokens_per_second=_written(replies) / seconds,
    )


def _ballot_seconds(
    inputs: Inputs, ballots: Sequence[Ballot], writing: WritingSpeed | None, teacher: Teacher, limit: TimeLimit
) -> tuple[float | None, float | None]:
    """As they are, and as long as they may be. Scored ballots are timed. A written one is taken to be as long as a new
    example, where the teacher writes those, too: it would take as long to know better.
    """
    if not ballots:
        return None, None
    if not ballots[0].choices:
        if writing is None:
            writing = _writing_speed(inputs, lambda tokens: _as_requests(ballots, tokens), teacher, limit)
        return writing.request_seconds, writing.longest_request_seconds

    def vote(n: int) -> float:
        requests = [ScoreRequest(ballot.prompt, ballot.choices) for ballot in ballots[:n]]
        return limit.timed(f"a vote on {counted(n, 'question')}", lambda: teacher.score(requests, _quiet))

    n = _most_at_once(len(ballots), vote)
    seconds = vote(n)
    return seconds / n, seconds / n


def _most_at_once(n: int, seconds_of: Callable[[int], float]) -> int:
    """Of the `n` requests of a group, as many as there is time for. What their prompts have in common takes its time
    once, and how much that is shows in a small group. `seconds_of`: so many at once.
    """
    alone = seconds_of(1)
    few = max(1, min(n, int(_PLANNED_SECONDS / alone)))
    if few in (1, n):
        return few
    seconds = seconds_of(few)
    each = max(_LEAST_SECONDS, (seconds - alone) / (few - 1))
    return max(few, min(n, few + int((_PLANNED_SECONDS - seconds) / each)))


def measure_student(inputs: Inputs, student: Student, folder: Path, limit: TimeLimit, clock: Clock) -> StudentSpeed:
    """The first steps of a training on the seeds, and answers of what came of them."""
    config = inputs.config.student
    examples = _training_examples(inputs)
    began = clock()
    student.check_lengths(examples, _quiet)  # loads it
    loading = clock() - began

    steps = total_steps(len(examples), config.batch_size, config.epochs)
    tokens = [0]

    def train(start: int, stop: int) -> float:
        segment = _segment(inputs, examples, start, stop, steps, folder)
        what = f"a training of {stop - start} steps"

        def call() -> None:
            tokens[0] = student.train(segment, _quiet).tokens

        return limit.timed(what, call)

    done = min(_FIRST_STEPS, steps)
    seconds, n_steps = train(0, done), done
    more = min(steps - done, int(done * (_TRAINING_SECONDS - seconds) / seconds))
    if more > 0:
        seconds, n_steps, done = train(done, done + more), more, done + more
    n_examples = n_steps * len(examples) * config.epochs / steps

    prompts = _prompts(inputs)

    def answer(n: int) -> float:
        batch = PredictionBatch(
            adapter=_adapter(folder, done),
            prompts=tuple(sorted(prompts[:n], key=len)),  # as in a run, where those of a batch are about as long
            completions=tuple(inputs.task.prompts.completion(choice) for choice in inputs.task.choices),
            max_new_tokens=config.max_new_tokens,
        )
        return limit.timed(f"a batch of {n} predictions", lambda: student.predict(batch, _quiet))

    rows = min(_FIRST_ROWS, len(prompts))
    of_rows = answer(rows)
    most = min(len(prompts), int(rows * (_PREDICTION_SECONDS - of_rows) / of_rows))
    if most > rows:
        rows, of_rows = most, answer(most)
    return StudentSpeed(
        loading=loading,
        example_seconds=seconds / n_examples,
        tokens_per_second=tokens[0] / seconds,
        answer_seconds=of_rows / rows,
    )


def _pool(inputs: Inputs, plan: DevicePlan, folder: Path, limit: TimeLimit) -> WorkerPool:
    config = inputs.config
    return WorkerPool(
        teacher=plan.teacher.settings(config.teacher.model, threads(config.hardware)),
        student=student_settings(inputs, plan),
        plan=plan.memory,
        logs=folder,
        timeout_seconds=config.hardware.worker_timeout_seconds,
        retries=0,
        report=lambda kind, message: None,
        interrupted=limit.look,
    )


def _seeds(inputs: Inputs) -> list[Example]:
    return [
        Example(number, f"train/{number}", Split.TRAIN, Origin.SEED, row.question, row.answer)
        for number, row in enumerate(inputs.data.rows[Split.TRAIN])
    ]


def _requests(inputs: Inputs, tokens: int) -> list[TeacherRequest]:
    """A unit of work of a run that makes new examples for all its seeds, as far as there are so many to ask for; none
    where the teacher writes none.
    """
    config = inputs.config
    if not teacher_writes(config):
        return []
    seeds = _seeds(inputs)
    rng = random.Random(0)
    slots = range(config.loop.augmentations_per_failure)
    wanted = [(seed, slot) for seed in seeds for slot in slots]
    chosen = rng.sample(wanted, min(config.teacher.group_size, len(wanted)))
    shown = [drawn_to_show(seeds, config.loop.rng_seed, 0, 0, slot) for slot in slots]
    return [
        TeacherRequest(_prompt(inputs, seed, shown[slot]), sampling_of(config.teacher), inputs.grammar, number, tokens)
        for number, (seed, slot) in enumerate(chosen)
    ]


def _prompt(inputs: Inputs, seed: Example, shown: Sequence[Example]) -> TeacherPrompt:
    """Of a first round."""
    demonstrations = demonstrations_for(inputs.task, seed, shown, inputs.config.teacher.demonstrations)
    return prompt_for(inputs, Failure(seed, seed.answer), demonstrations, ())


def _as_requests(ballots: Sequence[Ballot], tokens: int) -> list[TeacherRequest]:
    """To have them written."""
    return [TeacherRequest(ballot.prompt, WRITTEN, None, number, tokens) for number, ballot in enumerate(ballots)]


def _ballots(inputs: Inputs) -> list[Ballot]:
    """The first unit of the audit; none where the teacher has no vote."""
    if "teacher" not in verifiers(inputs):
        return []
    seeds = _seeds(inputs)
    voted = audited(inputs, seeds)[: inputs.config.teacher.group_size]
    shown = drawn_for(inputs, seeds, 0)
    return [ballot_on(inputs, shown, one, one.subjects[0], 0) for one in voted]


def _written(replies: Sequence[Reply]) -> int:
    return sum(reply.output_tokens for reply in replies)


def _cut(replies: Sequence[Reply]) -> list[Reply]:
    return [reply for reply in replies if reply.finish_reason is FinishReason.LENGTH]


def _training_examples(inputs: Inputs) -> tuple[TrainingExample, ...]:
    prompts = inputs.task.prompts
    return tuple(
        TrainingExample(prompts.prompt(row.question), prompts.completion(row.answer))
        for row in inputs.data.rows[Split.TRAIN]
    )


def _prompts(inputs: Inputs) -> tuple[str, ...]:
    """A unit of predictions, of any split."""
    questions = [row.question for split in Split for row in inputs.data.rows[split]]
    n = min(inputs.config.student.predict_batch_size, len(questions))
    return tuple(inputs.task.prompts.prompt(question) for question in random.Random(0).sample(questions, n))


def _segment(
    inputs: Inputs, examples: tuple[TrainingExample, ...], start: int, stop: int, steps: int, folder: Path
) -> TrainingSegment:
    return segment_of(
        inputs.config.student,
        examples,
        epochs=inputs.config.student.epochs,
        rng_seed=0,
        start_step=start,
        stop_step=stop,
        total_steps=steps,
        start_adapter=None,
        checkpoint=_adapter(folder, start) if start else None,
        output=_adapter(folder, stop),
    )


def _adapter(folder: Path, step: int) -> Path:
    return folder / f"step-{step}"


def _quiet(*figures: float) -> None:
    """Progress that nobody looks at."""
