"""What a run and `doctor` say beforehand of a sound configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import TinyModels
from workspaces import Workspace, make_workspace

from llm2llm_local.loop.inputs import read_inputs
from llm2llm_local.loop.remarks import remarks

VERIFIED = 'checks.verify="on"'
ANNOTATED, BARE = "2 + 3 = <<2+3=5>>5\n#### 5", "2 + 3 = 5\n#### 5"


@pytest.fixture
def workspace(tmp_path: Path, tiny_models: TinyModels) -> Workspace:
    return make_workspace(tmp_path, tiny_models)


@pytest.mark.parametrize(
    ("overrides", "fields"),
    [
        (["loop.match_run=7"], ["loop.match_run = 7"]),
        (["loop.least_confident=0.4"], ["loop.least_confident = 0.4"]),
        (["loop.least_confident=0.4", "loop.failure_signal=confidence"], []),
        (["loop.folds=3"], ["loop.folds = 3"]),
        (["loop.folds=3", "loop.failure_signal=kfold"], []),
        (["loop.folds=3", VERIFIED], []),
        (["loop.folds=3", VERIFIED, "checks.verifier=teacher"], ["loop.folds = 3"]),
        (["checks.votes=9"], ["checks.votes = 9"]),
        (["checks.votes=9", VERIFIED], []),
        (["checks.votes=9", VERIFIED, "checks.verifier=student"], ["checks.votes = 9"]),
        (["checks.votes=9", "loop.folds=3", "loop.recipe=eda"], []),
        (["checks.doubt=keep", "checks.verifier=teacher"], ["checks.verifier = teacher", "checks.doubt = keep"]),
        (["checks.accept_probability=0.7", VERIFIED], []),
    ],
)
def test_settings_that_nothing_reads_are_told(workspace: Workspace, overrides: list[str], fields: list[str]) -> None:
    told = list(remarks(read_inputs(workspace.config, overrides)))
    assert [text.partition(" changes nothing here")[0] for text in told] == fields


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([BARE] * 5, "no seed has calculations"),
        ([ANNOTATED, BARE, BARE, BARE, BARE], "4 of 5 seeds don't have calculations"),
        ([ANNOTATED] * 5, None),
    ],
)
def test_seeds_without_calculations_are_counted(workspace: Workspace, answers: list[str], words: str | None) -> None:
    for split in ("train", "test"):
        workspace.write_rows(f"{split}.jsonl", [(f"{split} {n}: 2 and 3?", answer) for n, answer in enumerate(answers)])
    told = list(remarks(read_inputs(workspace.config, ["task.family=math"])))
    assert [text.partition(" as <<")[0] for text in told] == ([] if words is None else [words])
    assert not list(remarks(read_inputs(workspace.config, ["task.family=math", "loop.recipe=fine_tune"])))


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (["a", "b", "a", "b"], []),
        (["a", "b", "a", "A"], ["the labels 'a' and 'A' differ in letter case alone", "2 labels with a single seed"]),
        (["a", "b", "a", "b", "c"], ["1 label with a single seed (first: 'c', "]),
        (["a", "b", "c", "d"], []),
    ],
)
def test_labels_that_may_be_slips_are_told(workspace: Workspace, answers: list[str], words: list[str]) -> None:
    workspace.write_rows("train.jsonl", [(f"seed {n}", answer) for n, answer in enumerate(answers)])
    workspace.write_rows("test.jsonl", [("test", "a")])
    told = list(remarks(read_inputs(workspace.config, ["loop.recipe=fine_tune"])))
    assert len(told) == len(words) and all(text.startswith(word) for text, word in zip(told, words, strict=True)), told


def test_labels_without_a_seed_and_seeds_of_one_label_are_told(workspace: Workspace) -> None:
    workspace.write_rows("train.jsonl", [(f"seed {n}", "a") for n in range(4)])
    workspace.write_rows("test.jsonl", [("test", "a")])
    told = list(remarks(read_inputs(workspace.config, ["loop.recipe=fine_tune", 'task.labels=["a", "b"]'])))
    assert told[0].startswith("no seeds for 'b'") and told[1].startswith("every seed has the answer 'a'")


def test_letters_of_options_are_no_labels(workspace: Workspace) -> None:
    question = "Which?\n(A) one\n(B) two\n(C) three"
    for split in ("train", "test"):
        workspace.write_rows(
            f"{split}.jsonl", [(f"{split} {n}: {question}", letter) for n, letter in enumerate("AABBB")]
        )
    overrides = ["task.family=multiple_choice", "loop.recipe=fine_tune", "student.max_length=512"]
    assert not list(remarks(read_inputs(workspace.config, overrides)))


def test_seeds_with_wrong_calculations_are_told(workspace: Workspace) -> None:
    wrong = "9 + 1 = <<9+1=11>>11\n#### 11"
    for split in ("train", "test"):
        workspace.write_rows(f"{split}.jsonl", [(f"{split} {n}: how many?", wrong) for n in range(4)])
    (told,) = remarks(read_inputs(workspace.config, ["task.family=math"]))
    assert told.startswith("4 seeds with calculations that don't hold, or can't be done again (first: ")
    assert "train.jsonl:1" in told and "<<9+1=11>>" in told
