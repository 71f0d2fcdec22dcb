"""Training: ours against transformers' Trainer, and both against what the device multiplies at most."""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from ...student.protocol import TrainingExample, TrainingSegment
from .. import transformers_way
from ..plan import Repeat, Work
from ..training import whole_training
from .matrix_peak import matrix_peak
from .student import StudentCase

LEARNT = " yes"
"""The completion of every example."""

DISTANCE = "largest difference of a weight"
PEAK_SHARE, PEAK = "% of peak", "peak TFLOP/s"

_WORDS = ("river", "library", "market", "bridge", "doctor", "letter", "garden", "winter", "engine", "captain")
_LEARNING_RATE = 2e-4
_TERA = 1e12
_FLOP_PER_WEIGHT = 4
"""Of a token in a training with frozen weights: a multiplication and an addition forward, and as many for the gradient
of the activations; that of the weights is what LoRA does without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCase(StudentCase):
    """One epoch over `examples` of about so many `tokens` each. `matrix`: side of the matrices that the peak is
    measured with."""

    examples: int = 64
    batch_size: int = 8
    tokens: int = 256
    matrix: int = 8_192


def ours(case: TrainingCase) -> Repeat:
    """This tool's student."""
    from ...student.lora import LoraStudent

    student, examples, numbers = (
        LoraStudent(case.settings()),
        some_examples(case.examples, case.tokens, case.rng_seed),
        count(),
    )
    learnt = _learnt_tokens(case)
    peak = matrix_peak(case.device, case.matrix)

    def repeat() -> Work:
        output = case.scratch / f"adapter-{next(numbers)}"
        started = time.perf_counter()
        done = student.train(segment(case, examples, case.batch_size, output), lambda *_: None)
        seconds = time.perf_counter() - started
        shutil.rmtree(output)
        # Each time memory runs out, it goes on with less of it, and slower.
        return _told(case, done.tokens, learnt, seconds, peak, times_short=len(done.notes))

    return repeat


def trainer(case: TrainingCase) -> Repeat:
    """transformers' Trainer with its padding collator, on the same examples in batches of the same size."""
    tokenizer, base = transformers_way.load_in_4_bits(case.folder, case.device, case.threads)
    settings = case.settings()
    model = transformers_way.with_lora(
        base,
        rank=settings.lora_rank,
        alpha=settings.lora_alpha,
        dropout=settings.lora_dropout,
        rng_seed=case.rng_seed,
    )
    examples = some_examples(case.examples, case.tokens, case.rng_seed)
    rows = transformers_way.learnt_rows(tokenizer, [(one.prompt, one.completion) for one in examples])
    tokens = sum(len(row["input_ids"]) for row in rows)
    learnt = _learnt_tokens(case)
    arguments = transformers_way.training_arguments(
        case.scratch / "trainer",
        case.device,
        batch_size=case.batch_size,
        epochs=1,
        learning_rate=_LEARNING_RATE,
        rng_seed=case.rng_seed,
    )
    peak = matrix_peak(case.device, case.matrix)

    def repeat() -> Work:
        started = time.perf_counter()
        transformers_way.train(model, tokenizer, rows, arguments)
        return _told(case, tokens, learnt, time.perf_counter() - started, peak, times_short=0)

    return repeat


def in_two_segments(case: TrainingCase) -> Repeat:
    """A training that is interrupted half way, and the same in one."""
    from safetensors.torch import load_file

    from ...student.checkpoint import ADAPTER_WEIGHTS
    from ...student.lora import LoraStudent

    examples, numbers = some_examples(case.examples, case.tokens, case.rng_seed), count()
    student = LoraStudent(case.settings())

    def repeat() -> Work:
        folder = case.scratch / f"segments-{next(numbers)}"
        folder.mkdir()
        whole = segment(case, examples, case.batch_size, folder / "whole")
        half = whole.total_steps // 2
        first = replace(whole, stop_step=half, output=folder / "first")
        second = replace(whole, start_step=half, checkpoint=first.output, output=folder / "second")
        for one in (whole, first):
            student.train(one, lambda *_: None)
        # One that has trained the first goes on from its memory.
        LoraStudent(case.settings()).train(second, lambda *_: None)
        one, other = (load_file(each.output / ADAPTER_WEIGHTS) for each in (whole, second))
        distance = max(float((one[name].float() - other[name].float()).abs().max()) for name in one)
        shutil.rmtree(folder)
        return Work({"trainings": 2}, figures={DISTANCE: distance})

    return repeat


def some_examples(n: int, tokens: int, rng_seed: int) -> tuple[TrainingExample, ...]:
    """Of uneven lengths, as people's are: half to one and a half times `tokens` words, which are about a token each."""
    rng = random.Random(rng_seed)
    lengths = [max(1, round(tokens * rng.uniform(0.5, 1.5))) for _ in range(n)]
    return tuple(TrainingExample(" ".join(rng.choices(_WORDS, k=n_words)), LEARNT) for n_words in lengths)


def segment(case: StudentCase, examples: tuple[TrainingExample, ...], batch_size: int, output: Path) -> TrainingSegment:
    """An epoch over the examples."""
    return whole_training(
        examples, output, epochs=1, batch_size=batch_size, learning_rate=_LEARNING_RATE, rng_seed=case.rng_seed
    )


def tera_flop(case: StudentCase, tokens: int, learnt: int) -> float:
    """That a training on so many tokens can't do without; the vocabulary is projected onto where a token is learnt."""
    head = case.hidden // case.heads
    attention = case.hidden * head * (2 * case.heads + 2 * case.kv_heads)
    body = case.layers * (attention + 3 * case.hidden * case.feed_forward)
    return _FLOP_PER_WEIGHT * (body * tokens + case.vocabulary * case.hidden * learnt) / _TERA


def _learnt_tokens(case: TrainingCase) -> int:
    """Of all examples, the end token of each being one."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(case.folder, local_files_only=True)
    return case.examples * (len(tokenizer(LEARNT, add_special_tokens=False)["input_ids"]) + 1)


def _told(case: TrainingCase, tokens: int, learnt: int, seconds: float, peak: float, times_short: int) -> Work:
    """`peak` in TFLOP/s."""
    flop = tera_flop(case, tokens, learnt)
    found = {PEAK_SHARE: 100 * flop / seconds / peak, PEAK: peak, "times out of memory": times_short}
    return Work({"tokens": tokens, "TFLOP": flop}, figures=found)
