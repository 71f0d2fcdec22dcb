"""Whether teacher and student fit into the device together: estimated from the models' own figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import psutil

from ..errors import ConfigError
from ..model_files.model import ModelFile

Device = Literal["cpu", "cuda"]

_PROCESS_BYTES = 800 * 2**20
"""Libraries and buffers of a worker, beside its model (measured: torch with bitsandbytes 450 MiB to 800 MiB)."""

_BYTES_PER_PARAMETER_NF4 = 0.56
"""4 bits and the doubly quantized block scales."""

_BYTES_PER_ACTIVATION = 80
"""Of a training, for each token, layer and hidden unit (measured: 75 with SmolLM2-135M in 32 bits on GSM8K)."""

_LOGIT_COPIES = 3
"""The scores of the whole vocabulary at every learnt token, their log-softmax and their gradient, in 32 bits."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes that each worker needs on `device`, those free now, and what follows from it."""

    device: Device
    teacher_bytes: int
    student_bytes: int
    free_bytes: int
    keeps_both: bool

    def needed_bytes(self, role: Literal["teacher", "student"]) -> int:
        return self.teacher_bytes if role == "teacher" else self.student_bytes


def plan_memory(
    device: Device,
    teacher: ModelFile,
    student: ModelFile,
    *,
    context_length: int,
    training_tokens: int,
    quantization: Literal["nf4", "none"],
    keep_both: Literal["auto", "always", "never"],
) -> MemoryPlan:
    """`context_length` in tokens; `training_tokens` is those of the longest micro-batch."""
    teacher_bytes = teacher.size_bytes + _kv_cache_bytes(teacher, context_length) + _PROCESS_BYTES
    weights = student.size_bytes // 2 * (_BYTES_PER_PARAMETER_NF4 if quantization == "nf4" else 4)
    activations = training_tokens * (
        _BYTES_PER_ACTIVATION * student.n_layers * student.n_embd + 4 * _LOGIT_COPIES * student.vocab_size
    )
    student_bytes = int(weights) + activations + _PROCESS_BYTES
    free = free_bytes(device)
    fits = teacher_bytes + student_bytes <= free
    keeps_both = {"auto": fits, "always": True, "never": False}[keep_both]
    return MemoryPlan(device, teacher_bytes, student_bytes, free, keeps_both)


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


def _kv_cache_bytes(model: ModelFile, context_length: int) -> int:
    """Keys and values of every layer in 16 bits."""
    return 2 * 2 * context_length * model.n_layers * model.n_embd * model.n_head_kv // model.n_head
