"""Fine-tuning, segment by segment: what a training becomes doesn't depend on how it is cut.

Tokens are projected onto the vocabulary only where the next one is learnt, and a few at a time (`loss.py`); rows are
padded on the right, so that attention needs no mask. When memory runs out, the step is redone with half the
micro-batch, and when that is a single example, with activations computed again in the backward pass. What was found to
fit is part of the checkpoints: a training that goes on elsewhere goes on in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from ..errors import OutOfMemoryError, RunFailedError
from ..file_digest import folder_digest
from .base import AdaptedModel, Position, is_out_of_memory
from .batching import epoch_batches, learning_rate_factor
from .checkpoint import complete_folder, load_state, random_states, save_adapter, save_state, set_random_states
from .heap import spare_time
from .protocol import SegmentResult, TrainingExample, TrainingProgress, TrainingSegment
from .rows import Tokens, right_padded


class Training:
    """The optimizer that goes with an adapter, from one segment to the next."""

    def __init__(self, adapted: AdaptedModel) -> None:
        self._adapted = adapted
        self._optimizer: torch.optim.Optimizer | None = None
        self._micro_batch_size = 0
        self._examples: tuple[TrainingExample, ...] = ()
        self._rows: list[Tokens] = []

    def train(self, segment: TrainingSegment, progress: TrainingProgress) -> SegmentResult:
        if segment.examples != self._examples:  # the segments of a training have them in common
            self._rows = [self._adapted.tokens(example) for example in segment.examples]
            self._examples = segment.examples
        self._adapted.dequantized.part()
        spare_time()
        self._prepare(segment)
        assert self._optimizer is not None
        self._adapted.position = None  # not the weights of any checkpoint until this segment is complete
        self._adapted.model.train()
        losses: list[float] = []
        tokens = 0
        notes: list[str] = []
        for step, batch in self._steps(segment, self._rows):
            for group in self._optimizer.param_groups:
                group["lr"] = segment.learning_rate * learning_rate_factor(
                    step, segment.total_steps, segment.warmup_ratio
                )
            losses.append(self._step_that_fits(batch, segment.max_grad_norm, notes))
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
                save_state(
                    folder,
                    self._optimizer,
                    {
                        "micro_batch_size": self._micro_batch_size,
                        "recomputes_activations": self._adapted.recomputes_activations,
                    },
                )
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
        adapted.recomputes_activations = False
        if segment.checkpoint is not None:
            adapted.load_adapter(segment.checkpoint)
            scalars = load_state(segment.checkpoint, self._optimizer)
            self._micro_batch_size = scalars["micro_batch_size"]
            adapted.recomputes_activations = scalars["recomputes_activations"]
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

    def _step_that_fits(self, batch: Sequence[Tokens], max_grad_norm: float, notes: list[str]) -> float:
        """One optimizer step; what is done when memory runs out stays so for the rest of the training."""
        device = self._adapted.device
        while True:
            random_state = random_states(device)
            try:
                loss = self._gradients(batch, max_grad_norm)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            else:
                self._update()
                return loss
            notes.append(f"out of memory: {self._use_less_memory()}")
            set_random_states(random_state)
            if device == "cuda":
                torch.cuda.empty_cache()

    def _use_less_memory(self) -> str:
        """What is done about it, in words. Raises OutOfMemoryError when nothing is left to be done."""
        if self._adapted.dequantized.drop():
            return "weights are dequantized for each use again, with the same results"
        if self._micro_batch_size > 1:
            self._micro_batch_size //= 2
            return f"micro-batch lowered to {self._micro_batch_size}"
        if not self._adapted.recomputes_activations:
            self._adapted.recomputes_activations = True
            return "activations are computed again in the backward pass"
        raise OutOfMemoryError(
            f"out of memory on {self._adapted.device} with a single example at a time",
            "Lower student.max_length, shorten the data, or take a smaller student.",
        )

    def _gradients(self, batch: Sequence[Tokens], max_grad_norm: float) -> float:
        """Mean loss per learnt token over the whole batch, however it is cut into micro-batches."""
        assert self._optimizer is not None
        self._optimizer.zero_grad(set_to_none=True)
        learnt = sum(row.n_completion for row in batch)
        total = torch.zeros((), device=self._adapted.device)
        for start in range(0, len(batch), self._micro_batch_size):
            loss = self._summed_loss(batch[start : start + self._micro_batch_size]) / learnt
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(self._adapted.trainable(), max_grad_norm, foreach=True)
        return total.item()

    def _update(self) -> None:
        """The step itself, which is never redone: where memory runs out in it, some weights are changed already."""
        assert self._optimizer is not None
        try:
            self._optimizer.step()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemoryError(
                f"out of memory on {self._adapted.device} for the optimizer",
                "Free memory, lower student.lora_rank, or take a smaller student.",
            ) from None

    def _summed_loss(self, rows: Sequence[Tokens]) -> torch.Tensor:
        adapted = self._adapted
        adapted.dropout.rng_seed = int(torch.randint(2**62, ()))
        learnt = right_padded(rows, adapted.end, adapted.device)
        return adapted.loss(adapted.model.get_base_model(), learnt)

    def _new_optimizer(self, segment: TrainingSegment) -> torch.optim.Optimizer:
        trainable = self._adapted.trainable()
        if self._adapted.device == "cuda":
            # Not the paged one: bitsandbytes never gives back the memory of its states, of one training after another.
            from bitsandbytes.optim import AdamW8bit

            optimizer: torch.optim.Optimizer = AdamW8bit(
                trainable, lr=segment.learning_rate, weight_decay=segment.weight_decay
            )
            return optimizer
        return torch.optim.AdamW(trainable, lr=segment.learning_rate, weight_decay=segment.weight_decay, fused=True)
