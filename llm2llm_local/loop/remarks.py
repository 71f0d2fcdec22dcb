"""What is sound, and still should be known before a run starts: a line each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..config import Section
from ..counted import counted
from ..recipes import recipe_of
from ..records import Split
from ..spelling import shown
from ..tasks.math import has_annotations, wrong_annotations
from ..workers.device import unused_gpu
from .inputs import Inputs
from .vote import verifiers

_MOST_NAMED = 5


def remarks(inputs: Inputs) -> Iterator[str]:
    """About the device, about the rows, about what can't be checked, and about settings that change nothing."""
    yield from inputs.data.findings
    if inputs.config.hardware.device == "auto" and inputs.device == "cpu" and (why := unused_gpu()):
        yield f"everything computes on the CPU: {why}"
    if inputs.config.task.family == "classification":
        yield from _on_labels(inputs)
    if inputs.config.task.family == "math":
        yield from _on_annotations(inputs)
    yield from _on_idle_settings(inputs)


def _on_labels(inputs: Inputs) -> Iterator[str]:
    """A label that was misspelt is one more, where the seeds say which labels there are."""
    seeds = inputs.data.rows[Split.TRAIN]
    counts = Counter(row.answer for row in seeds)
    if without := [shown(label) for label in inputs.labels if not counts[label]]:
        more = f" and {len(without) - _MOST_NAMED:,} more" if len(without) > _MOST_NAMED else ""
        yield f"no seeds for {', '.join(without[:_MOST_NAMED])}{more}: the student can hardly learn them"
    if len(counts) == 1:
        yield f"every seed has the answer {shown(seeds[0].answer)}: there is nothing to tell apart"
    if inputs.config.task.labels:
        return
    by_letters: dict[str, str] = {}
    for label in inputs.labels:
        if (other := by_letters.setdefault(label.casefold(), label)) != label:
            yield f"the labels {shown(other)} and {shown(label)} differ in letter case alone, and count as two"
    single = [row for row in seeds if counts[row.answer] == 1]
    if single and len(single) < len(counts):
        first = single[0]
        yield (
            f"{counted(len(single), 'label')} with a single seed (first: {shown(first.answer)}, "
            f"{first.source}:{first.line}): where that is a slip, task.labels with the right ones finds it"
        )


def _on_annotations(inputs: Inputs) -> Iterator[str]:
    """New examples are written as the seeds are."""
    seeds = inputs.data.rows[Split.TRAIN]
    if wrong := [(row, found) for row in seeds if (found := wrong_annotations(row.answer))]:
        row, found = wrong[0]
        yield (
            f"{counted(len(wrong), 'seed')} with calculations that don't hold, or can't be done again (first: "
            f"{row.source}:{row.line}, {shown(found[0])}): new examples with such are refused"
        )
    without = sum(not has_annotations(row.answer) for row in seeds)
    if without and recipe_of(inputs.config).subjects != "nothing":
        which = "no seed has" if without == len(seeds) else f"{without:,} of {counted(len(seeds), 'seed')} don't have"
        judges = "only votes judge them" if verifiers(inputs) else "nothing judges them"
        yield (
            f"{which} calculations as <<2*3=6>>: where new examples have none either, nothing is recomputed "
            f"and {judges}"
        )


def _on_idle_settings(inputs: Inputs) -> Iterator[str]:
    """Those that were changed and that nothing reads. A file may serve several recipes, so of the loop's own settings
    only recipes that ask for failures are told.
    """
    loop, checks, recipe, voting = inputs.config.loop, inputs.config.checks, recipe_of(inputs.config), verifiers(inputs)
    is_kfold = loop.failure_signal == "kfold"
    readers: list[tuple[Section, str, str, bool]] = [
        (loop, "match_run", 'loop.recipe = "fine_tune_matched"', recipe.matches_steps)
    ]
    if recipe.subjects == "failures":
        readers += [
            (loop, "least_confident", 'loop.failure_signal = "confidence"', loop.failure_signal == "confidence"),
            (loop, "folds", 'loop.failure_signal = "kfold" and students\' votes', is_kfold or "student" in voting),
            (checks, "votes", "the teacher's votes", "teacher" in voting),
        ]
    if recipe.subjects != "nothing":
        verified = 'checks.verify = "on"'
        readers += [
            (checks, key, verified, bool(voting))
            for key in ("verifier", "accept_probability", "reject_probability", "doubt")
        ]
    for section, key, reader, is_read in readers:
        value, name = getattr(section, key), "loop" if section is loop else "checks"
        if not is_read and value != type(section).model_fields[key].default:
            yield f"{name}.{key} = {value} changes nothing here: it is for {reader}"
