"""Grammars: obeyed to the letter, refused with the reason, and never the end of the process."""

from __future__ import annotations

import os
import re

import pytest
from asked_teacher import ask, ask_one, load, request
from fakes import quiet
from tiny_models import TinyModels

from llm2llm_local.errors import ModelError
from llm2llm_local.records import FinishReason
from llm2llm_local.teacher.llama import LlamaTeacher

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def teacher(tiny_models: TinyModels) -> LlamaTeacher:
    """One teacher for all tests: what it was asked before makes no difference."""
    return load(tiny_models.teacher)


def test_a_grammar_is_obeyed(teacher: LlamaTeacher) -> None:
    requests = [request(grammar='root ::= "yes" | "no"', rng_seed=seed, temperature=3) for seed in range(30)]
    replies = ask(teacher, *requests)
    assert {reply.text for reply in replies} == {"yes", "no"}
    assert {reply.finish_reason for reply in replies} == {FinishReason.STOP}


def test_a_grammar_with_several_rules_is_obeyed_from_root(teacher: LlamaTeacher) -> None:
    grammar = 'word ::= [a-z]+\nroot ::= "question: " word (" " word)? "?\\n" "answer: " ("place" | "person")\n'
    for reply in ask(teacher, *(request(grammar=grammar, rng_seed=seed, max_tokens=80) for seed in range(5))):
        if reply.finish_reason is FinishReason.STOP:
            question, answer = reply.text.split("\n")
            assert question.startswith("question: ") and question.endswith("?")
            assert answer in ("answer: place", "answer: person")
        else:
            assert reply.text.startswith("question: ")


@pytest.mark.parametrize(
    "grammar",
    [
        'root ::= "yes',
        'root :: "yes"',
        'answer ::= "yes"',
        "root ::= answer",
        'root ::= root "yes"',
        "root ::= [",
        "yes or no",
        "\n",
    ],
)
def test_an_invalid_grammar_is_an_error(teacher: LlamaTeacher, grammar: str) -> None:
    """llama.cpp would crash on it, were it not tried alone first."""
    for call in (teacher.generate, teacher.check_prompts):
        with pytest.raises(ModelError, match=r"teacher\.grammar"):
            call([request(grammar=grammar)], quiet)
    assert ask_one(teacher, request(grammar='root ::= "no"')).text == "no"


@pytest.mark.parametrize(
    ("grammar", "reason"),
    [("root ::= answer", "Undefined rule identifier 'answer'"), ('root ::= ("a"', "expecting ')'")],
)
def test_what_is_wrong_with_a_grammar_is_said(
    teacher: LlamaTeacher, capfd: pytest.CaptureFixture[str], grammar: str, reason: str
) -> None:
    """llama.cpp prints it, and logs only that something is."""
    with pytest.raises(ModelError, match=re.escape(reason)):
        teacher.check_prompts([request(grammar=grammar)], quiet)
    os.write(2, b"still there")
    assert capfd.readouterr().err.endswith("still there")


@pytest.mark.parametrize("repetition", ["{3,2}", "{ 3, 2 }", "{3 ,\n2}", "{3, # three\n2}"])
def test_a_repetition_with_less_at_most_than_at_least_is_an_error(teacher: LlamaTeacher, repetition: str) -> None:
    """llama.cpp would repeat without end."""
    with pytest.raises(ModelError, match="n below m"):
        teacher.check_prompts([request(grammar=f'root ::= "a"{repetition}')], quiet)


@pytest.mark.parametrize(
    "grammar",
    [
        'root ::= "{3,2}"',
        'root ::= "\\"{3,2}"',
        "root ::= [a{3,2}]",
        "root ::= [\\]{3,2}]",
        '# {3,2}\nroot ::= "a"{2,3}',
    ],
)
def test_a_text_that_looks_like_such_a_repetition_is_none(teacher: LlamaTeacher, grammar: str) -> None:
    assert teacher.check_prompts([request(grammar=grammar)], quiet)


def test_a_grammar_that_no_token_fits_is_an_error(teacher: LlamaTeacher) -> None:
    """llama.cpp takes it, and would crash on whatever token were drawn. No token is a zero byte."""
    with pytest.raises(ModelError, match="no token of this model fits") as caught:
        ask(teacher, request(grammar='root ::= "\\x00"'))
    assert "grammar" in caught.value.remedy
    assert ask_one(teacher, request(grammar='root ::= "no"')).text == "no"
