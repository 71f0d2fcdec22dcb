"""What failure signals ask and take is the same for reports as for the loop."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from llm2llm_local.config import TaskConfig
from llm2llm_local.failure_signals import kinds_are_answers, n_least_confident
from llm2llm_local.records import DataRow, Example, Origin, Split
from llm2llm_local.tasks.families import make_task

QUESTIONS = {"multiple_choice": "Which?\n(A) one\n(B) two"}
ANSWERS: dict[str, tuple[str, str]] = {"math": ("#### 1", "#### 2"), "multiple_choice": ("A", "B")}


def seed(number: int, question: str, answer: str) -> Example:
    return Example(number, f"train/{number}", Split.TRAIN, Origin.SEED, question, answer)


@pytest.mark.parametrize("family", get_args(TaskConfig.model_fields["family"].annotation))
def test_reports_group_as_the_task_does(family: Any) -> None:
    question, (one, other) = QUESTIONS.get(family, "What?"), ANSWERS.get(family, ("one", "two"))
    rows = [DataRow(question, answer, "train.jsonl", line) for line, answer in enumerate((one, other), 1)]
    task = make_task(TaskConfig(family=family, labels=()), rows)
    kinds = {task.kind(seed(1, question, one)), task.kind(seed(2, question, other))}
    assert (len(kinds) == 2) is kinds_are_answers(family)
    assert task.kind(seed(3, question, one)) in kinds


@pytest.mark.parametrize(
    ("share", "n", "taken"), [(0.55, 100, 55), (0.14, 50, 7), (0.3, 11, 4), (1.0, 7, 7), (0.01, 5, 1)]
)
def test_a_share_is_rounded_up_from_what_it_is(share: float, n: int, taken: int) -> None:
    assert n_least_confident(share, n) == taken
