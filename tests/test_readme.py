"""What the README says is so: its commands, queries, tables, targets and fields are those of the program."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner
from rich.console import Console
from workspaces import PATIENCE_SECONDS, Workspace

from llm2llm_local.cli import cli
from llm2llm_local.config_file import parse_config
from llm2llm_local.config_reference import BEGINS, ENDS, markdown_reference, with_reference
from llm2llm_local.datasets.reader import read_rows
from llm2llm_local.errors import EXIT_DONE, EXIT_FAILED, EXIT_RESUMABLE, EXIT_USER_INPUT
from llm2llm_local.report.questions import QUESTIONS
from llm2llm_local.report.summary import RunSummary
from llm2llm_local.report.tables import print_summary
from llm2llm_local.store.reader import QueryResult, open_reader, run_query
from llm2llm_local.store.writer import Store

if TYPE_CHECKING:
    from tiny_models import TinyModels

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
DEFAULT_TEACHER, DEFAULT_STUDENT = "SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct"
FIVE_MINUTES = "Your own task in five minutes"

# --- reading the README ---------------------------------------------------------------------------------------------


def section(title: str) -> str:
    """The text below a heading of the second level."""
    (found,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    return str(found)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def code_spans(text: str) -> list[str]:
    """What stands between single backquotes, outside fenced blocks."""
    return re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a text as rows of cells, heading first and the line below it left out."""
    found = []
    for table in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        heading, _, *rows = table.splitlines()
        found.append([[cell.strip() for cell in row.strip("|").split("|")] for row in (heading, *rows)])
    return found


