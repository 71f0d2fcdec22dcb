"""The likelihood of fixed completions: each prompt and each needed beginning of a completion is evaluated once.

Completions form a tree of tokens. Its nodes are put behind their prompt in one row, where a node sees the prompt and
its ancestors alone; so completions neither copy the prompt's keys and values nor repeat what they share. A completion
whose first token is so unlikely that it can't count is left out.

Where a model's window is shorter than a prompt with the whole tree behind it, completions follow the prompt one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from ..errors import RunFailedError
from .cache import KeyValues, evaluate, evaluate_prefix, forward, prefix_length, score_mask, sees_all
from .protocol import Progress

_TOKENS_AT_ONCE = 2048
"""Prompt tokens, with padding, in a forward pass."""

_NODES_AT_ONCE = 256
"""Logits of this many tokens, a whole vocabulary each, are in memory at once, however many completions there are."""

_ROWS_IN_CACHE = 8
"""Logits of so many tokens, in float32, are in a core's cache at once: 1.5 MB with a vocabulary of 49,152."""

_KEPT_AT_ONCE = 8192
"""Tokens whose keys and values are in memory at once, each row with all of its own; see `groups`."""

_NEGLIGIBLE = 1e-4
"""What all completions left out can add up to, as a share of the best one's probability. On TREC 27% of the labels are
left out after their first token, and 12% with a tenth of this; confidences differed by 0.00003 at most.
"""


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


def most_rows(model: Any, prompts: Sequence[list[int]], completions: Sequence[Sequence[int]], rows_at_once: int) -> int:
    """How many of `rows_at_once` `score_completions` computes together where prompts are long."""
    n_shared = prefix_length(model, prompts, len(CompletionTree.of(completions).tokens))
    return max(len(group) for group in _prompt_groups(prompts, n_shared, rows_at_once))


def _prompt_groups(prompts: Sequence[list[int]], n_shared: int, rows_at_once: int) -> Iterator[list[int]]:
    return groups([len(prompt) - n_shared for prompt in prompts], rows_at_once, _TOKENS_AT_ONCE, n_shared)


def score_completions(
    model: Any,
    prompts: Sequence[list[int]],
    completions: Sequence[Sequence[int]],
    device: str,
    rows_at_once: int,
    progress: Progress,
) -> list[tuple[float, ...]]:
    """For each prompt the logarithm of each completion's probability among all completions, in nats.

    A completion's likelihood is the product of its tokens' probabilities after the prompt; completions must
    end in the end-of-text token, so that none is a prefix of another. Which is the likeliest is exact; the
    probabilities are so but for `_NEGLIGIBLE`, which makes those left out minus infinity, and the rounding of batched
    arithmetic. `progress` hears of prompts.
    """
    tree = CompletionTree.of(completions)
    prefix = evaluate_prefix(model, prompts, device, len(tree.tokens))
    scores = torch.empty(len(prompts), len(completions), device=device)
    done = 0
    for group in _prompt_groups(prompts, prefix.n_tokens, rows_at_once):
        logits, key_values = evaluate(model, [prompts[index] for index in group], completions[0][0], device, prefix)
        scores[group] = _group_scores(model, tree, logits, key_values)
        done += len(group)
        progress(done, len(prompts))
    if scores.isnan().any() or not scores.max(1).values.isfinite().all():
        raise RunFailedError(
            "the student's likelihoods are not finite numbers: its training has diverged",
            "Lower student.learning_rate in a new run: llm2llm fork RUN --set student.learning_rate=…",
        )
    return [tuple(row) for row in functional.log_softmax(scores, dim=1).tolist()]


def groups(lengths: Sequence[int], rows_at_once: int, tokens_at_once: int, n_before: int = 0) -> Iterator[list[int]]:
    """Rows of similar length to be computed together, by their index: a function of the arguments alone.

    `n_before`: tokens of each row that need not be computed, but whose keys and values it has in memory.
    """
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: (lengths[index], index)):
        # The one to come is the longest so far, and so the length of all.
        n_rows, length = len(group) + 1, lengths[index]
        is_too_much = n_rows * length > tokens_at_once or n_rows * (n_before + length) > _KEPT_AT_ONCE
        if group and (n_rows > rows_at_once or is_too_much):
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def _group_scores(model: Any, tree: CompletionTree, logits: torch.Tensor, key_values: KeyValues) -> torch.Tensor:
    """Log-likelihoods (rows, completions); minus infinity for those left out."""
    first = logits[:, list(tree.first)] - _normalizers(logits)[:, None]
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
    # The last column, 0, fills up the completions with fewer tokens than the longest.
    n_edges, length = len(tree.edge_tokens), max(len(edges) for edges in tree.edges)
    edge_scores = torch.zeros(len(wanted), n_edges + 1, device=wanted.device)
    n_columns = key_values.mask.shape[1]
    is_in_sight = sees_all(model, n_columns + len(tree.tokens))
    parts_of, mask_of = (_tree_parts, _tree_mask) if is_in_sight else (_line_parts, _line_mask)
    completions_of = [row.nonzero().flatten().tolist() for row in wanted]
    parts = parts_of(tree, completions_of)
    for group in groups([len(part.nodes) for part in parts], len(parts), _NODES_AT_ONCE, n_columns):
        chosen = [parts[index] for index in group]
        rows, edges, scores = _edge_scores(model, tree, key_values, chosen, mask_of)
        edge_scores[rows, edges] = scores
    edges_of = torch.tensor([[*edges, *[n_edges] * (length - len(edges))] for edges in tree.edges], dtype=torch.long)
    return edge_scores[:, edges_of.to(wanted.device)].sum(2)


