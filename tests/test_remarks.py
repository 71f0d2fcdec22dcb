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
