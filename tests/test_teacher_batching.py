"""Many requests at once give what one at a time gives; what they share is evaluated once."""

from __future__ import annotations

import dataclasses
import math
import resource
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import llama_cpp
import numpy as np
import psutil
import pytest
from fakes import quiet, teacher_settings
from tiny_models import TinyModels, rewrite_gguf

from llm2llm_local.errors import ModelError, OutOfMemoryError
from llm2llm_local.model_files.gguf_file import read_gguf_header
from llm2llm_local.model_files.layers import layer_sizes
from llm2llm_local.records import FinishReason, Reply, TeacherPrompt
from llm2llm_local.teacher.decoder import Decoder
from llm2llm_local.teacher.engine import Engine, Scoring
from llm2llm_local.teacher.gguf_model import GgufModel
from llm2llm_local.teacher.llama import LlamaTeacher
from llm2llm_local.teacher.protocol import KvType, Sampling, ScoreRequest, Scores, TeacherRequest, kv_bytes_per_cell
from llm2llm_local.teacher.schedule import Pass

pytestmark = pytest.mark.model

PREFIX = "Write one new question of the same kind. question: Where is the library? answer: place "
ENDS = ("question: Who signed?", "question: Where is it?", "Who?", "question: Where is", "The old bridge", "12 apples")
LABELS = (" place", " person", " the old bridge", "")

BYTES_OF_A_CELL = 256
"""Keys and values of one token in the tiny teacher: 2 layers, 2 heads of 16 numbers each, 16 bits."""

SCORE_TOLERANCE = 0.05
"""Nats, of scores down to -100: passes of other shapes add up in another order, and keys, values and attention's
queries have 16 bits (measured: 0.01)."""


def load(path: Path, **changes: Any) -> LlamaTeacher:
    return LlamaTeacher(dataclasses.replace(teacher_settings(path, 512), **changes))


def request(text: str, temperature: float = 0, max_tokens: int = 16, rng_seed: int = 1) -> TeacherRequest:
    return TeacherRequest(TeacherPrompt((), text, ()), Sampling(temperature, 0.9, 0.02), None, rng_seed, max_tokens)


