"""Fine-tuning against what people would otherwise use: transformers' Trainer and TRL's SFTTrainer.

All train the same prompts on the same base in 4 bits, with LoRA of the same rank on all linear layers, with the same
batches' size, learning rate, optimizer and number of threads. On a GPU that has it they compute in bfloat16. On a CPU
that has it ours does, and the others compute in float32, in which they are as fast (see `transformers_way`).
SFTTrainer holds the matrices of LoRA themselves in bfloat16, wherever it runs; neither it nor Trainer sorts by length
or packs unless told to. None writes checkpoints while it is timed but ours, which writes its adapter as it always does.
Tokens are counted without padding; all have theirs ready before time is taken, ours since its warm-up.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..datasets.reader import read_rows
from ..errors import UserInputError
from ..student.batching import total_steps
from ..student.precision import find_compute_dtype
from ..student.protocol import StudentSettings, TrainingExample, TrainingSegment
from ..teacher.plan import Device
from . import transformers_way
from .plan import Comparison, Contender, Repeat, Series

_LEARNING_RATE, _ALPHA_PER_RANK, _DROPOUT = 2e-4, 2, 0.05


def whole_training(
    examples: tuple[TrainingExample, ...],
    output: Path,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    rng_seed: int,
) -> TrainingSegment:
    """All of a training in one segment."""
    steps = total_steps(len(examples), batch_size, epochs)
    return TrainingSegment(
        examples=examples,
        epochs=epochs,
        batch_size=batch_size,
        micro_batch_size=batch_size,
        learning_rate=learning_rate,
        warmup_ratio=0.1,
        weight_decay=0.0,
        max_grad_norm=1.0,
        rng_seed=rng_seed,
        start_step=0,
        stop_step=steps,
        total_steps=steps,
        start_adapter=None,
        checkpoint=None,
        output=output,
    )


@dataclass(frozen=True, slots=True)
class TrainingCase:
    """One epoch over the first `n_examples` rows of `data`, JSONL with "question" and "answer"; None: the demo's.

    Where there are fewer rows they are taken again.
    """

    model: Path
    device: Device
    data: Path | None = None
    n_examples: int = 128
    batch_size: int = 8
    lora_rank: int = 16
    max_length: int = 1024
    threads: int = 2
    rng_seed: int = 7

    def examples(self) -> list[tuple[str, str]]:
        """Prompts and completions. Raises DataError."""
        file = self.data or Path(__file__).parent.parent / "demo" / "train.jsonl"
        rows = read_rows(file, "question", "answer")
        pairs = [(f"question: {row.question}\nanswer:", f" {row.answer}") for row in rows]
        return [pairs[index % len(pairs)] for index in range(self.n_examples)]


def comparison(case: TrainingCase) -> Comparison:
    return Comparison(
        title="the student's training",
        case=case,
        contenders=(Contender("lean", lean), Contender("trainer", trainer), Contender("sft_trainer", sft_trainer)),
        measure="tokens",
        repeats=3,
        note="Real tokens, without padding; the same base in 4 bits, LoRA, batches and threads for all.",
    )


def growth(case: TrainingCase, sizes: tuple[int, ...] = (32, 64, 128, 256)) -> Series:
    """How the time of a training grows with the number of its examples."""
    ours = Comparison("the student's training by examples", case, (Contender("lean", lean),), "tokens", repeats=3)
    return Series(ours, "n_examples", sizes)


def lean(case: TrainingCase) -> Repeat:
    """This tool's student."""
    from ..student.lora import LoraStudent

    student = LoraStudent(
        StudentSettings(
            model=case.model,
            quantization="nf4",
            compute_dtype=find_compute_dtype("auto", case.device),
            lora_rank=case.lora_rank,
            lora_alpha=_ALPHA_PER_RANK * case.lora_rank,
            lora_dropout=_DROPOUT,
            max_length=case.max_length,
            device=case.device,
            threads=case.threads,
        )
    )
    examples = tuple(TrainingExample(*pair) for pair in case.examples())

    def repeat() -> Mapping[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            segment = whole_training(
                examples,
                Path(folder) / "adapter",
                epochs=1,
                batch_size=case.batch_size,
                learning_rate=_LEARNING_RATE,
                rng_seed=case.rng_seed,
            )
            return {"tokens": student.train(segment, lambda *_: None).tokens, "steps": segment.total_steps}

    return repeat


def trainer(case: TrainingCase) -> Repeat:
    """transformers' Trainer with its padding collator, as its documentation has it."""
    model, tokenizer = _adapted_base(case)
    rows = transformers_way.learnt_rows(tokenizer, case.examples())
    tokens = sum(len(row["input_ids"]) for row in rows)

    def repeat() -> Mapping[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            return {"tokens": tokens, "steps": transformers_way.train(model, tokenizer, rows, _arguments(case, folder))}

    return repeat


def sft_trainer(case: TrainingCase) -> Repeat:
    """TRL's SFTTrainer on prompts and completions, which it tokenizes before time is taken.

    Raises UserInputError where a package is missing that it needs.
    """
    missing = [name for name in ("trl", "datasets") if find_spec(name) is None]
    if missing:
        raise UserInputError(
            f"not installed: {', '.join(missing)}", f"To compare with it: pip install {' '.join(missing)}"
        )
    trl = import_module("trl")
    model, tokenizer = _adapted_base(case)

    def engine(rows: Any, folder: str, **more: Any) -> Any:
        arguments = trl.SFTConfig(
            **_arguments(case, folder), max_length=case.max_length, completion_only_loss=True, **more
        )
        return trl.SFTTrainer(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer)

    with tempfile.TemporaryDirectory() as folder:
        tokenized = engine(_dataset(case.examples()), folder).train_dataset
    tokens = sum(len(ids) for ids in tokenized["input_ids"])

    def repeat() -> Mapping[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            training = engine(tokenized, folder, dataset_kwargs={"skip_prepare_dataset": True})
            return {"tokens": tokens, "steps": int(training.train().global_step)}

    return repeat


def _dataset(pairs: list[tuple[str, str]]) -> Any:
    """Of the package datasets. Named by us: to name it by its content, it would have to pickle pyarrow's types, which
    fails with some versions of the two (datasets 5.2 with pyarrow 26: "Can't pickle MonthDayNano")."""
    pyarrow, datasets = import_module("pyarrow"), import_module("datasets")
    prompts, completions = zip(*pairs, strict=True)
    table = pyarrow.table({"prompt": list(prompts), "completion": list(completions)})
    return datasets.Dataset(datasets.table.InMemoryTable(table), fingerprint="llm2llm-bench")


def _adapted_base(case: TrainingCase) -> tuple[Any, Any]:
    """The base in 4 bits with a LoRA adapter, and its tokenizer."""
    tokenizer, base = transformers_way.load_in_4_bits(case.model, case.device, case.threads)
    alpha = _ALPHA_PER_RANK * case.lora_rank
    model = transformers_way.with_lora(base, rank=case.lora_rank, alpha=alpha, dropout=_DROPOUT, rng_seed=case.rng_seed)
    return model, tokenizer


def _arguments(case: TrainingCase, folder: str) -> dict[str, Any]:
    """What both trainers are told."""
    return transformers_way.training_arguments(
        Path(folder),
        case.device,
        batch_size=case.batch_size,
        epochs=1,
        learning_rate=_LEARNING_RATE,
        rng_seed=case.rng_seed,
    )
