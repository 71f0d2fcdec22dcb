"""The configuration file: what is accepted, what is refused, and in which words."""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from workspaces import write_config

from llm2llm_local.cli import cli
from llm2llm_local.config import Config, FieldDoc, affects_results, field_docs, flatten
from llm2llm_local.config_file import load_config, parse_config
from llm2llm_local.errors import ConfigError
from llm2llm_local.loop.fingerprint import run_fields
from llm2llm_local.scaffold import CONFIG_NAME, TEMPLATES, render_config, write_workspace

SMALLEST = {
    "task.family": '"math"',
    "data.train": '"train.jsonl"',
    "teacher.model": '"teacher.gguf"',
    "student.model": '"student"',
}
DOCS = {doc.name: doc for doc in field_docs()}
SECTIONS = ("task", "data", "teacher", "student", "loop", "checks", "hardware")
NO_EFFECT = {"hardware.keep_both", "hardware.worker_timeout_seconds", "hardware.worker_retries"}


@pytest.fixture
def smallest(tmp_path: Path) -> Path:
    """A file with only what has no default."""
    write_config(tmp_path / CONFIG_NAME, SMALLEST)
    return tmp_path / CONFIG_NAME


def parse(**overrides: Any) -> Config:
    """The smallest configuration with sections changed: student={"epochs": 3}."""
    document: dict[str, Any] = {
        "task": {"family": "math"},
        "data": {"train": "train.jsonl"},
        "teacher": {"model": "teacher.gguf"},
        "student": {"model": "student"},
    }
    for section, values in overrides.items():
        document[section] = {**document.get(section, {}), **values}
    return parse_config(document, "config", Path("/w"))


LEAVES_ROOM = {
    "checks.accept_probability": {"reject_probability": 0.0},
    "checks.reject_probability": {"accept_probability": 1.0},
}
"""What each of two fields that must be in order needs of the other to have its whole range."""


def parse_field(name: str, value: Any) -> Any:
    """The value as understood of one field that is set to `value`."""
    section, key = name.split(".")
    return getattr(getattr(parse(**{section: {**LEAVES_ROOM.get(name, {}), key: value}}), section), key)


