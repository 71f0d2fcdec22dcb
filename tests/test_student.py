"""The student learns what it should, and the same however its work is cut up, batched or interrupted."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tiny_models import TinyModels
from transformers import AutoModelForCausalLM, AutoTokenizer

from llm2llm_local.errors import DiskError, ModelError
from llm2llm_local.file_digest import folder_digest
from llm2llm_local.model_files.catalogue import content_hash
from llm2llm_local.records import FinishReason
from llm2llm_local.student import lora, scoring
from llm2llm_local.student.batching import epoch_batches, total_steps
from llm2llm_local.student.checkpoint import complete_folder, save_adapter
from llm2llm_local.student.lora import LoraStudent
from llm2llm_local.student.protocol import (
    PredictionBatch,
    SegmentResult,
    StudentAnswer,
    StudentSettings,
    TrainingExample,
    TrainingSegment,
)

pytestmark = pytest.mark.model

QUESTIONS = (
    ("Where is the library?", "place"),
    ("Who opened the door?", "person"),
    ("Where did the painter keep her brushes today in the village?", "place"),
    ("Who?", "person"),
    ("Where does the last train leave for?", "place"),
    ("Who wrote the first book about the stars and the winter?", "person"),
    ("Where is it?", "place"),
    ("Who plays the song that we heard this morning?", "person"),
    ("Where do the brothers live?", "place"),
    ("Who must repair the roof within 30 days?", "person"),
    ("Where is the market, the harbour and the theatre?", "place"),
    ("Who signed?", "person"),
)
EXAMPLES = tuple(TrainingExample(f"question: {question}\nanswer:", f" {answer}") for question, answer in QUESTIONS)
PROMPTS = tuple(example.prompt for example in EXAMPLES)
LABELS = (" place", " person")
UNEVEN_LABELS = (" place", " 12 apples and 3 eggs", " no", " the longest river in the north", " person")


def quiet(*figures: float) -> None:
    """Progress that nobody looks at."""


def settings(model: Path, **changes: Any) -> StudentSettings:
    values: dict[str, Any] = {
        "model": model,
        "quantization": "none",
        "lora_rank": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.0,
        "max_length": 256,
        "device": "cpu",
        "threads": 1,
    }
    return StudentSettings(**{**values, **changes})


def training(output: Path, **changes: Any) -> TrainingSegment:
    """The whole training in one segment, unless `changes` say something else."""
    values: dict[str, Any] = {
        "examples": EXAMPLES,
        "epochs": 4,
        "batch_size": 4,
        "micro_batch_size": 4,
        "learning_rate": 5e-3,
        "warmup_ratio": 0.1,
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "rng_seed": 7,
        "start_step": 0,
        "start_adapter": None,
        "checkpoint": None,
        "output": output,
    } | changes
    steps = total_steps(len(values["examples"]), values["batch_size"], values["epochs"])
    return TrainingSegment(**({"stop_step": steps, "total_steps": steps} | values))


def segments(folder: Path, every: int, **changes: Any) -> list[TrainingSegment]:
    """The same training with a checkpoint every few steps."""
    whole = training(folder, **changes)
    parts: list[TrainingSegment] = []
    for start in range(0, whole.total_steps, every):
        stop = min(start + every, whole.total_steps)
        parts.append(
            dataclasses.replace(
                whole,
                start_step=start,
                stop_step=stop,
                checkpoint=parts[-1].output if parts else None,
                output=folder / (f"step-{stop}" if stop < whole.total_steps else "adapter"),
            )
        )
    return parts


def predict(
    student: LoraStudent,
    adapter: Path,
    prompts: Sequence[str] = PROMPTS,
    completions: Sequence[str] = (),
    max_new_tokens: int = 12,
) -> list[StudentAnswer]:
    return student.predict(PredictionBatch(adapter, tuple(prompts), tuple(completions), max_new_tokens), quiet)


def outcome(results: Sequence[SegmentResult]) -> tuple[tuple[float, ...], str]:
    """What two trainings that are the same have in common: all losses, and the bytes of the adapter."""
    return tuple(loss for result in results for loss in result.losses), results[-1].sha256


def folder_bytes(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


class NaiveStudent:
    """The same model the plain way: transformers and peft alone, one unpadded row at a time, no cache."""

    def __init__(self, model: Path, adapter: Path | None) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        self.model: Any = base if adapter is None else PeftModel.from_pretrained(base, adapter)
        self.model.eval()

    def ids(self, prompt: str) -> list[int]:
        return list(self.tokenizer(prompt).input_ids)

    def completion_ids(self, completion: str) -> list[int]:
        return [*self.tokenizer(completion, add_special_tokens=False).input_ids, self.tokenizer.eos_token_id]

    def log_likelihood(self, prompt: str, completion: str) -> float:
        """Of the completion and the end token after the prompt."""
        before, after = self.ids(prompt), self.completion_ids(completion)
        with torch.inference_mode():
            log_probabilities = self.model(torch.tensor([before + after])).logits[0].log_softmax(-1)
        return sum(
            float(log_probabilities[position - 1, token]) for position, token in enumerate(after, start=len(before))
        )

    def mean_loss(self, examples: Sequence[TrainingExample]) -> float:
        tokens = sum(len(self.completion_ids(example.completion)) for example in examples)
        return -sum(self.log_likelihood(example.prompt, example.completion) for example in examples) / tokens

    def write(self, prompt: str, max_new_tokens: int) -> str:
        ids = self.ids(prompt)
        written = self.model.generate(
            input_ids=torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            do_sample=False,
            max_new_tokens=max_new_tokens,
        )
        return str(self.tokenizer.decode(written[0, len(ids) :], skip_special_tokens=True))


@pytest.fixture(scope="module")
def student(tiny_models: TinyModels) -> LoraStudent:
    """A student without dropout and quantization, shared: what it was asked before makes no difference."""
    return LoraStudent(settings(tiny_models.student))


@pytest.fixture(scope="module")
def trained(student: LoraStudent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter of a student that has learnt EXAMPLES."""
    folder = tmp_path_factory.mktemp("trained") / "adapter"
    student.train(training(folder, epochs=20), quiet)
    return folder


