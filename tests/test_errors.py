"""An error's text reads well on a line and on two: the command line breaks it, the terminal UI may not."""

from __future__ import annotations

import inspect
import pickle
from typing import Literal

import pytest

from llm2llm_local import errors
from llm2llm_local.errors import Llm2LlmError, OutOfMemoryError

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
