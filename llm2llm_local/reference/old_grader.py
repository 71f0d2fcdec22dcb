"""How the published report decides that an answer is right, defects and all: to say where a sound grader differs.

An answer is whatever stands behind the first "Answer:" of the text, or behind the first # that a blank follows; the
text still has the prompt in it. Two answers are the same number when their digits and points are, whatever stands
between: so -5 is 5, 1/2 is 12 and 2,5 is 25. What makes no number is compared letter by letter.
"""

from __future__ import annotations

import re

from .seeds import Seed

_AFTER_WORD = re.compile(r"Answer:(.*)")
_AFTER_SIGN = re.compile(r"# (.*)")
_GOLD = re.compile(r"#### (.*)", re.DOTALL)


def old_gold(seed: Seed) -> str | None:
    """What the published report takes for the gold answer; None: it stops with an error at such a row."""
    if seed.is_instruction:
        return seed.row.answer
    found = _GOLD.search(seed.row.answer)
    return None if found is None else found[1]


def old_answers(text: str) -> tuple[str | None, str | None]:
    """Behind the word, and behind the sign."""
    word, sign = _AFTER_WORD.search(text), _AFTER_SIGN.search(text)
    return word and word[1].strip(), sign and sign[1].strip()


def old_is_right(text: str, gold: str | None) -> bool:
    """`gold`: None when the question is in no seed. With nothing behind a word, that counts as right there."""
    word, sign = old_answers(text)
    return word == gold or (gold is not None and sign is not None and _old_same(gold, sign))


def old_numbers(text: str, gold: str | None) -> tuple[float, float] | None:
    """What of a text and of the gold answer is compared, if it is numbers: behind the word nothing is taken for one."""
    _, sign = old_answers(text)
    return None if sign is None or gold is None else _numbers(sign, gold)


def _numbers(one: str, other: str) -> tuple[float, float] | None:
    numbers = _old_number(one), _old_number(other)
    return None if numbers[0] is None or numbers[1] is None else (numbers[0], numbers[1])


def _old_same(one: str, other: str) -> bool:
    numbers = _numbers(one, other)
    if numbers is not None:
        return numbers[0] == numbers[1]
    return one.lower().replace(",", "") == other.lower().replace(",", "")


def _old_number(text: str) -> float | None:
    try:
        return float("".join(character for character in text if character.isdigit() or character == "."))
    except ValueError:
        return None
