"""All of `bench gpu` but the GPU: its contenders on tiny shapes, on the CPU and in this process."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from workspaces import Workspace

from llm2llm_local.bench.gpu import parts
from llm2llm_local.bench.gpu.context import CONTEXT, LONGEST, NO_TIME, TOO_LONG, ContextCase, largest_context, search
from llm2llm_local.bench.gpu.hand_over import FIRST_STEP, LEFT, HandOverCase, handed_over
from llm2llm_local.bench.gpu.limits import STARTED, time_limits
from llm2llm_local.bench.gpu.student import StudentCase, made_student
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
from llm2llm_local.bench.measure import TimeLimits, measure
from llm2llm_local.bench.plan import Comparison, Contender, Repeat, Work
from llm2llm_local.errors import Llm2LlmError, ModelError

if TYPE_CHECKING:
    from tiny_models import TinyModels


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
