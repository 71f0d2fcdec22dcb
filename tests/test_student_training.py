"""The student learns what it should: its loss and its gradient are those of the completions alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from fakes import quiet
from naive_student import NaiveStudent
from peft import PeftModel
from safetensors.torch import load_file
from tiny_models import TinyModels
from trainings import EXAMPLES, LABELS, PROMPTS, QUESTIONS, UNEVEN_LABELS, predict, settings, training

from llm2llm_local.model_files.catalogue import content_hash
from llm2llm_local.student.batching import epoch_batches
from llm2llm_local.student.lora import LoraStudent
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


def test_the_gradient_is_that_of_the_completions(tiny_models: TinyModels, student: LoraStudent, tmp_path: Path) -> None:
    """The second loss, after one step, is what plain PEFT and AdamW come to with the same data."""
    examples = EXAMPLES[:4]
    segment = training(
        tmp_path / "a", examples=examples, epochs=2, micro_batch_size=2, warmup_ratio=0.0, max_grad_norm=0.1
    )
    start = dataclasses.replace(segment, stop_step=1, output=tmp_path / "one")
    student.train(start, quiet)
    losses = student.train(segment, quiet).losses

    student.train(dataclasses.replace(segment, learning_rate=1e-30, output=tmp_path / "unchanged"), quiet)
    naive = NaiveStudent(tiny_models.student, None)
    model = PeftModel.from_pretrained(naive.model, tmp_path / "unchanged", is_trainable=True)
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=segment.learning_rate, weight_decay=segment.weight_decay)
    tokens = sum(len(naive.completion_ids(example.completion)) for example in examples)
    for example in examples:
        ids, after = naive.ids(example.prompt), naive.completion_ids(example.completion)
        labels = torch.tensor([[-100] * len(ids) + after])
        loss = model(input_ids=torch.tensor([ids + after]), labels=labels).loss  # the mean over the completion
        (loss * len(after) / tokens).backward()
    torch.nn.utils.clip_grad_norm_(weights, segment.max_grad_norm)
    optimizer.step()
    naive.model = model.eval()
    assert losses[0] - losses[1] > 0.1
    assert losses[1] == pytest.approx(naive.mean_loss(examples), abs=1e-3)


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
