"""Linear layers with LoRA on them: y = W x + s · B A drop(x), forward and backward written out.

PEFT's own layers stay what is on disk and what is merged; here is only what they compute, with less work: what a
backward pass needs is the layer's input and a byte an element of dropout, and products go to oneDNN, which in float32
is twice as fast as PyTorch's default on CPUs that its BLAS doesn't know (measured: 420 against 190 GFLOP/s on two
AVX-512 cores of an AMD processor). W is dequantized for each product or, where memory allows, once: the same numbers,
so that results don't depend on it.

Predictions on a CPU multiply with W + s · B A, added in float32 and rounded once (measured on TREC in bfloat16: 47
instead of 33 rows/s, in float32 29 instead of 27; in bfloat16 confidences differ by 0.007 on average, answers by none).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from peft import LoraConfig
from peft.tuners.lora.bnb import Linear4bit as PeftLinear4bit
from peft.tuners.lora.layer import Linear as PeftLinear
from torch.nn import functional

from .heap import give_back_freed_pages

_ADAPTER = "default"
_DEQUANTIZED = "dequantized_weight"
_HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(  # type: ignore[no-untyped-call]
    torch.ops.mkldnn, "_linear_pointwise"
)
_ONEDNN_DTYPES = {torch.float32} if _HAS_ONEDNN else set()
if _HAS_ONEDNN and torch.ops.mkldnn._is_mkldnn_bf16_supported():
    _ONEDNN_DTYPES.add(torch.bfloat16)

_ROWS_LAID_OUT_FOR = 256
"""Some number of rows that isn't small: for a few, oneDNN prefers a layout that is slow for many."""


def product(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`rows` (n, k) times `weight` (m, k) transposed: (n, m). Neither needs to be contiguous.

    `weight` may be of `_laid_out`.
    """
    if rows.device.type == "cpu" and rows.dtype in _ONEDNN_DTYPES:
        result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, None, "none", [], "")
        return result
    return functional.linear(rows, weight)


def _laid_out(weight: torch.Tensor) -> torch.Tensor:
    """A weight (m, k) as oneDNN's kernels read it, for `product` alone. It has that done anew for each product
    otherwise, which for 64 rows takes as long as the product (measured: 0.40 against 0.24 ms in bfloat16). Sums may be
    rounded otherwise than with the plain weight.
    """
    if weight.device.type == "cpu" and weight.dtype in _ONEDNN_DTYPES:
        result: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS_LAID_OUT_FOR)
        return result
    return weight


class Dropout:
    """Which elements a training step drops: the n-th layer's are a function of `rng_seed` and n alone.

    So a forward pass can be repeated (gradient checkpointing). On CPUs PyTorch draws a number for each element on
    one core, which takes longer than the layer's own product; half a word of a fast generator is enough.
    """

    def __init__(self, rate: float) -> None:
        self._threshold = round(rate * 2**16)
        self.kept_share = 1.0 - self._threshold / 2**16
        self.rng_seed = 0

    def kept_elements(self, rows: torch.Tensor, layer: int) -> torch.Tensor | None:
        """False where an element is dropped, in the shape of `rows`; None: nothing is."""
        if not self._threshold:
            return None
        if rows.device.type != "cpu":
            generator = torch.Generator(rows.device).manual_seed(hash((self.rng_seed, layer)) % 2**63)
            return torch.rand(rows.shape, device=rows.device, generator=generator) < self.kept_share
        words = np.random.SFC64([self.rng_seed, layer]).random_raw(-(-rows.numel() // 4))
        return torch.from_numpy(words.view(np.uint16)[: rows.numel()] >= self._threshold).view(rows.shape)


class LoraLinear(torch.autograd.Function):
    """The layer on rows (n, in); see `forward`. The base weight has no gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: torch.Tensor,
        a: torch.Tensor,
        b: torch.Tensor,
        layer: Any,
        kept: torch.Tensor | None,
        scale: float,
    ) -> torch.Tensor:
        """`a` (rank, in), `b` (out, rank); `layer` gives W (out, in) and its bias; `kept` is of dropout, (n, in)."""
        dropped = rows if kept is None else rows * kept.to(rows.dtype)
        inner = product(dropped, a.to(rows.dtype)).mul_(scale)
        result = product(rows, base_weight(layer, rows.dtype))
        if layer.bias is not None:
            result += layer.bias.to(rows.dtype)
        result += product(inner, b.to(rows.dtype))
        ctx.save_for_backward(rows, inner, a, b, kept)
        ctx.layer, ctx.scale = layer, scale
        return result

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, inner, a, b, kept = ctx.saved_tensors
        factor = None if kept is None else kept.to(rows.dtype)
        # Transposed so that the long side comes last, which is the faster way.
        for_b = product(inner.t(), gradient.t()).t().to(b.dtype)
        inner_gradient = product(gradient, b.to(rows.dtype).t()).mul_(ctx.scale)
        for_a = product(inner_gradient.t(), (rows if factor is None else rows * factor).t()).to(a.dtype)
        for_rows = None
        if ctx.needs_input_grad[0]:
            for_rows = product(gradient, base_weight(ctx.layer, rows.dtype).t())
            through_adapter = product(inner_gradient, a.to(rows.dtype).t())
            for_rows += through_adapter if factor is None else through_adapter.mul_(factor)
        return for_rows, for_a, for_b, None, None, None


