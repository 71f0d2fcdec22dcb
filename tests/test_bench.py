"""`llm2llm bench` as a user calls it, on sizes that take no time; the benchmarks of the store."""

from __future__ import annotations

import json
import re
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from subprocess import PIPE
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from workspaces import COMMAND, PATIENCE_SECONDS, Ending, Workspace, wait_for, without_rights_over_files

from llm2llm_local.bench.history import PREDICTIONS_PER_RUN, grow_history
from llm2llm_local.bench.output import KEPT
from llm2llm_local.bench.plan import Comparison
from llm2llm_local.bench.store import QUERIES, HistoryCase, WriteCase, a_commit_per_row, one_transaction_per_unit
from llm2llm_local.bench.store import parts as store_parts
from llm2llm_local.bench.subjects import SUBJECTS, VERIFICATION, Request, run_benchmark
from llm2llm_local.errors import UserInputError
from llm2llm_local.records import Split
from llm2llm_local.report.curves import accuracies
from llm2llm_local.report.failures import failures_of
from llm2llm_local.report.lineage import lineage_of
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.writer import Store

if TYPE_CHECKING:
    from tiny_models import TinyModels

SMALL = ("--repeats", "1", "--size", "units=2", "--size", "unit_rows=3", "--grow", "10000,20000,10000")
TWO_QUERIES = """
import sys

from llm2llm_local.bench import store
from llm2llm_local.cli import main

store.QUERIES = store.QUERIES[:2]
sys.exit(main())
"""


def bench_store(workspace: Workspace, *arguments: str, before_exec: Callable[[], None] | None = None) -> Ending:
    """The command with two of its queries, since each is asked in a process of its own; below, all are asked."""
    return workspace.run(sys.executable, "-c", TWO_QUERIES, "bench", "store", *arguments, before_exec=before_exec)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


# --- the command ------------------------------------------------------------------------------------------------------


def test_without_a_subject_it_says_what_there_is(workspace: Workspace) -> None:
    ending = workspace.llm2llm("bench")
    assert ending.code == 0
    assert [line.split()[0] for line in ending.out.splitlines()] == [*SUBJECTS, VERIFICATION]


