"""A student in bfloat16 learns and answers what one in float32 does, within its rounding, on CPUs with and without."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from fakes import quiet
from naive_student import NaiveStudent
from tiny_models import TinyModels
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from trainings import LABELS, PROMPTS, QUESTIONS, UNEVEN_LABELS, folder_bytes, outcome, predict, settings, training
from trainings import segments as cut
from transformers import AutoModelForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from llm2llm_local.student import cache, float32_parts, linear, precision, scoring
from llm2llm_local.student.float32_parts import Float32Scores
from llm2llm_local.student.lora import LoraStudent
from llm2llm_local.student.precision import find_compute_dtype, has_bfloat16
from llm2llm_local.student.protocol import TrainingExample

EXAMPLES = tuple(
    TrainingExample(prompt, UNEVEN_LABELS[number % len(UNEVEN_LABELS)]) for number, prompt in enumerate(PROMPTS)
)
WIDTH_OF_A_STEP = 2.0**-8
"""Numbers in bfloat16 are this much apart, relatively."""


@pytest.fixture(params=["as this CPU has it", "without"])
def instructions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """For products in bfloat16; without them PyTorch takes other ways."""
    if request.param == "without":
        monkeypatch.setattr(linear, "_ONEDNN_DTYPES", {torch.float32} & linear._ONEDNN_DTYPES)


def in_bfloat16(tiny_models: TinyModels, **changes: Any) -> LoraStudent:
    return LoraStudent(settings(tiny_models.student, compute_dtype="bfloat16", **changes))


# --- which it is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16", "bfloat16"),
        ("flags\t\t: fpu avx512f amx_bf16 amx_tile", "bfloat16"),
        ("flags\t\t: fpu avx2 avx512f amx_tile", "float32"),
        ("Features\t: fp asimd bf16", "float32"),
        ("", "float32"),
    ],
)
def test_the_cpus_instructions_decide(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str, found: str) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor\t: 0\nmodel name\t: avx512_bf16\n{flags}\nbugs\t: amx_bf16\n")
    monkeypatch.setattr(precision, "_CPU_INFO", file)
    assert find_compute_dtype("auto", "cpu") == found


def test_without_a_list_of_instructions_it_is_float32(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(precision, "_CPU_INFO", tmp_path / "none")
    assert find_compute_dtype("auto", "cpu") == "float32"


@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
def test_a_persons_word_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wanted: Literal["float32", "bfloat16"]
) -> None:
    monkeypatch.setattr(precision, "_CPU_INFO", tmp_path / "none")
    assert find_compute_dtype(wanted, "cpu") == wanted


def test_pytorch_sees_the_same_instructions() -> None:
    assert has_bfloat16("cpu") == (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


# --- what it computes -------------------------------------------------------------------------------------------------


@pytest.mark.model
@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_a_training_is_that_of_transformers_and_peft(
    tiny_models: TinyModels, tmp_path: Path, quantization: str
) -> None:
    """In bfloat16: losses of all steps within 1% (measured: 0.4%), since the two round at different places. Those of
    float32 are within 5% (2%, of which most comes from what is quantized: weights that bfloat16 has rounded).
    """
    student = in_bfloat16(tiny_models, quantization=quantization)
    segment = training(tmp_path / "a", examples=EXAMPLES, micro_batch_size=3, max_grad_norm=0.5)
    start = dataclasses.replace(segment, learning_rate=1e-30, stop_step=1, output=tmp_path / "start")
    student.train(start, quiet)
    losses = list(student.train(segment, quiet).losses)
    for dtype, tolerance in ((torch.bfloat16, 0.01), (torch.float32, 0.05)):
        naive = NaiveStudent(tiny_models.student, None, quantization, dtype)
        expected, _ = naive.train(tmp_path / "start", segment)
        assert losses == pytest.approx(expected, rel=tolerance)
        assert expected[-1] < 0.5 * expected[0]


@pytest.mark.model
@pytest.mark.usefixtures("instructions")
def test_it_learns_what_it_should(tiny_models: TinyModels, tmp_path: Path) -> None:
    student = in_bfloat16(tiny_models, quantization="nf4")
    result = student.train(training(tmp_path / "adapter", epochs=20), quiet)
    assert sum(result.losses[-5:]) < 0.05 * sum(result.losses[:5])
    expected = [label for _, label in QUESTIONS]
    scored = predict(student, tmp_path / "adapter", completions=LABELS)
    assert [answer.reply.text for answer in scored] == expected
    assert [answer.reply.text.strip() for answer in predict(student, tmp_path / "adapter")] == expected


@pytest.mark.model
@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("rows_at_once", [64, 1])
def test_confidences_are_those_of_float32(
    tiny_models: TinyModels, undecided: Path, monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    """Of a plain student, within 0.02 (measured: 0.01): there are a dozen roundings on a token's way through the two
    layers, of a 256th at most each, and scores of the vocabulary around 9, which a 256th more off would be seen in.
    """
    monkeypatch.setattr("llm2llm_local.student.prediction._ROWS_AT_ONCE", rows_at_once)
    naive = NaiveStudent(tiny_models.student, undecided)
    off = []
    for prompt, answer in zip(
        PROMPTS, predict(in_bfloat16(tiny_models), undecided, completions=UNEVEN_LABELS), strict=True
    ):
        scores = torch.tensor([naive.log_likelihood(prompt, completion) for completion in UNEVEN_LABELS])
        chosen = [completion.strip() for completion in UNEVEN_LABELS].index(answer.reply.text)
        off.append(abs(float(scores.softmax(0)[chosen]) - (answer.confidence or 0)))
    assert max(off) < 0.02


@pytest.mark.model
def test_scores_of_the_vocabulary_are_in_float32(
    tiny_models: TinyModels, undecided: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not rounded to bfloat16 first: then all of them would be numbers of it."""
    seen = []
    forward = cache.forward

    def watched(*arguments: Any) -> Any:
        found = forward(*arguments)
        seen.append(found)
        return found

    monkeypatch.setattr(cache, "forward", watched)
    monkeypatch.setattr(scoring, "forward", watched)
    predict(in_bfloat16(tiny_models), undecided, completions=UNEVEN_LABELS)
    assert len(seen) >= 2
    for logits in seen:
        assert logits.dtype == torch.float32
        logits = logits[logits != 0]  # of tokens that the model has no use for
        assert (logits.bfloat16().float() != logits).float().mean() > 0.9


