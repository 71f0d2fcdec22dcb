"""The screen with the SQL console, and what it reads and writes."""

from __future__ import annotations

import errno
import json
import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from audits import audit_row
from screens import SMALL, AppPilot, opened, press, said, settled, shown, until, words
from textual.events import Paste
from textual.widgets import DataTable, Input, TextArea
from workspaces import add_graded_run

from llm2llm_local.errors import StoreError, UserInputError
from llm2llm_local.records import Rate, Vote
from llm2llm_local.report.query import tsv_text
from llm2llm_local.report.questions import QUESTIONS, Question
from llm2llm_local.report.relations import Column, relations
from llm2llm_local.store.reader import QueryResult, open_reader, run_query
from llm2llm_local.store.verification import Subject
from llm2llm_local.store.writer import Store
from llm2llm_local.tui.query_files import own_queries, query_file, write_private
from llm2llm_local.tui.screens.sql import SqlScreen
from llm2llm_local.tui.widgets.query_catalogue import QueryCatalogue
from llm2llm_local.tui.widgets.result_table import ResultTable

pytestmark = pytest.mark.anyio

_ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
_HOSTILE = (
    "SELECT '[bold]hi[/bold]' || char(27) || '[31m' AS \"[red]name\", NULL AS missing, x'00ff' AS blob, 1.5 AS number"
)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    with Store(tmp_path) as store:
        add_graded_run(store)
    return tmp_path


def _write(pilot: AppPilot, sql: str) -> None:
    pilot.app.screen.query_one("#statement", TextArea).text = sql


async def _run(pilot: AppPilot, sql: str, key: str = "f5") -> None:
    _write(pilot, sql)
    await press(pilot, key)


async def _to_catalogue(pilot: AppPilot) -> None:
    await until(pilot, lambda: "questions" in shown(pilot))
    pilot.app.screen.query_one(QueryCatalogue).focus()


def _cells(pilot: AppPilot) -> list[list[str]]:
    table = pilot.app.screen.query_one("#result DataTable", DataTable)
    return [[cell.plain for cell in table.get_row_at(row)] for row in range(table.row_count)]


# --- what it stands on ---


def test_relations_are_what_the_store_has(workspace: Path) -> None:
    with open_reader(workspace) as connection:
        found = {relation.name: relation for relation in relations(connection)}
    assert found["failures"].kind == "view"
    assert found["runs"].kind == "table"
    assert found["runs"].columns[0] == Column("run_id", "INTEGER")
    assert not [name for name in found if name.startswith(("sqlite", "_", "candidates_search"))]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)
def test_questions_are_sound(workspace: Path, question: Question) -> None:
    with open_reader(workspace) as connection:
        assert run_query(connection, question.sql, 10.0).columns


def _answers(workspace: Path, name: str) -> list[tuple[object, ...]]:
    (question,) = (one for one in QUESTIONS if one.name == name)
    with open_reader(workspace) as connection:
        return [tuple(row) for row in run_query(connection, question.sql, 10.0).rows]


def test_the_audit_is_asked_for_by_verifier_with_intervals(workspace: Path) -> None:
    rates: Any = {
        "true_accepts": Rate(0.75, 0.6, 0.9),
        "false_accepts": Rate(0.25, 0.1, 0.4),
        "preference": Rate(1, 0.9, 1),
    }
    with Store(workspace) as store, store.transaction():
        verification = store.of_run(1).verification
        verification.add_audit(audit_row("teacher", n_seeds=3, n_wrong=6, agreement=2 / 3, **rates))
        verification.add_audit(audit_row(n_seeds=3, n_wrong=6, **rates))
    told = ("75% (60 to 90)", "25% (10 to 40)", "100% (90 to 100)")
    assert _answers(workspace, "How far can the verifiers be trusted?") == [
        (1, "teacher", 3, 6, 66.7, *told),
        (1, "together", 3, 6, None, *told),
    ]


