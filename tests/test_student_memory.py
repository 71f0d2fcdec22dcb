"""A training whose memory runs out goes on with smaller micro-batches, as if it had had them from the start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from fakes import quiet
from tiny_models import TinyModels
from trainings import outcome, segments, settings, training

from llm2llm_local.errors import ModelError
from llm2llm_local.student.lora import LoraStudent
from llm2llm_local.student.rows import Tokens
from llm2llm_local.student.training import Training

pytestmark = pytest.mark.model


class ScarceMemory:
    """Lets a student's step run out of memory as long as it computes more than `rows` examples at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
        self.rows = rows
        self.sizes: list[int] = []
        compute = Training._summed_loss

        def summed_loss(engine: Training, rows: Sequence[Tokens]) -> torch.Tensor:
            self.sizes.append(len(rows))
            loss = compute(engine, rows)  # it has drawn its dropout when memory runs out
            if len(rows) > self.rows:
                raise torch.OutOfMemoryError("tried to allocate 20 MiB")
            return loss

        monkeypatch.setattr(Training, "_summed_loss", summed_loss)


def test_out_of_memory_halves_the_micro_batch(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step is then redone: the training is the one that had the smaller micro-batch from the start."""
    student = LoraStudent(settings(tiny_models.student, lora_dropout=0.1))
    parts = segments(tmp_path / "small", 5, micro_batch_size=2)
    expected = [student.train(segment, quiet) for segment in parts]

    memory = ScarceMemory(monkeypatch, rows=2)
    results = []
    for segment in segments(tmp_path / "large", 5, micro_batch_size=4):
        results.append(LoraStudent(settings(tiny_models.student, lora_dropout=0.1)).train(segment, quiet))
    assert outcome(results) == outcome(expected)
    assert [result.notes for result in results] == [("out of memory: micro-batch lowered to 2",), (), ()]
    assert memory.sizes == [4] + [2] * 24  # once too many, then never again, not even after the checkpoints


def test_out_of_memory_once_is_enough_to_stay_careful(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Training._step
    failed: list[int] = []

    def step_that_fails_once(engine: Training, batch: Sequence[Tokens], max_grad_norm: float) -> float:
        if not failed:
            failed.append(len(batch))
            raise torch.OutOfMemoryError
        return step(engine, batch, max_grad_norm)

    monkeypatch.setattr(Training, "_step", step_that_fails_once)
    memory = ScarceMemory(monkeypatch, rows=4)
    student = LoraStudent(settings(tiny_models.student))
    results = [student.train(segment, quiet) for segment in segments(tmp_path, 6, micro_batch_size=4)]
    assert [result.notes for result in results] == [("out of memory: micro-batch lowered to 2",), ()]
    assert memory.sizes == [2] * 24
    assert results[-1].losses[-1] < results[0].losses[0]

    student.train(training(tmp_path / "next", micro_batch_size=4), quiet)  # another training starts as it was asked to
    assert memory.sizes[24:] == [4] * 12


def test_out_of_memory_with_a_single_example_is_an_error(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = ScarceMemory(monkeypatch, rows=0)
    with pytest.raises(ModelError, match="single example at a time"):
        LoraStudent(settings(tiny_models.student)).train(training(tmp_path / "adapter"), quiet)
    assert memory.sizes == [4, 2, 1]
    assert list(tmp_path.iterdir()) == []
