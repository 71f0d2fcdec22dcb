"""What people call before their first run: help, init, models, doctor."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from endings import DONE, USER_INPUT, assert_refused
from workspaces import CONFIG_NAME, Workspace

from llm2llm_local.config_file import load_config
from llm2llm_local.errors import DiskError, UserInputError
from llm2llm_local.scaffold import write_workspace

if TYPE_CHECKING:
    from tiny_models import TinyModels


def test_help_and_version_are_answered(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    shown = workspace.llm2llm("--help")
    assert shown.code == DONE
    commands = ("init", "run", "resume", "fork", "status", "pause", "stop", "report", "failures", "lineage", "query")
    for command in (*commands, "models", "doctor", "config"):
        assert re.search(rf"^  {command} +\w", shown.out, re.MULTILINE), command
    assert re.fullmatch(r"llm2llm, version [\d.]+\n", workspace.llm2llm("--version").out)


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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("file",), ("file: is a file, not a folder", "Name a folder")),
        (("file/below",), ("file/below: can't be written to: ", "may make or write to")),
        (("",), ("it is empty", ". for the current one")),
        (("new", "--models", ""), ("it is empty",)),
        (("new", "--task", "trec", "--data", ""), ("it is empty",)),
        (("~/new",), ("~ isn't your home folder here", "in full")),
        (("new", "--models=~/models"), ("~ isn't your home folder here", "in full")),
        (("donn\udce9es",), ("es: its path isn't UTF-8", "Rename it")),
        (("new", "--models", "mod\udce8les"), ("les: its path isn't UTF-8", "Rename it")),
        (("x" * 300,), ("File name too long", "Check the path")),
        (("new", "--models", "x" * 300), ("File name too long", "Check the path")),
    ],
)
def test_init_writes_only_where_it_is_really_told_to(
    tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    (tmp_path / "file").touch()
    ending = Workspace(tmp_path).llm2llm("init", *arguments)
    assert (ending.code, ending.out) == (USER_INPUT, "")
    for word in words:
        assert word in ending.err, ending.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_init_in_a_folder_whose_name_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """Every later command would refuse it."""
    latin = tmp_path / "donn\udce9es"
    latin.mkdir()
    assert_refused(Workspace(latin).llm2llm("init", "new"), "new: its path isn't UTF-8", "Rename it")
    assert list(latin.iterdir()) == []


def test_a_link_to_nothing_is_in_the_way_as_a_file_is(tmp_path: Path) -> None:
    link = tmp_path / "train.jsonl"
    link.symlink_to("nowhere")
    assert_refused(Workspace(tmp_path).llm2llm("init", "."), "train.jsonl: is there already", "nothing was written")
    assert list(tmp_path.iterdir()) == [link]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), DiskError),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), UserInputError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
@pytest.mark.parametrize("last", ["train.jsonl", CONFIG_NAME])
def test_init_that_can_not_write_everything_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, told: type[BaseException], last: str
) -> None:
    """Half of a workspace would look like a whole one, and be in the way of the next attempt."""
    write = Path.write_text

    def write_half(path: Path, text: str, **options: Any) -> int:
        if path.name != last:
            return write(path, text, **options)
        assert (path.parent / CONFIG_NAME).exists() == (last == CONFIG_NAME)
        write(path, text[:9], **options)
        raise error

    kept = tmp_path / "notes.md"
    kept.touch()
    with monkeypatch.context() as patched, pytest.raises(told):
        patched.setattr(Path, "write_text", write_half)
        write_workspace(tmp_path / "below" / "new", "classification", tmp_path)
    assert list(tmp_path.iterdir()) == [kept]
    write_workspace(tmp_path / "below" / "new", "classification", tmp_path)


@pytest.mark.parametrize("name", ["a\x7fb", 'a"b', "a\\b", "loop"])
def test_models_may_lie_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    made = Workspace(tmp_path).llm2llm("init", "new", "--models", name)
    assert (made.code, made.err) == (DONE, "")
    assert "There is no folder " in made.out
    assert load_config(tmp_path / "new" / CONFIG_NAME).student.model.parent == tmp_path / name


def test_models_that_are_a_file_are_no_missing_folder(tmp_path: Path) -> None:
    (tmp_path / "notes.md").touch()
    made = Workspace(tmp_path).llm2llm("init", "new", "--models", "notes.md")
    assert made.out.endswith(
        "notes.md is a file, not a folder: set teacher.model and student.model to where your models are.\n"
    )


# --- models ---


def test_a_missing_models_folder_is_refused(tmp_path: Path) -> None:
    assert_refused(Workspace(tmp_path).llm2llm("models"), "models: no such folder")
    (tmp_path / "file").touch()
    assert_refused(Workspace(tmp_path).llm2llm("models", "file"), "file: is a file, not a folder", "it lies in")


def test_a_folder_without_models_says_what_would_be_one(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    shown = Workspace(tmp_path).llm2llm("models", "empty")
    assert shown.code == DONE
    assert shown.out.startswith("empty: no models there: put GGUF files (teachers) and folders with config.json")
    assert Workspace(tmp_path).llm2llm("models", "empty", "--json").json() == []


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


# --- doctor ---


def test_a_doctor_without_configuration_says_how_to_make_one(tmp_path: Path) -> None:
    found = Workspace(tmp_path).llm2llm("doctor")
    assert found.code == USER_INPUT
    assert re.search(r"^error .*llm2llm\.toml: no such file\. Write one with: llm2llm init", found.out, re.MULTILINE)


@pytest.mark.model
def test_a_doctor_finds_nothing_wrong_with_a_finished_run(finished_run: Workspace) -> None:
    ending = finished_run.llm2llm("doctor")
    assert (ending.code, ending.err) == (DONE, "")
    lines = ending.out.splitlines()
    few, unverified = (line for line in lines if not line.startswith("ok      "))
    assert few == "warning 4 test rows: a gain can't be told from chance"
    assert unverified.startswith("warning nothing is verified: checks.verify"), ending.out
    for text in ("teacher tiny: llama, F32", "rows: 9 train, 0 dev, 4 test", "llm2llm.db has 1 run", "CPU threads"):
        assert text in ending.out
    assert "seeds by label: person 3, place 3, number 3" in ending.out


@pytest.mark.model
def test_a_doctor_audits_without_a_run(finished_run: Workspace) -> None:
    """Random weights know nothing."""
    n_runs = finished_run.rows("SELECT count(*) FROM runs")
    on = ("--set", 'checks.verify="on"', "--set", 'checks.verifier="teacher"')
    ending = finished_run.llm2llm("doctor", "--audit", *on)
    assert "verification, audited on" in ending.out and "of wrong ones" in ending.out
    assert (ending.code == USER_INPUT) == ("a run would stop at this" in ending.out)
    assert finished_run.rows("SELECT count(*) FROM runs") == n_runs
    refused = finished_run.llm2llm("doctor", "--audit", "--set", 'checks.verify="off"')
    assert refused.code == USER_INPUT and "nothing is verified" in refused.out


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
