"""What a student that computes in bfloat16 computes in float32 all the same.

Scores of the vocabulary, since bfloat16 has 8 bits: between 16 and 32 its numbers are 0.125 apart, and as many nats
would a log-likelihood be off. And on a CPU attention where it has a backward pass, which PyTorch has no fast kernel for
in bfloat16 (measured: 5 ms a layer against 0.4 ms). Norms, softmax and the sums within products are in float32 anyhow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from .linear import product

_ATTENTION = "sdpa_with_float32_backward"


_VOCABULARY_AT_ONCE = 4096
"""Rows of the projection that a CPU has in float32 at a time. Measured with 49,152 rows of 576, and with all of them
kept in float32: for a token 10 ms instead of 5, for 64 tokens 27 instead of 23, for 256 tokens 99 instead of 88; the
loss of 96 tokens 102 instead of 83.
"""


def scores_in_float32(model: Any) -> None:
    """Lets the vocabulary projection of a model in bfloat16 end in float32; its weights stay as they are."""
    head = model.get_output_embeddings()
    if type(head) is torch.nn.Linear:
        head.__class__ = Float32Scores


class Float32Scores(torch.nn.Linear):
    """A vocabulary projection whose weights are frozen."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        rows = hidden.flatten(0, -2)
        scores: torch.Tensor = _Scores.apply(rows, self.weight)  # type: ignore[no-untyped-call]
        if self.bias is not None:
            scores = scores + self.bias.float()
        return scores.view(*hidden.shape[:-1], -1)


class _Scores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(weight)
        ctx.dtype = rows.dtype
        return scores_of(rows, weight)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (weight,) = ctx.saved_tensors
        return gradient_of(gradient, weight).to(ctx.dtype), None


def scores_of(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`rows` (n, width), projected by `weight` (vocabulary, width), in float32; without a gradient."""
    if weight.dtype == torch.float32:
        return product(rows.float(), weight)
    if weight.device.type == "cuda":  # it has a product of such weights that ends in float32
        return torch.mm(rows.to(weight.dtype), weight.t(), out_dtype=torch.float32)
    scores, rows = rows.new_empty(len(rows), len(weight), dtype=torch.float32), rows.float()
    for part, some in _in_float32(scores, weight):
        part.copy_(product(rows, some))
    return scores


def gradient_of(scores: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Of the rows, (n, width), given that of their `scores`; in float32, unless a GPU computes it in another format."""
    if weight.dtype == torch.float32 or weight.device.type == "cuda":
        return product(scores.to(weight.dtype), weight.t())
    gradient = scores.new_zeros(len(scores), weight.shape[1])
    for part, some in _in_float32(scores, weight):
        gradient += product(part, some.t())
    return gradient


def _in_float32(scores: torch.Tensor, weight: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Columns of the scores with the weights that make them. The weights' place is used again for those that follow."""
    place = weight.new_empty(min(_VOCABULARY_AT_ONCE, len(weight)), weight.shape[1], dtype=torch.float32)
    for start in range(0, len(weight), _VOCABULARY_AT_ONCE):
        part = slice(start, start + _VOCABULARY_AT_ONCE)
        some = weight[part]
        yield scores[:, part], place[: len(some)].copy_(some)


def attention_in_float32_backward(model: Any) -> None:
    """Where the model uses PyTorch's attention; others stay as they are."""
    if model.config._attn_implementation == "sdpa":
        AttentionInterface.register(_ATTENTION, _attention)
        AttentionMaskInterface.register(_ATTENTION, sdpa_mask)
        model.set_attn_implementation(_ATTENTION)


def _attention(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, **options: Any
) -> tuple[torch.Tensor, None]:
    if not query.requires_grad:
        result: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, mask, **options)
        return result
    if mask is not None and mask.is_floating_point():
        mask = mask.float()
    wide, _ = sdpa_attention_forward(module, query.float(), key.float(), value.float(), mask, **options)
    return wide.to(query.dtype), None