def test_the_votes_on_a_candidate_are_asked_for(workspace: Path) -> None:
    with Store(workspace) as store, store.transaction():
        verification = store.of_run(1).verification
        vote = Vote('say "a"', {'say "a"': -0.105, "b": -2.3}, "b", None, "")
        seed = store.execute("SELECT min(id) FROM examples").fetchone()[0]
        verification.add_vote(0, Subject("a", example_id=seed), "teacher", vote)
        verification.add_vote(0, Subject("b", candidate_id=1), "teacher", vote)
        for number in (0, 1):
            verification.add_vote(0, Subject("b", candidate_id=2), "teacher", vote, number)
        verification.add_vote(0, Subject("b", candidate_id=2), "student", Vote("7", {}, None, False, "7"), fold=4)
    assert _answers(workspace, "How was a candidate voted on?") == [
        (2, "reject", "b", "teacher", 1, 0, 'say "a"', None, -2.3),
        (2, "reject", "b", "teacher", 2, 0, 'say "a"', None, -2.3),
        (2, "reject", "b", "student", 1, 4, "7", 0, None),
    ]


def test_tokens_of_folds_are_told_beside_their_own_stages(workspace: Path) -> None:
    with Store(workspace) as store:
        run = store.of_run(1)
        for stage in ("train", "fold_train", "audit"):
            run.close_stage(run.open_stage(0, stage, 0, "", {}, units=1))
        with run.transaction():
            run.add_checkpoint(0, 3, 3, run.folder / "a", "0" * 64, 80, 1.0)
            run.add_checkpoint(0, 3, 3, run.folder / "b", "0" * 64, 500, 1.0, fold=1)
    tokens = {row[1]: row[3] for row in _answers(workspace, "Where did time and tokens go?")}
    assert (tokens["train"], tokens["fold_train"], tokens["audit"]) == (80, 500, None)


def test_questions_are_those_of_the_readme() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    queries = re.findall(r'^llm2llm query "(SELECT.*?)"$', readme, flags=re.DOTALL | re.MULTILINE)
    assert {" ".join(sql.split()) for sql in queries} == {" ".join(question.sql.split()) for question in QUESTIONS}


def test_a_query_ends_when_it_is_cancelled(workspace: Path) -> None:
    cancelled = threading.Event()
    threading.Timer(0.2, cancelled.set).start()
    began = time.monotonic()
    with open_reader(workspace) as connection, pytest.raises(StoreError, match="cancelled"):
        run_query(connection, _ENDLESS, 30.0, cancelled.is_set)
    assert time.monotonic() - began < 10


def test_tsv_has_tabs_between_and_quotes_around_what_has_tabs_itself() -> None:
    assert tsv_text(QueryResult(("a", "b"), [(1, "x\ty"), (None, "z")])) == 'a\tb\n1\t"x\ty"\n\tz\n'


def test_private_files_are_the_owners_and_replace_older_ones_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.csv"
    write_private(path, "one")
    write_private(path, "two")
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "x" * 61, "a\x1bb"])
def test_names_that_no_file_can_have_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserInputError, match="can't be called"):
        query_file(tmp_path, name)


def test_only_files_with_a_fit_name_are_queries(tmp_path: Path) -> None:
    write_private(query_file(tmp_path, "mine"), "SELECT 1")
    (tmp_path / "queries" / ".hidden.sql").write_text("SELECT 2")
    (tmp_path / "queries" / "odd\x1b.sql").write_text("SELECT 3")
    assert own_queries(tmp_path) == (Question("mine", "SELECT 1"),)


def test_a_file_that_cannot_be_written_whole_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_private(tmp_path / "result.csv", "x\n1\n")
    assert [*tmp_path.iterdir()] == []


def test_a_saved_query_that_can_not_be_read_says_why(tmp_path: Path) -> None:
    folder = tmp_path / "queries" / "folder.sql"
    folder.mkdir(parents=True)
    assert own_queries(tmp_path) == (Question("folder", f"-- {folder}: Is a directory"),)


# --- running ---


