"""Every command as people call it: what it prints where, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from comparison import differences
from workspaces import (
    COMMAND,
    CONFIG_NAME,
    PATIENCE_SECONDS,
    SEEDS,
    Ending,
    Workspace,
    add_run,
    copied,
    fill,
    make_workspace,
    without_rights_over_files,
)

from llm2llm_local.loop.fingerprint import Fingerprint
from llm2llm_local.records import Status
from llm2llm_local.store.fork import copy_stages, unchanged_stages
from llm2llm_local.store.writer import Store

if TYPE_CHECKING:
    from tiny_models import TinyModels

DONE, FAILED, USER_INPUT, RESUMABLE = 0, 1, 2, 3


def assert_refused(ending: Ending, *words: str) -> None:
    """One clear message on standard error, nothing on standard output, the exit code of a user's mistake."""
    assert "Traceback" not in ending.err, ending.err
    assert ending.code == USER_INPUT, ending
    assert ending.out == ""
    assert ending.err.count("llm2llm: ") == 1, ending.err
    for word in words:
        assert word in ending.err, ending.err


@pytest.fixture
def history(tmp_path: Path) -> Workspace:
    """A run by hand whose process has died, in a workspace without a configuration."""
    with Store(tmp_path) as store:
        fill(add_run(store))
    return Workspace(tmp_path)


# --- without a run --------------------------------------------------------------------------------------------------

ON_A_RUN = ("status", "report", "failures", "pause", "stop", "resume", "fork")


@pytest.mark.parametrize("command", [*ON_A_RUN, "lineage", "query"])
def test_without_a_store_every_command_says_so(tmp_path: Path, command: str) -> None:
    arguments = {"fork": ["1"], "lineage": ["1"], "query": ["SELECT 1"]}.get(command, [])
    ending = Workspace(tmp_path).llm2llm(command, *arguments)
    assert_refused(ending, "llm2llm.db: no store there", "llm2llm -C FOLDER")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ON_A_RUN)
def test_an_unknown_run_is_refused(history: Workspace, command: str) -> None:
    assert_refused(history.llm2llm(command, "9"), "there is no run 9")
    assert history.n_runs() == 1


def test_an_unknown_example_is_refused(history: Workspace) -> None:
    assert_refused(history.llm2llm("lineage", "999"), "there is no example 999", "llm2llm query")


@pytest.mark.parametrize("command", ["status", "report", "failures", "pause", "stop", "resume"])
def test_a_store_without_runs_says_so(tmp_path: Path, command: str) -> None:
    Store(tmp_path).close()
    ending = Workspace(tmp_path).llm2llm(command)
    if command == "status":
        assert (ending.code, ending.out) == (DONE, "no runs yet\n")
    else:
        assert_refused(ending, "llm2llm run")


def test_a_store_that_was_just_being_made_counts_as_empty(tmp_path: Path) -> None:
    """The writer makes the file before its tables: a kill in between leaves an empty one."""
    (tmp_path / "llm2llm.db").touch()
    ending = Workspace(tmp_path).llm2llm("status")
    assert "no such table" not in ending.err
    assert "no runs yet" in ending.out + ending.err


@pytest.mark.parametrize("command", ["pause", "stop"])
def test_a_run_without_a_process_can_not_be_told_anything(history: Workspace, command: str) -> None:
    ending = history.llm2llm(command, "1")
    assert_refused(ending, "run 1 is not being worked on", "llm2llm status 1")
    assert history.rows("SELECT count(*) FROM commands") == [(0,)]


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["status", "first"],
        ["status", "0"],
        ["delete", "9" * 30],
        ["lineage", "9" * 30],
        ["failures", "--iteration", "9" * 30],
        ["query"],
        ["query", "SELECT 1", "--json", "--csv"],
        ["query", "SELECT 1", "--timeout", "0"],
        ["init", "new", "--task", "cooking"],
        ["run", "--no-such-option"],
        ["-C", "llm2llm.db", "status"],
    ],
)
def test_wrong_usage_is_a_users_mistake(history: Workspace, arguments: list[str]) -> None:
    ending = history.llm2llm(*arguments)
    assert ending.code == USER_INPUT
    assert ending.out == ""
    assert "Error: " in ending.err
    assert "Traceback" not in ending.err


