"""How a run's models share the device: planned once for its teacher, stored with the run, and kept.

Batched arithmetic depends on the batch, and what fits depends on the memory of the moment. So from its first reply or
vote on a run's teacher is loaded as it was for that one, however much is free when the run goes on. Only when memory
runs out for a teacher that has the device to itself does that change: what is done stays, and what comes after may
differ from the replies of a run that had the memory. Whether both models stay loaded changes no result: it is decided
anew at every start, and given up for the rest of it when memory runs out with both loaded; the plan that is stored says
so then.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from ..byte_size import byte_size
from ..config import Config, HardwareConfig, StudentConfig
from ..recipes import uses_teacher
from ..records import Split
from ..store.run_store import RunStore
from ..student.precision import ComputeDtype, has_bfloat16
from ..student.protocol import StudentSettings
from ..tasks.base import MOST_SHOWN_CHARACTERS
from ..teacher.plan import Device, TeacherPlan, TeacherWishes, plan_teacher, plan_words, smaller
from ..teacher.reasons import reasons
from ..verifiers import voters
from ..workers.memory import MemoryPlan, StudentMemory, free_bytes, plan_memory, student_memory, with_dequantized
from .fingerprint import threads
from .inputs import Inputs

_BYTES_PER_TOKEN = 3
"""Of text in UTF-8; rather too few than too many, since it is used to estimate memory."""

_FRAME_TOKENS = 200
"""Of a teacher's prompt, beside the instruction, the labels and the examples."""


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """The teacher's plan, what the student needs, and whether both stay loaded. `reasons`: of the teacher's figures.
    `asks_teacher`: whether the run's recipe and its verifiers ever do; else it isn't loaded, whatever its plan says.
    """

    asks_teacher: bool
    teacher: TeacherPlan
    reasons: tuple[str, ...]
    student: StudentMemory
    compute_dtype: ComputeDtype
    memory: MemoryPlan

    def lines(self) -> list[str]:
        """In words: the teacher, the student, both together."""
        student, memory = self.student, self.memory
        together = "both stay loaded" if memory.keeps_both else "they take turns"
        kept = f"; {byte_size(student.dequantized_bytes)} more keep its weights dequantized while there is room"
        return [
            f"teacher: {self._teacher()}",
            f"student: {self._precision()}; about {byte_size(student.needed_bytes)}: "
            f"{byte_size(student.weight_bytes)} of weights, {byte_size(student.lora_bytes)} of adapter and optimizer, "
            f"{byte_size(student.activation_bytes)} of activations, {byte_size(student.logit_bytes)} of scores, "
            f"{byte_size(student.process_bytes)} of libraries" + (kept if student.dequantized_bytes else ""),
            f"device: {memory.device}, {byte_size(memory.free_bytes)} free"
            + (f"; {together}: {memory.reason}" if self.asks_teacher else ""),
        ]

    def _teacher(self) -> str:
        if not self.asks_teacher:
            return "is never asked, so it isn't loaded"
        total, weights = byte_size(self.teacher.total_bytes), byte_size(self.teacher.weight_bytes)
        return f"{plan_words(self.teacher)}; about {total} with {weights} of weights"

    def _precision(self) -> str:
        if self.compute_dtype == "bfloat16" and not has_bfloat16(self.memory.device):
            return "computes in bfloat16, slowly: there are no instructions for it here"
        return f"computes in {self.compute_dtype}"

    def memory_record(self) -> dict[str, Any]:
        return {**self.memory.record(), "student": dataclasses.asdict(self.student)}


def device_plan(inputs: Inputs, recorded: TeacherPlan | None = None) -> DevicePlan:
    """Measures the free memory. `recorded`: the teacher's plan that the run has already."""
    free = free_bytes(inputs.device)
    teacher = recorded or plan_teacher(inputs.teacher_layers, inputs.device, free, _wishes(inputs))
    return _with_teacher(inputs, teacher, free)


def student_settings(inputs: Inputs, plan: DevicePlan) -> StudentSettings:
    """How a worker loads the student."""
    config = inputs.config
    return settings_of_student(config.student, config.hardware, inputs.device, inputs.compute_dtype, plan.student)


def settings_of_student(
    student: StudentConfig, hardware: HardwareConfig, device: Device, dtype: ComputeDtype, memory: StudentMemory
) -> StudentSettings:
    """The same, of what is configured, and of where, in what precision and in how much memory it will work."""
    return StudentSettings(
        model=student.model,
        quantization=student.quantization,
        compute_dtype=dtype,
        lora_rank=student.lora_rank,
        lora_alpha=student.lora_alpha,
        lora_dropout=student.lora_dropout,
        max_length=student.max_length,
        device=device,
        threads=threads(hardware),
        reserved_bytes=memory.training_bytes,
    )


def plan_of_run(run: RunStore, inputs: Inputs) -> DevicePlan:
    """The run's own plan when replies or votes were made under it. It is stored in any case, for those who
    see the store alone.

    What was measured of its prompts stays true in a new plan, too.
    """
    record = run.teacher_plan()
    known = None if record is None else TeacherPlan.from_record(record)
    if known is not None and run.has_asked_teacher():
        plan, reason = device_plan(inputs, known), "as at the start; what is free is as now"
    else:
        plan, reason = device_plan(inputs), "planned at the start"
        if known is not None:
            teacher = dataclasses.replace(plan.teacher, longest_request=known.longest_request)
            plan = dataclasses.replace(plan, teacher=teacher)
    with run.transaction():
        _store(run, plan, reason)
    return plan