class Passes:
    """Counts the tokens that a teacher evaluates."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, teacher: LlamaTeacher) -> None:
        self.n_tokens = 0
        decoder = teacher._engine.decoder
        decode = decoder.decode

        def counted(one: Pass) -> None:
            self.n_tokens += len(one.rows)
            decode(one)

        monkeypatch.setattr(decoder, "decode", counted)


def replies_of(teacher: LlamaTeacher, requests: list[TeacherRequest]) -> list[Reply]:
    return [dataclasses.replace(reply, seconds=0.0) for reply in teacher.generate(requests, quiet)]


GROUP = [request(PREFIX + end) for end in ENDS] + [request(end) for end in ENDS]


@pytest.fixture(scope="module")
def plain(tiny_models: TinyModels) -> llama_cpp.Llama:
    return llama_cpp.Llama(str(tiny_models.teacher), n_ctx=512, n_threads=1, logits_all=True, verbose=False)


def log_probabilities(plain: llama_cpp.Llama, tokens: list[int]) -> np.ndarray[Any, Any]:
    plain.reset()
    plain.eval(tokens)
    logits: np.ndarray[Any, Any] = plain.scores[: len(tokens)].astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits


@pytest.fixture(scope="module")
def greedy(plain: llama_cpp.Llama) -> list[tuple[str, int, int]]:
    """Of each of GROUP: its reply, written one token at a time, and the tokens of prompt and reply."""
    replies = []
    for wanted in GROUP:
        tokens = plain.tokenize(wanted.prompt.completion.encode(), add_bos=False, special=True)
        written: list[int] = []
        while len(written) < wanted.max_tokens:
            token = int(np.argmax(log_probabilities(plain, [*tokens, *written])[-1]))
            if token == plain.token_eos():
                break
            written.append(token)
        replies.append((plain.detokenize(written).decode(errors="ignore"), len(tokens), len(written)))
    return replies


@pytest.mark.parametrize("n_parallel", [1, 3, 12])
@pytest.mark.parametrize("n_batch", [16, 512])
@pytest.mark.parametrize("flash_attention", ["off", "on"])
def test_greedy_replies_are_those_of_one_at_a_time(
    tiny_models: TinyModels, greedy: list[tuple[str, int, int]], n_parallel: int, n_batch: int, flash_attention: str
) -> None:
    """In streams and in one pool, in prompts longer than a pass, with more requests than places. No two tokens are as
    good as even here: every token written is within rounding of the likeliest one after what was written before it."""
    teacher = load(tiny_models.teacher, n_parallel=n_parallel, n_batch=n_batch, flash_attention=flash_attention)
    replies = replies_of(teacher, GROUP)
    assert [(reply.text, reply.input_tokens, reply.output_tokens) for reply in replies] == greedy


@pytest.mark.parametrize(("flash_attention", "read_again"), [("on", 0), ("off", 5)])
def test_what_prompts_share_is_evaluated_once(
    tiny_models: TinyModels,
    plain: llama_cpp.Llama,
    monkeypatch: pytest.MonkeyPatch,
    flash_attention: str,
    read_again: int,
) -> None:
    """In streams, but for the few tokens for which a prompt doesn't wait."""
    teacher = load(tiny_models.teacher, n_parallel=4, flash_attention=flash_attention)
    passes = Passes(monkeypatch, teacher)
    texts = [PREFIX + end for end in ENDS]
    replies = replies_of(teacher, [request(text, max_tokens=5) for text in [*texts, *texts]])
    prompts = {tuple(plain.tokenize(text.encode(), add_bos=False, special=True)) for text in texts}
    nodes = {prompt[:length] for prompt in prompts for length in range(1, len(prompt) + 1)}
    again = len(texts)  # the last token of a prompt that is asked twice
    later = sum(reply.output_tokens - (reply.finish_reason is FinishReason.LENGTH) for reply in replies)
    assert passes.n_tokens == len(nodes) + again + later + read_again


@pytest.mark.parametrize("flash_attention", ["on", "auto", "off"])
def test_attention_either_way(tiny_models: TinyModels, flash_attention: str) -> None:
    expected = replies_of(load(tiny_models.teacher, n_parallel=1), GROUP)
    assert replies_of(load(tiny_models.teacher, flash_attention=flash_attention), GROUP) == expected


@pytest.mark.parametrize("kv_type", ["q8_0", "q4_0"])
def test_keys_and_values_may_be_quantized(tiny_models: TinyModels, tmp_path: Path, kv_type: str) -> None:
    """In blocks of 32, so with heads of 32 values: q8_0 next to what 16 bits give, q4_0 further off."""
    heads = {"llama.attention.head_count": 2, "llama.attention.head_count_kv": 1, "llama.rope.dimension_count": 32}
    path = rewrite_gguf(tiny_models.teacher, tmp_path / "wide.gguf", heads)
    scores = [
        np.array(
            [
                value
                for scores in load(path, kv_type=kind, flash_attention="on").score(SCORED, quiet)
                for value in scores.log_likelihoods
            ]
        )
        for kind in ("f16", kv_type)
    ]
    off = float(np.abs(scores[0] - scores[1]).max())
    assert 0 < off < {"q8_0": 0.3, "q4_0": 6}[kv_type]
    assert all(reply.output_tokens for reply in replies_of(load(path, kv_type=kv_type, flash_attention="on"), GROUP))


def test_keys_and_values_that_cannot_be_quantized_are_an_error(tiny_models: TinyModels) -> None:
    """The tiny teacher's heads have 16 values."""
    with pytest.raises(ModelError, match="q4_0 keys and values") as caught:
        load(tiny_models.teacher, kv_type="q4_0", flash_attention="on").generate([request("a")], quiet)
    assert "teacher.kv_cache" in caught.value.remedy


