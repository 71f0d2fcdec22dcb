"""Fine-tuning against what people would otherwise use: transformers' Trainer and TRL's SFTTrainer.

All train the same prompts on the same base in 4 bits, with LoRA of the same rank on all linear layers, in float32,
with the same batches' size, learning rate and number of threads; none writes checkpoints while it is timed but ours,
which writes its adapter as it always does. Tokens are counted without padding.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import UserInputError
from .plan import Comparison, Contender, Repeat, Series

_LEARNING_RATE, _ALPHA_PER_RANK, _DROPOUT = 2e-4, 2, 0.05


@dataclass(frozen=True, slots=True)
class TrainingCase:
    """One epoch over the first `n_examples` rows of `data`, JSONL with "question" and "answer"; None: the demo's.

    Where there are fewer rows they are taken again.
    """

    model: Path
    data: Path | None = None
    n_examples: int = 128
    batch_size: int = 8
    lora_rank: int = 16
    max_length: int = 1024
    threads: int = 2
    rng_seed: int = 7

    def examples(self) -> list[tuple[str, str]]:
        """Prompts and completions. Raises UserInputError."""
        file = self.data or Path(__file__).parent.parent / "demo" / "train.jsonl"
        try:
            rows = [json.loads(line) for line in file.read_text("utf-8").splitlines() if line.strip()]
            pairs = [(f"question: {row['question']}\nanswer:", f" {row['answer']}") for row in rows]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserInputError(
                f"{file}: can't be read as examples: {error}", 'Give JSONL with "question" and "answer" in each line.'
            ) from error
        if not pairs:
            raise UserInputError(f"{file}: no examples", 'Give JSONL with "question" and "answer" in each line.')
        return [pairs[index % len(pairs)] for index in range(self.n_examples)]


def comparison(case: TrainingCase) -> Comparison:
    return Comparison(
        title="Training",
        case=case,
        contenders=(Contender("lean", lean), Contender("trainer", trainer), Contender("sft_trainer", sft_trainer)),
        measure="tokens",
        repeats=3,
        note="Real tokens, without padding; the same base in 4 bits, LoRA, batches and threads for all.",
    )


def growth(case: TrainingCase, sizes: tuple[int, ...] = (32, 64, 128, 256)) -> Series:
    """How the time of a training grows with the number of its examples."""
    ours = Comparison("Training by examples", case, (Contender("lean", lean),), "tokens", repeats=3)
    return Series(ours, "n_examples", sizes)


def lean(case: TrainingCase) -> Repeat:
    """This tool's student."""
    from ..student.batching import total_steps
    from ..student.lora import LoraStudent
    from ..student.protocol import StudentSettings, TrainingExample, TrainingSegment

    student = LoraStudent(
        StudentSettings(
            model=case.model,
            quantization="nf4",
            lora_rank=case.lora_rank,
            lora_alpha=_ALPHA_PER_RANK * case.lora_rank,
            lora_dropout=_DROPOUT,
            max_length=case.max_length,
            device="auto",
            threads=case.threads,
        )
    )
    examples = tuple(TrainingExample(*pair) for pair in case.examples())
    steps = total_steps(len(examples), case.batch_size, 1)

    def repeat() -> Mapping[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            segment = TrainingSegment(
                examples=examples,
                epochs=1,
                batch_size=case.batch_size,
                micro_batch_size=case.batch_size,
                learning_rate=_LEARNING_RATE,
                warmup_ratio=0.1,
                weight_decay=0.0,
                max_grad_norm=1.0,
                rng_seed=case.rng_seed,
                start_step=0,
                stop_step=steps,
                total_steps=steps,
                start_adapter=None,
                checkpoint=None,
                output=Path(folder) / "adapter",
            )
            return {"tokens": student.train(segment, lambda *_: None).tokens, "steps": steps}

    return repeat


def trainer(case: TrainingCase) -> Repeat:
    """transformers' Trainer with its padding collator, as its documentation has it."""
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    model, tokenizer = _adapted_base(case)
    data = []
    for prompt, completion in case.examples():
        before = tokenizer(prompt).input_ids
        after = [*tokenizer(completion, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        labels = [-100] * len(before) + after
        data.append({"input_ids": before + after, "attention_mask": [1] * len(labels), "labels": labels})

    def repeat() -> Mapping[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            engine = Trainer(
                model=model,
                args=TrainingArguments(**_arguments(case, folder)),
                train_dataset=data,
                data_collator=DataCollatorForSeq2Seq(tokenizer, padding=True),
            )
            steps = engine.train().global_step
        return {"tokens": sum(len(row["input_ids"]) for row in data), "steps": steps}

    return repeat


def sft_trainer(case: TrainingCase) -> Repeat:
    """TRL's SFTTrainer on prompts and completions. Raises UserInputError where TRL isn't installed."""
    if find_spec("trl") is None or find_spec("datasets") is None:
        raise UserInputError("TRL isn't installed: nothing to compare with", "Install it: pip install trl datasets")
    trl, datasets = import_module("trl"), import_module("datasets")
    model, tokenizer = _adapted_base(case)
    pairs = case.examples()
    tokens = sum(
        len(tokenizer(prompt).input_ids) + len(tokenizer(completion, add_special_tokens=False).input_ids) + 1
        for prompt, completion in pairs
    )
    rows = datasets.Dataset.from_list([{"prompt": prompt, "completion": completion} for prompt, completion in pairs])

    def repeat() -> Mapping[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            arguments = trl.SFTConfig(**_arguments(case, folder), max_length=case.max_length, completion_only_loss=True)
            engine = trl.SFTTrainer(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer)
            steps = engine.train().global_step
        return {"tokens": tokens, "steps": steps}

    return repeat


def _adapted_base(case: TrainingCase) -> tuple[Any, Any]:
    """The base in 4 bits with a LoRA adapter, and its tokenizer, as transformers and peft give them."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    random.seed(case.rng_seed)
    torch.manual_seed(case.rng_seed)
    torch.set_num_threads(case.threads)
    on_gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if on_gpu and torch.cuda.is_bf16_supported() else torch.float32
    base = AutoModelForCausalLM.from_pretrained(
        case.model,
        dtype=dtype,
        device_map={"": "cuda" if on_gpu else "cpu"},
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        ),
        local_files_only=True,
        use_safetensors=True,
    )
    lora = LoraConfig(
        r=case.lora_rank,
        lora_alpha=_ALPHA_PER_RANK * case.lora_rank,
        lora_dropout=_DROPOUT,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(base, lora), AutoTokenizer.from_pretrained(case.model, local_files_only=True)


def _arguments(case: TrainingCase, folder: str) -> dict[str, Any]:
    """What both trainers are told; without evaluation, logging and saving."""
    import torch

    on_gpu = torch.cuda.is_available()
    return {
        "output_dir": folder,
        "per_device_train_batch_size": case.batch_size,
        "num_train_epochs": 1,
        "learning_rate": _LEARNING_RATE,
        "lr_scheduler_type": "cosine",
        "optim": "paged_adamw_8bit" if on_gpu else "adamw_torch",
        "bf16": on_gpu and torch.cuda.is_bf16_supported(),
        "use_cpu": not on_gpu,
        "gradient_checkpointing": False,
        "eval_strategy": "no",
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "seed": case.rng_seed,
    }