def complete_plan(run: RunStore, longest_request: int) -> None:
    """Add to the plan how many tokens the longest prompt may have with its reply: no smaller plan has room for less.

    Never more than the context, which no request may exceed.
    """
    plan = teacher_in_force(run)
    plan = dataclasses.replace(plan, longest_request=min(longest_request, plan.context_length))
    with run.transaction():
        run.change_teacher_plan(plan.record())


def turns_of_run(run: RunStore, inputs: Inputs, memory: MemoryPlan) -> None:
    """Store that teacher and student take turns from here on, as `memory` says; what each is loaded with stays."""
    plan = _device_plan(inputs, teacher_in_force(run), memory)
    with run.transaction():
        _store(run, plan, memory.reason)


def smaller_plan_of_run(
    run: RunStore, inputs: Inputs, why: str, what: Literal["weights", "context"], memory: MemoryPlan
) -> DevicePlan | None:
    """What to try after the teacher ran out of memory for `what`, stored and told as an event; None when nothing is.

    `memory`: what is in force. Where it has them take turns they do so for good, however small the teacher gets.
    """
    teacher = smaller(teacher_in_force(run), inputs.teacher_layers, what)
    if teacher is None:
        return None
    plan = _with_teacher(inputs, teacher, free_bytes(inputs.device))
    if plan.memory.keeps_both and not memory.keeps_both:
        turns = dataclasses.replace(plan.memory, keeps_both=False, reason="memory ran out before")
        plan = _device_plan(inputs, teacher, turns)
    with run.transaction():
        _store(run, plan, f"smaller: memory ran out for the teacher's {what}")
        run.add_event(
            "plan_smaller",
            f"the teacher ran out of memory ({why}) and goes on with less: {plan_words(teacher)}. What is done stays; "
            "replies from here on may differ from those of a run that had the memory.",
        )
    return plan


def teacher_in_force(run: RunStore) -> TeacherPlan:
    """The newest that is stored; there is one once `plan_of_run` was asked."""
    record = run.teacher_plan()
    assert record is not None
    return TeacherPlan.from_record(record)


def estimated_tokens(text: str) -> int:
    """About how many a model counts, rather too many than too few."""
    return len(text.encode()) // _BYTES_PER_TOKEN + 1


def most_kept(config: Config) -> int:
    """How many accepted examples of a seed a prompt for its next one shows, at most."""
    most_made = config.loop.augmentations_per_failure * config.loop.iterations
    return max(0, min(config.teacher.demonstrations, most_made - 1))


def _with_teacher(inputs: Inputs, teacher: TeacherPlan, free: int) -> DevicePlan:
    memory = plan_memory(teacher, _student(inputs), free, inputs.config.hardware.keep_both)
    return _device_plan(inputs, teacher, memory)


def _device_plan(inputs: Inputs, teacher: TeacherPlan, memory: MemoryPlan) -> DevicePlan:
    weights, quantization = inputs.student_weights, inputs.config.student.quantization
    student = with_dequantized(_student(inputs), weights, quantization, inputs.compute_dtype, memory)
    told = tuple(reasons(teacher, inputs.teacher_layers, _wishes(inputs)))
    return DevicePlan(uses_teacher(inputs.config), teacher, told, student, inputs.compute_dtype, memory)


def _student(inputs: Inputs) -> StudentMemory:
    """What it can't do without."""
    student = inputs.config.student
    return student_memory(
        inputs.student,
        inputs.student_weights,
        device=inputs.device,
        training_tokens=student.micro_batch_size * min(student.max_length, _longest_seed(inputs)),
        quantization=student.quantization,
        compute_dtype=inputs.compute_dtype,
        lora_rank=student.lora_rank,
    )


def _wishes(inputs: Inputs) -> TeacherWishes:
    teacher = inputs.config.teacher
    told = estimated_tokens(inputs.config.task.instruction + "".join(inputs.labels)) + _FRAME_TOKENS
    n_examples = 1 + teacher.demonstrations + most_kept(inputs.config)
    request_tokens = told + n_examples * _longest_seed(inputs) + teacher.max_new_tokens
    if "teacher" in voters(inputs.config.checks.verify, inputs.config.checks.verifier):
        shown = estimated_tokens(" " * MOST_SHOWN_CHARACTERS)
        request_tokens = max(request_tokens, told + shown + _longest_seed(inputs) + teacher.max_new_tokens)
    return TeacherWishes(
        n_parallel=None if teacher.n_parallel == "auto" else teacher.n_parallel,
        context_length=None if teacher.context_length == "auto" else teacher.context_length,
        n_batch=None if teacher.n_batch == "auto" else teacher.n_batch,
        gpu_layers=None if teacher.gpu_layers == "auto" else teacher.gpu_layers,
        kv_type=None if teacher.kv_cache == "auto" else teacher.kv_cache,
        flash_attention=teacher.flash_attention,
        group_size=teacher.group_size,
        request_tokens=request_tokens,
    )


def _store(run: RunStore, plan: DevicePlan, reason: str) -> None:
    run.add_plan(reason, plan.teacher.record(), plan.memory_record(), plan.lines())


def _longest_seed(inputs: Inputs) -> int:
    """In tokens, about."""
    return max(estimated_tokens(row.question + row.answer) for row in inputs.data.rows[Split.TRAIN])
