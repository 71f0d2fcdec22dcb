"""Greedy prediction: the likelihood of fixed completions, or free writing."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers import StoppingCriteriaList

from ..errors import RunFailedError
from .protocol import Progress
from .rows import Padded

_ROWS_AT_ONCE = 128
"""Rows (prompt × completion) scored in one forward pass; bounds the copies of the prompts' KV cache."""


def score_completions(model: Any, prompts: Padded, completions: Sequence[Sequence[int]]) -> list[tuple[int, float]]:
    """For each prompt the likeliest completion's index, and its probability among all completions.

    A completion's likelihood is the product of its tokens' probabilities after the prompt; completions must
    end in the end-of-text token, so that none is a prefix of another. Each prompt is evaluated once; its KV
    cache is shared by all completions.
    """
    n_prompts = len(prompts.inputs["input_ids"])
    output = model(**prompts.inputs, use_cache=True, logits_to_keep=1)
    first = output.logits[:, -1].float().log_softmax(-1)
    scores = torch.empty(n_prompts, len(completions), device=first.device)
    group_size = max(1, _ROWS_AT_ONCE // n_prompts)
    for start in range(0, len(completions), group_size):
        group = completions[start : start + group_size]
        cache = copy.deepcopy(output.past_key_values)
        cache.batch_repeat_interleave(len(group))
        rest = _rest_scores(model, prompts, cache, group)
        starts = torch.tensor([completion[0] for completion in group], device=first.device)
        scores[:, start : start + len(group)] = first[:, starts] + rest
    if not scores.isfinite().all():
        raise RunFailedError(
            "the student's likelihoods are not finite numbers: its training has diverged",
            "Lower student.learning_rate in a new run: llm2llm fork RUN --set student.learning_rate=…",
        )
    best = scores.argmax(1)
    confidence = functional.softmax(scores, dim=1)[torch.arange(n_prompts), best]
    return list(zip(best.tolist(), confidence.tolist(), strict=True))


def _rest_scores(model: Any, prompts: Padded, cache: Any, group: Sequence[Sequence[int]]) -> torch.Tensor:
    """Log-likelihood of each completion after its first token; shape (prompts, completions of the group)."""
    mask, positions = prompts.inputs["attention_mask"], prompts.inputs["position_ids"]
    n_prompts, device = len(mask), mask.device
    longest = max(len(completion) for completion in group)
    # Padded on the right: what stands behind a completion can't be seen from within it, and isn't counted.
    ids = torch.tensor([[*row, *[row[-1]] * (longest - len(row))] for row in group], device=device).repeat(n_prompts, 1)
    counted = torch.tensor([[1.0] * (len(row) - 1) + [0.0] * (longest - len(row)) for row in group], device=device)
    steps = torch.arange(1, longest, device=device)
    row_positions = (positions[:, -1:] + steps).repeat_interleave(len(group), 0)
    row_mask = functional.pad(mask.repeat_interleave(len(group), 0), (0, longest - 1), value=1)
    logits = model(
        input_ids=ids[:, :-1],
        attention_mask=row_mask,
        position_ids=row_positions,
        past_key_values=cache,
        use_cache=True,
    ).logits
    log_probabilities = logits.float().log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    scores: torch.Tensor = (log_probabilities * counted.repeat(n_prompts, 1)).sum(1)
    return scores.view(n_prompts, len(group))


def generate(
    model: Any, prompts: Padded, end: int, max_new_tokens: int, progress: Progress
) -> list[tuple[list[int], str]]:
    """For each prompt the greedily written tokens (without the end token) and "stop" or "length".

    `progress` hears of each token that all rows have got, of `max_new_tokens`.
    """
    n_before = prompts.inputs["input_ids"].shape[1]

    def told(ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        progress(ids.shape[1] - n_before, max_new_tokens)
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)  # it is no reason to stop

    output = model.generate(
        input_ids=prompts.inputs["input_ids"],
        attention_mask=prompts.inputs["attention_mask"],
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        eos_token_id=end,
        pad_token_id=end,
        use_cache=True,
        stopping_criteria=StoppingCriteriaList([told]),
        temperature=None,
        top_p=None,
        top_k=None,
    )
    written = []
    for row in output[:, n_before:].tolist():
        complete = end in row
        written.append((row[: row.index(end)] if complete else row, "stop" if complete else "length"))
    return written
