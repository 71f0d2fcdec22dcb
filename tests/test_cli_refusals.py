"""What commands say, and how they end, where there is nothing to work on or a person made a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from endings import DONE, USER_INPUT, assert_refused
from workspaces import COMMAND, Workspace, without_rights_over_files

from llm2llm_local.cli import cli
from llm2llm_local.errors import RunStoppedError
from llm2llm_local.loop.work import record_end
from llm2llm_local.store.writer import Store
from llm2llm_local.terminal import from_here

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
    assert_refused(Workspace(tmp_path).llm2llm("status"), "no runs yet", "llm2llm run")


def test_what_helps_is_said_as_it_is_to_be_typed_where_the_person_is(history: Workspace, tmp_path: Path) -> None:
    elsewhere, place = Workspace(tmp_path / "elsewhere"), f"llm2llm -C {history.folder}"
    elsewhere.folder.mkdir()
    assert_refused(elsewhere.llm2llm("-C", history.folder, "pause", "1"), f"Where it stands: {place} status 1\n")
    assert_refused(elsewhere.llm2llm("-C", history.folder, "lineage", "999"), f"Find one: {place} query 'SELECT ")
    assert_refused(elsewhere.llm2llm("-C", "nowhere", "status"), "name it: llm2llm -C FOLDER …\n")
    assert_refused(elsewhere.llm2llm("-C", history.folder, "config"), "Write one with: llm2llm init DIR\n")
    assert_refused(history.llm2llm("-C", ".", "pause", "1"), "Where it stands: llm2llm status 1\n")


@pytest.mark.parametrize("command", sorted(cli.commands.keys() - {"init", "config"}))
def test_every_command_that_may_help_is_named_with_its_folder(tmp_path: Path, command: str) -> None:
    """`init` is told its folder, and `config --help` needs none."""
    assert from_here(f"See: llm2llm {command} 1", tmp_path) == f"See: llm2llm -C {tmp_path} {command} 1"


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


@pytest.mark.parametrize(
    "arguments",
    [
        ["init", "locked/new"],
        ["init", "new", "--models", "locked/models"],
        ["models", "locked/models"],
        ["-C", "locked/workspace", "status"],
        ["report", "--reference", "seeds.jsonl", "locked/results"],
    ],
)
def test_where_one_may_not_look_is_a_users_mistake(tmp_path: Path, arguments: list[str]) -> None:
    Workspace(tmp_path).write_rows("seeds.jsonl", [("How much is 2 + 3?", "#### 5")])
    (tmp_path / "locked").mkdir(mode=0o000)
    ending = Workspace(tmp_path).llm2llm(*arguments, before_exec=without_rights_over_files)
    if ending.code == 77:
        pytest.skip("rights can't be taken from this process")
    assert_refused(ending, "locked/", ": Permission denied.\n", "Check the path and its permissions.")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["locked", "seeds.jsonl"]


@pytest.mark.parametrize(
    ("command", "code"),
    [('query "SELECT 1" >&-', DONE), ("report 1 >&-", DONE), ("status 2>&-", DONE), ("delete 1 <&-", USER_INPUT)],
)
def test_a_closed_stream_is_no_error(history: Workspace, command: str, code: int) -> None:
    ending = history.run("sh", "-c", f"{COMMAND} {command}")
    assert ending.code == code, ending
    assert "Traceback" not in ending.err
    assert history.n_runs() == 1


@pytest.mark.parametrize("arguments", [["status", "-C", "demo"], ["status", "-Cdemo"], ["run", "x.toml", "-C", "demo"]])
def test_the_folder_is_to_be_named_before_the_command(tmp_path: Path, arguments: list[str]) -> None:
    ending = Workspace(tmp_path).llm2llm(*arguments)
    assert ending.code == USER_INPUT
    assert f"It goes before the command: llm2llm -C FOLDER {arguments[0]}" in ending.err
    assert "before the command" not in Workspace(tmp_path).llm2llm("status", "-X").err


@pytest.mark.model
def test_a_finished_run_can_not_be_resumed(finished_run: Workspace) -> None:
    assert_refused(finished_run.llm2llm("resume"), "no run is unfinished", "llm2llm run")
    assert_refused(finished_run.llm2llm("resume", "1"), "run 1 is finished", "llm2llm report 1")


@pytest.mark.model
@pytest.mark.parametrize("command", ["pause", "stop"])
def test_a_finished_run_can_not_be_told_anything(finished_run: Workspace, command: str) -> None:
    assert_refused(finished_run.llm2llm(command), "no run is being worked on", "llm2llm status")
    assert_refused(finished_run.llm2llm(command, "1"), "run 1 is not being worked on", "llm2llm status")


def test_a_store_whose_tables_have_names_that_are_no_text_is_damaged(history: Workspace) -> None:
    path = history.folder / "llm2llm.db"
    content = path.read_bytes()
    assert b"tablecheckpointscheckpoints" in content
    path.write_bytes(content.replace(b"tablecheckpointscheckpoints", b"tablecheckpoint\xffcheckpoint\xff"))
    ending = history.llm2llm("status")
    assert (ending.code, ending.out) == (USER_INPUT, "")
    assert "names of its tables are no text" in ending.err and "It is damaged" in ending.err


@pytest.mark.parametrize("arguments", [["resume"], ["resume", "1"], ["fork", "1"], ["pause", "1"], ["report"]])
def test_a_store_that_is_damaged_within_says_so(history: Workspace, arguments: list[str]) -> None:
    history.damage("runs")
    ending = history.llm2llm(*arguments)
    assert (ending.code, ending.out) == (USER_INPUT, "")
    assert "It is damaged" in ending.err and "Traceback" not in ending.err


def test_a_run_that_was_stopped_is_told_so_though_its_store_is_damaged(history: Workspace) -> None:
    history.damage("events")
    with Store(history.folder) as store:
        record_end(store.of_run(1), RunStoppedError("stopped"))


@pytest.mark.parametrize("command", ["run", "config", "sweep"])
def test_a_configuration_that_links_to_itself_is_told(tmp_path: Path, command: str) -> None:
    (tmp_path / "llm2llm.toml").symlink_to("llm2llm.toml")
    options = ["--recipes", "fine_tune"] if command == "sweep" else []
    assert_refused(Workspace(tmp_path).llm2llm(command, *options), "llm2llm.toml: can't be read", "Too many levels")
