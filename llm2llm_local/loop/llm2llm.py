"""LLM2LLM (Lee et al. 2024, arXiv 2403.15042): the loop, as the paper has it.

Only the student's failures are augmented, and only failures on seeds unless the person asks otherwise, so the training
set grows by at most (seeds × augmentations_per_failure) examples an iteration, beside what a person lets in. What
LLM2LLM is measured against goes through the same loop: a recipe (see recipes.py) says what is augmented instead, who
writes, how often.
"""

from __future__ import annotations

from ..counted import counted
from ..records import Split
from .audit import audit_teacher, calibrate_verifiers
from .augment import augment
from .check import check_candidates, nothing_gets_in, nothing_got_in
from .context import Run
from .folds import ask_folds, asks_its_student
from .grade import grade
from .predict import predict
from .review import carry_out_reviews
from .signal import nothing_fails, to_augment
from .train import train


def llm2llm(run: Run) -> str:
    """Work through all iterations; a finished part is recognised in the store and not done again.

    Returns a sentence on how it ended.
    """
    config = run.config
    iteration = 0
    while True:
        run.store.open_iteration(iteration)

        # 0. The training set: the seeds and everything accepted so far, a person's decisions included.
        carry_out_reviews(run, iteration)
        seeds = run.store.examples(Split.TRAIN)
        training_set = seeds + run.store.augmented(before_iteration=iteration)

        # 1. Before anything is believed: what is the verifiers' word worth? And, where that is asked for, how do
        #    students answer seeds that they haven't seen?
        if iteration == 0:
            audit_teacher(run)
        ask_folds(run, iteration, training_set)
        if iteration == 0:
            calibrate_verifiers(run)

        # 2. Fine-tune the student, from the base model again.
        train(run, iteration, training_set)

        # 3. Let it answer the seeds, to find those that it still gets wrong; dev and test for the record. Failures
        #    can only come from what is asked here, so this is also where augmented examples are left alone.
        asked = training_set if config.loop.augment_from == "all" else seeds
        own = [example for example in asked if asks_its_student(run, iteration, example)]
        predict(run, iteration, own + run.store.examples(Split.DEV) + run.store.examples(Split.TEST))
        grade(run, iteration)
        failures = to_augment(run, iteration)

        # 4. The last student is the result; and one that fails nowhere leaves nothing to ask the teacher for.
        if iteration == config.loop.iterations:
            run.store.close_iteration(iteration)
            return f"finished after {counted(iteration, 'round')} of augmentation"
        if not failures:
            run.store.close_iteration(iteration)
            return nothing_fails(run, iteration, len(asked))

        # 5. The teacher writes new examples like the failures; what passes the checks trains the next student.
        for attempt in range(config.teacher.attempts):
            n_wanted = augment(run, iteration, attempt, failures)
            if n_wanted == 0:  # every failure has its new examples
                break
            check_candidates(run, iteration, attempt)
            if (ending := nothing_gets_in(run, iteration, attempt)) is not None:
                run.store.close_iteration(iteration)
                return ending
        if iteration + 1 == config.loop.iterations and (ending := nothing_got_in(run, iteration)) is not None:
            run.store.close_iteration(iteration)
            return ending
        run.store.close_iteration(iteration)
        iteration += 1
