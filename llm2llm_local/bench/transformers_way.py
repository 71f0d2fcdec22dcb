"""The student's work as people otherwise do it: transformers, PEFT and bitsandbytes, as they are documented.

What the contenders that aren't ours share, so that all are told the same: the base in 4 bits, LoRA on all linear
layers, rows of which the completion is learnt, Trainer's arguments, and the published evaluation of LLM2LLM
(SqueezeAILab/LLM2LLM, eval.py): prompts padded on the left, sampled with temperature 0.7 and top-p 0.9 until every row
of the batch has met the end token or has as many tokens as there may be.

Computation is in bfloat16 on a GPU that has it, otherwise in float32. On CPUs that have it, too, it was no gain when
measured (2 cores of an Intel Xeon with AMX): `generate` for 500 questions of TREC took 100 s in bfloat16 and 44 s in
float32, and Trainer learnt 102 tokens a second in both. bitsandbytes keeps all its kernels, some of which compute in
bfloat16 there whatever they are told.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..student.precision import find_compute_dtype
from ..teacher.plan import Device

EVALUATION_BATCH = 16
"""Prompts at once, of the published evaluation."""

_TEMPERATURE, _TOP_P = 0.7, 0.9


def load_in_4_bits(folder: Path, device: Device, threads: int) -> tuple[Any, Any]:
    """Tokenizer and base model, on that device."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    torch.set_num_threads(threads)
    dtype = torch.bfloat16 if _in_bfloat16(device) else torch.float32
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    base = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        device_map={"": device},
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        ),
        local_files_only=True,
        use_safetensors=True,
    )
    return tokenizer, base


def _in_bfloat16(device: Device) -> bool:
    return device == "cuda" and find_compute_dtype("auto", device) == "bfloat16"


def with_lora(base: Any, *, rank: int, alpha: int, dropout: float, rng_seed: int) -> Any:
    """The base with a fresh adapter on all its linear layers."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(rng_seed)
    return get_peft_model(
        base,
        LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM"),
    )


def learnt_rows(tokenizer: Any, examples: Sequence[tuple[str, str]]) -> list[dict[str, list[int]]]:
    """Prompts with completions as Trainer takes them: only the completion and the end token are learnt."""
    rows = []
    for prompt, completion in examples:
        before = tokenizer(prompt)["input_ids"]
        after = [*tokenizer(completion, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        rows.append(
            {
                "input_ids": before + after,
                "attention_mask": [1] * (len(before) + len(after)),
                "labels": [-100] * len(before) + after,
            }
        )
    return rows


def training_arguments(
    folder: Path,
    device: Device,
    *,
    batch_size: int,
    epochs: int,
    learning_rate: float,
    rng_seed: int,
    warmup_ratio: float = 0.1,
    weight_decay: float = 0.0,
    max_grad_norm: float = 1.0,
) -> dict[str, Any]:
    """Of TrainingArguments and its heirs: our optimizer and schedule; nothing is evaluated, logged or saved.

    What can be left out is as in `training.whole_training`.
    """
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": batch_size,
        "num_train_epochs": epochs,
        "learning_rate": learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": warmup_ratio,  # below 1: a share of all steps
        "weight_decay": weight_decay,
        "max_grad_norm": max_grad_norm,
        "optim": "paged_adamw_8bit" if device == "cuda" else "adamw_torch_fused",
        "bf16": _in_bfloat16(device),
        "use_cpu": device == "cpu",
        "gradient_checkpointing": False,
        "eval_strategy": "no",
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "seed": rng_seed,
    }


def train(model: Any, tokenizer: Any, rows: Any, arguments: dict[str, Any]) -> int:
    """Trainer with its collator that pads; the steps done."""
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    trainer = Trainer(
        model=model,
        args=TrainingArguments(**arguments),
        train_dataset=rows,
        data_collator=DataCollatorForSeq2Seq(tokenizer, padding=True),
    )
    return int(trainer.train().global_step)


def with_adapter(base: Any, adapter: Path) -> Any:
    """The base with a trained adapter, to write with."""
    from peft import PeftModel

    return PeftModel.from_pretrained(base, str(adapter)).eval()


def write(
    model: Any, tokenizer: Any, prompts: Sequence[str], max_new_tokens: int, *, ends: bool = True, samples: bool = True
) -> int:
    """The published evaluation; tokens written, a row's end token being its last.

    Without `ends` every row is written to its full length; without `samples` the likeliest token is taken.
    """
    import torch

    tokenizer.padding_side = "left"
    end = int(tokenizer.eos_token_id)
    how: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None}
    if samples:
        how = {"do_sample": True, "temperature": _TEMPERATURE, "top_p": _TOP_P}
    written = 0
    for start in range(0, len(prompts), EVALUATION_BATCH):
        batch = list(prompts[start : start + EVALUATION_BATCH])
        inputs = tokenizer(batch, return_tensors="pt", padding=True).to(model.device)
        with torch.inference_mode():
            ids = model.generate(
                **inputs,
                **how,
                max_new_tokens=max_new_tokens,
                eos_token_id=end if ends else None,
                pad_token_id=tokenizer.pad_token_id,
            )
        for row in ids[:, inputs["input_ids"].shape[1] :].tolist():
            written += row.index(end) + 1 if ends and end in row else len(row)
    return written