def refusal(name: str, value: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_field(name, value)
    return caught.value.message


# --- what is refused ------------------------------------------------------------------------------------------------


def test_the_smallest_file_is_enough(smallest: Path) -> None:
    config = load_config(smallest)
    assert (config.loop.iterations, config.teacher.temperature, config.data.test) == (3, 1.0, None)


@pytest.mark.parametrize("name", sorted(SMALLEST))
def test_a_field_without_default_must_be_there(tmp_path: Path, name: str) -> None:
    write_config(tmp_path / CONFIG_NAME, {key: value for key, value in SMALLEST.items() if key != name})
    section = name.split(".")[0]
    with pytest.raises(ConfigError, match=rf"{CONFIG_NAME}: {section}(\.\w+)?: missing; it has no default"):
        load_config(tmp_path / CONFIG_NAME)


@pytest.mark.parametrize("name", sorted(DOCS))
def test_a_misspelt_key_is_refused_with_the_nearest_one(name: str) -> None:
    section, key = name.split(".")
    assert refusal(f"{section}.{key}_", 1) == f"config: {name}_: unknown key; did you mean {name}?"


@pytest.mark.parametrize("section", SECTIONS)
def test_a_misspelt_section_is_refused_with_the_nearest_one(section: str) -> None:
    misspelt = section + "s"
    with pytest.raises(ConfigError, match=rf"config: {misspelt}: unknown key; did you mean {section}\?"):
        parse(**{misspelt: {"x": 1}})


@pytest.mark.parametrize(
    ("document", "meant"),
    [
        ({"student": {"iterations": 3}}, "student.iterations: unknown key; did you mean loop.iterations?"),
        ({"iterations": 3}, "iterations: unknown key; did you mean loop.iterations?"),
        ({"iteration": 3}, "iteration: unknown key; did you mean loop.iterations?"),
        ({"loop": {"model": "x"}}, "loop.model: unknown key; did you mean teacher.model or student.model?"),
        ({"teacher": {"epoch": 3}}, "teacher.epoch: unknown key; did you mean student.epochs?"),
        ({"student": {"qqq": 3}}, "student.qqq: unknown key"),
        ({"qqq": 3}, "qqq: unknown key"),
    ],
)
def test_an_unknown_key_says_what_may_be_meant_only_where_something_may(document: dict[str, Any], meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({**tomllib.loads("task.family = 'math'"), **document}, "config", Path("/w"))
    assert f"config: {meant}" in caught.value.message.splitlines()
    assert caught.value.remedy == "All fields: llm2llm config --help"


def test_a_misspelt_key_of_a_table_is_refused_with_the_nearest_one() -> None:
    assert refusal("data.sample", {"n": 3, "rng_sed": 1}).endswith(
        "data.sample.rng_sed: unknown key; did you mean data.sample.rng_seed?"
    )


AUTO_OR_INTEGER = '"auto" | integer'
INTEGERS = ("integer", AUTO_OR_INTEGER)
WRONG_TYPES: dict[str, tuple[Any, ...]] = {
    "integer": ("3", 1.0, 1.5, True, [1], {}),
    "number": ("0.5", True, [0.5], {}),
    "true | false": (1, 0, "true", []),
    "path": (1, 1.5, True, [], {}),
    "string": (1, 1.5, True, [], {}),
    "list of strings": ("a", 1, {"a": "b"}, [1, 2], [["a"]]),
    "table": (3, "n = 3", [3], {"n": "3"}, {"n": 3.0}, {}),
}


@pytest.mark.parametrize("name", sorted(DOCS))
def test_a_value_of_another_type_is_refused(name: str) -> None:
    kind = DOCS[name].type
    wrong = ("neither of them", "", 1, True, []) if "|" in kind and kind != "true | false" else WRONG_TYPES[kind]
    if kind == AUTO_OR_INTEGER:
        wrong = ("neither of them", "", 100.0, True, [])
    for value in wrong:
        message = refusal(name, value)
        assert message.startswith(f"config: {name}"), message
        assert "\n" not in message or isinstance(value, list | dict)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("data.train", 5, "data.train = 5: must be a text in quotes"),
        ("task.instruction", 5, "task.instruction = 5: must be a text in quotes"),
        ("task.instruction", True, "task.instruction = true: must be a text in quotes"),
        ("task.question_name", "", 'task.question_name = "": must not be empty'),
        ("teacher.show_student_answer", 1, "teacher.show_student_answer = 1: must be true or false"),
        ("loop.iterations", 1.5, "loop.iterations = 1.5: must be a whole number"),
        ("teacher.temperature", "hot", 'teacher.temperature = "hot": must be a number'),
        ("task.labels", "a", 'task.labels = "a": must be a list'),
        ("task.labels", ["a", 2], "task.labels, label 2 = 2: must be a text in quotes"),
        ("student.quantization", "int8", "student.quantization = \"int8\": must be 'nf4' or 'none'"),
    ],
)
def test_what_is_wrong_with_a_value_is_said_in_the_files_words(name: str, value: Any, reason: str) -> None:
    assert refusal(name, value) == f"config: {reason}"


def test_too_many_labels_are_counted() -> None:
    message = refusal("task.labels", [f"label {number}" for number in range(201)])
    assert message.endswith(": has 201 entries; at most 200 are allowed")


