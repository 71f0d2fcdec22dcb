"""The likelihood of fixed completions: each prompt and each needed beginning of a completion is evaluated once.

Completions form a tree of tokens. Its nodes are put behind their prompt in one row, where a node sees the prompt and
its ancestors alone; so completions neither copy the prompt's keys and values nor repeat what they share. A completion
whose first token is so unlikely that it can't count is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from ..errors import RunFailedError
from .cache import KeyValues, evaluate, evaluate_prefix, forward
from .protocol import Progress

TOKENS_AT_ONCE = 1024
"""Prompt tokens, with padding, in a forward pass."""

_NODES_AT_ONCE = 256
"""Logits of this many tokens, a whole vocabulary each, are in memory at once."""

_NEGLIGIBLE = 1e-5
"""What all completions left out can add up to, as a share of the best one's probability."""


@dataclass(frozen=True, slots=True)
class CompletionTree:
    """Completions by their tokens.

    A node is a token that others follow; `tokens`, `depths` and `lines` (its ancestors and itself) are by node.
    An edge is a token that follows a node: `edge_nodes` and `edge_tokens`. Of each completion, `first` is its first
    token, `nodes` those on its way, `edges` those of its further tokens.
    """

    tokens: tuple[int, ...]
    depths: tuple[int, ...]
    lines: tuple[tuple[int, ...], ...]
    edge_nodes: tuple[int, ...]
    edge_tokens: tuple[int, ...]
    first: tuple[int, ...]
    nodes: tuple[tuple[int, ...], ...]
    edges: tuple[tuple[int, ...], ...]

    @staticmethod
    def of(completions: Sequence[Sequence[int]]) -> CompletionTree:
        """None may be a beginning of another, which an end token sees to."""
        node_of = {
            beginning: node
            for node, beginning in enumerate(
                sorted({tuple(one[: end + 1]) for one in completions for end in range(len(one) - 1)})
            )
        }
        edge_of = {
            path: edge
            for edge, path in enumerate(
                sorted({tuple(one[: end + 1]) for one in completions for end in range(1, len(one))})
            )
        }
        return CompletionTree(
            tokens=tuple(path[-1] for path in node_of),
            depths=tuple(len(path) - 1 for path in node_of),
            lines=tuple(tuple(node_of[path[: end + 1]] for end in range(len(path))) for path in node_of),
            edge_nodes=tuple(node_of[path[:-1]] for path in edge_of),
            edge_tokens=tuple(path[-1] for path in edge_of),
            first=tuple(one[0] for one in completions),
            nodes=tuple(tuple(node_of[tuple(one[: end + 1])] for end in range(len(one) - 1)) for one in completions),
            edges=tuple(tuple(edge_of[tuple(one[: end + 1])] for end in range(1, len(one))) for one in completions),
        )

    def sees(self, device: str) -> torch.Tensor:
        """Which node (first dimension) sees which; one more, for padding, sees itself alone."""
        n_nodes = len(self.tokens)
        sees = torch.eye(n_nodes + 1, dtype=torch.bool)
        for node, line in enumerate(self.lines):
            sees[node, list(line)] = True
        return sees.to(device)


def score_completions(
    model: Any,
    prompts: Sequence[list[int]],
    completions: Sequence[Sequence[int]],
    device: str,
    rows_at_once: int,
    progress: Progress,
) -> list[tuple[int, float]]:
    """For each prompt the likeliest completion's index, and its probability among all completions.

    A completion's likelihood is the product of its tokens' probabilities after the prompt; completions must
    end in the end-of-text token, so that none is a prefix of another. The index is exact; the probability is so but
    for `_NEGLIGIBLE` and the rounding of batched arithmetic. `progress` hears of prompts.
    """
    tree = CompletionTree.of(completions)
    prefix = evaluate_prefix(model, prompts, device)
    scores = torch.empty(len(prompts), len(completions), device=device)
    done = 0
    for group in groups([len(prompt) for prompt in prompts], rows_at_once, TOKENS_AT_ONCE):
        logits, key_values = evaluate(model, [prompts[index] for index in group], completions[0][0], device, prefix)
        scores[group] = _group_scores(model, tree, logits, key_values)
        done += len(group)
        progress(done, len(prompts))
    if scores.isnan().any() or not scores.max(1).values.isfinite().all():
        raise RunFailedError(
            "the student's likelihoods are not finite numbers: its training has diverged",
            "Lower student.learning_rate in a new run: llm2llm fork RUN --set student.learning_rate=…",
        )
    best = scores.argmax(1)
    confidence = functional.softmax(scores, dim=1)[torch.arange(len(prompts)), best]
    return list(zip(best.tolist(), confidence.tolist(), strict=True))


