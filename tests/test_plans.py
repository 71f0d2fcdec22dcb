"""The plan of a run: made once, stored, kept when the run goes on or is forked, smaller when memory runs out."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from workspaces import Workspace, copied

from llm2llm_local.doctor import Finding, diagnose
from llm2llm_local.errors import ChangedSinceStartError, ConfigError
from llm2llm_local.loop import plans as plans_module
from llm2llm_local.loop import work as work_module
from llm2llm_local.loop.fingerprint import differing
from llm2llm_local.loop.inputs import continued, hash_inputs, read_inputs
from llm2llm_local.loop.plans import complete_plan, device_plan, plan_of_run, smaller_plan_of_run, turns_of_run
from llm2llm_local.loop.remarks import remarks
from llm2llm_local.loop.start import _refuse_changes
from llm2llm_local.loop.vote import audited, ballot_on, drawn_for
from llm2llm_local.records import Example, Origin, Split
from llm2llm_local.report.plan import plan_by_part
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.writer import Store
from llm2llm_local.student import precision
from llm2llm_local.student.precision import find_compute_dtype
from llm2llm_local.workers import device

pytestmark = pytest.mark.model

VERIFIED = 'checks.verify="on"'
"""The doctor warns where it is off."""


def plans(workspace: Workspace, run_id: int) -> list[tuple[str, dict[str, Any]]]:
    """Reason and teacher of each, oldest first."""
    rows = workspace.rows("SELECT reason, teacher FROM plans WHERE run_id = ? ORDER BY id", run_id)
    return [(reason, json.loads(teacher)) for reason, teacher in rows]


@pytest.fixture
def workspace(finished_run: Workspace, tmp_path: Path) -> Workspace:
    return copied(finished_run, tmp_path / "copy")


def set_sequences(workspace: Workspace, n: int) -> None:
    """As if the run had been planned on a machine with other memory."""
    workspace.execute("UPDATE plans SET teacher = json_set(teacher, '$.n_parallel', ?)", n)


def test_a_run_stores_its_plan_and_both_models_stay_loaded_over_all_iterations(finished_run: Workspace) -> None:
    ((reason, teacher),) = plans(finished_run, 1)
    assert reason == "planned at the start"
    assert teacher["n_parallel"] == 2  # all of a unit
    assert teacher["context_length"] == 512
    assert teacher["by_hand"] == ["context_length"]
    assert "reasons" not in teacher  # they would outlive the figures
    longest, replies = finished_run.rows("SELECT max(input_tokens), count(*) FROM teacher_calls")[0]
    assert replies and longest + 24 <= teacher["longest_request"] < teacher["request_tokens"]
    ((memory, summary),) = finished_run.rows("SELECT memory, summary FROM plans")
    assert json.loads(memory)["keeps_both"] is True
    assert [line.partition(":")[0] for line in json.loads(summary)] == ["teacher", "student", "device"]
    kinds = [kind for (kind,) in finished_run.rows("SELECT kind FROM events")]
    assert kinds.count("worker_started") == 2
    assert finished_run.rows("SELECT count(*) FROM iterations") == [(3,)]


def test_a_run_that_goes_on_keeps_its_plan(workspace: Workspace) -> None:
    set_sequences(workspace, 1)
    workspace.execute("UPDATE runs SET status = 'failed'")
    assert workspace.llm2llm("resume", "1").code == 0
    assert [teacher["n_parallel"] for _, teacher in plans(workspace, 1)] == [1, 1]


def test_a_run_goes_on_in_the_precision_in_which_it_was_begun(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On a machine that would choose another, too; what a person chose is theirs to change."""
    monkeypatch.setattr(precision, "_CPU_INFO", tmp_path / "none")
    inputs = read_inputs(workspace.config, ["student.compute_dtype=auto"])
    assert inputs.compute_dtype == "float32"
    assert "student: computes in float32; about" in device_plan(inputs).lines()[1]
    goes_on = continued(inputs, {"student.compute_dtype": "bfloat16"})
    assert hash_inputs(goes_on).fields["student.compute_dtype"] == "bfloat16"
    assert "computes in bfloat16, slowly: there are no instructions" in device_plan(goes_on).lines()[1]
    (tmp_path / "cpuinfo").write_text("flags : avx512_bf16")
    monkeypatch.setattr(precision, "_CPU_INFO", tmp_path / "cpuinfo")
    assert "student: computes in bfloat16; about" in device_plan(goes_on).lines()[1]
    by_hand = read_inputs(workspace.config, ["student.compute_dtype=float32"])
    assert continued(by_hand, {"student.compute_dtype": "bfloat16"}).compute_dtype == "float32"


