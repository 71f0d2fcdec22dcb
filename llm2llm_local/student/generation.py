"""Greedy writing: a row leaves the batch with its last token, and waiting rows take the places of those that left.

Which rows are computed together follows from the prompts and from what is written, so a unit has the same answers
whenever it is done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .cache import KeyValues, evaluate, evaluate_prefix, forward
from .protocol import Progress

_FREE_SHARE = 4
"""Waiting rows come in when 1 / this of the places is free: their prompts are evaluated together, not one by one."""


@dataclass(slots=True)
class _Row:
    index: int
    written: list[int] = field(default_factory=list)


def generate(
    model: Any,
    prompts: Sequence[list[int]],
    end: int,
    max_new_tokens: int,
    device: str,
    rows_at_once: int,
    progress: Progress,
) -> list[tuple[list[int], str]]:
    """For each prompt the greedily written tokens (without the end token) and "stop" or "length".

    `progress` hears of tokens after each step, of prompts × `max_new_tokens`; an answer that has ended counts whole.
    """
    prefix = evaluate_prefix(model, prompts, device, max_new_tokens)
    waiting = deque(sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), index)))
    answers: dict[int, tuple[list[int], str]] = {}
    rows: list[_Row] = []
    key_values: KeyValues | None = None
    while waiting or rows:
        free = rows_at_once - len(rows)
        if waiting and (not rows or free * _FREE_SHARE >= rows_at_once):
            new = [_Row(waiting.popleft()) for _ in range(min(free, len(waiting)))]
            logits, theirs = evaluate(model, [prompts[row.index] for row in new], end, device, prefix)
            key_values = theirs if key_values is None else key_values.with_rows(theirs)
            rows += new
        else:
            assert key_values is not None
            new = rows
            logits, key_values = _next_logits(model, key_values, [row.written[-1] for row in rows])
        for row, token in zip(new, logits.argmax(1).tolist(), strict=True):
            if token == end:
                answers[row.index] = (row.written, "stop")
                continue
            row.written.append(token)
            if len(row.written) == max_new_tokens:
                answers[row.index] = (row.written, "length")
        staying = [place for place, row in enumerate(rows) if row.index not in answers]
        if len(staying) < len(rows):
            key_values = key_values.rows(staying) if staying else None
            rows = [rows[place] for place in staying]
        done = len(answers) * max_new_tokens + sum(len(row.written) for row in rows)
        progress(done, len(prompts) * max_new_tokens)
    return [answers[index] for index in range(len(prompts))]


def _next_logits(model: Any, key_values: KeyValues, tokens: Sequence[int]) -> tuple[torch.Tensor, KeyValues]:
    mask = key_values.mask
    mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
    ids = torch.tensor(tokens, device=mask.device)[:, None]
    positions = key_values.n_tokens[:, None]
    cache = key_values.cache()
    logits = forward(model, ids, mask, positions, cache, lambda hidden: hidden[:, -1])
    return logits, KeyValues.of(cache, mask)