def groups(lengths: Sequence[int], rows_at_once: int, tokens_at_once: int) -> Iterator[list[int]]:
    """Rows of similar length to be computed together, by their index: a function of the lengths alone."""
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: (lengths[index], index)):
        # The one to come is the longest so far, and so the length of all.
        if group and (len(group) == rows_at_once or (len(group) + 1) * lengths[index] > tokens_at_once):
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def _group_scores(model: Any, tree: CompletionTree, logits: torch.Tensor, key_values: KeyValues) -> torch.Tensor:
    """Log-likelihoods (rows, completions); minus infinity for those left out."""
    first = logits[:, list(tree.first)] - logits.logsumexp(1, keepdim=True)
    if not first.isfinite().all():
        return first.new_full(first.shape, math.nan)
    margin = math.log(len(tree.first) / _NEGLIGIBLE)
    scores = torch.full_like(first, -math.inf)
    scored = torch.zeros_like(first, dtype=torch.bool)
    best = first.max(1, keepdim=True).values
    # No completion is likelier than its first token. The best first token may end badly: then more count after all.
    while (wanted := (first >= best - margin) & ~scored).any():
        rest = _rest_scores(model, tree, key_values, wanted)
        scores = torch.where(wanted, first + rest, scores)
        scored |= wanted
        best = scores.max(1, keepdim=True).values
    return scores


def _rest_scores(model: Any, tree: CompletionTree, key_values: KeyValues, wanted: torch.Tensor) -> torch.Tensor:
    """Log-likelihood of the wanted completions after their first token; (rows, completions), elsewhere meaningless."""
    chosen = [
        sorted({node for completion in row.nonzero().flatten().tolist() for node in tree.nodes[completion]})
        for row in wanted
    ]
    # The last column, 0, fills up the completions with fewer tokens than the longest.
    n_edges, length = len(tree.edge_tokens), max(len(edges) for edges in tree.edges)
    edge_scores = torch.zeros(len(chosen), n_edges + 1, device=wanted.device)
    some = [row for row, nodes in enumerate(chosen) if nodes]
    for group in groups([len(chosen[row]) for row in some], len(some), _NODES_AT_ONCE):
        rows = [some[index] for index in group]
        edge_scores[rows, :n_edges] = _edge_scores(model, tree, key_values.rows(rows), [chosen[row] for row in rows])
    edges_of = torch.tensor([[*edges, *[n_edges] * (length - len(edges))] for edges in tree.edges], dtype=torch.long)
    return edge_scores[:, edges_of.to(wanted.device)].sum(2)


def _edge_scores(
    model: Any, tree: CompletionTree, key_values: KeyValues, chosen: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Log-probability (rows, edges) of the tokens that follow the chosen nodes of each row; 0 for the other edges."""
    device, prompt_mask = key_values.mask.device, key_values.mask.bool()
    padding, length = len(tree.tokens), max(len(nodes) for nodes in chosen)
    nodes = torch.tensor([[*row, *[padding] * (length - len(row))] for row in chosen], device=device)
    counted = nodes != padding
    sees_nodes = tree.sees(str(device))[nodes[:, :, None], nodes[:, None, :]]
    sees = torch.cat([prompt_mask[:, None, :].expand(-1, length, -1), sees_nodes], dim=2)
    dtype = key_values.layers[0][0].dtype
    mask = torch.zeros(sees.shape, dtype=dtype, device=device).masked_fill_(~sees, torch.finfo(dtype).min)
    tokens, depths = (torch.tensor([*values, values[0]], device=device) for values in (tree.tokens, tree.depths))
    logits, _ = forward(
        model,
        tokens[nodes],
        mask[:, None],
        key_values.n_tokens[:, None] + depths[nodes],
        key_values.cache(),
        key_values.mask,
        lambda hidden: hidden[counted],
    )
    edges_of: list[list[int]] = [[] for _ in tree.tokens]
    for edge, node in enumerate(tree.edge_nodes):
        edges_of[node].append(edge)
    flat = [(row, node) for row, row_nodes in enumerate(chosen) for node in row_nodes]
    asked = [(place, row, edge) for place, (row, node) in enumerate(flat) for edge in edges_of[node]]
    places, rows, edges = (torch.tensor(column, device=device) for column in zip(*asked, strict=True))
    following = torch.tensor(tree.edge_tokens, device=device)[edges]
    scores = torch.zeros(len(chosen), len(tree.edge_tokens), device=device)
    scores[rows, edges] = logits[places, following] - logits.logsumexp(1)[places]
    return scores
