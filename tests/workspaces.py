"""A small classification task on the tiny models, the real command line to work on it, and histories by hand.

A run of it takes a few seconds, nearly all of them for loading the student. The student fails about half of its
seeds, and the teacher's grammar makes most of its replies usable, so that every stage has something to do.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm2llm_local.errors import StoreError
from llm2llm_local.records import (
    CheckVerdict,
    DataRow,
    Decision,
    Example,
    FinishReason,
    Grade,
    NewExample,
    Outcome,
    Reply,
    Split,
    Status,
)
from llm2llm_local.report.status import RunStatus, run_statuses
from llm2llm_local.store.reader import STORE_NAME, open_reader
from llm2llm_local.store.rows import CandidateRow, ModelRow, TeacherCall
from llm2llm_local.store.run_store import RunStore
from llm2llm_local.store.writer import Store

if TYPE_CHECKING:
    from tiny_models import TinyModels

COMMAND = Path(sys.executable).with_name("llm2llm")
CONFIG_NAME = "llm2llm.toml"
PATIENCE_SECONDS = 240.0
"""For anything that is sure to happen, on a machine that is busy with something else."""

SEEDS = (
    ("Who wrote the first book about the stars?", "person"),
    ("Who opened the door?", "person"),
    ("Which teacher reads the letter?", "person"),
    ("Where did the painter keep her brushes?", "place"),
    ("Where is the library?", "place"),
    ("Where does the river end?", "place"),
    ("How many people live in the village today?", "number"),
    ("How much does the ticket cost?", "number"),
    ("How far is it to the market?", "number"),
)
TEST_ROWS = (
    ("Who reads the letter in the garden?", "person"),
    ("Where is the old bridge?", "place"),
    ("How many eggs does a box hold?", "number"),
    ("How many stars has the book?", "number"),
)

FIELDS = {
    "task.family": '"classification"',
    "task.question_name": '"Text"',
    "task.answer_name": '"Kind"',
    "data.train": '"train.jsonl"',
    "data.test": '"test.jsonl"',
    "checks.verify": '"off"',  # random weights know nothing
    "teacher.prompt_style": '"completion"',
    "teacher.max_new_tokens": "24",
    "teacher.context_length": "512",
    "teacher.demonstrations": "2",
    "teacher.attempts": "2",
    "teacher.group_size": "2",
    "teacher.grammar": '"three-words.gbnf"',
    "student.lora_rank": "2",
    "student.epochs": "1",
    "student.batch_size": "4",
    "student.micro_batch_size": "4",
    "student.max_length": "128",
    "student.max_new_tokens": "8",
    "student.predict_batch_size": "4",
    "student.checkpoint_steps": "2",
    "loop.iterations": "2",
    "checks.max_length_ratio": "4.0",
    "hardware.device": '"cpu"',
    "hardware.threads": "1",
}
_GRAMMAR = 'root ::= " " word " " word " " word\nword ::= [a-z]{2,5}\n'
"""Random weights seldom end a text; this makes them end it after three words."""


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for what is sure to happen."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder with a configuration, and perhaps a store."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / CONFIG_NAME

    @property
    def store(self) -> Path:
        return self.folder / STORE_NAME

    def llm2llm(self, *arguments: str | Path, before_exec: Callable[[], None] | None = None) -> Ending:
        """Run the command in this folder to its end. `before_exec` runs in the child, to take rights from it."""
        return self.run(COMMAND, *arguments, before_exec=before_exec)

    def run(self, *command: str | Path, before_exec: Callable[[], None] | None = None) -> Ending:
        """The same with any program."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            preexec_fn=before_exec,
        )
        return Ending(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start the command in this folder; its output goes to files, so that it never waits for a reader."""
        with (self.folder / "out.txt").open("w") as out, (self.folder / "err.txt").open("w") as err:
            return subprocess.Popen([COMMAND, *arguments], cwd=self.folder, stdout=out, stderr=err, text=True)

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of a query on the store; none when there is no store."""
        if not self.store.exists():
            return []
        connection = sqlite3.connect(f"{self.store.as_uri()}?mode=ro", uri=True, timeout=10.0)
        try:
            return connection.execute(sql, parameters).fetchall()
        finally:
            connection.close()

    def damage(self, table: str) -> None:
        """Noise in place of a table's first page."""
        ((page_size,),) = self.rows("PRAGMA page_size")
        ((page,),) = self.rows("SELECT rootpage FROM sqlite_schema WHERE name = ?", table)
        with self.store.open("r+b") as file:
            file.seek((page - 1) * page_size)
            file.write(b"\xa5" * page_size)

    def execute(self, sql: str, *parameters: Any) -> None:
        """Change the store behind the program's back."""
        connection = sqlite3.connect(self.store, timeout=10.0)
        with connection:
            connection.execute(sql, parameters)
        connection.close()

    def n_runs(self) -> int:
        """Runs in the store; 0 when there is no store."""
        rows = self.rows("SELECT count(*) FROM runs")
        return int(rows[0][0]) if rows else 0

    def status(self, run_id: int = 1) -> RunStatus | None:
        """What `status` says of a run, without a process for each look; None as long as there is none."""
        try:
            with open_reader(self.folder) as connection:
                return next(iter(run_statuses(connection, self.folder, run_id)), None)
        except StoreError:  # the store is just being made
            return None

    def state(self, run_id: int = 1) -> str | None:
        """Of a run, in a word; None as long as there is none."""
        status = self.status(run_id)
        return None if status is None else status.state

    def wait_until(self, state: str, run_id: int = 1) -> RunStatus:
        """The first status of a run that is in that state."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            status = self.status(run_id)
            if status is not None and status.state == state:
                return status
            time.sleep(0.05)
        raise AssertionError(f"waited in vain; the last status is {status}, stderr is {self.error_output()}")

    def error_output(self) -> str:
        """What the started command has written to its standard error so far."""
        return (self.folder / "err.txt").read_text()

    def write_rows(self, name: str, rows: Sequence[tuple[str, str]]) -> None:
        lines = [json.dumps({"question": question, "answer": answer}) for question, answer in rows]
        (self.folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def make_workspace(folder: Path, models: TinyModels, fields: Mapping[str, str] | None = None) -> Workspace:
    """Write the task into `folder`, which is made; `fields` replaces fields of the configuration (as TOML text)."""
    folder.mkdir(parents=True, exist_ok=True)
    workspace = Workspace(folder)
    paths = {"teacher.model": json.dumps(str(models.teacher)), "student.model": json.dumps(str(models.student))}
    write_config(workspace.config, {**FIELDS, **paths, **(fields or {})})
    (folder / "three-words.gbnf").write_text(_GRAMMAR)
    workspace.write_rows("train.jsonl", SEEDS)
    workspace.write_rows("test.jsonl", TEST_ROWS)
    return workspace


def write_config(path: Path, fields: Mapping[str, str]) -> None:
    """A configuration file from dotted names and values as TOML text."""
    path.write_text("".join(f"{name} = {value}\n" for name, value in fields.items()), encoding="utf-8")


def copied(workspace: Workspace, folder: Path) -> Workspace:
    """A copy of a workspace that a test may spoil, with its history as if it had always been there."""
    shutil.copytree(workspace.folder, folder)
    return Workspace(folder)


def without_rights_over_files() -> None:
    """For `before_exec`: root, too, has to keep to the permissions of files from now on."""
    if os.geteuid() != 0:
        return
    import ctypes

    drop_from_bounding_set, dac_override, dac_read_search = 24, 1, 2
    for capability in (dac_override, dac_read_search):
        if ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0) != 0:
            os._exit(77)


# --- a history by hand: no model, no run process ---------------------------------------------------------------------


CONFIG_BY_HAND: Mapping[str, object] = {
    "loop.iterations": 2,
    "loop.augmentations_per_failure": 2,
    "loop.augment_from": "seeds",
    "student.quantization": "nf4",
    "student.epochs": 2,
    "student.batch_size": 2,
    "student.predict_batch_size": 2,
    "student.checkpoint_steps": 2,
    "teacher.attempts": 2,
    "teacher.group_size": 4,
}
"""What a run stores of its configuration, as far as the history is read by it."""


def add_run(store: Store, **columns: Any) -> RunStore:
    """A run that has nothing yet; `columns` replaces its values."""
    model = store.add_model(ModelRow("0" * 64, "gguf", "tiny", "/tiny.gguf", "llama", "F32", 1, 512))
    values: dict[str, Any] = {
        "status": Status.RUNNING,
        "status_detail": "",
        "config_name": "llm2llm.toml",
        "overrides": "[]",
        "config": json.dumps(CONFIG_BY_HAND),
        "fingerprint": "",
        "fingerprint_fields": "{}",
        "rng_seed": 0,
        "labels": "[]",
        "teacher_model_id": model,
        "student_model_id": model,
        "forked_from_run_id": None,
    }
    return store.of_run(store.insert("runs", **{**values, **columns}))


def _reply(text: str) -> Reply:
    return Reply(text, FinishReason.STOP, 10, 3, 0.5)


def _predict(run: RunStore, iteration: int, example: Example, answer: str | None) -> None:
    outcome = Outcome.UNPARSED if answer is None else Outcome.CORRECT if answer == example.answer else Outcome.WRONG
    run.add_prediction(iteration, example, _reply(answer or ""), Grade(outcome, answer), 0.25)


def _ask(run: RunStore, iteration: int, parent: Example, slot: int, question: str | None) -> CandidateRow:
    """A teacher's reply to a failure, as a candidate that waits for its checks."""
    call = TeacherCall(parent.id, 0, slot, '"prompt"', "{}", 7, _reply(question or "?"))
    new = None if question is None else NewExample(question, parent.answer)
    key = f"augmented/{iteration}/{parent.key}/0.{slot}"
    run.candidates.add(iteration, 1, key, call, new, "empty reply" if new is None else None)
    return run.candidates.of_round(iteration, 0)[-1]


def _verdict(check_name: str, decision: Decision, reason: str = "") -> CheckVerdict:
    return CheckVerdict(check_name, decision, reason, "", None)


def fill(run: RunStore) -> None:
    """Two iterations by hand: 3 seeds and 2 test rows; the first seed is failed and gives one accepted example."""
    for iteration in (0, 1):
        run.open_iteration(iteration)
    with run.transaction():
        run.add_data(Split.TRAIN, [DataRow(f"seed {n}", f"answer {n}", "train.jsonl", n) for n in (1, 2, 3)])
        run.add_data(Split.TEST, [DataRow(f"test {n}", f"answer {n}", "test.jsonl", n) for n in (1, 2)])
        seeds, tests = run.examples(Split.TRAIN), run.examples(Split.TEST)
        run.set_training_set(0, seeds)
        for example, answer in zip([*seeds, *tests], ("wrong", "answer 2", None, "answer 1", "answer 2"), strict=True):
            _predict(run, 0, example, answer)
        decide = run.candidates.decide
        accepted = _ask(run, 0, seeds[0], 0, "new question")
        decide(0, accepted, [_verdict("format", Decision.ACCEPT), _verdict("duplicate", Decision.ACCEPT)])
        refused = _ask(run, 0, seeds[2], 0, "seed 3")
        decide(0, refused, [_verdict("format", Decision.ACCEPT), _verdict("duplicate", Decision.REJECT, "too similar")])
        decide(0, _ask(run, 0, seeds[2], 1, None), [_verdict("format", Decision.REJECT, "empty reply")])
        decide(0, _ask(run, 0, seeds[2], 2, None), [_verdict("format", Decision.REJECT, "empty reply")])
        decide(0, _ask(run, 0, seeds[2], 3, "unsure"), [_verdict("format", Decision.DOUBT, "two readings")])
        augmented = run.augmented(before_iteration=1)
        run.set_training_set(1, [*seeds, *augmented])
        for example in (*seeds, *augmented):
            _predict(run, 1, example, example.answer if example.id != seeds[1].id else "wrong")
        _predict(run, 1, tests[0], "wrong")
        _predict(run, 1, tests[1], tests[1].answer)


def grade(run: RunStore) -> None:
    """What `fill` predicted counts as graded from now on."""
    for iteration in (0, 1):
        run.close_stage(run.open_stage(iteration, "grade", 0, "", {}, units=3))


def add_graded_run(store: Store, **columns: Any) -> RunStore:
    """A run with all that `fill` makes, graded; `columns` replaces values of the run itself."""
    run = add_run(store, **columns)
    fill(run)
    grade(run)
    return run