@pytest.mark.parametrize(
    ("value", "problem", "remedy"),
    [
        ("", "is empty", "Name a file or folder"),
        (" ", "is empty", "Name a file or folder"),
        ("~/mine", "~ isn't your home folder here", "in full"),
        ("~", "~ isn't your home folder here", "in full"),
        ("a\0b", "can't hold a NUL character", "Delete it"),
    ],
)
@pytest.mark.parametrize("name", sorted(name for name, doc in DOCS.items() if doc.type == "path"))
def test_a_path_names_something(name: str, value: str, problem: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_field(name, value)
    assert caught.value.message.startswith(f'config: {name} = "{value}": ')
    assert problem in caught.value.message and remedy in caught.value.remedy


@pytest.mark.parametrize("value", [".", "./a", "~a/b", "a/~", "/"])
def test_any_other_path_is_taken(value: str) -> None:
    assert parse_field("data.train", value) == Path("/w") / value


@pytest.mark.parametrize("name", ["task", "data", "loop", "data.sample"])
def test_a_section_that_is_no_table_is_refused_in_the_files_words(smallest: Path, name: str) -> None:
    text = "".join(f"{key} = {value}\n" for key, value in SMALLEST.items() if not key.startswith(f"{name}."))
    smallest.write_text(f"{name} = 3\n{text}")
    with pytest.raises(ConfigError) as caught:
        load_config(smallest)
    assert f"{name} = 3: " in caught.value.message
    assert "table" in caught.value.message
    assert "Config" not in caught.value.message  # the name of a class of ours means nothing to the person


@pytest.mark.parametrize("name", [name for name, doc in DOCS.items() if doc.type == AUTO_OR_INTEGER])
def test_what_is_planned_unless_set_by_hand_is_auto(name: str) -> None:
    assert DOCS[name].default == '"auto"'
    assert parse_field(name, "auto") == "auto"
    assert refusal(name, "Auto").startswith(f'config: {name} = "Auto": must be "auto" or an integer from ')


def test_a_quantized_cache_needs_flash_attention() -> None:
    teacher = {"model": "t.gguf", "flash_attention": "off"}
    with pytest.raises(ConfigError, match=r'teacher\.kv_cache = "q8_0" needs flash attention'):
        parse(teacher={**teacher, "kv_cache": "q8_0"})
    assert parse(teacher={**teacher, "kv_cache": "f16"}).teacher.kv_cache == "f16"


def bounds(doc: FieldDoc) -> dict[str, float]:
    """Sign → bound, read from the range that people are shown."""
    number = int if doc.type in INTEGERS else float
    return {part.split()[0]: number(part.split()[1]) for part in doc.range.split(", ") if part}


BOUNDED = sorted(name for name, doc in DOCS.items() if doc.range)


@pytest.mark.parametrize("name", BOUNDED)
def test_the_shown_range_is_what_is_accepted(name: str) -> None:
    is_integer = DOCS[name].type in INTEGERS
    for sign, bound in bounds(DOCS[name]).items():
        below, above = (
            (bound - 1, bound + 1) if is_integer else (math.nextafter(bound, -1e9), math.nextafter(bound, 1e9))
        )
        inside = {"≥": (bound, above), ">": (above,), "≤": (bound, below), "<": (below,)}[sign]
        outside = {"≥": (below, -1e9), ">": (bound, below), "≤": (above, 1e30), "<": (bound, above)}[sign]
        for value in inside:
            assert parse_field(name, value) == value
        for value in outside:
            wrong = int(value) if is_integer else value
            assert refusal(name, wrong).startswith(f"config: {name} = {wrong}: must be ")


@settings(deadline=None)
@given(st.data())
def test_values_are_accepted_exactly_within_their_range(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(BOUNDED))
    limits = bounds(DOCS[name])
    value: int | float
    if DOCS[name].type in INTEGERS:
        value = data.draw(st.integers(-(10**6), 10**6))
    else:
        value = data.draw(st.floats(-10, 10, allow_nan=False))
    within = all(
        {"≥": value >= bound, ">": value > bound, "≤": value <= bound, "<": value < bound}[sign]
        for sign, bound in limits.items()
    )
    if within:
        assert parse_field(name, value) == value
    else:
        assert name in refusal(name, value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", sorted(name for name, doc in DOCS.items() if doc.type == "number"))
def test_a_number_must_be_finite(name: str, value: float) -> None:
    """TOML has inf and nan; JSON has not, so one of them in a run would make the whole store unreadable."""
    assert refusal(name, value).startswith(f"config: {name} = {value}: ")


def test_the_rng_seed_must_fit_into_the_store() -> None:
    assert refusal("loop.rng_seed", 2**63).startswith(f"config: loop.rng_seed = {2**63}: ")


@pytest.mark.parametrize("n", [1, 201])
def test_a_label_set_has_two_to_two_hundred_labels(n: int) -> None:
    with pytest.raises(ConfigError, match=r"task\.labels.*200"):
        parse(task={"family": "classification", "labels": [f"label {number}" for number in range(n)]})


@pytest.mark.parametrize("labels", [["a", "b", "a"], ["a", ""], ["a", "\u200b"]])
def test_labels_are_distinct_and_not_empty(labels: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"task\.labels"):
        parse(task={"family": "classification", "labels": labels})


def test_labels_that_look_alike_are_refused_with_what_sets_them_apart() -> None:
    with pytest.raises(ConfigError, match=r"task\.labels.*U\+00E9 in one, U\+0065 U\+0301 in the other"):
        parse(task={"family": "classification", "labels": ["caf\u00e9", "bar", "cafe\u0301"]})


def test_question_and_answer_are_different_columns() -> None:
    with pytest.raises(ConfigError, match=r"data\.question_column and data\.answer_column are the same"):
        parse(data={"train": "train.jsonl", "question_column": "text", "answer_column": "text"})


@pytest.mark.parametrize(
    "name", ["task.question_name", "task.answer_name", "data.question_column", "data.answer_column"]
)
def test_names_are_not_empty(name: str) -> None:
    assert refusal(name, "").startswith(f'config: {name} = "": ')


def test_several_mistakes_are_reported_together(smallest: Path) -> None:
    overrides = ("loop.iterations=0", "student.epoch=3", "teacher.temperature=hot")
    with pytest.raises(ConfigError) as caught:
        load_config(smallest, overrides)
    lines = caught.value.message.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("--set ") for line in lines)
    for expected in ("loop.iterations = 0: ", "student.epoch: ", 'teacher.temperature = "hot": '):
        assert any(expected in line for line in lines), lines
    assert caught.value.remedy == "All fields: llm2llm config --help"


def test_nothing_changes_after_loading(smallest: Path) -> None:
    config = load_config(smallest)
    with pytest.raises(ValueError, match="frozen"):
        config.loop.iterations = 5  # type: ignore[misc]


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"llm2llm\.toml: no such file") as caught:
        load_config(tmp_path / CONFIG_NAME)
    assert "llm2llm init" in caught.value.remedy


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        load_config(tmp_path)


