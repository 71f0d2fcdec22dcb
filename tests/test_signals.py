"""Which seeds are augmented, by each failure signal, and what a run says when its signal runs dry."""

from __future__ import annotations

import json
from pathlib import Path

import fake_runs
import pytest
from fake_runs import SEEDS, configuration, rows, run_of
from fakes import FakeStudent, FakeTeacher, scored
from knowing import by_heart

from llm2llm_local.config import flatten
from llm2llm_local.errors import StoreError
from llm2llm_local.loop.llm2llm import llm2llm
from llm2llm_local.records import DataRow, FinishReason, Reply
from llm2llm_local.report.failures import failures_of
from llm2llm_local.report.summary import summarize
from llm2llm_local.report.work import run_work
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.writer import Store
from llm2llm_local.student.protocol import PredictionBatch, StudentAnswer
from llm2llm_local.teacher.protocol import Progress


def test_kfold_failures_are_answers_of_students_that_have_not_seen_the_seed(tmp_path: Path) -> None:
    """A student that knows its seeds by heart fails at none of them, and at all that it hasn't seen."""
    student = FakeStudent(by_heart)
    config = configuration(loop__failure_signal="kfold", loop__folds=3)
    with run_of(tmp_path, config, student=student) as run:
        llm2llm(run)
    with Store(tmp_path) as store, store.transaction():
        store.execute("UPDATE runs SET config = ?", [json.dumps(flatten(config))])
    answered = rows(tmp_path, "SELECT iteration, fold, count(*) FROM predictions WHERE split = 'train' GROUP BY 1, 2")
    assert answered == [(iteration, fold, 4) for iteration in (0, 1) for fold in (1, 2, 3)]
    trained = rows(tmp_path, "SELECT iteration, count(*) FROM stages WHERE stage = 'fold_train' GROUP BY 1")
    assert trained == [(0, 3), (1, 3)]  # after the last one no failures are wanted
    with open_reader(tmp_path) as connection:
        assert {one["iteration"] for one in failures_of(connection, 1, None)} == {1}
        with pytest.raises(StoreError, match="in iteration 2 no student was asked the seeds"):
            failures_of(connection, 1, 2)
        failures = [one.failures for one in summarize(connection, 1).iterations]
    assert failures[:2] == [8, 8] and failures[2] is None
    wrong = rows(tmp_path, "SELECT count(*) FROM failures WHERE iteration = 0 AND answer != 'alpha'")
    assert wrong == [(8,)]
    assert rows(tmp_path, "SELECT count(*) FROM predictions WHERE fold = 0 AND split = 'test'") == [(15,)]


def test_the_least_confident_seeds_of_each_label_are_augmented_wrong_or_right(tmp_path: Path) -> None:
    unknown = ("question 7 ", "question 10 ", "question 1 ")  # all of one label
    knows_others = FakeStudent(lambda example, segment: not any(words in example.prompt for words in unknown))
    config = configuration(
        loop__failure_signal="confidence",
        loop__least_confident=0.25,
        loop__iterations=1,
        teacher__show_student_answer=True,
    )
    teacher = FakeTeacher()
    with run_of(tmp_path, config, teacher, knows_others) as run:
        llm2llm(run)
    asked = rows(tmp_path, "SELECT e.key FROM teacher_calls t JOIN examples e ON e.id = t.example_id ORDER BY t.id")
    assert [key for (key,) in asked] == ["train/1", "train/0", "train/2"]
    told = ["is easily mistaken for" in request.prompt.completion for request in teacher.requests]
    assert told == [True, False, False]  # not of right answers
    with Store(tmp_path) as store, store.transaction():
        store.execute("UPDATE runs SET config = ?", [json.dumps(flatten(config))])
    with open_reader(tmp_path) as connection:
        assert run_work(connection, 1).iterations[0].failures == 3


class AllKnowing(FakeStudent):
    """Answers every seed right, seen or not."""

    def predict(self, batch: PredictionBatch, progress: Progress) -> list[StudentAnswer]:
        texts = {f"Question: {seed.question}\nAnswer:": f" {seed.answer}" for seed in SEEDS}
        return [scored(batch.completions, texts.get(prompt)) for prompt in batch.prompts]


class Solver(FakeStudent):
    """Doubles the number that it is asked about, in writing."""

    def predict(self, batch: PredictionBatch, progress: Progress) -> list[StudentAnswer]:
        solved = [f"#### {2 * int(prompt.split()[1])}" for prompt in batch.prompts]
        return [StudentAnswer(Reply(text, FinishReason.STOP, 5, 3, 0.001), ()) for text in solved]


@pytest.mark.parametrize(("signal", "offered"), [("train", "kfold"), ("kfold", "confidence")])
def test_a_signal_that_runs_dry_offers_the_next(tmp_path: Path, signal: str, offered: str) -> None:
    config = configuration(loop__failure_signal=signal)
    with run_of(tmp_path, config, student=AllKnowing(by_heart)) as run:
        ending = llm2llm(run)
    assert "nothing to augment" in ending and f'"{offered}"' in ending


@pytest.mark.parametrize(("signal", "offered"), [("train", ["kfold"]), ("kfold", [])])
def test_no_signal_is_offered_that_written_answers_do_not_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signal: str, offered: list[str]
) -> None:
    seeds = [DataRow(f"{n} and {n}?", f"#### {2 * n}", "train.jsonl", n) for n in range(1, 7)]
    monkeypatch.setattr(fake_runs, "SEEDS", seeds)
    monkeypatch.setattr(fake_runs, "TEST", [])
    monkeypatch.setattr(fake_runs, "DEV", [])
    config = configuration(task__family="math", task__labels=[], loop__failure_signal=signal)
    with run_of(tmp_path, config, student=Solver(by_heart)) as run:
        ending = llm2llm(run)
    assert "nothing to augment" in ending
    assert [one for one in ("kfold", "confidence") if one in ending] == offered
