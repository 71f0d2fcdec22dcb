"""The stages of LLM2LLM as its published code works (SqueezeAILab/LLM2LLM): a process each, which loads a model anew.

`python -m llm2llm_local.bench.reference STAGE TASK`, TASK being a JSON file of what is to be done. Training is
transformers' Trainer with a collator that pads; evaluation writes 100 sampled tokens to each prompt, 16 at once; the
teacher answers one request after another. Models, examples and numbers of steps are those that it is compared with.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import airgap

_BATCH_SIZE = 16
_SAMPLED_TOKENS = 100
_TEMPERATURE = 0.7
"""Of the published code's evaluation."""

_CONTEXT = 2048


@dataclass(frozen=True, slots=True)
class TrainTask:
    """`examples`: prompts with completions; `adapter`: the folder to write."""

    model: str
    examples: list[tuple[str, str]]
    epochs: int
    batch_size: int
    learning_rate: float
    lora_rank: int
    lora_alpha: int
    adapter: str


@dataclass(frozen=True, slots=True)
class EvaluateTask:
    model: str
    adapter: str
    prompts: list[str]


@dataclass(frozen=True, slots=True)
class TeachTask:
    """`prompts`: what to ask for in each request; `max_tokens` of each reply."""

    model: str
    prompts: list[str]
    temperature: float
    max_tokens: int
    threads: int


Task = TrainTask | EvaluateTask | TeachTask


def write_task(path: Path, task: Task) -> None:
    path.write_text(json.dumps(dataclasses.asdict(task)), encoding="utf-8")


def train(task: TrainTask) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    tokenizer, base = load_in_4_bits(task.model)
    model = get_peft_model(
        base,
        LoraConfig(r=task.lora_rank, lora_alpha=task.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    arguments = TrainingArguments(
        output_dir=task.adapter,
        num_train_epochs=task.epochs,
        per_device_train_batch_size=task.batch_size,
        learning_rate=task.learning_rate,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    rows: Any = [learnt_row(tokenizer, prompt, completion) for prompt, completion in task.examples]
    Trainer(model=model, args=arguments, train_dataset=rows, data_collator=DataCollatorForSeq2Seq(tokenizer)).train()
    model.save_pretrained(task.adapter)


def evaluate(task: EvaluateTask) -> None:
    import torch
    from peft import PeftModel

    tokenizer, base = load_in_4_bits(task.model)
    tokenizer.padding_side = "left"
    model: Any = PeftModel.from_pretrained(base, task.adapter).eval()
    for start in range(0, len(task.prompts), _BATCH_SIZE):
        prompts = tokenizer(task.prompts[start : start + _BATCH_SIZE], return_tensors="pt", padding=True)
        with torch.inference_mode():
            model.generate(
                **prompts.to(base.device),
                do_sample=True,
                temperature=_TEMPERATURE,
                max_new_tokens=_SAMPLED_TOKENS,
                pad_token_id=tokenizer.pad_token_id,
            )


def teach(task: TeachTask) -> None:
    from llama_cpp import Llama

    llama = Llama(task.model, n_ctx=_CONTEXT, n_threads=task.threads, n_gpu_layers=-1, verbose=False)
    for prompt in task.prompts:
        llama.create_chat_completion(
            [{"role": "user", "content": prompt}], temperature=task.temperature, max_tokens=task.max_tokens
        )


def load_in_4_bits(folder: str) -> tuple[Any, Any]:
    """Tokenizer and base model in 4 bits."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    has_gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if has_gpu else torch.float32
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    base = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        device_map={"": "cuda" if has_gpu else "cpu"},
        quantization_config=quantization,
        local_files_only=True,
    )
    for module in base.modules():
        # See student/base.py: bitsandbytes' kernel for CPUs with AVX512-BF16 has no gradient.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return tokenizer, base


def learnt_row(tokenizer: Any, prompt: str, completion: str) -> dict[str, Sequence[int]]:
    """As Trainer takes it: only the completion and the end token are learnt."""
    before = tokenizer(prompt)["input_ids"]
    after = [*tokenizer(completion, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    return {
        "input_ids": before + after,
        "attention_mask": [1] * (len(before) + len(after)),
        "labels": [-100] * len(before) + after,
    }


def main(stage: str, path: str) -> None:
    airgap.enforce()
    fields = json.loads(Path(path).read_text(encoding="utf-8"))
    match stage:
        case "train":
            train(TrainTask(**fields))
        case "evaluate":
            evaluate(EvaluateTask(**fields))
        case "teach":
            teach(TeachTask(**fields))


if __name__ == "__main__":
    main(*sys.argv[1:])
