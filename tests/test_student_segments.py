"""A training is the same however it is cut into segments, interrupted, or mixed with other work."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fakes import quiet
from tiny_models import TinyModels
from trainings import LABELS, folder_bytes, outcome, predict, segments, settings, training

from llm2llm_local.student.lora import LoraStudent

pytestmark = pytest.mark.model


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_segments_in_fresh_processes_are_the_training_in_one(
    tiny_models: TinyModels, tmp_path: Path, quantization: str
) -> None:
    def fresh() -> LoraStudent:
        return LoraStudent(settings(tiny_models.student, quantization=quantization, lora_dropout=0.1))

    one = fresh()
    expected = [one.train(segment, quiet) for segment in segments(tmp_path / "one", 5)]
    fresh_ones = []
    for segment in segments(tmp_path / "fresh", 5):
        torch.manual_seed(segment.start_step)  # a new process has random states of its own
        fresh_ones.append(fresh().train(segment, quiet))

    assert [len(result.losses) for result in expected] == [5, 5, 2]
    assert outcome(fresh_ones) == outcome(expected)
    assert [result.sha256 for result in fresh_ones] == [result.sha256 for result in expected]
    for name in ("step-5", "step-10", "adapter"):
        assert folder_bytes(tmp_path / "fresh" / name) == folder_bytes(tmp_path / "one" / name)


def test_dropout_and_the_rng_seed_matter(tiny_models: TinyModels, tmp_path: Path) -> None:
    """Or the test above would say little about random states."""
    with_dropout = LoraStudent(settings(tiny_models.student, lora_dropout=0.1))
    results = {
        outcome([student.train(training(tmp_path / "adapter", rng_seed=rng_seed), quiet)])
        for student in (with_dropout, LoraStudent(settings(tiny_models.student)))
        for rng_seed in (7, 8)
    }
    assert len(results) == 4


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_what_was_asked_before_makes_no_difference(tiny_models: TinyModels, tmp_path: Path, quantization: str) -> None:
    """Predictions and other trainings in between, as in the loop's second iteration."""

    def fresh() -> LoraStudent:
        return LoraStudent(settings(tiny_models.student, quantization=quantization, lora_dropout=0.1))

    one = fresh()
    expected = [one.train(segment, quiet) for segment in segments(tmp_path / "one", 6)]
    answers = predict(fresh(), tmp_path / "one" / "adapter", completions=LABELS)

    busy = fresh()
    busy.train(training(tmp_path / "other", rng_seed=1, learning_rate=1e-2), quiet)
    results = []
    for segment in segments(tmp_path / "busy", 6):
        predict(busy, tmp_path / "other", completions=LABELS)
        predict(busy, tmp_path / "other")
        results.append(busy.train(segment, quiet))
    assert outcome(results) == outcome(expected)
    predict(busy, tmp_path / "other", completions=LABELS)
    assert [(answer.reply.text, answer.confidence) for answer in predict(busy, segment.output, completions=LABELS)] == [
        (answer.reply.text, answer.confidence) for answer in answers
    ]


def test_a_segment_that_was_abandoned_is_redone_the_same(tiny_models: TinyModels, tmp_path: Path) -> None:
    student = LoraStudent(settings(tiny_models.student, lora_dropout=0.1))
    parts = segments(tmp_path / "one", 4)
    expected = [student.train(segment, quiet) for segment in parts]

    def stop_at_step_6(done: int, total: int, loss: float) -> None:
        if done == 6:
            raise InterruptedError

    again = segments(tmp_path / "again", 4)
    results = [student.train(again[0], quiet)]
    with pytest.raises(InterruptedError):
        student.train(again[1], stop_at_step_6)
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == ["step-4"]
    results += [student.train(segment, quiet) for segment in again[1:]]
    assert outcome(results) == outcome(expected)


def test_continuing_in_segments_is_continuing_in_one(tiny_models: TinyModels, tmp_path: Path) -> None:
    """The start adapter is for the first segment only; the others go on from their checkpoint."""
    student = LoraStudent(settings(tiny_models.student))
    student.train(training(tmp_path / "first"), quiet)
    whole = student.train(training(tmp_path / "whole", start_adapter=tmp_path / "first"), quiet)
    parts = [
        LoraStudent(settings(tiny_models.student)).train(segment, quiet)
        for segment in segments(tmp_path / "parts", 5, start_adapter=tmp_path / "first")
    ]
    assert outcome(parts) == outcome([whole])


def test_progress_counts_the_steps_of_the_whole_training(student: LoraStudent, tmp_path: Path) -> None:
    heard: list[tuple[int, int, float]] = []
    losses: list[float] = []
    for segment in segments(tmp_path, 5):
        losses += student.train(segment, lambda *figures: heard.append(figures)).losses
    assert heard == [(step + 1, 12, loss) for step, loss in enumerate(losses)]
