"""How a run's models share the device: planned once for its teacher, stored with the run, and kept.

Batched arithmetic depends on the batch, and what fits depends on the memory of the moment. So from its first reply on
a run's teacher is loaded as it was for that one, however much is free when the run goes on. Only when memory runs out
for a teacher that has the device to itself does that change: what is done stays, and what comes after may differ from
the replies of a run that had the memory. Whether both models stay loaded changes no result: it is decided anew at every
start, and given up for the rest of it when memory runs out with both loaded.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from ..records import Split
from ..store.run_store import RunStore
from ..teacher.plan import TeacherPlan, TeacherWishes, plan_teacher, plan_words, smaller
from ..workers.memory import MemoryPlan, StudentMemory, free_bytes, plan_memory, student_memory
from .inputs import Inputs

_BYTES_PER_TOKEN = 3
"""Of text in UTF-8; rather too few than too many, since it is used to estimate memory."""

_FRAME_TOKENS = 200
"""Of a teacher's prompt, beside the instruction, the labels and the examples."""


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """The teacher's plan, what the student needs, and whether both stay loaded."""

    teacher: TeacherPlan
    student: StudentMemory
    memory: MemoryPlan

    def lines(self) -> list[str]:
        """In words: the teacher, the student, both together."""
        teacher, student = self.teacher, self.student
        together = "both stay loaded" if self.memory.keeps_both else "they take turns"
        return [
            f"teacher: {plan_words(teacher)}; about {_size(teacher.total_bytes)} with {_size(teacher.weight_bytes)} of "
            "weights",
            f"student: about {_size(student.total_bytes)}: {_size(student.weight_bytes)} of weights, "
            f"{_size(student.lora_bytes)} of adapter and optimizer, {_size(student.activation_bytes)} of activations, "
            f"{_size(student.logit_bytes)} of scores, {_size(student.process_bytes)} of libraries",
            f"device: {self.memory.device}, {_size(self.memory.free_bytes)} free; {together}: {self.memory.reason}",
        ]

    def memory_record(self) -> dict[str, Any]:
        return {**self.memory.record(), "student": dataclasses.asdict(self.student)}


def device_plan(inputs: Inputs, recorded: TeacherPlan | None = None) -> DevicePlan:
    """Measures the free memory. `recorded`: the teacher's plan that the run has already."""
    free = free_bytes(inputs.device)
    teacher = recorded or plan_teacher(inputs.teacher_layers, inputs.device, free, _wishes(inputs))
    return _with_teacher(inputs, teacher, free)


def plan_of_run(run: RunStore, inputs: Inputs) -> DevicePlan:
    """The run's own plan when replies were made under it; stored in any case, for those who see only the store."""
    record = run.teacher_plan() if run.has_teacher_calls() else None
    plan = device_plan(inputs, None if record is None else TeacherPlan.from_record(record))
    with run.transaction():
        _store(run, plan, "planned at the start" if record is None else "as at the start; what is free is as now")
    return plan


def smaller_plan_of_run(
    run: RunStore, inputs: Inputs, why: str, what: Literal["weights", "context"]
) -> DevicePlan | None:
    """What to try after the teacher ran out of memory for `what`, stored and told as an event; None when nothing is."""
    record = run.teacher_plan()
    assert record is not None
    teacher = smaller(TeacherPlan.from_record(record), inputs.teacher_layers, what)
    if teacher is None:
        return None
    plan = _with_teacher(inputs, teacher, free_bytes(inputs.device))
    with run.transaction():
        _store(run, plan, teacher.reasons[-1])
        run.add_event(
            "plan_smaller",
            f"the teacher ran out of memory ({why}) and goes on with less: {plan_words(teacher)}. What is done stays; "
            "replies from here on may differ from those of a run that had the memory.",
        )
    return plan


def _with_teacher(inputs: Inputs, teacher: TeacherPlan, free: int) -> DevicePlan:
    config = inputs.config
    longest = max(_n_tokens(row.question + row.answer) for row in inputs.data.rows[Split.TRAIN])
    student = student_memory(
        inputs.student,
        training_tokens=config.student.micro_batch_size * min(config.student.max_length, longest),
        quantization=config.student.quantization,
        lora_rank=config.student.lora_rank,
    )
    return DevicePlan(teacher, student, plan_memory(teacher, student, free, config.hardware.keep_both))


def _wishes(inputs: Inputs) -> TeacherWishes:
    teacher, loop = inputs.config.teacher, inputs.config.loop
    longest = max(_n_tokens(row.question + row.answer) for row in inputs.data.rows[Split.TRAIN])
    n_kept = min(teacher.demonstrations, loop.augmentations_per_failure * loop.iterations - 1)
    told = _n_tokens(inputs.config.task.instruction + "".join(inputs.labels)) + _FRAME_TOKENS
    return TeacherWishes(
        n_parallel=None if teacher.n_parallel == "auto" else teacher.n_parallel,
        context_length=None if teacher.context_length == "auto" else teacher.context_length,
        n_batch=None if teacher.n_batch == "auto" else teacher.n_batch,
        gpu_layers=None if teacher.gpu_layers == "auto" else teacher.gpu_layers,
        kv_type=None if teacher.kv_cache == "auto" else teacher.kv_cache,
        flash_attention=teacher.flash_attention,
        group_size=teacher.group_size,
        request_tokens=told + (1 + teacher.demonstrations + n_kept) * longest + teacher.max_new_tokens,
    )


def _store(run: RunStore, plan: DevicePlan, reason: str) -> None:
    run.add_plan(reason, plan.teacher.record(), plan.memory_record(), plan.lines())


def _n_tokens(text: str) -> int:
    return len(text.encode()) // _BYTES_PER_TOKEN + 1


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 2**20:.0f} MiB" if n_bytes < 2**30 else f"{n_bytes / 2**30:.1f} GiB"
