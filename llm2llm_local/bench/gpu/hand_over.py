"""From the teacher's last token to the student's first step, and what the workers leave behind when they end.

The pool, its plan and its wait for memory are those of a run; only, the models always take turns here, however much
memory there is.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from ...model_files.catalogue import inspect_model
from ...model_files.folder import count_weights
from ...model_files.gguf_file import read_gguf_header
from ...model_files.layers import layer_sizes
from ...records import Message, TeacherPrompt
from ...student.precision import find_compute_dtype
from ...teacher.plan import Device, TeacherWishes, plan_teacher
from ...teacher.protocol import Sampling, TeacherRequest
from ...workers.memory import free_bytes, plan_memory, student_memory
from ...workers.pool import WorkerPool
from ..plan import Repeat, Work
from .student import StudentCase
from .training import segment, some_examples

FIRST_STEP, LEFT = "last token to first step", "MiB left"
_LOADED = "last token to student loaded"

_WISHES = TeacherWishes(
    n_parallel=None,
    context_length=None,
    n_batch=None,
    gpu_layers=None,
    kv_type=None,
    flash_attention="auto",
    group_size=32,
    request_tokens=512,
)
_REQUEST = TeacherRequest(
    TeacherPrompt((Message("user", "Write a story."),), "", ()), Sampling(0.7, 0.95, 0.05), None, 0, 48
)

_FREEING_SECONDS = 5.0
"""How long the memory of ended workers may take to be measured free again: drivers are late."""

_MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOverCase(StudentCase):
    """`teaching_seconds`: how long the teacher works at least before; on a GPU the student's libraries are imported
    meanwhile, as they are in a run, where teaching takes minutes."""

    teacher: Path
    batch_size: int = 8
    tokens: int = 256
    teaching_seconds: float = 15.0


def handed_over(case: HandOverCase) -> Repeat:
    examples = some_examples(case.batch_size, case.tokens, case.rng_seed)
    model = inspect_model(case.folder)
    student = student_memory(
        model,
        count_weights(model),
        device=case.device,
        # About a token a word, and words are up to one and a half times `tokens`.
        training_tokens=case.batch_size * 2 * case.tokens,
        quantization="nf4",
        compute_dtype=find_compute_dtype("auto", case.device),
        lora_rank=case.lora_rank,
    )
    sizes = layer_sizes(read_gguf_header(case.teacher))
    numbers = count()

    def repeat() -> Work:
        number, before = next(numbers), free_bytes(case.device)
        teacher = plan_teacher(sizes, case.device, before, _WISHES)
        plan = plan_memory(teacher, student, before, "never")
        logs, output = case.scratch / f"logs-{number}", case.scratch / f"handed-{number}"
        loaded: list[float] = []
        steps: list[float] = []

        def told(kind: str, _: str) -> None:
            if kind == "worker_started":  # first the teacher's, then the student's
                loaded.append(time.perf_counter())

        settings = teacher.settings(case.teacher, case.threads)
        with WorkerPool(settings, case.settings(), plan, logs, float("inf"), 0, told, lambda: None) as pool:
            begun = time.perf_counter()
            while True:
                pool.teacher.generate([_REQUEST], lambda *_: None)
                replied = time.perf_counter()
                if replied - begun >= case.teaching_seconds:
                    break
            pool.student.train(
                segment(case, examples, case.batch_size, output), lambda *_: steps.append(time.perf_counter())
            )
        seconds = {FIRST_STEP: steps[0] - replied, _LOADED: loaded[-1] - replied}
        return Work({"hand-overs": 1}, seconds, {LEFT: _bytes_left(case.device, before) / _MIB})

    return repeat


def _bytes_left(device: Device, before: int) -> int:
    """Of what was free before, what isn't again, once it is free or time is up."""
    deadline = time.monotonic() + _FREEING_SECONDS
    while (left := before - free_bytes(device)) > 0 and time.monotonic() < deadline:
        time.sleep(0.1)
    return max(0, left)
