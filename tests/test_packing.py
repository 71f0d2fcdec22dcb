"""Prompts side by side: each can be read off its line, what neighbours share stands once, rows are of like length."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from llm2llm_local.student.packing import Pack, packed

PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=30)


def beginnings(prompts: Sequence[Sequence[int]]) -> int:
    return len({tuple(prompt[: end + 1]) for prompt in prompts for end in range(len(prompt))})


def lines_of(packs: Sequence[Pack]) -> list[tuple[Pack, tuple[int, ...]]]:
    """By the prompts' numbers."""
    found = {index: (pack, line) for pack in packs for index, line in zip(pack.prompts, pack.lines, strict=True)}
    assert sum(len(pack.prompts) for pack in packs) == len(found)
    return [found[index] for index in range(len(found))]


@given(PROMPTS, st.integers(1, 40))
def test_each_prompt_is_its_line(prompts: list[list[int]], most: int) -> None:
    lines = lines_of(packed(prompts, most))
    assert len(lines) == len(prompts)
    for prompt, (pack, line) in zip(prompts, lines, strict=True):
        assert [pack.tokens[place] for place in line] == prompt
        assert [pack.depths[place] for place in line] == list(range(len(prompt)))


@given(PROMPTS, st.integers(1, 40))
def test_no_row_is_longer_than_allowed_or_has_a_token_of_no_prompt(prompts: list[list[int]], most: int) -> None:
    packs = packed(prompts, most)
    assert max(len(pack.tokens) for pack in packs) <= max(most, max(len(prompt) for prompt in prompts))
    for pack in packs:
        assert sorted({place for line in pack.lines for place in line}) == list(range(len(pack.tokens)))


@given(PROMPTS)
def test_what_prompts_of_a_row_begin_with_stands_there_once(prompts: list[list[int]]) -> None:
    (pack,) = packed(prompts, 10_000)
    assert len(pack.tokens) == beginnings(prompts)


def test_rows_that_are_padded_to_the_longest_are_of_like_length() -> None:
    prompts = [[index, 1, 2, 3] for index in range(33)]
    assert [len(pack.tokens) for pack in packed(prompts, 128)] == [68, 64]


def test_a_prompt_longer_than_a_row_has_one() -> None:
    assert [pack.prompts for pack in packed([[1] * 9, [2] * 3, [3] * 3, [4] * 3, [5] * 3], 4)] == [
        (0,),
        (1, 2, 3),
        (4,),
    ]
