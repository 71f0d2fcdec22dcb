"""LLM2LLM (Lee et al. 2024, arXiv 2403.15042): the loop, as the paper has it.

Only the student's failures are augmented, and only failures on seeds unless the person asks otherwise, so
the training set grows by at most (seeds × augmentations_per_failure) examples an iteration.
"""

from __future__ import annotations

from ..counted import counted
from ..records import Split
from .augment import ask_teacher
from .check import check_candidates
from .context import Run
from .grade import grade
from .predict import predict
from .review import carry_out_reviews
from .train import train


def llm2llm(run: Run) -> str:
    """Work through all iterations; a finished part is recognised in the store and not done again.

    Returns a sentence on how it ended.
    """
    config = run.config
    iteration = 0
    while True:
        run.store.open_iteration(iteration)

        # 1. Fine-tune the student on the seeds and everything accepted so far, a person's decisions included.
        carry_out_reviews(run, iteration)
        seeds = run.store.examples(Split.TRAIN)
        training_set = seeds + run.store.augmented(before_iteration=iteration)
        train(run, iteration, training_set)

        # 2. Let it answer the seeds, to find those that it still gets wrong; dev and test for the record. Failures
        #    can only come from what is asked here, so this is also where augmented examples are left alone.
        asked = training_set if config.loop.augment_from == "all" else seeds
        predict(run, iteration, asked + run.store.examples(Split.DEV) + run.store.examples(Split.TEST))
        grade(run, iteration)
        failures = run.store.failures(iteration)

        # 3. The last student is the result; and one that fails nowhere leaves nothing to ask the teacher for.
        if iteration == config.loop.iterations:
            run.store.close_iteration(iteration)
            return f"finished after {counted(iteration, 'round')} of augmentation"
        if not failures:
            run.store.close_iteration(iteration)
            return (
                f"finished early: in iteration {iteration} the student gets all of its "
                f"{counted(len(asked), 'training question')} right, so there is nothing to augment. To go further, "
                "give it more or harder seeds, or train it less (student.epochs, student.learning_rate)."
            )

        # 4. The teacher writes new examples like the failures; what passes the checks trains the next student.
        for attempt in range(config.teacher.attempts):
            n_asked = ask_teacher(run, iteration, attempt, failures)
            if n_asked == 0:  # every failure has its new examples
                break
            check_candidates(run, iteration, attempt)
        run.store.close_iteration(iteration)
        iteration += 1
