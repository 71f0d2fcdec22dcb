"""A fork takes over what its changes do not touch, and works the rest anew."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from comparison import differences
from endings import DONE, assert_refused
from workspaces import Workspace, add_run, copied, make_workspace

from llm2llm_local.loop.fingerprint import Fingerprint
from llm2llm_local.records import ReviewDecision
from llm2llm_local.store.fork import copy_stages, unchanged_stages
from llm2llm_local.store.wishes import add_review
from llm2llm_local.store.writer import Store

if TYPE_CHECKING:
    from tiny_models import TinyModels


@pytest.fixture
def workspace(finished_run: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the finished run, not forked yet."""
    return copied(finished_run, tmp_path / "workspace")


def created(workspace: Workspace, table: str, run_id: int, iteration: int) -> list[tuple[Any, ...]]:
    """When the rows were made: a row that was taken over keeps its time."""
    sql = f"SELECT created_at FROM {table} WHERE run_id = ? AND iteration = ? ORDER BY 1"
    return workspace.rows(sql, run_id, iteration)


def adapter(workspace: Workspace, run_id: int, iteration: int) -> dict[str, bytes]:
    """The files of a finished adapter, found as the store says."""
    ((path,),) = workspace.rows(
        "SELECT path FROM checkpoints WHERE run_id = ? AND iteration = ? AND path IS NOT NULL", run_id, iteration
    )
    return {file.name: file.read_bytes() for file in (workspace.folder / path).iterdir()}


@pytest.mark.model
def test_a_fork_takes_over_what_a_changed_setting_does_not_touch(workspace: Workspace) -> None:
    ending = workspace.llm2llm("fork", "1", "--set", "checks.duplicate_threshold=0.9")
    assert ending.code == DONE, ending.err
    assert "run 2: 4 finished stages of run 1 taken over" in ending.err
    assert "iteration 0 check: 1 group\n" in ending.err
    assert "iteration 0 train" not in ending.err
    assert ending.out.startswith("run 2: done")
    assert workspace.rows("SELECT run_id, status, forked_from_run_id FROM runs") == [(1, "done", None), (2, "done", 1)]
    assert workspace.rows(
        "SELECT stage FROM stages WHERE run_id = 2 AND created_at < "
        "(SELECT created_at FROM runs WHERE run_id = 2) ORDER BY id"
    ) == [("train",), ("predict",), ("grade",), ("augment",)]
    for table in ("predictions", "checkpoints", "metrics", "teacher_calls"):
        assert created(workspace, table, 2, 0) == created(workspace, table, 1, 0) != []
        assert created(workspace, table, 2, 1) != []
        assert set(created(workspace, table, 2, 1)).isdisjoint(created(workspace, table, 1, 1))
    assert adapter(workspace, 2, 0) == adapter(workspace, 1, 0)
    # With these models nothing is so similar that the threshold mattered: all that is left to differ is its value.
    found = differences(workspace.folder, 1, workspace.folder, 2)
    assert {line.partition(": ")[0] for line in found} == {"stages", "events"}, found


@pytest.mark.model
def test_a_fork_with_more_iterations_goes_on_where_the_run_ended(workspace: Workspace) -> None:
    ending = workspace.llm2llm("fork", "1", "--set", "loop.iterations=3", "--json")
    assert ending.code == DONE, ending.err
    ((n_stages,),) = workspace.rows("SELECT count(*) FROM stages WHERE run_id = 1")
    assert f"run 2: {n_stages} finished stages of run 1 taken over" in ending.err
    report = ending.json()
    assert (report["run_id"], report["status_detail"]) == (2, "finished after 3 rounds of augmentation")
    assert [row["iteration"] for row in report["iterations"]] == [0, 1, 2, 3]
    before = workspace.llm2llm("report", "1", "--json").json()["iterations"]
    assert report["iterations"][:2] == before[:2]
    for n in (0, 1, 2):
        assert adapter(workspace, 2, n) == adapter(workspace, 1, n)
    assert adapter(workspace, 2, 3).keys() == adapter(workspace, 1, 2).keys()
    ids = "SELECT max(example_id) FROM lineage WHERE run_id = ? AND failed_iteration < 2"
    newest = {run_id: workspace.rows(ids, run_id)[0][0] for run_id in (1, 2)}
    one, other = (workspace.llm2llm("lineage", str(example), "--json").json() for example in newest.values())
    for record in (*one, *other):
        for name in ("example_id", "run_id", "candidate_id", "teacher_call_id", "parent_example_id"):
            record.pop(name, None)
        record["trained_iterations"] = [n for n in record["trained_iterations"] if n < 3]
    assert one == other


