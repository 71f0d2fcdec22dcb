"""Before a run's first unit: do the person's texts fit into the models?"""

from __future__ import annotations

from collections.abc import Sequence

from ..recipes import teacher_writes, uses_teacher
from ..records import Example, Failure, NewExample, Split, TeacherPrompt
from ..student.protocol import TrainingExample
from ..teacher.protocol import Sampling, TeacherRequest
from ..verifiers import votes_in_audit
from .context import Run
from .plans import complete_plan, estimated_tokens, most_kept, teacher_in_force
from .prompts import prompt_for, sampling_of
from .vote import audited, ballot_on, drawn_for, verifiers

_LONGEST = 8
"""Prompts measured, the longest by characters; tokens follow characters closely enough."""


def check_prompts_fit(run: Run) -> None:
    """Load the models that the run uses and measure the longest prompts.

    Raises ModelError naming the limit that is too small.

    The teacher first, since the student is needed first: on a device that holds one of them it then stays.
    """
    if uses_teacher(run.config):
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
    seeds = run.store.examples(Split.TRAIN)
    sampling = sampling_of(teacher)
    requests = [
        TeacherRequest(prompt, sampling, run.grammar, 0, teacher.max_new_tokens) for prompt in _prompts(run, seeds)
    ]
    requests += _ballots(run, seeds)
    longest = run.teacher.check_prompts(requests, run.watcher.within)
    n_new = most_kept(run.config) + (run.config.loop.augment_from == "all")
    grown = longest + n_new * _more_in_new(run, seeds)
    complete_plan(run.store, grown + teacher.max_new_tokens)  # before memory can run out
    run.teacher.check_memory(run.watcher.within)
    room = teacher_in_force(run.store).context_length - teacher.max_new_tokens
    run.watcher.message(f"longest teacher prompt: about {longest} tokens of {room} beside a reply")


def _prompts(run: Run, seeds: Sequence[Example]) -> list[TeacherPrompt]:
    """For new examples; none where the teacher writes none."""
    if not teacher_writes(run.config):
        return []
    prompts = []
    for seed, demonstrations in _longest_shown(run, seeds):
        kept = [NewExample(seed.question, seed.answer)] * most_kept(run.config)
        prompts.append(prompt_for(run, Failure(seed, seed.answer), demonstrations, kept))
    return prompts


def _ballots(run: Run, seeds: Sequence[Example]) -> list[TeacherRequest]:
    """On the longest seeds, by every vote that the teacher has: beside one the others may be shown."""
    if "teacher" not in verifiers(run):
        return []
    longest = sorted(seeds, key=_n_characters, reverse=True)[:_LONGEST]
    ballots = [
        ballot_on(run, drawn_for(run, seeds, number), one, subject, number)
        for number in range(votes_in_audit(run.config.task.family, run.config.checks.votes))
        for one in audited(run, longest)
        for subject in one.subjects
    ]
    greedy, most = Sampling(0.0, 1.0, 0.0), run.config.teacher.max_new_tokens
    return [TeacherRequest(ballot.prompt, greedy, None, 0, most) for ballot in ballots]


def _longest_shown(run: Run, seeds: Sequence[Example]) -> list[tuple[Example, list[Example]]]:
    """The failures whose prompts are the longest, each with the longest demonstrations that it can be given.

    A seed of few words comes in where the others of its kind have many, so each kind's longest are looked at. New
    examples that are augmented in turn are taken to be as long as their seed, which may stand beside them.
    """
    kinds: dict[str, list[Example]] = {}
    for seed in sorted(seeds, key=_n_characters, reverse=True):
        kinds.setdefault(run.task.kind(seed), []).append(seed)
    n, shown = run.config.teacher.demonstrations, []
    for kind in kinds.values():
        for seed in kind[:_LONGEST]:
            others = [other for other in kind[: n + 1] if other is not seed or run.config.loop.augment_from == "all"]
            shown.append((seed, others[:n]))
    shown.sort(key=lambda one: _n_characters(one[0]) + sum(map(_n_characters, one[1])), reverse=True)
    return shown[:_LONGEST]


def _n_characters(example: Example) -> int:
    return len(example.question) + len(example.answer)


def _more_in_new(run: Run, seeds: Sequence[Example]) -> int:
    """About how many tokens the question of a new example may have more than that of a seed, as long as the checks
    let it be and a reply is.
    """
    seed = max(estimated_tokens(seed.question) for seed in seeds)
    longest = min(int(run.config.checks.max_length_ratio * seed), run.config.teacher.max_new_tokens)
    return max(0, longest - seed)
