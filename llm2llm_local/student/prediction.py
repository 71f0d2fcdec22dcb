"""Greedy answers to a batch of prompts, with one adapter.

A batch is a unit of work: its answers depend on its prompts and the adapter, not on what was asked before. How many
rows are computed at once rounds sums differently, so that number starts anew with each batch, even where the batch
before ran out of memory: what it was lowered to there is not remembered.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..errors import OutOfMemoryError
from ..records import FinishReason, Reply
from .base import AdaptedModel, Position, is_out_of_memory
from .generation import generate
from .heap import give_back_freed_pages, spare_memory
from .protocol import PredictionBatch, Progress, StudentAnswer
from .scoring import most_rows, score_completions

_ROWS_AT_ONCE = 64
"""Rows that are scored, or written, at once."""


@dataclass(frozen=True, slots=True)
class _Answer:
    text: str
    finish_reason: FinishReason
    n_tokens: int
    log_probabilities: tuple[float, ...]


@torch.inference_mode()
def predict(adapted: AdaptedModel, batch: PredictionBatch, progress: Progress) -> list[StudentAnswer]:
    started = time.monotonic()
    spare_memory()
    position = Position(batch.adapter, 0)
    if adapted.position != position:
        adapted.position = None  # until all of the adapter is there
        adapted.load_adapter(batch.adapter)
        if adapted.device == "cpu":
            adapted.dequantized.join()
        adapted.position = position
    adapted.model.eval()
    prompts = [adapted.prompt_ids(prompt) for prompt in batch.prompts]
    told = _never_back(progress)
    ids = [adapted.completion_ids(text) for text in batch.completions]
    adapted.check_positions(prompts, max(map(len, ids), default=batch.max_new_tokens))
    rows_at_once = min(_ROWS_AT_ONCE, len(prompts))
    if ids:
        rows_at_once = most_rows(adapted.model, prompts, ids, rows_at_once)  # so that half of it is less

    def work(rows_at_once: int) -> list[_Answer]:
        if ids:
            return _scored(adapted, prompts, batch.completions, ids, rows_at_once, told)
        return _written(adapted, prompts, batch.max_new_tokens, rows_at_once, told)

    answers = _fitting(adapted, work, rows_at_once)
    give_back_freed_pages()
    seconds = (time.monotonic() - started) / len(prompts)
    return [
        StudentAnswer(
            Reply(answer.text, answer.finish_reason, len(ids), answer.n_tokens, seconds), answer.log_probabilities
        )
        for ids, answer in zip(prompts, answers, strict=True)
    ]


def _fitting(adapted: AdaptedModel, work: Callable[[int], list[_Answer]], rows_at_once: int) -> list[_Answer]:
    """Out of memory drops the dequantized weights, which changes no answer; then it halves the rows computed at once.

    Each time the batch is begun again.
    """
    device = adapted.device
    while True:
        try:
            return work(rows_at_once)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if adapted.dequantized.drop():
            warnings.warn("out of memory: weights are dequantized for each use again", ResourceWarning, stacklevel=2)
            continue
        if rows_at_once == 1:
            raise OutOfMemoryError(
                f"out of memory on {device} while predicting a single example",
                "Free memory, shorten the data, lower student.max_new_tokens, or take a smaller student.",
            )
        rows_at_once //= 2
        # Python tells a warning of the same words once in a process.
        warnings.warn(f"out of memory: {rows_at_once} examples are predicted at once", ResourceWarning, stacklevel=2)
        if device == "cuda":
            torch.cuda.empty_cache()


def _never_back(progress: Progress) -> Progress:
    """What is begun again is told of from where it was."""
    furthest = 0

    def told(done: int, total: int) -> None:
        nonlocal furthest
        furthest = max(furthest, done)
        progress(furthest, total)

    return told


def _scored(
    adapted: AdaptedModel,
    prompts: list[list[int]],
    completions: tuple[str, ...],
    ids: list[list[int]],
    rows_at_once: int,
    progress: Progress,
) -> list[_Answer]:
    scored = score_completions(adapted.model, prompts, ids, adapted.device, rows_at_once, progress)
    return [_Answer(completions[row.index(max(row))].strip(), FinishReason.SCORED, 0, row) for row in scored]


def _written(
    adapted: AdaptedModel, prompts: list[list[int]], max_new_tokens: int, rows_at_once: int, progress: Progress
) -> list[_Answer]:
    written = generate(adapted.model, prompts, adapted.end, max_new_tokens, adapted.device, rows_at_once, progress)
    return [
        _Answer(adapted.tokenizer.decode(ids, skip_special_tokens=True), FinishReason(reason), len(ids), ())
        for ids, reason in written
    ]
