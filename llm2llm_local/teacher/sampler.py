"""How one reply's tokens are drawn, and where its text ends."""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from ..errors import ModelError
from .gguf_model import GgufModel
from .llama_log import collected_errors
from .protocol import Sampling

_RANDOM_SEED = 2**32 - 1
"""The one 32-bit number that llama.cpp takes for "draw a seed yourself"; all below it are seeds."""

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
"""`llama_token_data`."""


def check_grammar(model: GgufModel, grammar: str) -> None:
    """Adding an invalid grammar to a sampler would crash the process, so it is tried alone first."""
    llama_cpp.llama_sampler_free(_grammar_sampler(model, grammar))


class Sampler:
    """Draws the tokens of one request: min-p, then top-p, then temperature. `close` frees what llama.cpp holds.

    min-p goes first, since it is linear in the vocabulary and leaves little for top-p to sort; numpy does it in a tenth
    of the time that llama.cpp takes to make candidates of the whole vocabulary (0.3 ms of 49,152 tokens, for each token
    written). A grammar is asked about the token drawn without it; only when it says no are all tokens put to it and one
    drawn from those it allows. Without filters that is the same distribution as asking it first, at a small part of the
    work.
    """

    def __init__(self, model: GgufModel, sampling: Sampling, grammar: str | None, rng_seed: int) -> None:
        self._model = model
        self._sampling = sampling
        self._grammar = _grammar_sampler(model, grammar) if grammar else None
        self._chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        if sampling.temperature == 0:
            return
        if sampling.top_p < 1:
            self._add(llama_cpp.llama_sampler_init_top_p(sampling.top_p, 1))
        self._add(llama_cpp.llama_sampler_init_temp(sampling.temperature))
        self._add(llama_cpp.llama_sampler_init_dist(rng_seed % _RANDOM_SEED))

    def sample(self, logits: npt.NDArray[np.float32]) -> int:
        """The next token; `logits` has the shape (vocabulary,)."""
        token = self._draw(logits)
        if self._grammar is None:
            return token
        if not self._allows(token):
            token = self._draw(self._allowed(logits))
        if not self._model.ends_text(token):
            llama_cpp.llama_sampler_accept(self._grammar, token)
        return token

    def close(self) -> None:
        llama_cpp.llama_sampler_free(self._chain)
        if self._grammar is not None:
            llama_cpp.llama_sampler_free(self._grammar)

    def _add(self, sampler: Any) -> None:
        llama_cpp.llama_sampler_chain_add(self._chain, sampler)

    def _draw(self, logits: npt.NDArray[np.float32]) -> int:
        highest = logits.max()
        if not np.isfinite(highest):  # llama.cpp would crash on whatever is taken
            raise ModelError(
                f"{self._model.path}: its scores of the next token are no numbers",
                "Compare the file's checksum with its source's; it may be damaged.",
            )
        if self._sampling.temperature == 0:
            return int(logits.argmax())
        least = highest + np.float32(math.log(self._sampling.min_p)) if self._sampling.min_p else -np.inf
        tokens = np.flatnonzero(logits >= least)
        candidates = _Candidates(tokens, logits[tokens])
        llama_cpp.llama_sampler_apply(self._chain, ctypes.byref(candidates.array))
        return int(candidates.array.data[candidates.array.selected].id)

    def _allows(self, token: int) -> bool:
        candidate = _Candidates(np.array([token]), np.zeros(1, np.float32))
        llama_cpp.llama_sampler_apply(self._grammar, ctypes.byref(candidate.array))
        return bool(candidate.values["logit"][0] == 0.0)

    def _allowed(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """With minus infinity for each token that the grammar forbids."""
        candidates = _Candidates(np.arange(len(logits)), logits)
        llama_cpp.llama_sampler_apply(self._grammar, ctypes.byref(candidates.array))
        allowed: npt.NDArray[np.float32] = candidates.values["logit"]
        if allowed.max() == -np.inf:  # llama.cpp would crash on whatever is taken
            raise ModelError(
                "teacher.grammar: leads to where no token of this model fits",
                "Correct the grammar file, or leave it out.",
            )
        return allowed


class _Candidates:
    """Tokens as llama.cpp's samplers take them; they change `values`, and `array`, which points there."""

    def __init__(self, tokens: npt.NDArray[np.int64], logits: npt.NDArray[np.float32]) -> None:
        self.values = np.zeros(len(tokens), _CANDIDATE)
        self.values["id"] = tokens
        self.values["logit"] = logits
        data = self.values.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token_data))
        self.array = llama_cpp.llama_token_data_array(data=data, size=len(tokens), selected=-1, sorted=False)


class ReplyText:
    """The bytes of a reply as they come, and where the first stop string cuts them."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop.encode() for stop in stops]
        self._overlap = max((len(stop) for stop in self._stops), default=1) - 1
        self._bytes = bytearray()

    def add(self, piece: bytes) -> bool:
        """Whether a stop string has come, in the new piece or across its border; the text then ends before it."""
        start = max(0, len(self._bytes) - self._overlap)
        self._bytes += piece
        cuts = [cut for stop in self._stops if (cut := self._bytes.find(stop, start)) >= 0]
        if cuts:
            del self._bytes[min(cuts) :]
        return bool(cuts)

    def __str__(self) -> str:
        return self._bytes.decode(errors="ignore")  # the token limit may cut a character in two


def _grammar_sampler(model: GgufModel, grammar: str) -> Any:
    repetitions = re.findall(r"\{(\d+),(\d+)\}", grammar)
    if any(int(most) < int(least) for least, most in repetitions):  # llama.cpp would fill all memory
        raise ModelError("teacher.grammar: a repetition {m,n} has n below m", "Correct the grammar file.")
    with collected_errors() as errors:
        sampler = llama_cpp.llama_sampler_init_grammar(model.vocabulary, grammar.encode(), b"root")
    if not sampler:
        reason = errors[0] if errors else "it must be GBNF with a rule named root"
        raise ModelError(f"teacher.grammar: llama.cpp can't read it: {reason}", "Correct the grammar file.")
    return sampler