@pytest.mark.model
def test_a_fork_after_a_review_trains_the_last_student_without_what_was_rejected(workspace: Workspace) -> None:
    ((candidate, question),) = workspace.rows(
        "SELECT candidate_id, question FROM examples WHERE run_id = 1 AND origin = 'augmented' ORDER BY id LIMIT 1"
    )
    add_review(workspace.folder, 1, candidate, ReviewDecision.REJECT)
    ending = workspace.llm2llm("fork", "1")
    assert ending.code == DONE, ending.err
    assert "the last student is trained anew, with what you decided in the review since" in ending.err
    trained = (
        "SELECT count(*) FROM training_set_examples t JOIN examples e ON e.id = t.example_id "
        "WHERE t.run_id = ? AND e.question = ? AND t.iteration = (SELECT max(iteration) FROM iterations)"
    )
    assert [workspace.rows(trained, run_id, question) for run_id in (1, 2)] == [[(1,)], [(0,)]]
    assert adapter(workspace, 2, 1) == adapter(workspace, 1, 1)
    assert adapter(workspace, 2, 2) != adapter(workspace, 1, 2)


@pytest.mark.model
def test_a_fork_with_fewer_iterations_ends_after_them(workspace: Workspace) -> None:
    ending = workspace.llm2llm("fork", "1", "--set", "loop.iterations=1")
    assert ending.code == DONE, ending.err
    assert "run 2: done" in ending.out and "after 1 round" in ending.out
    assert workspace.rows("SELECT DISTINCT iteration FROM stages WHERE run_id = 2 ORDER BY 1") == [(0,), (1,)]
    assert adapter(workspace, 2, 1) == adapter(workspace, 1, 1)


@pytest.mark.model
@pytest.mark.parametrize(
    ("field", "value", "stages"),
    [
        ("student.epochs", 2, []),
        ("hardware.threads", 2, []),
        ("data.test", "0" * 64, []),
        ("task.labels", ["person", "place", "number", "reason"], []),
        ("student.max_new_tokens", 9, ["train"]),
        ("teacher.temperature", 0.5, ["train", "predict", "grade"]),
        ("task.instruction", "Sort them.", ["train", "predict", "grade"]),
        ("loop.augmentations_per_failure", 2, ["train", "predict", "grade"]),
        ("checks.leak_threshold", 0.9, ["train", "predict", "grade", "augment"]),
        ("loop.iterations", 9, None),
    ],
)
def test_what_a_fork_takes_over_depends_on_what_changed(
    workspace: Workspace, field: str, value: Any, stages: list[str] | None
) -> None:
    """All stages of the first iteration that read the field are done anew, and everything after them."""
    every = [row[0] for row in workspace.rows("SELECT stage FROM stages WHERE run_id = 1 ORDER BY id")]
    with Store(workspace.folder) as store, store.transaction():
        fork = add_run(store)
        store.execute(
            "INSERT INTO examples (run_id, key, split, origin, question, answer, source, line, created_at) "
            "SELECT ?, key, split, origin, question, answer, source, line, '' FROM examples WHERE origin = 'seed'",
            [fork.run_id],
        )
        fields = store.run(1).fingerprint_fields
        assert fields[field] != value
        unchanged = unchanged_stages(store, 1, Fingerprint({**fields, field: value}))
        copy_stages(store, 1, fork.run_id, unchanged)
    copied_stages = [row[0] for row in workspace.rows("SELECT stage FROM stages WHERE run_id = 2 ORDER BY id")]
    assert copied_stages == (every if stages is None else stages)
    assert len(unchanged) == len(copied_stages)
    for table, stage in (("predictions", "predict"), ("teacher_calls", "augment"), ("verdicts", "check")):
        assert bool(created(workspace, table, 2, 0)) == (stage in copied_stages), table


@pytest.mark.model
def test_a_fork_whose_adapter_is_gone_says_so(workspace: Workspace) -> None:
    """Adapters are large; people delete those of old runs."""
    shutil.rmtree(workspace.folder / "runs" / "1" / "iteration-0")
    ending = workspace.llm2llm("fork", "1", "--set", "loop.iterations=1")
    assert (ending.code, workspace.n_runs()) == (DONE, 2), ending.err
    assert "run 2: 0 finished stages of run 1 taken over" in ending.err
    assert "iteration 0 train: 2 segments" in ending.err
    assert sorted(adapter(workspace, 2, 0)) == ["adapter_config.json", "adapter_model.safetensors"]


@pytest.mark.model
def test_a_fork_that_was_killed_does_not_stand_in_the_way_of_the_next(workspace: Workspace) -> None:
    """It copies adapters before its rows are committed, so that the next run gets the same number."""
    left = workspace.folder / "runs" / "2" / "iteration-0" / "adapter"
    shutil.copytree(workspace.folder / "runs" / "1" / "iteration-0" / "adapter", left)
    ending = workspace.llm2llm("fork", "1")
    assert (ending.code, workspace.n_runs()) == (DONE, 2), ending.err
    assert adapter(workspace, 2, 0) == adapter(workspace, 1, 0)


@pytest.mark.model
def test_a_fork_of_another_workspaces_configuration_is_refused(
    workspace: Workspace, tiny_models: TinyModels, tmp_path: Path
) -> None:
    other = make_workspace(tmp_path / "other", tiny_models)
    ending = workspace.llm2llm("fork", "1", other.config)
    assert_refused(ending, "lies in another workspace than run 1", "beside the store, or none")
    assert workspace.n_runs() == 1
