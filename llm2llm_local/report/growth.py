"""How the training set has grown, how far it may, and what the iterations that are left will cost.

What is ahead is reckoned with the run's own measured rates (rates.py) and is None where nothing was measured; the most
that a training set may have follows from the configuration alone.
"""

from __future__ import annotations

import math
import sqlite3
from dataclasses import dataclass

from .progress import position_of
from .rates import Plan, iterations_ahead, plan_of, rates_of
from .work import RunWork, run_work

_MOST_EXAMPLES_TOLD = 1e15
"""What is expected to be more has grown from round to round, and no figure of it would be true."""


@dataclass(frozen=True, slots=True)
class IterationGrowth:
    """`most_examples`: were every example failed by every student that may be, and were all new ones accepted.

    `steps`: optimizer steps of its training. `seconds`: wall time of all its stages, so far or, where the iteration
    `is_ahead`, as expected. None: can't be told, or more than any machine does.
    """

    iteration: int
    is_ahead: bool
    training_examples: int | None
    most_examples: int
    steps: int | None
    seconds: float | None


def growth_of(connection: sqlite3.Connection, run_id: int) -> tuple[IterationGrowth, ...]:
    """Every iteration of a run that exists, oldest first; those ahead unless the run is done."""
    work = run_work(connection, run_id)
    plan = plan_of(work)
    begun = []
    for number, iteration in enumerate(work.iterations):
        seconds = sum(stage.seconds for stage in work.stages if stage.iteration == number)
        begun.append(_growth(work, plan, number, iteration.training_examples, seconds, is_ahead=False))
    if work.status == "done":
        return tuple(begun)
    expected = list(iterations_ahead(rates_of(connection, work), plan, position_of(work)))
    by_number = {one.iteration: one for one in expected}
    last = plan.iterations
    if expected and expected[-1].seconds is not None:
        last = expected[-1].iteration  # the run ends there, if not before
    ahead = []
    for number in range(len(begun), last + 1):
        one = by_number.get(number)
        examples, seconds_ahead = (None, None) if one is None else (one.training_examples, one.seconds)
        ahead.append(_growth(work, plan, number, examples, seconds_ahead, is_ahead=True))
    return (*begun, *ahead)


def most_examples(plan: Plan, iteration: int) -> int:
    """In the training set of an iteration: as many new ones as there are failures at most, times the new examples
    wanted for each. Seeds alone give as many every time; where new examples that fail are augmented in turn they
    multiply. Where a share of the seeds is taken for failures, wrong or right, it is that share every time. What a
    person lets in of the doubtful ones comes on top, since others were asked for in their place.
    """
    if plan.augment_from == "all" and plan.subjects == "failures":
        return int(plan.seeds * (1 + plan.augmentations_per_failure) ** iteration)
    failures = round(plan.taken_for_failures(1.0, plan.seeds) or 0)
    return plan.seeds + failures * plan.augmentations_per_failure * iteration


def _growth(
    work: RunWork, plan: Plan, iteration: int, examples: float | None, seconds: float | None, *, is_ahead: bool
) -> IterationGrowth:
    if examples is not None and not examples <= _MOST_EXAMPLES_TOLD:
        examples = None
    if seconds is not None and not math.isfinite(seconds):
        seconds = None
    whole = None if examples is None else round(examples)
    steps = None if whole is None else work.steps(whole)
    return IterationGrowth(iteration, is_ahead, whole, most_examples(plan, iteration), steps, seconds)
