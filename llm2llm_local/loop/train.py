"""Fine-tune the student on a training set, in segments between checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ..config import StudentConfig
from ..records import Example
from ..student.batching import epochs_for, total_steps
from ..student.protocol import TrainingExample, TrainingSegment
from .adapters import delete_superseded, require_sound, training_folder
from .context import Run, derive_rng_seed
from .units import work_through


def train(run: Run, iteration: int, training_set: Sequence[Example], fold: int = 0) -> None:
    """Leave the finished adapter of this iteration, or of one of its folds, with its checkpoint row."""
    student = run.config.student
    epochs = student.epochs
    steps = total_steps(len(training_set), student.batch_size, epochs)
    if run.matched_steps is not None:
        steps = run.matched_steps
        epochs = epochs_for(steps, len(training_set), student.batch_size)
    segments = [
        (start, min(start + student.checkpoint_steps, steps)) for start in range(0, steps, student.checkpoint_steps)
    ]
    examples = tuple(
        TrainingExample(run.task.prompts.prompt(example.question), run.task.prompts.completion(example.answer))
        for example in training_set
    )
    continues = run.config.loop.fine_tune == "continue" and iteration > 0

    def work(bounds: tuple[int, int]) -> Callable[[], int]:
        start, stop = bounds
        checkpoint = require_sound(run.store, iteration, fold) if start else None
        delete_superseded(run.store, iteration, fold, keep=checkpoint)
        name = "adapter" if stop == steps else f"step-{stop}"
        output = training_folder(run.store, iteration, fold) / name
        began = time.monotonic()
        result = run.student.train(
            segment_of(
                student,
                examples,
                epochs=epochs,
                rng_seed=derive_rng_seed(run.config.loop.rng_seed, iteration, "train", *([fold] if fold else [])),
                start_step=start,
                stop_step=stop,
                total_steps=steps,
                start_adapter=require_sound(run.store, iteration - 1, fold) if continues and not start else None,
                checkpoint=checkpoint,
                output=output,
            ),
            run.watcher.step,
        )
        seconds = time.monotonic() - began

        def write() -> int:
            for note in result.notes:
                run.store.add_event("training_note", note, iteration)
                run.watcher.message(note)
            if start == 0 and not fold:
                run.store.set_training_set(iteration, training_set)
            for offset, loss in enumerate(result.losses):
                run.store.add_metric(iteration, f"loss_fold_{fold}" if fold else "loss", start + offset, loss)
            run.store.add_checkpoint(iteration, stop, steps, output, result.sha256, result.tokens, seconds, fold)
            return stop - start

        return write

    work_through(run, iteration, "fold_train" if fold else "train", fold, segments, work)
    delete_superseded(run.store, iteration, fold, keep=None)


def segment_of(
    student: StudentConfig,
    examples: tuple[TrainingExample, ...],
    *,
    epochs: int,
    rng_seed: int,
    start_step: int,
    stop_step: int,
    total_steps: int,
    start_adapter: Path | None,
    checkpoint: Path | None,
    output: Path,
) -> TrainingSegment:
    """With the configured hyperparameters."""
    return TrainingSegment(
        examples=examples,
        epochs=epochs,
        batch_size=student.batch_size,
        micro_batch_size=student.micro_batch_size,
        learning_rate=student.learning_rate,
        warmup_ratio=student.warmup_ratio,
        weight_decay=student.weight_decay,
        max_grad_norm=student.max_grad_norm,
        rng_seed=rng_seed,
        start_step=start_step,
        stop_step=stop_step,
        total_steps=total_steps,
        start_adapter=start_adapter,
        checkpoint=checkpoint,
        output=output,
    )
