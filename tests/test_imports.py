"""What is imported when: quick commands load nothing heavy, and each heavy library stays in its part."""

from __future__ import annotations

from pathlib import Path

import pytest
from fresh_interpreter import HEAVY, imported_by
from workspaces import add_graded_run

import llm2llm_local
from llm2llm_local.store.writer import Store

MODELS_AND_SCREENS = {"torch", "transformers", "peft", "bitsandbytes", "llama_cpp", "textual"}

PACKAGE = Path(llm2llm_local.__file__).parent
PARTS_WITHOUT_MODELS = ("report", "tasks", "checks", "store", "datasets")


def imported_by_command(*arguments: str) -> set[str]:
    """The same after the command line was called as a user calls it; it must have worked."""
    return imported_by(
        "from llm2llm_local.cli import main\n"
        "out = io.StringIO()\n"
        "with contextlib.redirect_stdout(out):\n"
        "    try: main()\n"
        "    except SystemExit as end: assert not end.code, end.code\n"
        "assert out.getvalue().strip(), 'it printed nothing'",
        *arguments,
    )


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("history")
    with Store(folder) as store:
        add_graded_run(store)
    return folder


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"], ["query", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert imported_by_command(*arguments) & HEAVY == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["status", "1", "--json"],
        ["query", "SELECT * FROM accuracy_by_iteration"],
        ["query", "SELECT * FROM accuracy_by_iteration", "--json"],
        ["query", "SELECT * FROM accuracy_by_iteration", "--csv"],
        ["failures"],
        ["lineage", "1"],
    ],
)
def test_looking_into_the_history_imports_nothing_heavy(workspace: Path, arguments: list[str]) -> None:
    imported = imported_by_command("-C", str(workspace), *arguments)
    assert "sqlite3" in imported
    assert imported & HEAVY == set()


def test_a_report_imports_no_model_library(workspace: Path) -> None:
    imported = imported_by_command("-C", str(workspace), "report")
    assert "rich" in imported
    assert imported & (MODELS_AND_SCREENS | {"sqlite_utils", "pydantic"}) == set()


def modules(*parts: str) -> list[str]:
    """Every module of these packages, by name."""
    return sorted(
        ".".join(("llm2llm_local", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        for part in parts
        for path in (PACKAGE / part).rglob("*.py")
    )


def test_the_parts_that_must_stay_light_are_found() -> None:
    found = modules(*PARTS_WITHOUT_MODELS)
    assert len(found) > 20
    assert {"llm2llm_local.report.status", "llm2llm_local.store.reader", "llm2llm_local.checks"} <= set(found)


@pytest.mark.parametrize(
    "module",
    [
        "llm2llm_local.loop.llm2llm",
        "llm2llm_local.loop.start",
        "llm2llm_local.headless",
        "llm2llm_local.doctor",
        "llm2llm_local.workers.pool",
        "llm2llm_local.workers.main",
        "llm2llm_local.teacher.protocol",
        "llm2llm_local.student.protocol",
        *modules(*PARTS_WITHOUT_MODELS),
    ],
)
def test_a_part_imports_no_model_library_and_no_screen(module: str) -> None:
    assert imported_by(f"import {module}") & MODELS_AND_SCREENS == set()


def test_reading_the_store_takes_the_standard_library_alone() -> None:
    assert imported_by("import llm2llm_local.store.reader") & HEAVY == set()


def test_records_and_errors_import_nothing_of_ours() -> None:
    for module in ("records", "errors"):
        names = imported_by(
            f"import llm2llm_local.{module}\n"
            f"assert {{n for n in sys.modules if n.startswith('llm2llm_local.')}} == {{'llm2llm_local.{module}'}}"
        )
        assert names & HEAVY == set()
