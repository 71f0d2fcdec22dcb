"""All of `bench gpu` but the GPU: its contenders on tiny shapes, on the CPU and in this process."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Mapping
from importlib.metadata import Distribution
from importlib.metadata import version as version_of
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from workspaces import Workspace

from llm2llm_local.bench.gpu import parts
from llm2llm_local.bench.gpu.carried import requirement_lines
from llm2llm_local.bench.gpu.context import (
    BUDGET,
    CONTEXT,
    LONGEST,
    NO_TIME,
    TOO_LONG,
    ContextCase,
    largest_context,
    search,
)
from llm2llm_local.bench.gpu.hand_over import FIRST_STEP, LEFT, HandOverCase, handed_over
from llm2llm_local.bench.gpu.limits import STARTED, time_limits
from llm2llm_local.bench.gpu.setting_up import constraints, isolation, link_cublas, needs, present_packages, unfit
from llm2llm_local.bench.gpu.student import StudentCase, made_student
from llm2llm_local.bench.gpu.targets import table
from llm2llm_local.bench.gpu.training import (
    DISTANCE,
    PEAK,
    PEAK_SHARE,
    TrainingCase,
    in_two_segments,
    ours,
    tera_flop,
    trainer,
)
from llm2llm_local.bench.machine import Machine
from llm2llm_local.bench.measure import Measured, Result, TimeLimits, measure
from llm2llm_local.bench.output import Report, report_document
from llm2llm_local.bench.plan import Comparison, Contender, Memory, Repeat, Timed, Work
from llm2llm_local.errors import Llm2LlmError, ModelError

if TYPE_CHECKING:
    from tiny_models import TinyModels

ROOT = Path(__file__).parents[1]
SETTING_UP = ROOT / "llm2llm_local" / "bench" / "gpu" / "setting_up.py"


@pytest.mark.model
def test_without_a_gpu_the_command_says_so(tmp_path: Path, tiny_models: TinyModels) -> None:
    models = ("--teacher", tiny_models.teacher, "--student", tiny_models.student)
    (tmp_path / "llm2llm.toml").write_text(
        f'task.family = "math"\ndata.train = "train.jsonl"\nhardware.device = "cpu"\n'
        f'teacher.model = "{tiny_models.teacher}"\nstudent.model = "{tiny_models.student}"\n'
    )
    ending = Workspace(tmp_path).llm2llm("bench", "gpu", *models)
    assert ending.code == 2
    assert "no NVIDIA GPU" in ending.err


# --- students of random weights ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shape(tmp_path_factory: pytest.TempPathFactory, tiny_models: TinyModels) -> dict[str, Any]:
    """Of a student for all tests here, which is made once."""
    values: dict[str, Any] = {
        "scratch": tmp_path_factory.mktemp("gpu"),
        "tokenizer": tiny_models.student,
        "device": "cpu",
        "threads": 1,
        "hidden": 64,
        "layers": 2,
        "heads": 4,
        "kv_heads": 2,
        "feed_forward": 128,
        "vocabulary": 500,
        "longest": 256,
    }
    made_student(StudentCase(**values))
    return values


@pytest.mark.model
def test_a_student_has_its_shape_in_16_bits(shape: Mapping[str, Any]) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    case = StudentCase(**shape)
    model = AutoModelForCausalLM.from_pretrained(case.folder)
    assert model.dtype == torch.bfloat16
    weights = sum(one.numel() for name, one in model.named_parameters() if one.dim() == 2 and "embed" not in name)
    assert tera_flop(case, 1, 1) == pytest.approx(4 * weights / 1e12)
    head = model.get_output_embeddings().weight
    assert head.shape == (500, 64)
    assert head is not model.get_input_embeddings().weight
    assert 0.01 < float(head.detach().float().std()) < 0.03


@pytest.mark.model
def test_a_student_is_made_once_and_whole(
    tmp_path: Path, shape: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import PreTrainedModel

    case = StudentCase(**{**shape, "scratch": tmp_path})
    save = PreTrainedModel.save_pretrained

    def fails_in_the_middle(self: Any, folder: Path, **more: Any) -> None:
        save(self, folder, **more)
        raise OSError("disk full")

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", fails_in_the_middle)
    with pytest.raises(OSError, match="disk full"):
        made_student(case)
    assert not case.folder.exists()
    monkeypatch.setattr(PreTrainedModel, "save_pretrained", save)
    made_student(case)
    files = {file.name: file.stat().st_mtime_ns for file in case.folder.iterdir()}
    made_student(case)
    assert {file.name: file.stat().st_mtime_ns for file in case.folder.iterdir()} == files
    assert list(tmp_path.iterdir()) == [case.folder]


@pytest.mark.model
def test_the_student_is_made_before_the_contenders_begin(tmp_path: Path, shape: Mapping[str, Any]) -> None:
    """In a process of its own, as all comparisons have it that need one."""
    case = TrainingCase(**{**shape, "scratch": tmp_path}, examples=2, batch_size=2, tokens=4, matrix=16)
    contender = Contender("training", ours)
    comparison = Comparison(
        "gpu", case, (contender,), "tokens", "one by one", repeats=1, warm_ups=0, before=made_student
    )
    (result,) = measure(comparison).results
    assert result.not_run == ""
    assert result.counts()["tokens"] > 0


# --- training ---------------------------------------------------------------------------------------------------------


def figures_of(repeat: Repeat) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """Counts and figures."""
    done = repeat()
    assert isinstance(done, Work)
    return done.counts, done.figures


@pytest.mark.model
def test_ours_and_trainer_train_on_the_same_tokens(shape: Mapping[str, Any]) -> None:
    case = TrainingCase(**shape, examples=6, batch_size=4, tokens=8, matrix=64)
    counts, found = figures_of(ours(case))
    theirs, other = figures_of(trainer(case))
    assert counts == theirs
    assert counts["tokens"] > case.examples * case.tokens / 2
    assert found.keys() == other.keys()
    assert found["times out of memory"] == 0


@pytest.mark.model
def test_the_share_of_the_peak_is_that_of_the_work(shape: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm2llm_local.bench.gpu.training.matrix_peak", lambda device, side: 1e-3)
    repeat = ours(TrainingCase(**shape, examples=6, batch_size=4, tokens=8, matrix=64))
    started = time.perf_counter()
    counts, found = figures_of(repeat)
    seconds = time.perf_counter() - started
    assert found[PEAK] == 1e-3
    # In percent, of a little less time than what was measured around it.
    assert 100 * counts["TFLOP"] / seconds / 1e-3 <= found[PEAK_SHARE] < 3 * 100 * counts["TFLOP"] / seconds / 1e-3


@pytest.mark.model
def test_a_training_in_two_segments_becomes_what_it_is_in_one(
    shape: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from llm2llm_local.student.checkpoint import load_state

    def without_the_optimizer(folder: Path, optimizer: Any) -> dict[str, Any]:
        scalars = load_state(folder, optimizer)
        optimizer.state.clear()
        return scalars

    case = TrainingCase(**shape, examples=8, batch_size=4, tokens=8)
    assert figures_of(in_two_segments(case))[1] == {DISTANCE: 0.0}
    monkeypatch.setattr("llm2llm_local.student.training.load_state", without_the_optimizer)
    assert figures_of(in_two_segments(case))[1][DISTANCE] > 0


# --- the largest context ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [100, 101, 128, 199, 200, 201, 1000, 12_345])
def test_the_search_comes_within_five_percent(limit: int) -> None:
    asked: list[int] = []

    def fits(size: int) -> bool:
        asked.append(size)
        return size <= limit

    fitting, too_long = search(fits, 100, 100_000)
    assert too_long is not None
    assert fitting <= limit < too_long <= max(1.05 * fitting, fitting + 1)
    assert {fitting, too_long} <= set(asked)
    assert len(asked) == len(set(asked))
    assert len(asked) < 20


def test_the_search_ends_at_the_longest_and_at_nothing() -> None:
    assert search(lambda size: True, 100, 1_000) == (1_000, None)
    assert search(lambda size: True, 100, 100) == (100, None)
    assert search(lambda size: False, 100, 1_000) == (0, 100)


@pytest.fixture
def memory_for(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Memory runs out, in the middle of a step, for more than so many tokens at a time; whatever is done about it."""
    import torch

    from llm2llm_local.student.training import Training

    step = Training._summed_loss

    def limit(tokens: int) -> None:
        def short(self: Any, rows: Any) -> torch.Tensor:
            if sum(len(row.ids) for row in rows) > tokens:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
            return step(self, rows)

        monkeypatch.setattr(Training, "_summed_loss", short)

    return limit


