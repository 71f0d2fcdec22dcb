"""`llm2llm bench verification`: what is read of a store, what comes of it, what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from audits import audit_row
from endings import DONE, assert_refused
from fakes import FakeStudent
from rich.console import Console
from workspaces import Workspace, add_run, copied, wait_for

from llm2llm_local.bench import verification
from llm2llm_local.bench.measured_run import read_run
from llm2llm_local.bench.verification import Request, VerificationReport, measure_verification
from llm2llm_local.bench.verification_output import print_verification, verification_document
from llm2llm_local.bench.worth import Part
from llm2llm_local.config import flatten
from llm2llm_local.config_file import parse_config
from llm2llm_local.errors import StoreError
from llm2llm_local.file_digest import folder_digest
from llm2llm_local.model_files.catalogue import content_hash
from llm2llm_local.records import (
    CheckVerdict,
    DataRow,
    Decision,
    FinishReason,
    NewExample,
    Rate,
    Reply,
    ReviewDecision,
    Split,
    Vote,
)
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.rows import TeacherCall
from llm2llm_local.store.run_store import RunStore
from llm2llm_local.store.verification import Subject
from llm2llm_local.store.wishes import add_review
from llm2llm_local.store.writer import Store

if TYPE_CHECKING:
    from tiny_models import TinyModels

ACCEPT, DOUBT, REJECT = Decision.ACCEPT, Decision.DOUBT, Decision.REJECT

# --- a store by hand --------------------------------------------------------------------------------------------------

LABELS = ("alpha", "beta", "gamma")
ROWS = [(f"row {n}", LABELS[n % 3]) for n in range(12)]
TESTS = [("row 0", "alpha"), ("row 4", "beta"), ("unknown", "gamma"), ("unheard", "beta")]
STUDENT_KNOWS = ("row 0", "row 1", "row 2")


@dataclass(frozen=True)
class Asked:
    """A candidate to be put into the store; without `verified` no verifier was asked."""

    question: str
    answer: str
    verified: tuple[Decision, float] | None
    form: Decision = ACCEPT


CANDIDATES = (
    Asked("row 1", "beta", (ACCEPT, 0.95)),  # right, and the student knows it
    Asked("row 4", "beta", (ACCEPT, 0.92)),  # right, and it doesn't
    Asked("row 7", "gamma", (ACCEPT, 0.9)),  # wrong
    Asked("row 5", "gamma", (DOUBT, 0.7)),  # right and hard
    Asked("row 8", "alpha", (REJECT, 0.2)),  # wrong
    Asked("row 2", "gamma", None, form=REJECT),  # never came so far
)


def settings(workspace: Workspace, student: Path, **changes: Any) -> dict[str, Any]:
    document: dict[str, dict[str, Any]] = {
        "task": {"family": "classification"},
        "data": {"train": "train.jsonl", "test": "test.jsonl", "sample": {"n": 6}},
        "teacher": {"model": "teacher.gguf"},
        "student": {"model": str(student), "batch_size": 4, "checkpoint_steps": 2, "predict_batch_size": 2},
        "hardware": {"device": "cpu", "threads": 1},
    }
    for name, value in changes.items():
        section, key = name.split("__")
        document.setdefault(section, {})[key] = value
    return flatten(parse_config(document, "test", workspace.folder))


def add_measured_run(
    store: Store, workspace: Workspace, student: Path, candidates: Sequence[Asked] = CANDIDATES, **changes: Any
) -> RunStore:
    """With an adapter of iteration 0 that knows STUDENT_KNOWS by heart."""
    config = settings(workspace, student, **changes)
    fields = {name: sha256(workspace.folder / f"{name[5:]}.jsonl") for name in ("data.train", "data.test")}
    fields["student.model"] = content_hash(student) if student.is_dir() else ""
    fields["student.compute_dtype"] = "float32"
    fields |= {name: config[name] for name in ("data.question_column", "data.answer_column")}
    run = add_run(
        store, config=json.dumps(config), fingerprint_fields=json.dumps(fields), labels=json.dumps(list(LABELS))
    )
    run.open_iteration(0)
    with run.transaction():
        run.add_data(Split.TRAIN, [DataRow(question, answer, "train.jsonl", 1) for question, answer in ROWS[:6]])
        parent = run.examples(Split.TRAIN)[0]
        for slot, one in enumerate(candidates):
            call = TeacherCall(parent.id, 0, slot, '"prompt"', "{}", 7, Reply("text", FinishReason.STOP, 1, 1, 0.1))
            key = f"augmented/0/{parent.key}/0.{slot}"
            run.candidates.add(0, 1, key, call, NewExample(one.question, one.answer), None)
            verdicts = [CheckVerdict("format", one.form, "", "", None)]
            if one.verified is not None:
                verdicts.append(CheckVerdict("verify", one.verified[0], "", "", one.verified[1]))
            run.candidates.decide(0, run.candidates.of_round(0, 0)[-1], verdicts)
        adapter = run.folder / "iteration-0" / "adapter"
        adapter.mkdir(parents=True)
        learnt = {f"Question: {question}\nAnswer:": f" {dict(ROWS)[question]}" for question in STUDENT_KNOWS}
        (adapter / "learnt.json").write_text(json.dumps(learnt))
        run.add_checkpoint(0, 4, 4, adapter, folder_digest(adapter), 10, 0.1)
    return run


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    found = Workspace(tmp_path / "workspace")
    found.folder.mkdir()
    found.write_rows("train.jsonl", ROWS)
    found.write_rows("test.jsonl", TESTS)
    return found


NOWHERE = Path("/nowhere")


def with_runs(workspace: Workspace, *runs: dict[str, Any], student: Path = NOWHERE) -> Workspace:
    with Store(workspace.folder) as store:
        for run in runs:
            add_measured_run(store, workspace, student, **run)
    return workspace


def test_candidates_are_those_that_verification_was_asked_about(workspace: Workspace) -> None:
    with_runs(workspace, {})
    with open_reader(workspace.folder) as connection:
        run = read_run(connection, workspace.folder, 1)
    assert [(one.question, one.decision, one.probability) for one in run.candidates] == [
        (one.question, *one.verified) for one in CANDIDATES if one.verified is not None
    ]
    assert (run.teacher, run.verifiers, list(run.adapters)) == ("tiny", ("teacher", "student"), [0])


def test_a_recipe_of_one_round_may_ask_for_more_than_a_file_can(workspace: Workspace) -> None:
    many = {"loop__recipe": "one_shot", "loop__iterations": 5, "loop__augmentations_per_failure": 50}
    with_runs(workspace, many)
    with open_reader(workspace.folder) as connection:
        assert len(read_run(connection, workspace.folder, 1).candidates) == 5


def test_a_persons_word_is_not_verifications(workspace: Workspace) -> None:
    with_runs(workspace, {})
    add_review(workspace.folder, 1, 1, ReviewDecision.REJECT)
    with Store(workspace.folder) as store:
        run = store.of_run(1)
        with run.transaction():
            (review,) = run.reviews.to_carry_out()
            run.reviews.carry_out(review, 1)
    assert workspace.rows("SELECT verdict FROM candidates WHERE id = 1") == [("reject",)]
    with open_reader(workspace.folder) as connection:
        assert read_run(connection, workspace.folder, 1).candidates[0].decision is ACCEPT


def test_a_run_without_verification_has_taken_all_that_the_other_checks_let_through(workspace: Workspace) -> None:
    taken = Asked("row 4", "beta", None), Asked("row 7", "gamma", None)
    refused = Asked("row 5", "gamma", None, form=REJECT)
    with_runs(workspace, {"candidates": (*taken, refused), "checks__verify": "off"})
    with open_reader(workspace.folder) as connection:
        run = read_run(connection, workspace.folder, 1)
    assert [(one.question, one.decision, one.probability) for one in run.candidates] == [
        ("row 4", ACCEPT, None),
        ("row 7", ACCEPT, None),
    ]
    assert run.verifiers == ()


# --- the whole, with students that aren't there -----------------------------------------------------------------------


@dataclass
class Measured:
    """A report, what `keep` heard, and the student that answered."""

    report: VerificationReport
    kept: list[int]
    told: list[str]
    student: FakeStudent


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Measured]:
    """Measures with one student in place of all processes: it answers as its adapter has learnt."""

    def measure(workspace: Workspace, *run_ids: int) -> Measured:
        student = FakeStudent(lambda example, segment: True)

        @contextmanager
        def lent(*_: object) -> Iterator[FakeStudent]:
            yield student

        monkeypatch.setattr(verification, "student_process", lent)
        kept: list[int] = []
        told: list[str] = []
        request = Request(workspace.folder, run_ids, workspace.folder / "judge")
        report = measure_verification(request, told.append, lambda one: kept.append(len(one.runs)))
        return Measured(report, kept, told, student)

    return measure


def test_candidates_are_judged_by_all_rows_and_hard_by_the_iterations_student(
    workspace: Workspace, tiny_models: TinyModels, measured: Callable[..., Measured]
) -> None:
    with_runs(workspace, {}, student=tiny_models.student)
    before = workspace.store.read_bytes()
    found = measured(workspace, 1)
    judge, (run,) = found.report.judge, found.report.runs
    assert (judge.rows, judge.epochs, judge.right) == (12, 3, Part(2, 4))
    assert {len(segment.examples) for segment in found.student.segments} == {12}  # not the six that are seeds
    worth = run.worth
    assert (worth.all, worth.accepted, worth.in_doubt, worth.rejected) == (
        Part(3, 5),
        Part(2, 3),
        Part(1, 1),
        Part(0, 1),
    )
    assert (worth.kept.right, worth.kept.hard, worth.kept.easy) == (Part(2, 3), Part(1, 2), Part(1, 1))
    assert [one.threshold for one in worth.at] == [0.5, 0.7, 0.8, 0.9, 0.95]
    assert [one.accepted for one in worth.at] == [Part(3, 4), Part(3, 4), Part(2, 3), Part(2, 3), Part(1, 1)]
    assert workspace.store.read_bytes() == before


def test_each_verifier_is_measured_as_if_it_had_decided_alone(
    workspace: Workspace, tiny_models: TinyModels, measured: Callable[..., Measured]
) -> None:
    """The teacher says yes to all that came so far, the student to what is right and easy."""
    with_runs(workspace, {"checks__accept_probability": 0.7}, student=tiny_models.student)
    with Store(workspace.folder) as store:
        run = store.of_run(1)
        rate = Rate(1.0, 0.5, 1.0)
        with run.transaction():
            for verifier in ("teacher", "student"):
                run.verification.add_audit(audit_row(verifier, true_accepts=rate, false_accepts=rate))
                for candidate in run.candidates.of_round(0, 0):
                    agrees = verifier == "teacher" or candidate.question == "row 1"
                    subject = Subject(candidate.answer or "", candidate_id=candidate.id)
                    run.verification.add_vote(0, subject, verifier, Vote("", {}, None, agrees, ""))
    (worth,) = (run.worth for run in measured(workspace, 1).report.runs)
    assert [(one.verifier, one.accepted, one.kept.hard) for one in worth.by] == [
        ("student", Part(1, 1), Part(0, 2)),
        ("teacher", Part(3, 5), Part(2, 2)),
        ("together", Part(3, 4), Part(2, 2)),
    ]


def test_runs_of_other_seeds_share_a_judge_and_each_is_kept_when_it_is_measured(
    workspace: Workspace, tiny_models: TinyModels, measured: Callable[..., Measured]
) -> None:
    other = {"loop__rng_seed": 1, "data__sample": {"n": 6, "rng_seed": 1}, "checks__accept_probability": 0.85}
    with_runs(workspace, {}, other, student=tiny_models.student)
    found = measured(workspace, 2, 1, 2)
    assert [run.run_id for run in found.report.runs] == [2, 1]
    assert found.kept == [1, 2]
    assert len(found.student.segments) == 5  # nine steps, once
    assert [one.threshold for one in found.report.runs[0].worth.at] == [0.5, 0.7, 0.8, 0.85, 0.9, 0.95]


def test_the_report_as_tables_and_as_json(
    workspace: Workspace, tiny_models: TinyModels, measured: Callable[..., Measured]
) -> None:
    taken = Asked("row 4", "beta", None), Asked("row 7", "gamma", None)
    with_runs(workspace, {}, {"candidates": taken, "checks__verify": "off"}, student=tiny_models.student)
    report = measured(workspace, 1, 2).report
    console = Console(file=StringIO(), width=400)
    print_verification(report, console)
    assert isinstance(console.file, StringIO)
    lines = console.file.getvalue().splitlines()
    judge = f"judge: {tiny_models.student.name} on 12 rows, 3 epochs: 50.0% (15.0%–85.0%) of 4 test rows right"
    assert any(line.startswith(judge) for line in lines)
    (of_verified,) = (line for line in lines if "teacher and student" in line)
    assert of_verified.split()[:2] == ["1", "tiny"] and "60.0% (23.1%–88.2%)" in of_verified
    (of_off,) = (line for line in lines if " off " in line)
    assert "50.0% (9.5%–90.5%)" in of_off and " – " in of_off
    assert sum("*0.9" in line for line in lines) == 1
    document = json.loads(json.dumps(verification_document(report)))
    first, second = document["runs"]
    assert document["benchmark"] == "verification" and document["judge"]["right"]["of"] == 4
    assert first["worth"]["accepted"]["n"] == 2 and first["worth"]["accepted"]["share"] == pytest.approx(2 / 3)
    assert first["worth"]["at"][3]["threshold"] == 0.9 and first["worth"]["kept"]["hard"]["of"] == 2
    assert second["worth"]["in_doubt"] == {"n": 0, "of": 0, "share": None, "low": None, "high": None}
    assert second["worth"]["at"] == [] and second["verifiers"] == []


# --- what is refused --------------------------------------------------------------------------------------------------


def refused(workspace: Workspace, *words: str, runs: Sequence[str] = ("1",)) -> None:
    """Without a word on standard output, and without a judge begun."""
    assert_refused(workspace.llm2llm("bench", "verification", *runs), *words)
    assert not (workspace.folder / "judge").exists()


def test_an_unknown_run_is_refused(workspace: Workspace) -> None:
    refused(with_runs(workspace, {}), "there is no run 9", runs=["1", "9"])


def test_a_run_without_candidates_is_refused(workspace: Workspace) -> None:
    refused(with_runs(workspace, {"candidates": CANDIDATES[-1:]}), "run 1: no candidate", "llm2llm status 1")


def test_a_run_whose_recipe_makes_no_candidates_is_refused_for_that(workspace: Workspace) -> None:
    with_runs(workspace, {"candidates": (), "loop__recipe": "fine_tune"})
    refused(workspace, "run 1: no candidate")


@pytest.mark.parametrize("family", ["math", "text"])
def test_answers_that_are_written_have_no_judge(workspace: Workspace, family: str) -> None:
    refused(with_runs(workspace, {"task__family": family}), f"no judge for {family}", "classification")


@pytest.mark.parametrize("name", ["train.jsonl", "test.jsonl"])
def test_data_that_changed_is_refused(workspace: Workspace, name: str) -> None:
    with_runs(workspace, {})
    workspace.write_rows(name, [*ROWS, ("another row", "alpha")])
    refused(workspace, f"{name}: has changed since run 1 started")


def test_data_that_moved_is_refused(workspace: Workspace) -> None:
    with_runs(workspace, {})
    (workspace.folder / "train.jsonl").rename(workspace.folder / "elsewhere.jsonl")
    refused(workspace, "run 1: ", "train.jsonl: no such file", "Put it back")


def test_runs_of_different_tasks_have_no_judge_in_common(workspace: Workspace) -> None:
    with_runs(workspace, {}, {"task__answer_name": "Kind"})
    refused(workspace, "run 1 and run 2: differ in task.answer_name", "--judge", runs=["1", "2"])


def test_another_student_than_the_runs_is_refused(workspace: Workspace, tiny_models: TinyModels) -> None:
    student = shutil.copytree(tiny_models.student, workspace.folder / "student")
    with_runs(workspace, {}, student=student)
    (student / "generation_config.json").write_text('{"eos_token_id": 3}')
    refused(workspace, "is not the student that run 1 was started with", "Put that one back")


def test_an_adapter_that_is_gone_is_said_before_anything_is_trained(workspace: Workspace) -> None:
    with_runs(workspace, {})
    adapter = workspace.folder / "runs" / "1" / "iteration-0" / "adapter"
    (adapter / "learnt.json").write_text("{}")
    refused(workspace, str(Path("runs/1/iteration-0/adapter")), "not what was written there")
    workspace.execute("DELETE FROM checkpoints")
    with (
        open_reader(workspace.folder) as connection,
        pytest.raises(StoreError, match=r"no trained student.*\n.*resume 1"),
    ):
        read_run(connection, workspace.folder, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["verification"], "name the runs"),
        (["verification", "first"], "'first' is not a valid integer"),
        (["verification", "1", "--repeats", "3"], "--repeats: bench verification doesn't read it"),
        (["verification", "1", "--epochs", "0"], "--epochs"),
        (["checks", "--judge", "here"], "--judge: bench verification alone reads it"),
        (["--epochs", "3"], "--epochs: this call measures nothing"),
    ],
)
def test_what_is_not_read_or_makes_no_sense_is_refused(tmp_path: Path, arguments: list[str], words: str) -> None:
    ending = Workspace(tmp_path).llm2llm("bench", *arguments)
    assert (ending.code, ending.out) == (2, "") and words in ending.err


# --- the whole, with real students ------------------------------------------------------------------------------------


@pytest.mark.model
def test_a_judge_that_is_killed_goes_on_to_the_same_judge_and_measures(finished_run: Workspace, tmp_path: Path) -> None:
    cut, whole = (copied(finished_run, tmp_path / name) for name in ("cut", "whole"))
    arguments = ("bench", "verification", "1", "--epochs", "12", "--json")
    undisturbed = whole.llm2llm(*arguments, "--judge", "elsewhere")
    assert undisturbed.code == DONE, undisturbed.err
    record = cut.folder / "judge" / "judge.json"
    process = cut.start(*arguments)
    wait_for(lambda: record.is_file() and json.loads(record.read_text())["steps_done"] > 0)
    process.kill()
    process.wait()
    assert 0 < json.loads(record.read_text())["steps_done"] < 36
    ending = cut.llm2llm(*arguments)
    assert ending.code == DONE, ending.err
    assert "warning: run 1: its seeds are 9 of the 9 rows" in ending.err
    assert "judge: step 2 of 36" not in ending.err and "judge: step 36 of 36" in ending.err
    assert folder_digest(record.with_name("adapter")) == folder_digest(whole.folder / "elsewhere" / "adapter")
    (run,), (same,) = ending.json()["runs"], undisturbed.json()["runs"]
    assert run == same
    (n,) = cut.rows("SELECT count(*) FROM candidates WHERE verdict = 'accept'")[0]
    worth = run["worth"]
    assert worth["all"]["of"] == worth["accepted"]["of"] == n > 0
    assert worth["kept"]["hard"]["of"] + worth["kept"]["easy"]["of"] == worth["all"]["n"]
    again = cut.llm2llm(*arguments[:-1])
    assert again.code == DONE and "judge: step" not in again.err and "right without verification" in again.out
    assert_refused(cut.llm2llm("bench", "verification", "1", "--epochs", "2"), "epochs: was 12, is 2", "--judge FOLDER")
