"""`bench gpu`: all that is to be known of a GPU in one call of under nine minutes.

Everything is measured one by one, so that memory in use is the contender's own. What the call has no time for any more
is told as that. Students are Llama-shaped, of random weights: how fast a training is, and how much memory it takes,
doesn't depend on what the weights say. With the device "cpu" the same code runs on tiny shapes.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ...teacher.plan import Device
from ..plan import ALL_LAYERS, Comparison, Contender
from ..teacher import parts as teacher_parts
from .context import ContextCase, largest_context
from .hand_over import HandOverCase, handed_over
from .student import made_student
from .training import TrainingCase, in_two_segments, ours, trainer

_SHAPES: dict[str, dict[str, Any]] = {
    "1B": {"hidden": 2048, "layers": 16, "heads": 32, "kv_heads": 8, "feed_forward": 8192},
    "8B": {"hidden": 4096, "layers": 32, "heads": 32, "kv_heads": 8, "feed_forward": 14336},
}
"""Those of Llama 3.2 1B and Llama 3.1 8B, whose vocabulary is the case's own. (The former's output shares its matrix
with the embeddings; here it is one of its own.)"""


def parts(scratch: Path, teacher: Path, tokenizer: Path, device: Device, threads: int) -> list[Comparison]:
    """The most wanted first, since the time may be over before the last; what needs the larger student, together."""
    shared: dict[str, Any] = {"scratch": scratch, "tokenizer": tokenizer, "device": device, "threads": threads}
    requests = [one for one in teacher_parts(teacher, threads, ALL_LAYERS) if isinstance(one, Comparison)]
    return [
        *(dataclasses.replace(one, repeats=3) for one in requests),
        _training("8B", TrainingCase(**shared, **_SHAPES["8B"])),
        _hand_over("8B", HandOverCase(**shared, **_SHAPES["8B"], teacher=teacher)),
        _context("8B", ContextCase(**shared, **_SHAPES["8B"])),
        _training("1B", TrainingCase(**shared, **_SHAPES["1B"])),
        _context("1B", ContextCase(**shared, **_SHAPES["1B"])),
        _segments("1B", TrainingCase(**shared, **_SHAPES["1B"], examples=16)),
    ]


def _training(name: str, case: TrainingCase) -> Comparison:
    return Comparison(
        f"training a {name} student",
        case,
        (Contender("training", ours), Contender("Trainer", trainer)),
        measure="tokens",
        order="one by one",
        repeats=3,
        note="Real tokens, without padding. % of peak: of what this GPU multiplies in bfloat16, counting only the work "
        "that a training can't do without (4 operations for each weight and token, of the output at learnt tokens "
        "alone; neither attention nor dequantizing).",
        before=made_student,
    )


def _segments(name: str, case: TrainingCase) -> Comparison:
    return Comparison(
        f"a {name} student's training in two segments",
        case,
        (Contender("two segments", in_two_segments),),
        measure="trainings",
        order="one by one",
        repeats=1,
        warm_ups=0,
        note="The second goes on from what the first has written, the optimizer's state too, in a student that is "
        "loaded anew. Beside the training in one segment, from whose adapter the figure tells the distance.",
        before=made_student,
    )


def _hand_over(name: str, case: HandOverCase) -> Comparison:
    return Comparison(
        f"hand-over to a {name} student",
        case,
        (Contender("hand-over", handed_over),),
        measure="hand-overs",
        order="one by one",
        repeats=1,
        warm_ups=0,
        note="The teacher works for a while before, as it does in a run. MiB left: in use after both have ended that "
        "were not before.",
        before=made_student,
    )


def _context(name: str, case: ContextCase) -> Comparison:
    return Comparison(
        f"largest context of a {name} student",
        case,
        (Contender("largest context", largest_context),),
        measure="trainings",
        order="one by one",
        repeats=1,
        warm_ups=0,
        note="One example at a time, to about 5%. What ended it has its figure: the least tokens that memory ran out "
        "with, the model's longest, or those that there was no time left for. The budget is of what PyTorch allocates: "
        "CUDA itself takes some on top.",
        before=made_student,
    )
