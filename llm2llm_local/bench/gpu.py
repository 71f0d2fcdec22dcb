"""`bench gpu`: all that is to be known of a GPU in one call of under nine minutes.

Everything is measured one by one, so that memory in use is the contender's own. What the call has no time for any more
is told as that. Students are Llama-shaped, of random weights: how fast a training is, and how much memory it takes,
doesn't depend on what the weights say. With the device "cpu" the same code runs on tiny shapes.
"""

from __future__ import annotations

import dataclasses
import random
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from ..errors import Llm2LlmError
from ..records import Message, TeacherPrompt
from ..student.protocol import StudentSettings, TrainingExample, TrainingSegment
from ..teacher.plan import Device
from ..teacher.protocol import Sampling, TeacherRequest, TeacherSettings
from ..workers.memory import MemoryPlan, free_bytes
from ..workers.pool import WorkerPool
from . import transformers_way
from .plan import Comparison, Contender, Repeat, Work
from .training import whole_training

_GIB = 2**30
_LEARNT = " yes"
_WORDS = ("river", "library", "market", "bridge", "doctor", "letter", "garden", "winter", "engine", "captain")
_LORA_RANK, _LORA_ALPHA, _LORA_DROPOUT = 16, 32, 0.0
_LEARNING_RATE = 2e-4
_TERA = 1e12
_FLOP_PER_WEIGHT = 4
"""Of a token in a training with frozen weights: a multiplication and an addition forward, and as many for the gradient
of the activations; that of the weights is what LoRA does without. Attention and the adapter aside."""


@dataclass(frozen=True, slots=True)
class GpuCase:
    """A student's shape, in the words of transformers' LlamaConfig, and what it is trained on.

    `tokenizer`: a student's folder whose tokenizer is taken. `tokens`: of an example, about. `budget_gib`: of the GPU's
    memory, where a limit is looked for; `longest`: tokens at which that ends.
    """

    scratch: Path
    tokenizer: Path
    teacher: Path
    device: Device
    threads: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    feed_forward: int
    examples: int = 32
    batch_size: int = 8
    tokens: int = 256
    budget_gib: float = 24.0
    longest: int = 131_072
    matrix: int = 8_192
    rng_seed: int = 0


# --- students of random weights ---------------------------------------------------------------------------------------


def made_student(case: GpuCase) -> Path:
    """The folder of the student; written by whoever comes first."""
    folder = case.scratch / f"llama-{case.hidden}-{case.layers}"
    if folder.exists():
        return folder
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(case.tokenizer, local_files_only=True)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=case.hidden,
        intermediate_size=case.feed_forward,
        num_hidden_layers=case.layers,
        num_attention_heads=case.heads,
        num_key_value_heads=case.kv_heads,
        max_position_embeddings=case.longest,
        tie_word_embeddings=False,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(case.rng_seed)
    with torch.device(case.device):
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    partial = folder.with_name(f"{folder.name}.part")
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    partial.rename(folder)
    return folder


def _settings(case: GpuCase) -> StudentSettings:
    return StudentSettings(
        model=made_student(case),
        quantization="nf4",
        lora_rank=_LORA_RANK,
        lora_alpha=_LORA_ALPHA,
        lora_dropout=_LORA_DROPOUT,
        max_length=case.longest,
        device=case.device,
        threads=case.threads,
    )


def _examples(case: GpuCase) -> tuple[TrainingExample, ...]:
    """Of uneven lengths, as people's are: half to one and a half times `tokens`."""
    rng = random.Random(case.rng_seed)
    lengths = [max(1, round(case.tokens * rng.uniform(0.5, 1.5))) for _ in range(case.examples)]
    return tuple(TrainingExample(" ".join(rng.choices(_WORDS, k=n)), _LEARNT) for n in lengths)


def _segment(case: GpuCase, examples: tuple[TrainingExample, ...], output: Path) -> TrainingSegment:
    return whole_training(
        examples,
        output,
        epochs=1,
        batch_size=case.batch_size,
        learning_rate=_LEARNING_RATE,
        rng_seed=case.rng_seed,
    )


