"""A layer with LoRA on it computes y = W x + c + s · B A drop(x), and its gradients, as autograd does in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from llm2llm_local.student.linear import Dropout, LeanLinear, share_dropout, use_lean_layers

pytestmark = pytest.mark.model

RANK, ALPHA, RATE = 4, 8, 0.3


class OneLayer(nn.Module):
    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(24, 40, bias=bias)

    def forward(self, rows: torch.Tensor) -> Any:
        return self.layer(rows)


def lean_layer(dtype: torch.dtype, bias: bool) -> tuple[Any, Dropout]:
    """In `dtype`, with an adapter in float32 that changes the result, as after a training."""
    torch.manual_seed(0)
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=RATE, target_modules=["layer"], init_lora_weights=False)
    use_lean_layers(config)
    model: Any = get_peft_model(OneLayer(bias).to(dtype), config)
    dropout = share_dropout(model, RATE)
    layer = model.base_model.model.layer
    assert isinstance(layer, LeanLinear)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return layer, dropout


def expected(layer: Any, rows: torch.Tensor, a: torch.Tensor, b: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """In float64; `factor` is what dropout multiplies elements by."""
    base: torch.Tensor = rows @ layer.base_layer.weight.double().t()
    if layer.base_layer.bias is not None:
        base = base + layer.base_layer.bias.double()
    return base + ALPHA / RANK * (rows * factor) @ a.t() @ b.t()


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)], ids=["float32", "bf16"])
def test_results_and_gradients_are_those_of_autograd(dtype: torch.dtype, error: float, bias: bool) -> None:
    layer, dropout = lean_layer(dtype, bias)
    layer.train()
    dropout.rng_seed = 5
    rows = torch.randn(3, 5, 24, dtype=dtype, requires_grad=True)
    weights = [layer.lora_A["default"].weight, layer.lora_B["default"].weight]
    found = layer(rows)
    gradient = torch.randn_like(found)
    found.backward(gradient)

    kept = dropout.kept_elements(rows.detach().reshape(-1, 24), layer.number)
    assert kept is not None
    assert 0.1 < 1 - kept.float().mean() < 0.5
    exact = [tensor.detach().double().requires_grad_() for tensor in (rows, *weights)]
    right = expected(layer, exact[0], exact[1], exact[2], kept.view(3, 5, 24) / dropout.kept_share)
    right.backward(gradient.double())  # type: ignore[no-untyped-call]
    assert found.dtype == dtype
    for ours, theirs in (
        (found, right),
        *((one.grad, two.grad) for one, two in zip((rows, *weights), exact, strict=True)),
    ):
        assert (ours.double() - theirs).abs().max() <= error * theirs.abs().max()


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_a_prediction_drops_nothing(bias: bool) -> None:
    layer, _ = lean_layer(torch.float32, bias)
    layer.eval()
    rows = torch.randn(7, 24)
    weights = (layer.lora_A["default"].weight.double(), layer.lora_B["default"].weight.double())
    with torch.inference_mode():
        right = expected(layer, rows.double(), *weights, torch.ones(()))
        assert (layer(rows).double() - right).abs().max() <= 1e-6 * right.abs().max()


def test_dropout_is_a_function_of_the_seed_and_the_layer() -> None:
    dropout, rows = Dropout(RATE), torch.empty(1000, 1001)  # not a whole number of 8-byte words

    def drawn(rng_seed: int, layer: int) -> torch.Tensor:
        dropout.rng_seed = rng_seed
        kept = dropout.kept_elements(rows, layer)
        assert kept is not None
        return kept

    first = drawn(1, 0)
    assert first.shape == rows.shape
    assert abs(float(first.float().mean()) - dropout.kept_share) < 2e-3  # 4 standard deviations
    assert dropout.kept_share == pytest.approx(1 - RATE, abs=1e-5)
    for other in (drawn(1, 1), drawn(2, 0)):
        both_differ = 2 * RATE * (1 - RATE)  # of two that have nothing to do with each other
        assert abs(float((first != other).float().mean()) - both_differ) < 2e-3
    assert torch.equal(drawn(1, 0), first)


def test_a_rate_of_0_drops_nothing() -> None:
    assert Dropout(0.0).kept_elements(torch.empty(3, 4), 0) is None
