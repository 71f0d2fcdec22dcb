"""What is written where standard output isn't UTF-8, as with an old locale."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from workspaces import Workspace, add_run, fill, grade

from llm2llm_local.store.writer import Store

TEXT = "é 日本 🎉"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    with Store(tmp_path) as store:
        run = add_run(store)
        fill(run)
        grade(run)
        with store.transaction():
            store.execute("UPDATE examples SET question = ?", [TEXT])
    return Workspace(tmp_path)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_loses_no_character(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    sql = "SELECT question, 1 AS größe FROM examples LIMIT 1"
    assert workspace.llm2llm("query", sql, "--json").json() == [{"question": TEXT, "größe": 1}]
    failures = workspace.llm2llm("failures", "--json").json()
    assert {failure["question"] for failure in failures} == {TEXT}
    assert workspace.llm2llm("query", "SELECT 'é' AS a", "--json").json() == [{"a": "é"}]


def test_json_is_readable_where_it_can_be(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    ending = workspace.llm2llm("query", "SELECT question FROM examples LIMIT 1", "--json")
    assert ending.out == json.dumps([{"question": TEXT}], ensure_ascii=False, indent=2) + "\n"


def test_a_word_where_a_run_is_wanted_is_no_integer(workspace: Workspace) -> None:
    ending = workspace.llm2llm("status", "abc")
    assert ending.code == 2
    assert ending.err.rstrip().endswith("'abc' is not a valid integer.")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_csv_loses_no_character(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    ending = workspace.llm2llm("query", "SELECT question FROM examples LIMIT 1", "--csv")
    assert ending.out == f"question\n{TEXT}\n"


@pytest.mark.parametrize("seconds", ["nan", "inf"])
def test_a_time_limit_is_a_number(workspace: Workspace, seconds: str) -> None:
    ending = workspace.llm2llm("query", "SELECT 1", "--timeout", seconds)
    assert ending.code == 2
    assert f"{seconds} is no number of seconds" in ending.err