def test_a_byte_order_mark_and_crlf_make_no_difference(smallest: Path) -> None:
    plain = load_config(smallest)
    smallest.write_bytes(b"\xef\xbb\xbf" + smallest.read_bytes().replace(b"\n", b"\r\n"))
    assert load_config(smallest) == plain


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_is_refused_with_what_to_do(smallest: Path, encoding: str, mark: str) -> None:
    smallest.write_bytes((mark + smallest.read_text()).encode(encoding))
    with pytest.raises(ConfigError, match=rf"{CONFIG_NAME}: is UTF-16, not UTF-8") as caught:
        load_config(smallest)
    assert caught.value.remedy.startswith("Save the file as UTF-8")


def test_invalid_utf8_is_named_with_its_line(smallest: Path) -> None:
    bad = smallest.read_bytes() + b'task.instruction = "caf\xe9"\n'
    for mark in (b"", b"\xef\xbb\xbf"):
        smallest.write_bytes(mark + bad)
        with pytest.raises(ConfigError, match=rf"{CONFIG_NAME}:{len(SMALLEST) + 1}: not valid UTF-8"):
            load_config(smallest)


def test_a_file_that_may_not_be_read_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / CONFIG_NAME).symlink_to(tmp_path / CONFIG_NAME)  # unreadable even to root
    with pytest.raises(ConfigError, match="can't be read: ") as caught:
        load_config(tmp_path / CONFIG_NAME)
    assert caught.value.remedy == "Check the path and its permissions."


@pytest.mark.parametrize("encoding", ["utf-32", "utf-32-le", "utf-32-be"])
def test_utf32_is_told_by_its_name(smallest: Path, encoding: str) -> None:
    smallest.write_bytes(smallest.read_text().encode(encoding))
    with pytest.raises(ConfigError, match=rf"{CONFIG_NAME}: is UTF-32, not UTF-8") as caught:
        load_config(smallest)
    assert caught.value.remedy.startswith("Save the file as UTF-8")


