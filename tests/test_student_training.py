"""The student learns what it should: its loss and its gradient are those of the completions alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import quiet
from naive_student import NaiveStudent
from safetensors.torch import load_file
from tiny_models import TinyModels
from torch.nn import functional
from trainings import EXAMPLES, LABELS, PROMPTS, QUESTIONS, UNEVEN_LABELS, predict, settings, training
from transformers import LlamaForCausalLM

from llm2llm_local.model_files.catalogue import content_hash
from llm2llm_local.student import loss
from llm2llm_local.student.base import AdaptedModel
from llm2llm_local.student.batching import epoch_batches
from llm2llm_local.student.lora import LoraStudent
from llm2llm_local.student.loss import SummedCrossEntropy
from llm2llm_local.student.protocol import TrainingExample

pytestmark = pytest.mark.model

UNEVEN_EXAMPLES = tuple(
    TrainingExample(prompt, UNEVEN_LABELS[number % len(UNEVEN_LABELS)]) for number, prompt in enumerate(PROMPTS)
)


def test_the_size_of_micro_batches_makes_no_difference(student: LoraStudent, tmp_path: Path) -> None:
    """Not even with unequal completions, where the mean of means would be another loss."""
    losses = [
        student.train(
            training(
                tmp_path / str(size), examples=UNEVEN_EXAMPLES, batch_size=8, micro_batch_size=size, learning_rate=1e-3
            ),
            quiet,
        ).losses
        for size in (8, 4, 2, 1)
    ]
    for others in losses[1:]:
        assert others == pytest.approx(losses[0], abs=1e-4)


def test_only_completions_are_learnt(tiny_models: TinyModels, student: LoraStudent, tmp_path: Path) -> None:
    """A fresh adapter changes nothing yet, so the first loss is the base model's, on the completions alone."""
    naive = NaiveStudent(tiny_models.student, None)
    segment = training(tmp_path / "a", examples=UNEVEN_EXAMPLES, batch_size=6, micro_batch_size=4, epochs=1)
    lengths = [naive.n_tokens(row) for row in UNEVEN_EXAMPLES]
    first = [UNEVEN_EXAMPLES[index] for index in epoch_batches(lengths, 6, segment.rng_seed, 0)[0]]
    assert len({len(naive.completion_ids(row.completion)) for row in first}) > 1
    assert student.train(segment, quiet).losses[0] == pytest.approx(naive.mean_loss(first), abs=1e-3)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
@pytest.mark.parametrize("recomputes", [False, True])
def test_a_training_is_that_of_transformers_and_peft(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quantization: str, recomputes: bool
) -> None:
    """Losses of all steps within 0.1%, and weights within a thousandth of the largest."""
    student = LoraStudent(settings(tiny_models.student, quantization=quantization))
    segment = training(tmp_path / "a", examples=UNEVEN_EXAMPLES, micro_batch_size=3, max_grad_norm=0.5)
    start = dataclasses.replace(segment, learning_rate=1e-30, stop_step=1, output=tmp_path / "start")
    student.train(start, quiet)
    expected, weights = NaiveStudent(tiny_models.student, None, quantization).train(tmp_path / "start", segment)
    if recomputes:
        monkeypatch.setattr(AdaptedModel, "recomputes_activations", property(lambda _: True, lambda *_: None))
        student._adapted.model.get_base_model().gradient_checkpointing_enable({"use_reentrant": False})
    assert list(student.train(segment, quiet).losses) == pytest.approx(expected, rel=1e-3)
    assert expected[-1] < 0.5 * expected[0]
    trained = load_file(segment.output / "adapter_model.safetensors")
    assert trained.keys() == weights.keys()
    for name, weight in weights.items():
        assert (trained[name] - weight).abs().max() < 1e-3 * weight.abs().max(), name


