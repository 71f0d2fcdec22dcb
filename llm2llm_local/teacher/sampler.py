"""How one reply's tokens are drawn, and where its text ends."""

from __future__ import annotations

import codecs
import ctypes
import math
import re
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from ..errors import ModelError
from ..records import FinishReason
from .gguf_model import GgufModel, no_numbers
from .llama_log import collected_errors, printed
from .protocol import Sampling

_RANDOM_SEED = 2**32 - 1
"""The one 32-bit number that llama.cpp takes for "draw a seed yourself"; all below it are seeds."""

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
"""`llama_token_data`."""

_BLOCK = 256
"""Tokens whose weights are added up at first, so that only one block needs each of its sums."""

_SLACK = 2.0**-20
"""How far the weights of numpy and those of llama.cpp may be apart, relatively: 8 units in the last place of 32 bits.
numpy's exp is within 2.6 of them, C's expf within 1; sums of 64 bits add nothing that matters."""


def check_grammar(model: GgufModel, grammar: str) -> None:
    """Adding an invalid grammar to a sampler would crash the process, so it is tried alone first."""
    llama_cpp.llama_sampler_free(_grammar_sampler(model, grammar))


class Sampler:
    """Draws the tokens of one request: min-p, then top-p, then temperature. `close` frees what llama.cpp holds.

    Each is the token that llama.cpp's own chain of these samplers draws, but not all is done by it. Measured on an
    Intel Xeon, from 49,152 tokens of the default teacher, in microseconds for each token written:

        temperature alone                  220    llama.cpp 800    see `_WholeVocabulary`
        min-p and temperature               50    llama.cpp 180    numpy leaves llama.cpp little to draw from
        top-p and temperature            1,740    llama.cpp 1,680  llama.cpp's own, which sorts
        temperature 0                       30    llama.cpp 120    numpy's

    A grammar is asked about the token drawn without it; only when it says no are all tokens put to it and one drawn
    from those it allows. Without filters that is the same distribution as asking it first, at a small part of the work.
    """

    def __init__(self, model: GgufModel, sampling: Sampling, grammar: str | None, rng_seed: int) -> None:
        self._model = model
        self._sampling = sampling
        self._grammar = _grammar_sampler(model, grammar) if grammar else None
        self._chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        self._whole: _WholeVocabulary | None = None
        if sampling.temperature == 0:
            return
        rng_seed %= _RANDOM_SEED
        if sampling.top_p < 1:
            self._add(llama_cpp.llama_sampler_init_top_p(sampling.top_p, 1))
        elif sampling.min_p == 0:
            self._whole = _WholeVocabulary(sampling.temperature, rng_seed, self._chain)
        self._add(llama_cpp.llama_sampler_init_temp(sampling.temperature))
        self._add(llama_cpp.llama_sampler_init_dist(rng_seed))

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
        likeliest = int(logits.argmax())  # or the first that is no number
        highest = logits[likeliest]
        if not np.isfinite(highest):  # llama.cpp would crash on whatever is taken
            raise no_numbers(self._model.path)
        if self._sampling.temperature == 0:
            return likeliest
        if self._whole is not None:
            return self._whole.draw(logits, highest)
        if self._sampling.min_p == 0:
            return _Candidates(np.arange(len(logits)), logits).drawn_by(self._chain)
        tokens = np.flatnonzero(logits >= highest + np.float32(math.log(self._sampling.min_p)))
        return _Candidates(tokens, logits[tokens]).drawn_by(self._chain)

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


