"""Fine-tuning, segment by segment: what a training becomes doesn't depend on how it is cut.

Sequences are padded on the left, so that what is learnt stands at the end of every row and the vocabulary projection
is computed there only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch.nn import functional

from ..errors import ModelError, RunFailedError
from ..file_digest import folder_digest
from .base import AdaptedModel, Position, is_out_of_memory
from .batching import epoch_batches, learning_rate_factor
from .checkpoint import complete_folder, load_state, random_states, save_adapter, save_state, set_random_states
from .protocol import SegmentResult, TrainingProgress, TrainingSegment
from .rows import Tokens, left_padded


class Training:
    """The optimizer that goes with an adapter, from one segment to the next."""

    def __init__(self, adapted: AdaptedModel) -> None:
        self._adapted = adapted
        self._optimizer: torch.optim.Optimizer | None = None
        self._micro_batch_size = 0

    def train(self, segment: TrainingSegment, progress: TrainingProgress) -> SegmentResult:
        rows = [self._adapted.tokens(example) for example in segment.examples]
        self._prepare(segment)
        assert self._optimizer is not None
        self._adapted.position = None  # not the weights of any checkpoint until this segment is complete
        self._adapted.model.train()
        losses: list[float] = []
        tokens = 0
        notes: list[str] = []
        for step, batch in self._steps(segment, rows):
            for group in self._optimizer.param_groups:
                group["lr"] = segment.learning_rate * learning_rate_factor(
                    step, segment.total_steps, segment.warmup_ratio
                )
            losses.append(self._step_with_fitting_micro_batch(batch, segment.max_grad_norm, notes))
            if not math.isfinite(losses[-1]):
                raise RunFailedError(
                    f"the training diverged: the loss of step {step + 1} is {losses[-1]}",
                    "Lower student.learning_rate in a new run: llm2llm fork RUN --set student.learning_rate=…",
                )
            tokens += sum(len(row.ids) for row in batch)
            progress(step + 1, segment.total_steps, losses[-1])
        with complete_folder(segment.output) as folder:
            save_adapter(self._adapted.model, folder)
            if segment.stop_step < segment.total_steps:
                save_state(folder, self._optimizer, {"micro_batch_size": self._micro_batch_size})
            sha256 = folder_digest(folder)
        self._adapted.position = Position(segment.output, segment.stop_step)
        return SegmentResult(tuple(losses), sha256, tokens, tuple(notes))

    def _prepare(self, segment: TrainingSegment) -> None:
        """Put weights, optimizer and random state where the segment starts."""
        adapted = self._adapted
        if segment.checkpoint is not None and adapted.position == Position(segment.checkpoint, segment.start_step):
            return  # the segment before was just trained here: nothing changed since
        torch.manual_seed(segment.rng_seed)
        self._optimizer = self._new_optimizer(segment)
        self._micro_batch_size = segment.micro_batch_size
        if segment.checkpoint is not None:
            adapted.load_adapter(segment.checkpoint)
            self._micro_batch_size = load_state(segment.checkpoint, self._optimizer)["micro_batch_size"]
        elif segment.start_adapter is not None:
            adapted.load_adapter(segment.start_adapter)
        else:
            adapted.reset_adapter()

    def _steps(self, segment: TrainingSegment, rows: Sequence[Tokens]) -> Iterator[tuple[int, list[Tokens]]]:
        """The (step, batch) pairs of the segment; which they are depends on the whole training's data order."""
        lengths = [len(row.ids) for row in rows]
        step = 0
        for epoch in range(segment.epochs):
            for batch in epoch_batches(lengths, segment.batch_size, segment.rng_seed, epoch):
                if segment.start_step <= step < segment.stop_step:
                    yield step, [rows[index] for index in batch]
                step += 1

    def _step_with_fitting_micro_batch(self, batch: Sequence[Tokens], max_grad_norm: float, notes: list[str]) -> float:
        """One optimizer step; out of memory halves the micro-batch for the rest of the training."""
        device = self._adapted.device
        while True:
            random_state = random_states(device)
            try:
                return self._step(batch, max_grad_norm)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            if self._micro_batch_size == 1:
                raise ModelError(
                    f"out of memory on {device} with a single example at a time",
                    "Lower student.max_length, shorten the data, or take a smaller student.",
                )
            self._micro_batch_size = max(1, self._micro_batch_size // 2)
            notes.append(f"out of memory: micro-batch lowered to {self._micro_batch_size}")
            set_random_states(random_state)
            if device == "cuda":
                torch.cuda.empty_cache()

    def _step(self, batch: Sequence[Tokens], max_grad_norm: float) -> float:
        """Mean loss per learnt token over the whole batch, however it is cut into micro-batches."""
        assert self._optimizer is not None
        self._optimizer.zero_grad(set_to_none=True)
        learnt = sum(row.n_completion for row in batch)
        total = 0.0
        for start in range(0, len(batch), self._micro_batch_size):
            loss = self._summed_loss(batch[start : start + self._micro_batch_size]) / learnt
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self._adapted.trainable(), max_grad_norm)
        self._optimizer.step()
        return total

    def _summed_loss(self, rows: Sequence[Tokens]) -> torch.Tensor:
        padded = left_padded([row.ids for row in rows], self._adapted.end, self._adapted.device)
        longest = max(row.n_completion for row in rows)
        logits = self._adapted.model(**padded.inputs, logits_to_keep=longest + 1).logits[:, :-1].float()
        targets = padded.inputs["input_ids"][:, -longest:].clone()
        for index, row in enumerate(rows):
            targets[index, : longest - row.n_completion] = -100  # prompt tokens, and padding
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum")

    def _new_optimizer(self, segment: TrainingSegment) -> torch.optim.Optimizer:
        trainable = self._adapted.trainable()
        if self._adapted.device == "cuda":
            from bitsandbytes.optim import PagedAdamW8bit

            optimizer: torch.optim.Optimizer = PagedAdamW8bit(
                trainable, lr=segment.learning_rate, weight_decay=segment.weight_decay
            )
            return optimizer
        return torch.optim.AdamW(trainable, lr=segment.learning_rate, weight_decay=segment.weight_decay)
