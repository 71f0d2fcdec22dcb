"""What the fingerprints cover: code that can change a result is never left out."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from llm2llm_local.config import TeacherConfig
from llm2llm_local.loop.fingerprint import _CODE, _VERIFICATION
from llm2llm_local.report.verification import ONLY_FOR_WRITING

_PACKAGE = Path(str(resources.files("llm2llm_local")))
_CHANGES_NO_RESULT = {
    "airgap",  # what it refuses has no part in a result
    "audit_words",
    "byte_size",
    "cells",  # how texts are cut for a person
    "config",  # its values are fields of their own
    "counted",
    "durable",
    "errors",
    "file_digest",
    "free_memory",  # says whether weights are kept dequantized, which are the same numbers
    "loop/adapters",
    "loop/fingerprint",
    "model_files/model",  # what a person is shown of a model
    "records",
    "store/commands",
    "store/rows",
    "store/writer",
    "student/protocol",
    "teacher/protocol",
}


def covered(part: str) -> set[Path]:
    return {file for pattern in _CODE[part] for file in _PACKAGE.glob(f"{pattern}.py")}


def imported(file: Path) -> Iterator[Path]:
    """Modules of this package that a module of it imports."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = file.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            candidates = [base.with_suffix(".py"), *(base / f"{name.name}.py" for name in node.names)]
            yield from (candidate for candidate in candidates if candidate.is_file())


@pytest.mark.parametrize("part", _CODE)
def test_every_pattern_names_code(part: str) -> None:
    for pattern in _CODE[part]:
        assert list(_PACKAGE.glob(f"{pattern}.py")), pattern


@pytest.mark.parametrize("part", _CODE)
def test_what_covered_code_uses_is_covered_too(part: str) -> None:
    """By the part itself or by "tasks", which every stage reads; the loop among the latter calls the other parts. What
    changes words is a part of its own, since few runs use it.
    """
    others = set().union(*map(covered, _CODE)) if part == "tasks" else covered("tasks") | covered("eda")
    used = {module for file in covered(part) for module in imported(file)} - covered(part) - others
    assert {str(module.relative_to(_PACKAGE).with_suffix("")) for module in used} <= _CHANGES_NO_RESULT


def test_every_field_of_the_teacher_matters_to_votes_or_to_writing_alone() -> None:
    """A new one has to be put in one of the two: else forks take votes over that were cast under other conditions, or
    doctor passes over an audit that holds.
    """
    of_ballots = {"teacher.ballot_style": "teacher.prompt_style"}  # the one follows from the other
    voting = {of_ballots.get(name, name) for name in _VERIFICATION if name.startswith("teacher.")}
    assert voting.isdisjoint(ONLY_FOR_WRITING)
    assert voting | ONLY_FOR_WRITING == {f"teacher.{name}" for name in TeacherConfig.model_fields}
