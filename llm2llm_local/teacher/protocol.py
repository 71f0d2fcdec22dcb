"""What the loop asks of a teacher, whatever runs it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from ..records import Reply, TeacherPrompt

KvType = Literal["f16", "q8_0", "q4_0"]

KV_BLOCK = 32
"""Numbers of quantized keys and values that share a scale of 16 bits (ggml-common.h: block_q8_0, block_q4_0)."""

KV_BYTES: dict[KvType, float] = {"f16": 2.0, "q8_0": 34 / KV_BLOCK, "q4_0": 18 / KV_BLOCK}
"""Of each number in keys and values."""

Progress = Callable[[int, int], None]
"""Called with (done, total) while long requests are worked on; what is counted is the engine's affair."""


@dataclass(frozen=True, slots=True)
class TeacherSettings:
    """How the model is loaded and how much is decoded at once.

    `context_length`: most tokens of one prompt with its reply; `gpu_layers`: -1 means all of them.
    `n_parallel`: most sequences decoded at once; `n_batch`: most tokens in one forward pass.
    `kv_bytes`: most bytes that keys and values may take; `kv_type`: how they are stored. `context_is_by_hand`: it is
    what a person wants, else what was planned.
    """

    model: Path
    context_length: int
    threads: int
    gpu_layers: int
    n_parallel: int
    n_batch: int
    kv_bytes: int
    kv_type: KvType
    flash_attention: Literal["auto", "on", "off"]
    context_is_by_hand: bool = True


def kv_bytes_per_cell(kv_values: int, kv_type: KvType) -> int:
    """Of one token with `kv_values` numbers in its keys and values; at least 1, since a recurrent model has none."""
    return max(1, math.ceil(kv_values * KV_BYTES[kv_type]))


def writes_in_streams(gpu_layers: int, kv_type: KvType, flash_attention: str) -> bool:
    """Whether each reply has keys and values of its own while it is written, which is done without flash attention."""
    return gpu_layers == 0 and kv_type == "f16" and flash_attention != "on"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn. Temperature 0 always takes the likeliest one."""

    temperature: float
    top_p: float
    min_p: float


@dataclass(frozen=True, slots=True)
class TeacherRequest:
    """One text to write. `grammar` is GBNF text; `rng_seed` has 32 bits; `max_tokens` bounds the reply."""

    prompt: TeacherPrompt
    sampling: Sampling
    grammar: str | None
    rng_seed: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """How likely is each of `continuations` after `prompt`? The prompt's stop strings play no part."""

    prompt: TeacherPrompt
    continuations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scores:
    """Log-likelihood of each continuation after its prompt, in nats, summed over its tokens.

    `input_tokens`: of the prompt and all its continuations, each counted whole, though what prompts have in common is
    evaluated once.
    """

    log_likelihoods: tuple[float, ...]
    input_tokens: int


class Teacher(Protocol):
    """A loaded teacher. What it says of a group depends on the group alone, never on what was asked before."""

    def generate(self, group: Sequence[TeacherRequest], progress: Progress) -> list[Reply]:
        """Answer the requests of one group, in their order.

        Raises ModelError when a prompt with its reply doesn't fit into the context or a grammar is invalid.
        """

    def check_prompts(self, group: Sequence[TeacherRequest], progress: Progress) -> int:
        """Tokens of the longest prompt of the group; raises as `generate` would, but writes nothing."""

    def check_memory(self, progress: Progress) -> None:
        """Take the memory that the largest group may need, so that what doesn't fit is found before any work is done.

        Raises OutOfMemoryError then.
        """

    def score(self, group: Sequence[ScoreRequest], progress: Progress) -> list[Scores]:
        """How likely the continuations are, request by request.

        A continuation's tokens are those of its text alone, taken as going on from another, so that all of a
        prompt's continuations follow the same tokens. Raises as `generate` does.

        With quantized weights another group moves a score: by up to 0.4 nats with the default teacher on a CPU with AMX
        (25 scores from -4 to -21, together and each alone; llama.cpp alone, one batch or token by token, 0.24).
        """
