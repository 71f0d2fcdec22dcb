"""Fine-tune the student on a training set, in segments between checkpoints."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import RunFailedError
from ..records import Example
from ..student.batching import total_steps
from ..student.protocol import TrainingExample, TrainingSegment
from .context import Run, derive_rng_seed, work_through


def train(run: Run, iteration: int, training_set: Sequence[Example]) -> Path:
    """The folder of the finished adapter."""
    student = run.config.student
    steps = total_steps(len(training_set), student.batch_size, student.epochs)
    segments = [
        (start, min(start + student.checkpoint_steps, steps)) for start in range(0, steps, student.checkpoint_steps)
    ]
    examples = tuple(
        TrainingExample(run.task.prompts.prompt(example.question), run.task.prompts.completion(example.answer))
        for example in training_set
    )
    start_adapter = _adapter(run, iteration - 1) if run.config.loop.fine_tune == "continue" and iteration else None

    def work(bounds: tuple[int, int]) -> Callable[[], int]:
        start, stop = bounds
        last = run.store.last_checkpoint(iteration)
        _delete_steps(run, iteration, keep=run.store.workspace / last["path"] if last else None)
        output = _folder(run, iteration) / ("adapter" if stop == steps else f"step-{stop}")
        began = time.monotonic()
        result = run.student.train(
            TrainingSegment(
                examples=examples,
                epochs=student.epochs,
                batch_size=student.batch_size,
                micro_batch_size=student.micro_batch_size,
                learning_rate=student.learning_rate,
                warmup_ratio=student.warmup_ratio,
                weight_decay=student.weight_decay,
                max_grad_norm=student.max_grad_norm,
                rng_seed=derive_rng_seed(run.config.loop.rng_seed, iteration, "train"),
                start_step=start,
                stop_step=stop,
                total_steps=steps,
                start_adapter=start_adapter,
                checkpoint=run.store.workspace / last["path"] if last else None,
                output=output,
            ),
            run.watcher.within,
        )
        seconds = time.monotonic() - began

        def write() -> int:
            for note in result.notes:
                run.store.add_event("training_note", note, iteration)
                run.watcher.message(note)
            if start == 0:
                run.store.set_training_set(iteration, training_set)
            for offset, loss in enumerate(result.losses):
                run.store.add_metric(iteration, "loss", start + offset, loss)
            run.store.add_checkpoint(iteration, stop, steps, output, result.sha256, result.tokens, seconds)
            return stop - start

        return write

    work_through(run, iteration, "train", 0, segments, work)
    _delete_steps(run, iteration, keep=None)
    adapter = _adapter(run, iteration)
    if not adapter.is_dir():
        raise RunFailedError(
            f"{adapter}: the adapter of iteration {iteration} is gone",
            f"Put it back, or train again in a new run: llm2llm fork {run.store.run_id}",
        )
    return adapter


def _folder(run: Run, iteration: int) -> Path:
    return run.store.folder / f"iteration-{iteration}"


def _adapter(run: Run, iteration: int) -> Path:
    return _folder(run, iteration) / "adapter"


def _delete_steps(run: Run, iteration: int, keep: Path | None) -> None:
    """Checkpoints that a later one has replaced, and what killed writers left, are of no use any more."""
    for pattern in ("step-*", "adapter.part-*"):
        for folder in _folder(run, iteration).glob(pattern):
            if folder != keep:
                shutil.rmtree(folder, ignore_errors=True)
