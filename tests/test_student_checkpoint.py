"""A checkpoint brings back each optimizer that a training has: the steps after it are those without it, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.optim import AdamW8bit

from llm2llm_local.student.checkpoint import load_state, save_state

SHAPES = ((64, 256), (16, 16), (8, 1024))
"""bitsandbytes keeps the states of more than 4096 elements in 8 bits, those of fewer in 32."""

Optimizer = Callable[..., torch.optim.Optimizer]


def parameters_of(seed: int) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def step(optimizer: torch.optim.Optimizer, number: int) -> None:
    generator = torch.Generator().manual_seed(number)
    for parameter in optimizer.param_groups[0]["params"]:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizer.step()


@pytest.mark.parametrize("kind", [AdamW8bit, torch.optim.AdamW])
def test_the_steps_after_a_checkpoint_are_those_without_it(tmp_path: Path, kind: Optimizer) -> None:
    def optimizer_of(parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        return kind(parameters, lr=1e-2, weight_decay=0.01)

    parameters = parameters_of(seed=1)
    optimizer = optimizer_of(parameters)
    for number in range(3):
        step(optimizer, number)
    scalars: dict[str, Any] = {"micro_batch_size": 2}
    save_state(tmp_path, optimizer, scalars)

    copies = [torch.nn.Parameter(parameter.detach().clone()) for parameter in parameters]
    resumed = optimizer_of(copies)
    assert load_state(tmp_path, resumed) == scalars
    fresh = [torch.nn.Parameter(parameter.detach().clone()) for parameter in parameters]
    step(optimizer, 3)
    step(resumed, 3)
    step(optimizer_of(fresh), 3)
    for expected, found, other in zip(parameters, copies, fresh, strict=True):
        assert torch.equal(expected, found)
        assert not torch.equal(expected, other)  # the state matters

    step(optimizer, 4)
    step(resumed, 4)
    assert all(torch.equal(expected, found) for expected, found in zip(parameters, copies, strict=True))


def test_a_checkpoint_before_the_first_step_has_no_state(tmp_path: Path) -> None:
    save_state(tmp_path, torch.optim.AdamW(parameters_of(seed=1)), {})
    resumed = torch.optim.AdamW(parameters_of(seed=1))
    assert load_state(tmp_path, resumed) == {}
    assert not resumed.state