@pytest.fixture(scope="module")
def undecided(student: LoraStudent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter of a student that has learnt UNEVEN_LABELS, but not which belongs where."""
    examples = tuple(TrainingExample(prompt, label) for prompt in PROMPTS for label in UNEVEN_LABELS)
    folder = tmp_path_factory.mktemp("undecided") / "adapter"
    student.train(training(folder, examples=examples), quiet)
    return folder


# --- the same training, however it is cut ---


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


def test_an_adapter_is_complete_and_its_hash_is_that_of_the_file(student: LoraStudent, tmp_path: Path) -> None:
    result = student.train(training(tmp_path / "adapter"), quiet)
    files = folder_bytes(tmp_path / "adapter")
    assert sorted(files) == ["adapter_config.json", "adapter_model.safetensors"]
    assert result.sha256 == folder_digest(tmp_path / "adapter")


def test_tokens_are_counted_without_padding(tiny_models: TinyModels, student: LoraStudent, tmp_path: Path) -> None:
    naive = NaiveStudent(tiny_models.student, None)
    lengths = [len(naive.ids(row.prompt)) + len(naive.completion_ids(row.completion)) for row in EXAMPLES]
    assert student.train(training(tmp_path / "a", epochs=3), quiet).tokens == 3 * sum(lengths)
    assert student.check_lengths(EXAMPLES, quiet) == max(lengths)


def test_progress_counts_the_steps_of_the_whole_training(student: LoraStudent, tmp_path: Path) -> None:
    heard: list[tuple[int, int, float]] = []
    losses: list[float] = []
    for segment in segments(tmp_path, 5):
        losses += student.train(segment, lambda *figures: heard.append(figures)).losses
    assert heard == [(step + 1, 12, loss) for step, loss in enumerate(losses)]


# --- the loss ---


def test_the_size_of_micro_batches_makes_no_difference(student: LoraStudent, tmp_path: Path) -> None:
    """Not even with unequal completions, where the mean of means would be another loss."""
    examples = tuple(
        TrainingExample(prompt, UNEVEN_LABELS[number % len(UNEVEN_LABELS)]) for number, prompt in enumerate(PROMPTS)
    )
    losses = [
        student.train(
            training(tmp_path / str(size), examples=examples, batch_size=8, micro_batch_size=size, learning_rate=1e-3),
            quiet,
        ).losses
        for size in (8, 4, 2, 1)
    ]
    for others in losses[1:]:
        assert others == pytest.approx(losses[0], abs=1e-4)


def test_only_completions_are_learnt(tiny_models: TinyModels, student: LoraStudent, tmp_path: Path) -> None:
    """A fresh adapter changes nothing yet, so the first loss is the base model's, on the completions alone."""
    naive = NaiveStudent(tiny_models.student, None)
    examples = tuple(
        TrainingExample(prompt, UNEVEN_LABELS[number % len(UNEVEN_LABELS)]) for number, prompt in enumerate(PROMPTS)
    )
    segment = training(tmp_path / "a", examples=examples, batch_size=6, micro_batch_size=4, epochs=1)
    lengths = [len(naive.ids(row.prompt)) + len(naive.completion_ids(row.completion)) for row in examples]
    first = [examples[index] for index in epoch_batches(lengths, 6, segment.rng_seed, 0)[0]]
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
        for name, weight in student._model.state_dict().items()
        if "lora_" not in name
    }


