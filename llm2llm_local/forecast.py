"""What a whole run will take at a measured speed, from the least to the most that its failures can come to.

How many seeds a student will fail, and how often the teacher has to be asked, nobody knows before the run: so there is
no one figure, and what each is reckoned with is said beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .counted import counted
from .report.duration import duration, estimated
from .report.rates import Plan, Position, Rates, iterations_ahead
from .speed import Speed, TeacherSpeed


@dataclass(frozen=True, slots=True)
class Asking:
    """Wall seconds of the teacher. `request`: for a new example; 0 where words are changed instead. `ballot`: None
    where it has no vote.
    """

    request: float
    ballot: float | None = None


@dataclass(frozen=True, slots=True)
class Assumption:
    """`failures`: the share of the questions asked that each student fails, where that matters. `requests`: for each
    new example that is wanted, after which it is accepted.
    """

    failures: float
    requests: int
    asking: Asking


@dataclass(frozen=True, slots=True)
class Forecast:
    """Wall seconds; may be more than any calendar has."""

    first_iteration: float
    whole_run: float


def forecast(speed: Speed, plan: Plan, assumption: Assumption) -> Forecast:
    """Checks and grading take no time worth telling; loading does."""
    rates = Rates(
        train=speed.student.example_seconds,
        predict=speed.student.answer_seconds,
        grade=0.0,
        augment=assumption.asking.request,
        check=0.0,
        failures=assumption.failures,
        requests=assumption.requests,
        accepted=1.0,
        audit=assumption.asking.ballot,
        calibrate=0.0,
        vote=assumption.asking.ballot,
        student_vote=speed.student.answer_seconds,
    )
    iterations = [one.seconds or 0.0 for one in iterations_ahead(rates, plan, Position(0, plan.seeds))]
    loading = _n_loads(speed, plan, assumption, len(iterations)) * (
        (0.0 if speed.teacher is None else speed.teacher.loading) + speed.student.loading
    )
    return Forecast(iterations[0], sum(iterations) + loading)


def _n_loads(speed: Speed, plan: Plan, assumption: Assumption, n_iterations: int) -> int:
    """Of each model: at the start, when the texts are measured, and, where they take turns, after the audit and with
    every round of asking, or where only the teacher is asked in several of them, with the first.
    """
    if not speed.takes_turns:
        return 1
    rounds = assumption.requests if "student" in plan.verifiers else 1
    return 1 + ("teacher" in plan.verifiers) + (n_iterations - 1) * rounds


def forecast_lines(speed: Speed, plan: Plan, attempts: int) -> Iterator[str]:
    """What was measured, and what follows."""
    writing = None if speed.teacher is None else speed.teacher.writing
    measured, longest = _as_measured(speed.teacher), _at_longest(speed.teacher)
    none = forecast(speed, plan, Assumption(0.0, 1, measured))
    half = forecast(speed, plan, Assumption(0.5, 1, measured))
    most = forecast(speed, plan, Assumption(1.0, attempts, longest))
    requests = counted(attempts, "request" if writing is not None else "try", "" if writing is not None else "tries")
    lengths = (
        ", and replies that weren't at their end here are as long as teacher.max_new_tokens lets them be"
        if longest != measured
        else ""
    )
    yield _measured(speed)
    if plan.iterations == 0:
        yield f"time: {estimated(none.whole_run)}"
        return
    if plan.failures_are_known:
        yield (
            f"first iteration: {estimated(none.first_iteration)} when each new example is accepted at once, "
            f"{estimated(most.first_iteration)} when each takes {requests} (teacher.attempts)"
        )
        yield (
            f"whole run: {estimated(none.whole_run)} when each new example is accepted at once, "
            f"{estimated(most.whole_run)} when each takes {requests}{lengths}; how many "
            "are wanted doesn't depend on what the student fails"
        )
    else:
        yield (
            f"first iteration: {estimated(none.first_iteration)} when the student fails no seed, "
            f"{estimated(most.first_iteration)} when it fails every seed and each new example is accepted at request "
            f"{attempts} only (teacher.attempts)"
        )
        yield (
            f"whole run: {estimated(none.whole_run)} when no seed is failed, since it ends there; "
            f"{estimated(half.whole_run)} when every student fails half and each new example is accepted at once; "
            f"{estimated(most.whole_run)} when every student fails all, with {requests} for each"
            f"{lengths}"
        )
    yield (
        "not in these times: checks, what else the machine has to do, and that questions of new examples may be longer "
        "than those of the seeds"
    )


def _as_measured(teacher: TeacherSpeed | None) -> Asking:
    if teacher is None:
        return Asking(0.0)
    return Asking(0.0 if teacher.writing is None else teacher.writing.request_seconds, teacher.ballot_seconds)


def _at_longest(teacher: TeacherSpeed | None) -> Asking:
    """With replies as long as the configuration lets them be, where they weren't at their end."""
    if teacher is None:
        return Asking(0.0)
    request = 0.0 if teacher.writing is None else teacher.writing.longest_request_seconds
    return Asking(request, teacher.longest_ballot_seconds)


def _measured(speed: Speed) -> str:
    teacher, student = speed.teacher, speed.student
    of_student = (
        f"the student trained on {student.tokens_per_second:.3g} tokens/s, {student.example_seconds:.2g} s for an "
        f"example in an epoch, and gave {1 / student.answer_seconds:.3g} answers/s"
    )
    if teacher is None:
        return f"measured: {of_student}; it was loaded in {duration(student.loading)}, and the teacher is never asked"
    return (
        f"measured: the teacher {_of_teacher(teacher)}; {of_student}; they were loaded in {duration(teacher.loading)} "
        f"and {duration(student.loading)}"
    )


def _of_teacher(teacher: TeacherSpeed) -> str:
    parts = []
    if teacher.writing is not None:
        writing = teacher.writing
        parts.append(
            f"wrote {writing.tokens_per_second:.3g} tokens/s in a group of {counted(writing.requests, 'request')}, "
            f"{writing.request_seconds:.2g} s for each"
        )
    if teacher.ballot_seconds is not None:
        parts.append(f"{'and' if parts else 'voted,'} {teacher.ballot_seconds:.2g} s for each ballot")
    return ", ".join(parts)