def test_a_model_that_changes_its_logits_is_learnt_by_them(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some architectures scale or cap what comes out of the vocabulary projection."""
    forward = LlamaForCausalLM.forward

    def cooler(*arguments: Any, **options: Any) -> Any:
        output = forward(*arguments, **options)
        output.logits = output.logits / 4
        return output

    examples = UNEVEN_EXAMPLES[:4]
    segment = training(tmp_path / "a", examples=examples, epochs=1)
    plain = LoraStudent(settings(tiny_models.student))
    monkeypatch.setattr(LlamaForCausalLM, "forward", cooler)
    student = LoraStudent(settings(tiny_models.student))
    assert plain._adapted.loss is loss._loss_by_chunks and student._adapted.loss is loss._loss_of_logits
    expected = NaiveStudent(tiny_models.student, None).mean_loss(examples)
    assert student.train(segment, quiet).losses[0] == pytest.approx(expected, abs=1e-3)
    assert plain.train(segment, quiet).losses[0] != pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("at_once", [1, 1000, 2**23])
def test_the_loss_in_chunks_is_the_loss(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(loss, "LOGITS_AT_ONCE", at_once)
    generator = torch.Generator().manual_seed(1)
    weight, hidden = (torch.randn(rows, 16, generator=generator) for rows in (300, 7))
    targets = torch.randint(300, (7,), generator=generator)
    ours, theirs = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    value = SummedCrossEntropy.apply(ours, weight, targets) / 3  # type: ignore[no-untyped-call]
    expected = functional.cross_entropy(theirs @ weight.t(), targets, reduction="sum") / 3
    value.backward()
    expected.backward()  # type: ignore[no-untyped-call]
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    assert ours.grad is not None and theirs.grad is not None
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-4)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_training_learns_and_changes_the_adapter_alone(
    tiny_models: TinyModels, tmp_path: Path, quantization: str
) -> None:
    student = LoraStudent(settings(tiny_models.student, quantization=quantization))
    files, weights = content_hash(tiny_models.student), base_weights(student)
    result = student.train(training(tmp_path / "adapter", epochs=20), quiet)
    assert len(result.losses) == 60
    assert sum(result.losses[-5:]) < 0.05 * sum(result.losses[:5])
    expected = [label for _, label in QUESTIONS]
    scored = predict(student, tmp_path / "adapter", completions=LABELS)
    assert [answer.reply.text for answer in scored] == expected
    assert [answer.reply.text.strip() for answer in predict(student, tmp_path / "adapter")] == expected
    assert base_weights(student) == weights
    assert content_hash(tiny_models.student) == files
    assert all("lora_" in name for name in load_file(tmp_path / "adapter" / "adapter_model.safetensors"))


def base_weights(student: LoraStudent) -> dict[str, bytes]:
    return {
        name: weight.detach().contiguous().view(torch.uint8).numpy().tobytes()
        for name, weight in student._adapted.model.state_dict().items()
        if "lora_" not in name
    }


def test_continuing_starts_from_the_adapter(tiny_models: TinyModels, student: LoraStudent, tmp_path: Path) -> None:
    first = student.train(training(tmp_path / "first"), quiet)
    second = student.train(training(tmp_path / "second", start_adapter=tmp_path / "first"), quiet)
    assert second.losses[0] < 0.5 * first.losses[0]
    naive = NaiveStudent(tiny_models.student, tmp_path / "first")
    lengths = [naive.n_tokens(row) for row in EXAMPLES]
    batch = [EXAMPLES[index] for index in epoch_batches(lengths, 4, 7, 0)[0]]
    assert second.losses[0] == pytest.approx(naive.mean_loss(batch), abs=1e-3)


def test_tokens_are_counted_without_padding(tiny_models: TinyModels, student: LoraStudent, tmp_path: Path) -> None:
    naive = NaiveStudent(tiny_models.student, None)
    lengths = [naive.n_tokens(row) for row in EXAMPLES]
    assert student.train(training(tmp_path / "a", epochs=3), quiet).tokens == 3 * sum(lengths)
    assert student.check_lengths(EXAMPLES, quiet) == max(lengths)
