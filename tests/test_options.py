"""Options inside a question: taken apart, put together, and what can't be read."""

from __future__ import annotations

import dataclasses
from string import ascii_uppercase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm2llm_local.tasks.options import (
    MARKS,
    Options,
    OptionsError,
    join_options,
    letter_in,
    same_option,
    split_options,
)

TEXT = st.text("abcé (.)1", min_size=1).map(str.strip).filter(bool).map(lambda text: f"x {text}")


@pytest.mark.parametrize("mark", MARKS)
def test_every_way_to_mark_options_is_read(mark: str) -> None:
    lines = [f"{mark.replace('A', letter)} option {letter}" for letter in "ABC"]
    found = split_options("What is it?\n" + "\n".join(lines))
    assert found == Options("What is it?", ("option A", "option B", "option C"), mark, "\n")
    assert found.letters == "ABC"


@given(
    st.lists(TEXT, min_size=1, max_size=3),
    st.lists(TEXT, min_size=2, max_size=26),
    st.sampled_from(MARKS),
    st.sampled_from(["\n", "\n\n"]),
)
def test_what_is_put_together_is_taken_apart_the_same(stem: list[str], options: list[str], mark: str, gap: str) -> None:
    whole = Options("\n".join(stem), tuple(options), mark, gap)
    assert split_options(join_options(whole)) == whole


def test_options_can_be_put_into_another_order() -> None:
    found = split_options("Which?\n\n(A) one\n(B) two\n(C) three")
    turned = dataclasses.replace(found, options=found.options[::-1])
    assert join_options(turned) == "Which?\n\n(A) three\n(B) two\n(C) one"


def test_a_stem_may_hold_a_list_of_its_own() -> None:
    found = split_options("(A) first\n(B) second\nWhich of them?\n(A) the first\n(B) the second")
    assert found.stem == "(A) first\n(B) second\nWhich of them?"
    assert found.options == ("the first", "the second")


def test_an_option_may_go_on_below_and_blank_lines_do_not_count() -> None:
    found = split_options("Which?\n(A) a long\n  option\n\n(B)\nthe other\nB. Smith wrote it\n")
    assert found.options == ("a long option", "the other B. Smith wrote it")


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("What is it?", "no options"),
        ("What is it?\n(B) one\n(C) two", "no options"),
        ("What is it?\n(A) one", "wrong number of options"),
        ("What is it?\n(A) one\nB) two", "wrong number of options"),
        ("What is it?\n(A) one\n(C) two", "options out of order"),
        ("What is it?\n(A) one\n(B) two\n(B) three", "options out of order"),
        ("What is it?\n(A) one\n(B) \u200b", "empty option"),
        ("(A) one\n(B) two", "empty question"),
        ("", "no options"),
    ],
)
def test_what_can_not_be_read_has_a_reason(question: str, reason: str) -> None:
    with pytest.raises(OptionsError) as caught:
        split_options(question)
    assert caught.value.reason == reason


def test_more_options_than_letters_are_refused() -> None:
    lines = [f"({letter}) option {letter}" for letter in ascii_uppercase]
    assert len(split_options("Which?\n" + "\n".join(lines)).options) == 26
    with pytest.raises(OptionsError, match="option B comes after option Z"):
        split_options("Which?\n" + "\n".join([*lines, "(B) one more"]))


@pytest.mark.parametrize(
    "line",
    [
        "C",
        "(C)",
        "C)",
        "C.",
        "C:",
        " C ",
        "**C**",
        "(C) the third",
        "C. the third",
        "`C`",
        "C) or a dog",
        "C) (I) and (II) only",
        "(C) (E)-isomer",
    ],
)
def test_an_answer_is_read_in_any_marks(line: str) -> None:
    assert letter_in(line, "ABCDE") == "C"
    assert letter_in(line, "AB") is None


@pytest.mark.parametrize(
    "line",
    [
        "",
        "c",
        "A dog",
        "AB",
        "ABCDE",
        "the third",
        "-",
        "U.S.A.",
        "(A) or (B)",
        "A) and B)",
        "(A)(B)",
        "(A) (C)",
        "A) B)",
    ],
)
def test_what_is_no_letter_is_not_taken_for_one(line: str) -> None:
    assert letter_in(line, "ABCDE") is None


def test_options_are_the_same_when_case_and_full_stop_alone_differ() -> None:
    assert same_option("Holding  that it is.", "holding that it is")
    assert not same_option("holding that it is", "holding that it is not")
