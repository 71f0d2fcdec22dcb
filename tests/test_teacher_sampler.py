"""Tokens are drawn as llama.cpp's own chain of samplers draws them."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import llama_cpp
import numpy as np
import pytest

from llm2llm_local.errors import ModelError
from llm2llm_local.records import FinishReason
from llm2llm_local.teacher.protocol import Sampling
from llm2llm_local.teacher.sampler import ReplyText, Sampler, _WholeVocabulary

N_TOKENS = 5000
MODEL: Any = SimpleNamespace(path=Path("teacher.gguf"))


def logits_of(number: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Some likely tokens among many, two of them alike."""
    logits = np.random.default_rng(number).normal(0, 2.5, N_TOKENS).astype(np.float32)
    logits[17] = logits[4000] = logits.max()
    return logits


class Chain:
    """llama.cpp's: all tokens go into min-p, top-p, temperature and the draw."""

    def __init__(self, sampling: Sampling, rng_seed: int) -> None:
        self.handle: Any = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        if sampling.temperature == 0:
            samplers = [llama_cpp.llama_sampler_init_greedy()]
        else:
            samplers = [
                llama_cpp.llama_sampler_init_min_p(sampling.min_p, 1),
                llama_cpp.llama_sampler_init_top_p(sampling.top_p, 1),
                llama_cpp.llama_sampler_init_temp(sampling.temperature),
                llama_cpp.llama_sampler_init_dist(rng_seed),
            ]
        for sampler in samplers:
            llama_cpp.llama_sampler_chain_add(self.handle, sampler)

    def sample(self, logits: np.ndarray[Any, np.dtype[np.float32]]) -> int:
        candidates = np.zeros(len(logits), np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)]))
        candidates["id"], candidates["logit"] = np.arange(len(logits)), logits
        data = candidates.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token_data))
        array = llama_cpp.llama_token_data_array(data=data, size=len(logits), selected=-1, sorted=False)
        llama_cpp.llama_sampler_apply(self.handle, ctypes.byref(array))
        return int(array.data[array.selected].id)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(0.7, 0.95, 0.05),
        Sampling(1.0, 1.0, 0.0),
        Sampling(0.3, 1.0, 0.0),
        Sampling(1.5, 0.5, 0.0),
        Sampling(1.0, 1.0, 0.3),
        Sampling(1.0, 1.0, 1.0),
        Sampling(0.0, 0.9, 0.1),
    ],
)
def test_draws_are_those_of_llama_cpp(sampling: Sampling) -> None:
    for rng_seed in (0, 1, 2**31):
        sampler, chain = Sampler(MODEL, sampling, None, rng_seed), Chain(sampling, rng_seed)
        drawn = [sampler.sample(logits_of(number)) for number in range(20)]
        assert drawn == [chain.sample(logits_of(number)) for number in range(20)]
        llama_cpp.llama_sampler_free(chain.handle)
        sampler.close()


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """What is found without llama.cpp where the whole vocabulary takes part; None where it is asked."""
    tokens: list[int | None] = []
    certain = _WholeVocabulary._certain

    def watched(whole: _WholeVocabulary, *arguments: Any) -> int | None:
        tokens.append(certain(whole, *arguments))
        return tokens[-1]

    monkeypatch.setattr(_WholeVocabulary, "_certain", watched)
    return tokens


def drawn_by_both(sampling: Sampling, all_logits: list[np.ndarray[Any, np.dtype[np.float32]]]) -> list[list[int]]:
    sampler, chain = Sampler(MODEL, sampling, None, 5), Chain(sampling, 5)
    drawn = [[one.sample(logits) for logits in all_logits] for one in (sampler, chain)]
    llama_cpp.llama_sampler_free(chain.handle)
    sampler.close()
    return drawn


@pytest.mark.parametrize("n_tokens", [2, 256, 257, 3 * 256])
def test_every_size_of_a_vocabulary_is_drawn_from(n_tokens: int) -> None:
    ours, theirs = drawn_by_both(Sampling(2.0, 1.0, 0.0), [logits_of(number)[:n_tokens] for number in range(100)])
    assert ours == theirs and len(set(ours)) > min(n_tokens, 60) // 2


def test_tokens_that_a_grammar_forbids_are_never_drawn(found: list[int | None]) -> None:
    all_logits = [logits_of(number) for number in range(100)]
    for logits in all_logits:
        logits[::2] = -np.inf
    ours, theirs = drawn_by_both(Sampling(1.0, 1.0, 0.0), all_logits)
    assert ours == theirs and {token % 2 for token in ours} == {1}
    assert found.count(None) < 10


def test_llama_cpp_is_asked_where_rounding_may_decide(found: list[int | None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens all alike, of so little weight that many lie near the border of another; weights as wrong as may be."""
    noise = np.random.default_rng(3)
    exp = np.exp

    def nearly(values: Any, out: Any) -> Any:
        exp(values, out=out)
        out *= 1 + noise.uniform(-(2.0**-21), 2.0**-21, len(out)).astype(np.float32)
        return out

    monkeypatch.setattr(np, "exp", nearly)
    all_logits = [np.zeros(100_000, np.float32)] * 40
    ours, theirs = drawn_by_both(Sampling(1.0, 1.0, 0.0), all_logits)
    assert ours == theirs
    asked = found.count(None)
    assert 0 < asked < len(found) == 40  # so the random numbers of both have to keep in step
    assert [token for token in found if token is not None] == [
        token for token, one in zip(theirs, found, strict=True) if one is not None
    ]


@pytest.mark.parametrize(
    ("pieces", "reason", "text"),
    [
        ([b"a", b"\xe2\x82"], FinishReason.LENGTH, "a"),  # of a euro sign, whose last byte there was no room for
        ([b"a", b"\xe2\x82"], FinishReason.STOP, "a\ufffd"),
        ([b"a", b"\xe2\x82", b"\n"], FinishReason.STOP, "a\ufffd"),
        ([b"a\xff", b"b"], FinishReason.LENGTH, "a\ufffdb"),
        ([b"\xe2\x82", b"\xac"], FinishReason.STOP, "\u20ac"),
    ],
)
def test_only_what_the_limit_has_cut_is_left_out_of_a_reply(
    pieces: list[bytes], reason: FinishReason, text: str
) -> None:
    reply = ReplyText(["\n"])
    for piece in pieces:
        reply.add(piece)
    assert reply.decoded(reason) == text


@pytest.mark.parametrize("sampling", [Sampling(0.0, 0.9, 0.05), Sampling(1.0, 0.9, 0.05), Sampling(1.0, 1.0, 0.0)])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_are_an_error(value: float, sampling: Sampling) -> None:
    damaged = np.full(10, value, np.float32)
    if value != -np.inf:
        damaged[:7] = 1.0
    sampler = Sampler(MODEL, sampling, None, 1)
    with pytest.raises(ModelError, match=r"teacher\.gguf: its scores of the next token are no numbers"):
        sampler.sample(damaged)
    sampler.close()
