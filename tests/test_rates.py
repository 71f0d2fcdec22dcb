"""What work is expected to take: which earlier runs tell, and what follows for a plan."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import Any

import pytest
from fake_runs import SEEDS, configuration
from knowing import writes
from timed_runs import Clock, watched
from workspaces import Workspace, add_run

from llm2llm_local.config import Config, flatten
from llm2llm_local.report.rates import (
    Plan,
    Position,
    Rates,
    estimate,
    iterations_ahead,
    measured_rates,
    plan_of,
    rates_of,
    rates_within,
    seconds_ahead,
)
from llm2llm_local.report.work import RunWork, run_work
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.writer import Store


def test_a_new_run_is_estimated_by_those_before_it(tmp_path: Path, clock: Clock) -> None:
    config = flatten(configuration(loop__iterations=4))
    watched(tmp_path, clock, configuration(loop__iterations=4))
    took = clock.now
    with open_reader(tmp_path) as connection:
        plan = plan_of(run_work(connection, 1))
        rates = measured_rates(connection, config)
    assert plan == Plan(12, 1, 5, iterations=4, epochs=2, augmentations_per_failure=1)
    assert estimate(rates, plan) == pytest.approx(took, rel=0.01)
    shorter = replace(plan, iterations=2, epochs=1)
    watched(tmp_path, clock, configuration(loop__iterations=2, student__epochs=1))
    assert estimate(rates, shorter) == pytest.approx(clock.now - took, rel=0.01)


def test_the_newest_iteration_tells_how_much_there_is_to_do(big_store: Workspace) -> None:
    with open_reader(big_store.folder) as connection:
        rates = rates_within(run_work(connection, 2))
        view = "SELECT n_failures, n_candidates FROM teacher_yield WHERE run_id = 2 AND iteration = ?"
        last, before = (connection.execute(view, [iteration]).fetchone() for iteration in (10, 9))
    assert rates.failures == last[0] / 1000
    assert rates.requests == before[1] / (5 * before[0])


# --- whose rates count ----------------------------------------------------------------------------------------------


def changed(config: dict[str, Any], name: str) -> dict[str, Any]:
    assert name in config
    return {**config, name: "something else"}


@pytest.fixture
def measured(tmp_path: Path, clock: Clock) -> dict[str, Any]:
    """A run of this configuration is done in tmp_path."""
    watched(tmp_path, clock, configuration())
    return flatten(configuration())


def test_rates_of_a_run_are_what_its_engines_took(tmp_path: Path, measured: dict[str, Any]) -> None:
    with open_reader(tmp_path) as connection:
        rates = measured_rates(connection, measured)
        assert rates_within(run_work(connection, 1)) == rates
        n_failures = connection.execute("SELECT count(*) FROM failures WHERE iteration = 2").fetchone()[0]
    expected = Rates(0.5, 0.25, 0.0, 2.0, 0.5, failures=n_failures / len(SEEDS), requests=1.0, accepted=1.0)
    assert astuple(rates) == pytest.approx(astuple(expected))


@pytest.mark.parametrize("name", ["student.model", "student.batch_size", "student.lora_rank", "student.quantization"])
def test_another_student_has_other_rates(tmp_path: Path, measured: dict[str, Any], name: str) -> None:
    with open_reader(tmp_path) as connection:
        rates = measured_rates(connection, changed(measured, name))
    assert (rates.train, rates.predict, rates.grade, rates.failures) == (None, None, None, None)
    assert rates.augment is not None and rates.requests is not None


@pytest.mark.parametrize("name", ["teacher.model", "teacher.attempts", "teacher.max_new_tokens"])
def test_another_teacher_has_other_rates(tmp_path: Path, measured: dict[str, Any], name: str) -> None:
    with open_reader(tmp_path) as connection:
        rates = measured_rates(connection, changed(measured, name))
    assert (rates.augment, rates.check, rates.requests, rates.accepted) == (None, None, None, None)
    assert rates.train is not None and rates.failures is not None


@pytest.mark.parametrize("name", ["task.family", "data.train", "hardware.device", "hardware.threads"])
def test_another_task_or_machine_has_other_rates(tmp_path: Path, measured: dict[str, Any], name: str) -> None:
    with open_reader(tmp_path) as connection:
        assert measured_rates(connection, changed(measured, name)) == Rates()


@pytest.mark.parametrize("name", ["student.learning_rate", "student.epochs", "data.sample", "loop.augment_from"])
def test_a_student_that_learns_otherwise_has_other_failures_at_the_same_speed(
    tmp_path: Path, measured: dict[str, Any], name: str
) -> None:
    with open_reader(tmp_path) as connection:
        rates = measured_rates(connection, changed(measured, name))
        assert rates == replace(measured_rates(connection, measured), failures=None)


def test_hundreds_of_earlier_runs_are_not_looked_into(
    tmp_path: Path, measured: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_into: list[int] = []

    def counted(connection: sqlite3.Connection, run_id: int) -> RunWork:
        looked_into.append(run_id)
        return run_work(connection, run_id)

    monkeypatch.setattr("llm2llm_local.report.rates.run_work", counted)
    with Store(tmp_path) as store:
        for _ in range(100):
            add_run(store, config=json.dumps(measured))
        with store.transaction():  # add_run brings a model of its own
            store.execute("UPDATE runs SET student_model_id = 1, teacher_model_id = 1")
    with open_reader(tmp_path) as connection:
        assert measured_rates(connection, measured) == Rates()
    assert looked_into == list(range(101, 81, -1))


@pytest.mark.parametrize("name", ["loop.iterations", "teacher.temperature", "student.weight_decay"])
def test_what_changes_no_speed_changes_no_rate(tmp_path: Path, measured: dict[str, Any], name: str) -> None:
    with open_reader(tmp_path) as connection:
        assert measured_rates(connection, changed(measured, name)) == measured_rates(connection, measured) != Rates()


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_model_is_known_by_its_content(tmp_path: Path, measured: dict[str, Any], role: str) -> None:
    config = json.dumps(measured)
    with Store(tmp_path) as store:
        with store.transaction():
            store.execute(
                "INSERT INTO models SELECT 9, 'other', kind, name, path, architecture, quantization, 1, 1, "
                "created_at FROM models WHERE id = 1"
            )
        same = add_run(store, config=config)
        other = add_run(store, config=config, **{f"{role}_model_id": 9})
        with store.transaction():  # add_run brings a model of its own
            store.execute("UPDATE runs SET student_model_id = 1 WHERE student_model_id != 9")
            store.execute("UPDATE runs SET teacher_model_id = 1 WHERE teacher_model_id != 9")
    with open_reader(tmp_path) as connection:
        rates = [rates_of(connection, run_work(connection, run.run_id)) for run in (same, other)]
        newest = measured_rates(connection, measured)
    missing = {"student": (True, False), "teacher": (False, True)}[role]
    assert None not in (rates[0].train, rates[0].augment)
    assert (rates[1].train is None, rates[1].augment is None) == missing
    assert newest == rates[1]  # what lies at that path now is the other model


def test_only_earlier_runs_count_for_a_run(tmp_path: Path, clock: Clock) -> None:
    with Store(tmp_path) as store, store.transaction():
        early = add_run(store, config=json.dumps(flatten(configuration())))
    watched(tmp_path, clock, configuration())
    with Store(tmp_path) as store, store.transaction():
        store.execute("UPDATE runs SET student_model_id = 1, teacher_model_id = 1")
    with open_reader(tmp_path) as connection:
        assert rates_of(connection, run_work(connection, early.run_id)) == Rates()


# --- recipes --------------------------------------------------------------------------------------------------------

FAILURES = ("failures",)
OF_NEW = ("augment", "check", "vote", "student_vote", "requests", "accepted")


def recipe(name: str, **changes: Any) -> Config:
    match_run = {"loop__match_run": 1} if name == "fine_tune_matched" else {}
    return configuration(loop__recipe=name, **match_run, **changes)


@pytest.mark.parametrize("name", ["eda", "auggpt", "self_instruct", "one_shot", "augment_all", "continue"])
def test_a_run_of_any_recipe_is_estimated_by_one_like_it(tmp_path: Path, clock: Clock, name: str) -> None:
    """What the store says is asked for is what the loop asked for, and a new run is reckoned to take as long."""
    config = recipe(name, loop__iterations=3)
    watched(tmp_path, clock, config)
    with open_reader(tmp_path) as connection:
        work = run_work(connection, 1)
        estimated = estimate(measured_rates(connection, flatten(config)), plan_of(work))
        made = connection.execute("SELECT count(*) FROM teacher_calls GROUP BY iteration, attempt")
        assert sorted(one.rows_total for one in work.stages if one.stage == "augment") == sorted(n for (n,) in made)
    assert estimated == pytest.approx(clock.now, rel=0.1)


def test_a_control_with_as_many_steps_takes_as_many_passes(tmp_path: Path, clock: Clock) -> None:
    config = recipe("fine_tune_matched")
    looks = watched(tmp_path, clock, config, matched_steps=12)  # 3 to an epoch
    assert {stage.rows_total for look in looks for stage in look.told.stages if stage.stage == "train"} == {12}
    with open_reader(tmp_path) as connection:
        work = run_work(connection, 1)
        rates = rates_within(work)
        assert rates.train == pytest.approx(0.5)  # for an example in an epoch, as in any other run
        assert plan_of(work).epochs == 4
        assert estimate(rates, plan_of(work)) == pytest.approx(clock.now)


@pytest.mark.parametrize(
    ("earlier", "later", "missing"),
    [
        ("eda", "llm2llm", FAILURES + OF_NEW),
        ("auggpt", "llm2llm", FAILURES + OF_NEW),
        ("self_instruct", "llm2llm", FAILURES),
        ("fine_tune", "llm2llm", FAILURES + OF_NEW),
    ],
)
def test_other_recipes_have_other_failures_and_other_writers_other_speeds(
    tmp_path: Path, clock: Clock, earlier: str, later: str, missing: tuple[str, ...]
) -> None:
    watched(tmp_path, clock, recipe(earlier))
    with open_reader(tmp_path) as connection:
        own, other = (measured_rates(connection, flatten(recipe(name))) for name in (earlier, later))
    assert other == replace(own, **dict.fromkeys(missing))
    assert other.train is not None and other.predict is not None


def test_votes_on_examples_of_another_writer_are_taken_to_be_like_those_on_seeds(tmp_path: Path, clock: Clock) -> None:
    watched(tmp_path, clock, configuration(checks__verify="on", checks__accept_probability=0.6), writes)
    with open_reader(tmp_path) as connection:
        rates = measured_rates(connection, flatten(recipe("eda", checks__verify="on", checks__accept_probability=0.6)))
    assert rates.vote is None and rates.student_vote is None
    assert rates.of_stage("vote") == rates.audit and rates.audit is not None
    assert rates.of_stage("student_vote") == rates.predict and rates.predict is not None


# --- arithmetic -----------------------------------------------------------------------------------------------------

RATES = Rates(1.0, 10.0, 100.0, 1000.0, 10_000.0, failures=0.2, requests=1.5, accepted=0.5)
PLAN = Plan(seeds=10, dev=2, test=3, iterations=1, epochs=2, augmentations_per_failure=3)


def test_an_estimate_by_hand() -> None:
    # 2 failures, 6 examples wanted: 9 requests and candidates, 3 accepted.
    first = 1 * 2 * 10 + 10 * 15 + 100 * 15 + 1000 * 9 + 10_000 * 9
    assert estimate(RATES, PLAN) == pytest.approx(first + 1 * 2 * 13 + 10 * 15 + 100 * 15)
    asked_all = estimate(RATES, replace(PLAN, augment_from="all"))
    assert asked_all == pytest.approx(first + 1 * 2 * 13 + 10 * 18 + 100 * 15)


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        (Position(1, 13), 2 * 13 + 150 + 1500),
        (Position(1, 13, {"train": 1}), 150 + 1500),
        (Position(1, 13, {"train": 1, "predict": 1}), 1500),
        (Position(1, 13, {"train": 1, "predict": 1, "grade": 1}, failures=2), 0),
        (Position(2, 16), 0),  # the last iteration is done, the run not yet
    ],
)
def test_stages_that_were_opened_are_not_ahead(position: Position, expected: float) -> None:
    assert seconds_ahead(RATES, PLAN, position) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("asked", "unchecked", "may_ask", "requests", "candidates"),
    [
        (0, 0, True, 18, 18),  # 4 failures, 12 examples wanted, 18 requests expected
        (12, 12, True, 6, 18),
        (12, 0, True, 6, 6),
        (20, 8, True, 0, 8),
        (12, 12, False, 0, 12),
    ],
)
def test_what_was_asked_is_not_asked_again(
    asked: int, unchecked: int, may_ask: bool, requests: int, candidates: int
) -> None:
    opened = {"train": 1, "predict": 1, "grade": 1, "augment": 1}
    position = Position(0, 10, opened, failures=4, asked=asked, unchecked=unchecked, may_ask=may_ask)
    last_iteration = 1 * 2 * 16 + 10 * 15 + 100 * 15  # with 6 more examples
    expected = 1000 * requests + 10_000 * candidates + last_iteration
    assert seconds_ahead(RATES, PLAN, position) == pytest.approx(expected)


def test_a_student_without_failures_ends_the_run() -> None:
    assert estimate(replace(RATES, failures=0.0), PLAN) == pytest.approx(1 * 2 * 10 + 10 * 15 + 100 * 15)


@pytest.mark.parametrize("name", [field.name for field in fields(Rates)])
def test_an_estimate_that_lacks_anything_is_none(name: str) -> None:
    rates = replace(RATES, audit=1.0, calibrate=1.0, vote=1.0, student_vote=1.0)
    plan = replace(PLAN, verifiers=("teacher", "student"), votes=3, audit_ballots=3, folds=5)
    assert estimate(rates, plan) is not None
    lacking = replace(rates, **{name: None})
    if name == "vote":  # as long as a ballot of the audit
        assert estimate(lacking, plan) == estimate(rates, plan)
    elif name == "student_vote":  # as long as another answer
        assert estimate(lacking, plan) == estimate(replace(rates, student_vote=rates.predict), plan)
    else:
        assert estimate(lacking, plan) is None


def test_an_estimate_with_folds_and_votes_by_hand() -> None:
    rates = replace(RATES, audit=0.5, calibrate=0.1, vote=0.25, student_vote=2.0)
    votes = 0.5 * 10 * 3 + 0.1 * 10 + 0.25 * 9 * 3 + 2.0 * 9  # 9 requests
    folds = 5 * (1 * 2 * 8 + 10 * 2)
    verified = replace(PLAN, verifiers=("teacher", "student"), votes=3, audit_ballots=3, folds=5)
    plain = estimate(rates, PLAN)
    assert plain is not None
    assert estimate(rates, verified) == pytest.approx(plain + votes + folds)
    # With two rounds the folds' students of the second train on the 3 new examples, too; an iteration's own student is
    # asked about no seeds, and after the last round nobody is.
    twice, by_folds = (replace(verified, iterations=2, failure_signal=signal) for signal in ("train", "kfold"))
    again = 5 * (1 * 2 * 11 + 10 * 2) - 3 * 10 * 10 - 100 * 10
    without, known = estimate(rates, twice), estimate(rates, by_folds)
    assert without is not None and known == pytest.approx(without + again)
    # After the audit, three of the folds' trainings and two of their answers:
    begun = Position(0, 10, {"audit": 1, "fold_train": 3, "fold_predict": 2})
    done = 0.5 * 10 * 3 + 3 * 1 * 2 * 8 + 2 * 10 * 2
    assert seconds_ahead(rates, verified, begun) == pytest.approx(plain + votes + folds - done)


def test_a_share_that_is_taken_for_failures_needs_no_measuring() -> None:
    known = replace(PLAN, failures=0.2)
    assert estimate(replace(RATES, failures=None), known) == estimate(RATES, PLAN)


def test_recipes_for_all_seeds_by_hand() -> None:
    # 10 seeds, 30 examples wanted: 45 requests and candidates, 15 accepted.
    all_seeds = 1 * 2 * 10 + 10 * 15 + 100 * 15 + (1000 + 10_000) * 45 + 1 * 2 * 25 + 10 * 15 + 100 * 15
    plan = replace(PLAN, subjects="all seeds")
    assert estimate(replace(RATES, failures=None), plan) == pytest.approx(all_seeds)
    assert estimate(replace(RATES, failures=0.0), plan) == pytest.approx(all_seeds)
    # However many fail, it is the seeds that new ones are made for.
    grown = replace(PLAN, subjects="all seeds", augment_from="all", iterations=3)
    sizes = [one.training_examples for one in iterations_ahead(replace(RATES, failures=1.0), grown, Position(0, 10))]
    assert sizes == pytest.approx([10, 25, 40, 55])


def test_what_is_not_needed_may_be_unknown() -> None:
    only_a_student = Rates(train=1.0, predict=10.0, grade=100.0)
    assert estimate(only_a_student, replace(PLAN, iterations=0)) == pytest.approx(1 * 2 * 10 + 10 * 15 + 100 * 15)


@pytest.mark.parametrize("iterations", [100, 150, 1000])
def test_what_grows_from_round_to_round_is_never_not_a_number(iterations: int) -> None:
    rates = replace(RATES, grade=0.0, requests=1.2, accepted=0.8)
    seconds = estimate(rates, replace(PLAN, iterations=iterations, augment_from="all"))
    assert seconds is not None and seconds > 365 * 86_400
