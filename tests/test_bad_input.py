"""Whatever is wrong with what a person gives: one clear message, exit code 2, and no run in the store."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from workspaces import CONFIG_NAME, SEEDS, Ending, Workspace, make_workspace, without_rights_over_files

from llm2llm_local.store.reader import SCHEMA_VERSION
from llm2llm_local.store.writer import Store

if TYPE_CHECKING:
    from tiny_models import TinyModels

DONE, USER_INPUT = 0, 2

GOOD_LINE = json.dumps({"question": "Who sings?", "answer": "person"}) + "\n"
OTHER_LINE = json.dumps({"question": "Where is it?", "answer": "place"}) + "\n"


@pytest.fixture
def workspace(tiny_models: TinyModels, tmp_path: Path) -> Workspace:
    """A workspace in which nothing is wrong yet, with models of its own."""
    made = make_workspace(tmp_path / "workspace", tiny_models)
    shutil.copy(tiny_models.teacher, made.folder / "own.gguf")
    shutil.copytree(tiny_models.student, made.folder / "own")
    return made


OWN_MODELS = ("--set", "teacher.model=own.gguf", "--set", "student.model=own")


def assert_refused(workspace: Workspace, ending: Ending, *words: str) -> None:
    """The message names what is wrong, once; nothing is left of the run."""
    assert "Traceback" not in ending.err, ending.err
    assert ending.code == USER_INPUT, ending
    assert ending.out == ""
    message = ending.err.partition("llm2llm: ")[2]
    assert "llm2llm: " not in message, ending.err
    assert 1 <= len(message.strip().splitlines()) <= 4, message
    for word in words:
        assert word in message, message
    assert workspace.n_runs() == 0
    assert not list(workspace.folder.glob("runs/*/*"))


# --- data -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.jsonl", b"", ["empty.jsonl: has no rows"]),
        ("blank.jsonl", b"\n \n\n", ["blank.jsonl: has no rows"]),
        ("header.csv", b"question,answer\n", ["header.csv: has no rows"]),
        ("broken.jsonl", GOOD_LINE.encode() + b'{"question": "x", \n', ["broken.jsonl:2: broken JSON", "column"]),
        ("list.jsonl", GOOD_LINE.encode() + b"[1, 2]\n", ["list.jsonl:2: not a JSON object"]),
        ("column.jsonl", b'{"text": "x", "answer": "person"}\n', ["column.jsonl:1: no column 'question'", "'text'"]),
        ("column.csv", b"text,answer\nx,person\n", ["column.csv:1: no column 'question'"]),
        (
            "latin.jsonl",
            GOOD_LINE.encode() + b'{"question": "caf\xe9", "answer": "place"}\n',
            ["latin.jsonl:2: not valid"],
        ),
        ("nul.jsonl", b'{"question": "a\\u0000b", "answer": "person"}\n', ["nul.jsonl:1: 'question'", "U+0000"]),
        ("raw-nul.jsonl", b'{"question": "a\0b", "answer": "person"}\n', ["raw-nul.jsonl:1: "]),
        ("nul.csv", b"question,answer\na\0b,person\n", ["nul.csv:"]),
        ("escape.jsonl", b'{"question": "\\u001b[31m", "answer": "person"}\n', ["escape.jsonl:1: ", "U+001B"]),
        ("number.jsonl", b'{"question": 5, "answer": "person"}\n', ["number.jsonl:1: 'question' is a number"]),
        ("null.jsonl", b'{"question": "x", "answer": null}\n', ["null.jsonl:1: 'answer' is null"]),
        ("void.jsonl", b'{"question": "x", "answer": " "}\n', ["void.jsonl:1: 'answer' is empty"]),
        (
            "one-label.jsonl",
            GOOD_LINE.encode() * 2,
            ["one-label.jsonl: the seeds have 1 different answers", "2 to 200"],
        ),
        ("data.parquet", b"PAR1", ["data.parquet: the ending '.parquet' is not supported", ".jsonl"]),
    ],
)
def test_seeds_that_can_not_be_used_are_named_with_their_line(
    workspace: Workspace, name: str, content: bytes, words: list[str]
) -> None:
    (workspace.folder / name).write_bytes(content)
    assert_refused(workspace, workspace.llm2llm("run", "--set", f"data.train={name}"), *words)


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_a_missing_file_is_named(workspace: Workspace, split: str) -> None:
    ending = workspace.llm2llm("run", "--set", f"data.{split}=nowhere.jsonl")
    assert_refused(workspace, ending, f"{workspace.folder}/nowhere.jsonl: no such file", "configuration file's folder")


def test_a_folder_instead_of_a_file_is_named(workspace: Workspace) -> None:
    assert_refused(workspace, workspace.llm2llm("run", "--set", "data.train=own"), "own: is a folder")


def test_names_that_are_not_utf8_are_refused(workspace: Workspace) -> None:
    """As files from an old Windows disk have them; Python reads such bytes as halves of surrogate pairs."""
    latin = workspace.folder / "donn\udce9es.jsonl"
    shutil.copy(workspace.folder / "train.jsonl", latin)
    ending = workspace.llm2llm("run", "--set", f"data.train={latin.name}")
    assert_refused(workspace, ending, "data.train", "not UTF-8", "Rename it")
    shutil.copy(workspace.config, workspace.folder / "conf\udce9.toml")
    ending = workspace.llm2llm("run", "conf\udce9.toml")
    assert_refused(workspace, ending, "its path isn't UTF-8", "Rename it")


def test_the_doctor_shows_labels_that_are_whole_texts_short(workspace: Workspace) -> None:
    workspace.write_rows("train.jsonl", [*SEEDS, ("Who?", "text " * 1000)])
    ending = workspace.llm2llm("doctor", "--set", "data.test=train.jsonl")
    assert "seeds by label: person 3, " in ending.out
    assert max(map(len, ending.out.splitlines())) < 1000


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_label_that_was_not_declared_is_named_with_its_line(workspace: Workspace, split: str) -> None:
    workspace.write_rows(f"{split}.jsonl", [*SEEDS, ("Why is the sky blue?", "persn")])
    ending = workspace.llm2llm("run", "--set", 'task.labels=["person", "place", "number"]')
    assert_refused(
        workspace, ending, f"{split}.jsonl:{len(SEEDS) + 1}: 'persn' is not one of the 3 labels; nearest: 'person'"
    )


def test_a_test_label_that_no_seed_has_is_named(workspace: Workspace) -> None:
    workspace.write_rows("test.jsonl", [("Why is the sky blue?", "reason")])
    ending = workspace.llm2llm("run")
    assert_refused(workspace, ending, "test.jsonl:1: 'reason' is not one of the 3 labels", "task.labels")


def test_labels_that_look_alike_are_named_with_their_lines_and_code_points(workspace: Workspace) -> None:
    n = len(SEEDS)
    workspace.write_rows("train.jsonl", [*SEEDS, ("Who?", "caf\u00e9"), ("Where?", "cafe\u0301")])
    words = [f"train.jsonl:{n + 1} and ", f"train.jsonl:{n + 2}: ", "look alike", "U+00E9 in one, U+0065 U+0301 in"]
    assert_refused(workspace, workspace.llm2llm("run"), *words)
    ending = workspace.llm2llm("doctor")
    assert ending.code == USER_INPUT
    assert all(word in ending.out for word in words), ending.out


def test_more_than_200_labels_are_no_classification(workspace: Workspace) -> None:
    workspace.write_rows("train.jsonl", [(f"question {n}", f"answer {n}") for n in range(201)])
    assert_refused(workspace, workspace.llm2llm("run"), "the seeds have 201 different answers")


def test_a_line_of_a_megabyte_is_named(workspace: Workspace) -> None:
    workspace.write_rows("train.jsonl", [*SEEDS, ("x" * 1_000_001, "person")])
    ending = workspace.llm2llm("run")
    assert_refused(workspace, ending, f"train.jsonl:{len(SEEDS) + 1}: longer than 1,000,000 bytes")
    assert len(ending.err) < 1000


@pytest.mark.model
@pytest.mark.parametrize("text", ["word " * 180_000, "x" * 900_000], ids=["words", "letters"])
def test_a_text_of_nearly_a_megabyte_is_too_long_for_the_models(workspace: Workspace, text: str) -> None:
    """The reader takes it; the models' limits don't."""
    workspace.write_rows("train.jsonl", [*SEEDS, (text, "person")])
    ending = workspace.llm2llm("run")
    assert_refused(workspace, ending, "tokens", "context")
    assert len(ending.err) < 2000


def test_a_control_character_in_a_message_is_shown_as_a_code(workspace: Workspace) -> None:
    name = "a\x1b[31mb.jsonl"
    (workspace.folder / name).write_text("")
    ending = workspace.llm2llm("run", "--set", f"data.train='{name}'")
    assert "\x1b" not in ending.err
    ending = workspace.llm2llm("run", workspace.folder / "no\x1b[31mthing.toml")
    assert_refused(workspace, ending, "no\\x1b[31mthing.toml: no such file")
    assert "\x1b" not in ending.err


# --- configuration --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("loop.iterations=0", ["--set loop.iterations = 0: ", "greater than or equal to 1"]),
        ("loop.iteration=3", ["--set loop.iteration: unknown key; did you mean loop.iterations?"]),
        ("teacher.max_new_tokens=512", ["teacher.max_new_tokens = 512: leaves no room"]),
        ("teacher.context_length=4097", ["teacher.context_length = 4097: tiny.gguf was made for 4096 tokens"]),
        ("teacher.grammar=nowhere.gbnf", ["teacher.grammar: ", "nowhere.gbnf: no such file", "Check the path"]),
        ("teacher.grammar=own", ["teacher.grammar: ", "own: is a folder"]),
        ("loop.iterations", ["--set loop.iterations: expected section.key=value"]),
        ("loop.rng_seed=9223372036854775808", ["loop.rng_seed = 9223372036854775808: "]),
        ("student.max_grad_norm=inf", ["student.max_grad_norm = inf: "]),
        (
            "checks.reject_probability=0.95",
            ["checks.reject_probability = 0.95: is above checks.accept_probability = 0.9"],
        ),
    ],
)
def test_a_field_that_can_not_be_is_named(workspace: Workspace, override: str, words: list[str]) -> None:
    # Should the value be accepted, the student's limit is the next thing wrong: no run is worked through.
    ending = workspace.llm2llm("run", "--set", override, "--set", "student.max_length=8")
    assert_refused(workspace, ending, *words)


def test_the_least_confident_need_answers_that_are_scored(workspace: Workspace) -> None:
    overrides = ("--set", 'loop.failure_signal="confidence"', "--set", 'task.predict="generate"')
    ending = workspace.llm2llm("run", *overrides, "--set", "student.max_length=8")
    assert_refused(workspace, ending, "loop.failure_signal", "these are written", 'Take "train" or "kfold"')


@pytest.mark.parametrize(
    ("seeds", "override", "words"),
    [
        (GOOD_LINE, 'loop.failure_signal="kfold"', ["train.jsonl: has one question only", "Give it other seeds"]),
        (
            "".join(GOOD_LINE.replace("Who", who) for who in ("Who", "Which poet", "Which writer")),
            'checks.verify="on"',
            ["train.jsonl: 3 seeds: too few to tell", "Give it 4 or more, or,"],
        ),
        (GOOD_LINE * 8, 'checks.verify="on"', ["train.jsonl: 8 seeds with 1 different question: too few to tell"]),
    ],
)
def test_what_seeds_are_asked_about_needs_some(
    workspace: Workspace, seeds: str, override: str, words: list[str]
) -> None:
    (workspace.folder / "train.jsonl").write_text(seeds)
    labels = 'task.labels=["person", "place", "number"]'
    ending = workspace.llm2llm("run", "--set", labels, "--set", override, "--set", "student.max_length=8")
    assert_refused(workspace, ending, *words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "odd.gbnf: is empty"),
        (b"\xef\xbb\xbf\r\n", "odd.gbnf: is empty"),
        ('root ::= "a"'.encode("utf-16"), "odd.gbnf: is UTF-16, not UTF-8"),
        (b'root ::= "a"\n# caf\xe9\n', "odd.gbnf:2: not valid UTF-8"),
    ],
)
def test_a_grammar_file_that_can_not_be_one_is_named(workspace: Workspace, content: bytes, words: str) -> None:
    (workspace.folder / "odd.gbnf").write_bytes(content)
    # Should it be accepted, the student's limit is the next thing wrong: no run is worked through.
    overrides = ("--set", "teacher.grammar=odd.gbnf", "--set", "student.max_length=8")
    assert_refused(workspace, workspace.llm2llm("run", *overrides), "teacher.grammar: ", words)


def test_a_missing_configuration_says_how_to_make_one(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert_refused(workspace, workspace.llm2llm("run"), f"{CONFIG_NAME}: no such file", "llm2llm init")
    assert_refused(workspace, workspace.llm2llm("run", "other.toml"), "other.toml: no such file")
    assert list(tmp_path.iterdir()) == []


def test_a_broken_configuration_is_named_with_its_position(workspace: Workspace) -> None:
    workspace.config.write_text("task.family = classification\n")
    assert_refused(workspace, workspace.llm2llm("run"), f"{CONFIG_NAME}: not valid TOML", "line 1")
    workspace.config.write_text("[task]\n[data]\n[task]\n")
    assert_refused(workspace, workspace.llm2llm("run"), "not valid TOML", "Each section and field may be there once")
    workspace.config.write_bytes(b'task.family = "math"\n# caf\xe9\n')
    assert_refused(workspace, workspace.llm2llm("run"), f"{CONFIG_NAME}:2: not valid UTF-8")


def test_a_gpu_that_is_not_there_is_named(workspace: Workspace) -> None:
    if any(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("there is a GPU")
    ending = workspace.llm2llm("run", "--set", 'hardware.device="cuda"')
    assert_refused(workspace, ending, "hardware.device", "GPU")


# --- models ---------------------------------------------------------------------------------------------------------

Spoil = Callable[[Path], object]


def cut(path: Path, n_bytes: int) -> None:
    path.write_bytes(path.read_bytes()[:n_bytes])


def rename_architecture(path: Path, *, everywhere: bool) -> None:
    """Another name of the same length, in the one field that names it or in all keys that begin with it."""
    content = path.read_bytes()
    assert content.count(b"llama") > 5
    path.write_bytes(content.replace(b"llama", b"llemu", -1 if everywhere else 1))


def to_pickle(student: Path) -> None:
    (student / "model.safetensors").rename(student / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda folder: (folder / "own.gguf").unlink(),
            ["own.gguf: no such file", "Set teacher.model", "llm2llm models FOLDER"],
        ),
        (lambda folder: (folder / "own.gguf").write_bytes(b""), ["own.gguf: the file is empty"]),
        (lambda folder: cut(folder / "own.gguf", 5000), ["own.gguf: incomplete or damaged", "Copy the file again"]),
        (lambda folder: cut(folder / "own.gguf", 100_000), ["own.gguf: incomplete or damaged"]),
        (lambda folder: (folder / "own.gguf").write_text("no model"), ["own.gguf: not a GGUF file"]),
        (
            lambda folder: rename_architecture(folder / "own.gguf", everywhere=False),
            ["own.gguf: ", "llemu"],
        ),
        (lambda folder: (folder / "own" / "tokenizer.json").unlink(), ["own: no tokenizer"]),
        (lambda folder: to_pickle(folder / "own"), ["own: weights only as a pickle (pytorch_model.bin)"]),
        (lambda folder: cut(folder / "own" / "model.safetensors", 50_000), ["model.safetensors: incomplete"]),
        (lambda folder: (folder / "own" / "model.safetensors").unlink(), ["own: no weights"]),
        (lambda folder: (folder / "own" / "config.json").unlink(), ["own: no config.json"]),
        (lambda folder: (folder / "own" / "config.json").write_text("{"), ["config.json: not valid JSON"]),
        (lambda folder: shutil.rmtree(folder / "own"), ["own: no such folder", "Set student.model"]),
    ],
)
def test_a_model_that_can_not_be_used_is_named(workspace: Workspace, spoil: Spoil, words: list[str]) -> None:
    spoil(workspace.folder)
    assert_refused(workspace, workspace.llm2llm("run", *OWN_MODELS), *words)
    assert not workspace.store.exists()


@pytest.mark.model
def test_an_architecture_that_llama_cpp_does_not_know_is_named(workspace: Workspace) -> None:
    rename_architecture(workspace.folder / "own.gguf", everywhere=True)
    ending = workspace.llm2llm("run", *OWN_MODELS)
    assert_refused(workspace, ending, "own.gguf: llama.cpp can't load it", "llemu")
    assert "teacher.log" not in ending.err or list(workspace.folder.rglob("teacher.log")), "the log it names is gone"


@pytest.mark.model
def test_a_student_that_transformers_does_not_know_is_named(workspace: Workspace) -> None:
    path = workspace.folder / "own" / "config.json"
    path.write_text(path.read_text().replace('"llama"', '"llemu"'))
    ending = workspace.llm2llm("run", *OWN_MODELS)
    assert_refused(workspace, ending, "own: transformers can't load it", "llemu")


@pytest.mark.model
def test_a_context_too_short_for_the_teachers_prompt_is_named(workspace: Workspace) -> None:
    ending = workspace.llm2llm("run", "--set", "teacher.context_length=64")
    assert_refused(workspace, ending, "a context of 64 tokens", "Raise teacher.context_length")


@pytest.mark.model
def test_a_length_too_short_for_the_student_is_named(workspace: Workspace) -> None:
    ending = workspace.llm2llm("run", "--set", "student.max_length=8")
    assert_refused(workspace, ending, "the student takes 8", "student.max_length")


@pytest.mark.model
def test_a_grammar_that_can_not_be_read_is_named(workspace: Workspace) -> None:
    (workspace.folder / "bad.gbnf").write_text("root ::= [a-z\n")
    ending = workspace.llm2llm("run", "--set", "teacher.grammar=bad.gbnf")
    assert_refused(workspace, ending, "teacher.grammar: llama.cpp can't read it")
    assert "teacher.log" not in ending.err or list(workspace.folder.rglob("teacher.log")), "the log it names is gone"


@pytest.mark.model
def test_after_a_refused_run_a_sound_one_starts(workspace: Workspace) -> None:
    """Whatever the refused one had begun is out of the way."""
    workspace.llm2llm("run", "--set", "teacher.context_length=64")
    ending = workspace.llm2llm("run", "--set", "loop.iterations=1")
    assert (ending.code, workspace.n_runs()) == (DONE, 1), ending.err


# --- the store ------------------------------------------------------------------------------------------------------


def test_a_folder_that_can_not_be_written_is_named(workspace: Workspace) -> None:
    workspace.folder.chmod(0o500)
    try:
        ending = workspace.llm2llm("run", before_exec=without_rights_over_files)
    finally:
        workspace.folder.chmod(0o700)
    if ending.code == 77:
        pytest.skip("rights can't be taken from this process")
    assert_refused(workspace, ending, f"{workspace.folder}: the folder can't be written to")
    assert not workspace.store.exists()


def test_a_file_where_the_runs_folder_is_to_be_is_named_and_leaves_no_run(workspace: Workspace) -> None:
    (workspace.folder / "runs").touch()
    assert_refused(workspace, workspace.llm2llm("run"), "runs/1: can't be made: Not a directory", "may write to")
    assert workspace.llm2llm("status").out == "no runs yet\n"


def test_a_folder_where_the_store_is_to_be_is_named(workspace: Workspace) -> None:
    workspace.store.mkdir()
    ending = workspace.llm2llm("run")
    assert (ending.code, ending.out) == (USER_INPUT, "")
    assert ending.err.startswith(f"llm2llm: {workspace.store}: can't be written to: Is a directory")
    ending = workspace.llm2llm("doctor")
    assert f"error   {workspace.store}: is no file" in ending.out
    assert ending.code == USER_INPUT
    for command in ("status", "resume"):
        ending = workspace.llm2llm(command)
        assert (ending.code, ending.out) == (USER_INPUT, "")
        assert "llm2llm.db: is a folder" in ending.err and "Move it away" in ending.err


def test_a_store_that_has_nothing_yet_is_no_error_to_the_doctor(workspace: Workspace) -> None:
    """As a run leaves it that was killed at its very start."""
    workspace.store.touch()
    ending = workspace.llm2llm("doctor")
    assert f"ok      store {workspace.store} has no runs yet" in ending.out
    assert ending.code == DONE


def test_a_store_that_can_not_be_written_is_named(workspace: Workspace) -> None:
    Store(workspace.folder).close()
    workspace.store.chmod(0o400)
    ending = workspace.llm2llm("run", before_exec=without_rights_over_files)
    if ending.code == 77:
        pytest.skip("rights can't be taken from this process")
    assert_refused(workspace, ending, "llm2llm.db: can't be written to: Permission denied", "may write to")


def test_a_doctor_names_a_folder_that_can_not_be_written(workspace: Workspace) -> None:
    workspace.folder.chmod(0o500)
    try:
        ending = workspace.llm2llm("doctor", before_exec=without_rights_over_files)
    finally:
        workspace.folder.chmod(0o700)
    if ending.code == 77:
        pytest.skip("rights can't be taken from this process")
    assert ending.code == USER_INPUT
    assert f"error   {workspace.folder}: can't be written to" in ending.out


def test_a_store_of_a_newer_version_is_refused_untouched(workspace: Workspace) -> None:
    with Store(workspace.folder) as store:
        store.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = workspace.store.read_bytes()
    for command in ("run", "status", "resume", "report"):
        ending = workspace.llm2llm(command)
        assert_refused(workspace, ending, "made by a newer version of llm2llm", "Install the newer version")
    assert workspace.store.read_bytes() == before


@pytest.mark.parametrize("command", ["run", "status", "resume"])
def test_a_foreign_database_is_refused_untouched(workspace: Workspace, command: str) -> None:
    connection = sqlite3.connect(workspace.store)
    connection.execute("CREATE TABLE runs (miles REAL)")
    connection.close()
    before = workspace.store.read_bytes()
    assert_refused(workspace, workspace.llm2llm(command), "llm2llm.db: not a store of llm2llm", "not touched")
    assert workspace.store.read_bytes() == before


@pytest.mark.parametrize("command", ["run", "status", "resume"])
def test_a_file_that_is_no_database_is_refused_untouched(workspace: Workspace, command: str) -> None:
    workspace.store.write_text("no database. " * 100)
    ending = workspace.llm2llm(command)
    assert "Traceback" not in ending.err
    assert ending.code == USER_INPUT
    assert "llm2llm.db: " in ending.err
    assert "It is damaged, or not a store of llm2llm: move it away" in " ".join(ending.err.split())
    assert workspace.store.read_text() == "no database. " * 100


# --- warnings -------------------------------------------------------------------------------------------------------

REPEATED = [*SEEDS, SEEDS[0], ("who opened  THE door?", "person"), ("Where is the library?", "number")]
WARNINGS = (
    "2 seeds repeat an earlier one (first: {0}/train.jsonl:1 and {0}/train.jsonl:10)",
    "1 seed asks an earlier question with another answer (first: {0}/train.jsonl:5 and {0}/train.jsonl:12)",
    "2 test questions are also seeds (first: {0}/test.jsonl:1 and {0}/train.jsonl:2)",
)


@pytest.fixture
def repetitive(workspace: Workspace) -> Workspace:
    workspace.write_rows("train.jsonl", REPEATED)
    workspace.write_rows("test.jsonl", [SEEDS[1], SEEDS[4], ("Who is it?", "person")])
    return workspace


def test_repeated_rows_are_counted_by_the_doctor(repetitive: Workspace) -> None:
    ending = repetitive.llm2llm("doctor")
    assert ending.code == DONE, ending.out
    for warning in WARNINGS:
        assert f"warning {warning.format(repetitive.folder)}" in ending.out


@pytest.mark.model
def test_repeated_rows_are_counted_in_warnings_and_the_run_goes_on(repetitive: Workspace) -> None:
    ending = repetitive.llm2llm("run", "--set", "loop.iterations=1")
    assert ending.code == DONE, ending.err
    said = "".join(ending.err.split())  # wherever the lines are broken
    for warning in WARNINGS:
        assert "".join(f"warning: {warning.format(repetitive.folder)}".split()) in said
    assert ending.err.count("warning: ") == len(WARNINGS) + 1  # and that nothing is verified
    assert repetitive.rows("SELECT count(*) FROM examples WHERE origin = 'seed' AND split = 'train'") == [(12,)]
