"""Numbers in answers: every rule of reading and comparing, one case a rule."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm2llm_local.tasks.numbers import Number, read_number, same_number

FRACTIONS = st.fractions(max_denominator=10**6)
NUMBERS = st.builds(Number, st.sampled_from([Fraction(1, 2), Fraction(5), Fraction(-5)]), st.sampled_from(["", "km"]))


def texts_agree(one: str, other: str) -> bool:
    first, second = read_number(one), read_number(other)
    assert first is not None and second is not None
    return same_number(first, second)


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("42", Fraction(42), ""),
        (" 42\t", Fraction(42), ""),
        ("007", Fraction(7), ""),
        # signs
        ("-5", Fraction(-5), ""),
        ("−5", Fraction(-5), ""),
        ("+5", Fraction(5), ""),
        ("-$5", Fraction(-5), "dollar"),
        ("$-5", Fraction(-5), "dollar"),
        ("-3/4", Fraction(-3, 4), ""),
        ("-1 1/2", Fraction(-3, 2), ""),
        # decimals
        (".5", Fraction(1, 2), ""),
        ("5.", Fraction(5), ""),
        ("42. ", Fraction(42), ""),
        ("3.14", Fraction(314, 100), ""),
        ("3.14.", Fraction(314, 100), ""),
        # thousands separators
        ("1,234,567", Fraction(1234567), ""),
        ("1 234 567", Fraction(1234567), ""),
        ("1\u00a0234\u00a0567", Fraction(1234567), ""),
        ("1\u2009234\u2009567", Fraction(1234567), ""),
        ("1\u202f234\u202f567", Fraction(1234567), ""),
        ("1,000.", Fraction(1000), ""),
        ("1,234.50", Fraction(12345, 10), ""),
        # scientific notation
        ("1e3", Fraction(1000), ""),
        ("2.5E-3", Fraction(25, 10000), ""),
        ("1e+2", Fraction(100), ""),
        ("1e−2", Fraction(1, 100), ""),
        ("1e1000", Fraction(10**1000), ""),
        # fractions
        ("1/2", Fraction(1, 2), ""),
        ("1 / 2", Fraction(1, 2), ""),
        ("1⁄2", Fraction(1, 2), ""),
        ("7/2", Fraction(7, 2), ""),
        ("1 1/2", Fraction(3, 2), ""),
        ("½", Fraction(1, 2), ""),
        ("¾", Fraction(3, 4), ""),
        ("⅓", Fraction(1, 3), ""),
        ("⅒", Fraction(1, 10), ""),
        ("2½", Fraction(5, 2), ""),
        ("-2 ¼", Fraction(-9, 4), ""),
        # units
        ("12 apples", Fraction(12), "apples"),
        ("12 Red Apples.", Fraction(12), "red apples"),
        ("5km", Fraction(5), "km"),
        ("5 m²", Fraction(5), "m²"),
        ("20°C", Fraction(20), "°c"),
        ("5 million", Fraction(5), "million"),
        ("1/2 cup", Fraction(1, 2), "cup"),
        ("50%", Fraction(50), "percent"),
        ("50 percent", Fraction(50), "percent"),
        ("50\\%", Fraction(50), "percent"),
        # currencies
        ("$1,200.50", Fraction(120050, 100), "dollar"),
        ("$ 5", Fraction(5), "dollar"),
        ("US$5", Fraction(5), "dollar"),
        ("USD 5", Fraction(5), "dollar"),
        ("dollars 5", Fraction(5), "dollar"),
        ("3 dollars", Fraction(3), "dollar"),
        ("$3 dollars", Fraction(3), "dollar"),
        ("$.50", Fraction(1, 2), "dollar"),
        ("€5", Fraction(5), "euro"),
        ("5 €", Fraction(5), "euro"),
        ("\\$5", Fraction(5), "dollar"),
        ("$5/hour", Fraction(5), "dollar / hour"),
        # markup
        ("**42**", Fraction(42), ""),
        ("**42.**", Fraction(42), ""),
        ("**42**.", Fraction(42), ""),
        ("`42`", Fraction(42), ""),
        ("*-42*", Fraction(-42), ""),
        ("__4 km__", Fraction(4), "km"),
        ("$42$", Fraction(42), ""),
        ("\\boxed{42}", Fraction(42), ""),
        ("$\\boxed{\\$42}$.", Fraction(42), "dollar"),
        # LaTeX
        (r"\frac{1}{2}", Fraction(1, 2), ""),
        (r"-\frac{1}{2}", Fraction(-1, 2), ""),
        (r"\boxed{1\dfrac{3}{4}}", Fraction(7, 4), ""),
        (r"\frac{5}{2}\text{ hours}", Fraction(5, 2), "hours"),
        (r"1{,}234", Fraction(1234), ""),
        (r"1,\!234", Fraction(1234), ""),
        (r"5\,000", Fraction(5000), ""),
        (r"$5\,\mathrm{km}$", Fraction(5), "km"),
        (r"5~km", Fraction(5), "km"),
        ("\\(42\\)", Fraction(42), ""),
        ("\\[42\\]", Fraction(42), ""),
        ("$$42$$", Fraction(42), ""),
    ],
)
def test_reads(text: str, value: Fraction, unit: str) -> None:
    assert read_number(text) == Number(value, unit)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ".",
        "-",
        "$",
        "**",
        "****",
        "forty-two",
        r"\frac{1}{0}",
        r"\frac{x}{2}",
        r"\frac{1}{2}3",
        r"3\times 4",
        r"5\text{ or 6}",
        "~5",
        "The answer is 42",
        # doubtful signs
        "--5",
        "-$-5",
        "- 5",
        # decimal commas and broken groups
        "1,5",
        "0,125",
        "1,23",
        "1,2345",
        "1234,567",
        "1,234,56",
        "1,234 567",
        "1.234,56",
        "1.234.567",
        # doubtful fractions
        "1/0",
        "1 3/2",
        "1/2/3",
        "1.5/2",
        "1/2.5",
        "½5",
        # more than one number, or one not worked out
        "3-5",
        "5 or 6",
        "5 + 6",
        "1 hour and 30 minutes",
        "x = 5",
        "5 = five",
        "5 apples + pears",
        "2**3",
        "5 x 10^3",
        "10³",
        "1e3.5",
        # not only the number
        "5...",
        "1. Compute the total",
        "5 and a half",
        "5, I think",
        "5\n6",
        # out of bounds
        "1e1001",
        "1e-1001",
        "1e999999999",
        "1e-999999999",
        "9" * 10_000,
        "0." + "1" * 10_000,
        "1/" + "9" * 10_000,
        "1e" + "9" * 10_000,
        "İNR 5",  # its lower case has another length
    ],
)
def test_refuses(text: str) -> None:
    assert read_number(text) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("0.50", "1/2"),
        ("½", ".5"),
        ("1,000", "1000"),
        ("1e3", "1 000"),
        ("42.", "42"),
        ("-0", "0"),
        ("25%", "25"),
        ("50%", "50 percent"),
        ("$5", "5 dollars"),
        ("€5", "5 EUR"),
        ("$5", "5"),
        ("5 km", "5"),
        ("5 km", "5km"),
        ("5 KM", "5 km"),
        ("$5 per hour", "5 dollars per hour"),
        ("$5/hour", "5 dollars/hour"),
    ],
)
def test_equal(one: str, other: str) -> None:
    assert texts_agree(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("-5", "5"),
        ("−5", "5"),
        ("1/2", "12"),
        ("1 1/2", "11/2"),
        ("10%", "0.1"),
        ("0.333333333333333333", "1/3"),
        ("9007199254740993", "9007199254740992"),  # the same as floats
        ("5 km", "5 miles"),
        ("$5", "€5"),
        ("$5", "5 cents"),
        ("50%", "$50"),
        ("5 km", "6 km"),
    ],
)
def test_unequal(one: str, other: str) -> None:
    assert not texts_agree(one, other)


@given(st.integers(), st.sampled_from(["", ",", " ", "\u00a0", "\u2009", "\u202f"]))
def test_thousands_separators_do_not_change_an_integer(value: int, separator: str) -> None:
    assert read_number(f"{value:,}".replace(",", separator)) == Number(Fraction(value), "")


@given(FRACTIONS)
def test_every_fraction_is_read_exactly(value: Fraction) -> None:
    assert read_number(str(value)) == Number(value, "")


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6))
def test_every_decimal_is_read_exactly(value: object) -> None:
    assert read_number(f"{value:f}") == Number(Fraction(str(value)), "")


@pytest.mark.parametrize(
    ("one", "other", "wrong"),
    [
        ("5 million", "5,000,000", "5,000"),
        ("$1.5 million", "$1500000", "£1500000"),
        ("5 hundred thousand", "500000", "500"),
        ("3 per thousand", "3", "3000"),
        ("2 dozen eggs", "24 eggs", "24 hens"),
    ],
)
def test_a_multiplier_may_be_multiplied_out(one: str, other: str, wrong: str) -> None:
    assert texts_agree(one, other) and texts_agree(other, one)
    assert not texts_agree(one, wrong)


def test_a_question_for_millions_wants_their_number() -> None:
    assert texts_agree("5 million", "5") and not texts_agree("5 million", "5 billion")


@given(NUMBERS, NUMBERS)
def test_comparison_is_reflexive_and_symmetric(one: Number, other: Number) -> None:
    assert same_number(one, one)
    assert same_number(one, other) == same_number(other, one)


@given(st.text() | st.text("0123456789 .,/-+−$%e½*{}\\xİK\n"))
def test_any_text_is_a_number_or_none(text: str) -> None:
    number = read_number(text)
    assert number is None or any(character.isnumeric() for character in text)
