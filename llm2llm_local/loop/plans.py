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

from ..byte_size import byte_size
from ..config import Config
from ..records import Split
from ..store.run_store import RunStore
from ..teacher.plan import TeacherPlan, TeacherWishes, plan_teacher, plan_words, smaller
from ..teacher.reasons import reasons
from ..workers.memory import MemoryPlan, StudentMemory, free_bytes, plan_memory, student_memory, with_dequantized
from .inputs import Inputs

_BYTES_PER_TOKEN = 3
"""Of text in UTF-8; rather too few than too many, since it is used to estimate memory."""

_FRAME_TOKENS = 200
"""Of a teacher's prompt, beside the instruction, the labels and the examples."""


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """The teacher's plan, what the student needs, and whether both stay loaded. `reasons`: of the teacher's figures."""

    teacher: TeacherPlan
    reasons: tuple[str, ...]
    student: StudentMemory
    memory: MemoryPlan

    def lines(self) -> list[str]:
        """In words: the teacher, the student, both together."""
        teacher, student, memory = self.teacher, self.student, self.memory
        together = "both stay loaded" if memory.keeps_both else "they take turns"
        kept = f"; {byte_size(student.dequantized_bytes)} more keep its weights dequantized while there is room"
        return [
            f"teacher: {plan_words(teacher)}; about {byte_size(teacher.total_bytes)} with "
            f"{byte_size(teacher.weight_bytes)} of weights",
            f"student: about {byte_size(student.needed_bytes)}: {byte_size(student.weight_bytes)} of weights, "
            f"{byte_size(student.lora_bytes)} of adapter and optimizer, {byte_size(student.activation_bytes)} of "
            f"activations, {byte_size(student.logit_bytes)} of scores, {byte_size(student.process_bytes)} of libraries"
            + (kept if student.dequantized_bytes else ""),
            f"device: {memory.device}, {byte_size(memory.free_bytes)} free; {together}: {memory.reason}",
        ]

    def teacher_record(self) -> dict[str, Any]:
        return {**self.teacher.record(), "reasons": self.reasons}

    def memory_record(self) -> dict[str, Any]:
        return {**self.memory.record(), "student": dataclasses.asdict(self.student)}


def device_plan(inputs: Inputs, recorded: TeacherPlan | None = None) -> DevicePlan:
    """Measures the free memory. `recorded`: the teacher's plan that the run has already."""
    free = free_bytes(inputs.device)
    teacher = recorded or plan_teacher(inputs.teacher_layers, inputs.device, free, _wishes(inputs))
    return _with_teacher(inputs, teacher, free)


def plan_of_run(run: RunStore, inputs: Inputs) -> DevicePlan:
    """The run's own plan when replies were made under it; stored in any case, for those who see only the store.

    What was measured of its prompts stays true in a new plan, too.
    """
    record = run.teacher_plan()
    known = None if record is None else TeacherPlan.from_record(record)
    if known is not None and run.has_teacher_calls():
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
    """Add to the plan how many tokens the longest prompt has with its reply: no smaller plan has room for less."""
    record = run.teacher_plan()
    assert record is not None
    with run.transaction():
        run.change_teacher_plan({**record, "longest_request": longest_request})


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
        _store(run, plan, f"smaller: memory ran out for the teacher's {what}")
        run.add_event(
            "plan_smaller",
            f"the teacher ran out of memory ({why}) and goes on with less: {plan_words(teacher)}. What is done stays; "
            "replies from here on may differ from those of a run that had the memory.",
        )
    return plan


def most_kept(config: Config) -> int:
    """How many accepted examples of a seed a prompt for its next one shows, at most."""
    return min(config.teacher.demonstrations, config.loop.augmentations_per_failure * config.loop.iterations - 1)


def _with_teacher(inputs: Inputs, teacher: TeacherPlan, free: int) -> DevicePlan:
    config, weights, quantization = inputs.config, inputs.student_weights, inputs.config.student.quantization
    student = student_memory(
        inputs.student,
        weights,
        device=inputs.device,
        training_tokens=config.student.micro_batch_size * min(config.student.max_length, _longest_seed(inputs)),
        quantization=quantization,
        lora_rank=config.student.lora_rank,
    )
    memory = plan_memory(teacher, student, free, config.hardware.keep_both)
    why = reasons(teacher, inputs.teacher_layers, _wishes(inputs))
    return DevicePlan(teacher, tuple(why), with_dequantized(student, weights, quantization, memory), memory)


def _wishes(inputs: Inputs) -> TeacherWishes:
    teacher = inputs.config.teacher
    told = _n_tokens(inputs.config.task.instruction + "".join(inputs.labels)) + _FRAME_TOKENS
    n_examples = 1 + teacher.demonstrations + most_kept(inputs.config)
    return TeacherWishes(
        n_parallel=None if teacher.n_parallel == "auto" else teacher.n_parallel,
        context_length=None if teacher.context_length == "auto" else teacher.context_length,
        n_batch=None if teacher.n_batch == "auto" else teacher.n_batch,
        gpu_layers=None if teacher.gpu_layers == "auto" else teacher.gpu_layers,
        kv_type=None if teacher.kv_cache == "auto" else teacher.kv_cache,
        flash_attention=teacher.flash_attention,
        group_size=teacher.group_size,
        request_tokens=told + n_examples * _longest_seed(inputs) + teacher.max_new_tokens,
    )


def _store(run: RunStore, plan: DevicePlan, reason: str) -> None:
    run.add_plan(reason, plan.teacher_record(), plan.memory_record(), plan.lines())


def _longest_seed(inputs: Inputs) -> int:
    """In tokens, about."""
    return max(_n_tokens(row.question + row.answer) for row in inputs.data.rows[Split.TRAIN])


def _n_tokens(text: str) -> int:
    return len(text.encode()) // _BYTES_PER_TOKEN + 1
