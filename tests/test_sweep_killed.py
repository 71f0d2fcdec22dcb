"""Real sweeps with the tiny models: mistakes are found first, and what is killed goes on to its end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from endings import DONE, FAILED, assert_refused
from workspaces import SEEDS, Workspace, make_workspace, wait_for

if TYPE_CHECKING:
    from tiny_models import TinyModels

pytestmark = pytest.mark.model

GRID = ("--recipes", "fine_tune_matched,fine_tune,llm2llm", "--seeds", "6", "--vary", "checks.doubt=drop,keep")
"""Five cells: what becomes of doubtful candidates makes no difference to trainings on the seeds alone, but for how many
steps they are to match; and as there are none here, it comes to as many.
"""


@pytest.fixture
def workspace(tiny_models: TinyModels, tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path / "workspace", tiny_models, {"loop.iterations": "1"})


def test_a_killed_sweep_goes_on_and_works_each_cell_once(workspace: Workspace) -> None:
    sweep = workspace.start("sweep", *GRID)
    workspace.wait_until("running", run_id=2)
    wait_for(lambda: workspace.rows("SELECT 1 FROM stages WHERE run_id = 2 AND stage = 'augment'") != [])
    sweep.kill()
    sweep.wait()
    assert [status for (status,) in workspace.rows("SELECT status FROM runs ORDER BY run_id")] == ["done", "running"]

    dry = workspace.llm2llm("sweep", *GRID, "--dry-run", "--json")
    assert dry.err.count("warning: checks.doubt = drop changes nothing here") == 1  # as a run says of itself
    planned = dry.json()["cells"]
    assert [(cell["recipe"], cell["values"]["checks.doubt"], cell["state"]) for cell in planned] == [
        ("fine_tune", None, "done"),
        ("llm2llm", "drop", "interrupted"),
        ("fine_tune_matched", "drop", "waits"),
        ("llm2llm", "keep", "new"),
        ("fine_tune_matched", "keep", "waits"),
    ]

    ending = workspace.llm2llm("sweep", *GRID, "--json")
    assert ending.code == DONE, ending.err
    assert "sweep: 5 cells, 1 of them done" in ending.err
    assert "cell 2 of 5: recipe llm2llm, 6 seeds, rng seed 0, checks.doubt=drop → run 2 goes on" in ending.err
    runs = workspace.rows(
        """SELECT status, json_extract(config, '$."loop.recipe"'), forked_from_run_id FROM runs ORDER BY run_id"""
    )
    assert runs == [
        ("done", "fine_tune", None),
        ("done", "llm2llm", 1),  # the student on the seeds alone is trained once
        ("done", "fine_tune_matched", None),
        ("done", "llm2llm", 2),
    ]
    ((steps, of_match),) = workspace.rows(
        "SELECT max(step), (SELECT max(step) FROM checkpoints WHERE run_id = 2 AND iteration = 1) "
        "FROM checkpoints WHERE run_id = 3"
    )
    assert steps == of_match
    groups = ending.json()["groups"]
    assert [(group["recipe"], group["n_seeds"], group["run_ids"]) for group in groups] == [
        ("fine_tune_matched", 6, [3]),
        ("fine_tune_matched", 6, [3]),
        ("fine_tune", 6, [1]),
        ("llm2llm", 6, [2]),
        ("llm2llm", 6, [4]),
    ]

    again = workspace.llm2llm("sweep", *GRID)
    assert (again.code, again.err) == (DONE, "sweep: 5 cells, 5 of them done\n")
    assert workspace.n_runs() == 4


def test_every_mistake_is_found_before_anything_begins(workspace: Workspace) -> None:
    for arguments, words in (
        (("--seeds", f"6,{len(SEEDS) + 1}"), (f"--seeds {len(SEEDS) + 1}: ", f"has {len(SEEDS)} rows")),
        (("--recipes", "eda,edda"), ('loop.recipe = "edda"', "with recipe edda")),
        (("--vary", "loop.iteration=1,2"), ("loop.iteration: unknown key; did you mean loop.iterations?",)),
        (("--vary", "student.epochs=1,0"), ("student.epochs = 0", "(with 0)")),
        (("--recipes", "fine_tune_matched,eda"), ("there is none to take them from", "Add llm2llm to --recipes")),
        (("--recipes", "fine_tune_matched", "--set", "loop.match_run=3"), ("loop.match_run = 3: there are no runs",)),
        (("--vary", "teacher.model=none.gguf,nor.gguf"), ("none.gguf: no such file", "nor.gguf: no such file")),
    ):
        assert_refused(workspace.llm2llm("sweep", *arguments), *words)
    assert not workspace.store.exists()


def test_a_cell_that_fails_leaves_the_others_alone_and_is_told_at_the_end(workspace: Workspace) -> None:
    """Too long for the student: found once its tokenizer is loaded, so not before the first run."""
    ending = workspace.llm2llm("sweep", "--vary", "student.max_length=8,128", "--set", "loop.recipe=fine_tune")
    assert ending.code == FAILED
    assert "1 of 2 cells have no result:" in ending.err
    assert "cell 1 of 2: recipe fine_tune, 9 seeds, rng seed 0, student.max_length=8: " in ending.err
    assert "Traceback" not in ending.err
    assert workspace.rows("SELECT status FROM runs") == [("done",)]
    lines = [line.split()[:5] for line in ending.out.splitlines()]
    assert ["fine_tune", "9", "8", "0", "of"] in lines
    assert ["fine_tune", "9", "128", "1", "of"] in lines
