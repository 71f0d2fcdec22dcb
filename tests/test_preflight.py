"""What is measured of the teacher's prompts before a run begins is as long as what it is asked later."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fake_runs
import pytest
from fake_runs import LABELS, configuration, run_of
from fakes import FakeTeacher

from llm2llm_local.loop.context import Run
from llm2llm_local.loop.plans import teacher_in_force
from llm2llm_local.loop.preflight import check_prompts_fit
from llm2llm_local.loop.prompts import demonstrations_for, drawn_to_show, prompt_for
from llm2llm_local.loop.vote import audited, ballot_on, drawn_for
from llm2llm_local.model_files.layers import LayerSizes
from llm2llm_local.records import DataRow, Failure, Split
from llm2llm_local.teacher.plan import TeacherWishes, plan_teacher
from llm2llm_local.teacher.protocol import Progress, TeacherRequest

_LAYERS = LayerSizes((2**20,) * 2, (64,) * 2, 2**20, 2**20, False, 32, 64, 2, 1000, 10**6)
_WISHES = TeacherWishes(None, 10**5, None, None, None, "auto", 2, 1000)


class Measuring(FakeTeacher):
    """Counts a character as a token."""

    def check_prompts(self, group: Sequence[TeacherRequest], progress: Progress) -> int:
        self.requests += group
        return max(len(request.prompt.completion) for request in group)


def seed(n_words: int, label: str, number: int) -> DataRow:
    return DataRow("word " * n_words + str(number), label, "train.jsonl", number)


def measured(run: Run, teacher: Measuring) -> int:
    """Characters of the longest prompt looked at; the plan in force has room for it."""
    plan = plan_teacher(_LAYERS, "cpu", 2**33, _WISHES)
    with run.store.transaction():
        run.store.add_plan("for a test", plan.record(), {}, [])
    check_prompts_fit(run)
    longest = max(len(request.prompt.completion) for request in teacher.requests)
    known = teacher_in_force(run.store).longest_request
    assert known is not None and known >= longest + run.config.teacher.max_new_tokens
    return longest


def longest_asked(run: Run) -> int:
    """Of all that may be asked in the first iteration, demonstrations being drawn anew for each attempt; where new
    examples are augmented too, of one that is no longer than its seed.
    """
    seeds, rng_seed = run.store.examples(Split.TRAIN), run.config.loop.rng_seed
    failing = list(seeds)
    if run.config.loop.augment_from == "all":
        failing += [dataclasses.replace(one, id=-one.id) for one in seeds]
    lengths = []
    for one in failing:
        for attempt in range(8):
            shown = drawn_to_show(seeds, rng_seed, 0, attempt, 0)
            demonstrations = demonstrations_for(run.task, one, shown, run.config.teacher.demonstrations)
            lengths.append(len(prompt_for(run, Failure(one, None), demonstrations, ()).completion))
    return max(lengths)


@pytest.mark.parametrize(
    "seeds",
    [
        [seed(40 + n, LABELS[n % 3], n) for n in range(9)],
        [seed(40 + n, LABELS[n % 3], n) for n in range(30)],
        [seed(300 + n, f"alone {n}", n) for n in range(12)] + [seed(200, "together", 20 + n) for n in range(4)],
        [seed(5, "short", n) for n in range(2)] + [seed(100, "mixed", 10 + n) for n in range(3)],
    ],
    ids=["fewer than demonstrations", "many", "longer ones without others", "two kinds"],
)
@pytest.mark.parametrize("augment_from", ["seeds", "all"])
def test_prompts_are_measured_with_as_many_demonstrations_as_they_get(
    seeds: list[DataRow], augment_from: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_runs, "SEEDS", seeds)
    labels = list(dict.fromkeys(row.answer for row in seeds))
    config = configuration(task__labels=labels, loop__iterations=1, loop__augment_from=augment_from)
    teacher = Measuring()
    with run_of(tmp_path, config, teacher) as run:
        assert run.config.teacher.demonstrations == 3
        assert longest_asked(run) <= measured(run, teacher)
        assert len(teacher.requests) <= 8


def test_every_ballot_of_the_audit_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In math a seed is solved once more than a candidate, with other seeds shown."""
    numbers = [DataRow(f"What is {n} + {n}?", f"{n} and {n}\n#### {2 * n}", "train.jsonl", n) for n in range(1, 40)]
    numbers.append(DataRow("What is 50 + 50, in words " + "or in figures " * 9 + "?", "#### 100", "train.jsonl", 40))
    monkeypatch.setattr(fake_runs, "SEEDS", numbers)
    sums: dict[str, Any] = {"task__family": "math", "task__labels": []}
    config = configuration(**sums, checks__verify="on", checks__verifier="teacher", checks__votes=1)
    teacher = Measuring()
    with run_of(tmp_path, config, teacher) as run:
        measured(run, teacher)
        seeds = run.store.examples(Split.TRAIN)
        measured_prompts = {request.prompt for request in teacher.requests}
        (one,) = audited(run, [max(seeds, key=lambda seed: len(seed.question))])
        ballots = [ballot_on(run, drawn_for(run, seeds, n), one, one.subjects[0], n) for n in range(2)]
    assert ballots[0] != ballots[1] and {ballot.prompt for ballot in ballots} <= measured_prompts
