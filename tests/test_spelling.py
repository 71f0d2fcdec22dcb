"""Which texts look alike, and what is said to set them apart."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm2llm_local.spelling import alike, difference, look, same_words, shown, words_in


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("caf\u00e9", "cafe\u0301"),
        ("\uac01", "\u1100\u1161\u11a8"),
        ("q\u0323\u0307", "q\u0307\u0323"),
        ("new york", "new\u00a0york"),
        ("new york", " new \t york\n"),
        ("a\u2009b", "a\u202fb"),
        ("person", "\ufeffperson"),
        ("person", "per\u00adson"),
        ("person", "person\u200b"),
        ("שלום", "שלום\u200f"),
        ("❤", "❤\ufe0f"),
        ("e\u034f\u0301", "é"),
    ],
)
def test_these_look_alike(one: str, other: str) -> None:
    assert look(one) == look(other)
    assert alike(["x", one, one, "y", other]) == (one, other)


@pytest.mark.parametrize("pair", [("a", "A"), ("cafe", "café"), ("ß", "ss"), ("1", "１"), ("a b", "ab"), ("ﬁ", "fi")])
def test_these_do_not(pair: tuple[str, str]) -> None:
    assert look(pair[0]) != look(pair[1])
    assert alike(pair) is None


@given(st.text())
def test_the_look_of_a_look_is_the_same_and_normal_forms_look_alike(text: str) -> None:
    assert look(look(text)) == look(text)
    assert look(unicodedata.normalize("NFD", text)) == look(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Who?", "who"),
        ("你好吗？", "你好吗"),
        ("«где»", "где"),
        ("هل؟", "هل"),
        ("यह क्या है।", "यह क्या है"),
        ("a (b)", "a b"),
    ],
)
def test_these_differ_in_the_punctuation_of_sentences_alone(one: str, other: str) -> None:
    assert same_words(one) == same_words(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5%", "5"),
        ("５％", "５"),
        ("5‰", "5"),
        ("6′", "6″"),
        ("5٪", "5"),
        ("3·4", "3 4"),
        ("a-b", "a b"),
        ("a–b", "a b"),
        ("कि", "की"),
    ],
)
def test_these_do_not_differ_in_that_alone(one: str, other: str) -> None:
    assert same_words(one) != same_words(other)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("What's up, 2nd_one?", ["What", "s", "up", "2nd_one"]),
        ("तुम कहाँ हो", ["तुम", "कहाँ", "हो"]),
        ("你好吗？很好", ["你好吗", "很好"]),
        ("❤ … !", []),
    ],
)
def test_words_go_on_with_their_marks(text: str, words: list[str]) -> None:
    assert words_in(text) == words


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ("caf\u00e9s", "cafe\u0301s", "U+00E9 in one, U+0065 U+0301 in the other"),
        ("ab", "a\u200bb", "nothing in one, U+200B in the other"),
        ("a  b", "a b", "U+0020 in one, nothing in the other"),
        ("aa", "a", "U+0061 in one, nothing in the other"),
        ("", "\U0001f389", "nothing in one, U+1F389 in the other"),
        ("x" * 10, "", "U+0078 U+0078 U+0078 U+0078 U+0078 U+0078 … in one, nothing in the other"),
    ],
)
def test_what_sets_them_apart_is_told_by_code_points(one: str, other: str, said: str) -> None:
    assert difference(one, other) == said


def test_a_text_is_shown_short_and_without_control_characters() -> None:
    assert shown("caf\u00e9\x1b\u200b") == r"'café\x1b\u200b'"
    assert shown("x" * 58) == f"'{'x' * 58}'"
    assert shown("x" * 59) == f"'{'x' * 58}…"