def test_continuing_starts_from_the_adapter(tiny_models: TinyModels, student: LoraStudent, tmp_path: Path) -> None:
    first = student.train(training(tmp_path / "first"), quiet)
    second = student.train(training(tmp_path / "second", start_adapter=tmp_path / "first"), quiet)
    assert second.losses[0] < 0.5 * first.losses[0]
    naive = NaiveStudent(tiny_models.student, tmp_path / "first")
    lengths = [len(naive.ids(row.prompt)) + len(naive.completion_ids(row.completion)) for row in EXAMPLES]
    batch = [EXAMPLES[index] for index in epoch_batches(lengths, 4, 7, 0)[0]]
    assert second.losses[0] == pytest.approx(naive.mean_loss(batch), abs=1e-3)


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


# --- prediction ---


def assert_scores_equal_the_naive_ones(
    student: LoraStudent, naive: NaiveStudent, adapter: Path, prompts: Sequence[str], completions: Sequence[str]
) -> None:
    answers = predict(student, adapter, prompts, completions)
    for prompt, answer in zip(prompts, answers, strict=True):
        scores = torch.tensor([naive.log_likelihood(prompt, completion) for completion in completions])
        assert answer.reply.text == completions[int(scores.argmax())].strip()
        assert answer.confidence == pytest.approx(float(scores.softmax(0).max()), abs=1e-3)


@pytest.mark.parametrize("rows_at_once", [128, 7, 1])
def test_scores_are_those_of_one_forward_pass_for_each_completion(
    tiny_models: TinyModels,
    student: LoraStudent,
    undecided: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows_at_once: int,
) -> None:
    """With 3 prompts: all 5 completions together, two at a time, one at a time."""
    monkeypatch.setattr(scoring, "_ROWS_AT_ONCE", rows_at_once)
    naive = NaiveStudent(tiny_models.student, undecided)
    prompts = (PROMPTS[3], PROMPTS[2], PROMPTS[7])
    assert len({len(naive.ids(prompt)) for prompt in prompts}) == 3
    assert len({len(naive.completion_ids(completion)) for completion in UNEVEN_LABELS}) >= 4
    assert_scores_equal_the_naive_ones(student, naive, undecided, prompts, UNEVEN_LABELS)


