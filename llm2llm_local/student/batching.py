"""Which examples make up which optimizer step: a pure function, so that a resumed training meets the same ones."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

_BATCHES_PER_BUCKET = 8
"""Examples are sorted by length within this many batches: enough for little padding, few enough for shuffling."""


def total_steps(n_examples: int, batch_size: int, epochs: int) -> int:
    """Optimizer steps of a training; the last batch of an epoch may be smaller."""
    return math.ceil(n_examples / batch_size) * epochs


def epochs_for(steps: int, n_examples: int, batch_size: int) -> int:
    """Passes over the examples that so many steps take, the last of them perhaps in part."""
    return math.ceil(steps / total_steps(n_examples, batch_size, 1))


def epoch_batches(lengths: Sequence[int], batch_size: int, rng_seed: int, epoch: int) -> list[list[int]]:
    """The batches of one epoch: each example's index once, batches of similar length, in random order.

    `lengths`: tokens of each example.
    """
    rng = random.Random(f"{rng_seed}/{epoch}")
    order = list(range(len(lengths)))
    rng.shuffle(order)
    bucket_size = batch_size * _BATCHES_PER_BUCKET
    batches = []
    for start in range(0, len(order), bucket_size):
        bucket = sorted(order[start : start + bucket_size], key=lambda index: lengths[index])
        batches += [bucket[first : first + batch_size] for first in range(0, len(bucket), batch_size)]
    rng.shuffle(batches)
    return batches


def learning_rate_factor(step: int, total: int, warmup_ratio: float) -> float:
    """Share of the peak rate at a step (from 0): linear warm-up, then half a cosine down to 0."""
    warmup = math.ceil(total * warmup_ratio)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