@pytest.mark.parametrize("broken", ["a = " + "[" * 5000 + "]" * 5000, f"a = {'9' * 5000}"], ids=["deep", "long"])
def test_what_python_can_not_take_in_is_no_valid_toml(smallest: Path, broken: str) -> None:
    smallest.write_text(broken)
    with pytest.raises(ConfigError, match=rf"{CONFIG_NAME}: not valid TOML: ") as caught:
        load_config(smallest)
    assert len(caught.value.message) < len(str(smallest)) + 200
    assert "sys." not in caught.value.message and caught.value.remedy


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("show_student_answer = True", ["Invalid value (at line 2, ", "true and false are in lower case"]),
        ('instruction = "Sort them', ["a quote is opened and not closed (at line 2, ", "on one line"]),
        ("instruction = \u201cSort them\u201d", ["Invalid value (at line 2, ", "straight quotes"]),
        ("family = classification", ["Invalid value (at line 2, ", "straight quotes"]),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_broken_line_is_shown_with_how_values_are_written(
    tmp_path: Path, broken: str, words: list[str], end: str
) -> None:
    (tmp_path / CONFIG_NAME).write_text(f"[teacher]{end}  {broken}{end}model = 'x'{end}", encoding="utf-8", newline="")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / CONFIG_NAME)
    assert caught.value.message.endswith(f"): {broken}")
    assert "\n" not in caught.value.message
    for word in words:
        assert word in str(caught.value)


def test_a_folder_whose_name_is_not_utf8_is_refused_with_what_to_do(smallest: Path) -> None:
    latin = smallest.parent / "donn\udce9es"
    latin.mkdir()
    smallest = smallest.rename(latin / smallest.name)
    with pytest.raises(ConfigError, match="its path isn't UTF-8") as caught:
        load_config(smallest)
    assert caught.value.remedy.startswith("Rename it")


@pytest.mark.parametrize("broken", ["epochs = \n", "[loop\n", 'x = "never closed\n', "a = 1\na = 2\n"])
def test_invalid_toml_is_named_with_its_position(tmp_path: Path, broken: str) -> None:
    path = tmp_path / CONFIG_NAME
    path.write_text("# a comment\n" + broken)
    with pytest.raises(ConfigError, match=rf"{CONFIG_NAME}: not valid TOML: .*\(at (line \d|end of document)"):
        load_config(path)


def test_relative_paths_count_from_the_files_folder(
    tmp_path: Path, smallest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    config = load_config(Path("..") / CONFIG_NAME, ("data.test=test.jsonl", "teacher.grammar=/absolute.gbnf"))
    assert config.data.train == tmp_path / "train.jsonl"
    assert config.data.test == tmp_path / "test.jsonl"
    assert config.student.model == tmp_path / "student"
    assert config.teacher.grammar == Path("/absolute.gbnf")


# --- overrides ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "name", "value"),
    [
        ("loop.iterations=5", "loop.iterations", 5),
        (" loop.iterations = 5 ", "loop.iterations", 5),
        ("teacher.temperature=0", "teacher.temperature", 0.0),
        ("student.learning_rate=5e-4", "student.learning_rate", 5e-4),
        ('task.instruction="Sort \\"these\\""', "task.instruction", 'Sort "these"'),
        ("task.instruction=Sort these, please = now", "task.instruction", "Sort these, please = now"),
        ("student.quantization=none", "student.quantization", "none"),
        ("teacher.show_student_answer=true", "teacher.show_student_answer", True),
        ('task.labels=["a", "b"]', "task.labels", ["a", "b"]),
        ("data.sample={n=3}", "data.sample", {"n": 3, "rng_seed": 0, "draw": "plain"}),
        ("data.sample.n=4", "data.sample", {"n": 4, "rng_seed": 0, "draw": "plain"}),
    ],
)
def test_a_field_is_overridden(smallest: Path, override: str, name: str, value: Any) -> None:
    assert flatten(load_config(smallest, (override,)))[name] == value


def test_the_last_override_of_a_field_counts(smallest: Path) -> None:
    assert load_config(smallest, ("loop.iterations=5", "loop.iterations=7")).loop.iterations == 7


@pytest.mark.parametrize("override", ["", "=", "loop", "loop.iterations", "iterations=5", ".x=1", "loop.=1", "a..b=1"])
def test_an_override_of_another_form_is_refused(smallest: Path, override: str) -> None:
    with pytest.raises(ConfigError, match=r"expected section\.key=value") as caught:
        load_config(smallest, (override,))
    assert caught.value.message.startswith(f"--set {override}: ")


@pytest.mark.parametrize("value", ['1\nrecipe = "eda"', "1\n[checks]\nverify = 'off'"])
def test_an_override_sets_one_field(smallest: Path, value: str) -> None:
    """What is behind the first line would be dropped."""
    with pytest.raises(ConfigError) as caught:
        load_config(smallest, (f"loop.iterations={value}",))
    assert caught.value.message == "--set loop.iterations: has lines that set something else"
    assert caught.value.remedy == "Give each field its own --set."


