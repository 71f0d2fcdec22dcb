"""Keys and values of evaluated tokens, as plain tensors that rows share, join and leave.

Rows of a `KeyValues` end at the same column; columns that a row doesn't have are masked, wherever they stand. So rows
of any lengths can be computed together, and none is copied for the sake of another.

Layers with a sliding window are the exception: transformers counts windows in columns, masked ones too, so that none
may stand between two of a row's tokens. See `sees_all`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import DynamicCache

from .linear import product
from .rows import left_padded

_WINDOWS = ("sliding_window", "attention_chunk_size", "window_size")
"""The settings of models with windows, in tokens: of most kinds, of Llama 4, and of GPT-Neo."""

Select = Callable[[torch.Tensor], torch.Tensor]
"""Picks from hidden states (rows, tokens, width) those (n, width) whose next token is asked for."""


@dataclass(frozen=True, slots=True)
class KeyValues:
    """`layers`: keys and values (rows, heads, columns, width) of each layer. `mask`: (rows, columns), 1 for a token."""

    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    mask: torch.Tensor

    @property
    def n_tokens(self) -> torch.Tensor:
        """Of each row: the position of the token that comes next."""
        return self.mask.sum(1)

    def cache(self) -> DynamicCache:
        """To be handed to a model, which doesn't change these tensors."""
        return DynamicCache(self.layers)

    def expanded(self, n_rows: int) -> KeyValues:
        """The one row, n times, without a copy."""
        layers = tuple(
            (keys.expand(n_rows, -1, -1, -1), values.expand(n_rows, -1, -1, -1)) for keys, values in self.layers
        )
        return KeyValues(layers, self.mask.expand(n_rows, -1))

    def rows(self, indices: Sequence[int]) -> KeyValues:
        """Some of the rows, without the columns that none of them has."""
        chosen = torch.tensor(indices, device=self.mask.device)
        mask = self.mask[chosen]
        columns = mask.any(0).nonzero().squeeze(1)
        if len(columns) == mask.shape[1]:
            return KeyValues(tuple((keys[chosen], values[chosen]) for keys, values in self.layers), mask)
        chosen = chosen[:, None]
        layers = ((keys.transpose(1, 2), values.transpose(1, 2)) for keys, values in self.layers)
        return KeyValues(
            tuple(
                (keys[chosen, columns].transpose(1, 2), values[chosen, columns].transpose(1, 2))
                for keys, values in layers
            ),
            mask[:, columns],
        )

    def with_rows(self, other: KeyValues) -> KeyValues:
        """The rows of both, padded on the left to the same length."""
        length = max(self.mask.shape[1], other.mask.shape[1])
        ours, theirs = self._padded(length), other._padded(length)
        layers = tuple(
            (torch.cat([keys, more_keys]), torch.cat([values, more_values]))
            for (keys, values), (more_keys, more_values) in zip(ours.layers, theirs.layers, strict=True)
        )
        return KeyValues(layers, torch.cat([ours.mask, theirs.mask]))

    def _padded(self, length: int) -> KeyValues:
        more = length - self.mask.shape[1]
        if not more:
            return self
        layers = tuple(
            (functional.pad(keys, (0, 0, more, 0)), functional.pad(values, (0, 0, more, 0)))
            for keys, values in self.layers
        )
        return KeyValues(layers, functional.pad(self.mask, (more, 0)))


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """The tokens that all prompts of a unit begin with, evaluated once; `key_values` is None when there are none."""

    n_tokens: int
    key_values: KeyValues | None


def sees_all(model: Any, n_columns: int) -> bool:
    """Whether no layer's window is shorter than so many columns, so that a token sees all that is not masked.

    A window that the model's settings name counts, even if none of its layers has it: rows then are computed in a
    slower way, with the same results.
    """
    config = model.config.get_text_config()
    windows = [getattr(config, name, None) for name in _WINDOWS]
    return all(n_columns <= window for window in windows if isinstance(window, int))


def evaluate_prefix(model: Any, prompts: Sequence[list[int]], device: str, n_more: int) -> SharedPrefix:
    """Every prompt keeps a last token of its own, whose logits are asked for; up to `n_more` columns will follow it.

    Nothing is shared by prompts longer than a window: there would be masked columns between the prefix and the rest of
    the shorter ones.
    """
    if not sees_all(model, max(len(prompt) for prompt in prompts) + n_more):
        return SharedPrefix(0, None)
    first, last = min(prompts), max(prompts)  # in lexicographic order: what these two share, all between them do
    n_tokens = min(len(prompt) for prompt in prompts) - 1
    for position in range(n_tokens):
        if first[position] != last[position]:
            n_tokens = position
            break
    if n_tokens < 1 or len(prompts) == 1:
        return SharedPrefix(0, None)
    _, key_values = evaluate(model, [first[:n_tokens]], first[0], device, SharedPrefix(0, None))
    return SharedPrefix(n_tokens, key_values)


def evaluate(
    model: Any, prompts: Sequence[Sequence[int]], fill: int, device: str, prefix: SharedPrefix
) -> tuple[torch.Tensor, KeyValues]:
    """Logits (rows, vocabulary) of the token after each prompt, and the prompts' keys and values."""
    rows = left_padded([prompt[prefix.n_tokens :] for prompt in prompts], fill, device)
    mask, cache = rows.mask, DynamicCache()
    if prefix.key_values is not None:
        shared = prefix.key_values.expanded(len(prompts))
        mask, cache = torch.cat([shared.mask, mask], dim=1), shared.cache()
    positions = rows.positions + prefix.n_tokens
    return forward(model, rows.ids, mask, positions, cache, mask, lambda hidden: hidden[:, -1])


def forward(
    model: Any,
    ids: torch.Tensor,
    attention_mask: torch.Tensor,
    positions: torch.Tensor,
    cache: DynamicCache,
    mask: torch.Tensor,
    select: Select,
) -> tuple[torch.Tensor, KeyValues]:
    """Logits in float32 of what `select` picks, and keys and values of all tokens; `mask` says which columns count."""
    with _projection_of(model, select):
        logits = model(
            input_ids=ids, attention_mask=attention_mask, position_ids=positions, past_key_values=cache, use_cache=True
        ).logits
    layers = tuple((layer.keys, layer.values) for layer in cache.layers)
    return logits.float(), KeyValues(layers, mask)


@contextmanager
def _projection_of(model: Any, select: Select) -> Iterator[None]:
    """The vocabulary projection sees the selected hidden states only, as one matrix.

    What a model does with its logits afterwards (scaling, soft caps) it still does. Given three dimensions with one
    token a row, PyTorch multiplies row by row on a CPU: 7 times as slow (measured: 226 against 33 ms for 64 rows).
    """
    head = model.get_output_embeddings()
    whole, is_plain = head.forward, type(head) is torch.nn.Linear and head.bias is None

    def selected(hidden: torch.Tensor) -> torch.Tensor:
        rows = select(hidden).contiguous()
        return product(rows, head.weight) if is_plain else whole(rows)

    head.forward = selected
    try:
        yield
    finally:
        del head.forward
