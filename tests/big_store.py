"""A large history, made by hand: what several months of runs leave behind, in seconds and without a model.

By hand, to look at:

    python tests/big_store.py FOLDER [--time]

makes it unless it is there; --time measures what screens ask of it.
"""

from __future__ import annotations

import random
import sqlite3
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from big_run import BigRun, Ids, Row, Size
from big_texts import LABELS, text_of

from llm2llm_local.config import flatten
from llm2llm_local.config_file import parse_config
from llm2llm_local.records import Split
from llm2llm_local.store.reader import STORE_NAME, open_reader
from llm2llm_local.store.rows import ModelRow
from llm2llm_local.store.writer import Store

_ENDINGS = {4: "failed", 7: "pending"}


def make_big_store(folder: Path, size: Size) -> None:
    """Make the store of `folder`, which exists.

    The newest run is at work on its last training, the fourth failed and the seventh was stopped there (as far as
    there are so many); the eighth is a fork of the second. Nothing holds the lock of a run.
    """
    with Store(folder) as store:
        teacher = store.add_model(ModelRow("7" * 64, "gguf", "teacher-3B", "/m/t.gguf", "llama", "Q4_K_M", 9, 4096))
        students = [
            store.add_model(ModelRow(str(n) * 64, "folder", name, f"/m/{name}", "llama", "BF16", 9, 2048))
            for n, name in ((1, "student-135M"), (2, "student-360M"))
        ]
    connection = sqlite3.connect(folder / STORE_NAME, isolation_level=None)
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -400000")
    data = _data(size)
    config = _config(size, folder)
    ids = Ids()
    for run_id in range(1, size.runs + 1):
        connection.execute("BEGIN")
        ending = "running" if run_id == size.runs else _ENDINGS.get(run_id, "done")
        forked_from = 2 if run_id == 8 else None
        student = students[run_id % 5 == 0]  # every fifth run trains the larger one
        BigRun(connection, size, config, data, ids, run_id).write(teacher, student, ending, forked_from)
        connection.execute("COMMIT")
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()


def _config(size: Size, folder: Path) -> dict[str, Any]:
    document = {
        "task": {"family": "classification", "question_name": "Text", "answer_name": "Kind"},
        "data": {"train": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"},
        "teacher": {"model": "teacher.gguf", "attempts": 2},
        "student": {"model": "student", "epochs": 3},
        "loop": {"iterations": size.iterations, "augmentations_per_failure": 5},
    }
    return flatten(parse_config(document, "llm2llm.toml", folder))


def _data(size: Size) -> list[Row]:
    """Split, line, question and answer of all rows: the same for every run."""
    rng = random.Random("data")
    rows = []
    for split, n in ((Split.TRAIN, size.seeds), (Split.DEV, size.dev), (Split.TEST, size.test)):
        for line in range(1, n + 1):
            label = LABELS[rng.randrange(len(LABELS))]
            rows.append((split, line, text_of(rng, label), label))
    return rows


def print_times(folder: Path) -> None:
    """Milliseconds of what screens ask for, best and median of five, in a store of the default size."""
    from screen_queries import screen_queries

    with open_reader(folder) as connection:
        for name, call in screen_queries(connection, folder).items():
            times = []
            for _ in range(5):
                started = time.perf_counter()
                call()
                times.append(1000 * (time.perf_counter() - started))
            print(f"{name:<28} {min(times):7.2f} {median(times):7.2f}")  # noqa: T201


if __name__ == "__main__":
    workspace = Path(sys.argv[1])
    if not (workspace / STORE_NAME).exists():
        workspace.mkdir(parents=True, exist_ok=True)
        make_big_store(workspace, Size())
    if "--time" in sys.argv[2:]:
        print_times(workspace)