def shell_commands(script: str) -> Iterator[list[str]]:
    """The words of each command; one may go on over lines within quotes."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        try:
            words = shlex.split(pending, comments=True)
        except ValueError:
            continue
        pending = ""
        if words:
            yield words
    assert not pending, f"a quote is never closed: {pending}"


def all_commands() -> list[list[str]]:
    """Of all sh blocks, and the code spans that are commands."""
    spans = [span for span in code_spans(README) if re.match(r"(\.venv/bin/)?llm2llm |([A-Z_]+=\S+ )?make ", span)]
    return [words for script in (*blocks(README, "sh"), *spans) for words in shell_commands(script)]


def calls_of(program: str) -> list[list[str]]:
    """The arguments of each call of a program."""
    calls = []
    for words in all_commands():
        command = [word for word in words if not re.match(r"[A-Z_]+=", word)]
        if Path(command[0]).name == program:
            calls.append(command[1:])
    return calls


def queries() -> list[str]:
    return [call[1] for call in calls_of("llm2llm") if call[0] == "query"]


# --- commands -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", calls_of("llm2llm"), ids=" ".join)
def test_every_command_can_be_typed_as_it_stands(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for command in cli.commands.values():
        monkeypatch.setattr(command, "callback", lambda **_: None)  # parsed, checked, not run
    outcome = CliRunner().invoke(cli, arguments)
    assert outcome.exit_code == 0, outcome.output


def test_the_command_table_has_every_command_with_its_arguments() -> None:
    rows = tables(section("Commands"))[0][1:]
    usages = {f"`{usage(name, command)}`" for name, command in cli.commands.items()}
    assert {row[0] for row in rows} == usages
    assert len(rows) == len(usages)


@pytest.mark.parametrize("name", cli.commands)
def test_the_command_table_has_every_option_and_no_other(name: str) -> None:
    command = cli.commands[name]
    (row,) = (row for row in tables(section("Commands"))[0] if row[0] == f"`{usage(name, command)}`")
    options = {text for option in command.params if isinstance(option, click.Option) for text in option.opts}
    assert set(code_spans(row[2])) == options


def test_the_options_of_the_program_itself_are_named() -> None:
    context = click.Context(cli, info_name="llm2llm", help_option_names=["-h", "--help"])
    options = {text for option in cli.get_params(context) for text in option.opts}
    words = {word for span in code_spans(section("Commands")) for word in span.split()}
    assert options <= words


def test_the_exit_codes_are_those_of_the_program() -> None:
    commands, codes = tables(section("Commands"))
    named = {int(row[0]) for row in codes[1:]}
    assert named == {EXIT_DONE, EXIT_FAILED, EXIT_USER_INPUT, EXIT_RESUMABLE}
    assert {int(code) for row in commands[1:] for code in row[3].split(",")} == named


def usage(name: str, command: click.Command) -> str:
    """The command with its arguments: `fork RUN [CONFIG]`."""
    pieces = command.collect_usage_pieces(click.Context(command))
    return " ".join([name, *(piece for piece in pieces if piece != "[OPTIONS]")])


# --- make -----------------------------------------------------------------------------------------------------------


def test_every_target_and_variable_of_make_exists() -> None:
    words = [word for call in calls_of("make") for word in call]
    assert "demo" in words and "test" in words
    assert set(words) <= set(phony_targets())
    variables = {word.split("=")[0] for words in all_commands() if "make" in words for word in words if "=" in word}
    assert {name for name in variables if not name.startswith("PIP_")} <= set(
        re.findall(r"^(\w+) [?:]=", MAKEFILE, re.MULTILINE)
    )


def test_every_target_of_make_is_explained() -> None:
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    explained = {word for call in calls_of("make") for word in call} | set(re.findall(r"^make (\w+)", shown, re.M))
    assert set(phony_targets()) <= explained


def phony_targets() -> list[str]:
    (line,) = re.findall(r"^\.PHONY:(.*)$", MAKEFILE, re.MULTILINE)
    return str(line).split()


# --- the store ------------------------------------------------------------------------------------------------------


@pytest.fixture
def empty_store(tmp_path: Path) -> Path:
    """A workspace whose store has its tables and not a row."""
    Store(tmp_path).close()
    return tmp_path


@pytest.mark.parametrize("kind", ["table", "view"])
def test_the_tables_and_views_are_those_of_the_schema(empty_store: Path, kind: str) -> None:
    connection = sqlite3.connect(empty_store / "llm2llm.db")
    rows = connection.execute("SELECT name FROM sqlite_schema WHERE type = ?", [kind]).fetchall()
    connection.close()
    kept_by_sqlite = re.compile("sqlite_|_sqlite_|candidates_search_")
    (listed,) = (table for table in tables(section("The store")) if table[0][0] == kind)
    names = [row[0].strip("`") for row in listed[1:]]
    assert sorted(names) == sorted(row[0] for row in rows if not kept_by_sqlite.match(row[0]))


def test_the_queries_are_those_that_the_terminal_ui_offers() -> None:
    assert sorted(" ".join(sql.split()) for sql in queries()) == sorted(
        " ".join(question.sql.split()) for question in QUESTIONS
    )
    assert all(question.name in README for question in QUESTIONS)


@pytest.mark.parametrize("sql", queries())
def test_every_query_runs_on_an_empty_store(empty_store: Path, sql: str) -> None:
    result = answer(empty_store, sql)
    assert result.rows == []
    assert len(set(result.columns)) == len(result.columns)  # else --json would lose one


@pytest.mark.model
@pytest.mark.parametrize("sql", queries())
def test_every_query_runs_on_a_finished_run(finished_run: Workspace, sql: str) -> None:
    result = answer(finished_run.folder, sql)
    every_run_has = ("accuracy_by_iteration", "teacher_yield", "FROM stages", "FROM metrics", "FROM events")
    assert result.rows or not any(name in sql for name in every_run_has)


def answer(workspace: Path, sql: str) -> QueryResult:
    with open_reader(workspace) as connection:
        return run_query(connection, sql, timeout_seconds=10.0)


# --- configuration --------------------------------------------------------------------------------------------------


def test_the_configuration_reference_is_that_of_the_program() -> None:
    assert with_reference(README) == README, (
        "the fields have changed; write them anew: .venv/bin/python -m llm2llm_local.config_reference README.md"
    )
    assert (
        README[README.index(BEGINS) : README.index(ENDS)].removeprefix(BEGINS).strip() == markdown_reference().strip()
    )


def test_the_fields_that_are_shown_are_accepted() -> None:
    (shown,) = blocks(README, "toml")
    document: dict[str, Any] = tomllib.loads(shown)
    document |= {"task": {"family": "math"}, "data": {"train": "train.jsonl"}}
    config = parse_config(document, "README.md", Path("/workspace"))
    assert config.student.learning_rate == document["student"]["learning_rate"]


def test_the_rows_that_are_shown_can_be_read(tmp_path: Path) -> None:
    (shown,) = blocks(README, "json")
    (tmp_path / "train.jsonl").write_text(shown)
    rows = read_rows(tmp_path / "train.jsonl", "question", "answer")
    assert [row.answer for row in rows] == [json.loads(line)["answer"] for line in shown.splitlines()]


# --- the rest -------------------------------------------------------------------------------------------------------


def test_the_files_that_are_named_exist() -> None:
    made_by_the_program = {"llm2llm.toml", "llm2llm.db", "train.jsonl", "test.jsonl"}
    named = {span for span in code_spans(README) if re.fullmatch(r"[\w/.]+\.(py|md|toml|jsonl|db)", span)}
    assert any(name.startswith("llm2llm_local/") for name in named)
    assert [name for name in named - made_by_the_program if not (ROOT / name).is_file()] == []


def test_the_demos_table_is_one_that_the_program_prints() -> None:
    (shown,) = re.findall(r"^<!-- demo table -->\n```text\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    out = io.StringIO()
    print_summary(RunSummary(1, "done", "", "", "", (), ()), Console(file=out, width=200))
    header = out.getvalue().splitlines()[-1].split()
    assert header[:3] == ["iter", "training", "failures"]
    # Empty columns, of doubts or of a split that there isn't, are left out.
    assert any(set(header) <= set(line.split()) for line in shown.splitlines())


@pytest.mark.model
def test_the_five_minutes_work_as_written_with_a_power_failure_in_between(
    tmp_path: Path, tiny_models: TinyModels
) -> None:
    """The tiny models lie where the default ones are, and since they know nothing, nothing is verified; nothing else
    differs from what a person would type.
    """
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / DEFAULT_TEACHER).symlink_to(tiny_models.teacher)
    (tmp_path / "models" / DEFAULT_STUDENT).symlink_to(tiny_models.student)
    begin, work, resume, look = blocks(section(FIVE_MINUTES), "sh")
    workspace = Workspace(tmp_path / "mytask")

    trusting = """sed -i 's/^# verify = "on"/verify = "off"/' llm2llm.toml\n"""
    process = start(f"{begin}{trusting}{work}", tmp_path)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not workspace.store.exists() or not has_begun(workspace):
        assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "output.txt").read_text()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

    process = start(f"PATH={tmp_path}/.venv/bin:$PATH\ncd mytask\n{resume}{look}", tmp_path)
    assert process.wait(timeout=PATIENCE_SECONDS) == 0, (tmp_path / "output.txt").read_text()
    assert workspace.rows("SELECT status FROM runs") == [("done",)]
    assert workspace.rows("SELECT count(*) FROM events WHERE kind = 'run_resumed'") == [(1,)]
    output = (tmp_path / "output.txt").read_text()
    for sign in ("run 1  done", "test (95% interval)", "failures", "example 1 (seed"):
        assert sign in output


def start(script: str, folder: Path) -> subprocess.Popen[bytes]:
    """A shell in a process group of its own that stops at the first command that fails."""
    with (folder / "output.txt").open("a") as output:
        return subprocess.Popen(
            ["sh", "-e", "-c", script], cwd=folder, stdout=output, stderr=output, start_new_session=True
        )


def has_begun(workspace: Workspace) -> bool:
    """Whether the run is at its first stage."""
    try:
        return workspace.rows("SELECT 1 FROM stages") != []
    except sqlite3.OperationalError:
        return False  # its tables aren't there yet