@pytest.mark.parametrize(
    ("family", "recipe", "of_chat_model"),
    [
        ("classification", "llm2llm", "completion"),
        ("classification", "auggpt", "chat"),
        ("text", "llm2llm", "chat"),
    ],
)
def test_a_chat_model_too_continues_a_list_of_questions_of_a_class(
    workspace: Workspace, family: str, recipe: str, of_chat_model: str
) -> None:
    task = [f"task.family={family}", f"loop.recipe={recipe}"]
    inputs = read_inputs(workspace.config, [*task, "teacher.prompt_style=auto"])
    chat = dataclasses.replace(inputs, teacher=dataclasses.replace(inputs.teacher, has_chat_template=True))
    assert chat.prompt_style == of_chat_model
    assert dataclasses.replace(chat, config=read_inputs(workspace.config, task).config).prompt_style == "completion"
    without = dataclasses.replace(inputs, teacher=dataclasses.replace(inputs.teacher, has_chat_template=False))
    assert without.prompt_style == "completion"


def test_a_run_stores_the_precision_of_its_student(finished_run: Workspace) -> None:
    ((fields,),) = finished_run.rows("SELECT fingerprint_fields FROM runs")
    assert json.loads(fields)["student.compute_dtype"] == find_compute_dtype("auto", "cpu")
    ((summary,),) = finished_run.rows("SELECT summary FROM plans")
    assert f"computes in {find_compute_dtype('auto', 'cpu')};" in summary


def test_a_run_without_a_reply_is_planned_anew_when_it_goes_on(workspace: Workspace) -> None:
    """Nothing depends on the plan yet, which may have been made where less was free."""
    set_sequences(workspace, 1)
    workspace.execute("DELETE FROM stages WHERE stage = 'augment' AND 0 < ?", 1)
    inputs = read_inputs(workspace.config, ())
    with Store(workspace.folder) as store:
        assert plan_of_run(store.of_run(1), inputs).teacher.n_parallel == 2
    assert [reason for reason, _ in plans(workspace, 1)] == ["planned at the start"] * 2


@pytest.mark.parametrize("stage", ["audit", "vote"])
def test_a_run_whose_teacher_has_only_voted_keeps_its_plan(workspace: Workspace, stage: str) -> None:
    """Candidates are judged by what votes were worth under it."""
    set_sequences(workspace, 1)
    workspace.execute("UPDATE stages SET stage = ? WHERE stage = 'augment' AND attempt = 0", stage)
    workspace.execute("DELETE FROM stages WHERE stage = 'augment' AND 0 < ?", 1)
    with Store(workspace.folder) as store:
        assert plan_of_run(store.of_run(1), read_inputs(workspace.config, ())).teacher.n_parallel == 1


def test_a_fork_keeps_the_plan_under_which_its_replies_were_made(workspace: Workspace) -> None:
    set_sequences(workspace, 1)
    assert workspace.llm2llm("fork", "1").code == 0
    (first, _), second = plans(workspace, 2)[0], plans(workspace, 2)[-1]
    assert first == "taken over from run 1"
    assert second[1]["n_parallel"] == 1


def test_a_fork_keeps_no_plan_that_came_after_what_it_takes_over(workspace: Workspace) -> None:
    """As when memory ran out later than the last reply that is taken over."""
    workspace.execute(
        "INSERT INTO plans (run_id, reason, teacher, memory, summary, created_at) "
        "SELECT run_id, 'smaller', json_set(teacher, '$.n_parallel', ?), memory, summary, '9999' FROM plans",
        1,
    )
    assert workspace.llm2llm("fork", "1").code == 0
    assert {teacher["n_parallel"] for _, teacher in plans(workspace, 2)} == {2}