def test_a_model_that_keeps_one_state_shares_nothing(tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, scores = (
        load(tiny_models.teacher).generate(GROUP, quiet),
        load(tiny_models.teacher).score(SCORED, quiet),
    )
    monkeypatch.setattr(GgufModel, "shares_prefixes", False)
    teacher = load(tiny_models.teacher)
    passes = Passes(monkeypatch, teacher)
    replies = teacher.generate(GROUP, quiet)
    assert [reply.text for reply in replies] == [reply.text for reply in expected]
    assert passes.n_tokens >= sum(reply.input_tokens for reply in replies)
    for ours, theirs in zip(teacher.score(SCORED, quiet), scores, strict=True):
        assert ours.log_likelihoods == pytest.approx(theirs.log_likelihoods, abs=SCORE_TOLERANCE)


def test_fewer_run_at_once_in_less_memory(tiny_models: TinyModels) -> None:
    """256 cells of the tiny teacher take 64 KiB."""
    small = load(tiny_models.teacher, kv_bytes=2**16)
    assert [reply.text for reply in small.generate(GROUP, quiet)] == [
        reply.text for reply in load(tiny_models.teacher).generate(GROUP, quiet)
    ]
    for call in (small.generate, small.check_prompts):
        with pytest.raises(ModelError, match="room for 256 tokens"):
            call([request("a b", max_tokens=300)], quiet)


def test_memory_that_cannot_be_had_is_an_error(tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch) -> None:
    """2 GiB of keys and values, where the process may have 1 GiB more than it has."""
    teacher = load(tiny_models.teacher, flash_attention="on")
    monkeypatch.setattr(type(teacher._engine.decoder), "cells_for", lambda _, wanted: 2**23)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    for call in (lambda: teacher.generate([request("a")], quiet), lambda: teacher.check_memory(quiet)):
        resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 2**30, hard))
        try:
            with pytest.raises(OutOfMemoryError, match="no context of 8388608 tokens") as caught:
                call()
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        assert caught.value.what == "context"
        assert "gpu_layers" not in caught.value.remedy  # none of them is on a GPU


@pytest.mark.parametrize(("kv_bytes", "n_cells"), [(2**30, 8 * 512), (2**19, 2048)])
def test_what_the_largest_group_needs_is_taken_when_memory_is_checked(
    tiny_models: TinyModels, kv_bytes: int, n_cells: int
) -> None:
    """Eight at once, 512 tokens each, or what is given for keys and values: the next group needs no more."""
    teacher = load(tiny_models.teacher, kv_bytes=kv_bytes)
    teacher.check_memory(quiet)
    assert llama_cpp.llama_n_ctx(teacher._engine.decoder._context) == n_cells


@pytest.mark.parametrize(("gpu_layers", "context_length", "n_rows"), [(0, 512, []), (-1, 512, [512]), (5, 32, [256])])
def test_memory_is_checked_with_a_full_pass_where_layers_are_on_a_gpu(
    tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch, gpu_layers: int, context_length: int, n_rows: list[int]
) -> None:
    """There a pass takes memory of its own. What comes after it doesn't depend on it."""
    decode, passes = Decoder.decode, []

    def counted(decoder: Decoder, one: Pass) -> None:
        passes.append(len(one.rows))
        decode(decoder, one)

    def engine() -> Engine:
        settings = dataclasses.replace(
            teacher_settings(tiny_models.teacher, context_length), gpu_layers=gpu_layers, n_parallel=2
        )
        return Engine(GgufModel(tiny_models.teacher, 0), settings)

    scorings = [Scoring((1, 2, 3), (4, 5)), Scoring((1, 2), (6,))]
    unchecked = engine().score(scorings, quiet)
    monkeypatch.setattr(Decoder, "decode", counted)
    checked = engine()
    checked.check_memory()
    assert passes == n_rows
    assert checked.score(scorings, quiet) == unchecked


