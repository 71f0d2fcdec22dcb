"""What the teacher is asked for a new example with: the same for a run, for its preflight and for a measurement."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

from ..config import TeacherConfig
from ..recipes import recipe_of
from ..records import Example, Failure, NewExample, TeacherPrompt
from ..tasks.base import Task
from ..teacher.protocol import Sampling
from .context import Conditions, derive_rng_seed


def prompt_for(
    asking: Conditions, failure: Failure, demonstrations: Sequence[Example], kept: Sequence[NewExample]
) -> TeacherPrompt:
    """For one new example, as the recipe asks for it. `kept`: those there are of this failure already."""
    if recipe_of(asking.config).writer == "rephrasing teacher":
        return asking.task.rephrase_prompt(failure.example, kept, asking.prompt_style)
    show = asking.config.teacher.show_student_answer
    return asking.task.teacher_prompt(failure, demonstrations, kept, asking.prompt_style, show_student_answer=show)


def sampling_of(teacher: TeacherConfig) -> Sampling:
    """Of new examples."""
    return Sampling(teacher.temperature, teacher.top_p, teacher.min_p)


def drawn_to_show(seeds: Sequence[Example], rng_seed: int, iteration: int, attempt: int, slot: int) -> list[Example]:
    """The seeds in the order in which prompts may show them, the same for all failures: what their prompts begin with
    is then evaluated once for a unit.
    """
    rng = random.Random(derive_rng_seed(rng_seed, iteration, "demonstrations", attempt, slot))
    return rng.sample(seeds, len(seeds))


def demonstrations_for(task: Task, example: Example, shown: Sequence[Example], n: int) -> list[Example]:
    """The first `n` of the example's kind, without itself."""
    similar = (seed for seed in shown if seed.id != example.id and task.kind(seed) == task.kind(example))
    return list(itertools.islice(similar, n))


def kept_that_fit(kept: Sequence[NewExample], n: int) -> Sequence[NewExample]:
    """The newest ones, as many as demonstrations, so that prompts don't grow over the iterations."""
    return kept[-n:] if n else ()