@pytest.mark.model
def test_the_largest_context_ends_where_the_student_does(shape: Mapping[str, Any]) -> None:
    case = ContextCase(**shape, shortest=20)
    counts, found = figures_of(largest_context(case))
    assert found.keys() == {CONTEXT, LONGEST}
    assert found[LONGEST] == 256
    assert 250 < found[CONTEXT] <= 256
    assert counts == {"trainings": 5}  # 20, 40, 80, 160, 256


@pytest.mark.model
def test_the_largest_context_ends_where_memory_does(
    shape: Mapping[str, Any], memory_for: Callable[[int], None]
) -> None:
    memory_for(150)
    _, found = figures_of(largest_context(ContextCase(**shape, shortest=20)))
    assert found.keys() == {CONTEXT, TOO_LONG}
    assert 140 <= found[CONTEXT] <= 150 < found[TOO_LONG] <= 160


@pytest.mark.model
def test_what_fitted_is_told_when_time_ends_the_search(
    shape: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training takes a second of this clock; up to four times as long are expected for twice the tokens."""
    seconds = count()
    monkeypatch.setattr("llm2llm_local.bench.gpu.context.time", SimpleNamespace(monotonic=lambda: next(seconds)))
    monkeypatch.setattr("llm2llm_local.bench.gpu.context.time_limits", lambda: TimeLimits(end=9.5))
    counts, found = figures_of(largest_context(ContextCase(**shape, shortest=20)))
    assert counts == {"trainings": 3}  # 20, 40, 80
    assert found.keys() == {CONTEXT, NO_TIME}
    assert 75 < found[CONTEXT] <= 80 and 155 < found[NO_TIME] <= 160


@pytest.mark.model
def test_a_context_that_never_fits_is_an_error(shape: Mapping[str, Any], memory_for: Callable[[int], None]) -> None:
    memory_for(10)
    with pytest.raises(Llm2LlmError, match=r"20 tokens don't fit into 24 GiB"):
        largest_context(ContextCase(**shape, shortest=20))()


@pytest.mark.model
def test_other_errors_of_a_training_are_no_end_of_memory(
    shape: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from llm2llm_local.student.training import Training

    def refuses(self: Any, rows: Any) -> None:
        raise ModelError("something else")

    monkeypatch.setattr(Training, "_summed_loss", refuses)
    with pytest.raises(ModelError, match="something else"):
        largest_context(ContextCase(**shape, shortest=20))()


# --- the hand-over ----------------------------------------------------------------------------------------------------


@pytest.fixture
def hand_over_case(
    shape: Mapping[str, Any], tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> HandOverCase:
    """Where memory is the machine's, other programs take some of it: it is not waited for long."""
    monkeypatch.setattr("llm2llm_local.bench.gpu.hand_over._FREEING_SECONDS", 0.5)
    case = HandOverCase(**shape, teacher=tiny_models.teacher, batch_size=4, tokens=8, teaching_seconds=0.0)
    shutil.copytree(case.folder, tmp_path / case.folder.name)
    return dataclasses.replace(case, scratch=tmp_path)


@pytest.mark.model
def test_the_device_is_handed_over(hand_over_case: HandOverCase) -> None:
    started = time.perf_counter()
    done = handed_over(hand_over_case)()
    seconds = time.perf_counter() - started
    assert isinstance(done, Work)
    loaded, first_step = done.parts["last token to student loaded"], done.parts[FIRST_STEP]
    assert 0 < loaded < first_step < seconds
    assert done.figures[LEFT] >= 0


@pytest.mark.model
def test_the_student_waits_for_the_memory_that_it_needs(
    hand_over_case: HandOverCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a run: the pool knows what both need, and that they take turns."""
    from llm2llm_local.workers.pool import WorkerPool

    plans = []

    def opened(teacher: Any, student: Any, plan: Any, *others: Any) -> WorkerPool:
        plans.append(plan)
        return WorkerPool(teacher, student, plan, *others)

    monkeypatch.setattr("llm2llm_local.bench.gpu.hand_over.WorkerPool", opened)
    handed_over(hand_over_case)()
    (plan,) = plans
    assert not plan.keeps_both
    assert plan.teacher_bytes > hand_over_case.teacher.stat().st_size
    assert plan.student_bytes > 2**20
    assert plan.free_bytes > 2**20


@pytest.mark.model
def test_memory_that_is_free_late_is_waited_for(hand_over_case: HandOverCase, monkeypatch: pytest.MonkeyPatch) -> None:
    free = iter([2**34, 2**34 - 2**30, 2**34 - 2**20, 2**34])
    monkeypatch.setattr("llm2llm_local.bench.gpu.hand_over.free_bytes", lambda device: next(free))
    monkeypatch.setattr("llm2llm_local.bench.gpu.hand_over._FREEING_SECONDS", 60.0)
    done = handed_over(hand_over_case)()
    assert isinstance(done, Work)
    assert done.figures[LEFT] == 0
    assert next(free, None) is None


# --- the list of parts, and its time ----------------------------------------------------------------------------------


def test_the_parts_are_what_they_are_called() -> None:
    found = {one.title: one for one in parts(Path("scratch"), Path("teacher.gguf"), Path("student"), "cuda", 4)}
    weights = {}
    for name in ("1B", "8B"):
        case = found[f"training a {name} student"].case
        weights[name] = 1e12 * tera_flop(case, 1, 1) / 4 + case.vocabulary * case.hidden * (name == "8B")
    assert 1.2e9 < weights["1B"] < 1.3e9  # its embeddings are those of the output
    assert 8.0e9 < weights["8B"] < 8.1e9
    requests = next(iter(found.values()))
    assert requests.case.n_requests == requests.case.n_parallel == 32
    assert requests.case.gpu_layers == -1
    assert {"batched", "one_at_a_time"} <= {one.name for one in requests.contenders}
    assert found["largest context of a 8B student"].case.budget_gib == 24


def test_parts_with_a_student_share_it_and_have_it_made_before() -> None:
    with_student = [
        one
        for one in parts(Path("scratch"), Path("teacher.gguf"), Path("student"), "cuda", 4)
        if isinstance(one.case, StudentCase)
    ]
    assert len(with_student) == 6
    assert all(one.before is made_student for one in with_student)
    assert len({one.case.folder for one in with_student}) == 2


def test_the_setting_up_is_part_of_the_nine_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STARTED, raising=False)
    whole = time_limits()
    assert 400 < whole.begin - time.monotonic() < whole.end - time.monotonic() < 540
    monkeypatch.setenv(STARTED, f"{time.time() - 200:.0f}")
    rest = time_limits()
    assert rest.end == pytest.approx(whole.end - 200, abs=5)
    assert rest.begin == pytest.approx(whole.begin - 200, abs=5)


# --- the table at the end ---------------------------------------------------------------------------------------------


def result(name: str, seconds: float, work: Work, gpu_mib: int) -> Result:
    timed = Timed(seconds, dict(work.counts), dict(work.parts), dict(work.figures))
    memory = Memory(whole=2**30, working=2**30, gpu=gpu_mib * 2**20)
    return Result(name, repeats=(timed, timed), memory=memory)


def shown(*results_of_parts: tuple[Result, ...]) -> list[str]:
    """The lines of the table of such a document."""
    return list(table(document_of(*results_of_parts)))


def document_of(*results_of_parts: tuple[Result, ...]) -> Any:
    """The parts that there are, in their order; those without results had no time."""
    comparisons = parts(Path("scratch"), Path("teacher.gguf"), Path("student"), "cuda", 4)
    measured = []
    for position, comparison in enumerate(comparisons):
        results = results_of_parts[position] if position < len(results_of_parts) else ()
        missing = [one.name for one in comparison.contenders if one.name not in {each.name for each in results}]
        rest = tuple(Result(name, not_run="there was no time left") for name in missing)
        measured.append(Measured(comparison, (*results, *rest)))
    machine = Machine("A CPU", 16, 2**37, "A GPU", 80 * 2**30, "580.1", "Linux")
    report = Report("gpu", machine, {"torch": "2.11.0"}, (), tuple(measured))
    return json.loads(json.dumps(report_document(report)))


def line_of(lines: list[str], beginning: str) -> list[str]:
    (line,) = (one for one in lines if one.startswith(beginning))
    return re.split(r" {2,}", line)[1:]


def trained(seconds: float, share: float) -> Work:
    return Work({"tokens": 1000, "TFLOP": 1}, figures={PEAK_SHARE: share, PEAK: 780.0, "times out of memory": 0})


MEMORY_ENDED = {CONTEXT: 36_000, TOO_LONG: 37_500, BUDGET: 22.5}
MODEL_ENDED = {CONTEXT: 131_000, LONGEST: 131_072, BUDGET: 24.0}
TIMED = Timed(1.0, {"tokens": 1000, "TFLOP": 1})


def test_the_table_says_what_was_met_and_what_was_missed() -> None:
    lines = shown(
        (
            result("batched", 1.0, Work({"requests": 32, "tokens": 1500}), 900),
            result("one_at_a_time", 13.0, Work({"requests": 32, "tokens": 1500}), 900),
            result("bare_loop", 0.9, Work({"requests": 32, "tokens": 1500}), 900),
        ),
        (result("training", 1.0, trained(1.0, 42.4), 20_000), result("Trainer", 1.9, trained(1.9, 22.0), 30_000)),
        (result("hand-over", 30.0, Work({"hand-overs": 1}, {FIRST_STEP: 9.5}, {LEFT: 40.0}), 0),),
        (result("largest context", 60.0, Work({"trainings": 9}, figures=MEMORY_ENDED), 0),),
        (result("training", 1.0, trained(1.0, 40.0), 30_000), result("Trainer", 2.5, trained(2.5, 16.0), 20_000)),
        (result("largest context", 9.0, Work({"trainings": 5}, figures=MODEL_ENDED), 0),),
        (result("two segments", 9.0, Work({"trainings": 2}, figures={DISTANCE: 0.0}), 0),),
    )
    assert "A GPU, 80 GiB, driver 580.1" in lines[0]
    assert line_of(lines, "teacher, 32 in parallel, to the loop") == ["13× (13–13)", "≥ 12×", "met"]
    assert line_of(lines, "teacher, to llama.cpp's bare loop") == ["0.9× (0.9–0.9)", "≥ 0.95×", "missed"]
    assert line_of(lines, "training a 8B student, to Trainer") == ["1.9× (1.9–1.9)", "≥ 2×", "missed"]
    assert line_of(lines, "training a 1B student, to Trainer") == ["2.5× (2.5–2.5)", "≥ 2×", "met"]
    assert line_of(lines, "training a 8B student, peak memory")[1:] == ["no more", "met"]
    assert line_of(lines, "training a 1B student, peak memory")[1:] == ["no more", "missed"]
    assert line_of(lines, "training a 8B student, tokens/s") == ["1,000"]
    assert line_of(lines, "training a 8B student, share of the matrix peak") == ["42% of 780 TFLOP/s"]
    assert line_of(lines, "hand-over to a 8B student, last token to first step") == ["9.5 s", "< 10 s", "met"]
    assert line_of(lines, "hand-over to a 8B student, memory left") == ["40 MiB", "nothing", "missed"]
    assert line_of(lines, "largest context of a 8B student in 22.5 GiB") == ["36,000 tokens; memory ran out at 37,500"]
    assert line_of(lines, "largest context of a 1B student in 24 GiB") == ["131,000 tokens; the model's longest"]
    assert line_of(lines, "a 1B student's training in two segments, largest difference") == ["0"]


def test_the_table_has_a_search_that_time_ended_and_medians_of_two() -> None:
    peaks = [dataclasses.replace(TIMED, figures={PEAK_SHARE: share, PEAK: 780.0}) for share in (20.0, 40.0)]
    training = Result("training", repeats=tuple(peaks), memory=Memory(whole=1, working=1, gpu=1))
    found = {CONTEXT: 36_000, NO_TIME: 38_000, TOO_LONG: 40_000, BUDGET: 24.0}
    lines = shown((), (training,), (), (result("largest context", 60.0, Work({"trainings": 9}, figures=found), 0),))
    assert line_of(lines, "training a 8B student, share of the matrix peak") == ["30% of 780 TFLOP/s"]
    ended = ["36,000 tokens; memory ran out at 40,000; no time left for 38,000"]
    assert line_of(lines, "largest context of a 8B student in 24 GiB") == ended


def test_the_table_names_all_that_had_no_time() -> None:
    lines = shown()
    without = [one for one in lines if one.endswith("not run: there was no time left")]
    assert len(without) == 3 + 2 + 1 + 1 + 2 + 1 + 1
    assert len(lines) == len(without) + 3


# --- setting up where a GPU is ----------------------------------------------------------------------------------------


def test_what_is_carried_is_all_but_what_is_there_and_what_is_compiled_there() -> None:
    names = {line.split("==")[0] for line in requirement_lines("3.11")}
    assert {"bitsandbytes", "pydantic-core", "rapidfuzz", "textual", "linkify-it-py", "gguf"} <= names
    assert not {"torch", "numpy", "transformers", "peft", "pip", "llama-cpp-python", "llm2llm-local"} & names
    assert not {"mypy", "ruff", "pytest", "scipy"} & names


def test_what_is_carried_is_what_the_other_machines_python_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = 'click; python_version >= "3.12"', 'nowhere-here; python_version >= "3.13"', 'rich; extra == "more"'
    lines = "".join(f"Requires-Dist: {one}\n" for one in needed)
    distribution(tmp_path, "needing-1.0", f"Name: needing\nVersion: 1.0\n{lines}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("llm2llm_local.bench.gpu.carried._PROGRAM", "needing")
    click = f"click=={version_of('click')}"
    assert [requirement_lines(one) for one in ("3.11", "3.12", "3.13")] == [[], [click], [click, "nowhere-here"]]


def test_what_is_there_is_kept_and_what_is_not_is_pinned() -> None:
    pinned = "# Exact versions\nclick==8.5.1\nrapidfuzz==3.14.6\nRuamel_YAML==1.0\ntorch==2.13.0\n"
    present = {"pip": "24.0", "torch": "2.11.0+cu130", "transformers": "5.17.0", "peft": "0.19", "ruamel-yaml": "0.9"}
    assert list(constraints(pinned, present)) == [
        "click==8.5.1",
        "rapidfuzz==3.14.6",
        "pip==24.0",
        "torch==2.11.0+cu130",
        "transformers==5.17.0",
        "peft==0.19",
    ]


def distribution(folder: Path, name: str, metadata: str) -> None:
    """A package that is installed in the folder."""
    information = folder / f"{name}.dist-info"
    information.mkdir(parents=True)
    if metadata:
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\n{metadata}")


def test_of_two_versions_that_which_python_imports_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("1.0", "2.0"):
        distribution(tmp_path / version, f"Twice_there-{version}", f"Name: Twice_there\nVersion: {version}\n")
        monkeypatch.syspath_prepend(tmp_path / version)
    assert version_of("Twice_there") == "2.0"
    assert present_packages()["twice-there"].version == "2.0"


def test_what_an_interrupted_pip_has_left_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(tmp_path, "~orch-2.11.0", "")
    monkeypatch.syspath_prepend(tmp_path)
    assert "torch" in present_packages()


def test_a_version_that_cant_be_used_is_named_with_what_is_needed() -> None:
    required = needs((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    fitting = {"pip": "24.0", "torch": "2.11.0+cu130", "transformers": "5.17.0", "peft": "0.19.1", "click": "1.0"}
    assert unfit(required, fitting) == []
    assert unfit(required, {**fitting, "torch": "2.10.1+cu128", "transformers": "4.57.1"}) == [
        "torch 2.10.1+cu128 is there, needed is >=2.11",
        "transformers 4.57.1 is there, needed is <6,>=5.17",
    ]


@pytest.mark.model
def test_too_old_packages_of_the_machine_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    distribution(tmp_path / "old", "transformers-4.57.1", "Name: transformers\nVersion: 4.57.1\n")
    done = subprocess.run(
        [sys.executable, SETTING_UP, tmp_path / "gpu"],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "old")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "transformers 4.57.1 is there, needed is <6,>=5.17" in done.stderr and "PYTHON=" in done.stderr
    assert not (tmp_path / "gpu").exists()


def test_all_but_what_is_compiled_is_installed_as_it_is() -> None:
    found = needs((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = {re.split(r"[<>=]", one)[0] for one in found}
    assert {"torch", "textual", "click", "rapidfuzz"} <= names
    assert "llama-cpp-python" not in names


@pytest.mark.model
def test_the_environment_sees_the_packages_of_the_machine(tmp_path: Path) -> None:
    """Which may be a virtual environment itself, as the one of these tests is."""
    subprocess.run([sys.executable, SETTING_UP, tmp_path / "gpu"], cwd=tmp_path, check=True)
    asked = (
        "import click, llm2llm_local, peft, pip, sys, torch, transformers;"
        "print(sys.prefix, torch.__file__, llm2llm_local.__file__, sep='\\n')"
    )
    python = tmp_path / "gpu" / "bin" / "python"
    done = subprocess.run([python, "-P", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True)
    prefix, torch, package = done.stdout.splitlines()
    assert Path(prefix) == tmp_path / "gpu"
    assert Path(torch).is_relative_to(sys.prefix)
    assert Path(package).is_relative_to(ROOT)
    assert "torch==" in (tmp_path / "gpu" / "constraints.txt").read_text()
    assert "bitsandbytes" in (tmp_path / "gpu" / "needs.txt").read_text()


def test_a_python_without_the_packages_is_refused(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", symlinks=True)
    python = tmp_path / "bare" / "bin" / "python"
    done = subprocess.run([python, SETTING_UP, tmp_path / "gpu"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "torch, transformers, peft not there" in done.stderr
    assert not (tmp_path / "gpu").exists()


@pytest.mark.parametrize("lacking", ["", "scikit_build_core", "cmake", "ninja"])
def test_llama_is_compiled_with_what_is_there_only_when_all_of_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    """CMake as a program, the others as Python's packages."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name in {"scikit_build_core", "ninja"} - {lacking}:
        (tmp_path / f"{name}.py").touch()
    if lacking != "cmake":
        (tmp_path / "cmake").touch(mode=0o755)
    assert isolation() == ([] if lacking else ["--no-build-isolation"])


def test_cublas_lies_as_a_toolkit_has_it(tmp_path: Path) -> None:
    package = tmp_path / "packages"
    for name in ("lib/libcublas.so.13", "lib/libcublasLt.so.13", "lib/libnvblas.so.13", "include/cublas_v2.h"):
        file = package / "nvidia" / "cu13" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    information = package / "nvidia_cublas-13.1.dist-info"
    information.mkdir()
    files = [str(one.relative_to(package)) for one in package.rglob("*") if one.is_file()]
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: nvidia-cublas\nVersion: 13.1\n")
    (information / "RECORD").write_text("".join(f"{one},,\n" for one in files))
    link_cublas(Distribution.at(information), tmp_path / "cuda")
    found = {str(one.relative_to(tmp_path / "cuda")) for one in (tmp_path / "cuda").rglob("*") if one.is_file()}
    libraries = {"lib/libcublas.so", "lib/libcublas.so.13", "lib/libcublasLt.so", "lib/libcublasLt.so.13"}
    assert found == {*libraries, "include/cublas_v2.h"}
    assert (tmp_path / "cuda" / "lib" / "libcublas.so").read_text() == "lib/libcublas.so.13"


def test_make_compiles_nothing_without_a_gpu(tmp_path: Path) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    done = bench_gpu(tmp_path, f"BENCH_JSON={tmp_path}/found.json")
    assert done.returncode != 0
    assert done.stdout.startswith("Needs an NVIDIA GPU")
    assert not (tmp_path / "found.json").exists()


GPU_BIN_PYTHON = """#!/bin/sh
case "$*" in
    *default_model*) ;;
    *"llm2llm_local bench gpu"*) cp {measured} "$LLM2LLM_BENCH_JSON"; exit 1 ;;
    *) exec {python} "$@" ;;
esac
"""


def test_make_tells_what_was_measured_when_the_measuring_fails(tmp_path: Path) -> None:
    """With programs instead of the GPU's: what `bench gpu` leaves when it ends with an error."""
    measured, found = tmp_path / "measured.json", tmp_path / "new" / "found.json"
    measured.write_text(json.dumps(document_of()))
    python = GPU_BIN_PYTHON.format(measured=measured, python=sys.executable)
    for name, script in (("nvidia-smi", "#!/bin/sh\necho GPU 0\n"), ("python", python)):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    done = bench_gpu(tmp_path, "GPU_READY=Makefile", f"GPU_BIN={tmp_path}", f"BENCH_JSON={found}")
    assert done.returncode != 0
    assert "GPU check" in done.stdout and "not run: there was no time left" in done.stdout, done.stderr
    assert found.read_text() == measured.read_text()


def bench_gpu(programs: Path, *given: str) -> subprocess.CompletedProcess[str]:
    """`make bench-gpu` where these programs are found first."""
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    environment.pop("MAKEFLAGS", None)
    return subprocess.run(
        ["make", "--no-print-directory", "bench-gpu", *given],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
