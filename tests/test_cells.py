"""How many cells a text takes in a terminal, where it is cut, and that tables of such text are straight."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len, get_character_cell_size

from llm2llm_local.cells import cells, cut, padded, right_aligned
from llm2llm_local.report.plain import plain, shortened, visible
from llm2llm_local.report.query import table_text
from llm2llm_local.store.reader import QueryResult

TEXTS = (
    "",
    "plain words",
    "“typographic” – quotes…",
    "日本語のテキスト",
    "ｆｕｌｌ ﾊﾝｶｸ",
    "한국어 각",
    "\u1112\u1161\u11ab\u1100\u1173\u11af",  # 한글 as single letters
    "cafe\u0301 Z\u0361a\u0327\u0301",
    "עִבְרִית العَرَبِيَّة",
    "می\u200cخواهم",
    "नमस्ते दुनिया",
    "ภาษาไทยน้ำ",
    "🎉 done ✅ 👍🏽",
    "👨\u200d👩\u200d👧\u200d👦 family",
    "❤\ufe0f 1\ufe0f\u20e3 ☎\ufe0e",
    "🇩🇪🇯🇵 flags",
    "①Ⅷ±§×÷°αλЖ─│█",
    "ﬁ ß İ ſ",
)


@pytest.mark.parametrize("text", TEXTS)
def test_text_takes_the_cells_that_rich_counts(text: str) -> None:
    assert plain(text) == text
    assert cells(text) == cell_len(text)


# Unicode 16 made these wide, and the tables of Python are older than those of rich.
WIDENED = [range(0x2630, 0x2638), range(0x268A, 0x2690), range(0x4DC0, 0x4E00), range(0x1D300, 0x1D377)]


def test_every_character_that_is_shown_takes_the_cells_that_rich_counts() -> None:
    shown = [chr(code) for code in range(0x110000) if not any(code in some for some in WIDENED)]
    shown = [character for character in shown if plain(character) == character]
    assert len(shown) > 130_000
    assert [f"U+{ord(one):04X}" for one in shown if cells(one) != get_character_cell_size(one)] == []


PARTS = [
    "a",
    " ",
    "é",
    "e\u0301",
    "日",
    "한",
    "\u1112\u1161\u11ab",
    "👍🏽",
    "👨\u200d👩\u200d👧",
    "❤\ufe0f",
    "🇩🇪",
    "क्",
    "\u200c",
]


@settings(deadline=None)
@given(parts=st.lists(st.sampled_from(PARTS)), width=st.integers(1, 20))
def test_text_is_cut_by_cells_and_between_characters(parts: list[str], width: int) -> None:
    text = plain("".join(parts))
    assert cells(text) == cell_len(text)
    shown = cut(text, width)
    if cell_len(text) <= width:
        assert shown == text
        return
    kept = shown.removesuffix("…")
    assert shown == kept + "…"
    assert cell_len(shown) <= width
    assert text.startswith(kept)
    # Whole characters, as many as there is room for: it goes on with the start of one that takes a cell.
    behind = re.sub("^(?: \u200c*)+", "", text[len(kept) :])
    assert any(behind.startswith(part) for part in PARTS if part not in (" ", "\u200c"))
    assert cell_len(kept) >= width - 2 or text[len(kept)] == " "


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("日本語", 6, "日本語"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日…"),
        ("日本語", 1, "…"),
        ("two words", 5, "two…"),
        ("cafe\u0301s", 5, "cafe\u0301s"),
        ("cafe\u0301s", 4, "caf…"),
        ("cafe\u0301 is", 5, "cafe\u0301…"),
        ("👨\u200d👩\u200d👧x", 3, "👨\u200d👩\u200d👧x"),
        ("👨\u200d👩\u200d👧👍", 3, "👨\u200d👩\u200d👧…"),
        ("🇩🇪🇯🇵", 3, "🇩🇪…"),
        ("🇩🇪🇯🇵", 2, "…"),
    ],
)
def test_wide_and_combined_characters_are_cut_whole(text: str, width: int, shown: str) -> None:
    assert shortened(text, width) == shown


@pytest.mark.parametrize(
    "text",
    [
        "short",
        "  of 40 cells 0123456789 0123456789 0123\n\n",
        "  of 41 cells 0123456789 0123456789 01234",
        "a\x1b" * 2000,
        " " * 3000 + "late\nwords" + "\n" * 3000,
        "漢" * 2000,
        "👨\u200d👩\u200d👧\u200d👦" * 500,
        "e\u0301" * 1000,
    ],
)
def test_a_text_is_shortened_as_if_it_had_been_cleaned_whole(text: str) -> None:
    assert shortened(text, 40) == cut(plain(text), 40)


def test_of_a_long_text_no_more_is_cleaned_than_can_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []

    def counted(text: str) -> str:
        lengths.append(len(text))
        return visible(text)

    monkeypatch.setattr("llm2llm_local.report.plain.visible", counted)
    assert shortened("a" + "0" * 20_000, 40) == "a" + "0" * 38 + "…"
    assert 40 <= sum(lengths) < 1000


def test_that_there_is_more_is_seen_though_none_of_it_is_shown() -> None:
    assert shortened("a" + " " * 1000 + "b", 40) == "a…"


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_filled_up_to_a_width(text: str) -> None:
    assert cell_len(padded(text, 30)) == cell_len(right_aligned(text, 30)) == 30
    assert padded(text, 30).rstrip() == right_aligned(text, 30).lstrip() == text


def test_the_columns_of_a_table_are_straight_whatever_is_in_them() -> None:
    rows = [(text, n, "|") for n, text in enumerate([*TEXTS, "語" * 50])]
    lines = table_text(QueryResult(("見出し", "n", "|"), rows)).splitlines()
    assert len({cell_len(line[: line.rindex("|")]) for line in lines}) == 1
    assert lines[-1].startswith("語" * 29 + "…")
