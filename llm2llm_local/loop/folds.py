"""Students that leave a part of the seeds out, for answers to seeds by one that hasn't seen them.

A student of 60 seeds knows them by heart: asked about them it fails nowhere, and its word on an example that was
written after one of them is an echo. So the seeds are divided into folds once, each kind of answer evenly, and for each
fold a student is trained on all other seeds (and, from the second iteration on, on all that was accepted). Only seeds
are left out: an accepted example stays, since what is asked of it is whether it has taught its seed's kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..failure_signals import who_answers_seeds
from ..records import Example, Origin, Split
from ..spelling import same_words
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

    Seeds that ask the same are in one fold, since a student that was trained on one has seen the others: most of them
    first, and each time into the fold that has the fewest seeds, of equals the fewest of their kinds.
    """
    places: dict[str, int] = {}
    kind_of = {seed.id: places.setdefault(run.task.kind(seed), len(places)) for seed in seeds}
    rng_seed = run.config.loop.rng_seed
    asking: dict[str, list[Example]] = {}
    for seed in sorted(seeds, key=lambda seed: (kind_of[seed.id], derive_rng_seed(rng_seed, "folds", seed.key))):
        asking.setdefault(same_words(seed.question), []).append(seed)
    has: list[Counter[int]] = [Counter() for _ in range(min(run.config.loop.folds, len(asking)))]
    fold_of: dict[int, int] = {}
    for group in sorted(asking.values(), key=len, reverse=True):
        kinds = Counter(kind_of[seed.id] for seed in group)
        home = min(range(len(has)), key=lambda fold: (has[fold].total(), sum(has[fold][kind] for kind in kinds)))
        has[home].update(kinds)
        fold_of |= dict.fromkeys((seed.id for seed in group), home + 1)
    return fold_of