def test_the_store_is_measured_and_nothing_is_left_behind(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = workspace.folder / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    ending = bench_store(workspace, "--json", *SMALL)
    assert ending.code == 0, ending.err
    document = ending.json()
    assert document["benchmark"] == "store"
    assert ending.err.count("predictions 10,000\n") == 1  # asked for twice, measured once
    (writing,) = document["comparisons"]
    assert [one["not_run"] for one in writing["contenders"]] == [None, None]
    assert writing["contenders"][0]["repeats"][0]["counts"] == {"predictions": 6.0}
    (series,) = document["series"]
    assert [one["size"] for one in series["at"]] == [10_000, 20_000]
    assert all(contender["not_run"] is None for one in series["at"] for contender in one["contenders"])
    small, large = (one["bytes of the file"] for one in series["figures"])
    assert small < large < 3 * small
    for one in (writing, series):  # where a history would lie, whatever disk TMPDIR is on
        assert Path(one["case"]["folder"]).is_relative_to(workspace.folder)
        assert re.search(r"\bon \w+ at /", one["note"])
    assert list(scratch.iterdir()) == []
    assert "repeat 1 of 1" in ending.err  # progress, and not in the JSON
    assert [path.name for path in workspace.folder.iterdir()] == ["scratch"]


def test_what_was_measured_is_kept_when_the_call_is_ended(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while the second of its two parts is measured."""
    kept = workspace.folder / "kept.json"
    monkeypatch.setenv(KEPT, str(kept))
    monkeypatch.setenv("TMPDIR", str(workspace.folder))
    command: list[str | Path] = [COMMAND, "bench", "store", *SMALL[:-1], "10000000"]
    with subprocess.Popen(command, cwd=workspace.folder, stderr=subprocess.DEVNULL) as process:
        wait_for(kept.exists)
        process.kill()
    document = json.loads(kept.read_text())
    assert [one["title"] for one in document["comparisons"]] == ["writing predictions"]
    assert document["comparisons"][0]["contenders"][0]["repeats"][0]["counts"] == {"predictions": 6.0}
    assert document["series"] == []


def test_what_can_no_longer_be_kept_is_said_and_all_is_measured_and_printed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's folder goes after the first of the parts."""
    kept = workspace.folder / "there" / "kept.json"
    kept.parent.mkdir()
    monkeypatch.setenv(KEPT, str(kept))
    command: list[str | Path] = [sys.executable, "-c", TWO_QUERIES, "bench", "store", *SMALL]
    with subprocess.Popen(command, cwd=workspace.folder, stdout=PIPE, stderr=PIPE, text=True) as process:
        wait_for(kept.exists)
        kept.parent.rename(workspace.folder / "gone")
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert "writing predictions: " in out and "the store as it grows: " in out
    said = f"{KEPT}={kept}: lacks what was measured last: No such file or directory"
    assert f"\nwarning: {said}\n" in err and err.endswith(f"\nllm2llm: {said}\n") and "Traceback" not in err
    (document,) = (json.loads(one.read_text()) for one in (workspace.folder / "gone").iterdir())
    assert len(document["comparisons"]) == 1 and document["series"] == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere/kept.json", "No such file or directory"),
        ("closed/kept.json", "Permission denied"),
        ("closed", "Is a directory"),
    ],
)
def test_where_nothing_can_be_kept_nothing_is_measured(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    (workspace.folder / "closed").mkdir(mode=0o500)
    monkeypatch.setenv(KEPT, name)
    ending = workspace.llm2llm("bench", "store", *SMALL, before_exec=without_rights_over_files)
    assert (ending.code, ending.out) == (2, "")
    assert f"{KEPT}={name}: can't be written: {said}" in ending.err and "is prepared" not in ending.err
    assert [path.name for path in workspace.folder.iterdir()] == ["closed"]


@pytest.mark.parametrize(
    ("ends", "ignored"),
    [
        ((signal.SIGTERM,), False),
        ((signal.SIGHUP, signal.SIGHUP, signal.SIGTERM), False),  # as where a terminal is closed
        ((signal.SIGHUP, signal.SIGTERM), True),
    ],
    ids=["SIGTERM", "SIGHUP", "nohup"],
)
def test_a_call_that_is_ended_leaves_nothing_behind(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, ends: tuple[signal.Signals, ...], ignored: bool
) -> None:
    """While its store grows."""
    scratch = workspace.folder / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    command: list[str | Path] = [COMMAND, "bench", "store", *SMALL[:-1], "10000000"]
    hang_up = signal.SIG_IGN if ignored else signal.SIG_DFL
    with subprocess.Popen(
        command,
        cwd=workspace.folder,
        stderr=PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGHUP, hang_up),
    ) as process:
        wait_for(lambda: any(one.stat().st_size > 10_000_000 for one in workspace.folder.rglob("llm2llm.db")))
        for end in ends:
            process.send_signal(end)
            if ignored and end is signal.SIGHUP:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(timeout=1)
        _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert err.endswith("llm2llm: interrupted\n") and "Traceback" not in err
    assert [path.name for path in workspace.folder.rglob("*")] == ["scratch"]


def test_one_alternative_can_be_asked_for(workspace: Workspace) -> None:
    ending = workspace.llm2llm("bench", "store", "--against", "commit-per-row", *SMALL[:-2])
    assert ending.code == 0, ending.err
    assert "commit-per-row" in ending.out and "as it grows" not in ending.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "bench nothing: there is no such benchmark"),
        (["store", "--against", "nobody"], "There is: commit-per-row"),
        (["store", "--size", "lines=3"], "There is: predictions, unit_rows, units"),
        (["store", "--size", "units"], "expected NAME=NUMBER"),
        (["store", "--grow", "10,many"], "expected numbers with commas between"),
        (["store", "--grow", "0,10"], "--grow: a size is 1 at least"),
        (["store", "--grow", "10000,12345"], "--grow 12345: not a multiple of 10,000, by which predictions grow"),
        (["store", "--grow", "10000,12345"], "The nearest is 10000."),
        (["store", "--grow", "1"], "The nearest is 10000."),
        (["store", "--size", "predictions=20000"], "--size predictions: this is what grows"),
        (["store", "--repeats", "0"], "0 is not in the range"),
        (["store", "--repeats", "two"], "'two' is not a valid integer.\n"),
        (["store", "--size", "units=nan"], "--size units=nan: must be a number above 0"),
        (["checks", "--size", "threshold=1.5"], "--size threshold=1.5: a similarity is 1 at most"),
        (["--json"], "--json: this call measures nothing"),
        (["--plot", "bench.svg", "--repeats", "3", "store.json"], "--repeats: this call measures nothing"),
        (["teacher", "--teacher", "test_bench.json"], "test_bench.json: no such model"),
        (["teacher", "--teacher", "not.gguf"], "not.gguf: not a GGUF file"),
        (["teacher", "--teacher", "."], ".: "),
        (["student", "--student", "."], "no config.json in this folder"),
        (["store", "checks"], "one at a time"),
        (["store", "--data", "x"], "--data: bench store doesn't read it"),
    ],
)
def test_what_there_is_not_is_refused_before_anything_is_measured(
    workspace: Workspace, arguments: list[str], said: str
) -> None:
    (workspace.folder / "not.gguf").write_text("a text" * 100)
    ending = workspace.llm2llm("bench", *arguments)
    assert (ending.code, ending.out) == (2, "")
    assert said in ending.err and "is prepared" not in ending.err and "Traceback" not in ending.err