@pytest.mark.parametrize("key", ["f5", "ctrl+r"])
async def test_a_query_is_run_and_its_result_shown(workspace: Path, key: str) -> None:
    async with opened(workspace, "sql") as pilot:
        await _run(pilot, "SELECT iteration, n_correct FROM accuracy_by_iteration WHERE split = 'test'", key)
        assert _cells(pilot) == [["0", "2"], ["1", "1"]]
        assert re.search(r"2 rows · \d+ ms", shown(pilot))


async def test_values_are_text_and_nothing_else(workspace: Path) -> None:
    async with opened(workspace, "sql") as pilot:
        await _run(pilot, _HOSTILE)
        assert _cells(pilot) == [["[bold]hi[/bold]\\x1b[31m", "NULL", "2 bytes", "1.5"]]
        assert "[red]name" in shown(pilot)


async def test_wide_values_are_cut_in_the_table_and_whole_below_it(workspace: Path) -> None:
    async with opened(workspace, "sql") as pilot:
        await _run(pilot, "SELECT 1, replace(hex(zeroblob(30)), '00', 'ab') || lower('END')")
        assert _cells(pilot)[0][1].endswith("…")
        assert "abend" not in shown(pilot)
        pilot.app.screen.query_one("#result DataTable").focus()
        await press(pilot, "right")
        assert "abend" in shown(pilot)


async def test_errors_are_shown_in_place(workspace: Path) -> None:
    async with opened(workspace, "sql") as pilot:
        await _run(pilot, "SELECT 7 AS kept")
        await _run(pilot, "SELECT nonsense")
        assert "SQL: no such column: nonsense" in shown(pilot)
        assert pilot.app.screen.query_one("#outcome").has_class("error")
        assert _cells(pilot) == [["7"]]
        await _run(pilot, "DELETE FROM runs")
        assert "only SELECT is allowed" in shown(pilot)
        await _run(pilot, "SELECT 8")
        assert not pilot.app.screen.query_one("#outcome").has_class("error")


async def test_a_long_query_can_be_cancelled_and_blocks_nothing(workspace: Path) -> None:
    async with opened(workspace, "sql") as pilot:
        _write(pilot, _ENDLESS)
        await pilot.press("f5")
        await until(pilot, lambda: "s; esc cancels it" in shown(pilot))
        await pilot.press("f5")
        await until(pilot, lambda: "a query is under way" in said(pilot))
        pilot.app.switch_mode("logs")  # other screens are read meanwhile
        await until(pilot, lambda: "iteration 1 started" in shown(pilot))
        pilot.app.switch_mode("sql")
        await pilot.pause()
        await pilot.press("escape")
        await until(pilot, lambda: "the query was cancelled" in shown(pilot))


async def test_leaving_the_app_ends_a_query(workspace: Path) -> None:
    async with opened(workspace, "sql") as pilot:
        screen = pilot.app.screen
        assert isinstance(screen, SqlScreen)
        _write(pilot, _ENDLESS)
        await pilot.press("f5")
        await until(pilot, lambda: "running" in shown(pilot))
    # The thread is waited for when the loop ends, beyond this test.
    assert screen._is_cancelled.is_set()