@pytest.mark.parametrize(
    ("kv_cells", "longest", "n_streams", "length"),
    [(2**20, 300, 8, 512), (5 * 512, 300, 5, 512), (8 * 2304, 2100, 8, 2304)],
)
def test_a_cpu_writes_in_streams_and_scores_in_one_pool(
    tiny_models: TinyModels, kv_cells: int, longest: int, n_streams: int, length: int
) -> None:
    """In as many streams as there is room for."""
    teacher = load(tiny_models.teacher, kv_bytes=kv_cells * BYTES_OF_A_CELL, context_length=4096)
    short = [request("a", max_tokens=1)] * 7
    teacher.generate([*short, request("b", max_tokens=longest)], quiet)
    context = teacher._engine.decoder._context
    assert (llama_cpp.llama_n_ctx(context), llama_cpp.llama_n_ctx_seq(context)) == (n_streams * length, length)
    teacher.score(SCORED, quiet)
    context = teacher._engine.decoder._context
    assert llama_cpp.llama_n_ctx(context) == llama_cpp.llama_n_ctx_seq(context)


def test_the_pool_is_taken_where_streams_would_halve_what_runs_at_once(tiny_models: TinyModels) -> None:
    teacher = load(tiny_models.teacher, kv_bytes=4 * 512 * BYTES_OF_A_CELL, context_length=4096)
    group = [request(f"{number}", max_tokens=300) for number in range(8)]
    for n_requests, n_streams in ((7, 4), (8, 1)):
        teacher.generate(group[:n_requests], quiet)
        context = teacher._engine.decoder._context
        assert llama_cpp.llama_n_ctx(context) == n_streams * llama_cpp.llama_n_ctx_seq(context)


@pytest.mark.parametrize("n_parallel", [64, 255])
def test_so_many_at_once_can_be_written_and_scored(tiny_models: TinyModels, n_parallel: int) -> None:
    """llama.cpp makes room for logits of each sequence, the trunk's included."""
    teacher = load(tiny_models.teacher, n_parallel=n_parallel)
    teacher.check_memory(quiet)
    group = [request(f"{number}", max_tokens=1) for number in range(n_parallel)]
    assert len(teacher.generate(group, quiet)) == n_parallel
    assert teacher.score(SCORED, quiet)


def test_keys_and_values_that_cannot_be_made_are_found_when_memory_is_checked(tiny_models: TinyModels) -> None:
    with pytest.raises(ModelError, match="q8_0 keys and values"):
        load(tiny_models.teacher, kv_type="q8_0", flash_attention="on").check_memory(quiet)


@pytest.mark.parametrize("kv_type", ["f16", "q8_0", "q4_0"])
def test_a_plan_and_the_engine_count_cells_alike(tiny_models: TinyModels, tmp_path: Path, kv_type: KvType) -> None:
    """Also where layers have different numbers of heads: all cells of the plan can be used, and no more."""
    heads = {"llama.attention.head_count_kv": [1, 2]}
    path = rewrite_gguf(tiny_models.teacher, tmp_path / "uneven.gguf", heads)
    values = layer_sizes(read_gguf_header(path)).kv_values
    assert values[1] == 2 * values[0]
    settings = dataclasses.replace(
        teacher_settings(path, 512), kv_type=kv_type, kv_bytes=3 * 256 * kv_bytes_per_cell(sum(values), kv_type)
    )
    header_only: Any = SimpleNamespace(path=path)
    model: Any = SimpleNamespace(kv_values=lambda: GgufModel.kv_values(header_only))
    decoder = Decoder(model, settings)
    assert decoder.max_cells == 3 * 256
    assert decoder.bytes_per_cell == {"f16": 192, "q8_0": 102, "q4_0": 54}[kv_type]
    assert Decoder(model, dataclasses.replace(settings, kv_bytes=settings.kv_bytes - 1)).max_cells == 2 * 256


def test_a_model_without_attention_has_cells_for_all(tmp_path: Path) -> None:
    """They take no memory, so a plan sets none aside."""
    model: Any = SimpleNamespace(kv_values=lambda: 0)
    settings = dataclasses.replace(teacher_settings(tmp_path, 500), kv_bytes=0)
    assert Decoder(model, settings).max_cells == 4096