def test_every_score_is_right_not_only_the_best(tiny_models: TinyModels, student: LoraStudent, undecided: Path) -> None:
    """The confidence in one of two tells how far apart their scores are: every completion against another."""
    naive = NaiveStudent(tiny_models.student, undecided)
    for first, second in zip(UNEVEN_LABELS, UNEVEN_LABELS[1:] + UNEVEN_LABELS[:1], strict=True):
        assert_scores_equal_the_naive_ones(student, naive, undecided, PROMPTS[:3], (first, second))


def test_the_student_of_these_tests_is_undecided(student: LoraStudent, undecided: Path) -> None:
    """A confidence of 1 would be right for nearly any scores."""
    answers = predict(student, undecided, completions=UNEVEN_LABELS)
    confidences = [answer.confidence for answer in answers if answer.confidence is not None]
    assert len(confidences) == len(PROMPTS)
    assert max(confidences) < 0.99
    assert max(confidences) - min(confidences) > 0.05


def test_one_completion_may_begin_with_another(tiny_models: TinyModels, student: LoraStudent, undecided: Path) -> None:
    naive = NaiveStudent(tiny_models.student, undecided)
    assert_scores_equal_the_naive_ones(student, naive, undecided, PROMPTS[:4], (" person", " person in the north"))


def test_padding_changes_no_prediction(student: LoraStudent, undecided: Path, trained: Path) -> None:
    together = predict(student, undecided, completions=UNEVEN_LABELS)
    alone = [predict(student, undecided, [prompt], UNEVEN_LABELS)[0] for prompt in PROMPTS]
    assert [answer.reply.text for answer in together] == [answer.reply.text for answer in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.confidence == pytest.approx(other.confidence, abs=1e-4)
        assert one.reply.input_tokens == other.reply.input_tokens
    for adapter in (undecided, trained):
        written = predict(student, adapter)
        assert [answer.reply.text for answer in written] == [
            predict(student, adapter, [prompt])[0].reply.text for prompt in PROMPTS
        ]


def test_padding_stands_on_the_left_and_takes_no_position() -> None:
    """Positions matter to models that count them from the start; most only know how far apart tokens are."""
    padded = scoring.left_padded([[5, 6], [7, 8, 9, 10]], 3, "cpu").inputs
    assert padded["input_ids"].tolist() == [[3, 3, 5, 6], [7, 8, 9, 10]]
    assert padded["attention_mask"].tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
    assert padded["position_ids"][:, 2:].tolist() == [[0, 1], [2, 3]]
    assert padded["position_ids"][1, :2].tolist() == [0, 1]


def test_writing_is_transformers_own_greedy_generation(
    tiny_models: TinyModels, student: LoraStudent, undecided: Path
) -> None:
    naive = NaiveStudent(tiny_models.student, undecided)
    prompts = [*PROMPTS, "The old bridge", "A warm and funny film"]
    written = [answer.reply.text for answer in predict(student, undecided, prompts, max_new_tokens=20)]
    assert written == [naive.write(prompt, 20) for prompt in prompts]
    assert len(set(written)) > 3


def test_writing_stops_at_the_end_token(student: LoraStudent, trained: Path) -> None:
    for answer, (_, label) in zip(predict(student, trained), QUESTIONS, strict=True):
        assert answer.reply.text == f" {label}"
        assert answer.reply.finish_reason is FinishReason.STOP
        assert 0 < answer.reply.output_tokens < 12
        assert answer.confidence is None


def test_writing_is_cut_at_the_limit(tiny_models: TinyModels, student: LoraStudent, trained: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_models.student)
    for answer, (_, label) in zip(predict(student, trained, max_new_tokens=1), QUESTIONS, strict=True):
        first = tokenizer(f" {label}").input_ids[0]
        assert answer.reply.text == tokenizer.decode([first]) != f" {label}"
        assert answer.reply.finish_reason is FinishReason.LENGTH
        assert answer.reply.output_tokens == 1


def test_an_answer_that_just_fits_is_complete(tiny_models: TinyModels, student: LoraStudent, trained: Path) -> None:
    """The end token counts, being the proof that the answer is whole."""
    tokens = len(AutoTokenizer.from_pretrained(tiny_models.student)(" person").input_ids)
    prompt = PROMPTS[1]
    for limit, reason in ((tokens, FinishReason.LENGTH), (tokens + 1, FinishReason.STOP)):
        (answer,) = predict(student, trained, [prompt], max_new_tokens=limit)
        assert (answer.reply.text, answer.reply.finish_reason) == (" person", reason)
        assert answer.reply.output_tokens == tokens


def test_scored_answers_say_so(tiny_models: TinyModels, student: LoraStudent, trained: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_models.student)
    for prompt, answer in zip(PROMPTS, predict(student, trained, completions=LABELS), strict=True):
        assert answer.reply.finish_reason is FinishReason.SCORED
        assert answer.reply.input_tokens == len(tokenizer(prompt).input_ids)
        assert answer.reply.output_tokens == 0
        assert answer.reply.seconds > 0


def test_what_the_folder_recommends_for_chatting_has_no_effect(
    tiny_models: TinyModels, student: LoraStudent, trained: Path, tmp_path: Path
) -> None:
    """Instruction-tuned models bring a repetition penalty; greedy prediction must stay greedy."""
    folder = shutil.copytree(tiny_models.student, tmp_path / "model")
    file = folder / "generation_config.json"
    recommended = {"do_sample": True, "temperature": 0.7, "top_k": 20, "repetition_penalty": 3.0, "min_new_tokens": 9}
    file.write_text(json.dumps({**json.loads(file.read_text()), **recommended}))
    other = LoraStudent(settings(folder))
    prompts = [*PROMPTS, "A box holds 6 eggs, and 4 boxes hold 6 * 4 ="]
    assert [answer.reply for answer in without_times(predict(other, trained, prompts))] == [
        answer.reply for answer in without_times(predict(student, trained, prompts))
    ]


def without_times(answers: Sequence[StudentAnswer]) -> list[StudentAnswer]:
    return [dataclasses.replace(answer, reply=dataclasses.replace(answer.reply, seconds=0.0)) for answer in answers]


# --- memory runs out ---


class ScarceMemory:
    """Lets a student's step run out of memory as long as it computes more than `rows` examples at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
        self.rows = rows
        self.sizes: list[int] = []
        compute = LoraStudent._summed_loss

        def summed_loss(student: LoraStudent, rows: Sequence[scoring.Tokens]) -> torch.Tensor:
            self.sizes.append(len(rows))
            loss = compute(student, rows)  # it has drawn its dropout when memory runs out
            if len(rows) > self.rows:
                raise torch.OutOfMemoryError("tried to allocate 20 MiB")
            return loss

        monkeypatch.setattr(LoraStudent, "_summed_loss", summed_loss)


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
    step = LoraStudent._step
    failed: list[int] = []

    def step_that_fails_once(student: LoraStudent, batch: Sequence[scoring.Tokens], max_grad_norm: float) -> float:
        if not failed:
            failed.append(len(batch))
            raise torch.OutOfMemoryError
        return step(student, batch, max_grad_norm)

    monkeypatch.setattr(LoraStudent, "_step", step_that_fails_once)
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


# --- what can't be used ---


def test_an_example_longer_than_the_limit_is_named(tiny_models: TinyModels, tmp_path: Path) -> None:
    student = LoraStudent(settings(tiny_models.student, max_length=40))
    long = TrainingExample("question: What is this? " + "Please play the song. " * 20, " song")
    calls: tuple[Callable[[], object], ...] = (
        lambda: student.check_lengths((*EXAMPLES[3:4], long), quiet),
        lambda: student.train(training(tmp_path / "a", examples=(*EXAMPLES[3:4], long), epochs=1), quiet),
    )
    for call in calls:
        with pytest.raises(ModelError, match="question: What is this") as caught:
            call()
        assert "takes 40" in caught.value.message
        assert "student.max_length" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_the_limit_is_at_most_the_models_own(tiny_models: TinyModels, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_models.student, tmp_path / "model")
    change_json(folder / "config.json", max_position_embeddings=20)
    student = LoraStudent(settings(folder, max_length=4096))
    with pytest.raises(ModelError, match="takes 20"):
        student.check_lengths(EXAMPLES, quiet)


def test_the_limit_is_exact(tiny_models: TinyModels, student: LoraStudent) -> None:
    longest = student.check_lengths(EXAMPLES, quiet)
    assert LoraStudent(settings(tiny_models.student, max_length=longest)).check_lengths(EXAMPLES, quiet) == longest
    with pytest.raises(ModelError):
        LoraStudent(settings(tiny_models.student, max_length=longest - 1)).check_lengths(EXAMPLES, quiet)


def change_json(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def cut_the_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])


def cut_the_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1000])


def leave_a_weight_out(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no folder": shutil.rmtree,
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "no tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "an empty tokenizer": lambda folder: (folder / "tokenizer.json").write_text("{}"),
    "half a config": lambda folder: (folder / "config.json").write_text('{"model_type": "lla'),
    "an unknown architecture": lambda folder: change_json(folder / "config.json", model_type="martian"),
    "other shapes": lambda folder: change_json(folder / "config.json", hidden_size=128),
    "weights whose header is cut": cut_the_header,
    "weights that are cut": cut_the_weights,
    "a missing weight": leave_a_weight_out,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_folder_that_cannot_be_loaded_is_named(tiny_models: TinyModels, tmp_path: Path, damage: str) -> None:
    folder = shutil.copytree(tiny_models.student, tmp_path / "model")
    DAMAGES[damage](folder)
    with pytest.raises(ModelError) as caught:
        LoraStudent(settings(folder))
    assert str(folder) in caught.value.message


def test_a_tokenizer_without_an_end_token_is_refused(tiny_models: TinyModels, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_models.student, tmp_path / "model")
    change_json(folder / "tokenizer_config.json", eos_token=None)
    with pytest.raises(ModelError, match="no end-of-text token"):
        LoraStudent(settings(folder))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error(tiny_models: TinyModels) -> None:
    with pytest.raises(ModelError, match="no GPU"):
        LoraStudent(settings(tiny_models.student, device="cuda"))


# --- the adapter's files ---


@pytest.mark.parametrize("adapter_name", ["trained", "undecided"])
def test_peft_loads_the_adapter(
    tiny_models: TinyModels, student: LoraStudent, adapter_name: str, request: pytest.FixtureRequest
) -> None:
    adapter: Path = request.getfixturevalue(adapter_name)
    naive, base = NaiveStudent(tiny_models.student, adapter), NaiveStudent(tiny_models.student, None)
    predict(student, adapter, PROMPTS[:1], LABELS)  # now it holds this adapter
    ids = torch.tensor([naive.ids(PROMPTS[2])])
    with torch.inference_mode():
        logits = student._model(ids).logits
        assert torch.equal(naive.model(ids).logits, logits)
        assert (base.model(ids).logits - logits).abs().max() > 0.1


def test_the_adapters_files_have_the_same_bytes_in_every_process(
    tiny_models: TinyModels, student: LoraStudent, tmp_path: Path
) -> None:
    """PEFT writes some lists in the order of hashes, which differ from process to process."""
    script = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_student import LoraStudent, quiet, settings, training
LoraStudent(settings(Path({str(tiny_models.student)!r}))).train(training(Path(sys.argv[1]), epochs=1), quiet)
"""
    subprocess.run(
        [sys.executable, "-c", script, tmp_path / "there"],
        env={**os.environ, "PYTHONHASHSEED": "1"},  # here it is random
        check=True,
        capture_output=True,
    )
    student.train(training(tmp_path / "here", epochs=1), quiet)
    assert folder_bytes(tmp_path / "there") == folder_bytes(tmp_path / "here")
    assert len(json.loads((tmp_path / "here" / "adapter_config.json").read_text())["target_modules"]) >= 7


# --- the disk is full ---


def full_disk(*arguments: object) -> str:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_failed_write_leaves_nothing(student: LoraStudent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half_an_adapter(model: Any, folder: Path) -> str:
        save_adapter(model, folder)
        return full_disk()

    monkeypatch.setattr(lora, "save_adapter", half_an_adapter)
    with pytest.raises(DiskError, match="No space left on device") as caught:
        student.train(training(tmp_path / "adapter"), quiet)
    assert str(tmp_path / "adapter") in caught.value.message
    assert "llm2llm resume" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_a_state_that_fails_leaves_nothing(
    student: LoraStudent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lora, "save_state", full_disk)
    with pytest.raises(DiskError):
        student.train(segments(tmp_path, 5)[0], quiet)
    assert list(tmp_path.iterdir()) == []


def test_after_a_failed_write_the_training_goes_on_as_if_nothing_had_been(
    student: LoraStudent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = segments(tmp_path / "one", 5)
    expected = [student.train(segment, quiet) for segment in parts]
    results = []
    for segment in segments(tmp_path / "two", 5):
        with monkeypatch.context() as patch:
            patch.setattr(lora, "save_adapter", full_disk)
            with pytest.raises(DiskError):
                student.train(segment, quiet)
        results.append(student.train(segment, quiet))
    assert outcome(results) == outcome(expected)


def test_a_failed_write_leaves_the_folder_that_was_there(
    student: LoraStudent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    student.train(training(tmp_path / "adapter"), quiet)
    before = folder_bytes(tmp_path / "adapter")
    monkeypatch.setattr(lora, "save_adapter", full_disk)
    with pytest.raises(DiskError):
        student.train(training(tmp_path / "adapter", rng_seed=8), quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
    assert folder_bytes(tmp_path / "adapter") == before


def test_a_folder_that_was_there_is_replaced(tmp_path: Path) -> None:
    """A process that died after the rename, before its work was marked as done, leaves one."""
    folder = tmp_path / "adapter"
    for content in ("old", "new"):
        with complete_folder(folder) as temporary:
            assert not folder.exists() or (folder / "file").read_text() == "old"
            (temporary / "file").write_text(content)
    assert folder_bytes(folder) == {"file": b"new"}
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_a_folder_is_synced_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a machine that loses its power may be left with the name and without the content."""
    synced: list[tuple[str, bool]] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, (tmp_path / "adapter").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    with complete_folder(tmp_path / "adapter") as temporary:
        (temporary / "file").write_text("content")
    assert synced == [("file", False), (temporary.name, False), (tmp_path.name, True)]


@pytest.mark.parametrize("parent", ["a file", "a folder that can't be made"])
def test_a_folder_that_cannot_be_made_is_a_disk_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parent: str
) -> None:
    if parent == "a file":
        (tmp_path / "there").write_text("")
    else:
        monkeypatch.setattr(Path, "mkdir", full_disk_when_making)
    with pytest.raises(DiskError, match="adapter"), complete_folder(tmp_path / "there" / "adapter"):
        pass


def full_disk_when_making(folder: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
    full_disk()


def test_the_folder_is_the_owners_alone(student: LoraStudent, tmp_path: Path) -> None:
    student.train(training(tmp_path / "adapter"), quiet)
    assert (tmp_path / "adapter").stat().st_mode & 0o777 == 0o700
