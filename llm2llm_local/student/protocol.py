"""What the loop asks of a student, whatever runs it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from ..records import Reply
from .precision import ComputeDtype

Progress = Callable[[int, int], None]
"""Called with (done, total) while a long request is worked on; what is counted is the engine's affair."""

TrainingProgress = Callable[[int, int, float], None]
"""Called after each optimizer step with (steps done, steps of the whole training, the step's loss in nats)."""


@dataclass(frozen=True, slots=True)
class StudentSettings:
    """How the base model is loaded and what its adapters look like.

    `reserved_bytes`: of the memory that is free once it is loaded, what trainings and a teacher beside it are to have.
    """

    model: Path
    quantization: Literal["nf4", "none"]
    compute_dtype: ComputeDtype
    lora_rank: int
    lora_alpha: int
    lora_dropout: float
    max_length: int
    device: Literal["cpu", "cuda"]
    threads: int
    reserved_bytes: int = 0


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """Only the completion (and the end-of-text token after it) is learnt."""

    prompt: str
    completion: str


@dataclass(frozen=True, slots=True)
class TrainingSegment:
    """A part of a training: the optimizer steps from `start_step` (inclusive) to `stop_step` (exclusive).

    The whole training is a function of the examples, the hyperparameters, `rng_seed` and `start_adapter`,
    however it is cut into segments; a segment continues from `checkpoint`, the folder that the
    segment before it wrote (None for the first). `output` is the folder to write: it holds the adapter in
    PEFT's format and, unless the training is complete with this segment, the state to go on from.
    """

    examples: tuple[TrainingExample, ...]
    epochs: int
    batch_size: int
    micro_batch_size: int
    learning_rate: float
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    rng_seed: int
    start_step: int
    stop_step: int
    total_steps: int
    start_adapter: Path | None
    checkpoint: Path | None
    output: Path


@dataclass(frozen=True, slots=True)
class SegmentResult:
    """`losses`: mean cross-entropy (nats) per learnt token of each optimizer step of the segment.

    `sha256`: of the folder written (`file_digest.folder_digest`). `tokens`: unpadded tokens trained. `notes`: what
    a person should know about how it went (a smaller micro-batch after memory ran out).
    """

    losses: tuple[float, ...]
    sha256: str
    tokens: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PredictionBatch:
    """Prompts predicted together, greedily.

    With `completions` (at least two) their likelihood after each prompt is compared; without, the student
    writes up to `max_new_tokens`. `adapter` is a folder in PEFT's format.
    """

    adapter: Path
    prompts: tuple[str, ...]
    completions: tuple[str, ...]
    max_new_tokens: int


@dataclass(frozen=True, slots=True)
class StudentAnswer:
    """`log_probabilities`: of each of the completions among all of them, in nats; minus infinity: too unlikely to
    count. Empty when the answer was written.
    """

    reply: Reply
    log_probabilities: tuple[float, ...]

    @property
    def confidence(self) -> float | None:
        """Probability of the chosen completion among all; None when it was written."""
        return math.exp(max(self.log_probabilities)) if self.log_probabilities else None


class Student(Protocol):
    """A loaded student. Results depend on the request alone, never on what was asked before."""

    def train(self, segment: TrainingSegment, progress: TrainingProgress) -> SegmentResult:
        """Train one segment and write its checkpoint, complete or not at all."""

    def predict(self, batch: PredictionBatch, progress: Progress) -> list[StudentAnswer]:
        """Answer the prompts, in their order."""

    def check_lengths(self, examples: tuple[TrainingExample, ...], progress: Progress) -> int:
        """Tokens of the longest example. Raises ModelError when one is longer than the student's limit."""