def test_a_fork_that_asks_the_teacher_otherwise_is_planned_anew(workspace: Workspace) -> None:
    set_sequences(workspace, 1)
    assert workspace.llm2llm("fork", "1", "--set", "teacher.n_parallel=2").code == 0
    ((reason, teacher),) = plans(workspace, 2)
    assert reason == "planned at the start"
    assert (teacher["n_parallel"], teacher["by_hand"]) == (2, ["n_parallel", "context_length"])


def test_a_smaller_plan_is_stored_told_once_and_in_force(workspace: Workspace) -> None:
    inputs = read_inputs(workspace.config, ())
    with Store(workspace.folder) as store:
        run = store.of_run(1)
        before = plan_of_run(run, inputs)
        smaller = smaller_plan_of_run(run, inputs, "no room for it", "context", before.memory)
        assert smaller is not None
        assert smaller.memory.keeps_both
        assert smaller.teacher.total_bytes < before.teacher.total_bytes
        assert plan_of_run(run, inputs).teacher == smaller.teacher
        n = 1
        while smaller_plan_of_run(run, inputs, "no room for it", "context", before.memory) is not None:
            n += 1
    messages = workspace.rows("SELECT message FROM events WHERE kind = 'plan_smaller' ORDER BY id")
    assert len(messages) == n
    assert messages[0][0].startswith("the teacher ran out of memory (no room for it) and goes on with less: ")
    assert "may differ" in messages[0][0]


def test_what_a_person_sees_says_that_they_take_turns_once_memory_ran_out_and_goes_on_saying_so(
    workspace: Workspace,
) -> None:
    """However small the teacher becomes after that."""
    inputs = read_inputs(workspace.config, ())
    with Store(workspace.folder) as store:
        run = store.of_run(1)
        before = plan_of_run(run, inputs)
        assert before.memory.keeps_both
        turns = dataclasses.replace(before.memory, keeps_both=False, reason="memory ran out with both loaded")
        turns_of_run(run, inputs, turns)
        with open_reader(workspace.folder) as reader:
            assert plan_by_part(reader, 1)["device"].endswith("they take turns: memory ran out with both loaded")
        assert plans(workspace, 1)[-1] == (turns.reason, json.loads(json.dumps(before.teacher.record())))
        smaller = smaller_plan_of_run(run, inputs, "no room for it", "context", turns)
        assert smaller is not None
        assert not smaller.memory.keeps_both
        with open_reader(workspace.folder) as reader:
            assert plan_by_part(reader, 1)["device"].endswith("they take turns: memory ran out before")


