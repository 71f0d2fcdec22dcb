"""Which training examples the teacher is asked about: the student's failures, by the signal that the person chose.

What LLM2LLM is measured against asks about others, as its recipe says, whatever the student made of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from ..config import Config
from ..counted import counted
from ..failure_signals import n_least_confident
from ..recipes import Subjects, recipe_of
from ..records import Failure, Split
from .context import Run


def to_augment(run: Run, iteration: int) -> Sequence[Failure]:
    """What new examples are made for in this iteration."""
    return _SUBJECTS[recipe_of(run.config).subjects](run, iteration)


def asks_where_nothing_fails(config: Config) -> bool:
    """Whether new examples are made although every question is answered right by who is asked it."""
    return recipe_of(config).subjects == "all seeds" or config.loop.failure_signal == "confidence"


def failing(run: Run, iteration: int) -> list[Failure]:
    """Of the training examples that were answered: in file order, or the least confident first."""
    if run.config.loop.failure_signal == "confidence":
        return _least_confident(run, iteration)
    return run.store.failures(iteration)


def _least_confident(run: Run, iteration: int) -> list[Failure]:
    """The share is taken of each kind (of each label, say), so that new examples leave all as frequent as they are."""
    ordered = run.store.least_confident_first(iteration)
    kinds: dict[str, list[Failure]] = {}
    for one in ordered:
        kinds.setdefault(run.task.kind(one.example), []).append(one)
    share = run.config.loop.least_confident
    taken = {one.example.id for kind in kinds.values() for one in kind[: n_least_confident(share, len(kind))]}
    return [one for one in ordered if one.example.id in taken]


def _all_seeds(run: Run, iteration: int) -> list[Failure]:
    return [Failure(seed, None) for seed in run.store.examples(Split.TRAIN)]


_SUBJECTS: Mapping[Subjects, Callable[[Run, int], Sequence[Failure]]] = {
    "failures": failing,
    "all seeds": _all_seeds,
    "nothing": lambda run, iteration: (),
}


def nothing_fails(run: Run, iteration: int, n_asked: int) -> str:
    """How a run ends whose signal has run dry, and what would go further."""
    signal = run.config.loop.failure_signal
    how = "although no student had seen the ones that it was asked" if signal == "kfold" else "of its own training"
    return (
        f"finished early: in iteration {iteration} all of {counted(n_asked, 'training question')} are answered right, "
        f"{how}, so there is nothing to augment. To go further, {''.join(f'{one}, ' for one in _other_signals(run))}"
        f"give it more or harder seeds, or train it less (student.epochs, student.learning_rate): "
        f"llm2llm fork {run.store.run_id} --set …"
    )


def _other_signals(run: Run) -> Iterator[str]:
    """What a person may try when nothing fails by the run's."""
    if run.config.loop.failure_signal == "train":
        yield 'ask for those that a student fails at which has not seen them (loop.failure_signal = "kfold")'
    if run.task.choices:  # a written answer has no confidence
        yield 'ask for the least sure ones (loop.failure_signal = "confidence")'