@pytest.mark.parametrize("n_tokens", [300, 9000])
@pytest.mark.parametrize("bias", [True, False])
def test_a_projection_in_bfloat16_ends_in_float32(bias: bool, n_tokens: int) -> None:
    """Of weights that stay as they are: only their products with rows are added up in float32, and not rounded."""
    torch.manual_seed(1)
    head = torch.nn.Linear(64, n_tokens, bias=bias).bfloat16().requires_grad_(False)
    head.__class__ = Float32Scores
    assert head.weight.dtype == torch.bfloat16
    rows = torch.randn(2, 5, 64).bfloat16().requires_grad_()
    scores = head(rows)
    exact = rows.double() @ head.weight.double().t() + (head.bias.double() if bias else 0)
    assert scores.dtype == torch.float32
    assert torch.allclose(scores.double(), exact, rtol=1e-5, atol=1e-5)

    wanted = torch.randn(2, 5, n_tokens)
    (gradient,) = torch.autograd.grad(scores, rows, wanted)
    (expected,) = torch.autograd.grad(exact, rows, wanted.double())
    assert gradient.dtype == torch.bfloat16
    assert (gradient - expected).norm() < WIDTH_OF_A_STEP * expected.norm()


class Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Which kinds of products are computed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket is torch.ops.aten.mm:
            self.seen.append(func)
        return func(*args, **(kwargs or {}))


def test_a_gpu_makes_scores_in_float32_of_weights_in_bfloat16() -> None:
    """PyTorch works out what would come out of it, without a GPU; a CPU has no such product."""
    with FakeTensorMode():
        rows = torch.empty(7, 64, device="cuda", dtype=torch.bfloat16)
        weight = torch.empty(300, 64, device="cuda", dtype=torch.bfloat16)
        with Products() as products:
            scores = float32_parts.scores_of(rows, weight)
    assert (scores.device.type, scores.dtype, scores.shape) == ("cuda", torch.float32, (7, 300))
    assert products.seen == [torch.ops.aten.mm.dtype]


