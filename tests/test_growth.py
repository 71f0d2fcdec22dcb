"""How a training set grows and may grow, and what is said of iterations that are still to come."""

from __future__ import annotations

import dataclasses
import io
import json
import sqlite3
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

import pytest
from fake_runs import configuration
from rich.console import Console
from timed_runs import Clock, watched
from workspaces import CONFIG_BY_HAND, add_run, fill

from llm2llm_local.report.growth import IterationGrowth, growth_of, most_examples
from llm2llm_local.report.rates import Plan
from llm2llm_local.report.summary import summarize
from llm2llm_local.report.tables import print_summary
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.writer import Store

PLAN = Plan(seeds=60, dev=0, test=500, iterations=3, epochs=10, augmentations_per_failure=2)


def printed(workspace: Path, run_id: int = 1) -> list[list[str]]:
    console = Console(file=io.StringIO(), width=160, force_terminal=False, highlight=False)
    with open_reader(workspace) as connection:
        print_summary(summarize(connection, run_id), console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    heading = next((n for n, line in enumerate(lines) if line.startswith("growth")), None)
    if heading is None:
        return []
    table = takewhile(lambda line: line.split()[0].isdigit(), lines[heading + 2 :])
    return [lines[heading + 1].split(), *(line.split(maxsplit=4) for line in table)]


def growth(workspace: Path, run_id: int = 1) -> tuple[IterationGrowth, ...]:
    with open_reader(workspace) as connection:
        return growth_of(connection, run_id)


def test_a_training_set_of_seeds_grows_by_as_much_every_time_and_else_multiplies() -> None:
    assert [most_examples(PLAN, iteration) for iteration in range(4)] == [60, 180, 300, 420]
    multiplying = dataclasses.replace(PLAN, augment_from="all")
    assert [most_examples(multiplying, iteration) for iteration in range(4)] == [60, 180, 540, 1620]


def test_a_share_of_the_seeds_is_the_most_where_it_is_taken_every_time() -> None:
    plan = dataclasses.replace(PLAN, failures=0.3)
    assert [most_examples(plan, iteration) for iteration in range(3)] == [60, 60 + 36, 60 + 72]


def test_new_examples_for_seeds_alone_never_multiply() -> None:
    plan = dataclasses.replace(PLAN, augment_from="all", subjects="all seeds")
    assert [most_examples(plan, iteration) for iteration in range(3)] == [60, 180, 300]


@pytest.mark.parametrize(("recipe", "sizes"), [("eda", [12, 36]), ("auggpt", [12, 36]), ("fine_tune", [12])])
def test_a_recipe_that_asks_for_no_failures_shows_what_it_comes_to(
    tmp_path: Path, clock: Clock, recipe: str, sizes: list[int]
) -> None:
    watched(tmp_path, clock, configuration(loop__recipe=recipe))
    assert [one.most_examples for one in growth(tmp_path)] == sizes
    with Store(tmp_path) as store, store.transaction():
        store.execute("UPDATE runs SET status = 'pending'")
    assert [one.iteration for one in growth(tmp_path)] == list(range(len(sizes)))  # nothing is ahead


def test_a_control_shows_the_steps_that_it_has(tmp_path: Path, clock: Clock) -> None:
    config = configuration(loop__recipe="fine_tune_matched", loop__match_run=1)
    watched(tmp_path, clock, config, matched_steps=11)
    assert [one.steps for one in growth(tmp_path)] == [11]


def test_a_finished_run_shows_what_its_iterations_came_to(tmp_path: Path, clock: Clock) -> None:
    watched(tmp_path, clock, configuration(loop__iterations=3))
    shown = growth(tmp_path)
    with sqlite3.connect(tmp_path / "llm2llm.db") as connection:
        sql = "SELECT count(*) FROM training_set_examples GROUP BY iteration ORDER BY iteration"
        sizes = [n for (n,) in connection.execute(sql)]
        seconds = [s for (s,) in connection.execute("SELECT sum(seconds) FROM stages GROUP BY iteration")]
    assert [one.training_examples for one in shown] == sizes
    assert [one.most_examples for one in shown] == [12, 24, 36, 48]
    assert [one.steps for one in shown] == [-(-n // 4) * 2 for n in sizes]
    assert [one.seconds for one in shown] == pytest.approx(seconds)
    assert not any(one.is_ahead for one in shown)
    assert [line[:4] for line in printed(tmp_path)[:2]] == [["iter", "training", "at", "most"], ["0", "12", "12", "6"]]


def test_what_is_ahead_is_what_a_run_that_goes_on_comes_to(tmp_path: Path, clock: Clock) -> None:
    """Half of the seeds are failed each time, so what the first iteration measured holds for all."""
    watched(tmp_path, clock, configuration(loop__iterations=3))
    came_to = growth(tmp_path)
    with Store(tmp_path) as store, store.transaction():
        store.execute("UPDATE runs SET status = 'pending'")
        for table in ("stages", "iterations"):
            store.execute(f"DELETE FROM {table} WHERE iteration > 1")
    expected = growth(tmp_path)
    assert [one.is_ahead for one in expected] == [False, False, True, True]
    for one, other in zip(expected, came_to, strict=True):
        assert one.training_examples == pytest.approx(other.training_examples, rel=0.15)
        assert one.seconds == pytest.approx(other.seconds, rel=0.2)
    (line,) = (line for line in printed(tmp_path) if line[0] == "3")
    assert line[1].startswith("~") and line[2] == "48" and line[3].startswith("~") and line[4].startswith("~")


def test_before_anything_is_measured_only_the_most_is_told(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        run = add_run(store, config=json.dumps({**CONFIG_BY_HAND, "loop.iterations": 20}))
        fill(run)
        with store.transaction():
            for table in ("training_set_examples", "predictions", "stages", "iterations"):
                store.execute(f"DELETE FROM {table}")
    shown = growth(tmp_path)
    assert (shown[0].training_examples, shown[0].seconds) == (3, None)
    assert {(one.training_examples, one.steps, one.seconds) for one in shown[1:]} == {(None, None, None)}
    assert [one.most_examples for one in shown] == [3 + 6 * n for n in range(21)]
    lines = printed(tmp_path)
    assert [line[0] for line in lines[1:]] == ["0", "1", "2", "3", "4", "20"]  # what is far ahead isn't all shown
    assert lines[-1] == ["20", "…", "123", "…", "…"]


def test_figures_that_no_machine_reaches_are_not_told_in_full(tmp_path: Path) -> None:
    many = {"loop.iterations": 1000, "loop.augmentations_per_failure": 100, "loop.augment_from": "all"}
    with Store(tmp_path) as store:
        fill(add_run(store, config=json.dumps({**CONFIG_BY_HAND, **many})))
    shown = growth(tmp_path)
    assert shown[-1].most_examples == 3 * 101**1000
    (line,) = (line for line in printed(tmp_path) if line[0] == "1000")
    assert line[2] == "6.3e+2004"
    json.dumps([dataclasses.asdict(one) for one in shown], allow_nan=False)


@pytest.mark.parametrize(("failed", "numbers"), [(0, [0]), (2, [0, 1, 2])])
def test_a_run_whose_student_fails_nothing_has_nothing_ahead(
    tmp_path: Path, failed: int, numbers: Sequence[int]
) -> None:
    with Store(tmp_path) as store:
        run = add_run(store)
        fill(run)
        run.open_iteration(0)
        for name in ("train", "predict", "grade"):
            row = run.open_stage(0, name, 0, "", {}, units=1)
            with run.transaction():
                run.mark_unit_done(row, 2.0)
            run.close_stage(row)
        with store.transaction():
            store.execute("UPDATE predictions SET is_correct = ?", [int(not failed)])
            for table in ("predictions", "training_set_examples", "iterations"):
                store.execute(f"DELETE FROM {table} WHERE iteration > 0")
    assert [one.iteration for one in growth(tmp_path)] == numbers
