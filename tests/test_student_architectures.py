"""Answers of kinds of models that differ from the tiny student's, each against the same model asked plainly."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from fakes import quiet
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MptConfig,
    MptForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from llm2llm_local.student import cache, scoring
from llm2llm_local.student.generation import generate
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


@pytest.fixture(autouse=True)
def prefixes_have_passes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """However short they are, as those of these few small prompts."""
    monkeypatch.setattr(cache, "_PASS_TOKENS", 0)


MODELS: dict[str, Callable[..., Any]] = {
    "biases and tied embeddings": lambda **_: Qwen2ForCausalLM(Qwen2Config(**SIZES, tie_word_embeddings=True)),
    "soft caps": lambda window: Gemma2ForCausalLM(
        Gemma2Config(
            **SIZES, head_dim=8, sliding_window=window, attn_logit_softcapping=5.0, final_logit_softcapping=3.0
        )
    ),
    "windows everywhere": lambda window: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=window)),
    "windows in the last layer": lambda window: Qwen2ForCausalLM(
        Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=window, max_window_layers=1)
    ),
    "windows in the first layer": lambda window: Gemma3ForCausalLM(
        Gemma3TextConfig(
            **SIZES, head_dim=8, sliding_window=window, layer_types=["sliding_attention", "full_attention"]
        )
    ),
    "biased by columns": lambda **_: BloomForCausalLM(
        BloomConfig(vocab_size=97, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.4)
    ),
    "biased by columns, too": lambda **_: MptForCausalLM(
        MptConfig(vocab_size=97, d_model=32, n_layers=2, n_heads=4, max_seq_len=256, initializer_range=0.4)
    ),
    "windows that are no part of the mask": lambda window: GPTNeoForCausalLM(
        GPTNeoConfig(
            vocab_size=97,
            hidden_size=32,
            num_layers=2,
            num_heads=4,
            attention_types=[[["global", "local"], 1]],
            window_size=window,
            max_position_embeddings=256,
            initializer_range=0.4,
        )
    ),
}


def made(kind: str, window: int) -> Any:
    """With random weights, biases and all: a loaded model has what it has learnt where a new one has zeros."""
    torch.manual_seed(0)
    model: Any = MODELS[kind](window=window).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.4)
    return model


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
            for prompt, scores in zip(asked, score_completions(model, asked, some, "cpu", 64, quiet), strict=True):
                expected = likelihoods(model, prompt, some)
                assert scores.index(max(scores)) == int(expected.argmax())
                assert [math.exp(score) for score in scores] == pytest.approx(expected.softmax(0).tolist(), abs=2e-4)


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


@pytest.mark.parametrize("window", [8, 25, 60], ids=lambda window: f"window {window}")
@pytest.mark.parametrize("kind", MODELS)
def test_scores_are_those_of_one_forward_pass_for_each_completion(kind: str, window: int) -> None:
    """Whether windows are shorter than the shared beginning, than some prompts, or longer than all."""
    assert_scored_as_plainly(made(kind, window), prompts(13, 16, 20, 36, shared=9), COMPLETIONS)


@pytest.mark.parametrize("rows_at_once", [2, 64])
@pytest.mark.parametrize("window", [8, 25, 60], ids=lambda window: f"window {window}")
@pytest.mark.parametrize("kind", MODELS)
def test_written_text_is_the_likeliest_token_by_token(kind: str, window: int, rows_at_once: int) -> None:
    model, asked = made(kind, window), prompts(13, 16, 20, 36, 40, shared=9)
    with torch.inference_mode():
        plain = [written(model, prompt, 12) for prompt in asked]
        end = plain[0][5]  # an answer that ends early leaves its place to another
        expected = [tokens[: tokens.index(end)] if end in tokens else tokens for tokens in plain]
        found = generate(model, asked, end, 12, "cpu", rows_at_once, quiet)
    assert len(expected[0]) < 12
    assert [tokens for tokens, _ in found] == expected


def written(model: Any, prompt: Sequence[int], n_tokens: int) -> list[int]:
    ids = list(prompt)
    for _ in range(n_tokens):
        ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def test_only_prompts_longer_than_a_window_are_computed_in_the_slower_way() -> None:
    model = made("windows everywhere", 25)
    assert cache.evaluate_prefix(model, prompts(12, 19, shared=9), "cpu", n_more=6).n_tokens == 9
    assert cache.evaluate_prefix(model, prompts(12, 19, shared=9), "cpu", n_more=7).n_tokens == 0
    assert (
        cache.evaluate_prefix(made("biases and tied embeddings", 5), prompts(90, 99, shared=80), "cpu", 9).n_tokens
        == 80
    )


def test_a_prefix_has_a_pass_of_its_own_where_that_is_less_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_PASS_TOKENS", 64)
    model = made("biases and tied embeddings", 5)

    def n_shared(n_prompts: int, length: int) -> int:
        many = [[7] * 9 + [10 + n] * (length - 9) for n in range(n_prompts)]
        return cache.evaluate_prefix(model, many, "cpu", n_more=6).n_tokens

    assert n_shared(7, 150) == 0  # 63 tokens
    assert n_shared(8, 150) == 9
    assert n_shared(64, 12) == 0  # in 6 rows, where it stands once
    assert n_shared(64, 128) == 9


class Passes:
    """What goes through a model: of each forward pass the rows and columns of tokens, and how many logits come out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.logits: list[int] = []
        real = cache.forward

        def counted(model: Any, ids: torch.Tensor, *arguments: Any) -> Any:
            logits = real(model, ids, *arguments)
            self.shapes.append(tuple(ids.shape))
            self.logits.append(len(logits))
            return logits

        monkeypatch.setattr(module, "forward", counted)


@pytest.mark.parametrize(("kind", "most"), [("biases and tied embeddings", 3), ("windows everywhere", 4)])
def test_no_more_logits_than_fit_are_in_memory_at_once(monkeypatch: pytest.MonkeyPatch, kind: str, most: int) -> None:
    """However many completions there are; where they are computed one by one, those of a whole one at least."""
    monkeypatch.setattr(scoring, "_NODES_AT_ONCE", 3)
    passes = Passes(monkeypatch, scoring)
    model, tree = made(kind, 8), scoring.CompletionTree.of(COMPLETIONS)
    assert len(tree.tokens) == 9
    asked = prompts(9, 12, shared=4)
    with torch.inference_mode():
        monkeypatch.setattr(scoring, "_NEGLIGIBLE", 1e-30)  # all count
        score_completions(model, asked, COMPLETIONS, "cpu", 64, quiet)
        assert max(passes.logits) == most
        assert sum(passes.logits) == 2 * 9  # each is asked for once
        assert_scored_as_plainly(model, asked, COMPLETIONS)


def test_what_all_prompts_begin_with_does_not_keep_the_rest_from_being_computed_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Side by side in a row, as long as there is room for the keys and values, of which each prompt has its own."""
    passes = Passes(monkeypatch, cache)
    model, asked = made("biases and tied embeddings", 0), prompts(*[212] * 8, shared=200)
    with torch.inference_mode():
        for kept_at_once, groups in ((8192, [(1, 96)]), (3 * 212, [(1, 36), (1, 36), (1, 24)])):
            monkeypatch.setattr(scoring, "_KEPT_AT_ONCE", kept_at_once)
            monkeypatch.setattr(scoring, "_TOKENS_AT_ONCE", 100)
            passes.shapes.clear()
            score_completions(model, asked, COMPLETIONS, "cpu", 64, quiet)
            assert passes.shapes == [(1, 200), *groups]
