"""Rows of tokens, and rows as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Tokens:
    """A training row: `ids` of prompt and completion, of which the last `n_completion` are learnt."""

    ids: list[int]
    n_completion: int


@dataclass(frozen=True, slots=True)
class Padded:
    """Rows padded on the left; each field is (rows, length). `mask`: 1 for a token; `positions` count tokens alone."""

    ids: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor


def left_padded(rows: Sequence[Sequence[int]], fill: int, device: str) -> Padded:
    """`fill` can be any token: padding is masked out and takes no position."""
    length = max(len(row) for row in rows)
    ids = torch.tensor([[fill] * (length - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows], device=device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    return Padded(ids, mask, positions)


@dataclass(frozen=True, slots=True)
class Learnt:
    """Training rows padded on the right, (rows, length): what follows a row can't be seen from within it, so nothing
    needs to be masked out. `positions` are those of the flattened rows whose next token, in `targets`, is learnt.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor


def right_padded(rows: Sequence[Tokens], fill: int, device: str) -> Learnt:
    """`fill` can be any token."""
    length = max(len(row.ids) for row in rows)
    ids = torch.tensor([row.ids + [fill] * (length - len(row.ids)) for row in rows], device=device)
    positions = [
        number * length + place - 1
        for number, row in enumerate(rows)
        for place in range(len(row.ids) - row.n_completion, len(row.ids))
    ]
    targets = [token for row in rows for token in row.ids[-row.n_completion :]]
    return Learnt(ids, torch.tensor(positions, device=device), torch.tensor(targets, device=device))
