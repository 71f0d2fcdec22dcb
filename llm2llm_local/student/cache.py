"""Keys and values of evaluated tokens, as plain tensors that rows share, join and leave.

Rows of a `KeyValues` end at the same column; columns that a row doesn't have are masked, wherever they stand. So rows
of any lengths can be computed together, and none is copied for the sake of another.

Layers with a sliding window are the exception: transformers counts windows in columns, masked ones too, so that none
may stand between two of a row's tokens. See `sees_all`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from ..prefixes import shared_length
from .linear import product
from .packing import Pack, packed
from .rows import left_padded

_WINDOWS = ("sliding_window", "attention_chunk_size", "window_size")
"""The settings of models with windows, in tokens: of most kinds, of Llama 4, and of GPT-Neo."""

_BIASED_BY_COLUMNS = ("bloom", "mpt")
"""Kinds of models with ALiBi that have no setting for it."""

_SIDE_BY_SIDE = 128
"""Tokens of several prompts in one row: attention is computed between all of them. TREC's were no faster with 64, 256
or 512.
"""

_PASS_TOKENS = 64
"""A forward pass of its own costs about as much as so many tokens more in another one, since it reads all weights."""

Pick = Callable[[torch.Tensor], torch.Tensor]
"""Picks some rows and columns from keys or values (rows, heads, columns, width)."""

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

    @staticmethod
    def of(cache: DynamicCache, mask: torch.Tensor) -> KeyValues:
        """What a model has left in a cache; `mask` says which columns count."""
        return KeyValues(tuple((layer.keys, layer.values) for layer in cache.layers), mask)

    def cache(self) -> DynamicCache:
        """To be handed to a model, which doesn't change these tensors."""
        return _cache(_Layer(keys, values) for keys, values in self.layers)

    def expanded(self, n_rows: int) -> KeyValues:
        """The one row, n times, without a copy."""
        layers = tuple(
            (keys.expand(n_rows, -1, -1, -1), values.expand(n_rows, -1, -1, -1)) for keys, values in self.layers
        )
        return KeyValues(layers, self.mask.expand(n_rows, -1))

    def rows(self, indices: Sequence[int]) -> KeyValues:
        """Some of the rows, without the columns that none of them has."""
        pick, mask = self._of_rows(indices)
        return self._picked(pick, mask)

    def read_rows(self, indices: Sequence[int]) -> tuple[torch.Tensor, DynamicCache]:
        """As `rows`, the mask and a cache for a single pass, which keeps nothing: rows are picked layer by layer, and
        never are two copies of them in memory.
        """
        pick, mask = self._of_rows(indices)
        return mask, _cache(_ReadLayer(keys, values, pick, mask.shape[1]) for keys, values in self.layers)

    def _of_rows(self, indices: Sequence[int]) -> tuple[Pick, torch.Tensor]:
        chosen = torch.tensor(indices, device=self.mask.device)
        mask = self.mask[chosen]
        columns = mask.any(0).nonzero().squeeze(1)
        if len(columns) == mask.shape[1]:
            return lambda tensor: tensor[chosen], mask
        return _picking(chosen[:, None], columns), mask[:, columns]

    def _picked(self, pick: Pick, mask: torch.Tensor) -> KeyValues:
        return KeyValues(tuple((pick(keys), pick(values)) for keys, values in self.layers), mask)

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


def _picking(rows: torch.Tensor, columns: torch.Tensor) -> Pick:
    return lambda tensor: tensor.transpose(1, 2)[rows, columns].transpose(1, 2)


def _cache(layers: Iterable[DynamicLayer]) -> DynamicCache:
    cache = DynamicCache()
    cache.layers = list(layers)
    return cache


class _Layer(DynamicLayer):  # type: ignore[misc]
    """Begins with keys and values that are somebody else's. DynamicCache, when given some, would copy them."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.keys, self.values = keys, values
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True


class _ReadLayer(_Layer):
    """Of these keys and values a model sees what is picked, `n_columns`, and keeps nothing that it adds."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, pick: Pick, n_columns: int) -> None:
        super().__init__(keys, values)
        self._pick, self._n_columns = pick, n_columns

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = (
            torch.cat([self._pick(before), more], dim=-2)
            for before, more in ((self.keys, key_states), (self.values, value_states))
        )
        return keys, values

    def get_seq_length(self) -> int:
        return self._n_columns


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """The tokens that all prompts of a unit begin with, evaluated once; `key_values` is None when there are none."""

    n_tokens: int
    key_values: KeyValues | None

    def before(self, mask: torch.Tensor) -> tuple[torch.Tensor, DynamicCache]:
        """The mask of rows that follow it, with its own columns, and a cache of it for them."""
        if self.key_values is None:
            return mask, DynamicCache()
        shared = self.key_values.expanded(len(mask))
        return torch.cat([shared.mask, mask], dim=1), shared.cache()


def sees_all(model: Any, n_columns: int) -> bool:
    """Whether no layer's window is shorter than so many columns, so that a token sees all that is not masked.

    A window that the model's settings name counts, even if none of its layers has it: rows then are computed in a
    slower way, with the same results.
    """
    return n_columns <= _window(model)


def _window(model: Any) -> int:
    """The shortest, in columns; 0 where attention depends on how many columns lie between two tokens."""
    config = model.config.get_text_config()
    if getattr(config, "alibi", False) or config.model_type in _BIASED_BY_COLUMNS:
        return 0
    windows = [getattr(config, name, None) for name in _WINDOWS]
    return min((window for window in windows if isinstance(window, int)), default=sys.maxsize)