@pytest.mark.model
def test_the_projection_stays_tied_to_the_embeddings(tiny_models: TinyModels) -> None:
    """Nothing is in memory twice."""
    model = AutoModelForCausalLM.from_pretrained(tiny_models.student, dtype=torch.bfloat16)
    head = model.get_output_embeddings()
    head.weight = model.get_input_embeddings().weight
    float32_parts.scores_in_float32(model)
    assert type(head) is Float32Scores
    assert head.weight.dtype == torch.bfloat16
    assert head.weight is model.get_input_embeddings().weight


@pytest.mark.model
def test_the_first_loss_is_that_of_float32(tiny_models: TinyModels, tmp_path: Path) -> None:
    """A fresh adapter changes nothing yet: what is off is the rounding of hidden states."""
    segment = training(tmp_path / "a", examples=EXAMPLES, batch_size=len(EXAMPLES), epochs=1)
    (loss,) = in_bfloat16(tiny_models).train(segment, quiet).losses
    assert loss == pytest.approx(NaiveStudent(tiny_models.student, None).mean_loss(EXAMPLES), rel=WIDTH_OF_A_STEP)


@pytest.mark.model
def test_attention_is_in_float32_only_where_it_has_a_backward_pass(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[torch.dtype] = []
    real = sdpa_attention_forward

    def watched(module: Any, query: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        used.append(query.dtype)
        return real(module, query, *arguments, **options)

    monkeypatch.setattr(float32_parts, "sdpa_attention_forward", watched)
    student = in_bfloat16(tiny_models)
    used.clear()  # the student looks at a model when it has loaded it
    student.train(training(tmp_path / "a", epochs=1), quiet)
    assert set(used) == {torch.float32}
    used.clear()
    predict(student, tmp_path / "a", completions=LABELS)
    assert set(used) == {torch.bfloat16}


# --- determinism ------------------------------------------------------------------------------------------------------


def test_a_gpu_is_held_to_fixed_orders_of_addition() -> None:
    """For the whole process, and not by mere warnings, with which attention's backward pass has none."""
    program = """
import os
os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":0:0"
import torch
from llm2llm_local.student.base import compute_deterministically
compute_deterministically()
print(
    torch.are_deterministic_algorithms_enabled(),
    torch.is_deterministic_algorithms_warn_only_enabled(),
    torch.utils.deterministic.fill_uninitialized_memory,
    os.environ["CUBLAS_WORKSPACE_CONFIG"],
)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["True", "False", "False", ":4096:8"]


@pytest.mark.model
@pytest.mark.usefixtures("instructions")
def test_segments_in_fresh_processes_are_the_training_in_one(tiny_models: TinyModels, tmp_path: Path) -> None:
    def fresh() -> LoraStudent:
        return in_bfloat16(tiny_models, quantization="nf4", lora_dropout=0.1)

    one = fresh()
    expected = [one.train(segment, quiet) for segment in cut(tmp_path / "one", 5)]
    results = []
    for segment in cut(tmp_path / "fresh", 5):
        student = fresh()
        predict(student, tmp_path / "one" / "adapter", completions=LABELS)
        results.append(student.train(segment, quiet))
    assert outcome(results) == outcome(expected)
    for name in ("step-5", "step-10", "adapter"):
        assert folder_bytes(tmp_path / "fresh" / name) == folder_bytes(tmp_path / "one" / name)


@pytest.mark.model
@pytest.mark.usefixtures("instructions")
def test_results_do_not_depend_on_whether_weights_are_kept_dequantized(tiny_models: TinyModels, tmp_path: Path) -> None:
    results, answers = [], []
    for kept in (True, False):
        student = in_bfloat16(tiny_models, quantization="nf4", lora_dropout=0.1)
        (student._adapted.dequantized.keep if kept else student._adapted.dequantized.drop)()
        results.append(outcome([student.train(training(tmp_path / str(kept)), quiet)]))
        answers.append(
            [
                (one.reply.text, one.confidence)
                for one in predict(student, tmp_path / str(kept), completions=UNEVEN_LABELS)
            ]
        )
        assert student._adapted.dequantized.drop() is kept
    assert results[0] == results[1]
    assert answers[0] == answers[1]
