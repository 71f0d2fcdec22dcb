"""Prompts side by side in rows of tokens: what several of them begin with stands there once, and padding is rare.

In lexicographic order the longest beginning that a prompt shares with any before it is the one it shares with its
neighbour, so rows are filled in that order. Pure: nothing here computes with a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..prefixes import shared_length


@dataclass(frozen=True, slots=True)
class Pack:
    """A row of tokens. A token sees itself and what is before it in its prompt, its line, of which `depths` tells the
    length without itself. `prompts`: which of those given are in it; `lines`: the places of each one's tokens.
    """

    tokens: tuple[int, ...]
    depths: tuple[int, ...]
    prompts: tuple[int, ...]
    lines: tuple[tuple[int, ...], ...]


def packed(prompts: Sequence[Sequence[int]], most: int) -> list[Pack]:
    """All of them, none cut, in rows of `most` tokens; a longer prompt makes rows as long as itself."""
    order = sorted(range(len(prompts)), key=lambda index: list(prompts[index]))
    longest = max(len(prompt) for prompt in prompts)
    most = max(most, longest)
    n_packs = len(_cut(prompts, order, most))
    # As few rows as that, but of about the same length: they are padded to the longest.
    least = longest
    while least < most:
        middle = (least + most) // 2
        if len(_cut(prompts, order, middle)) > n_packs:
            least = middle + 1
        else:
            most = middle
    return [_pack(prompts, part) for part in _cut(prompts, order, most)]


def _cut(prompts: Sequence[Sequence[int]], order: Sequence[int], most: int) -> list[list[int]]:
    """Neighbours that together have no more than `most` tokens."""
    parts: list[list[int]] = []
    room = 0
    for index in order:
        prompt = prompts[index]
        own = len(prompt) - (shared_length(prompts[parts[-1][-1]], prompt) if parts else 0)
        if not parts or own > room:
            parts.append([])
            room, own = most, len(prompt)
        parts[-1].append(index)
        room -= own
    return parts


def _pack(prompts: Sequence[Sequence[int]], part: Sequence[int]) -> Pack:
    tokens: list[int] = []
    depths: list[int] = []
    lines: list[tuple[int, ...]] = []
    before: Sequence[int] = ()
    for index in part:
        prompt = prompts[index]
        n_shared = shared_length(before, prompt)
        line = (lines[-1] if lines else ())[:n_shared]
        lines.append((*line, *range(len(tokens), len(tokens) + len(prompt) - n_shared)))
        tokens += prompt[n_shared:]
        depths += range(n_shared, len(prompt))
        before = prompt
    return Pack(tuple(tokens), tuple(depths), tuple(part), tuple(lines))
