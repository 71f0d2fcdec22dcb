"""The stages of LLM2LLM as its published code works (SqueezeAILab/LLM2LLM): a process each, which loads a model anew.

`python -m llm2llm_local.bench.reference STAGE TASK`, TASK being a JSON file of what is to be done. Training is
transformers' Trainer with a collator that pads; evaluation samples up to 100 tokens to each prompt, 16 at once; the
teacher answers one request after another. Models, examples, hyperparameters and requests are those that it is compared
with. What a stage did is its result, a JSON file: counts, and the seconds of the work itself, without loading.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import airgap
from ..teacher.plan import Device
from . import transformers_way
from .plan import ALL_LAYERS

_SAMPLED_TOKENS = 100
"""Of the published code's evaluation."""

_CONTEXT = 2048


@dataclass(frozen=True, slots=True)
class TrainTask:
    """`examples`: prompts with completions; `adapter`: the folder to write."""

    model: str
    device: Device
    threads: int
    examples: list[tuple[str, str]]
    epochs: int
    batch_size: int
    learning_rate: float
    lora_rank: int
    lora_alpha: int
    lora_dropout: float
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    rng_seed: int
    adapter: str


@dataclass(frozen=True, slots=True)
class EvaluateTask:
    model: str
    device: Device
    threads: int
    adapter: str
    prompts: list[str]


@dataclass(frozen=True, slots=True)
class TeachRequest:
    """`text`: a message to the assistant; with `is_completion` a text to continue. `stop`: where the reply is cut."""

    text: str
    is_completion: bool
    stop: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TeachTask:
    """`max_tokens` of each reply."""

    model: str
    device: Device
    threads: int
    requests: list[TeachRequest]
    temperature: float
    top_p: float
    min_p: float
    max_tokens: int


Task = TrainTask | EvaluateTask | TeachTask


@dataclass(frozen=True, slots=True)
class Done:
    """What a stage did, by what it is counted in, and the seconds of its work after it had loaded its model."""

    counts: dict[str, float]
    seconds: float


def write_task(path: Path, task: Task) -> None:
    path.write_text(json.dumps(dataclasses.asdict(task)), encoding="utf-8")


def read_done(path: Path) -> Done:
    """What the stage of the task in that file did."""
    return Done(**json.loads(_result_path(path).read_text(encoding="utf-8")))


def _result_path(task: Path) -> Path:
    return task.with_suffix(".done.json")


def train(task: TrainTask) -> Done:
    tokenizer, base = transformers_way.load_in_4_bits(Path(task.model), task.device, task.threads)
    model = transformers_way.with_lora(
        base, rank=task.lora_rank, alpha=task.lora_alpha, dropout=task.lora_dropout, rng_seed=task.rng_seed
    )
    arguments = transformers_way.training_arguments(
        Path(task.adapter),
        task.device,
        batch_size=task.batch_size,
        epochs=task.epochs,
        learning_rate=task.learning_rate,
        warmup_ratio=task.warmup_ratio,
        weight_decay=task.weight_decay,
        max_grad_norm=task.max_grad_norm,
        rng_seed=task.rng_seed,
    )
    started = time.perf_counter()
    rows = transformers_way.learnt_rows(tokenizer, task.examples)
    transformers_way.train(model, tokenizer, rows, arguments)
    model.save_pretrained(task.adapter)
    return Done({"trained": len(rows)}, time.perf_counter() - started)


def evaluate(task: EvaluateTask) -> Done:
    tokenizer, base = transformers_way.load_in_4_bits(Path(task.model), task.device, task.threads)
    model = transformers_way.with_adapter(base, Path(task.adapter))
    started = time.perf_counter()
    transformers_way.write(model, tokenizer, task.prompts, _SAMPLED_TOKENS)
    return Done({"evaluated": len(task.prompts)}, time.perf_counter() - started)


def teach(task: TeachTask) -> Done:
    from llama_cpp import Llama

    llama = Llama(
        task.model,
        n_ctx=_CONTEXT,
        n_threads=task.threads,
        n_threads_batch=task.threads,
        n_gpu_layers=ALL_LAYERS if task.device == "cuda" else 0,
        flash_attn=task.device == "cuda",  # the faster way
        verbose=False,
    )
    how: dict[str, Any] = {
        "temperature": task.temperature,
        "top_p": task.top_p,
        "min_p": task.min_p,
        "max_tokens": task.max_tokens,
    }
    started, written = time.perf_counter(), 0
    for request in task.requests:
        if request.is_completion:
            reply: Any = llama.create_completion(request.text, stop=list(request.stop), **how)
        else:
            messages: Any = [{"role": "user", "content": request.text}]
            reply = llama.create_chat_completion(messages, stop=list(request.stop), **how)
        written += reply["usage"]["completion_tokens"]
    return Done({"requests": len(task.requests), "reply tokens": written}, time.perf_counter() - started)


def main(stage: str, path: str) -> None:
    airgap.enforce()
    fields = json.loads(Path(path).read_text(encoding="utf-8"))
    match stage:
        case "train":
            done = train(TrainTask(**fields))
        case "evaluate":
            done = evaluate(EvaluateTask(**fields))
        case "teach":
            requests = [TeachRequest(**one) for one in fields.pop("requests")]
            done = teach(TeachTask(requests=requests, **fields))
        case _:
            raise ValueError(f"no stage of the reference: {stage}")
    _result_path(Path(path)).write_text(json.dumps(dataclasses.asdict(done)), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