class _WholeVocabulary:
    """Draws from all tokens what `chain` would draw, which has the temperature and the draw by the seed.

    That is the first token at which the running sum of the weights exp((logit - highest) / temperature) reaches a
    random part of them all, the part being two outputs of the Mersenne twister. numpy's weights aren't llama.cpp's to
    the last bit, so its token is taken only where no error that they can have would lead to another; elsewhere (3% of a
    text's tokens, those of little weight) the chain is asked, after it was made to pass over the random numbers that
    were used without it.
    """

    def __init__(self, temperature: float, rng_seed: int, chain: Any) -> None:
        self._temperature = np.float32(temperature)
        self._chain = chain
        self._twister = np.random.MT19937()
        np.random.RandomState(self._twister).seed(rng_seed)  # from one number, as C++ does it
        self._n_ahead = 0  # draws that the chain hasn't made

    def draw(self, logits: npt.NDArray[np.float32], highest: np.float32) -> int:
        token = self._certain(logits, highest, self._random_part())
        self._n_ahead += 1
        if token is not None:
            return token
        for _ in range(self._n_ahead - 1):
            _Candidates(np.arange(2), logits[:2]).drawn_by(self._chain)
        self._n_ahead = 0
        return _Candidates(np.arange(len(logits)), logits).drawn_by(self._chain)

    def _random_part(self) -> float:
        """From 0 to 1, of 64 random bits, the low ones first, as std::uniform_real_distribution takes them."""
        low, high = self._twister.random_raw(2).tolist()
        return float(low + (high << 32)) / 2.0**64

    def _certain(self, logits: npt.NDArray[np.float32], highest: np.float32, part: float) -> int | None:
        """The token drawn, or None where llama.cpp may draw another."""
        scaled = logits / self._temperature
        scaled -= highest / self._temperature
        weights = np.exp(scaled, out=scaled).astype(np.float64)
        sums = np.add.reduceat(weights, np.arange(0, len(weights), _BLOCK)).cumsum()
        wanted = float(sums[-1]) * part
        block = int(sums.searchsorted(wanted))
        start = block * _BLOCK
        running = weights[start : start + _BLOCK].cumsum()
        before = float(sums[block - 1]) if block else 0.0
        place = int(running.searchsorted(wanted - before))
        if place == len(running):  # two ways of adding up the same differ
            return None
        reached = before + float(running[place])
        missed = before + float(running[place - 1]) if place else before
        # Both sides of a comparison may be wrong.
        if missed * (1 + _SLACK) < wanted * (1 - _SLACK) and wanted * (1 + _SLACK) < reached * (1 - _SLACK):
            return start + place
        return None


class _Candidates:
    """Tokens as llama.cpp's samplers take them; they change `values`, and `array`, which points there."""

    def __init__(self, tokens: npt.NDArray[np.int64], logits: npt.NDArray[np.float32]) -> None:
        self.values = np.empty(len(tokens), _CANDIDATE)
        self.values["id"] = tokens
        self.values["logit"] = logits
        data = self.values.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token_data))
        self.array = llama_cpp.llama_token_data_array(data=data, size=len(tokens), selected=-1, sorted=False)

    def drawn_by(self, chain: Any) -> int:
        llama_cpp.llama_sampler_apply(chain, ctypes.byref(self.array))
        return int(self.array.data[self.array.selected].id)


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

    def decoded(self, finish_reason: FinishReason) -> str:
        """Without a last character that the token limit has cut in two; other bytes that are no text become U+FFFD."""
        is_whole = finish_reason is not FinishReason.LENGTH
        return codecs.getincrementaldecoder("utf-8")("replace").decode(bytes(self._bytes), is_whole)


_TEXT_OF_GRAMMAR = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^]\\])*]|#.*')
"""Literals, classes of characters and comments: what no rule is read from."""

_REPETITION = re.compile(r"\{\s*(\d+)\s*,\s*(\d+)\s*\}")
_PARSING_ERROR = re.compile(r"error parsing grammar: (.+)")


def _grammar_sampler(model: GgufModel, grammar: str) -> Any:
    repetitions = _REPETITION.findall(_TEXT_OF_GRAMMAR.sub(" ", grammar))
    if any(int(most) < int(least) for least, most in repetitions):  # llama.cpp would fill all memory
        raise ModelError("teacher.grammar: a repetition {m,n} has n below m", "Correct the grammar file.")
    with collected_errors() as errors, printed() as said:
        sampler = llama_cpp.llama_sampler_init_grammar(model.vocabulary, grammar.encode(), b"root")
    if not sampler:
        reasons = _PARSING_ERROR.findall(said()) or errors or ["it must be GBNF with a rule named root"]
        raise ModelError(f"teacher.grammar: llama.cpp can't read it: {reasons[0]}", "Correct the grammar file.")
    return sampler