_Mask = Callable[[CompletionTree, torch.Tensor, torch.Tensor, torch.dtype], torch.Tensor]


@dataclass(frozen=True, slots=True)
class _Part:
    """Nodes to be put behind the prompt of `row`, ancestors first; what follows the last `n_asked` is asked for."""

    row: int
    nodes: Sequence[int]
    n_asked: int


def _tree_parts(tree: CompletionTree, completions_of: Sequence[Sequence[int]]) -> list[_Part]:
    """For each row the nodes of its completions, as many side by side as may be asked for at once."""
    parts = []
    for row, completions in enumerate(completions_of):
        nodes = sorted({node for completion in completions for node in tree.nodes[completion]})
        for start in range(0, len(nodes), _NODES_AT_ONCE):
            asked = nodes[start : start + _NODES_AT_ONCE]
            ancestors = {node for one in asked for node in tree.lines[one]} - set(asked)
            parts.append(_Part(row, [*sorted(ancestors), *asked], len(asked)))
    return parts


def _line_parts(tree: CompletionTree, completions_of: Sequence[Sequence[int]]) -> list[_Part]:
    """For each row its completions one by one, as they would be written: what windows in columns are right for."""
    parts = []
    for row, completions in enumerate(completions_of):
        seen: set[int] = set()
        for completion in completions:
            nodes = tree.nodes[completion]
            n_asked = len(set(nodes) - seen)  # the last ones, as what is shared comes first
            seen.update(nodes)
            if n_asked:
                parts.append(_Part(row, nodes, n_asked))
    return parts


def _edge_scores(
    model: Any, tree: CompletionTree, key_values: KeyValues, parts: Sequence[_Part], mask_of: _Mask
) -> tuple[list[int], list[int], torch.Tensor]:
    """Rows, edges and log-probabilities of the tokens that follow the nodes asked for."""
    device = key_values.mask.device
    before, cache = key_values.read_rows([part.row for part in parts])
    padding, length = len(tree.tokens), max(len(part.nodes) for part in parts)
    nodes = torch.tensor([[*part.nodes, *[padding] * (length - len(part.nodes))] for part in parts], device=device)
    mask = mask_of(tree, before, nodes, model.dtype)
    places = torch.arange(length, device=device)
    ends = torch.tensor([[len(part.nodes)] for part in parts], device=device)
    n_asked = torch.tensor([[part.n_asked] for part in parts], device=device)
    asked = (places < ends) & (places >= ends - n_asked)
    tokens, depths = (torch.tensor([*values, values[0]], device=device) for values in (tree.tokens, tree.depths))
    positions = before.sum(1)[:, None] + depths[nodes]
    logits = forward(model, tokens[nodes], mask, positions, cache, lambda hidden: hidden[asked])
    edges_of: list[list[int]] = [[] for _ in tree.tokens]
    for edge, node in enumerate(tree.edge_nodes):
        edges_of[node].append(edge)
    following = [(part.row, node) for part in parts for node in part.nodes[-part.n_asked :]]
    wanted = [(place, row, edge) for place, (row, node) in enumerate(following) for edge in edges_of[node]]
    of_logits, rows, edges = ([*column] for column in zip(*wanted, strict=True))
    next_tokens = torch.tensor([tree.edge_tokens[edge] for edge in edges], device=device)
    chosen = torch.tensor(of_logits, device=device)
    return rows, edges, logits[chosen, next_tokens] - _normalizers(logits)[chosen]


def _normalizers(logits: torch.Tensor) -> torch.Tensor:
    """The logarithm of the sum of the exponentials of each row (rows, vocabulary): few rows at once stay in the cache
    from one of its passes to the next (measured on a CPU with 250 rows of 49,152: 36 ms, all at once 70).
    """
    return torch.cat([rows.logsumexp(1) for rows in torch.split(logits, _ROWS_IN_CACHE)])


def _tree_mask(tree: CompletionTree, before: torch.Tensor, nodes: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Of scores, (rows, 1, nodes, columns): a node sees the prompt, `before` (rows, columns), and its line, not those
    beside it.
    """
    sees_nodes = tree.sees(str(nodes.device))[nodes[:, :, None], nodes[:, None, :]]
    sees = torch.cat([before.bool()[:, None, :].expand(-1, nodes.shape[1], -1), sees_nodes], dim=2)
    return score_mask(sees, dtype)


def _line_mask(tree: CompletionTree, before: torch.Tensor, nodes: torch.Tensor, _: torch.dtype) -> torch.Tensor:
    """Of columns, (rows, columns): the model itself knows what is before what, and how far its windows reach."""
    return torch.cat([before, (nodes != len(tree.tokens)).to(before.dtype)], dim=1)
