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
from .speed import Speed


@dataclass(frozen=True, slots=True)
class Assumption:
    """`failures`: the share of the questions asked that each student fails. `requests`: for each new example that is
    wanted, after which it is accepted.
    """

    failures: float
    requests: int
    request_seconds: float


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
        augment=assumption.request_seconds,
        check=0.0,
        failures=assumption.failures,
        requests=assumption.requests,
        accepted=1.0,
        audit=speed.teacher.ballot_seconds,
        calibrate=0.0,
        vote=speed.teacher.ballot_seconds,
        student_vote=speed.student.answer_seconds,
    )
    iterations = [one.seconds or 0.0 for one in iterations_ahead(rates, plan, Position(0, plan.seeds))]
    n_loads = len(iterations) if speed.takes_turns else 1
    loading = n_loads * (speed.teacher.loading + speed.student.loading)
    return Forecast(iterations[0], sum(iterations) + loading)


def forecast_lines(speed: Speed, plan: Plan, attempts: int) -> Iterator[str]:
    """What was measured, and what follows."""
    teacher, student = speed.teacher, speed.student
    least = forecast(speed, plan, Assumption(0.0, 1, teacher.request_seconds))
    half = forecast(speed, plan, Assumption(0.5, 1, teacher.request_seconds))
    most = forecast(speed, plan, Assumption(1.0, attempts, teacher.longest_request_seconds))
    ballots = "" if teacher.ballot_seconds is None else f", and {teacher.ballot_seconds:.2g} s for each ballot"
    yield (
        f"measured: the teacher wrote {teacher.tokens_per_second:.3g} tokens/s in a group of "
        f"{counted(teacher.requests, 'request')}, {teacher.request_seconds:.2g} s for each{ballots}; the student "
        f"trained on {student.tokens_per_second:.3g} tokens/s, {student.example_seconds:.2g} s for an example in an "
        f"epoch, and gave {1 / student.answer_seconds:.3g} answers/s; they were loaded in {duration(teacher.loading)} "
        f"and {duration(student.loading)}"
    )
    if plan.iterations == 0:
        yield f"time: {estimated(least.whole_run)}"
        return
    yield (
        f"first iteration: {estimated(least.first_iteration)} when the student fails no seed, "
        f"{estimated(most.first_iteration)} when it fails every seed and each new example is accepted at request "
        f"{attempts} only (teacher.attempts)"
    )
    yield (
        f"whole run: {estimated(least.whole_run)} when no seed is failed, since it ends there; "
        f"{estimated(half.whole_run)} when every student fails half and each new example is accepted at once; "
        f"{estimated(most.whole_run)} when every student fails all, with {counted(attempts, 'request')} for each"
        + (
            ", and replies that weren't at their end here are as long as teacher.max_new_tokens lets them be"
            if teacher.longest_request_seconds > teacher.request_seconds
            else ""
        )
    )
    yield (
        "not in these times: checks, what else the machine has to do, and that questions of new examples may be longer "
        "than those of the seeds"
    )
