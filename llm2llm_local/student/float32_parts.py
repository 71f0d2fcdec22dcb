"""What a student that computes in bfloat16 on a CPU computes in float32 all the same.

Scores of the vocabulary, since bfloat16 has 8 bits: between 16 and 32 its numbers are 0.125 apart, and as many nats
would a log-likelihood be off. And attention where it has a backward pass, which PyTorch has no fast kernel for in
bfloat16 (measured: 5 ms a layer against 0.4 ms). Norms, softmax and the sums within products are in float32 anyhow.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

_ATTENTION = "sdpa_with_float32_backward"


def scores_in_float32(model: Any) -> None:
    """Gives the vocabulary projection weights of its own in float32; embeddings that were tied to it stay as they are.

    The hidden states that go in are widened, which changes none.
    """
    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().float(), requires_grad=False)
    head.float()
    head.register_forward_pre_hook(lambda module, rows: (rows[0].to(module.weight.dtype),))


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
