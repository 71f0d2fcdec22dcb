"""`bench student`, prediction: our answers to test questions, and those of `generate` as the reference evaluates.

The published LLM2LLM code (SqueezeAILab/LLM2LLM, eval.py) pads 16 prompts on the left, in the order of the file, and
lets transformers sample (temperature 0.7, top-p 0.9) until every row has met the end token or has 100 tokens. That
depends on how well an adapter has learnt to end; `generate_16_all_tokens` is what it costs when one row of each batch
doesn't. All contenders share an adapter that our engine trains first, in a process of its own.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ..datasets.reader import read_rows
from ..records import FinishReason
from ..student.batching import total_steps
from ..student.protocol import PredictionBatch, StudentSettings, TrainingExample, TrainingSegment
from ..tasks.base import PromptBuilder
from ..workers.process import WorkerProcess
from .plan import Comparison, Contender, Repeat

_PROMPTS = PromptBuilder("Question", "Answer")
_BATCH_SIZE = 16
_TEMPERATURE, _TOP_P = 0.7, 0.9
_LORA_RANK, _LORA_ALPHA, _LORA_DROPOUT = 16, 32, 0.05


@dataclass(frozen=True, slots=True)
class PredictionCase:
    """`data`: a folder with train.jsonl and test.jsonl, or None for problems that are made up, whose solutions have
    one to eight lines. `rows`: test questions, at most; `training_rows` and `epochs`: what the adapter is taught.
    `unit`: prompts in a unit of work. `scratch`: where the adapter lies, made by whoever comes first.
    """

    student: Path
    data: Path | None
    scratch: Path
    rows: int
    training_rows: int
    epochs: int
    unit: int
    max_new_tokens: int
    device: str
    threads: int
    rng_seed: int = 0


@dataclass(frozen=True, slots=True)
class _Material:
    training: tuple[TrainingExample, ...]
    prompts: tuple[str, ...]
    completions: tuple[str, ...]


# --- ours -------------------------------------------------------------------------------------------------------------


def scored(case: PredictionCase) -> Repeat:
    """The likelihood of every label."""
    return _ours(case, _material(case).completions)


def refilled(case: PredictionCase) -> Repeat:
    """Written greedily, rows leaving and joining the batch."""
    return _ours(case, ())


def _ours(case: PredictionCase, completions: tuple[str, ...]) -> Repeat:
    from ..student.lora import LoraStudent

    adapter, prompts = _trained_adapter(case), _material(case).prompts
    student = LoraStudent(_settings(case))
    units = [
        PredictionBatch(adapter, tuple(unit), completions, case.max_new_tokens)
        for unit in _cut(sorted(prompts, key=len), case.unit)
    ]

    def repeat() -> Mapping[str, float]:
        answers = [answer for unit in units for answer in student.predict(unit, lambda *_: None)]
        written = sum(
            answer.reply.output_tokens + (answer.reply.finish_reason is FinishReason.STOP) for answer in answers
        )
        return {"rows": len(answers)} | ({"tokens": written} if written else {})

    return repeat


# --- the reference's way ----------------------------------------------------------------------------------------------


def generate_16(case: PredictionCase) -> Repeat:
    """Sampled, 16 rows at once, until all of them have ended."""
    return _generate(case, stops=True, samples=True)


def generate_16_all_tokens(case: PredictionCase) -> Repeat:
    """Sampled, 16 rows at once, always as many tokens as there may be."""
    return _generate(case, stops=False, samples=True)


def generate_16_greedy(case: PredictionCase) -> Repeat:
    """As `generate_16`, but the likeliest token each time, which writes the answers that ours writes."""
    return _generate(case, stops=True, samples=False)


def _generate(case: PredictionCase, *, stops: bool, samples: bool) -> Repeat:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    adapter, prompts = _trained_adapter(case), _material(case).prompts
    torch.set_num_threads(case.threads)
    tokenizer = AutoTokenizer.from_pretrained(case.student, padding_side="left", local_files_only=True)
    end = int(tokenizer.eos_token_id)
    dtype = torch.bfloat16 if case.device == "cuda" else torch.float32
    base = AutoModelForCausalLM.from_pretrained(
        case.student,
        dtype=dtype,
        device_map={"": case.device},
        local_files_only=True,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
        ),
    )
    model: Any = PeftModel.from_pretrained(base, adapter).eval()
    how: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None}
    if samples:
        how = {"do_sample": True, "temperature": _TEMPERATURE, "top_p": _TOP_P}

    def repeat() -> Mapping[str, float]:
        torch.manual_seed(case.rng_seed)
        written = 0
        for batch in _cut(prompts, _BATCH_SIZE):
            inputs = tokenizer(batch, return_tensors="pt", padding=True).to(case.device)
            with torch.inference_mode():
                ids = model.generate(
                    **inputs,
                    **how,
                    max_new_tokens=case.max_new_tokens,
                    eos_token_id=end if stops else None,
                    pad_token_id=tokenizer.pad_token_id or end,
                )
            for row in ids[:, inputs["input_ids"].shape[1] :].tolist():
                written += row.index(end) + 1 if stops and end in row else len(row)
        return {"rows": len(prompts), "tokens": written}

    return repeat


# --- what is predicted, and with what ---------------------------------------------------------------------------------


def _material(case: PredictionCase) -> _Material:
    if case.data is None:
        training = worked_problems(case.training_rows, case.rng_seed)
        test = worked_problems(case.rows, case.rng_seed + 1)
    else:
        training, test = (
            [(row.question, row.answer) for row in read_rows(case.data / name, "question", "answer")][:most]
            for name, most in (("train.jsonl", case.training_rows), ("test.jsonl", case.rows))
        )
    return _Material(
        tuple(TrainingExample(_PROMPTS.prompt(question), _PROMPTS.completion(answer)) for question, answer in training),
        tuple(_PROMPTS.prompt(question) for question, _ in test),
        tuple(_PROMPTS.completion(answer) for answer in sorted({answer for _, answer in training})),
    )


def worked_problems(n: int, rng_seed: int) -> list[tuple[str, str]]:
    """Questions with solutions of one to eight lines, about as uneven in length as those of GSM8K."""
    rng = random.Random(rng_seed)
    problems = []
    for _ in range(n):
        name, thing = rng.choice(_NAMES), rng.choice(_THINGS)
        total = rng.randint(2, 20)
        told, lines = [f"{name} has {total} {thing}."], []
        for _ in range(min(rng.randint(1, 8), rng.randint(1, 8))):
            more = rng.randint(1, 9)
            told.append(f"Then {name} {rng.choice(_GETS)} {more} more.")
            lines.append(f"{name} now has {total} + {more} = <<{total}+{more}={total + more}>>{total + more} {thing}.")
            total += more
        question = " ".join([*told, f"How many {thing} does {name} have now?"])
        problems.append((question, "\n".join([*lines, f"#### {total}"])))
    return problems


_NAMES = ("Mira", "Tomas", "Aylin", "Jonas", "Ines", "Pavel")
_THINGS = ("stamps", "shells", "pencils", "apples", "marbles")
_GETS = ("finds", "buys", "is given", "wins")


def _cut(prompts: Sequence[str], size: int) -> list[list[str]]:
    return [list(prompts[start : start + size]) for start in range(0, len(prompts), size)]


def _settings(case: PredictionCase) -> StudentSettings:
    return StudentSettings(
        model=case.student,
        quantization="nf4",
        lora_rank=_LORA_RANK,
        lora_alpha=_LORA_ALPHA,
        lora_dropout=_LORA_DROPOUT,
        max_length=1024,
        device="cuda" if case.device == "cuda" else "cpu",
        threads=case.threads,
    )


def _trained_adapter(case: PredictionCase) -> Path:
    """Of case.scratch; trained in a worker, so that the contender's process holds nothing of it."""
    adapter = case.scratch / "adapter"
    if adapter.exists():
        return adapter
    examples = _material(case).training
    steps = total_steps(len(examples), 8, case.epochs)
    segment = TrainingSegment(
        examples=examples,
        epochs=case.epochs,
        batch_size=8,
        micro_batch_size=8,
        learning_rate=1e-3,
        warmup_ratio=0.1,
        weight_decay=0.0,
        max_grad_norm=1.0,
        rng_seed=case.rng_seed,
        start_step=0,
        stop_step=steps,
        total_steps=steps,
        start_adapter=None,
        checkpoint=None,
        output=adapter,
    )
    worker = WorkerProcess("student", case.scratch / "training.log", float("inf"), lambda: None)
    try:
        worker.load(_settings(case))
        worker.call("train", segment)
    finally:
        worker.stop()
    return adapter


def comparisons(
    student: Path, data: Path | None, scratch: Path, device: str, threads: int, repeats: int = 5
) -> list[Comparison]:
    """`data`: a folder with train.jsonl and test.jsonl of a classification task; None: the bundled demo."""
    demo = Path(str(resources.files("llm2llm_local.demo")))
    labels = PredictionCase(student, data or demo, scratch / "labels", 500, 60, 10, 64, 100, device, threads)
    problems = PredictionCase(student, None, scratch / "problems", 64, 64, 3, 64, 200, device, threads)
    return [
        Comparison(
            "the student's answers from a set of labels",
            labels,
            (
                Contender("scored", scored),
                Contender("generate_16", generate_16),
                Contender("generate_16_all_tokens", generate_16_all_tokens),
            ),
            measure="rows",
            repeats=repeats,
            note="generate_16 is how the published code evaluates: sampled, until all 16 rows of a batch have ended",
        ),
        Comparison(
            "the student's written answers, of uneven lengths",
            problems,
            (
                Contender("refilled", refilled),
                Contender("generate_16", generate_16),
                Contender("generate_16_greedy", generate_16_greedy),
            ),
            measure="rows",
            repeats=repeats,
            note="the number of tokens differs where answers are sampled",
        ),
    ]
