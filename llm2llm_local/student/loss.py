"""The loss of learnt tokens, without all logits at once.

A large vocabulary makes the logits the largest tensor of a training. Here they exist for a chunk of tokens at a time:
its gradient is taken at once, in the forward pass, and only what flows on to the hidden states is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .float32_parts import Float32Scores, gradient_of, scores_of
from .limits import LOGITS_AT_ONCE
from .rows import Learnt


class SummedCrossEntropy(torch.autograd.Function):
    """Of `hidden` (tokens, width), projected by the frozen `weight` (vocabulary, width), in nats; a scalar."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        total = torch.zeros((), device=hidden.device)
        gradient = torch.empty_like(hidden, dtype=torch.float32)
        size = max(1, LOGITS_AT_ONCE // len(weight))
        for start in range(0, len(hidden), size):
            part = slice(start, start + size)
            logits = scores_of(hidden[part], weight)
            at_target = targets[part, None]
            log_sum = logits.logsumexp(1, keepdim=True)
            total += (log_sum - logits.gather(1, at_target)).sum()
            probabilities = logits.sub_(log_sum).exp_()
            probabilities.scatter_add_(1, at_target, torch.full_like(log_sum, -1.0))
            gradient[part] = gradient_of(probabilities, weight)
        ctx.save_for_backward(gradient)
        ctx.dtype = hidden.dtype
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (for_hidden,) = ctx.saved_tensors
        return (for_hidden * gradient).to(ctx.dtype), None, None


Loss = Callable[[Any, Learnt], torch.Tensor]
"""Of a causal language model and rows: the sum over all learnt tokens, in nats."""


def loss_for(model: Any) -> Loss:
    """The one without all logits, where the model allows it."""
    return _loss_by_chunks if _projects_plainly(model) else _loss_of_logits


def _projects_plainly(model: Any) -> bool:
    """Whether a causal language model's logits are its last hidden states times a matrix, and nothing is done to them
    before or after (scaled, capped): seen in what it computes.
    """
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    if type(head) not in (torch.nn.Linear, Float32Scores) or head.bias is not None:
        return False
    ids = torch.arange(1, 4, device=head.weight.device)[None]
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits
        return torch.equal(head(decoder(input_ids=ids, use_cache=False).last_hidden_state), logits)


def _loss_by_chunks(model: Any, learnt: Learnt) -> torch.Tensor:
    hidden = model.get_decoder()(input_ids=learnt.ids, use_cache=False).last_hidden_state
    weight = model.get_output_embeddings().weight
    rows = hidden.flatten(0, 1)[learnt.positions].to(weight.dtype)
    loss: torch.Tensor = SummedCrossEntropy.apply(rows, weight, learnt.targets)  # type: ignore[no-untyped-call]
    return loss


def _loss_of_logits(model: Any, learnt: Learnt) -> torch.Tensor:
    logits = model(input_ids=learnt.ids, use_cache=False).logits.flatten(0, 1)[learnt.positions].float()
    # Not PyTorch's own loss, which it lists as one that has no fixed order of additions on a GPU.
    total: torch.Tensor = (logits.logsumexp(1) - logits.gather(1, learnt.targets[:, None]).squeeze(1)).sum()
    return total