@pytest.mark.parametrize(
    ("subject", "options"),
    [
        ("teacher", {"teacher", "grow"}),
        ("student", {"student", "data", "grow"}),
        ("loop", {"teacher", "student"}),
        ("checks", {"grow"}),
        ("gpu", {"teacher", "student"}),
        ("store", {"grow"}),
    ],
)
def test_an_option_that_a_subject_doesnt_read_is_refused_with_those_it_does(
    tmp_path: Path, subject: str, options: set[str]
) -> None:
    takes = ", ".join(f"--{name}" for name in ("teacher", "student", "data", "grow") if name in options)
    for name in {"teacher", "student", "data", "grow"} - options:
        given: dict[str, Any] = {name: (10_000,) if name == "grow" else tmp_path}
        with pytest.raises(UserInputError, match=f"--{name}: bench {subject} doesn't read it") as refused:
            run_benchmark(Request(subject, tmp_path, **given), tell=pytest.fail)
        assert refused.value.remedy.startswith(f"It takes: {takes}, --against")


@pytest.mark.model
@pytest.mark.parametrize(
    ("size", "said"),
    [
        ("n_parallel=300", "--size n_parallel=300: 255 is the most at once"),
        ("min_p=2", "--size min_p=2: a probability is 1 at most"),
        ("prefix_words=3000", "a text of about 3820 tokens; it can have 2048"),
    ],
)
def test_sizes_that_a_teacher_cant_have_are_refused_before_anything_is_measured(
    workspace: Workspace, tiny_models: TinyModels, size: str, said: str
) -> None:
    ending = workspace.llm2llm("bench", "teacher", "--teacher", tiny_models.teacher, "--size", size)
    assert (ending.code, ending.out) == (2, "")
    assert said in ending.err and "is prepared" not in ending.err and "Traceback" not in ending.err


@pytest.mark.model
@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (None, "--data .: there is no train.jsonl"),
        ('{"question": "Who?"}', "train.jsonl:1: no column"),
        (
            '{"question": "Who?", "answer": "person"}',
            "train.jsonl: the seeds have 1 different answers; classification needs 2 to 200",
        ),
    ],
)
def test_data_that_cant_be_used_is_refused_before_anything_is_measured(
    workspace: Workspace, tiny_models: TinyModels, rows: str | None, said: str
) -> None:
    if rows is not None:
        for name in ("train.jsonl", "test.jsonl"):
            (workspace.folder / name).write_text(rows)
    ending = workspace.llm2llm("bench", "student", "--student", tiny_models.student, "--data", ".")
    assert (ending.code, ending.out) == (2, "")
    assert said in ending.err and "is prepared" not in ending.err


def test_what_runs_no_model_asks_no_configuration(workspace: Workspace) -> None:
    (workspace.folder / "llm2llm.toml").write_text("task.family = 3")
    ending = bench_store(workspace, *SMALL)
    assert ending.code == 0, ending.err


@pytest.mark.parametrize(("folder", "said"), [("closed", "Permission denied"), ("nowhere", "No such file")])
def test_where_no_history_can_lie_no_store_is_measured(workspace: Workspace, folder: str, said: str) -> None:
    (workspace.folder / "closed").mkdir(mode=0o500)
    ending = workspace.llm2llm("-C", folder, "bench", "store", before_exec=without_rights_over_files)
    assert (ending.code, ending.out) == (2, "")
    assert f"{folder}: bench store writes where histories lie, and can't here: {said}" in ending.err
    assert "is prepared" not in ending.err and "Traceback" not in ending.err


def test_the_disk_is_that_on_top_of_the_nearest_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = [("ext4", "/"), ("xfs", str(tmp_path)), ("tmpfs", str(tmp_path)), ("nfs", f"{tmp_path}/else")]
    partitions = [SimpleNamespace(fstype=kind, mountpoint=place) for kind, place in mounts]
    monkeypatch.setattr("psutil.disk_partitions", lambda all: partitions)
    comparison = store_parts(tmp_path)[0]
    assert isinstance(comparison, Comparison) and comparison.note == f"on tmpfs at {tmp_path}"