def test_a_run_is_told_by_its_workers_that_they_take_turns(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(work_module, "WorkerPool", lambda **keywords: given.update(keywords))
    watcher: Any = types.SimpleNamespace(message=lambda text: None)
    control: Any = types.SimpleNamespace(look=lambda: None)
    inputs = read_inputs(workspace.config, ())
    with Store(workspace.folder) as store:
        work_module._pool(store.of_run(1), inputs, watcher, control)
        turns = dataclasses.replace(given["plan"], keeps_both=False, reason="memory ran out with both loaded")
        given["take_turns"](turns)
        _, memory = given["shrink"]("no room for it", "context", turns)
    assert not memory.keeps_both
    summaries = workspace.rows("SELECT summary FROM plans ORDER BY id DESC LIMIT 2")
    assert ["they take turns: memory ran out" in summary for (summary,) in summaries] == [True, True]


# --- requests as long as they were measured ---


def test_what_was_measured_of_the_prompts_bounds_a_smaller_plan_and_stays(workspace: Workspace) -> None:
    """Also where the run is planned anew, since its first reply is still to come."""
    inputs = read_inputs(workspace.config, ("teacher.context_length=auto", "teacher.group_size=8"))
    with Store(workspace.folder) as store:
        run = store.of_run(1)
        workspace.execute("DELETE FROM stages WHERE stage = 'augment' AND 0 < ?", 1)
        first = plan_of_run(run, inputs)
        complete_plan(run, 1000)
        assert plan_of_run(run, inputs).teacher.longest_request == 1000
        smaller = None
        while (plan := smaller_plan_of_run(run, inputs, "no room for it", "context", first.memory)) is not None:
            smaller = plan.teacher
    assert smaller is not None
    assert (smaller.n_cells, smaller.context_length, smaller.longest_request) == (1024, 1024, 1000)


def test_a_smaller_plan_has_room_for_kept_examples_as_long_as_the_checks_let_them_be(workspace: Workspace) -> None:
    """They may be longer than any seed, and a prompt that doesn't fit stops the run."""

    def longest(*overrides: str) -> int:
        sets = [word for override in overrides for word in ("--set", override)]
        assert workspace.llm2llm("run", "--set", "teacher.context_length=auto", *sets).code == 0
        (run_id,) = workspace.rows("SELECT max(run_id) FROM runs")[0]
        return int(plans(workspace, run_id)[-1][1]["longest_request"])

    as_seeds = longest("checks.max_length_ratio=1.0")
    assert longest("checks.max_length_ratio=1.5") > as_seeds
    no_longer_than_a_reply = longest("checks.max_length_ratio=50")
    assert longest("checks.max_length_ratio=100") == no_longer_than_a_reply


def test_what_was_stored_with_sentences_of_its_figures_loses_them_with_the_next_figure(workspace: Workspace) -> None:
    workspace.execute("UPDATE plans SET teacher = json_set(teacher, '$.reasons', json_array(?))", "old")
    with Store(workspace.folder) as store:
        complete_plan(store.of_run(1), 300)
    ((_, teacher),) = plans(workspace, 1)
    assert (teacher["longest_request"], "reasons" in teacher) == (300, False)


# --- what doctor says ---


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ((), 'take a smaller model, or set to "auto" what is set by hand (teacher.context_length)'),
        (("teacher.context_length=auto",), "free some, take a smaller model"),
    ],
)
def test_a_teacher_that_does_not_fit_is_warned_of(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...], words: str
) -> None:
    monkeypatch.setattr(plans_module, "free_bytes", lambda device: 400 * 2**20)
    findings = diagnose(workspace.config, (*overrides, VERIFIED))
    teacher, student = warnings_in(findings)
    assert teacher.startswith("the teacher needs about ")
    assert "of the 400 MiB free (cpu): memory may run out" in teacher
    assert teacher.endswith(words)
    assert student.startswith("the student needs about ")
    assert any("even so about" in finding.text for finding in findings)


def warnings_in(findings: Sequence[Finding]) -> list[str]:
    """But for the few test rows of these workspaces."""
    return [one.text for one in findings if one.level == "warning" and "told from chance" not in one.text]


def test_a_teacher_that_lies_beside_the_gpu_in_part_is_counted_there_too(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans_module, "free_bytes", lambda device: 2**33)
    monkeypatch.setattr("llm2llm_local.doctor.host_bytes", lambda plan, sizes: 2**45)
    findings = diagnose(workspace.config, (VERIFIED,))
    (warning,) = warnings_in(findings)
    assert warning.startswith("what is left of the teacher beside the GPU needs about 32768.0 GiB of the ")


def test_where_both_fit_nothing_is_warned_of(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans_module, "free_bytes", lambda device: 2**33)
    findings = diagnose(workspace.config, (VERIFIED,))
    assert warnings_in(findings) == [] and not any(finding.is_error for finding in findings)


@pytest.mark.parametrize(
    ("n_rows", "told"),
    [(5, "5 test rows: a gain can't be"), (30, "30 test rows: a gain of less than 20 points can't be"), (100, None)],
)
def test_few_test_rows_are_warned_of(tmp_path: Path, workspace: Workspace, n_rows: int, told: str | None) -> None:
    rows = [json.dumps({"question": f"Which one is number {n}?", "answer": "number"}) for n in range(n_rows)]
    (tmp_path / "test.jsonl").write_text("\n".join(rows))
    findings = diagnose(workspace.config, (f"data.test={tmp_path / 'test.jsonl'}",))
    texts = [finding.text for finding in findings if "told from chance" in finding.text]
    assert [text.startswith(told or "") for text in texts] == ([] if told is None else [True])


