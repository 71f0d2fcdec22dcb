"""`bench student`, prediction: our answers to test questions, and those of `generate` as the reference evaluates.

What the reference's way costs depends on how well an adapter has learnt to end; `generate_16_all_tokens` is what it
costs when one row of each batch doesn't. All contenders share an adapter that our engine trains first, in a process of
its own.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ..datasets.reader import read_rows
from ..errors import DataError
from ..records import FinishReason
from ..student.precision import find_compute_dtype
from ..student.protocol import PredictionBatch, StudentSettings, TrainingExample
from ..tasks.base import PromptBuilder
from ..tasks.classification import label_set
from ..teacher.plan import Device
from . import transformers_way
from .plan import Comparison, Contender, Repeat, Series
from .training import whole_training

_PROMPTS = PromptBuilder("Question", "Answer")
_TRAINING_BATCH = 8
_LORA_RANK, _LORA_ALPHA, _LORA_DROPOUT = 16, 32, 0.05


@dataclass(frozen=True, slots=True)
class PredictionCase:
    """`data`: a folder with train.jsonl and test.jsonl, or None for problems that are made up, whose solutions have
    one to eight lines. `rows`: test questions, at most; `training_rows` and `epochs`: what the adapter is taught.
    `unit`: prompts in a unit of work. `scratch`: where the adapter lies.
    """

    student: Path
    data: Path | None
    scratch: Path
    rows: int
    training_rows: int
    epochs: int
    unit: int
    max_new_tokens: int
    device: Device
    threads: int
    rng_seed: int = 0


@dataclass(frozen=True, slots=True)
class _Material:
    training: tuple[TrainingExample, ...]
    prompts: tuple[str, ...]


# --- ours -------------------------------------------------------------------------------------------------------------


def scored(case: PredictionCase) -> Repeat:
    """The likelihood of every label."""
    return _ours(case, tuple(_PROMPTS.completion(label) for label in _labels(case)))


def refilled(case: PredictionCase) -> Repeat:
    """Written greedily, rows leaving and joining the batch."""
    return _ours(case, ())


def _ours(case: PredictionCase, completions: tuple[str, ...]) -> Repeat:
    from ..student.lora import LoraStudent

    adapter, prompts = _adapter(case), _material(case).prompts
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
    return _generate(case, ends=True, samples=True)


def generate_16_all_tokens(case: PredictionCase) -> Repeat:
    """Sampled, 16 rows at once, always as many tokens as there may be."""
    return _generate(case, ends=False, samples=True)


def generate_16_greedy(case: PredictionCase) -> Repeat:
    """As `generate_16`, but the likeliest token each time, which writes the answers that ours writes.

    But for rounding, where both compute in bfloat16.
    """
    return _generate(case, ends=True, samples=False)


def _generate(case: PredictionCase, *, ends: bool, samples: bool) -> Repeat:
    import torch

    prompts = _material(case).prompts
    tokenizer, base = transformers_way.load_in_4_bits(case.student, case.device, case.threads)
    model = transformers_way.with_adapter(base, _adapter(case))

    def repeat() -> Mapping[str, float]:
        torch.manual_seed(case.rng_seed)
        written = transformers_way.write(model, tokenizer, prompts, case.max_new_tokens, ends=ends, samples=samples)
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
    )


def check_labels(parts: Sequence[Comparison | Series]) -> None:
    """Before anything is measured. Raises DataError where answers are to be chosen from labels and the data has
    none: what doesn't choose from labels takes any task's data.
    """
    for part in parts:
        if isinstance(part, Comparison) and any(one.prepare is scored for one in part.contenders):
            _labels(part.case)


def _labels(case: PredictionCase) -> tuple[str, ...]:
    """Of all training rows: those that the adapter is taught may be of one label alone, as where a file is sorted."""
    assert case.data is not None  # problems that are made up have solutions
    file = case.data / "train.jsonl"
    try:
        return label_set((), read_rows(file, "question", "answer"))
    except DataError as error:
        raise DataError(
            error.message,
            "Answers from labels need a classification task; without them: --against trainer --against sft_trainer",
        ) from None


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
        compute_dtype=find_compute_dtype("auto", case.device),
        lora_rank=_LORA_RANK,
        lora_alpha=_LORA_ALPHA,
        lora_dropout=_LORA_DROPOUT,
        max_length=1024,
        device=case.device,
        threads=case.threads,
    )


def _adapter(case: PredictionCase) -> Path:
    return case.scratch / "adapter"


def train_adapter(case: PredictionCase) -> None:
    """What all contenders predict with. Before them, so that no process of theirs has held a training."""
    from ..student.lora import LoraStudent

    segment = whole_training(
        _material(case).training,
        _adapter(case),
        epochs=case.epochs,
        batch_size=_TRAINING_BATCH,
        learning_rate=1e-3,
        rng_seed=case.rng_seed,
    )
    LoraStudent(_settings(case)).train(segment, lambda *_: None)


def comparisons(
    student: Path, data: Path | None, scratch: Path, device: Device, threads: int, repeats: int = 5
) -> list[Comparison]:
    """`data`: a folder with train.jsonl and test.jsonl of a classification task; None: the bundled demo.

    Alternatives of the two have different names, so that one of the comparisons can be asked for alone.
    """
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
            before=train_adapter,
            note="generate_16 is how the published code evaluates: sampled, until all 16 rows of a batch have ended",
        ),
        Comparison(
            "the student's written answers, of uneven lengths",
            problems,
            (
                Contender("refilled", refilled),
                Contender("write_16", generate_16),
                Contender("write_16_greedy", generate_16_greedy),
            ),
            measure="rows",
            repeats=repeats,
            before=train_adapter,
            note="write_16 is generate_16 for these; the number of tokens differs where answers are sampled",
        ),
    ]
