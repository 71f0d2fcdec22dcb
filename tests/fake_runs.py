"""Runs of the loop itself with fake engines: a small task, its configuration, and a look at what they stored."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes import FakeStudent, FakeTeacher, stable_number

from llm2llm_local.config import Config
from llm2llm_local.config_file import parse_config
from llm2llm_local.loop.adapters import adapter_folder, share_adapter
from llm2llm_local.loop.context import Run
from llm2llm_local.loop.fingerprint import Fingerprint, run_fields
from llm2llm_local.loop.signal import asks_where_nothing_fails
from llm2llm_local.records import DataRow, Split, Status
from llm2llm_local.store.fork import before_decisions, copy_stages, unchanged_stages
from llm2llm_local.store.rows import ModelRow
from llm2llm_local.store.writer import Store
from llm2llm_local.student.protocol import TrainingExample, TrainingSegment
from llm2llm_local.tasks.families import make_task

LABELS = ("alpha", "beta", "gamma")
SEEDS = [DataRow(f"seed question {n} about things", LABELS[n % 3], "train.jsonl", n + 1) for n in range(12)]
TEST = [DataRow(f"test question {n} about stuff", LABELS[n % 3], "test.jsonl", n + 1) for n in range(5)]
DEV = [DataRow("dev question of its own", "beta", "dev.jsonl", 1)]


def configuration(**changes: Any) -> Config:
    """`changes` by dotted name with __ for the dot: loop__iterations=2."""
    document: dict[str, dict[str, Any]] = {
        "task": {"family": "classification", "labels": list(LABELS)},
        "data": {"train": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"},
        "teacher": {"model": "t.gguf", "attempts": 2, "group_size": 2},
        "student": {"model": "s", "epochs": 2, "batch_size": 4, "checkpoint_steps": 2, "predict_batch_size": 4},
        "loop": {"iterations": 2},
        "checks": {"verify": "off"},
    }
    for name, value in changes.items():
        section, key = name.split("__")
        document.setdefault(section, {})[key] = value
    return parse_config(document, "test", Path("/nowhere"))


@dataclass
class RecordingWatcher:
    """Remembers what it is told."""

    messages: list[str] = field(default_factory=list)
    stages: list[tuple[int, str, int]] = field(default_factory=list)
    units: int = 0
    withins: int = 0
    steps: int = 0
    n_accepted: int = 0

    def stage(self, iteration: int, stage: str, attempt: int, done: int, total: int) -> None:
        self.stages.append((iteration, stage, attempt))

    def unit(self, done: int, total: int, rows: int) -> None:
        self.units += 1

    def within(self, done: int, total: int) -> None:
        self.withins += 1

    def step(self, done: int, total: int, loss: float) -> None:
        self.steps += 1

    def accepted(self, question: str, answer: str) -> None:
        self.n_accepted += 1

    def message(self, text: str) -> None:
        self.messages.append(text)


def half_learnt(example: TrainingExample, segment: TrainingSegment) -> bool:
    """Of half of the examples, the same ones in every process."""
    return stable_number(example.prompt) % 2 == 0


class Crash(Exception):
    """Stands for a kill between two units."""


def fingerprint_of(config: Config) -> Fingerprint:
    """Of a run with fake engines."""
    return Fingerprint(
        run_fields(config, LABELS, {"data.train": "d", "teacher.model": "t", "student.model": "s"}, "cpu", "float32")
    )


@contextmanager
def run_of(
    workspace: Path,
    config: Config,
    teacher: FakeTeacher | None = None,
    student: FakeStudent | None = None,
    *,
    run_id: int | None = None,
    obey: Callable[[], None] = lambda: None,
) -> Iterator[Run]:
    """A new run in `workspace`, or one that goes on."""
    with Store(workspace) as store:
        if run_id is None:
            run_id = new_run(store)
        yield Run(
            config=config,
            task=make_task(config.task, SEEDS),
            store=store.of_run(run_id),
            teacher=teacher or FakeTeacher(),
            student=student or FakeStudent(half_learnt),
            teacher_model_id=1,
            prompt_style="completion",
            grammar=None,
            fingerprint=fingerprint_of(config),
            watcher=RecordingWatcher(),
            obey=obey,
        )


def new_run(store: Store) -> int:
    with store.transaction():
        model_id = store.add_model(ModelRow("0" * 64, "gguf", "fake", "fake.gguf", "llama", "Q4_1", 1, 1024))
        run_id = store.insert(
            "runs",
            status=Status.PENDING,
            status_detail="",
            config_name="c",
            overrides="[]",
            config="{}",
            fingerprint="f",
            fingerprint_fields="{}",
            rng_seed=0,
            labels="[]",
            teacher_model_id=model_id,
            student_model_id=model_id,
        )
        run = store.of_run(run_id)
        for split, rows in ((Split.TRAIN, SEEDS), (Split.DEV, DEV), (Split.TEST, TEST)):
            run.add_data(split, rows)
    return run_id


def fork(workspace: Path, config: Config, origin: int = 1) -> list[str]:
    """Into a new run with this configuration, as `fork_run` does it; the stages that are taken over."""
    with Store(workspace) as store:
        target = new_run(store)
        unchanged = unchanged_stages(store, origin, fingerprint_of(config))
        stages = before_decisions(
            store,
            origin,
            unchanged,
            config.loop.iterations,
            asks_where_nothing_fails=asks_where_nothing_fails(config),
        )
        with store.transaction():
            copy_stages(store, origin, target, stages)
        for stage in stages:
            if stage["stage"] in ("train", "fold_train"):
                at = (stage["iteration"], stage["attempt"])
                share_adapter(*(adapter_folder(store.of_run(run_id), *at) for run_id in (origin, target)))
    return [stage["stage"] for stage in stages]


def rows(workspace: Path, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a query on the store."""
    connection = sqlite3.connect(workspace / "llm2llm.db")
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()
