"""Students that leave a part of the seeds out, for answers to seeds by one that hasn't seen them.

A student of 60 seeds knows them by heart: asked about them it fails nowhere, and its word on an example that was
written after one of them is an echo. So the seeds are divided into folds once, each kind of answer evenly, and for each
fold a student is trained on all other seeds (and, from the second iteration on, on all that was accepted). Only seeds
are left out: an accepted example stays, since what is asked of it is whether it has taught its seed's kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ..failure_signals import who_answers_seeds
from ..records import Example, Origin, Split
from ..spelling import same_question
from ..student.protocol import StudentAnswer
from .context import Run, derive_rng_seed
from .predict import ask_student, batches, keep_prediction
from .train import train
from .vote import audited, keep_student_votes, verifiers


def ask_folds(run: Run, iteration: int, training_set: Sequence[Example]) -> None:
    """Train each fold's student and let it answer the seeds that it hasn't seen, where that is wanted: for failures, or
    for a student's votes once, before anything was augmented.
    """
    loop = run.config.loop
    tells_failures = who_answers_seeds(loop.failure_signal, iteration, loop.iterations) == "students of folds"
    votes = iteration == 0 and "student" in verifiers(run)
    if not tells_failures and not votes:
        return
    seeds = run.store.examples(Split.TRAIN)
    fold_of = folds(run, seeds)
    judged = {one.seed.id: one for one in audited(run, seeds)} if votes else {}

    for fold in range(1, max(fold_of.values()) + 1):
        unseen = [seed for seed in seeds if fold_of[seed.id] == fold]

        def keep(seed: Example, answer: StudentAnswer, fold: int = fold) -> None:
            if tells_failures:
                keep_prediction(run, iteration, fold, seed, answer)
            if votes:
                keep_student_votes(run, iteration, fold, judged[seed.id], answer)

        train(run, iteration, [example for example in training_set if fold_of.get(example.id) != fold], fold)
        asked = batches(run, iteration, fold, unseen)
        ask_student(run, iteration, "fold_predict", fold, asked, lambda seed: seed.question, keep)


def asks_its_student(run: Run, iteration: int, example: Example) -> bool:
    """Whether the iteration's own student is asked a training example, and not, if anybody, one that hasn't seen it."""
    loop = run.config.loop
    who = who_answers_seeds(loop.failure_signal, iteration, loop.iterations)
    return example.origin is not Origin.SEED or who == "its student"


def folds(run: Run, seeds: Sequence[Example]) -> dict[int, int]:
    """Seed's id → its fold, from 1: those of one kind spread over all of them, in an order drawn by the run.

    Seeds that ask the same are in one fold, unless they are more than it has: a student that was trained on one has
    seen the others.
    """
    places: dict[str, int] = {}
    kind_of = {seed.id: places.setdefault(run.task.kind(seed), len(places)) for seed in seeds}
    rng_seed = run.config.loop.rng_seed
    drawn = sorted(seeds, key=lambda seed: (kind_of[seed.id], derive_rng_seed(rng_seed, "folds", seed.key)))
    n_folds = min(run.config.loop.folds, len(seeds))
    fold_of = {seed.id: place % n_folds + 1 for place, seed in enumerate(drawn)}
    _bring_together(drawn, fold_of, kind_of)
    return fold_of


def _bring_together(seeds: Sequence[Example], fold_of: dict[int, int], kind_of: Mapping[int, int]) -> None:
    """Move repeated questions into one fold in exchange for seeds that are none, of the same kind if possible."""
    asking: dict[str, list[Example]] = {}
    for seed in seeds:
        asking.setdefault(same_question(seed.question), []).append(seed)
    single = [group[0] for group in asking.values() if len(group) == 1]
    for group in asking.values():
        if len(group) > 1:
            room = Counter(fold_of[seed.id] for seed in [*group, *single])
            home = max(room, key=lambda fold: room[fold])
            for seed in group:
                _exchange(seed, home, single, fold_of, kind_of)


def _exchange(
    seed: Example, home: int, others: Sequence[Example], fold_of: dict[int, int], kind_of: Mapping[int, int]
) -> None:
    at_home = [one for one in others if fold_of[one.id] == home]
    if fold_of[seed.id] == home or not at_home:
        return
    chosen = next((one for one in at_home if kind_of[one.id] == kind_of[seed.id]), at_home[0])
    fold_of[chosen.id], fold_of[seed.id] = fold_of[seed.id], home
