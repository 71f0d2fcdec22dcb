"""A run is resumed under the conditions it was started under, wherever its files lie, and under no others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from endings import DONE, assert_refused
from workspaces import Workspace, copied

if TYPE_CHECKING:
    from tiny_models import TinyModels


@pytest.fixture
def unfinished(finished_run: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the finished run of which the store only doesn't know yet that it is: resuming it loads no model."""
    workspace = copied(finished_run, tmp_path / "workspace")
    workspace.execute("UPDATE runs SET status = 'pending', status_detail = 'stopped', finished_at = NULL")
    return workspace


def own_models(workspace: Workspace, models: TinyModels) -> tuple[Path, Path]:
    """Copies of the models inside the workspace, in use from now on: a teacher's file and a student's folder."""
    teacher = shutil.copy(models.teacher, workspace.folder / "own.gguf")
    student = shutil.copytree(models.student, workspace.folder / "own")
    text = workspace.config.read_text()
    text = text.replace(json.dumps(str(models.teacher)), '"own.gguf"').replace(json.dumps(str(models.student)), '"own"')
    workspace.config.write_text(text)
    return Path(teacher), student


@pytest.mark.model
def test_where_files_lie_does_not_matter(unfinished: Workspace, tiny_models: TinyModels) -> None:
    own_models(unfinished, tiny_models)
    (unfinished.folder / "train.jsonl").rename(unfinished.folder / "seeds.jsonl")
    edit(unfinished.config, "train.jsonl", "seeds.jsonl")
    ending = unfinished.llm2llm("resume")
    assert (ending.code, unfinished.state()) == (DONE, "done"), ending.err


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def spoil_config(workspace: Workspace, models: TinyModels) -> None:
    edit(workspace.config, "student.epochs = 1", "student.epochs = 2")


def spoil_seeds(workspace: Workspace, models: TinyModels) -> None:
    edit(workspace.folder / "train.jsonl", "Who opened the door?", "Who closed the door?")


def spoil_test_rows(workspace: Workspace, models: TinyModels) -> None:
    edit(workspace.folder / "test.jsonl", "old bridge", "new bridge")


def spoil_grammar(workspace: Workspace, models: TinyModels) -> None:
    edit(workspace.folder / "three-words.gbnf", "{2,5}", "{2,6}")


def spoil_student(workspace: Workspace, models: TinyModels) -> None:
    _, student = own_models(workspace, models)
    change_last_byte(student / "model.safetensors")


def spoil_teacher(workspace: Workspace, models: TinyModels) -> None:
    teacher, _ = own_models(workspace, models)
    change_last_byte(teacher)


def change_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.model
@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        (spoil_config, "student.epochs: was 1, is 2"),
        (spoil_seeds, "data.train: was "),
        (spoil_test_rows, "data.test: was "),
        (spoil_grammar, "teacher.grammar: was "),
        (spoil_student, "student.model: was "),
        (spoil_teacher, "teacher.model: was "),
    ],
)
def test_a_run_is_not_resumed_under_other_conditions(
    unfinished: Workspace,
    tiny_models: TinyModels,
    spoil: Callable[[Workspace, TinyModels], None],
    field: str,
) -> None:
    spoil(unfinished, tiny_models)
    ending = unfinished.llm2llm("resume")
    assert_refused(ending, "run 1 was started under other conditions", field, "llm2llm fork 1")
    assert ending.err.count(": was ") == 1
    assert unfinished.state() == "stopped"


@pytest.mark.model
def test_a_change_without_effect_on_results_does_not_keep_a_run_from_going_on(unfinished: Workspace) -> None:
    with unfinished.config.open("a") as file:
        file.write("hardware.worker_retries = 7\n")
    assert unfinished.llm2llm("resume", "1").code == DONE


@pytest.mark.model
def test_the_overrides_of_a_run_are_kept_for_resuming_it(unfinished: Workspace) -> None:
    edit(unfinished.config, "student.epochs = 1", "student.epochs = 5")
    unfinished.execute("UPDATE runs SET overrides = ?", '["student.epochs=1"]')
    assert unfinished.llm2llm("resume").code == DONE


@pytest.mark.model
def test_a_workspace_that_was_moved_goes_on_in_its_new_place(unfinished: Workspace) -> None:
    moved = Workspace(unfinished.folder.rename(unfinished.folder.with_name("elsewhere")))
    ending = moved.llm2llm("resume")
    assert (ending.code, moved.state()) == (DONE, "done"), ending.err
