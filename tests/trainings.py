"""What a small student is trained on and asked, and whether two of its trainings are the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fakes import quiet

from llm2llm_local.student.batching import total_steps
from llm2llm_local.student.lora import LoraStudent
from llm2llm_local.student.protocol import (
    PredictionBatch,
    SegmentResult,
    StudentAnswer,
    StudentSettings,
    TrainingExample,
    TrainingSegment,
)

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


def settings(model: Path, **changes: Any) -> StudentSettings:
    values: dict[str, Any] = {
        "model": model,
        "quantization": "none",
        "compute_dtype": "float32",
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
