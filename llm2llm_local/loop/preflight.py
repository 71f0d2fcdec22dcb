"""Before a run's first unit: do the person's texts fit into the models?"""

from __future__ import annotations

from collections.abc import Sequence

from ..records import Example, Failure, NewExample, Split
from ..student.protocol import TrainingExample
from ..teacher.protocol import Sampling, TeacherRequest
from .context import Run
from .plans import complete_plan, estimated_tokens, most_kept, teacher_in_force

_LONGEST = 8
"""Prompts measured, the longest by characters; tokens follow characters closely enough."""


def check_prompts_fit(run: Run) -> None:
    """Load both models and measure the longest prompts. Raises ModelError naming the limit that is too small.

    The teacher first, since the student is needed first: on a device that holds one of them it then stays.
    """
    _check_teacher(run)
    examples = tuple(
        TrainingExample(run.task.prompts.prompt(example.question), run.task.prompts.completion(example.answer))
        for split in Split
        for example in run.store.examples(split)
    )
    longest = run.student.check_lengths(examples, run.watcher.within)
    run.watcher.message(f"longest example: {longest} tokens of at most {run.config.student.max_length}")


def _check_teacher(run: Run) -> None:
    """With the longest seeds as failures, demonstrations and kept examples: longer prompts hardly come."""
    teacher = run.config.teacher
    seeds = sorted(run.store.examples(Split.TRAIN), key=lambda seed: len(seed.question) + len(seed.answer))
    requests = []
    for seed in seeds[-_LONGEST:]:
        similar = [other for other in seeds if other.id != seed.id and run.task.is_same_kind(seed, other)]
        prompt = run.task.teacher_prompt(
            Failure(seed, seed.answer),
            similar[len(similar) - teacher.demonstrations :] if teacher.demonstrations else (),
            [NewExample(seed.question, seed.answer)] * most_kept(run.config),
            run.prompt_style,
            show_student_answer=teacher.show_student_answer,
        )
        sampling = Sampling(teacher.temperature, teacher.top_p, teacher.min_p)
        requests.append(TeacherRequest(prompt, sampling, run.grammar, 0, teacher.max_new_tokens))
    longest = run.teacher.check_prompts(requests, run.watcher.within)
    grown = longest + most_kept(run.config) * _more_in_kept(run, seeds)
    complete_plan(run.store, grown + teacher.max_new_tokens)  # before memory can run out
    run.teacher.check_memory(run.watcher.within)
    room = teacher_in_force(run.store).context_length - teacher.max_new_tokens
    run.watcher.message(f"longest teacher prompt: about {longest} tokens of {room} beside a reply")


def _more_in_kept(run: Run, seeds: Sequence[Example]) -> int:
    """About how many tokens the question of a kept example may have more than that of a seed, as long as the checks
    let it be and a reply is.
    """
    seed = max(estimated_tokens(seed.question) for seed in seeds)
    longest = min(int(run.config.checks.max_length_ratio * seed), run.config.teacher.max_new_tokens)
    return max(0, longest - seed)
