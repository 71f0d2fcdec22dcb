"""Greedy answers to a batch of prompts, with one adapter."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from ..errors import ModelError
from ..records import FinishReason, Reply
from .base import AdaptedModel, Position, is_out_of_memory
from .protocol import PredictionBatch, Progress, StudentAnswer
from .rows import Padded, left_padded
from .scoring import generate, score_completions


@dataclass(frozen=True, slots=True)
class _Answer:
    text: str
    finish_reason: FinishReason
    n_tokens: int
    confidence: float | None


@torch.inference_mode()
def predict(adapted: AdaptedModel, batch: PredictionBatch, progress: Progress) -> list[StudentAnswer]:
    started = time.monotonic()
    position = Position(batch.adapter, 0)
    if adapted.position != position:
        adapted.load_adapter(batch.adapter)
        adapted.position = position
    adapted.model.eval()
    prompts = [adapted.prompt_ids(prompt) for prompt in batch.prompts]
    padded = left_padded(prompts, adapted.end, adapted.device)
    try:
        if batch.completions:
            answers = _scored(adapted, padded, batch.completions)
        else:
            answers = _written(adapted, padded, batch.max_new_tokens, progress)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            f"out of memory on {adapted.device} while predicting {len(prompts)} examples at once",
            "Lower student.predict_batch_size and go on with: llm2llm fork",
        ) from None
    progress(len(prompts), len(prompts))
    seconds = (time.monotonic() - started) / len(prompts)
    return [
        StudentAnswer(Reply(answer.text, answer.finish_reason, len(ids), answer.n_tokens, seconds), answer.confidence)
        for ids, answer in zip(prompts, answers, strict=True)
    ]


def _scored(adapted: AdaptedModel, prompts: Padded, completions: tuple[str, ...]) -> list[_Answer]:
    scored = score_completions(adapted.model, prompts, [adapted.completion_ids(text) for text in completions])
    return [_Answer(completions[best].strip(), FinishReason.SCORED, 0, confidence) for best, confidence in scored]


def _written(adapted: AdaptedModel, prompts: Padded, max_new_tokens: int, progress: Progress) -> list[_Answer]:
    return [
        _Answer(adapted.tokenizer.decode(ids, skip_special_tokens=True), FinishReason(reason), len(ids), None)
        for ids, reason in generate(adapted.model, prompts, adapted.end, max_new_tokens, progress)
    ]
