"""Whether teacher and student fit into the device together: estimated from the models' own figures."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from ..errors import ConfigError
from ..model_files.model import ModelFile
from ..teacher.plan import Device, TeacherPlan

KeepBoth = Literal["auto", "always", "never"]

_PROCESS_BYTES = 800 * 2**20
"""Libraries and buffers of a student's worker (measured: torch with bitsandbytes 450 MiB to 800 MiB)."""

_BYTES_PER_PARAMETER_NF4 = 0.56
"""4 bits and the doubly quantized block scales."""

_BYTES_PER_PARAMETER_LORA = 16
"""The weight, its gradient and AdamW's two moments, in 32 bits each."""

_BYTES_PER_ACTIVATION = 80
"""Of a training, for each token, layer and hidden unit (measured: 75 with SmolLM2-135M in 32 bits on GSM8K)."""

_LOGIT_COPIES = 2
"""Scores of the vocabulary and their gradient, in 32 bits."""

_LOGITS_AT_ONCE = 2**23
"""So many scores at most exist at once: a training's loss is computed in pieces of this size (student/loss.py)."""

_LORA_WIDTHS = 20
"""Rank-r matrices beside the 7 linear layers of a block, with a feed-forward width of about 3 times the hidden one."""


@dataclass(frozen=True, slots=True)
class StudentMemory:
    """Bytes that training the student takes of the device, term by term."""

    weight_bytes: int
    lora_bytes: int
    activation_bytes: int
    logit_bytes: int
    process_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.weight_bytes + self.lora_bytes + self.activation_bytes + self.logit_bytes + self.process_bytes


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes that each worker needs on `device`, those free when it was made, and what follows from it.

    `reason`: why both stay loaded, or don't.
    """

    device: Device
    teacher_bytes: int
    student_bytes: int
    free_bytes: int
    keeps_both: bool
    reason: str = ""

    def needed_bytes(self, role: Literal["teacher", "student"]) -> int:
        return self.teacher_bytes if role == "teacher" else self.student_bytes

    def record(self) -> dict[str, Any]:
        """As JSON values, for the store."""
        return dataclasses.asdict(self)


def plan_memory(teacher: TeacherPlan, student: StudentMemory, free_bytes: int, keep_both: KeepBoth) -> MemoryPlan:
    """What follows from what both need and what is free; a person's word counts before that."""
    needed = teacher.total_bytes + student.total_bytes
    fits = needed <= free_bytes
    keeps_both = {"auto": fits, "always": True, "never": False}[keep_both]
    if keep_both == "auto":
        compared = "no more" if fits else "more"
        reason = f"together they need {needed / 2**30:.1f} GiB, {compared} than the {free_bytes / 2**30:.1f} GiB free"
    else:
        reason = f'hardware.keep_both = "{keep_both}"'
    return MemoryPlan(teacher.device, teacher.total_bytes, student.total_bytes, free_bytes, keeps_both, reason)


def student_memory(
    student: ModelFile, *, training_tokens: int, quantization: Literal["nf4", "none"], lora_rank: int
) -> StudentMemory:
    """`training_tokens`: those of the longest micro-batch."""
    weights = student.size_bytes // 2 * (_BYTES_PER_PARAMETER_NF4 if quantization == "nf4" else 4)
    return StudentMemory(
        weight_bytes=int(weights),
        lora_bytes=_BYTES_PER_PARAMETER_LORA * lora_parameters(student, lora_rank),
        activation_bytes=training_tokens * _BYTES_PER_ACTIVATION * student.n_layers * student.n_embd,
        logit_bytes=min(training_tokens * student.vocab_size, _LOGITS_AT_ONCE) * 4 * _LOGIT_COPIES,
        process_bytes=_PROCESS_BYTES,
    )


def lora_parameters(student: ModelFile, lora_rank: int) -> int:
    """About how many an adapter has."""
    return lora_rank * student.n_layers * student.n_embd * _LORA_WIDTHS


def free_bytes(device: Device) -> int:
    """Memory available now: of the first GPU, or of the machine."""
    if device == "cpu":
        return int(psutil.virtual_memory().available)
    import pynvml

    pynvml.nvmlInit()
    try:
        return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).free)
    finally:
        pynvml.nvmlShutdown()


def out_of_memory_kills() -> int:
    """Processes that the kernel has killed since it was booted for want of memory; 0 where it doesn't tell."""
    try:
        with Path("/proc/vmstat").open(encoding="ascii") as counters:
            for line in counters:
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value)
    except OSError:
        pass
    return 0


def find_device(wanted: Literal["auto", "cpu", "cuda"]) -> Device:
    """The device that `wanted` means on this machine; "auto" is a GPU when the NVIDIA driver reports one.

    Raises ConfigError when a GPU is wanted and none answers.
    """
    if wanted == "cpu":
        return "cpu"
    import pynvml

    try:
        pynvml.nvmlInit()
        n_gpus = int(pynvml.nvmlDeviceGetCount())
        pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        n_gpus, reason = 0, str(error)
    else:
        reason = "the driver reports none"
    if n_gpus:
        return "cuda"
    if wanted == "cuda":
        raise ConfigError(f'hardware.device = "cuda", but there is no NVIDIA GPU ({reason})', 'Set "auto" or "cpu".')
    return "cpu"