def _flop(case: GpuCase, vocabulary: int, tokens: int) -> float:
    """TFLOP of training on so many tokens; the vocabulary's projection counts at every token, as Trainer does it."""
    head = case.hidden // case.heads
    attention = case.hidden * head * (2 * case.heads + 2 * case.kv_heads)
    weights = case.layers * (attention + 3 * case.hidden * case.feed_forward) + vocabulary * case.hidden
    return _FLOP_PER_WEIGHT * weights * tokens / _TERA


# --- training ---------------------------------------------------------------------------------------------------------


def training(case: GpuCase) -> Repeat:
    """Ours, an epoch of the examples."""
    from transformers import AutoTokenizer

    from ..student.lora import LoraStudent

    student, examples, numbers = LoraStudent(_settings(case)), _examples(case), count()
    vocabulary = len(AutoTokenizer.from_pretrained(case.tokenizer, local_files_only=True))

    def repeat() -> Mapping[str, float]:
        output = case.scratch / f"adapter-{next(numbers)}"
        tokens = student.train(_segment(case, examples, output), lambda *_: None).tokens
        shutil.rmtree(output)
        return {"tokens": tokens, "TFLOP": _flop(case, vocabulary, tokens)}

    return repeat


def trainer(case: GpuCase) -> Repeat:
    """transformers' Trainer with its padding collator, on the same examples in batches of the same size."""
    tokenizer, base = transformers_way.load_in_4_bits(made_student(case), case.device, case.threads)
    model = transformers_way.with_lora(
        base, rank=_LORA_RANK, alpha=_LORA_ALPHA, dropout=_LORA_DROPOUT, rng_seed=case.rng_seed
    )
    rows = transformers_way.learnt_rows(tokenizer, [(one.prompt, one.completion) for one in _examples(case)])
    tokens = sum(len(row["input_ids"]) for row in rows)
    arguments = transformers_way.training_arguments(
        case.scratch / "trainer",
        case.device,
        batch_size=case.batch_size,
        epochs=1,
        learning_rate=_LEARNING_RATE,
        rng_seed=case.rng_seed,
    )

    def repeat() -> Mapping[str, float]:
        transformers_way.train(model, tokenizer, rows, arguments)
        return {"tokens": tokens, "TFLOP": _flop(case, len(tokenizer), tokens)}

    return repeat


def matrix_product(case: GpuCase) -> Repeat:
    """The most that this device multiplies: square matrices in bfloat16. Ours to it is the share of the peak."""
    import torch

    left, right = (torch.randn(case.matrix, case.matrix, device=case.device, dtype=torch.bfloat16) for _ in range(2))
    times = 20

    def repeat() -> Mapping[str, float]:
        for _ in range(times):
            torch.matmul(left, right)
        if case.device == "cuda":
            torch.cuda.synchronize()
        return {"TFLOP": times * 2 * case.matrix**3 / _TERA}

    return repeat


def largest_context(case: GpuCase) -> Repeat:
    """The longest single example, doubling, with which a step is done within the memory budget."""
    import torch

    from ..student.lora import LoraStudent

    if case.device == "cuda":
        share = case.budget_gib * _GIB / torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, share))
    student, numbers = LoraStudent(_settings(case)), count()

    def fits(tokens: int) -> int:
        """Tokens trained; 0 when they don't fit."""
        example = TrainingExample(" ".join(_WORDS[n % len(_WORDS)] for n in range(tokens)), _LEARNT)
        output = case.scratch / f"context-{next(numbers)}"
        try:
            trained = student.train(_segment(case, (example,), output), lambda *_: None).tokens
        except Llm2LlmError:  # that of memory that has run out, or a text longer than the student takes
            return 0
        shutil.rmtree(output)
        return trained

    def repeat() -> Mapping[str, float]:
        largest, tokens = 0, case.tokens
        while found := fits(tokens):
            largest, tokens = found, 2 * tokens
        if not largest:
            raise Llm2LlmError(f"{case.tokens} tokens don't fit into {case.budget_gib} GiB")
        return {"context tokens": largest}

    return repeat