def test_nothing_is_said_against_a_teacher_that_is_never_asked(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans_module, "free_bytes", lambda device: 400 * 2**20)
    findings = diagnose(workspace.config, ("loop.recipe=fine_tune", "teacher.prompt_style=chat"))
    about_teacher = [finding.text for finding in findings if "teacher" in finding.text]
    assert about_teacher[1:] == ["teacher: is never asked, so it isn't loaded"]  # after what the file is
    (device,) = (finding.text for finding in findings if finding.text.startswith("device: "))
    assert device == "device: cpu, 400 MiB free"


def test_a_run_to_match_that_nothing_matches_is_warned_of(workspace: Workspace) -> None:
    (warning,) = (one for one in diagnose(workspace.config, ("loop.match_run=7",)) if "match_run" in one.text)
    assert (warning.level, "fine_tune_matched" in warning.text) == ("warning", True)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver's library made by hand, with one of 16 GiB."""
    nvml = types.ModuleType("pynvml")
    nvml.__dict__.update(
        NVMLError=OSError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda gpu: "a GPU",
        nvmlDeviceGetCudaComputeCapability=lambda gpu: (8, 9),
        nvmlDeviceGetMemoryInfo=lambda gpu: types.SimpleNamespace(total=2**34, free=2**34, used=0),
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(device, "without_cuda", lambda: ())


@pytest.mark.parametrize(
    ("offloads", "torch", "gpu_layers", "words"),
    [
        (False, "2.13.0+cpu", "auto", ["llama.cpp is no build for CUDA", "PyTorch is no build for CUDA"]),
        (False, "2.13.0+cpu", "0", ["PyTorch is no build for CUDA"]),
        (True, "2.13.0+cpu", "auto", ["PyTorch is no build for CUDA"]),
        (False, "2.13.0", "auto", ["llama.cpp is no build for CUDA"]),
        (True, "2.13.0", "auto", []),
    ],
)
def test_libraries_that_can_not_use_the_gpu_are_errors_as_in_a_run(
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    gpu: None,
    offloads: bool,
    torch: str,
    gpu_layers: str,
    words: list[str],
) -> None:
    monkeypatch.setattr(device, "can_offload", lambda: offloads)
    monkeypatch.setattr("importlib.metadata.version", lambda package: torch)
    found = diagnose(workspace.config, ("hardware.device=cuda", f"teacher.gpu_layers={gpu_layers}"))
    errors = [finding.text for finding in found if finding.is_error]
    assert [text.partition(" and can't put")[0] for text in errors] == words
    assert all(
        text.endswith('there; make setup CUDA=1 installs one, or set hardware.device = "cpu"') for text in errors
    )


def test_a_gpu_that_is_left_alone_is_told_of_before_a_run(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, gpu: None
) -> None:
    monkeypatch.setattr(device, "without_cuda", lambda: ("llama.cpp",))
    told = "everything computes on the CPU: there is a GPU, but no build of llama.cpp for it"
    assert any(text.startswith(told) for text in remarks(read_inputs(workspace.config, ("hardware.device=auto",))))
    assert not any("GPU" in text for text in remarks(read_inputs(workspace.config, ("hardware.device=cpu",))))


def test_a_run_of_a_gpu_that_is_gone_says_so(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, gpu: None) -> None:
    hashed = hash_inputs(read_inputs(workspace.config, ("hardware.device=auto",)))
    with Store(workspace.folder) as store:
        row = dataclasses.replace(store.run(1), fingerprint_fields=hashed.fields)
    sys.modules["pynvml"].__dict__["nvmlInit"] = _driver_is_gone
    now = hash_inputs(read_inputs(workspace.config, ("hardware.device=auto",)))
    with pytest.raises(ChangedSinceStartError, match="of a GPU the NVIDIA driver says: Driver Not Loaded; see nvidia"):
        _refuse_changes(row, now)


def _driver_is_gone() -> None:
    raise OSError("Driver Not Loaded")


def test_workers_get_the_device_that_was_decided_on_and_the_student_what_trainings_take(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, gpu: None
) -> None:
    """A student that looked for itself would train on a CPU where PyTorch has no CUDA, and the plan says otherwise."""
    given: dict[str, Any] = {}
    monkeypatch.setattr(work_module, "WorkerPool", lambda **keywords: given.update(keywords))
    watcher: Any = types.SimpleNamespace(message=lambda text: None)
    control: Any = types.SimpleNamespace(look=lambda: None)
    inputs = read_inputs(workspace.config, ("hardware.device=auto",))
    workspace.execute("DELETE FROM stages WHERE stage = 'augment' AND 0 < ?", 1)  # so that it is planned anew
    with Store(workspace.folder) as store:
        work_module._pool(store.of_run(1), inputs, watcher, control)
        memory = device_plan(inputs).student
    assert given["student"].reserved_bytes == memory.lora_bytes + memory.activation_bytes + memory.logit_bytes > 0
    assert (given["student"].device, given["plan"].device, given["teacher"].gpu_layers) == ("cuda", "cuda", 3)


# --- what can't be planned ---


@pytest.mark.parametrize("kind", ["q8_0", "q4_0"])
def test_a_cache_that_can_not_be_quantized_is_refused_before_anything_is_loaded(
    workspace: Workspace, kind: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_inputs(workspace.config, (f"teacher.kv_cache={kind}",))
    assert caught.value.message.startswith(f'teacher.kv_cache = "{kind}": tiny.gguf has heads of a multiple of 16 ')
    assert 'teacher.kv_cache = "auto" or "f16"' in caught.value.remedy
    assert read_inputs(workspace.config, ("teacher.kv_cache=f16",)).config.teacher.kv_cache == "f16"


def test_more_requests_at_once_than_a_pass_has_tokens_are_refused(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match=r"teacher\.n_parallel = 64: more than teacher\.n_batch = 32"):
        read_inputs(workspace.config, ("teacher.n_parallel=64", "teacher.n_batch=32"))
    read_inputs(workspace.config, ("teacher.n_parallel=32", "teacher.n_batch=32"))


def test_what_a_run_follows_from_is_which_rows_are_its_seeds_and_how_the_teacher_is_asked(workspace: Workspace) -> None:
    """Not the file alone, of which another version may draw others, nor a style that another may take "auto" for."""
    inputs = read_inputs(workspace.config, ["task.family=text", "teacher.prompt_style=auto"])
    train = inputs.data.rows[Split.TRAIN]
    drawn = dataclasses.replace(inputs.data, rows={**inputs.data.rows, Split.TRAIN: train[1:]})
    chat, plain = (
        dataclasses.replace(inputs, data=data, teacher=dataclasses.replace(inputs.teacher, has_chat_template=has))
        for data, has in ((drawn, True), (inputs.data, False))
    )
    before, after = (hash_inputs(one).fields for one in (plain, chat))
    assert (before["teacher.prompt_style"], after["teacher.prompt_style"]) == ("completion", "chat")
    assert differing(before, after) == ["data.train_rows", "teacher.prompt_style"]
    assert differing(before, after | {"data.train": "another file"}) == ["data.train", "teacher.prompt_style"]


@pytest.mark.parametrize("family", ["classification", "text"])
def test_runs_of_a_teacher_that_is_asked_in_another_style_share_ballots_that_have_one(
    workspace: Workspace, family: str
) -> None:
    chat, plain = (
        read_inputs(workspace.config, [f"task.family={family}", f"teacher.prompt_style={style}"])
        for style in ("chat", "completion")
    )
    seeds = [
        Example(number, f"train/{number}", Split.TRAIN, Origin.SEED, row.question, row.answer)
        for number, row in enumerate(chat.data.rows[Split.TRAIN])
    ]
    ballots = [
        ballot_on(inputs, drawn_for(inputs, seeds, 0), one, one.subjects[0], 0)
        for inputs in (chat, plain)
        for one in audited(inputs, seeds)
    ]
    assert ballots[: len(seeds)] == ballots[len(seeds) :]
    assert hash_inputs(chat).fields["teacher.ballot_style"] == hash_inputs(plain).fields["teacher.ballot_style"]
