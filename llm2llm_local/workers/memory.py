"""Whether teacher and student fit into the device together: estimated from the models' own figures, and measured."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..byte_size import byte_size
from ..free_memory import available_bytes
from ..model_files.folder import WeightCounts
from ..model_files.model import ModelFile
from ..student.limits import LOGITS_AT_ONCE, SHARE_TO_KEEP
from ..student.precision import ComputeDtype
from ..teacher.plan import USABLE_SHARE, Device, TeacherPlan
from ..visible_gpu import visible_gpu

KeepBoth = Literal["auto", "always", "never"]

_PROCESS_BYTES = 800 * 2**20
"""Libraries and buffers of a student's worker (measured: torch with bitsandbytes 450 MiB to 800 MiB)."""

_BYTES_PER_PARAMETER_NF4 = 0.516
"""4 bits; a scale in 8 bits for each block of 64, and one in 32 bits for each 256 of these."""

_BYTES_PER_PARAMETER: dict[ComputeDtype, int] = {"float32": 4, "bfloat16": 2}
"""Of weights that are not quantized, and of those that are once they are dequantized."""

_BYTES_PER_PARAMETER_LORA: dict[Device, int] = {"cpu": 16, "cuda": 10}
"""The weight and its gradient in 32 bits, and AdamW's two moments, which have 8 bits each on a GPU."""

_BYTES_PER_ACTIVATION: dict[ComputeDtype, int] = {"float32": 80, "bfloat16": 56}
"""Of a training, for each token, layer and hidden unit: what autograd keeps (measured with SmolLM2-135M: 78.9 and
55.1; norms and the adapter compute in 32 bits in both).
"""

_LOGIT_COPIES = 2
"""Scores of the vocabulary and their gradient, in 32 bits."""

_LORA_WIDTHS = 20
"""Rank-r matrices beside the 7 linear layers of a block, with a feed-forward width of about 3 times the hidden one."""


@dataclass(frozen=True, slots=True)
class StudentMemory:
    """Bytes that training the student takes of the device, term by term.

    `dequantized_bytes` are kept as long as there is room, to save time; the student does as well without.
    """

    weight_bytes: int
    lora_bytes: int
    activation_bytes: int
    logit_bytes: int
    process_bytes: int
    dequantized_bytes: int = 0

    @property
    def training_bytes(self) -> int:
        """What trainings take, beside what is there once it is loaded."""
        return self.lora_bytes + self.activation_bytes + self.logit_bytes

    @property
    def needed_bytes(self) -> int:
        """All that it can't do without."""
        return self.weight_bytes + self.process_bytes + self.training_bytes


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
    reason: str

    def needed_bytes(self, role: Literal["teacher", "student"]) -> int:
        return self.teacher_bytes if role == "teacher" else self.student_bytes

    def record(self) -> dict[str, Any]:
        """As JSON values, for the store."""
        return dataclasses.asdict(self)


def plan_memory(teacher: TeacherPlan, student: StudentMemory, free_bytes: int, keep_both: KeepBoth) -> MemoryPlan:
    """What follows from what both need and what is free; a person's word counts before that."""
    needed = teacher.total_bytes + student.needed_bytes
    fits = needed <= free_bytes * USABLE_SHARE
    keeps_both = {"auto": fits, "always": True, "never": False}[keep_both]
    if keep_both == "auto":
        compared = "no more" if fits else "more"
        reason = (
            f"together they need about {byte_size(needed)}, {compared} than {USABLE_SHARE:.0%} of the "
            f"{byte_size(free_bytes)} free"
        )
    else:
        reason = f'hardware.keep_both = "{keep_both}"'
    return MemoryPlan(teacher.device, teacher.total_bytes, student.needed_bytes, free_bytes, keeps_both, reason)


def student_memory(
    student: ModelFile,
    weights: WeightCounts,
    *,
    device: Device,
    training_tokens: int,
    quantization: Literal["nf4", "none"],
    compute_dtype: ComputeDtype,
    lora_rank: int,
) -> StudentMemory:
    """What it needs. `training_tokens`: those of the longest micro-batch."""
    whole = _BYTES_PER_PARAMETER[compute_dtype]
    matrix = _BYTES_PER_PARAMETER_NF4 if quantization == "nf4" else whole
    return StudentMemory(
        weight_bytes=int(weights.in_layers * matrix) + weights.others * whole,
        lora_bytes=_BYTES_PER_PARAMETER_LORA[device] * lora_parameters(student, lora_rank),
        activation_bytes=training_tokens * _BYTES_PER_ACTIVATION[compute_dtype] * student.n_layers * student.n_embd,
        logit_bytes=min(training_tokens * student.vocab_size, LOGITS_AT_ONCE) * 4 * _LOGIT_COPIES,
        process_bytes=_PROCESS_BYTES,
    )


def with_dequantized(
    student: StudentMemory,
    weights: WeightCounts,
    quantization: Literal["nf4", "none"],
    compute_dtype: ComputeDtype,
    memory: MemoryPlan,
) -> StudentMemory:
    """With the weights that it keeps dequantized, as it decides itself when it is loaded: on a CPU, if they take no
    more than their share of what is free then, and neither trainings nor a teacher beside it are to have.
    """
    if memory.device != "cpu" or quantization == "none":
        return student
    taken = student.needed_bytes + (memory.teacher_bytes if memory.keeps_both else 0)
    n_bytes = weights.in_layers * _BYTES_PER_PARAMETER[compute_dtype]
    fits = n_bytes <= (memory.free_bytes - taken) * SHARE_TO_KEEP
    return dataclasses.replace(student, dequantized_bytes=n_bytes if fits else 0)


def lora_parameters(student: ModelFile, lora_rank: int) -> int:
    """About how many an adapter has."""
    return lora_rank * student.n_layers * student.n_embd * _LORA_WIDTHS


def free_bytes(device: Device) -> int:
    """Memory available now: of the GPU that runs use, or to this process and its workers."""
    if device == "cpu":
        return available_bytes()
    import pynvml

    pynvml.nvmlInit()
    try:
        return int(pynvml.nvmlDeviceGetMemoryInfo(visible_gpu(pynvml)).free)
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