def test_an_override_below_a_value_is_refused(smallest: Path) -> None:
    with pytest.raises(ConfigError, match=r"--set data\.train\.n=3: train is not a section"):
        load_config(smallest, ("data.train.n=3",))


@pytest.mark.parametrize("override", ["loop.iteration=5", "lop.iterations=5", "loop.iterations=", "loop.iterations=x"])
def test_an_override_is_checked_like_the_file(smallest: Path, override: str) -> None:
    with pytest.raises(ConfigError, match=r"--set l\w+.*(did you mean loop|whole number)"):
        load_config(smallest, (override,))


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        (f"loop.iterations={'9' * 5000}", "loop.iterations = "),
        ("loop.iterations=" + "[" * 5000, "loop.iterations = "),
        ("student.quantization=" + "x" * 5000, "student.quantization = "),
        ("student." + "x" * 5000 + "=1", "student.xxx"),
        ("x" * 5000, "expected section.key=value"),
        ("loop.iterations." + "x" * 5000 + "=1", "iterations is not a section"),
    ],
)
def test_an_endless_override_is_refused_in_a_line(smallest: Path, override: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(smallest, ("loop.iterations=1", override))
    assert problem in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < len(str(smallest)) + 250


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ('task.instruction="a\\u0000b"', "task.instruction: has the character U+0000 at position 2"),
        ('task.question_name="\\u001b[31m"', "task.question_name: has the character U+001B at position 1"),
        ('task.labels=["a", "b\\u0085"]', "task.labels: has the character U+0085 at position 2"),
        ("task.instruction=caf\udce9", "task.instruction: has the character U+DCE9 at position 4"),
        ("data.question_column=\udce9", "data.question_column: has the character U+DCE9 at position 1"),
        ("data.train=\udce9.jsonl", 'data.train = "\udce9.jsonl": not UTF-8'),
        ("teacher.model=\udce9.gguf", 'teacher.model = "\udce9.gguf": not UTF-8'),
    ],
)
def test_what_is_no_text_is_refused(smallest: Path, override: str, problem: str) -> None:
    """Surrogates stand for bytes that aren't UTF-8: the store can't take them, nor can a model."""
    with pytest.raises(ConfigError) as caught:
        load_config(smallest, (override,))
    assert caught.value.message == f"--set {problem}"
    assert caught.value.remedy


def test_text_may_have_lines_tabs_and_any_script(smallest: Path) -> None:
    config = load_config(smallest, ('task.instruction="Eins\\tzwei\\r\\n日本語 \\u202eעברית"',))
    assert config.task.instruction == "Eins\tzwei\r\n日本語 \u202eעברית"


