"""All of `bench gpu` but the GPU: its contenders on tiny shapes, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from workspaces import Workspace

from llm2llm_local.bench import gpu
from llm2llm_local.bench.gpu import GpuCase
from llm2llm_local.bench.measure import Result, measure
from llm2llm_local.bench.plan import Comparison, Contender, Prepare

if TYPE_CHECKING:
    from tiny_models import TinyModels

pytestmark = pytest.mark.model


def test_without_a_gpu_the_command_says_so(tmp_path: Path, tiny_models: TinyModels) -> None:
    models = ("--teacher", tiny_models.teacher, "--student", tiny_models.student)
    (tmp_path / "llm2llm.toml").write_text(
        f'task.family = "math"\ndata.train = "train.jsonl"\nhardware.device = "cpu"\n'
        f'teacher.model = "{tiny_models.teacher}"\nstudent.model = "{tiny_models.student}"\n'
    )
    ending = Workspace(tmp_path).llm2llm("bench", "gpu", *models)
    assert ending.code == 2
    assert "no NVIDIA GPU" in ending.err


@pytest.fixture
def case(tmp_path: Path, tiny_models: TinyModels) -> GpuCase:
    return GpuCase(
        scratch=tmp_path,
        tokenizer=tiny_models.student,
        teacher=tiny_models.teacher,
        device="cpu",
        threads=1,
        hidden=64,
        layers=2,
        heads=4,
        kv_heads=2,
        feed_forward=128,
        examples=6,
        batch_size=4,
        tokens=8,
        longest=256,
        matrix=64,
    )


def measured(case: GpuCase, *prepares: Prepare) -> list[Result]:
    contenders = tuple(Contender(one.__name__, one) for one in prepares)
    results = measure(Comparison("gpu", case, contenders, "", "one by one", repeats=1, warm_ups=0)).results
    assert [one.not_run for one in results] == [""] * len(results)
    return list(results)


def test_ours_and_trainer_train_on_the_same_tokens(case: GpuCase) -> None:
    ours, other, peak = measured(case, gpu.training, gpu.trainer, gpu.matrix_product)
    assert ours.counts() == other.counts()
    assert ours.counts()["tokens"] > case.examples * case.tokens / 2
    assert peak.counts() == {"TFLOP": pytest.approx(20 * 2 * 64**3 / 1e12)}
    assert (case.scratch / "llama-64-2" / "config.json").is_file()


def test_the_work_is_that_of_the_weights_that_are_multiplied_with(case: GpuCase) -> None:
    from transformers import AutoModelForCausalLM

    (ours,) = measured(case, gpu.training)
    model = AutoModelForCausalLM.from_pretrained(gpu.made_student(case))
    weights = sum(one.numel() for name, one in model.named_parameters() if one.dim() == 2 and "embed" not in name)
    assert ours.counts()["TFLOP"] == pytest.approx(4 * weights * ours.counts()["tokens"] / 1e12)


def test_the_largest_context_ends_where_the_student_does(case: GpuCase) -> None:
    (result,) = measured(case, gpu.largest_context)
    assert case.longest / 4 < result.counts()["context tokens"] <= case.longest


def test_the_device_is_handed_over_and_nothing_stays(case: GpuCase) -> None:
    (result,) = measured(case, gpu.hand_over)
    assert result.counts()["hand-overs"] == 1
    assert 0 < result.parts()["last token to first step"] < result.median_seconds


def test_the_shapes_are_those_of_their_names(case: GpuCase) -> None:
    parts = gpu.parts(case.scratch, case.teacher, case.tokenizer, "cuda", 1)
    weights = {
        name: 1e12 * gpu._flop(part.case, 128_256, 1) / 4
        for part in parts
        for name in ("1B", "8B")
        if part.title == f"training a {name} student"
    }
    assert 1.1e9 < weights["1B"] < 1.4e9
    assert 7e9 < weights["8B"] < 8.5e9
    assert all(part.order == "one by one" for part in parts if isinstance(part.case, GpuCase))
