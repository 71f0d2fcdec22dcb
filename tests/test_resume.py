"""SIGKILL at random moments, on real models: the run that goes on becomes the run that was never killed."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from killing import Disturbed, Kill, compare, disturb, finish, llm2llm, make_workspace, units_done

if TYPE_CHECKING:
    from tiny_models import TinyModels

MODELS = Path(__file__).parents[1] / "models"
DEFAULT_TEACHER, DEFAULT_STUDENT = MODELS / "SmolLM2-135M-Instruct.Q4_1.gguf", MODELS / "SmolLM2-135M-Instruct"

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_models: TinyModels) -> Path:
    workspace = make_workspace(tmp_path_factory.mktemp("undisturbed") / "w", tiny_models.teacher, tiny_models.student)
    finish(llm2llm(workspace, "run"), workspace)
    return workspace


def test_two_undisturbed_runs_are_equal(undisturbed: Path, tmp_path: Path, tiny_models: TinyModels) -> None:
    again = make_workspace(tmp_path / "w", tiny_models.teacher, tiny_models.student)
    finish(llm2llm(again, "run"), again)
    assert compare(undisturbed, Disturbed(again)) == []


def test_killed_runs_become_the_run_that_was_never_killed(
    undisturbed: Path, tmp_path: Path, tiny_models: TinyModels
) -> None:
    """As many runs as it takes for twelve kills; a kill that comes after a run's end doesn't count."""
    rng = random.Random(1)
    killed: list[Kill] = []
    for number in range(6):
        workspace = make_workspace(tmp_path / str(number), tiny_models.teacher, tiny_models.student)
        disturbed = disturb(workspace, units_done(undisturbed), ["run", "teacher", "student", "run", "run"], rng)
        assert compare(undisturbed, disturbed) == []
        killed += disturbed.kills
        if len(killed) >= 12:
            break
    assert len(killed) >= 12
    assert {kill.victim for kill in killed} == {"run", "teacher", "student"}


@pytest.mark.skipif(not DEFAULT_STUDENT.is_dir(), reason="the default models are not there: make models")
def test_the_default_models_survive_kills_too(tmp_path: Path) -> None:
    changes = {"student__epochs": "1", "loop__iterations": "1", "teacher__attempts": "1"}
    calm = make_workspace(tmp_path / "calm", DEFAULT_TEACHER, DEFAULT_STUDENT, 6, **changes)
    finish(llm2llm(calm, "run"), calm)
    workspace = make_workspace(tmp_path / "w", DEFAULT_TEACHER, DEFAULT_STUDENT, 6, **changes)
    disturbed = disturb(workspace, units_done(calm), ["run", "student"], random.Random(4))
    assert len(disturbed.kills) == 2
    assert compare(calm, disturbed) == []
