"""The most that a device multiplies: what a training is compared with."""

from __future__ import annotations

import time

from ...teacher.plan import Device

_ROUNDS, _PRODUCTS = 10, 10
"""The first rounds also bring the GPU's clock up."""


def matrix_peak(device: Device, side: int) -> float:
    """TFLOP/s of products of square matrices in bfloat16: the best of some rounds. Leaves no memory taken."""
    import torch

    left, right = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))

    def seconds(left: torch.Tensor, right: torch.Tensor) -> float:
        started = time.perf_counter()
        for _ in range(_PRODUCTS):
            torch.matmul(left, right)
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    best = min(seconds(left, right) for _ in range(_ROUNDS))
    del left, right
    if device == "cuda":
        torch.cuda.empty_cache()
    return _PRODUCTS * 2 * side**3 / best / 1e12