def test_where_the_disk_is_full_what_could_be_measured_is_told(workspace: Workspace) -> None:
    """A small store can be written, a larger one can't: here, since files may not grow beyond that."""
    ending = bench_store(workspace, *SMALL, before_exec=partial(no_file_above, 4_000_000))
    assert ending.code == 0 and "Traceback" not in ending.err
    (line,) = {line for line in ending.out.splitlines() if line.startswith("predictions 20,000: status of a run: ")}
    assert "not run: " in line and "llm2llm.db: " in line and "llm2llm -C FOLDER bench store" in line
    nothing = bench_store(workspace, *SMALL, before_exec=partial(no_file_above, 40_000))
    assert nothing.code == 1 and "Traceback" not in nothing.err
    assert nothing.err.endswith("llm2llm: nothing could be measured: see what is told of each as not run\n")
    assert nothing.out.count("not run: ") == 2 + 2 * 2


def no_file_above(n_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))


# --- the store --------------------------------------------------------------------------------------------------------


def test_a_history_grows_by_whole_runs_and_keeps_what_it_has(tmp_path: Path) -> None:
    grow_history(tmp_path, PREDICTIONS_PER_RUN)
    first = rows(tmp_path, "SELECT * FROM predictions WHERE run_id = 1")
    grow_history(tmp_path, 2 * PREDICTIONS_PER_RUN)
    assert rows(tmp_path, "SELECT count(*) FROM predictions") == [(2 * PREDICTIONS_PER_RUN,)]
    assert rows(tmp_path, "SELECT * FROM predictions WHERE run_id = 1") == first
    assert rows(tmp_path, "PRAGMA foreign_key_check") == []


def test_reports_can_read_a_history(tmp_path: Path) -> None:
    grow_history(tmp_path, PREDICTIONS_PER_RUN)
    with open_reader(tmp_path) as connection:
        newest = max(iteration for iteration, _ in accuracies(connection, 1)[Split.TRAIN])
        failures = failures_of(connection, 1, None)
        assert {failure["iteration"] for failure in failures} == {newest}
        accuracy = dict(accuracies(connection, 1)[Split.TRAIN])[newest]
        assert accuracy.n - accuracy.n_correct == len(failures) > 0
        augmented = connection.execute("SELECT max(id) FROM examples WHERE origin = 'augmented'").fetchone()[0]
        assert [one["origin"] for one in lineage_of(connection, augmented)] == ["augmented", "seed"]


def test_the_metrics_of_a_history_are_those_of_its_predictions(tmp_path: Path) -> None:
    grow_history(tmp_path, PREDICTIONS_PER_RUN)
    metrics = rows(tmp_path, "SELECT iteration, name, value FROM metrics ORDER BY iteration, name")
    predictions = "SELECT iteration, 'accuracy_' || split, avg(is_correct) FROM predictions GROUP BY 1, 2 ORDER BY 1, 2"
    assert metrics == rows(tmp_path, predictions) and len(metrics) == 20


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: str(query.__name__))
def test_each_query_answers(tmp_path: Path, query: object) -> None:
    assert callable(query)
    grow_history(tmp_path, PREDICTIONS_PER_RUN)
    assert query(HistoryCase(tmp_path, PREDICTIONS_PER_RUN))() == {"queries": 1}


def test_both_ways_of_writing_write_the_same(tmp_path: Path) -> None:
    case = WriteCase(tmp_path, units=2, unit_rows=3)
    for prepare in (one_transaction_per_unit, a_commit_per_row):
        repeat = prepare(case)
        assert repeat() == repeat() == {"predictions": 6}
    columns = "iteration, example_id, split, output_text, predicted_answer, outcome, is_correct, confidence"
    of_units = rows(tmp_path / "unit", f"SELECT {columns} FROM predictions ORDER BY id")
    assert of_units == rows(tmp_path / "row", f"SELECT {columns} FROM predictions ORDER BY id")
    assert len(of_units) == 12
    assert rows(tmp_path / "unit", "SELECT units_done FROM stages") == [(2,), (2,)]


def test_ways_of_writing_differ_in_their_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = WriteCase(tmp_path, units=2, unit_rows=3)
    n_commits = []
    for prepare in (one_transaction_per_unit, a_commit_per_row):
        commits = 0
        transaction = Store.transaction

        def counted(store: Store) -> object:
            nonlocal commits
            commits += 1
            return transaction(store)  # noqa: B023

        with monkeypatch.context() as patch:
            patch.setattr(Store, "transaction", counted)
            repeat = prepare(case)
            commits = 0
            repeat()
        n_commits.append(commits)
    assert n_commits == [3, 6]  # the stage's opening, and each unit; or each row


def rows(folder: Path, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(folder / "llm2llm.db")
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()
