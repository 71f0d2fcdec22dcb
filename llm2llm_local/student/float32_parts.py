"""What a student that computes in bfloat16 computes in float32 all the same.

Scores of the vocabulary, since bfloat16 has 8 bits: between 16 and 32 its numbers are 0.125 apart, and as many nats
would a log-likelihood be off. And on a CPU attention where it has a backward pass, which PyTorch has no fast kernel for
in bfloat16 (measured: 5 ms a layer against 0.4 ms). Norms, softmax and the sums within products are in float32 anyhow.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from .linear import product

_ATTENTION = "sdpa_with_float32_backward"


def scores_in_float32(model: Any) -> None:
    """Lets the vocabulary projection of a model in bfloat16 end in float32.

    A GPU has products that do, of weights as they are. For a CPU the projection gets weights of its own in float32;
    embeddings that were tied to it stay as they are.
    """
    head = model.get_output_embeddings()
    if type(head) is torch.nn.Linear:
        if head.weight.device.type == "cpu":
            head.weight = torch.nn.Parameter(head.weight.detach().float(), requires_grad=False)
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
    if weight.device.type == "cuda" and weight.dtype != torch.float32:
        return torch.mm(rows.to(weight.dtype), weight.t(), out_dtype=torch.float32)
    return product(rows.float(), weight.float())


def gradient_of(scores: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Of the rows, (n, width), given that of their `scores`, in the weight's format."""
    return product(scores.to(weight.dtype), weight.t())


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