def test_a_value_is_told_to_be_a_list_in_the_files_word(smallest: Path) -> None:
    with pytest.raises(ConfigError, match="must be a list"):
        load_config(smallest, ("task.labels=[",))


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["loop.iterations=0"], "--set loop.iterations = 0: "),
        (["data.sample.n=0"], "--set data.sample.n = 0: "),
        (["data.sample={n=0}"], "--set data.sample.n = 0: "),
        (["lop.iterations=3"], "--set lop: unknown key"),
        (["task.labels=['a', 'a']"], "--set task.labels: 'a' is there more than once"),
        (["task.question_name='Answer'"], "--set task.question_name and task.answer_name are the same"),
        (["data.answer_column=question"], "--set data.question_column and data.answer_column are the same"),
        (["data.sample={n=3, draw='balanced'}"], "--set data.sample: draw = "),
        (["loop.recipe=fine_tune_matched"], "--set loop.recipe = "),
        (["loop.select=best_dev"], "--set loop.select = "),
        (["checks.reject_probability=0.95"], "--set checks.reject_probability = 0.95: is above checks.accept_probabil"),
        (["checks.accept_probability=0.4"], "--set checks.reject_probability = 0.5: is above checks.accept_probabil"),
        (["teacher.flash_attention=off", "teacher.kv_cache=q8_0"], "--set teacher.kv_cache = "),
        (["teacher.model="], '--set teacher.model = "": is empty'),
        (["loop.iterations=3"], "{file}: student.epochs = 0: "),
    ],
)
def test_a_value_is_blamed_on_where_it_is_from(smallest: Path, overrides: list[str], problem: str) -> None:
    smallest.write_text(smallest.read_text() + "student.epochs = 0\n" * ("epochs" in problem), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(smallest, overrides)
    assert caught.value.message.startswith(problem.format(file=smallest) if "{file}" in problem else problem)
    assert caught.value.remedy


# --- what people are told -------------------------------------------------------------------------------------------


def test_every_section_is_documented() -> None:
    assert {name.split(".")[0] for name in DOCS} == set(SECTIONS)


@pytest.mark.parametrize("name", sorted(DOCS))
def test_every_field_is_described_in_a_sentence(name: str) -> None:
    description = DOCS[name].description
    assert len(description) > 10
    assert description[-1] in ".}"


def test_the_shown_default_is_the_one_in_force(smallest: Path) -> None:
    in_force = flatten(load_config(smallest))
    for name, doc in DOCS.items():
        if doc.default == "required":
            assert name in SMALLEST
        elif doc.default == "not set":
            assert in_force[name] is None
        else:
            assert tomllib.loads(f"x = {doc.default}")["x"] == in_force[name]


def test_the_configs_help_lists_every_field() -> None:
    shown = CliRunner().invoke(cli, ["config", "--help"])
    assert shown.exit_code == 0
    text = squeezed(shown.output)
    for doc in DOCS.values():
        assert squeezed(f"{doc.name} ({doc.type}") in text
        assert squeezed(doc.description) in text
        assert squeezed(doc.range) in text


def squeezed(text: str) -> str:
    """Without white space, since the help is wrapped."""
    return re.sub(r"\s", "", text)


def test_config_prints_every_field_as_understood(smallest: Path) -> None:
    shown = CliRunner().invoke(cli, ["config", str(smallest), "--set", "loop.iterations=9"])
    assert shown.exit_code == 0
    lines = dict(line.split(" = ", 1) for line in shown.output.splitlines())
    assert set(lines) == set(DOCS)
    assert lines["loop.iterations"] == "9"
    assert lines["data.train"] == f'"{smallest.parent / "train.jsonl"}"'


def test_fields_without_effect_on_results_are_marked_and_in_no_fingerprint() -> None:
    assert {name for name in DOCS if not affects_results(name)} == NO_EFFECT
    assert {name for name, doc in DOCS.items() if not doc.affects_results} == NO_EFFECT
    fingerprinted = set(run_fields(parse(), (), {}, "cpu", "float32"))
    assert DOCS.keys() - fingerprinted == NO_EFFECT


# --- what init writes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", sorted(TEMPLATES))
def test_init_writes_a_configuration_with_every_field(tmp_path: Path, task: str) -> None:
    written = write_workspace(tmp_path / "new", task, tmp_path / "models")
    assert written[0] == tmp_path / "new" / CONFIG_NAME
    config = load_config(written[0])
    assert config.student.model == tmp_path / "models" / "SmolLM2-135M-Instruct"
    assert {path for path in (config.data.train, config.data.dev, config.data.test) if path} == set(written[1:])
    text = written[0].read_text(encoding="utf-8")
    section = ""
    found = []
    for line in text.splitlines():
        if match := re.fullmatch(r"\[(\w+)\]", line):
            section = match[1]
        elif match := re.match(r"(?:# )?(\w+) = ", line):
            found.append(f"{section}.{match[1]}")
    assert found == list(DOCS)


@pytest.mark.parametrize("task", sorted(TEMPLATES))
def test_a_commented_field_has_its_default(tmp_path: Path, task: str) -> None:
    text = render_config(TEMPLATES[task](), tmp_path)
    as_written = parse_config(tomllib.loads(text), "config", tmp_path)
    commented = re.compile(r"^# (\w+ = (?!…).*)$", re.MULTILINE)
    assert len(commented.findall(text)) > 30
    everything = parse_config(tomllib.loads(commented.sub(r"\1", text)), "config", tmp_path)
    assert flatten(everything) == flatten(as_written)


def test_init_writes_into_a_folder_that_is_there_but_over_no_file(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text("mine")
    shown = CliRunner().invoke(cli, ["init", str(tmp_path), "--task", "demo"])
    assert shown.exit_code != 0
    assert "is there already" in str(shown.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["test.jsonl"]
    assert (tmp_path / "test.jsonl").read_text() == "mine"
