"""Commands that look at a run tell what its store has, and all in the same figures."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import pytest
from endings import DONE
from workspaces import SEEDS, Workspace, add_run, without_rights_over_files

from llm2llm_local.records import Status
from llm2llm_local.store.writer import Store

TRAINING_SET_SIZE = "SELECT count(*) FROM training_set_examples WHERE run_id = 1 AND iteration = ?"


@pytest.mark.model
def test_a_run_prints_its_table_to_stdout_and_its_progress_to_stderr(finished_run: Workspace) -> None:
    out, err = (finished_run.folder / "out.txt").read_text(), finished_run.error_output()
    assert out.startswith("run 1: done  teacher tiny F32, student tiny nf4\nfinished after 2 rounds of augmentation\n")
    assert [line.split()[:2] for line in out.splitlines() if re.match(r" +\d ", line)][:3] == [
        ["0", str(len(SEEDS))],
        *([str(n), str(finished_run.rows(TRAINING_SET_SIZE, n)[0][0])] for n in (1, 2)),
    ]
    for line in ("iteration 0 train: 2 segments", "iteration 2 grade: 3 splits", "run 1 finished after 2 rounds"):
        assert line in err
    progress = re.compile(r"^iteration \d+ \w+: \d+ \w+$|^\w+ loaded in ", re.MULTILINE)
    assert len(progress.findall(err)) > 10
    assert not progress.search(out)
    assert "\x1b" not in out + err
    assert "Warning" not in err


@pytest.mark.model
def test_what_a_run_writes_is_its_owners_alone(finished_run: Workspace) -> None:
    ours = list(finished_run.folder.glob("llm2llm.db*"))
    ours += [finished_run.folder / "runs", *(finished_run.folder / "runs").rglob("*")]
    assert len(ours) > 10
    open_to_others = {str(path): oct(path.stat().st_mode) for path in ours if stat.S_IMODE(path.stat().st_mode) & 0o077}
    assert open_to_others == {}


def test_a_history_in_a_folder_that_can_only_be_read_is_read(history: Workspace) -> None:
    """An archive on a read-only medium, or another person's workspace."""
    history.folder.chmod(0o500)
    try:
        ending = history.llm2llm("status", "--json", before_exec=without_rights_over_files)
        if ending.code == 77:
            pytest.skip("rights can't be taken from this process")
        assert ending.code == DONE, ending.err
        assert [state["run_id"] for state in ending.json()] == [1]
    finally:
        history.folder.chmod(0o700)


@pytest.mark.model
def test_status_tells_of_the_finished_run(finished_run: Workspace) -> None:
    for arguments in ([], ["1"]):
        lines = finished_run.llm2llm("status", *arguments).out.splitlines()
        assert re.fullmatch(r"run 1  done  test \d+\.\d%  \d+ \w+ ago", lines[0])
        assert lines[1:] == ["    finished after 2 rounds of augmentation"]
    (state,) = finished_run.llm2llm("status", "1", "--json").json()
    assert (state["state"], state["pid"], state["iteration"], state["iterations"]) == ("done", None, 2, 2)
    (accuracy,) = finished_run.rows(
        "SELECT accuracy FROM accuracy_by_iteration WHERE run_id = 1 AND iteration = 2 AND split = 'test'"
    )
    assert state["test_accuracy"] == accuracy[0]


