"""What teacher and student are planned to need of a device's memory, and whether both may stay loaded."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

import pytest
import torch
from fake_workers import planned_student

from llm2llm_local import free_memory
from llm2llm_local.model_files.folder import WeightCounts, count_weights, inspect_folder
from llm2llm_local.student.limits import LOGITS_AT_ONCE
from llm2llm_local.workers.memory import free_bytes, plan_memory, student_memory, with_dequantized

if TYPE_CHECKING:
    from tiny_models import TinyModels

MIB = 2**20


def test_a_students_scores_are_planned_as_its_loss_makes_them() -> None:
    """In pieces of a fixed size, however long the rows are."""
    few, many = (planned_student("cpu", "nf4", WeightCounts(1, 1), n).logit_bytes for n in (10, 10**6))
    assert (few, many) == (10 * 1000 * 4 * 2, LOGITS_AT_ONCE * 4 * 2)


def test_activations_are_planned_in_the_precision_in_which_the_student_computes() -> None:
    """Measured with SmolLM2-135M, of a token, layer and hidden unit: 78.9 bytes in float32, 55.1 in bfloat16."""
    for compute_dtype, measured in (("float32", 78.9), ("bfloat16", 55.1)):
        planned = planned_student("cuda", "nf4", WeightCounts(1, 1), 1000, compute_dtype).activation_bytes
        assert measured <= planned / (1000 * 2 * 8) <= measured * 1.05


@pytest.mark.model
@pytest.mark.parametrize(("compute_dtype", "n_bytes"), [("float32", 4), ("bfloat16", 2)])
def test_a_students_weights_are_planned_as_they_are_loaded(
    tiny_models: TinyModels, compute_dtype: Any, n_bytes: int
) -> None:
    """Matrices of layers in 4 bits, all else whole; dequantized, the matrices are as large as on paper."""
    from trainings import settings

    from llm2llm_local.student.lora import LoraStudent

    file = inspect_folder(tiny_models.student)
    weights = count_weights(file)
    loaded = LoraStudent(settings(tiny_models.student, quantization="nf4", compute_dtype=compute_dtype))._adapted
    base = [parameter for parameter in loaded.model.parameters() if not parameter.requires_grad]
    assert weights.in_layers * n_bytes == loaded.dequantized.n_bytes
    others = sum(one.nbytes for one in base if one.dtype != torch.uint8)
    assert others == weights.others * n_bytes
    planned = student_memory(
        file,
        weights,
        device="cpu",
        training_tokens=1,
        quantization="nf4",
        compute_dtype=compute_dtype,
        lora_rank=8,
    )
    assert planned.weight_bytes == pytest.approx(others + weights.in_layers * 0.516, abs=1)
    matrices = sum(one.nbytes for one in base if one.dtype == torch.uint8)
    assert planned.weight_bytes - others == pytest.approx(matrices, rel=0.04)


@pytest.mark.parametrize(
    ("device", "quantization", "compute_dtype", "free", "keeps_both", "kept"),
    [
        ("cpu", "nf4", "float32", 2000 * MIB, "never", 200 * MIB),
        ("cpu", "nf4", "float32", 1600 * MIB, "never", 0),  # with 850 MiB taken, a quarter of the rest is too little
        ("cpu", "nf4", "float32", 2000 * MIB, "always", 0),  # the teacher has 400 MiB of it
        ("cpu", "nf4", "float32", 2400 * MIB, "always", 200 * MIB),
        ("cpu", "nf4", "bfloat16", 1600 * MIB, "never", 100 * MIB),  # half as large
        ("cpu", "none", "float32", 2000 * MIB, "never", 0),  # nothing is quantized
        ("cuda", "nf4", "bfloat16", 2000 * MIB, "never", 0),
    ],
)
def test_dequantized_weights_are_planned_where_the_student_keeps_them(
    device: Any, quantization: Any, compute_dtype: Any, free: int, keeps_both: Any, kept: int
) -> None:
    weights = WeightCounts(in_layers=50 * MIB, others=6 * MIB)
    student = planned_student(device, quantization, weights, compute_dtype=compute_dtype)
    teacher: Any = types.SimpleNamespace(device=device, total_bytes=400 * MIB)
    memory = plan_memory(teacher, student, free, keeps_both)
    planned = with_dequantized(student, weights, quantization, compute_dtype, memory)
    assert planned.dequantized_bytes == kept
    # They are given up for anything else, so nothing that has to fit counts them.
    assert planned.needed_bytes == student.needed_bytes == memory.student_bytes


def test_free_memory_is_what_control_groups_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan and the student ask the same question."""
    monkeypatch.setattr(free_memory, "_left_in_groups", lambda: [12345])
    assert free_bytes("cpu") == 12345


@pytest.mark.parametrize(("free", "keeps_both"), [(1000 * MIB, True), (999 * MIB, False)])
def test_both_stay_loaded_when_they_take_no_more_than_95_percent_of_what_is_free(free: int, keeps_both: bool) -> None:
    """As for a teacher alone: what fragments, and what other programs come to need, is beside it."""
    student = planned_student("cpu", "nf4", WeightCounts(1, 1))
    teacher: Any = types.SimpleNamespace(device="cpu", total_bytes=950 * MIB - student.needed_bytes)
    plan = plan_memory(teacher, student, free, "auto")
    assert plan.keeps_both == keeps_both
    compared = "no more" if keeps_both else "more"
    assert f"950 MiB, {compared} than 95% of the {free // MIB} MiB free" in plan.reason
