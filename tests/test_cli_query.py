"""A query is answered in the form asked for, and what it finds harms neither the terminal nor the history."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess

import pytest
from endings import assert_refused
from workspaces import COMMAND, PATIENCE_SECONDS, Workspace


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


@pytest.mark.parametrize("comment", ["-- all\n", "--all\n", "-- csv\n-- json\n"])
def test_a_query_may_begin_with_a_comment(history: Workspace, comment: str) -> None:
    ending = history.llm2llm("query", f"{comment}SELECT count(*) AS n FROM runs", "--json")
    assert ending.json() == [{"n": 1}]


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