def test_nothing_is_left_of_units(tiny_models: TinyModels) -> None:
    """1,000 units of changing size, with samplers and contexts made and freed."""
    teacher = load(tiny_models.teacher)
    requests = [request(PREFIX + end, temperature=1, max_tokens=2) for end in ENDS[:2]]
    requests = [*requests, dataclasses.replace(requests[0], grammar="root ::= [a-z]+")]
    # Room for many tokens, of which few are written.
    long = [dataclasses.replace(requests[0], grammar='root ::= "a"', max_tokens=400)]
    process = psutil.Process()

    def units(n: int) -> None:
        for number in range(n):
            teacher.generate(requests[: 1 + number % 3] if number % 20 else long, quiet)

    units(100)
    before = process.memory_info().rss
    units(1000)
    assert process.memory_info().rss - before < 8 * 2**20
    teacher.close()


def test_a_group_of_none_gives_none(tiny_models: TinyModels) -> None:
    teacher = load(tiny_models.teacher)
    assert teacher.generate([], quiet) == []
    assert teacher.score([], quiet) == []
    (scores,) = teacher.score([ScoreRequest(GROUP[0].prompt, ())], quiet)
    assert scores == Scores((), teacher.check_prompts(GROUP[:1], quiet))


# --- scores ---


def test_scores_of_a_damaged_teacher_are_an_error(tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every comparison with what is no number is false: a margin would never be reached, and nobody told why."""
    teacher = load(tiny_models.teacher)
    monkeypatch.setattr(Decoder, "logits", lambda *_: np.array([1.0, np.nan], np.float32))
    with pytest.raises(ModelError, match="its scores of the next token are no numbers"):
        teacher.score(SCORED, quiet)


SCORED = [ScoreRequest(wanted.prompt, LABELS) for wanted in GROUP]


@pytest.mark.parametrize("n_batch", [16, 512])
@pytest.mark.parametrize("n_parallel", [1, 8])
def test_scores_are_those_of_full_logits(
    tiny_models: TinyModels, plain: llama_cpp.Llama, n_parallel: int, n_batch: int
) -> None:
    teacher = load(tiny_models.teacher, n_parallel=n_parallel, n_batch=n_batch)
    for asked, scores in zip(SCORED, teacher.score(SCORED, quiet), strict=True):
        prompt = plain.tokenize(asked.prompt.completion.encode(), add_bos=False, special=True)
        n_read = len(prompt)
        for text, score in zip(asked.continuations, scores.log_likelihoods, strict=True):
            tokens = plain.tokenize(text.encode(), add_bos=False, special=False) if text else []
            rows = log_probabilities(plain, [*prompt, *tokens])
            expected = sum(rows[len(prompt) - 1 + place, token] for place, token in enumerate(tokens))
            assert score == pytest.approx(expected, abs=SCORE_TOLERANCE)
            assert math.isfinite(score)
            n_read += len(tokens)
        assert scores.input_tokens == n_read


def test_a_prompt_is_read_once_for_all_its_continuations(
    tiny_models: TinyModels, plain: llama_cpp.Llama, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = load(tiny_models.teacher)
    passes = Passes(monkeypatch, teacher)
    teacher.score([ScoreRequest(TeacherPrompt((), PREFIX, ()), LABELS)], quiet)
    prompt = plain.tokenize(PREFIX.encode(), add_bos=False, special=True)
    labels = [plain.tokenize(label.encode(), add_bos=False, special=False) for label in LABELS if label]
    nodes = {tuple(label[:length]) for label in labels for length in range(1, len(label))}
    assert passes.n_tokens == len(prompt) + len(nodes)


def test_scores_depend_on_the_group_alone(tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = load(tiny_models.teacher)
    passes = Passes(monkeypatch, teacher)
    heard: list[tuple[int, int]] = []
    expected = teacher.score(SCORED, lambda done, total: heard.append((done, total)))
    assert heard == sorted(heard) and heard[-1][0] == heard[-1][1] == passes.n_tokens
    teacher.generate(GROUP, quiet)
    assert teacher.score(SCORED, quiet) == expected
    assert load(tiny_models.teacher).score(SCORED, quiet) == expected


def test_a_continuation_must_fit_into_the_context(tiny_models: TinyModels) -> None:
    with pytest.raises(ModelError, match="a reply of up to"):
        load(tiny_models.teacher).score([ScoreRequest(TeacherPrompt((), "a", ()), (" the" * 600,))], quiet)
