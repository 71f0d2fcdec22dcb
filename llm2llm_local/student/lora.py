"""The student: a frozen base model in 4 bits with LoRA adapters, in transformers, peft and bitsandbytes."""

from __future__ import annotations

from .base import AdaptedModel
from .prediction import predict
from .protocol import (
    PredictionBatch,
    Progress,
    SegmentResult,
    StudentAnswer,
    StudentSettings,
    TrainingExample,
    TrainingProgress,
    TrainingSegment,
)
from .training import Training


class LoraStudent:
    """`Student` on this machine.

    Raises ModelError when the model can't be loaded, OutOfMemoryError when it doesn't fit.
    """

    def __init__(self, settings: StudentSettings) -> None:
        self._adapted = AdaptedModel(settings)
        self._training = Training(self._adapted)

    def train(self, segment: TrainingSegment, progress: TrainingProgress) -> SegmentResult:
        return self._training.train(segment, progress)

    def predict(self, batch: PredictionBatch, progress: Progress) -> list[StudentAnswer]:
        return predict(self._adapted, batch, progress)

    def check_lengths(self, examples: tuple[TrainingExample, ...], progress: Progress) -> int:
        return max(len(self._adapted.tokens(example).ids) for example in examples)
