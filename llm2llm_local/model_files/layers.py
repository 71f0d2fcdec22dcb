"""What each layer of a GGUF model weighs and keeps of a token: what a plan of memory is made of."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import ModelError
from .gguf_file import GgufHeader

_LAYER = re.compile(r"blk\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class LayerSizes:
    """Of a model of one GGUF file; bytes of weights as they are in the file.

    `layer_bytes`: weights of each layer. `kv_values`: how many numbers, keys and values together, each layer keeps of
    a token. `input_bytes`: the embeddings of tokens, which llama.cpp always leaves in the machine's memory.
    `output_bytes`: what turns the last hidden state into scores; on a GPU it counts as one layer more. `is_tied`: it
    shares its matrix with the embeddings, of which a GPU gets a copy.
    `head_values`: the largest number of which a head's keys and its values are multiples, since a quantized cache has
    them in blocks; 0 in a model without heads.
    """

    layer_bytes: tuple[int, ...]
    kv_values: tuple[int, ...]
    input_bytes: int
    output_bytes: int
    is_tied: bool
    head_values: int
    n_embd: int
    n_head: int
    vocab_size: int
    context_length: int

    @property
    def n_layers(self) -> int:
        """Those that can be put on a GPU: all that are repeated, and the output."""
        return len(self.layer_bytes) + 1


def layer_sizes(header: GgufHeader) -> LayerSizes:
    """From the header alone. Raises ModelError when it lacks what a language model needs.

    An upper bound where a model keeps less of old tokens (sliding windows) than of new ones.
    """
    architecture = header.text("general.architecture")

    def number(key: str, otherwise: Callable[[], int] | None = None) -> int:
        value = header.integer(f"{architecture}.{key}")
        if value is None and otherwise is None:
            raise ModelError(f"{header.path}: {architecture}.{key} is not in its header", "It is no language model.")
        return otherwise() if value is None and otherwise is not None else value or 0

    n_layers, n_embd, n_head = number("block_count"), number("embedding_length"), number("attention.head_count")
    of_a_head = n_embd // n_head if n_head else 0  # a model without attention (Mamba) has no heads
    key_values = number("attention.key_length", lambda: of_a_head)
    value_values = number("attention.value_length", lambda: of_a_head)
    weights = [0] * n_layers
    input_bytes = output_bytes = 0
    for tensor in header.tensors:
        layer = _LAYER.match(tensor.name)
        if layer is not None and int(layer[1]) < n_layers:
            weights[int(layer[1])] += tensor.n_bytes
        elif tensor.name.startswith("token_embd"):
            input_bytes += tensor.n_bytes
        else:
            output_bytes += tensor.n_bytes
    is_tied = not any(tensor.name == "output.weight" for tensor in header.tensors)
    if is_tied:
        output_bytes += input_bytes
    heads = _kv_heads(header, architecture, n_layers, n_head)
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    return LayerSizes(
        layer_bytes=tuple(weights),
        kv_values=tuple(n * (key_values + value_values) for n in heads),
        input_bytes=input_bytes,
        output_bytes=output_bytes,
        is_tied=is_tied,
        head_values=math.gcd(key_values, value_values),
        n_embd=n_embd,
        n_head=n_head,
        vocab_size=len(tokens) if isinstance(tokens, tuple) else 0,
        context_length=number("context_length"),
    )


def _kv_heads(header: GgufHeader, architecture: str, n_layers: int, n_head: int) -> tuple[int, ...]:
    """Of each layer; absent means that every head has its own keys and values."""
    value = header.metadata.get(f"{architecture}.attention.head_count_kv")
    if isinstance(value, tuple) and len(value) == n_layers:
        return tuple(int(item) for item in value)
    return (header.integer(f"{architecture}.attention.head_count_kv") or n_head,) * n_layers