def base_weight(layer: Any, dtype: torch.dtype) -> torch.Tensor:
    """The weight (out, in) of a layer below an adapter."""
    kept: torch.Tensor | None = getattr(layer, _DEQUANTIZED, None)
    return _dequantized(layer, dtype) if kept is None else kept


def _dequantized(layer: Any, dtype: torch.dtype) -> torch.Tensor:
    state = getattr(layer.weight, "quant_state", None)
    return (layer.weight if state is None else dequantize_4bit(layer.weight, state)).to(dtype)  # type: ignore[no-any-return]


class _LeanForward:
    """What replaces the forward pass of one of PEFT's layers."""

    dropout: Dropout
    number: int
    joined = False

    def forward(self: Any, rows: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if self.disable_adapters or self.merged or args or kwargs:
            return super().forward(rows, *args, **kwargs)  # type: ignore[misc, no-any-return]
        flat = rows.reshape(-1, rows.shape[-1])
        if self.joined:
            joined = product(flat, self.joined_weight(rows.dtype))
            if self.base_layer.bias is not None:
                joined += self.base_layer.bias.to(rows.dtype)
            return joined.view(*rows.shape[:-1], -1)
        kept = self.dropout.kept_elements(flat, self.number) if self.training else None
        scale = self.scaling[_ADAPTER] / (1.0 if kept is None else self.dropout.kept_share)
        result: torch.Tensor = LoraLinear.apply(  # type: ignore[no-untyped-call]
            flat, self.lora_A[_ADAPTER].weight, self.lora_B[_ADAPTER].weight, self.base_layer, kept, scale
        )
        return result.view(*rows.shape[:-1], -1)


class LeanLinear4bit(_LeanForward, PeftLinear4bit):  # type: ignore[misc]
    """PEFT's layer over a quantized weight. While `joined`, W + s · B A is one matrix and has no gradient."""

    def joined_weight(self: Any, dtype: torch.dtype) -> torch.Tensor:
        kept: torch.Tensor | None = getattr(self.base_layer, _DEQUANTIZED, None)
        return self.made_weight(dtype) if kept is None else kept

    def made_weight(self: Any, dtype: torch.dtype) -> torch.Tensor:
        """As it is multiplied with: dequantized, and with what the adapter adds while it is joined."""
        weight = _dequantized(self.base_layer, dtype)
        if not self.joined:
            return weight
        a, b = (matrices[_ADAPTER].weight.detach() for matrices in (self.lora_A, self.lora_B))
        return _laid_out(torch.addmm(weight.float(), b, a, alpha=self.scaling[_ADAPTER]).to(dtype))


class LeanLinear(_LeanForward, PeftLinear):  # type: ignore[misc]
    """PEFT's layer over a plain weight."""


def use_lean_layers(config: LoraConfig) -> None:
    """Let PEFT put the layers of this module where it would put its own."""
    config._register_custom_module({Linear4bit: LeanLinear4bit, torch.nn.Linear: LeanLinear})


def share_dropout(model: torch.nn.Module, rate: float) -> Dropout:
    """One source of dropout for all lean layers of `model`."""
    dropout = Dropout(rate)
    layers = [module for module in model.modules() if isinstance(module, _LeanForward)]
    for number, layer in enumerate(layers):
        layer.dropout, layer.number = dropout, number
    return dropout


class DequantizedWeights:
    """The quantized weights below the adapters of `model`: dequantized once and kept, or for each product, and joined
    with the adapter or not. Whether they are kept changes no number. `n_bytes`: of all of them.
    """

    def __init__(self, model: torch.nn.Module, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._layers: list[Any] = [layer for layer in model.modules() if isinstance(layer, LeanLinear4bit)]
        weights = [layer.base_layer.weight for layer in self._layers]
        self.n_bytes = sum(math.prod(weight.quant_state.shape) for weight in weights) * dtype.itemsize
        self._are_kept = False

    def keep(self) -> None:
        self._are_kept = True
        for layer in self._layers:
            setattr(layer.base_layer, _DEQUANTIZED, layer.made_weight(self._dtype))
        give_back_freed_pages()

    def drop(self) -> bool:
        """Whether there was anything to drop."""
        were_kept, self._are_kept = self._are_kept, False
        if were_kept:
            for layer in self._layers:
                delattr(layer.base_layer, _DEQUANTIZED)
        return were_kept

    def join(self) -> None:
        """Add the adapter as it is now, for predictions, until `part`."""
        self._set_joined(True)

    def part(self) -> None:
        """W and the adapter are matrices of their own again, for trainings."""
        if any(layer.joined for layer in self._layers):
            self._set_joined(False)

    def _set_joined(self, joined: bool) -> None:
        for layer in self._layers:
            layer.joined = joined
        if self._are_kept:
            self.keep()