async def test_the_time_limit_ends_a_query(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm2llm_local.tui.screens.sql._SECONDS_ALLOWED", 0.2)
    async with opened(workspace, "sql") as pilot:
        await _run(pilot, _ENDLESS)
        assert "took longer than 0.2 s" in shown(pilot)


async def test_the_result_stands_when_the_history_changes(workspace: Path) -> None:
    async with opened(workspace, "sql") as pilot:
        await _run(pilot, "SELECT count(*) FROM events")
        before = _cells(pilot)
        with Store(workspace) as store, store.transaction():
            store.of_run(1).add_event("note", "something new")
        await until(pilot, lambda: not pilot.app.screen.is_reading)  # type: ignore[attr-defined]
        await pilot.pause(0.7)
        assert _cells(pilot) == before


async def test_without_a_store_nothing_is_left_running(tmp_path: Path) -> None:
    async with opened(tmp_path, "sql") as pilot:
        await press(pilot, "f5")
        assert "No runs yet" in shown(pilot)
        assert "running" not in shown(pilot)


async def test_moving_beyond_the_page_turns_it(workspace: Path) -> None:
    async with opened(workspace, "sql") as pilot:
        await _run(pilot, "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 150) SELECT x FROM n")
        assert "150 rows" in shown(pilot)
        table = pilot.app.screen.query_one("#result DataTable", DataTable)
        table.focus()
        table.move_cursor(row=99)
        await press(pilot, "down")
        assert (len(_cells(pilot)), pilot.app.screen.query_one(ResultTable).value) == (50, 101)
        await press(pilot, "up")
        assert pilot.app.screen.query_one(ResultTable).value == 100


# --- typing, and the catalogue ---


async def test_digits_and_letters_are_text_in_the_editor(workspace: Path) -> None:
    async with opened(workspace, "sql") as pilot:
        _write(pilot, "")
        await press(pilot, "1", "8", "q", "s", "c", "question_mark")
        assert pilot.app.screen.query_one("#statement", TextArea).text == "18qsc?"
        assert pilot.app.current_mode == "sql"
        await press(pilot, "escape", "8")
        assert pilot.app.current_mode == "logs"


async def test_what_is_pasted_holds_no_control_characters(workspace: Path) -> None:
    async with opened(workspace, "sql") as pilot:
        _write(pilot, "")
        pilot.app.post_message(Paste("SELECT\n'\x1b[31m[bold]\x07'"))
        await settled(pilot)
        assert pilot.app.screen.query_one("#statement", TextArea).text == "SELECT\n'[31m[bold]'"


async def test_escape_goes_to_the_result_and_back(workspace: Path) -> None:
    async with opened(workspace, "sql") as pilot:
        await press(pilot, "escape")
        assert isinstance(pilot.app.focused, DataTable)
        await press(pilot, "escape")
        assert isinstance(pilot.app.focused, TextArea)


async def test_a_question_is_taken_up_from_the_catalogue(workspace: Path) -> None:
    async with opened(workspace, "sql") as pilot:
        await _to_catalogue(pilot)
        await press(pilot, "down", "down", "enter")
        editor = pilot.app.screen.query_one("#statement", TextArea)
        assert editor.text == QUESTIONS[0].sql
        assert pilot.app.focused is editor


async def test_names_are_inserted_from_the_catalogue(workspace: Path) -> None:
    async with opened(workspace, "sql") as pilot:
        _write(pilot, "SELECT ")
        await press(pilot, "end")
        await _to_catalogue(pilot)
        await press(pilot, "end", "enter")
        assert pilot.app.screen.query_one("#statement", TextArea).text == "SELECT teacher_yield"


async def test_a_query_is_saved_used_and_deleted(workspace: Path) -> None:
    async with opened(workspace, "sql") as pilot:
        _write(pilot, "SELECT 1\nFROM runs")
        await press(pilot, "ctrl+s", *"a/b", "enter")
        assert "can't be called" in shown(pilot)
        await press(pilot, "backspace", "backspace", *"9", "enter")
        await until(pilot, lambda: "own queries" in shown(pilot))
        file = workspace / "queries" / "a9.sql"
        assert own_queries(workspace) == (Question("a9", "SELECT 1\nFROM runs"),)
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        _write(pilot, "")
        await _to_catalogue(pilot)
        await press(pilot, "home", "down", "enter")
        assert pilot.app.screen.query_one("#statement", TextArea).text == "SELECT 1\nFROM runs"
        await _to_catalogue(pilot)
        await press(pilot, "delete", "n")
        assert file.exists()
        await press(pilot, "delete", "y")
        await until(pilot, lambda: not file.exists() and "own queries" not in shown(pilot))


async def test_questions_of_the_program_can_not_be_deleted(workspace: Path) -> None:
    async with opened(workspace, "sql") as pilot:
        await _to_catalogue(pilot)
        await press(pilot, "down", "down", "delete")
        assert "Delete the saved query" not in shown(pilot)


async def test_control_characters_of_a_saved_query_do_not_reach_the_editor(workspace: Path) -> None:
    write_private(query_file(workspace, "odd"), "SELECT\t1\n-- \x1b[31m")
    async with opened(workspace, "sql") as pilot:
        await _to_catalogue(pilot)
        await press(pilot, "home", "down", "enter")
        assert pilot.app.screen.query_one("#statement", TextArea).text == "SELECT  1\n-- [31m"


# --- taking the result away ---


async def test_a_cell_and_the_whole_result_are_copied(workspace: Path) -> None:
    async with opened(workspace, "sql") as pilot:
        await _run(pilot, "SELECT 'a' || char(10) || 'b' AS x, 2 AS y")
        pilot.app.screen.query_one("#result DataTable").focus()
        await press(pilot, "c")
        assert pilot.app.clipboard == "a\nb"
        await press(pilot, "C")
        assert pilot.app.clipboard == 'x\ty\n"a\nb"\t2\n'


async def test_what_is_too_much_for_a_clipboard_is_said(workspace: Path) -> None:
    async with opened(workspace, "sql") as pilot:
        await _run(pilot, "SELECT hex(zeroblob(600000))")
        pilot.app.screen.query_one("#result DataTable").focus()
        await press(pilot, "C")
        assert "e writes it to a file" in said(pilot)
        assert pilot.app.clipboard == ""


async def test_a_result_is_exported_to_csv_and_json(workspace: Path) -> None:
    async with opened(workspace, "sql") as pilot:
        await _run(pilot, "SELECT 'é' AS x, 2 AS y")
        await press(pilot, "escape", "e")
        field = pilot.app.screen.query_one(Input)
        assert field.value == str(workspace / "query-20260301-120000.csv")
        await press(pilot, "enter")
        file = workspace / "query-20260301-120000.csv"
        await until(pilot, file.exists)
        assert file.read_text(encoding="utf-8") == "x,y\né,2\n"
        assert file.stat().st_mode & 0o777 == 0o600
        await press(pilot, "e")
        pilot.app.screen.query_one(Input).value = "mine.json"
        await press(pilot, "enter")
        await until(pilot, (workspace / "mine.json").exists)
        assert json.loads((workspace / "mine.json").read_text(encoding="utf-8")) == [{"x": "é", "y": 2}]


async def test_an_export_never_replaces_a_file_unasked(workspace: Path) -> None:
    file = workspace / "mine.csv"
    file.write_text("precious")
    async with opened(workspace, "sql") as pilot:
        await _run(pilot, "SELECT 1 AS x")
        for answer in ("n", "y"):
            assert file.read_text() == "precious"
            await press(pilot, "escape", "e")
            pilot.app.screen.query_one(Input).value = str(file)
            await press(pilot, "enter")
            assert "exists. Replace it?" in words(pilot)
            await press(pilot, answer, "escape")
        await until(pilot, lambda: file.read_text() == "x\n1\n")


async def test_an_export_goes_only_where_it_can(workspace: Path) -> None:
    async with opened(workspace, "sql") as pilot:
        await press(pilot, "escape", "e")
        assert "there is no result yet" in said(pilot)
        await _run(pilot, "SELECT 1 AS x")
        await press(pilot, "e")
        for name, objection in (
            ("x.txt", ".csv or .json"),
            ("nowhere/x.csv", "no such folder"),
            (f"{'a' * 300}.csv", "File name too long"),
            (f"{'a' * 300}/x.csv", "File name too long"),
        ):
            pilot.app.screen.query_one(Input).value = name
            await press(pilot, "enter")
            assert objection in words(pilot)
        await press(pilot, "escape")
        assert pilot.app.screen.query("#statement")


async def test_all_of_it_fits_a_small_terminal(workspace: Path) -> None:
    async with opened(workspace, "sql", size=SMALL) as pilot:
        await _run(pilot, "SELECT 1 AS x")
        await settled(pilot)
        screen = shown(pilot)
        assert all(part in screen for part in ("SELECT 1", "How good was each student?", "1 row ·", "F5 Run"))
