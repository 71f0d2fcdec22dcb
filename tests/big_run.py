"""One run of a large history, written as rows: it keeps to the loop's rules without a model or a clock.

Who is asked how often, what trains when and how units are cut is as in the loop, so that the views give sensible
figures; all of it follows from the size and the number of the run.
"""

from __future__ import annotations

import json
import math
import random
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

from big_texts import LABELS, text_of

from llm2llm_local.records import Split

Row = tuple[Split, int, str, str]
"""Split, line, question and answer of a row of the person's data."""

_FIRST_DAY = datetime(2026, 1, 5, 8, tzinfo=UTC).timestamp()
_DAY = 86400.0
_SECONDS = {"train": 0.012, "predict": 0.004, "grade": 0.0001, "augment": 0.2, "check": 0.002}
"""Wall seconds for each example-epoch, example, row, request and candidate."""

_REJECTIONS = (
    ("duplicate", "too similar to a seed or an accepted example", 50),
    ("format", "empty reply", 14),
    ("format", "cut off at the token limit", 8),
    ("format", "more than one line", 6),
    ("format", "too long", 7),
    ("format", "another script", 5),
    ("leak", "too similar to a dev or test question", 10),
)
"""Check, reason and how many of a hundred."""

_UNPARSED = frozenset({"empty reply", "cut off at the token limit", "more than one line"})
_CHECKS = ("format", "duplicate", "leak", "verify")


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is. `iterations`: rounds of augmentation; finished runs have one more, without candidates."""

    runs: int = 10
    iterations: int = 10
    seeds: int = 1_000
    dev: int = 1_000
    test: int = 8_000
    candidates: int = 2_000
    """Of each iteration of each run; at least 50, and seeds for 3 of 20 of them."""


@dataclass(slots=True)
class Ids:
    """The next row ids, across runs."""

    stages: Iterator[int] = field(default_factory=lambda: count(1))
    examples: Iterator[int] = field(default_factory=lambda: count(1))
    candidates: Iterator[int] = field(default_factory=lambda: count(1))
    """Of a candidate and of its teacher call, which are made together."""

    reviews: Iterator[int] = field(default_factory=lambda: count(1))


@dataclass(slots=True)
class _Example:
    id: int
    key: str
    split: Split
    answer: str
    difficulty: float


@dataclass(slots=True)
class _Candidate:
    """`check_name` is the one that decided against it; '' when all accepted."""

    id: int
    key: str
    parent: _Example
    attempt: int
    slot: int
    verdict: str
    check_name: str
    reason: str
    question: str | None
    output_text: str
    created_at: str


class BigRun:
    """Writes one run. The clock moves on with every stage; nothing is read back."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        size: Size,
        config: dict[str, Any],
        data: Sequence[Row],
        ids: Ids,
        run_id: int,
    ) -> None:
        self._connection = connection
        self._size = size
        self._config = config
        self._ids = ids
        self._run_id = run_id
        self._rng = random.Random(f"run {run_id}")
        self._clock = _FIRST_DAY + (run_id - 1) * 2 * _DAY
        self._data: list[_Example] = []
        self._augmented: list[_Example] = []
        self._add_data(data)

    def write(self, teacher: int, student: int, ending: str, forked_from: int | None) -> None:
        """`ending`: the status of the run; all but `done` ended, or are, in the middle of the last training."""
        started = self._now()
        self._event(None, "run_started", f"run {self._run_id} started from llm2llm.toml")
        for iteration in range(self._size.iterations):
            self._iteration(iteration, teacher)
        self._last_iteration(self._size.iterations, ending)
        detail = {
            "done": f"finished after {self._size.iterations} rounds of augmentation",
            "failed": "the student's worker ended three times: out of memory (CUDA)",
            "pending": "stopped by Ctrl-C",
            "running": "",
        }[ending]
        if detail:
            self._event(None, {"pending": "run_stopped"}.get(ending, f"run_{ending}"), detail)
        finished = self._now() if ending in ("done", "failed") else None
        self._rows(
            "runs",
            "status status_detail config_name overrides config fingerprint fingerprint_fields rng_seed labels "
            "teacher_model_id student_model_id forked_from_run_id created_at finished_at",
            [
                (
                    ending,
                    detail,
                    "llm2llm.toml",
                    "[]",
                    json.dumps(self._config),
                    f"fingerprint {self._run_id}",
                    "{}",
                    self._run_id,
                    json.dumps(LABELS),
                    teacher,
                    student,
                    forked_from,
                    started,
                    finished,
                )
            ],
        )

    def _last_iteration(self, iteration: int, ending: str) -> None:
        started = self._now()
        self._event(iteration, "iteration_started", f"iteration {iteration} started")
        is_done = ending == "done"
        self._train(iteration, 1.0 if is_done else 0.4)
        if is_done:
            self._predict_and_grade(iteration)
        row = (iteration, "done", started, self._now()) if is_done else (iteration, "running", started, None)
        self._rows("iterations", "iteration status created_at finished_at", [row])

    def _iteration(self, iteration: int, teacher: int) -> None:
        started = self._now()
        self._event(iteration, "iteration_started", f"iteration {iteration} started")
        self._train(iteration, 1.0)
        failures = self._predict_and_grade(iteration)
        per_failure = int(self._config["loop.augmentations_per_failure"])
        # So many of the first round are accepted that both rounds together have the wanted number of candidates.
        n_second = self._size.candidates - len(failures) * per_failure
        n_accepted = len(failures) * per_failure - n_second
        wanted = [(failure, slot) for failure in failures for slot in range(per_failure)]
        first = self._ask(iteration, 0, wanted, n_accepted, teacher)
        accepted = {failure.id: 0 for failure in failures}
        for candidate in first:
            accepted[candidate.parent.id] += candidate.verdict == "accept"
        wanted = [(one, slot) for one in failures for slot in range(per_failure - accepted[one.id])]
        second = self._ask(iteration, 1, wanted, int(0.35 * len(wanted)), teacher)
        self._review(iteration, [*first, *second])
        self._rows("iterations", "iteration status created_at finished_at", [(iteration, "done", started, self._now())])

    # --- data and training ---

    def _add_data(self, data: Sequence[Row]) -> None:
        rows = []
        for split, line, question, answer in data:
            example = _Example(next(self._ids.examples), f"{split}/{line - 1}", split, answer, self._rng.random())
            self._data.append(example)
            rows.append((example.id, example.key, split, "seed", question, answer, f"{split}.jsonl", line, self._now()))
        self._rows("examples", "id key split origin question answer source line created_at", rows)

    def _train(self, iteration: int, share: float) -> None:
        training_set = [one for one in self._data if one.split is Split.TRAIN] + self._augmented
        n, epochs, batch_size = len(training_set), self._config["student.epochs"], self._config["student.batch_size"]
        steps, between = math.ceil(n / batch_size) * epochs, self._config["student.checkpoint_steps"]
        units = math.ceil(steps / between)
        done = units if share == 1 else int(share * units)
        last_step = min(done * between, steps)
        began = self._clock
        seconds = self._stage(iteration, "train", 0, units, done, _SECONDS["train"] * n * epochs * last_step / steps)
        self._rows(
            "training_set_examples",
            "iteration example_id position",
            ((iteration, example.id, position) for position, example in enumerate(training_set)),
        )
        folder = f"runs/{self._run_id}/iterations/{iteration}"
        checkpoints, losses = [], []
        for unit in range(1, done + 1):
            step = min(unit * between, steps)
            at = _time(began + seconds * unit / done)
            path = (f"{folder}/adapter" if step == steps else f"{folder}/step-{step}") if unit == done else None
            tokens = (step - (unit - 1) * between) * batch_size * 40
            checkpoints.append((iteration, step, steps, path, "0" * 64, tokens, seconds / done, at))
            for one in range((unit - 1) * between, step):
                loss = 0.15 + 2.2 * math.exp(-4 * one / steps) * (1 + 0.2 * self._rng.random())
                losses.append((iteration, "loss", one, loss, at))
        self._rows("checkpoints", "iteration step total_steps path sha256 tokens seconds created_at", checkpoints)
        self._rows("metrics", "iteration name step value created_at", losses)
        if iteration % 3 == 0:
            self._event(iteration, "training_note", "2 examples were cut to student.max_length")

    # --- predictions ---

    def _predict_and_grade(self, iteration: int) -> list[_Example]:
        """The failed seeds."""
        rng, size = self._rng, self._config["student.predict_batch_size"]
        progress = iteration / self._size.iterations
        n_failures = round(
            self._size.candidates * (0.72 - 0.12 * progress) / self._config["loop.augmentations_per_failure"]
        )
        seeds = [one for one in self._data if one.split is Split.TRAIN]
        hardest = sorted(seeds, key=lambda one: one.difficulty + rng.gauss(0, 0.15), reverse=True)
        failures = {one.id for one in hardest[:n_failures]}
        level = 0.62 + 0.22 * progress
        units = sum(math.ceil(n / size) for n in (self._size.seeds, self._size.dev, self._size.test))
        began = self._clock
        seconds = self._stage(iteration, "predict", 0, units, units, _SECONDS["predict"] * len(self._data))
        rows = []
        n_correct = dict.fromkeys(Split, 0)
        for position, example in enumerate(self._data):
            if position % size == 0:
                at = _time(began + seconds * position / len(self._data))
            is_correct = (
                example.id not in failures
                if example.split is Split.TRAIN
                else example.difficulty + rng.gauss(0, 0.1) < level
            )
            n_correct[example.split] += is_correct
            answer = example.answer if is_correct else LABELS[LABELS.index(example.answer) - 1 - rng.randrange(6)]
            outcome = "correct" if is_correct else "wrong"
            confidence = 0.3 + 0.7 * rng.random()
            rows.append(
                (
                    iteration,
                    example.id,
                    example.split,
                    answer,
                    answer,
                    outcome,
                    int(is_correct),
                    confidence,
                    "scored",
                    24,
                    0,
                    at,
                )
            )
        self._rows(
            "predictions",
            "iteration example_id split output_text predicted_answer outcome is_correct confidence finish_reason "
            "input_tokens output_tokens created_at",
            rows,
        )
        self._stage(iteration, "grade", 0, 3, 3, _SECONDS["grade"] * len(rows))
        n = {Split.TRAIN: self._size.seeds, Split.DEV: self._size.dev, Split.TEST: self._size.test}
        accuracies = [(iteration, f"accuracy_{s}", 0, n_correct[s] / n[s], self._now()) for s in Split if n[s]]
        self._rows("metrics", "iteration name step value created_at", accuracies)
        return [one for one in seeds if one.id in failures]

    # --- candidates ---

    def _ask(
        self, iteration: int, attempt: int, wanted: Sequence[tuple[_Example, int]], n_accepted: int, teacher: int
    ) -> list[_Candidate]:
        """One round of asking and checking, in which `n_accepted` are accepted."""
        group, began = self._config["teacher.group_size"], self._clock
        units = math.ceil(len(wanted) / group)
        seconds = self._stage(iteration, "augment", attempt, units, units, _SECONDS["augment"] * len(wanted))
        accepted = set(self._rng.sample(range(len(wanted)), n_accepted))
        candidates, calls = [], []
        for position, (parent, slot) in enumerate(wanted):
            if position % group == 0:
                at = _time(began + seconds * position / len(wanted))
            one = self._candidate(iteration, attempt, parent, slot, position in accepted, at)
            candidates.append(one)
            prompt = json.dumps([{"role": "user", "content": f"Write one more text of the kind {parent.answer}."}])
            tokens = 6 + len(one.output_text) // 4
            finish_reason = "length" if one.reason == "cut off at the token limit" else "stop"
            calls.append(
                (
                    one.id,
                    iteration,
                    parent.id,
                    attempt,
                    slot,
                    teacher,
                    prompt,
                    '{"temperature": 1.0}',
                    position,
                    one.output_text,
                    finish_reason,
                    180,
                    tokens,
                    seconds / len(wanted),
                    at,
                )
            )
        self._rows(
            "teacher_calls",
            "id iteration example_id attempt slot model_id prompt sampling rng_seed output_text finish_reason "
            "input_tokens output_tokens seconds created_at",
            calls,
        )
        self._check(iteration, attempt, candidates)
        return candidates

    def _candidate(
        self, iteration: int, attempt: int, parent: _Example, slot: int, is_accepted: bool, at: str
    ) -> _Candidate:
        rng = self._rng
        check_name = reason = ""
        verdict = "accept"
        if not is_accepted and rng.random() < 0.15:
            verdict, check_name, reason = "doubt", "verify", "the teacher is not sure of the answer"
        elif not is_accepted:
            verdict = "reject"
            (check_name, reason, _) = rng.choices(_REJECTIONS, [share for *_, share in _REJECTIONS])[0]
        question = None if reason in _UNPARSED else text_of(rng, parent.answer)
        if reason == "too long" and question:
            question = " ".join([question] * 6)
        output_text = question or ("" if reason == "empty reply" else f"1. {text_of(rng, parent.answer)}\n2. …")
        key = f"augmented/{iteration}/{parent.key}/{attempt}.{slot}"
        return _Candidate(
            next(self._ids.candidates),
            key,
            parent,
            attempt,
            slot,
            verdict,
            check_name,
            reason,
            question,
            output_text,
            at,
        )

    def _check(self, iteration: int, attempt: int, candidates: Sequence[_Candidate]) -> None:
        self._rows(
            "candidates",
            "id iteration attempt key teacher_call_id parent_example_id question answer output_text verdict "
            "reject_reason created_at",
            (
                (
                    one.id,
                    iteration,
                    attempt,
                    one.key,
                    one.id,
                    one.parent.id,
                    one.question,
                    None if one.question is None else one.parent.answer,
                    one.output_text,
                    one.verdict,
                    one.reason if one.verdict == "reject" else None,
                    one.created_at,
                )
                for one in candidates
            ),
        )
        units = math.ceil(len(candidates) / 64)
        self._stage(iteration, "check", attempt, units, units, _SECONDS["check"] * len(candidates))
        at = self._now()
        verdicts = []
        for one in candidates:
            for check_name in _CHECKS:
                decided = check_name == one.check_name
                verdict, reason = (one.verdict, one.reason) if decided else ("accept", "")
                score = round(0.95 + 0.05 * self._rng.random(), 3) if decided and check_name != "format" else None
                verdicts.append((iteration, one.id, check_name, verdict, reason, "", score, at))
                if decided:
                    break
        self._rows("verdicts", "iteration candidate_id check_name verdict reason detail score created_at", verdicts)
        self._accept(iteration, [one for one in candidates if one.verdict == "accept"], None)

    def _accept(self, iteration: int, accepted: Sequence[_Candidate], review_id: int | None) -> None:
        """Candidates become examples, by the checks or by a person's review."""
        rows = []
        for candidate in accepted:
            example = _Example(next(self._ids.examples), candidate.key, Split.TRAIN, candidate.parent.answer, 0.5)
            self._augmented.append(example)
            rows.append(
                (
                    example.id,
                    example.key,
                    "train",
                    "augmented",
                    candidate.question,
                    example.answer,
                    candidate.parent.id,
                    candidate.id,
                    iteration,
                    review_id,
                    self._now(),
                )
            )
        self._rows(
            "examples",
            "id key split origin question answer parent_example_id candidate_id iteration review_id created_at",
            rows,
        )

    def _review(self, iteration: int, candidates: Sequence[_Candidate]) -> None:
        """A person decides on some doubtful candidates and takes an accepted one out, before the next training.

        What is decided on the last of them comes too late for it and waits.
        """
        doubtful = [one for one in candidates if one.verdict == "doubt"]
        for position, one in enumerate(doubtful[:6]):
            if position % 3 == 2:
                self._decide(iteration, one, "reject", "rejected by a person")
            elif position == 0:
                self._decide(iteration, one, "accept", "edited by a person", f"{one.question} (as edited)")
            else:
                self._decide(iteration, one, "accept", "accepted by a person")
        taken_out = next(one for one in candidates if one.verdict == "accept")
        self._decide(iteration, taken_out, "reject", "rejected by a person")
        example = next(one for one in self._augmented if one.key == taken_out.key)
        self._augmented.remove(example)
        self._connection.execute("UPDATE examples SET removed_iteration = ? WHERE id = ?", [iteration + 1, example.id])
        if iteration == self._size.iterations - 1:
            waiting = [(next(self._ids.reviews), one.id, "accept", self._now()) for one in doubtful[6:8]]
            self._rows("reviews", "id candidate_id decision created_at", waiting)

    def _decide(
        self, iteration: int, candidate: _Candidate, decision: str, reason: str, edited: str | None = None
    ) -> None:
        """A decision that the next training is the first to follow."""
        review_id = next(self._ids.reviews)
        self._rows(
            "reviews",
            "id candidate_id decision question created_at applied_iteration",
            [(review_id, candidate.id, decision, edited, self._now(), iteration + 1)],
        )
        self._rows(
            "verdicts",
            "iteration candidate_id check_name verdict reason detail created_at",
            [(iteration, candidate.id, "review", decision, reason, "", self._now())],
        )
        self._connection.execute(
            "UPDATE candidates SET verdict = ?, reject_reason = ? WHERE id = ?",
            [decision, reason if decision == "reject" else None, candidate.id],
        )
        if decision == "accept":
            candidate = replace(candidate, key=f"{candidate.key}/review-1", question=edited or candidate.question)
            self._accept(iteration, [candidate], review_id)

    # --- rows ---

    def _stage(self, iteration: int, stage: str, attempt: int, units: int, done: int, seconds: float) -> float:
        """Write the stage and let its time pass; its seconds, which vary a little."""
        seconds *= 0.97 + 0.06 * self._rng.random()
        began = self._now()
        self._clock += seconds + 0.05
        is_done = done == units
        self._rows(
            "stages",
            "id iteration stage attempt fingerprint fingerprint_fields status units_total units_done seconds "
            "created_at finished_at progress",
            [
                (
                    next(self._ids.stages),
                    iteration,
                    stage,
                    attempt,
                    "",
                    "{}",
                    "done" if is_done else "running",
                    units,
                    done,
                    seconds,
                    began,
                    self._now() if is_done else None,
                    done / units,
                )
            ],
        )
        return seconds

    def _event(self, iteration: int | None, kind: str, message: str) -> None:
        self._rows("events", "iteration kind message created_at", [(iteration, kind, message, self._now())])

    def _rows(self, table: str, columns: str, rows: Iterable[tuple[Any, ...]]) -> None:
        names = ["run_id", *columns.split()]
        self._connection.executemany(
            f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
            ((self._run_id, *row) for row in rows),
        )

    def _now(self) -> str:
        return _time(self._clock)


def _time(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="milliseconds")
