"""A training whose memory runs out goes on with less at once, as if it had been so from the start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from bitsandbytes.nn import Params4bit
from fakes import quiet
from tiny_models import TinyModels
from trainings import outcome, segments, settings, training
from transformers import AutoModelForCausalLM

from llm2llm_local import free_memory
from llm2llm_local.errors import OutOfMemoryError, UserInputError
from llm2llm_local.student import base
from llm2llm_local.student.linear import Dropout, LeanLinear4bit, base_weight
from llm2llm_local.student.lora import LoraStudent
from llm2llm_local.student.rows import Tokens
from llm2llm_local.student.training import Training

pytestmark = pytest.mark.model


class ScarceMemory:
    """Lets a student's step run out of memory as long as it computes more than `rows` examples at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
        self.rows = rows
        self.sizes: list[int] = []
        compute = Training._summed_loss

        def summed_loss(engine: Training, rows: Sequence[Tokens]) -> torch.Tensor:
            self.sizes.append(len(rows))
            loss = compute(engine, rows)  # it has drawn its dropout when memory runs out
            if len(rows) > self.rows:
                raise torch.OutOfMemoryError("tried to allocate 20 MiB")
            return loss

        monkeypatch.setattr(Training, "_summed_loss", summed_loss)


def test_out_of_memory_halves_the_micro_batch(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step is then redone: the training is the one that had the smaller micro-batch from the start."""
    student = LoraStudent(settings(tiny_models.student, lora_dropout=0.1))
    parts = segments(tmp_path / "small", 5, micro_batch_size=2)
    expected = [student.train(segment, quiet) for segment in parts]

    memory = ScarceMemory(monkeypatch, rows=2)
    results = []
    for segment in segments(tmp_path / "large", 5, micro_batch_size=4):
        results.append(LoraStudent(settings(tiny_models.student, lora_dropout=0.1)).train(segment, quiet))
    assert outcome(results) == outcome(expected)
    assert [result.notes for result in results] == [("out of memory: micro-batch lowered to 2",), (), ()]
    assert memory.sizes == [4] + [2] * 24  # once too many, then never again, not even after the checkpoints


def test_out_of_memory_once_is_enough_to_stay_careful(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients = Training._gradients
    failed: list[int] = []

    def gradients_that_fail_once(engine: Training, batch: Sequence[Tokens], max_grad_norm: float) -> float:
        if not failed:
            failed.append(len(batch))
            raise torch.OutOfMemoryError
        return gradients(engine, batch, max_grad_norm)

    monkeypatch.setattr(Training, "_gradients", gradients_that_fail_once)
    memory = ScarceMemory(monkeypatch, rows=4)
    student = LoraStudent(settings(tiny_models.student))
    results = [student.train(segment, quiet) for segment in segments(tmp_path, 6, micro_batch_size=4)]
    assert [result.notes for result in results] == [("out of memory: micro-batch lowered to 2",), ()]
    assert memory.sizes == [2] * 24
    assert results[-1].losses[-1] < results[0].losses[0]

    student.train(training(tmp_path / "next", micro_batch_size=4), quiet)  # another training starts as it was asked to
    assert memory.sizes[24:] == [4] * 12


def test_dropout_that_does_not_fit_halves_the_micro_batch(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NumPy draws it, whose error for that is no RuntimeError."""
    student = LoraStudent(settings(tiny_models.student, lora_dropout=0.1))
    expected = student.train(training(tmp_path / "small", micro_batch_size=2), quiet)
    drawn, failed = Dropout.kept_elements, list[int]()

    def fails_once(dropout: Dropout, rows: torch.Tensor, layer: int) -> torch.Tensor | None:
        if layer == 3 and not failed:
            failed.append(len(rows))
            raise MemoryError("Unable to allocate 2.00 GiB for an array")
        return drawn(dropout, rows, layer)

    monkeypatch.setattr(Dropout, "kept_elements", fails_once)
    result = student.train(training(tmp_path / "large", micro_batch_size=4), quiet)
    assert failed
    assert outcome([result]) == outcome([expected])
    assert result.notes == ("out of memory: micro-batch lowered to 2",)


def test_a_single_example_that_does_not_fit_has_its_activations_computed_again(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the training's end, over its checkpoints, and not in the next one; with the very same results."""
    parts = segments(tmp_path / "one", 5, micro_batch_size=1)
    student = LoraStudent(settings(tiny_models.student, lora_dropout=0.1))
    expected = [student.train(segment, quiet) for segment in parts]
    compute = Training._summed_loss
    recomputed: list[bool] = []

    def only_when_recomputed(engine: Training, rows: Sequence[Tokens]) -> torch.Tensor:
        recomputed.append(engine._adapted.recomputes_activations)
        loss = compute(engine, rows)
        if not recomputed[-1]:
            raise torch.OutOfMemoryError
        return loss

    monkeypatch.setattr(Training, "_summed_loss", only_when_recomputed)
    results = []
    for segment in segments(tmp_path / "two", 5, micro_batch_size=2):
        student = LoraStudent(settings(tiny_models.student, lora_dropout=0.1))
        results.append(student.train(segment, quiet))
    assert outcome(results) == outcome(expected)
    note = "out of memory: activations are computed again in the backward pass"
    assert [result.notes for result in results] == [("out of memory: micro-batch lowered to 1", note), (), ()]
    assert recomputed == [False, False] + [True] * 48
    monkeypatch.setattr(Training, "_summed_loss", compute)
    student.train(training(tmp_path / "next"), quiet)
    assert not student._adapted.recomputes_activations


def test_recomputing_keeps_less(tiny_models: TinyModels) -> None:
    """Each layer's input instead of all that is computed in it."""
    adapted = LoraStudent(settings(tiny_models.student))._adapted
    adapted.model.train()
    kept: list[int] = []

    def counted(tensor: torch.Tensor) -> torch.Tensor:
        kept[-1] += tensor.numel()
        return tensor

    for wanted in (False, True):
        adapted.recomputes_activations = wanted
        kept.append(0)
        with torch.autograd.graph.saved_tensors_hooks(counted, lambda tensor: tensor):
            adapted.model(input_ids=torch.arange(1, 100)[None])
    assert kept[1] < 0.3 * kept[0]


def test_out_of_memory_with_a_single_example_is_an_error(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = ScarceMemory(monkeypatch, rows=0)
    with pytest.raises(OutOfMemoryError, match="single example at a time") as caught:
        LoraStudent(settings(tiny_models.student)).train(training(tmp_path / "adapter"), quiet)
    assert "student.max_length" in caught.value.remedy
    assert memory.sizes == [4, 2, 1, 1]
    assert list(tmp_path.iterdir()) == []


def test_an_update_is_never_redone(tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory may run out in its middle, when some weights are changed already: then the whole segment starts anew."""
    student = LoraStudent(settings(tiny_models.student))
    expected = [student.train(segment, quiet) for segment in segments(tmp_path / "one", 6)]
    parts = segments(tmp_path / "two", 6)
    results = [student.train(parts[0], quiet)]
    updates: list[int] = []
    step = torch.optim.AdamW.step

    def half_a_step(optimizer: torch.optim.AdamW) -> None:
        updates.append(1)
        step(optimizer)
        raise torch.OutOfMemoryError

    with monkeypatch.context() as short:
        short.setattr(torch.optim.AdamW, "step", half_a_step)
        with pytest.raises(OutOfMemoryError, match="for the optimizer"):
            student.train(parts[1], quiet)
    assert updates == [1]
    results.append(student.train(parts[1], quiet))
    assert outcome(results) == outcome(expected)


# --- weights that don't fit ---


def test_a_student_that_does_not_fit_is_no_mistake_of_its_user(
    tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever memory runs out while it is loaded; the pool of workers makes room then."""
    places: tuple[tuple[Any, str, Exception], ...] = (
        (AutoModelForCausalLM, "from_pretrained", torch.OutOfMemoryError("CUDA out of memory. Tried to …")),
        (AutoModelForCausalLM, "from_pretrained", RuntimeError("[enforce fail at …] can't allocate memory")),
        (Params4bit, "__new__", torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")),
        (Params4bit, "to", torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")),
        (base, "get_peft_model", MemoryError()),
        (base, "loss_for", RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate")),
    )
    for owner, name, error in places:

        def short(*_: object, error: Exception = error, **__: object) -> Any:
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(owner, name, short)
            with pytest.raises(OutOfMemoryError, match="does not fit into the memory of cpu") as caught:
                LoraStudent(settings(tiny_models.student, quantization="nf4"))
        assert not isinstance(caught.value, UserInputError)
        assert str(tiny_models.student) in caught.value.message
        assert 'student.quantization = "nf4"' in caught.value.remedy
        assert caught.value.what == "weights"


def test_what_is_not_for_want_of_memory_stays_what_it_is(
    tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> Any:
        raise RuntimeError("a defect")

    monkeypatch.setattr(base, "get_peft_model", fails)
    with pytest.raises(RuntimeError, match="a defect"):
        LoraStudent(settings(tiny_models.student))


# --- dequantized weights ---


class FreeMemory:
    """Stands in for psutil's figures."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, available: int) -> None:
        self.available = available
        monkeypatch.setattr(psutil, "virtual_memory", lambda: self)


class ControlGroups:
    """Stands in for the system's: this process is in outer/inner."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.outer, self.inner = folder / "groups/outer", folder / "groups/outer/inner"
        self.inner.mkdir(parents=True)
        self.own = folder / "own"
        self.own.write_text("1:name=systemd:/elsewhere\n0::/outer/inner\n")
        monkeypatch.setattr(free_memory, "_OWN_GROUP", self.own)
        monkeypatch.setattr(free_memory, "_GROUPS", folder / "groups")

    @staticmethod
    def limit(group: Path, most: str, used: int, inactive_file: int) -> None:
        (group / "memory.max").write_text(f"{most}\n")
        (group / "memory.current").write_text(f"{used}\n")
        (group / "memory.stat").write_text(f"anon 7\ninactive_file {inactive_file}\nactive_file 9\n")


@pytest.mark.parametrize(
    ("outer", "inner", "available"),
    [
        (("max", 900, 0), ("max", 900, 0), 5000),
        (("max", 900, 0), ("1000", 900, 50), 150),
        (("2000", 1970, 0), ("1000", 900, 50), 30),
        (("max", 900, 0), ("1000", 1100, 50), 0),
        (("9000", 900, 0), ("9000", 900, 0), 5000),
    ],
    ids=["no limit", "its own", "that of the group around it", "already beyond it", "more than the machine has"],
)
def test_control_groups_limit_what_is_available(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    outer: tuple[str, int, int],
    inner: tuple[str, int, int],
    available: int,
) -> None:
    FreeMemory(monkeypatch, 5000)
    groups = ControlGroups(monkeypatch, tmp_path)
    groups.limit(groups.outer, *outer)
    groups.limit(groups.inner, *inner)
    assert free_memory.available_bytes() == available


@pytest.mark.parametrize("own", ["1:memory:/outer\n", "0::/../outer\n", None], ids=["version 1", "outside", "none"])
def test_without_groups_of_its_own_a_process_has_what_the_machine_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: str | None
) -> None:
    FreeMemory(monkeypatch, 5000)
    groups = ControlGroups(monkeypatch, tmp_path)
    groups.limit(groups.outer, "1000", 900, 0)
    if own is None:
        groups.own.unlink()
    else:
        groups.own.write_text(own)
    assert free_memory.available_bytes() == 5000


@pytest.mark.parametrize("own", ["0::/\n", "0::/not/seen/from/here\n"], ids=["itself", "by the name outside"])
def test_a_container_has_its_limit_at_the_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: str) -> None:
    FreeMemory(monkeypatch, 5000)
    groups = ControlGroups(monkeypatch, tmp_path)
    groups.limit(groups.outer.parent, "1000", 900, 0)
    groups.own.write_text(own)
    assert free_memory.available_bytes() == 100


def test_weights_are_not_kept_dequantized_beyond_a_control_groups_limit(
    tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    FreeMemory(monkeypatch, 2**40)
    groups = ControlGroups(monkeypatch, tmp_path)
    groups.limit(groups.outer, "1000000", 900000, 0)
    assert not LoraStudent(settings(tiny_models.student, quantization="nf4"))._adapted.dequantized.drop()


@pytest.mark.parametrize(
    ("available", "reserved", "kept"), [(2**40, 0, True), (2**40, 2**40, False), (100_000, 0, False)]
)
def test_weights_are_kept_dequantized_where_they_fit(
    tiny_models: TinyModels,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    available: int,
    reserved: int,
    kept: bool,
) -> None:
    FreeMemory(monkeypatch, available)
    wanted = settings(tiny_models.student, quantization="nf4", reserved_bytes=reserved)
    adapted = LoraStudent(wanted)._adapted
    assert ("kept dequantized, in 0 MiB" in capsys.readouterr().err) == kept
    assert adapted.dequantized.drop() == kept
    assert not adapted.dequantized.drop()


def test_only_quantized_weights_are_kept_dequantized(
    tiny_models: TinyModels, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not LoraStudent(settings(tiny_models.student))._adapted.dequantized.drop()
    assert "dequantized" not in capsys.readouterr().err


def test_dequantized_weights_are_those_that_bitsandbytes_computes_with(tiny_models: TinyModels) -> None:
    adapted = LoraStudent(settings(tiny_models.student, quantization="nf4"))._adapted
    layers = [layer.base_layer for layer in adapted.model.modules() if isinstance(layer, LeanLinear4bit)]
    assert len(layers) == 14
    for layer in layers:
        columns = layer(torch.eye(layer.in_features))  # each product is a weight times 1, and zeros
        assert torch.equal(base_weight(layer, torch.float32), columns.t())
    adapted.dequantized.drop()
    assert torch.equal(base_weight(layer, torch.float32), columns.t())


def test_a_training_does_not_depend_on_whether_weights_are_kept_dequantized(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor when they are for a part of it only, as where memory differs when it is resumed."""

    def fresh(available: int) -> LoraStudent:
        FreeMemory(monkeypatch, available)
        return LoraStudent(settings(tiny_models.student, quantization="nf4", lora_dropout=0.1))

    kept, mixed = fresh(2**40), [fresh(0), fresh(2**40), fresh(0)]
    expected = [kept.train(segment, quiet) for segment in segments(tmp_path / "kept", 5)]
    results = [one.train(segment, quiet) for one, segment in zip(mixed, segments(tmp_path / "mixed", 5), strict=True)]
    assert [result.sha256 for result in results] == [result.sha256 for result in expected]
    assert outcome(results) == outcome(expected)


def test_out_of_memory_drops_dequantized_weights_before_anything_else(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = LoraStudent(settings(tiny_models.student, quantization="nf4", lora_dropout=0.1))
    expected = student.train(training(tmp_path / "one"), quiet)
    student._adapted.dequantized.keep()
    gradients, failed = Training._gradients, list[int]()

    def gradients_that_fail_once(engine: Training, batch: Sequence[Tokens], max_grad_norm: float) -> float:
        if not failed:
            failed.append(1)
            torch.rand(3)  # it has drawn its dropout
            raise torch.OutOfMemoryError
        return gradients(engine, batch, max_grad_norm)

    monkeypatch.setattr(Training, "_gradients", gradients_that_fail_once)
    result = student.train(training(tmp_path / "two"), quiet)
    assert outcome([result]) == outcome([expected])
    assert [note.split(",")[0] for note in result.notes] == [
        "out of memory: weights are dequantized for each use again"
    ]
    assert not student._adapted.dequantized.drop()