def prefix_length(model: Any, prompts: Sequence[list[int]], n_more: int) -> int:
    """Tokens that all prompts begin with and that are worth evaluating once.

    Every prompt keeps a last token of its own, whose logits are asked for; up to `n_more` columns will follow it.
    A few tokens stand rather in each row of prompts side by side. Nothing is shared by prompts longer than a window:
    there would be masked columns between the prefix and the rest of the shorter ones.
    """
    if len(prompts) == 1 or not sees_all(model, max(len(prompt) for prompt in prompts) + n_more):
        return 0
    first, last = min(prompts), max(prompts)  # in lexicographic order: what these two share, all between them do
    n_shared = max(0, min(shared_length(first, last), min(len(prompt) for prompt in prompts) - 1))
    n_rows = min(len(prompts), math.ceil(sum(map(len, prompts)) / _SIDE_BY_SIDE))
    return n_shared if n_shared * n_rows > _PASS_TOKENS else 0


def evaluate_prefix(model: Any, prompts: Sequence[list[int]], device: str, n_more: int) -> SharedPrefix:
    """As many tokens as `prefix_length` says."""
    n_tokens = prefix_length(model, prompts, n_more)
    if not n_tokens:
        return SharedPrefix(0, None)
    _, key_values = evaluate(model, [prompts[0][:n_tokens]], prompts[0][0], device, SharedPrefix(0, None))
    return SharedPrefix(n_tokens, key_values)


def evaluate(
    model: Any, prompts: Sequence[Sequence[int]], fill: int, device: str, prefix: SharedPrefix
) -> tuple[torch.Tensor, KeyValues]:
    """Logits (rows, vocabulary) of the token after each prompt, and the prompts' keys and values."""
    rests = [prompt[prefix.n_tokens :] for prompt in prompts]
    if sees_all(model, max(len(prompt) for prompt in prompts)):
        packs = packed(rests, min(_SIDE_BY_SIDE, _window(model) - prefix.n_tokens))
        if len(packs) < len(prompts):
            return _evaluate_packs(model, packs, fill, device, prefix)
    rows = left_padded(rests, fill, device)
    mask, cache = prefix.before(rows.mask)
    positions = rows.positions + prefix.n_tokens
    logits = forward(model, rows.ids, mask, positions, cache, lambda hidden: hidden[:, -1])
    return logits, KeyValues.of(cache, mask)


def _evaluate_packs(
    model: Any, packs: Sequence[Pack], fill: int, device: str, prefix: SharedPrefix
) -> tuple[torch.Tensor, KeyValues]:
    """As `evaluate`, in the order of the prompts' numbers in `packs`."""
    length = max(len(pack.tokens) for pack in packs)
    line_of = {
        index: (row, line)
        for row, pack in enumerate(packs)
        for index, line in zip(pack.prompts, pack.lines, strict=True)
    }
    lines = [line_of[index] for index in range(len(line_of))]
    ids = torch.tensor([_filled(pack.tokens, length, fill) for pack in packs], device=device)
    positions = torch.tensor([_filled(pack.depths, length, 0) for pack in packs], device=device) + prefix.n_tokens
    sees = torch.stack([_sees(pack, length) for pack in packs]).to(device)
    sees = torch.cat([sees.new_ones(*sees.shape[:2], prefix.n_tokens), sees], dim=2)
    _, cache = prefix.before(torch.ones_like(ids))
    rows, ends = torch.tensor([(row, line[-1]) for row, line in lines], device=device).unbind(1)
    attention_mask = score_mask(sees, model.dtype)
    logits = forward(model, ids, attention_mask, positions, cache, lambda hidden: hidden[rows, ends])
    columns = [[*range(prefix.n_tokens), *(prefix.n_tokens + place for place in line)] for _, line in lines]
    places = left_padded(columns, 0, device)
    chosen = torch.tensor([row for row, _ in lines], device=device)[:, None]
    return logits, _taken(cache, _picking(chosen, places.ids), places.mask)


def _taken(cache: DynamicCache, pick: Pick, mask: torch.Tensor) -> KeyValues:
    """What is picked of a cache, which is emptied meanwhile: layer by layer, so that never all is there twice."""
    layers = []
    while cache.layers:
        layer = cache.layers.pop(0)
        layers.append((pick(layer.keys), pick(layer.values)))
    return KeyValues(tuple(layers), mask)


def _filled(values: Sequence[int], length: int, fill: int) -> list[int]:
    return [*values, *[fill] * (length - len(values))]


def _sees(pack: Pack, length: int) -> torch.Tensor:
    """(length, length): which token sees which; padding sees itself alone."""
    sees = torch.eye(length, dtype=torch.bool)
    for line in pack.lines:
        places = torch.tensor(line)
        sees[places[:, None], places] = torch.ones(len(line), len(line), dtype=torch.bool).tril()
    return sees


def score_mask(sees: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What is added to attention's scores, (rows, 1, tokens, columns), from who `sees` which column."""
    return torch.zeros(sees.shape, dtype=dtype, device=sees.device).masked_fill_(~sees, torch.finfo(dtype).min)[:, None]


def forward(
    model: Any,
    ids: torch.Tensor,
    attention_mask: torch.Tensor,
    positions: torch.Tensor,
    cache: DynamicCache,
    select: Select,
) -> torch.Tensor:
    """Logits in float32 of what `select` picks. Keys and values of all tokens come into `cache`."""
    with _projection_of(model, select):
        logits = model(
            input_ids=ids, attention_mask=attention_mask, position_ids=positions, past_key_values=cache, use_cache=True
        ).logits
    return logits.float()  # type: ignore[no-any-return]


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
