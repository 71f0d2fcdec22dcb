"""Of one thing there is no plural, wherever a number is told."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.console import Console

from llm2llm_local.counted import counted
from llm2llm_local.headless import HeadlessWatcher
from llm2llm_local.report.failures import FailureRecord, failure_lines
from llm2llm_local.report.summary import IterationSummary, RunSummary
from llm2llm_local.report.tables import print_summary


def test_only_one_is_singular() -> None:
    assert [counted(n, "group") for n in (0, 1, 2)] == ["0 groups", "1 group", "2 groups"]
    assert [counted(n, "batch", "batches") for n in (1, 2000)] == ["1 batch", "2,000 batches"]


@pytest.mark.parametrize(
    ("stage", "one", "two"),
    [
        ("train", "1 segment", "2 segments"),
        ("predict", "1 batch", "2 batches"),
        ("grade", "1 split", "2 splits"),
        ("augment", "1 group", "2 groups"),
        ("check", "1 group", "2 groups"),
    ],
)
def test_units_of_work_are_told_as_many_as_there_are(stage: str, one: str, two: str) -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=False, highlight=False)
    watcher = HeadlessWatcher(console, None)
    watcher.stage(0, stage, 0, 0, 2)
    watcher.stage(0, stage, 0, 1, 2)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [f"iteration 0 {stage}: {two}", f"iteration 0 {stage}: {one}"]


def test_one_failure_is_told_as_one() -> None:
    failure = FailureRecord(
        iteration=0, example_id=1, question="q", answer="a", predicted_answer="b", confidence=None, times_wrong=1
    )
    assert failure_lines([failure])[0].startswith("iteration 0: 1 failure (")
    assert failure_lines([failure] * 2)[0].startswith("iteration 0: 2 failures (")


@pytest.mark.parametrize(
    ("n", "candidates", "cut_off"),
    [
        (1, "no candidate was accepted", "of the seed answers 1 was cut off"),
        (2, "none of the teacher's 2 candidates was accepted", "of the seed answers 2 were cut off"),
    ],
)
def test_notes_of_a_report_are_about_as_many_as_there_are(n: int, candidates: str, cut_off: str) -> None:
    row = IterationSummary(0, 3, 1, n, 0, n, True, {}, {"train": n}, {}, {})
    summary = RunSummary(1, "done", "", "teacher", "student", (row, dataclasses.replace(row, iteration=1)), ())
    console = Console(file=io.StringIO(), width=160, force_terminal=False, highlight=False)
    print_summary(summary, console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert f"iteration 1: {candidates}\n" in text
    assert f"iteration 1: {cut_off} " in text