# --- one device -------------------------------------------------------------------------------------------------------


def hand_over(case: GpuCase) -> Repeat:
    """From the teacher's last token to the student's first step, and what the workers leave behind when they end."""
    settings, numbers = _settings(case), count()
    plan = MemoryPlan(case.device, 0, 0, free_bytes(case.device), keeps_both=False)

    def repeat() -> Work:
        number = next(numbers)
        before = free_bytes(case.device)
        logs, output = case.scratch / f"logs-{number}", case.scratch / f"handed-{number}"
        with WorkerPool(
            _teacher_settings(case), settings, plan, logs, float("inf"), 0, lambda *_: None, lambda: None
        ) as pool:
            pool.teacher.generate([_request()], lambda *_: None)
            replied = time.perf_counter()
            steps: list[float] = []
            examples = _examples(case)[: case.batch_size]
            pool.student.train(_segment(case, examples, output), lambda *_: steps.append(time.perf_counter()))
        left = max(0, before - free_bytes(case.device))
        return Work({"hand-overs": 1}, {"last token to first step": steps[0] - replied}, {"MiB left": left / 2**20})

    return repeat


def _teacher_settings(case: GpuCase) -> TeacherSettings:
    return TeacherSettings(
        model=case.teacher,
        context_length=512,
        threads=case.threads,
        gpu_layers=-1 if case.device == "cuda" else 0,
        n_parallel=1,
        n_batch=512,
        kv_bytes=_GIB,
        kv_type="f16",
        flash_attention="auto",
    )


def _request() -> TeacherRequest:
    prompt = TeacherPrompt((Message("user", "Write a story."),), "", ())
    return TeacherRequest(prompt, Sampling(0.0, 1.0, 0.0), None, 0, 16)


# --- all of it --------------------------------------------------------------------------------------------------------

_SHAPES = {
    "1B": {"hidden": 2048, "layers": 16, "heads": 32, "kv_heads": 8, "feed_forward": 8192},
    "8B": {"hidden": 4096, "layers": 32, "heads": 32, "kv_heads": 8, "feed_forward": 14336},
}
"""Those of Llama 3.2 1B and Llama 3.1 8B, but for the vocabulary, which is the tokenizer's."""


def parts(scratch: Path, teacher: Path, tokenizer: Path, device: Device, threads: int) -> list[Comparison]:
    """The most wanted first, since the time may be over before the last."""
    from .teacher import parts as teacher_parts

    cases = {name: GpuCase(scratch, tokenizer, teacher, device, threads, **shape) for name, shape in _SHAPES.items()}
    requests = [one for one in teacher_parts(teacher, threads, -1) if isinstance(one, Comparison)]
    return [
        *(dataclasses.replace(one, repeats=3) for one in requests),
        _training("1B", cases["1B"]),
        _alone("hand-over to an 8B student", cases["8B"], Contender("hand-over", hand_over), "hand-overs", repeats=2),
        _training("8B", cases["8B"]),
        _alone(
            "largest context in training", cases["1B"], Contender("largest context", largest_context), "context tokens"
        ),
    ]


def _training(name: str, case: GpuCase) -> Comparison:
    return Comparison(
        f"training a {name} student",
        case,
        (Contender("training", training), Contender("Trainer", trainer), Contender("matrix product", matrix_product)),
        measure="TFLOP",
        order="one by one",
        repeats=3,
        note="TFLOP as if every token were projected onto the vocabulary; ours to the matrix product is the share",
    )


def _alone(title: str, case: GpuCase, contender: Contender, measure: str, repeats: int = 1) -> Comparison:
    return Comparison(title, case, (contender,), measure, "one by one", repeats=repeats, warm_ups=0)