def test_help_and_version_are_answered(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    shown = workspace.llm2llm("--help")
    assert shown.code == DONE
    commands = ("init", "run", "resume", "fork", "status", "pause", "stop", "report", "failures", "lineage", "query")
    for command in (*commands, "models", "doctor", "config"):
        assert re.search(rf"^  {command} +\w", shown.out, re.MULTILINE), command
    assert re.fullmatch(r"llm2llm, version [\d.]+\n", workspace.llm2llm("--version").out)


def test_a_missing_models_folder_is_refused(tmp_path: Path) -> None:
    assert_refused(Workspace(tmp_path).llm2llm("models"), "models: no such folder")


def test_init_leads_to_a_workspace_that_only_lacks_models(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    made = workspace.llm2llm("init", "new", "--models", "nowhere")
    assert made.code == DONE
    assert {path.name for path in (tmp_path / "new").iterdir()} == {CONFIG_NAME, "train.jsonl", "test.jsonl"}
    found = workspace.llm2llm("doctor", "new/llm2llm.toml")
    assert found.code == USER_INPUT
    errors = [line for line in found.out.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert "SmolLM2-135M-Instruct" in errors[0]
    assert "Traceback" not in found.err


def test_a_doctor_without_configuration_says_how_to_make_one(tmp_path: Path) -> None:
    found = Workspace(tmp_path).llm2llm("doctor")
    assert found.code == USER_INPUT
    assert re.search(r"^error .*llm2llm\.toml: no such file – Write one with: llm2llm init", found.out, re.MULTILINE)


def test_a_reader_that_goes_away_causes_no_traceback(history: Workspace) -> None:
    many = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 100000) SELECT x FROM n"
    process = subprocess.Popen(
        [COMMAND, "query", many, "--csv"],
        cwd=history.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "x\n"
        process.stdout.close()
        assert process.stderr.read() == ""


HOSTILE_SQL = "SELECT char(27) || '[31m' || char(155) || '1m' || char(8238) AS text"
FORMS = pytest.mark.parametrize("form", ["--json", "--csv"])


@FORMS
def test_text_in_a_query_can_not_steer_the_terminal(history: Workspace, form: str) -> None:
    shown = on_a_terminal(history, "query", HOSTILE_SQL, form)
    assert not set(shown) & {"\x1b", "\x9b", "\u202e"}, shown


@FORMS
def test_text_in_a_query_goes_into_a_file_as_it_is(history: Workspace, form: str) -> None:
    whole = history.llm2llm("query", HOSTILE_SQL, form).out
    value = json.loads(whole)[0]["text"] if form == "--json" else whole.split("\n")[1]
    assert value == "\x1b[31m\x9b1m\u202e"


def on_a_terminal(workspace: Workspace, *arguments: str) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [COMMAND, *arguments], cwd=workspace.folder, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        chunks: list[bytes] = []
        try:
            while chunk := os.read(ours, 65536):
                chunks.append(chunk)
        except OSError:  # Linux's way of saying that the other side was closed
            pass
        assert process.wait(PATIENCE_SECONDS) == 0
    os.close(ours)
    return b"".join(chunks).decode()


def test_a_history_in_a_folder_that_can_only_be_read_is_read(history: Workspace) -> None:
    """An archive on a read-only medium, or another person's workspace."""
    history.folder.chmod(0o500)
    try:
        ending = history.llm2llm("status", "--json", before_exec=without_rights_over_files)
        if ending.code == 77:
            pytest.skip("rights can't be taken from this process")
        assert ending.code == DONE, ending.err
        assert [state["run_id"] for state in ending.json()] == [1]
    finally:
        history.folder.chmod(0o700)


# --- a finished run -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def augmented(finished_run: Workspace) -> int:
    """The id of an accepted example of the finished run."""
    rows = finished_run.rows("SELECT min(example_id) FROM lineage WHERE first_trained_iteration IS NOT NULL")
    assert rows[0][0] is not None, "the tiny teacher wrote nothing that was accepted"
    assert isinstance(rows[0][0], int)
    return rows[0][0]


@pytest.mark.model
def test_a_run_prints_its_table_to_stdout_and_its_progress_to_stderr(finished_run: Workspace) -> None:
    out, err = (finished_run.folder / "out.txt").read_text(), finished_run.error_output()
    assert out.startswith("run 1: done  teacher tiny F32, student tiny nf4\nfinished after 2 rounds of augmentation\n")
    assert [line.split()[:2] for line in out.splitlines() if re.match(r" +\d ", line)][:3] == [
        ["0", str(len(SEEDS))],
        *([str(n), str(finished_run.rows(TRAINING_SET_SIZE, n)[0][0])] for n in (1, 2)),
    ]
    for line in ("iteration 0 train: 2 segments", "iteration 2 grade: 3 splits", "run 1 finished after 2 rounds"):
        assert line in err
    assert "iteration" not in out.partition("refused")[0].partition("iter  ")[0]
    assert "\x1b" not in out + err
    assert "Warning" not in err


TRAINING_SET_SIZE = "SELECT count(*) FROM training_set_examples WHERE run_id = 1 AND iteration = ?"


@pytest.mark.model
def test_what_a_run_writes_is_its_owners_alone(finished_run: Workspace) -> None:
    ours = list(finished_run.folder.glob("llm2llm.db*"))
    ours += [finished_run.folder / "runs", *(finished_run.folder / "runs").rglob("*")]
    assert len(ours) > 10
    open_to_others = {str(path): oct(path.stat().st_mode) for path in ours if stat.S_IMODE(path.stat().st_mode) & 0o077}
    assert open_to_others == {}


@pytest.mark.model
def test_status_tells_of_the_finished_run(finished_run: Workspace) -> None:
    for arguments in ([], ["1"]):
        lines = finished_run.llm2llm("status", *arguments).out.splitlines()
        assert re.fullmatch(r"run 1  done  test \d+\.\d%  \d+ \w+ ago", lines[0])
        assert lines[1:] == ["    finished after 2 rounds of augmentation"]
    (state,) = finished_run.llm2llm("status", "1", "--json").json()
    assert (state["state"], state["pid"], state["iteration"], state["iterations"]) == ("done", None, 2, 2)
    (accuracy,) = finished_run.rows(
        "SELECT accuracy FROM accuracy_by_iteration WHERE run_id = 1 AND iteration = 2 AND split = 'test'"
    )
    assert state["test_accuracy"] == accuracy[0]


@pytest.mark.model
def test_a_report_is_what_the_run_ended_with(finished_run: Workspace) -> None:
    ending = finished_run.llm2llm("report")
    assert (ending.code, ending.err) == (DONE, "")
    assert ending.out == (finished_run.folder / "out.txt").read_text()
    report = finished_run.llm2llm("report", "1", "--json").json()
    assert (report["status"], report["teacher"], report["student"]) == ("done", "tiny F32", "tiny nf4")
    for row in report["iterations"]:
        n = row["iteration"]
        (failures,) = finished_run.rows("SELECT count(*) FROM failures WHERE run_id = 1 AND iteration = ?", n)
        assert row["failures"] == failures[0]
        assert row["training_examples"] == finished_run.rows(TRAINING_SET_SIZE, n)[0][0]
        assert {"train", "predict"} <= row["seconds"].keys()
        test = row["accuracy"]["test"]
        assert 0 <= test["low"] <= test["n_correct"] / test["n"] <= test["high"] <= 1
    assert [row["iteration"] for row in report["iterations"]] == [0, 1, 2]


@pytest.mark.model
def test_failures_are_those_of_the_newest_student_or_of_the_one_asked_for(finished_run: Workspace) -> None:
    expected = finished_run.rows(
        "SELECT iteration, example_id, question, answer, predicted_answer FROM failures WHERE run_id = 1 ORDER BY 1, 2"
    )
    assert expected
    listed = []
    for n in (0, 1, 2):
        listed += finished_run.llm2llm("failures", "1", "--iteration", str(n), "--json").json()
    keys = ("iteration", "example_id", "question", "answer", "predicted_answer")
    assert [tuple(row[key] for key in keys) for row in listed] == expected
    newest = finished_run.llm2llm("failures", "--json").json()
    assert newest == [row for row in listed if row["iteration"] == 2]
    lines = finished_run.llm2llm("failures", "1", "--iteration", "0").out.splitlines()
    assert lines[0].startswith(f"iteration 0: {len(lines) - 1} failures")
    assert all(row["question"] in line for row, line in zip(listed, lines[1:], strict=False))


@pytest.mark.model
def test_lineage_goes_to_the_prompt_and_the_models_hash(finished_run: Workspace, augmented: int) -> None:
    chain = finished_run.llm2llm("lineage", str(augmented), "--json").json()
    assert [record["origin"] for record in chain] == ["augmented", "seed"]
    made, seed = chain
    (sha256,) = finished_run.rows("SELECT sha256 FROM models WHERE kind = 'gguf'")
    assert made["model_sha256"] == sha256[0]
    assert len(sha256[0]) == 64
    assert seed["question"] in json.loads(made["prompt"])
    assert [verdict["verdict"] for verdict in made["verdicts"]] == ["accept"] * 3
    assert [verdict["check_name"] for verdict in made["verdicts"]] == ["format", "duplicate", "leak"]
    assert min(made["trained_iterations"]) == made["first_trained_iteration"] == made["failed_iteration"] + 1
    assert (seed["source"], seed["trained_iterations"]) == ("train.jsonl", [0, 1, 2])
    assert SEEDS[seed["line"] - 1] == (seed["question"], seed["answer"])

    shown = finished_run.llm2llm("lineage", str(augmented)).out
    for text in (f"sha256 {sha256[0]}", f"    | - {seed['question']}", f"  question: {made['question']}"):
        assert text in shown
    assert f"from train.jsonl:{seed['line']}" in shown
    assert f"because in iteration {made['failed_iteration']} the student answered" in shown


@pytest.mark.model
def test_lineage_of_a_seed_is_its_line(finished_run: Workspace) -> None:
    shown = finished_run.llm2llm("lineage", "1")
    assert shown.out.splitlines() == [
        "example 1 (seed, train/0, run 1)",
        f"  question: {SEEDS[0][0]}",
        f"  answer:   {SEEDS[0][1]}",
        "  trained in iterations: 0, 1, 2",
        "  from train.jsonl:1",
    ]


@pytest.mark.model
def test_a_query_is_answered_as_table_csv_and_json(finished_run: Workspace) -> None:
    sql = "SELECT iteration, split, n, n_correct FROM accuracy_by_iteration WHERE run_id = 1 ORDER BY 1, 2"
    expected = finished_run.rows(sql)
    assert len(expected) == 6
    table = finished_run.llm2llm("query", sql).out.splitlines()
    assert table[0].split() == ["iteration", "split", "n", "n_correct"]
    assert [line.split() for line in table[1:]] == [[str(value) for value in row] for row in expected]
    read = list(csv.reader(io.StringIO(finished_run.llm2llm("query", sql, "--csv").out)))
    assert read == [["iteration", "split", "n", "n_correct"], *([str(value) for value in row] for row in expected)]
    objects = finished_run.llm2llm("query", sql, "--json").json()
    assert [tuple(row.values()) for row in objects] == expected


@pytest.mark.model
def test_a_query_that_would_change_something_is_refused(finished_run: Workspace) -> None:
    assert_refused(finished_run.llm2llm("query", "DELETE FROM runs"), "only SELECT is allowed")
    assert finished_run.n_runs() == 1


@pytest.mark.model
def test_models_are_listed_with_what_they_are(tiny_models: TinyModels, finished_run: Workspace) -> None:
    folder = tiny_models.teacher.parent
    records = finished_run.llm2llm("models", folder, "--json").json()
    hashes = {row[0] for row in finished_run.rows("SELECT sha256 FROM models")}
    assert {record["sha256"] for record in records} == hashes
    assert {record["kind"] for record in records} == {"gguf", "folder"}
    shown = finished_run.llm2llm("models", folder).out
    for record in records:
        role = "teacher" if record["kind"] == "gguf" else "student"
        assert f"{record['path']}\n    {role}: llama, {record['quantization']}, " in shown
        assert f"context 4096, sha256 {record['sha256']}\n" in shown


@pytest.mark.model
def test_a_model_that_can_not_be_used_is_listed_with_the_reason(tiny_models: TinyModels, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "half.gguf").write_bytes(tiny_models.teacher.read_bytes()[:5000])
    workspace = Workspace(tmp_path)
    (record,) = workspace.llm2llm("models", "--json").json()
    assert "incomplete" in record["error"]
    shown = workspace.llm2llm("models")
    assert shown.code == DONE
    assert re.search(r"models/half\.gguf\n    can't be used: .*incomplete", shown.out)


@pytest.mark.model
def test_a_doctor_finds_nothing_wrong_with_a_finished_run(finished_run: Workspace) -> None:
    ending = finished_run.llm2llm("doctor")
    assert (ending.code, ending.err) == (DONE, "")
    lines = ending.out.splitlines()
    assert all(line.startswith("ok      ") for line in lines), ending.out
    for text in ("teacher tiny: llama, F32", "rows: 9 train, 0 dev, 4 test", "llm2llm.db has 1 runs", "CPU threads"):
        assert text in ending.out
    assert "seeds by label: person 3, place 3, number 3" in ending.out


@pytest.mark.model
def test_a_doctor_says_what_can_not_work(finished_run: Workspace) -> None:
    ending = finished_run.llm2llm("doctor", "--set", "teacher.context_length=999999")
    assert ending.code == USER_INPUT
    assert re.search(r"^error .*teacher\.context_length = 999999.*4096 tokens", ending.out, re.MULTILINE)


@pytest.mark.model
def test_a_doctor_on_a_machine_without_a_gpu_says_so(finished_run: Workspace) -> None:
    skip_with_gpu()
    ending = finished_run.llm2llm("doctor", "--set", 'hardware.device="cuda"')
    assert "Traceback" not in ending.err
    assert ending.code == USER_INPUT
    assert re.search(r'^error .*hardware\.device = "cuda", but .*GPU', ending.out, re.MULTILINE)


def skip_with_gpu() -> None:
    if any(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("there is a GPU")


@pytest.mark.model
def test_a_finished_run_can_not_be_resumed(finished_run: Workspace) -> None:
    assert_refused(finished_run.llm2llm("resume"), "no run is unfinished", "llm2llm run")
    assert_refused(finished_run.llm2llm("resume", "1"), "run 1 is finished", "llm2llm report 1")


@pytest.mark.model
@pytest.mark.parametrize("command", ["pause", "stop"])
def test_a_finished_run_can_not_be_told_anything(finished_run: Workspace, command: str) -> None:
    assert_refused(finished_run.llm2llm(command), "no run is being worked on", "llm2llm status")
    assert_refused(finished_run.llm2llm(command, "1"), "run 1 is not being worked on", "llm2llm status")


# --- resuming under other conditions --------------------------------------------------------------------------------


@pytest.fixture
def unfinished(finished_run: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the finished run of which the store only doesn't know yet that it is: resuming it loads no model."""
    workspace = copied(finished_run, tmp_path / "workspace")
    workspace.execute("UPDATE runs SET status = 'pending', status_detail = 'stopped', finished_at = NULL")
    return workspace


def own_models(workspace: Workspace, models: TinyModels) -> tuple[Path, Path]:
    """Copies of the models inside the workspace, in use from now on: a teacher's file and a student's folder."""
    teacher = shutil.copy(models.teacher, workspace.folder / "own.gguf")
    student = shutil.copytree(models.student, workspace.folder / "own")
    text = workspace.config.read_text()
    text = text.replace(json.dumps(str(models.teacher)), '"own.gguf"').replace(json.dumps(str(models.student)), '"own"')
    workspace.config.write_text(text)
    return Path(teacher), student


@pytest.mark.model
def test_where_files_lie_does_not_matter(unfinished: Workspace, tiny_models: TinyModels) -> None:
    own_models(unfinished, tiny_models)
    (unfinished.folder / "train.jsonl").rename(unfinished.folder / "seeds.jsonl")
    edit(unfinished.config, "train.jsonl", "seeds.jsonl")
    ending = unfinished.llm2llm("resume")
    assert (ending.code, unfinished.state()["state"]) == (DONE, "done"), ending.err


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def spoil_config(workspace: Workspace, models: TinyModels) -> None:
    edit(workspace.config, "student.epochs = 1", "student.epochs = 2")


def spoil_seeds(workspace: Workspace, models: TinyModels) -> None:
    edit(workspace.folder / "train.jsonl", "Who opened the door?", "Who closed the door?")


def spoil_test_rows(workspace: Workspace, models: TinyModels) -> None:
    edit(workspace.folder / "test.jsonl", "old bridge", "new bridge")


def spoil_grammar(workspace: Workspace, models: TinyModels) -> None:
    edit(workspace.folder / "three-words.gbnf", "{2,5}", "{2,6}")


def spoil_student(workspace: Workspace, models: TinyModels) -> None:
    _, student = own_models(workspace, models)
    change_last_byte(student / "model.safetensors")


def spoil_teacher(workspace: Workspace, models: TinyModels) -> None:
    teacher, _ = own_models(workspace, models)
    change_last_byte(teacher)


def change_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.model
@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        (spoil_config, "student.epochs: was 1, is 2"),
        (spoil_seeds, "data.train: was "),
        (spoil_test_rows, "data.test: was "),
        (spoil_grammar, "teacher.grammar: was "),
        (spoil_student, "student.model: was "),
        (spoil_teacher, "teacher.model: was "),
    ],
)
def test_a_run_is_not_resumed_under_other_conditions(
    unfinished: Workspace,
    tiny_models: TinyModels,
    spoil: Callable[[Workspace, TinyModels], None],
    field: str,
) -> None:
    spoil(unfinished, tiny_models)
    ending = unfinished.llm2llm("resume")
    assert_refused(ending, "run 1 was started under other conditions", field, "llm2llm fork 1")
    assert ending.err.count(": was ") == 1
    assert unfinished.state()["state"] == "stopped"


@pytest.mark.model
def test_a_change_without_effect_on_results_does_not_keep_a_run_from_going_on(unfinished: Workspace) -> None:
    with unfinished.config.open("a") as file:
        file.write("hardware.worker_retries = 7\n")
    assert unfinished.llm2llm("resume", "1").code == DONE


@pytest.mark.model
def test_the_overrides_of_a_run_are_kept_for_resuming_it(unfinished: Workspace) -> None:
    edit(unfinished.config, "student.epochs = 1", "student.epochs = 5")
    unfinished.execute("UPDATE runs SET overrides = ?", '["student.epochs=1"]')
    assert unfinished.llm2llm("resume").code == DONE


@pytest.mark.model
def test_a_workspace_that_was_moved_goes_on_in_its_new_place(unfinished: Workspace) -> None:
    moved = Workspace(unfinished.folder.rename(unfinished.folder.with_name("elsewhere")))
    ending = moved.llm2llm("resume")
    assert (ending.code, moved.state()["state"]) == (DONE, "done"), ending.err


# --- forks ----------------------------------------------------------------------------------------------------------


def created(workspace: Workspace, table: str, run_id: int, iteration: int) -> list[tuple[Any, ...]]:
    """When the rows were made: a row that was taken over keeps its time."""
    sql = f"SELECT created_at FROM {table} WHERE run_id = ? AND iteration = ? ORDER BY 1"
    return workspace.rows(sql, run_id, iteration)


def adapter(workspace: Workspace, run_id: int, iteration: int) -> dict[str, bytes]:
    """The files of a finished adapter, found as the store says."""
    ((path,),) = workspace.rows(
        "SELECT path FROM checkpoints WHERE run_id = ? AND iteration = ? AND path IS NOT NULL", run_id, iteration
    )
    return {file.name: file.read_bytes() for file in (workspace.folder / path).iterdir()}


@pytest.mark.model
def test_a_fork_takes_over_what_a_changed_setting_does_not_touch(finished_run: Workspace, tmp_path: Path) -> None:
    workspace = copied(finished_run, tmp_path / "workspace")
    ending = workspace.llm2llm("fork", "1", "--set", "checks.duplicate_threshold=0.9")
    assert ending.code == DONE, ending.err
    assert "run 2: 4 finished stages of run 1 taken over" in ending.err
    assert "iteration 0 check: 1 groups" in ending.err
    assert "iteration 0 train" not in ending.err
    assert ending.out.startswith("run 2: done")
    assert workspace.rows("SELECT run_id, status, forked_from_run_id FROM runs") == [(1, "done", None), (2, "done", 1)]
    assert workspace.rows(
        "SELECT stage FROM stages WHERE run_id = 2 AND created_at < "
        "(SELECT created_at FROM runs WHERE run_id = 2) ORDER BY id"
    ) == [("train",), ("predict",), ("grade",), ("augment",)]
    for table in ("predictions", "checkpoints", "metrics", "teacher_calls"):
        assert created(workspace, table, 2, 0) == created(workspace, table, 1, 0) != []
        assert set(created(workspace, table, 2, 1)).isdisjoint(created(workspace, table, 1, 1))
    assert adapter(workspace, 2, 0) == adapter(workspace, 1, 0)
    # With these models nothing is so similar that the threshold mattered: all that is left to differ is its value.
    assert differences(workspace.folder, 1, workspace.folder, 2) == fingerprints_only(workspace)


def fingerprints_only(workspace: Workspace) -> list[str]:
    found = differences(workspace.folder, 1, workspace.folder, 2)
    return [line for line in found if line.startswith(("stages: ", "events: "))]


@pytest.mark.model
def test_a_fork_with_more_iterations_goes_on_where_the_run_ended(finished_run: Workspace, tmp_path: Path) -> None:
    workspace = copied(finished_run, tmp_path / "workspace")
    ending = workspace.llm2llm("fork", "1", "--set", "loop.iterations=3", "--json")
    assert ending.code == DONE, ending.err
    ((n_stages,),) = workspace.rows("SELECT count(*) FROM stages WHERE run_id = 1")
    assert f"run 2: {n_stages} finished stages of run 1 taken over" in ending.err
    report = ending.json()
    assert (report["run_id"], report["status_detail"]) == (2, "finished after 3 rounds of augmentation")
    assert [row["iteration"] for row in report["iterations"]] == [0, 1, 2, 3]
    before = workspace.llm2llm("report", "1", "--json").json()["iterations"]
    assert report["iterations"][:2] == before[:2]
    for n in (0, 1, 2):
        assert adapter(workspace, 2, n) == adapter(workspace, 1, n)
    assert adapter(workspace, 2, 3).keys() == adapter(workspace, 1, 2).keys()
    ids = "SELECT max(example_id) FROM lineage WHERE run_id = ? AND failed_iteration < 2"
    newest = {run_id: workspace.rows(ids, run_id)[0][0] for run_id in (1, 2)}
    one, other = (workspace.llm2llm("lineage", str(example), "--json").json() for example in newest.values())
    for record in (*one, *other):
        for name in ("example_id", "run_id", "candidate_id", "teacher_call_id", "parent_example_id"):
            record.pop(name, None)
        record["trained_iterations"] = [n for n in record["trained_iterations"] if n < 3]
    assert one == other


@pytest.mark.model
@pytest.mark.parametrize(
    ("field", "value", "stages"),
    [
        ("student.epochs", 2, []),
        ("hardware.threads", 2, []),
        ("data.test", "0" * 64, []),
        ("task.labels", ["person", "place", "number", "reason"], []),
        ("student.max_new_tokens", 9, ["train"]),
        ("teacher.temperature", 0.5, ["train", "predict", "grade"]),
        ("task.instruction", "Sort them.", ["train", "predict", "grade"]),
        ("loop.augmentations_per_failure", 2, ["train", "predict", "grade"]),
        ("checks.leak_threshold", 0.9, ["train", "predict", "grade", "augment"]),
        ("loop.iterations", 9, None),
    ],
)
def test_what_a_fork_takes_over_depends_on_what_changed(
    unforked: Workspace, field: str, value: Any, stages: list[str] | None
) -> None:
    """All stages of the first iteration that read the field are done anew, and everything after them."""
    every = [row[0] for row in unforked.rows("SELECT stage FROM stages WHERE run_id = 1 ORDER BY id")]
    with Store(unforked.folder) as store, store.transaction():
        fork = add_run(store)
        store.execute(
            "INSERT INTO examples (run_id, key, split, origin, question, answer, source, line, created_at) "
            "SELECT ?, key, split, origin, question, answer, source, line, '' FROM examples WHERE origin = 'seed'",
            [fork.run_id],
        )
        fields = store.run(1).fingerprint_fields
        assert fields[field] != value
        unchanged = unchanged_stages(store, 1, Fingerprint({**fields, field: value}).advance)
        copy_stages(store, 1, fork.run_id, unchanged)
    copied_stages = [row[0] for row in unforked.rows("SELECT stage FROM stages WHERE run_id = 2 ORDER BY id")]
    assert copied_stages == (every if stages is None else stages)
    assert len(unchanged) == len(copied_stages)
    for table, stage in (("predictions", "predict"), ("teacher_calls", "augment"), ("verdicts", "check")):
        assert bool(created(unforked, table, 2, 0)) == (stage in copied_stages), table


@pytest.fixture
def unforked(finished_run: Workspace, tmp_path: Path) -> Workspace:
    return copied(finished_run, tmp_path / "workspace")


@pytest.mark.model
def test_a_fork_whose_adapter_is_gone_says_so(unforked: Workspace) -> None:
    """Adapters are large; people delete those of old runs."""
    shutil.rmtree(unforked.folder / "runs" / "1" / "iteration-0")
    ending = unforked.llm2llm("fork", "1", "--set", "loop.iterations=1")
    assert "Traceback" not in ending.err
    if ending.code != DONE:  # training it again would be as good
        assert_refused(ending, "iteration-0")
        assert unforked.n_runs() == 1


@pytest.mark.model
def test_a_fork_that_was_killed_does_not_stand_in_the_way_of_the_next(unforked: Workspace) -> None:
    """It copies adapters before its rows are committed, so that the next run gets the same number."""
    left = unforked.folder / "runs" / "2" / "iteration-0" / "adapter"
    shutil.copytree(unforked.folder / "runs" / "1" / "iteration-0" / "adapter", left)
    ending = unforked.llm2llm("fork", "1")
    assert (ending.code, unforked.n_runs()) == (DONE, 2), ending.err
    assert adapter(unforked, 2, 0) == adapter(unforked, 1, 0)


@pytest.mark.model
def test_a_fork_of_another_workspaces_configuration_is_refused(
    unforked: Workspace, tiny_models: TinyModels, tmp_path: Path
) -> None:
    other = make_workspace(tmp_path / "other", tiny_models)
    assert_refused(unforked.llm2llm("fork", "1", other.config), "lies in another workspace than run 1")
    assert unforked.n_runs() == 1


# --- live runs ------------------------------------------------------------------------------------------------------


Started = Callable[..., tuple[Workspace, subprocess.Popen[str]]]


@pytest.fixture
def started(tiny_models: TinyModels, tmp_path: Path) -> Iterator[Started]:
    """Starts runs of the same configuration as the finished run's, unless fields are changed."""
    processes: list[subprocess.Popen[str]] = []

    def start(**fields: str) -> tuple[Workspace, subprocess.Popen[str]]:
        changes = {name.replace("__", "."): value for name, value in fields.items()}
        workspace = make_workspace(tmp_path / "workspace", tiny_models, changes)
        processes.append(workspace.start("run"))
        return workspace, processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def is_in_state(*states: str) -> Callable[[dict[str, Any]], bool]:
    return lambda state: state["state"] in states


def end_of(process: subprocess.Popen[str]) -> int:
    return process.wait(PATIENCE_SECONDS)


@pytest.mark.model
def test_a_live_run_is_not_resumed_twice_and_stops_when_told(started: Started, finished_run: Workspace) -> None:
    workspace, process = started()
    assert workspace.wait_until(is_in_state("running"))["pid"] == process.pid
    with frozen_workers(process):
        assert_refused(workspace.llm2llm("resume", "1"), f"run 1 is being worked on by process {process.pid}")
        told = workspace.llm2llm("stop")
    assert (told.code, told.err) == (DONE, "")
    assert f"run 1 will stop after its current unit of work (process {process.pid})" in told.out
    assert end_of(process) == RESUMABLE
    assert re.search(r"^llm2llm: run 1 stopped", workspace.error_output(), re.MULTILINE)
    lines = workspace.llm2llm("status").out.splitlines()
    assert lines[0].startswith("run 1  stopped  ")
    assert lines[1] == "    continue it: llm2llm resume 1"

    resumed = workspace.llm2llm("resume")
    assert resumed.code == DONE, resumed.err
    assert resumed.out.startswith("run 1: done")
    assert differences(workspace.folder, 1, finished_run.folder, 1) == []


@pytest.mark.model
def test_a_paused_run_frees_its_models_and_goes_on(started: Started, finished_run: Workspace) -> None:
    workspace, process = started()
    workspace.wait_until(is_in_state("running"))
    with frozen_workers(process):
        assert workspace.llm2llm("pause", "1").code == DONE
    assert workspace.wait_until(is_in_state("paused"))["pid"] == process.pid
    wait_for(lambda: "paused; go on with: llm2llm resume 1" in workspace.error_output())
    assert children(process.pid) == []
    units = workspace.rows("SELECT sum(units_done) FROM stages")
    time.sleep(1)
    assert workspace.rows("SELECT sum(units_done) FROM stages") == units

    resumed = workspace.llm2llm("resume", "1")
    assert resumed.code == DONE, resumed.err
    assert f"run 1 goes on in process {process.pid}" in resumed.err
    assert end_of(process) == DONE
    assert workspace.state()["state"] == "done"
    assert differences(workspace.folder, 1, finished_run.folder, 1) == []
    words = workspace.rows("SELECT command, status FROM commands ORDER BY id")
    assert words == [("pause", "done"), ("resume", "done")]


@contextmanager
def frozen_workers(process: subprocess.Popen[str]) -> Iterator[None]:
    """No unit is finished meanwhile, so that the run can't end before it was told something."""
    wait_for(lambda: len(children(process.pid)) == 2)
    workers = children(process.pid)
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.mark.model
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_interrupt_stops_a_run_after_its_unit(started: Started, number: signal.Signals) -> None:
    workspace, process = started(student__epochs="40", loop__iterations="1")  # some 60 segments in a few seconds
    wait_for(lambda: n_units(workspace) > 2)
    process.send_signal(number)
    assert end_of(process) == RESUMABLE
    err = workspace.error_output()
    assert "stopping after this unit of work; Ctrl-C again stops at once (both are resumable)" in " ".join(err.split())
    assert "Traceback" not in err
    assert workspace.state()["state"] == "stopped"
    ((done, total, segments),) = workspace.rows(
        "SELECT units_done, units_total, (SELECT count(*) FROM checkpoints) FROM stages"
    )
    assert 2 < done == segments < total
    resumed = workspace.llm2llm("resume")
    assert resumed.code == DONE, resumed.err
    assert f"iteration 0 train: {total - done} segments" in resumed.err
    assert workspace.rows("SELECT count(*) FROM stages WHERE units_done != units_total OR status != 'done'") == [(0,)]


def n_units(workspace: Workspace) -> int:
    try:
        rows = workspace.rows("SELECT coalesce(sum(units_done), 0) FROM stages")
    except sqlite3.OperationalError:  # the store is just being made
        return 0
    return int(rows[0][0]) if rows else 0


@pytest.mark.model
def test_two_interrupts_stop_a_run_within_its_unit(started: Started) -> None:
    workspace, process = started(student__epochs="300", student__checkpoint_steps="100000", loop__iterations="1")
    wait_for(lambda: "iteration 0 train: 1 segments" in workspace.error_output())
    time.sleep(0.2)  # well within the only segment
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert end_of(process) == RESUMABLE
    err = workspace.error_output()
    assert "Traceback" not in err
    assert n_units(workspace) == 0, "the unit was worked to its end"
    assert re.search(r"^llm2llm: .*stopped at once by .*Ctrl-C", err, re.MULTILINE)
    assert workspace.state()["state"] == "stopped"
    assert workspace.llm2llm("resume").code == DONE
    assert workspace.rows("SELECT status FROM runs") == [("done",)]


@pytest.mark.model
def test_an_interrupt_before_anything_was_done_leaves_a_resumable_run_or_none(started: Started) -> None:
    """The store has perhaps not even been made."""
    workspace, process = started()
    wait_for(workspace.store.exists)
    process.send_signal(signal.SIGINT)
    code = end_of(process)
    assert "Traceback" not in workspace.error_output()
    with Store(workspace.folder):  # so that another run can start
        pass
    status = workspace.llm2llm("status", "--json")
    assert status.code == DONE, status.err
    states = [state["state"] for state in status.json()]
    assert (code, states) in [(FAILED, []), (FAILED, ["interrupted"]), (RESUMABLE, ["stopped"])]


@pytest.mark.model
def test_a_killed_run_is_shown_as_interrupted(started: Started) -> None:
    workspace, process = started()
    workspace.wait_until(is_in_state("running"))
    process.kill()
    process.wait()
    assert workspace.wait_until(is_in_state("interrupted"))["pid"] is None
    assert workspace.llm2llm("status", "1").out.splitlines()[1] == "    continue it: llm2llm resume 1"


def test_a_failed_run_is_shown_with_its_reason(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_run(store, status=Status.FAILED, status_detail="the disk is full")
    ending = Workspace(tmp_path).llm2llm("status", "1")
    assert ending.out.splitlines()[1:] == ["    the disk is full", "    continue it: llm2llm resume 1"]
