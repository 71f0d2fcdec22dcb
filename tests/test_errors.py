"""An error's text reads well on a line and on two: the command line breaks it, the terminal UI may not."""

from __future__ import annotations

import ast
import inspect
import pickle
import re
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel

import llm2llm_local
from llm2llm_local import errors
from llm2llm_local.config import Config
from llm2llm_local.errors import Llm2LlmError, OutOfMemoryError

PACKAGE = Path(llm2llm_local.__path__[0])
ALL = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, Llm2LlmError)]


@pytest.mark.parametrize("kind", ALL)
def test_what_is_wrong_and_what_to_do_are_sentences(kind: type[Llm2LlmError]) -> None:
    assert len(ALL) > 10
    error = kind("database is locked", "Try again.")
    assert str(error) == str(pickle.loads(pickle.dumps(error))) == "database is locked.\nTry again."  # noqa: S301
    assert (error.message, error.remedy) == ("database is locked", "Try again.")


@pytest.mark.parametrize("what", ["weights", "context"])
def test_what_did_not_fit_comes_with_the_error_out_of_a_worker(what: Literal["weights", "context"]) -> None:
    error = OutOfMemoryError("no room for it", "Free memory.", what)
    there = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (there.message, there.remedy, there.what) == ("no room for it", "Free memory.", what)


def test_fields_that_texts_name_are_fields_of_the_configuration() -> None:
    """Of the code about models: what a message tells a person to set can be set."""
    sections = {
        name: field.annotation.model_fields
        for name, field in Config.model_fields.items()
        if inspect.isclass(field.annotation) and issubclass(field.annotation, BaseModel)
    }
    named = re.compile(rf"\b({'|'.join(sections)})\.([a-z_]+)")
    found = {
        (path.name, *name)
        for folder in ("teacher", "model_files")
        for path in (PACKAGE / folder).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for name in named.findall(node.value)
    }
    assert len(found) > 5
    assert {file for file, _, _ in found} >= {"folder.py", "gguf_file.py"}
    assert not {(file, section, field) for file, section, field in found if field not in sections[section]}


@pytest.mark.parametrize(
    "name",
    [
        "bench/measured_run",
        "bench/verification",
        "config_file",
        "datasets/published",
        "datasets/reader",
        "loop/start",
        "model_files/catalogue",
        "model_files/folder",
        "model_files/gguf_file",
        "model_files/model",
        "scaffold",
        "store/writer",
        "student/base",
        "sweep/work",
    ],
)
def test_every_error_of_what_people_give_has_a_remedy(name: str) -> None:
    """Where errors are raised with their texts there and then."""
    kinds = {kind.__name__ for kind in ALL}
    raised = [
        node.exc
        for node in ast.walk(ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8")))
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name)
    ]
    ours = [call for call in raised if isinstance(call.func, ast.Name) and call.func.id in kinds]
    assert ours
    assert [f"{name}.py:{call.lineno}" for call in ours if len(call.args) < 2] == []


@pytest.mark.parametrize("kind", ALL)
def test_a_message_alone_stays_as_it_is(kind: type[Llm2LlmError]) -> None:
    assert str(kind("database is locked")) == "database is locked"


@pytest.mark.parametrize("end", list(".!?:;,…"))
def test_a_message_that_ends_in_punctuation_gets_no_more_of_it(end: str) -> None:
    assert str(Llm2LlmError(f"so it is{end}", "Try again.")) == f"so it is{end}\nTry again."


def test_quotes_and_brackets_end_no_sentence() -> None:
    assert str(Llm2LlmError("version 9 is not supported (2 and 3 are)", "Convert it.")).startswith(
        "version 9 is not supported (2 and 3 are).\n"
    )
