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
from llm2llm_local.teacher.protocol import Sampling
from llm2llm_local.teacher.sampler import Sampler

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
        candidates = (llama_cpp.llama_token_data * len(logits))(
            *((token, logit, 0.0) for token, logit in enumerate(logits))
        )
        array = llama_cpp.llama_token_data_array(data=candidates, size=len(logits), selected=-1, sorted=False)
        llama_cpp.llama_sampler_apply(self.handle, ctypes.byref(array))
        return int(array.data[array.selected].id)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(0.7, 0.95, 0.05),
        Sampling(1.0, 1.0, 0.0),
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


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_are_an_error(value: float, temperature: float) -> None:
    sampler = Sampler(MODEL, Sampling(temperature, 0.9, 0.05), None, 1)
    with pytest.raises(ModelError, match=r"teacher\.gguf: its scores of the next token are no numbers"):
        sampler.sample(np.full(10, value, np.float32))
    sampler.close()