def test_a_failed_run_is_shown_with_its_reason(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_run(store, status=Status.FAILED, status_detail="the disk is full")
    ending = Workspace(tmp_path).llm2llm("status", "1")
    assert ending.out.splitlines()[1:] == ["    the disk is full", "    continue it: llm2llm resume 1"]


@pytest.mark.model
def test_a_report_is_what_the_run_ended_with(finished_run: Workspace) -> None:
    ending = finished_run.llm2llm("report")
    assert (ending.code, ending.err) == (DONE, "")
    assert ending.out == (finished_run.folder / "out.txt").read_text()
    report = finished_run.llm2llm("report", "1", "--json").json()
    assert (report["status"], report["teacher"], report["student"]) == ("done", "tiny F32", "tiny nf4")
    for row in report["iterations"]:
        n = row["iteration"]
        (failures,) = finished_run.rows("SELECT count(*) FROM failures WHERE run_id = 1 AND iteration = ?", n)
        assert row["failures"] == failures[0]
        assert row["training_examples"] == finished_run.rows(TRAINING_SET_SIZE, n)[0][0]
        assert {"train", "predict"} <= row["seconds"].keys()
        test = row["accuracy"]["test"]
        assert 0 <= test["low"] <= test["n_correct"] / test["n"] <= test["high"] <= 1
    assert [row["iteration"] for row in report["iterations"]] == [0, 1, 2]


@pytest.mark.model
def test_failures_are_those_of_the_newest_student_or_of_the_one_asked_for(finished_run: Workspace) -> None:
    expected = finished_run.rows(
        "SELECT iteration, example_id, question, answer, predicted_answer FROM failures WHERE run_id = 1 ORDER BY 1, 2"
    )
    assert expected
    listed = []
    for n in (0, 1, 2):
        listed += finished_run.llm2llm("failures", "1", "--iteration", str(n), "--json").json()
    keys = ("iteration", "example_id", "question", "answer", "predicted_answer")
    assert [tuple(row[key] for key in keys) for row in listed] == expected
    newest = finished_run.llm2llm("failures", "--json").json()
    assert newest == [row for row in listed if row["iteration"] == 2]
    of_the_first = [row for row in listed if row["iteration"] == 0]
    lines = finished_run.llm2llm("failures", "1", "--iteration", "0").out.splitlines()
    assert lines[0].startswith(f"iteration 0: {len(of_the_first)} failures")
    assert all(row["question"] in line for row, line in zip(of_the_first, lines[1:], strict=True))


# --- lineage ---


@pytest.fixture(scope="module")
def augmented(finished_run: Workspace) -> int:
    """The id of an accepted example of the finished run."""
    rows = finished_run.rows("SELECT min(example_id) FROM lineage WHERE first_trained_iteration IS NOT NULL")
    assert rows[0][0] is not None, "the tiny teacher wrote nothing that was accepted"
    assert isinstance(rows[0][0], int)
    return rows[0][0]


@pytest.mark.model
def test_lineage_goes_to_the_prompt_and_the_models_hash(finished_run: Workspace, augmented: int) -> None:
    chain = finished_run.llm2llm("lineage", str(augmented), "--json").json()
    assert [record["origin"] for record in chain] == ["augmented", "seed"]
    made, seed = chain
    (sha256,) = finished_run.rows("SELECT sha256 FROM models WHERE kind = 'gguf'")
    assert made["model_sha256"] == sha256[0]
    assert len(sha256[0]) == 64
    assert seed["question"] in json.loads(made["prompt"])
    assert [verdict["verdict"] for verdict in made["verdicts"]] == ["accept"] * 3
    assert [verdict["check_name"] for verdict in made["verdicts"]] == ["format", "duplicate", "leak"]
    assert min(made["trained_iterations"]) == made["first_trained_iteration"] == made["failed_iteration"] + 1
    assert (seed["source"], seed["trained_iterations"]) == ("train.jsonl", [0, 1, 2])
    assert SEEDS[seed["line"] - 1] == (seed["question"], seed["answer"])

    shown = finished_run.llm2llm("lineage", str(augmented)).out
    for text in (f"sha256 {sha256[0]}", f"    | - {seed['question']}", f"  question: {made['question']}"):
        assert text in shown
    assert f"from train.jsonl:{seed['line']}" in shown
    assert f"made for this one, which in iteration {made['failed_iteration']} the student answered" in shown


@pytest.mark.model
def test_lineage_of_a_seed_is_its_line(finished_run: Workspace) -> None:
    shown = finished_run.llm2llm("lineage", "1")
    assert shown.out.splitlines() == [
        "example 1 (seed, run 1)",
        f"  question: {SEEDS[0][0]}",
        f"  answer:   {SEEDS[0][1]}",
        "  trained in iterations: 0, 1, 2",
        "  from train.jsonl:1",
    ]
