"""Answers of kinds of models that differ from the tiny student's, each against the same model asked plainly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from fakes import quiet
from transformers import LlamaConfig, LlamaForCausalLM

from llm2llm_local.student.scoring import score_completions

pytestmark = pytest.mark.model

END = 1
COMPLETIONS = ((10, 11, END), (10, 12, 13, END), (20, END), (21, 22, 23, 24, END))
SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.4,
}


def prompts(*lengths: int, shared: int) -> list[list[int]]:
    """Random ones, which begin with the same tokens."""
    generator = torch.Generator().manual_seed(3)
    first = torch.randint(30, 97, (shared,), generator=generator).tolist()
    return [first + torch.randint(30, 97, (length - shared,), generator=generator).tolist() for length in lengths]


def likelihoods(model: Any, prompt: Sequence[int], completions: Sequence[Sequence[int]]) -> torch.Tensor:
    """Of each completion: one forward pass without a cache."""
    scores = []
    for completion in completions:
        logits = model(torch.tensor([[*prompt, *completion]]), use_cache=False).logits[0].double().log_softmax(-1)
        places = range(len(prompt) - 1, len(prompt) - 1 + len(completion))
        scores.append(sum(float(logits[place, token]) for place, token in zip(places, completion, strict=True)))
    return torch.tensor(scores)


def assert_scored_as_plainly(model: Any, asked: Sequence[list[int]], completions: Sequence[tuple[int, ...]]) -> None:
    """All of them, and against each other by twos: a confidence tells how far apart two scores are."""
    pairs = [(one, other) for one in completions for other in completions if one < other]
    with torch.inference_mode():
        for some in (completions, *pairs):
            for prompt, (best, confidence) in zip(
                asked, score_completions(model, asked, some, "cpu", 64, quiet), strict=True
            ):
                expected = likelihoods(model, prompt, some)
                assert best == int(expected.argmax())
                assert confidence == pytest.approx(float(expected.softmax(0).max()), abs=1e-4)


def test_an_impossible_token_makes_its_own_completions_impossible_and_no_other() -> None:
    torch.manual_seed(0)
    model: Any = LlamaForCausalLM(LlamaConfig(**SIZES)).eval()
    model.lm_head = torch.nn.Linear(32, 97)
    with torch.no_grad():
        model.lm_head.bias[12] = -math.inf
    asked = prompts(9, 12, shared=4)
    with torch.inference_mode():
        assert likelihoods(model, asked[0], COMPLETIONS).isinf().tolist() == [False, True, False, False]
        assert_scored_as_plainly(model, asked, COMPLETIONS)
