"""A made-up history of any length in a real store: runs as the loop leaves them, without a model or a clock.

What always holds: the rows follow from the number of the run alone, foreign keys are kept, and units, stages and
figures agree with the predictions as far as reports read them. Rows are written in bulk into the schema that `Store`
has made; how fast the program itself writes is measured elsewhere.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..store.reader import STORE_NAME
from ..store.rows import ModelRow
from ..store.writer import Store

ITERATIONS = 10
SEEDS, TESTS = 200, 800
PREDICTIONS_PER_RUN = ITERATIONS * (SEEDS + TESTS)

_FAILURES = 40
"""Seeds answered wrongly in each iteration, each with a candidate; of those, three in four are accepted."""

_LABELS = ("repairs", "heating", "rent", "keys", "other")
_AT = "2026-01-05T08:00:00.000+00:00"
_STAGES = ("train", "predict", "grade", "augment", "check")
_TEXT = "Message {} of the tenants in house {}: the light on the stairs has been out since Monday, could someone come?"


def grow_history(workspace: Path, predictions: int) -> None:
    """Add runs to the store of `workspace`, which is made when it isn't there, until it has so many predictions: a
    multiple of PREDICTIONS_PER_RUN, since runs are whole.
    """
    assert predictions % PREDICTIONS_PER_RUN == 0
    with Store(workspace) as store:
        model = store.add_model(ModelRow("0" * 64, "gguf", "model", "/model.gguf", "llama", "Q4_K_M", 1, 2048))
    connection = sqlite3.connect(workspace / STORE_NAME, isolation_level=None)
    try:
        # A store that is lost is made again: nothing here waits for the disk.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -400000")
        newest = connection.execute("SELECT coalesce(max(run_id), 0) FROM runs").fetchone()[0]
        for run_id in range(newest + 1, predictions // PREDICTIONS_PER_RUN + 1):
            connection.execute("BEGIN")
            _Run(connection, run_id, model).write()
            connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


class _Run:
    """One run's rows. Ids of examples and candidates are dealt out by the run's number, so that none are read back."""

    def __init__(self, connection: sqlite3.Connection, run_id: int, model: int) -> None:
        self._connection = connection
        self._run_id = run_id
        self._model = model
        self._first_example = (run_id - 1) * (SEEDS + TESTS + ITERATIONS * _FAILURES) + 1
        self._first_candidate = (run_id - 1) * ITERATIONS * _FAILURES + 1

    def write(self) -> None:
        config = {"loop.iterations": ITERATIONS - 1, "student.epochs": 3, "student.batch_size": 8}
        row = ("done", "", "llm2llm.toml", "[]", json.dumps(config), "", "{}", 0, json.dumps(_LABELS))
        self._add(
            "runs",
            "status status_detail config_name overrides config fingerprint fingerprint_fields rng_seed labels "
            "teacher_model_id student_model_id created_at finished_at",
            [(*row, self._model, self._model, _AT, _AT)],
        )
        self._add(
            "examples",
            "id key split origin question answer source line created_at",
            (
                (self._example(n), f"{split}/{n}", split, "seed", self._text(n), _label(n), f"{split}.jsonl", n, _AT)
                for n in range(SEEDS + TESTS)
                for split in ["train" if n < SEEDS else "test"]
            ),
        )
        for iteration in range(ITERATIONS):
            self._iteration(iteration)
        self._add("events", "kind message created_at", [("run_done", "finished", _AT)])

    def _iteration(self, iteration: int) -> None:
        self._add("iterations", "iteration status created_at finished_at", [(iteration, "done", _AT, _AT)])
        self._add(
            "stages",
            "iteration stage attempt fingerprint fingerprint_fields status units_total units_done seconds created_at "
            "finished_at progress",
            ((iteration, stage, 0, "", "{}", "done", 63, 63, 60.0, _AT, _AT, 1.0) for stage in _STAGES),
        )
        self._add(
            "training_set_examples",
            "iteration example_id position",
            ((iteration, example, position) for position, example in enumerate(self._training_set(iteration))),
        )
        self._add("predictions", _PREDICTION_COLUMNS, self._predictions(iteration))
        figures = [
            (f"accuracy_{split}", sum(not _is_wrong(n, iteration) for n in rows) / len(rows))
            for split, rows in (("train", range(SEEDS)), ("test", range(SEEDS, SEEDS + TESTS)))
        ]
        self._add(
            "metrics",
            "iteration name step value created_at",
            ((iteration, *one[:1], 0, one[1], _AT) for one in figures),
        )
        self._augment(iteration)

    def _predictions(self, iteration: int) -> Iterator[tuple[Any, ...]]:
        for n in range(SEEDS + TESTS):
            is_wrong = _is_wrong(n, iteration)
            answer = _label(n + 1 if is_wrong else n)
            outcome = "wrong" if is_wrong else "correct"
            split = "train" if n < SEEDS else "test"
            yield (
                *(iteration, self._example(n), split, answer, answer, outcome, int(not is_wrong)),
                *(0.2 + n % 80 / 100, "scored", 30, 0, _AT),
            )

    def _augment(self, iteration: int) -> None:
        failed = [n for n in range(SEEDS) if _is_wrong(n, iteration)]
        made = [(self._candidate(iteration, k), self._example(n), n) for k, n in enumerate(failed)]
        prompt = json.dumps(_TEXT.format(0, 0) * 5)
        self._add(
            "teacher_calls",
            "id iteration example_id attempt slot model_id prompt sampling rng_seed output_text finish_reason "
            "input_tokens output_tokens seconds created_at",
            (
                (one, iteration, seed, 0, 0, self._model, prompt, "{}", one, self._text(n), "stop", 200, 30, 0.4, _AT)
                for one, seed, n in made
            ),
        )
        self._add(
            "candidates",
            "id iteration attempt key teacher_call_id parent_example_id question answer output_text verdict "
            "reject_reason created_at",
            (
                (
                    *(one, iteration, 0, f"augmented/{iteration}/train/{n}/0.0", one, seed, self._text(n), _label(n)),
                    *(self._text(n), "accept" if one % 4 else "reject", None if one % 4 else "too similar", _AT),
                )
                for one, seed, n in made
            ),
        )
        self._add(
            "verdicts",
            "iteration candidate_id check_name verdict reason detail score created_at",
            (
                (iteration, one, check, verdict, "" if verdict == "accept" else "too similar", "", 0.5, _AT)
                for one, _, _ in made
                for check, verdict in (("format", "accept"), ("duplicate", "accept" if one % 4 else "reject"))
            ),
        )
        self._add(
            "examples",
            "id key split origin question answer parent_example_id candidate_id iteration created_at",
            (
                (
                    *(self._augmented(one), f"augmented/{iteration}/train/{n}/0.0", "train", "augmented"),
                    *(self._text(n), _label(n), seed, one, iteration, _AT),
                )
                for one, seed, n in made
                if one % 4
            ),
        )

    def _training_set(self, iteration: int) -> list[int]:
        accepted = range(self._first_candidate, self._first_candidate + iteration * _FAILURES)
        return [*map(self._example, range(SEEDS)), *(self._augmented(one) for one in accepted if one % 4)]

    def _example(self, n: int) -> int:
        return self._first_example + n

    def _candidate(self, iteration: int, k: int) -> int:
        return self._first_candidate + iteration * _FAILURES + k

    def _augmented(self, candidate: int) -> int:
        return self._first_example + SEEDS + TESTS + candidate - self._first_candidate

    def _text(self, n: int) -> str:
        return _TEXT.format(n, self._run_id)

    def _add(self, table: str, columns: str, rows: Iterable[tuple[Any, ...]]) -> None:
        names = ["run_id", *columns.split()]
        self._connection.executemany(
            f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
            ((self._run_id, *row) for row in rows),
        )


_PREDICTION_COLUMNS = (
    "iteration example_id split output_text predicted_answer outcome is_correct confidence finish_reason input_tokens "
    "output_tokens created_at"
)


def _is_wrong(n: int, iteration: int) -> bool:
    """One question in five, others in each iteration."""
    return n % (SEEDS // _FAILURES) == iteration % (SEEDS // _FAILURES)


def _label(n: int) -> str:
    return _LABELS[n % len(_LABELS)]
