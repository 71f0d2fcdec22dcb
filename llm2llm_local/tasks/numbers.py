"""Numbers in answers: read one out of a text, compare two exactly.

A text is read as a whole or not at all: what isn't plainly one number, with a unit perhaps, gives None and
never a guess, an exception or a long computation. Values are fractions, so 0.50 is 1/2 and nothing is rounded.

What is read:

- a sign: `-`, `−` (U+2212) or `+`, directly before the number or its currency: `-5`, `-$5`, `$-5`;
- digits with or without decimals: `7`, `3.14`, `.5`, `5.`; the decimal mark is the point;
- thousands separators: one comma, space, no-break space or thin space before every group of exactly three
  digits, the same throughout: `1,234,567`. A decimal comma (`1,5`, `0,125`, `1.234,56`) is refused, since
  guessing would sometimes be wrong by a factor of a thousand;
- scientific notation: `1e3`, `2.5E-3`;
- fractions of plain digits, and mixed numbers: `1/2`, `½`, `1 1/2`, `1½`; the whole and the fraction add up,
  so the fraction must be below 1;
- a currency before the number or a unit after it: `$1,200.50`, `12 apples`, `5 km/h`, `50%`. Any words are
  a unit if they hold no digits or signs of arithmetic. The percent sign is a unit too: 50% is 50 percent, not 0.5.
  `5 million` is 5 with the unit "million", which is what a question for millions wants, and the same as 5000000;
- one full stop at the end, and markup around the whole: `**42**.`, `$42$`, `\\boxed{42}`;
- LaTeX's fractions, separators and units: `\\frac{1}{2}`, `1{,}234`, `1,\\!234`, `5\\,\\text{km}`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import dropwhile

from ..spelling import REMEMBERED

# Far above any real answer, far below where arithmetic gets slow or `int` refuses a string (4300 digits).
_MAX_CHARACTERS = 1000
_MAX_EXPONENT = 1000

_CURRENCIES = {
    "$": "dollar",
    "us$": "dollar",
    "usd": "dollar",
    "dollar": "dollar",
    "dollars": "dollar",
    "¢": "cent",
    "cent": "cent",
    "cents": "cent",
    "€": "euro",
    "eur": "euro",
    "euro": "euro",
    "euros": "euro",
    "£": "pound",
    "gbp": "pound",
    "pound": "pound",
    "pounds": "pound",
    "¥": "yen",
    "jpy": "yen",
    "yen": "yen",
    "₹": "rupee",
    "inr": "rupee",
    "rupee": "rupee",
    "rupees": "rupee",
}
_SYNONYMS = _CURRENCIES | {"%": "percent"}

_MULTIPLIERS = {
    "dozen": 12,
    "hundred": 100,
    "thousand": 1_000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}

# Peeled off one pair at a time, so doubled marks (`**42**`) need no entry.
_MARKUP = (
    ("\\boxed{", "}"),
    ("\\(", "\\)"),
    ("\\[", "\\]"),
    ("*", "*"),
    ("_", "_"),
    ("`", "`"),
    ("$", "$"),
)

_NUMBER = re.compile(
    rf"""
    (?P<sign> [-+]? )
    (?: (?P<currency> {"|".join(map(re.escape, _CURRENCIES))} ) \s*
        (?P<inner_sign> [-+]? ) )?
    (?: (?: (?P<whole> [0-9]+ ) \s+ )? (?P<numerator> [0-9]+ ) \s? [/⁄] \s? (?P<denominator> [0-9]+ )
      | (?: (?P<whole_before_sign> [0-9]+ ) \s? )? (?P<fraction_sign> [¼-¾⅐-⅞] )
      | (?P<decimal>
            (?: [1-9][0-9]{{0,2}} (?P<separator> [, \u00a0\u2009\u202f] ) [0-9]{{3}} (?: (?P=separator) [0-9]{{3}} )*
              | [0-9]+ ) (?: \.[0-9]+ )?
          | \.[0-9]+ )
        (?: e (?P<exponent> [-+]?[0-9]+ ) )?
    )
    (?P<suffix> .* )
    """,
    re.VERBOSE,
)
_SEPARATOR = re.compile("[, \u00a0\u2009\u202f]")

_LATEX = (
    (re.compile(r"(?<=[0-9])(?=\\[dt]?frac\b)"), " "),
    (re.compile(r"\\[dt]?frac\s*\{\s*([0-9]+)\s*\}\s*\{\s*([0-9]+)\s*\}"), r"\1/\2 "),
    (re.compile(r"\\(?:text|textrm|textbf|mathrm|mbox)\s*\{([^{}\\]*)\}"), r" \1 "),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\!"), ""),
    (re.compile(r"\\,"), "\u2009"),
    (re.compile(r"\\[;: ]|(?<=\S)~(?=\S)"), " "),
    (re.compile(r"\\([$%])"), r"\1"),
)
"""What is read of it, and what it stands for."""


@dataclass(frozen=True, slots=True)
class Number:
    """An exact value and its unit in lower case ("" for none), currencies and percent by one name each."""

    value: Fraction
    unit: str


@lru_cache(maxsize=REMEMBERED)
def read_number(text: str) -> Number | None:
    """The number that `text` consists of, by the rules above; None when it isn't one.

    Also None: a denominator of zero, more than 1000 characters, an exponent beyond ±1000.
    """
    if len(text) > _MAX_CHARACTERS:
        return None
    plain = _without_latex(_without_markup(text)).replace("−", "-").casefold()
    match = _NUMBER.fullmatch(plain)
    if match is None or (match["sign"] and match["inner_sign"]):
        return None
    magnitude = _magnitude(match)
    unit = _unit(match["currency"], match["suffix"].strip().removesuffix("."))
    if magnitude is None or unit is None:
        return None
    is_negative = "-" in (match["sign"], match["inner_sign"])
    return Number(-magnitude if is_negative else magnitude, unit)


def same_number(one: Number, other: Number) -> bool:
    """Whether both have the same value and no contradicting units.

    A unit on one side only is ignored, since many gold answers are bare numbers: "5 km" is "5", but not
    "5 miles". For the same reason this isn't transitive.
    """
    return any(
        left.value == right.value and (not left.unit or not right.unit or left.unit == right.unit)
        for left in _readings(one)
        for right in _readings(other)
    )


def _readings(number: Number) -> Iterator[Number]:
    """As it is, and with the multipliers at the beginning of its unit multiplied out."""
    yield number
    words = number.unit.split()
    currency = words[:1] if words[:1] and words[0] in _CURRENCIES.values() else []
    others = list(dropwhile(_MULTIPLIERS.__contains__, words[len(currency) :]))
    multipliers = words[len(currency) : len(words) - len(others)]
    if multipliers:
        factor = math.prod(_MULTIPLIERS[word] for word in multipliers)
        yield Number(number.value * factor, " ".join([*currency, *others]))


def _without_markup(text: str) -> str:
    bare = text.strip()
    while True:
        inner = bare.removesuffix(".").rstrip()
        for opening, closing in _MARKUP:
            if len(inner) > len(opening + closing) and inner.startswith(opening) and inner.endswith(closing):
                bare = inner[len(opening) : -len(closing)].strip()
                break
        else:
            return bare


def _without_latex(text: str) -> str:
    for pattern, meaning in _LATEX:
        text = pattern.sub(meaning, text)
    return text.strip()


def _magnitude(match: re.Match[str]) -> Fraction | None:
    if match["decimal"]:
        exponent = int(match["exponent"] or 0)
        if abs(exponent) > _MAX_EXPONENT:
            return None
        return Fraction(_SEPARATOR.sub("", match["decimal"])) * Fraction(10) ** exponent
    if match["fraction_sign"]:
        part = Fraction(unicodedata.normalize("NFKC", match["fraction_sign"]).replace("⁄", "/"))
        return int(match["whole_before_sign"] or 0) + part
    if int(match["denominator"]) == 0:
        return None
    part = Fraction(int(match["numerator"]), int(match["denominator"]))
    if match["whole"] is None:
        return part
    return int(match["whole"]) + part if part < 1 else None


def _unit(currency: str | None, suffix: str) -> str | None:
    """The unit made of a currency before the number and the text after it; None when that text is no unit."""
    if suffix and not (suffix[0].isalpha() or suffix[0] in "%°/" or suffix[0] in _CURRENCIES):
        return None
    if any(character in "=<>+*^" or (character.isnumeric() and character not in "²³") for character in suffix):
        return None
    words = [_SYNONYMS.get(word, word) for word in suffix.replace("/", " / ").split()]
    if words[:1] == ["and"]:  # "5 and a half" isn't 5
        return None
    before = [_CURRENCIES[currency]] if currency else []
    if words[:1] == before:  # "$5 dollars"
        before = []
    return " ".join([*before, *words])
