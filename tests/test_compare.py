"""`llm2llm compare`: results of runs side by side, tested on the same rows, and what they took."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest
from compared_runs import add_answering_run, carry_out
from fake_runs import SEEDS as FAKE_SEEDS
from fake_runs import configuration, run_of
from fresh_interpreter import imported_by
from hypothesis import given, settings
from hypothesis import strategies as st
from knowing import KindStudent, KnowingTeacher, writes
from plans import assert_indexed
from rich.console import Console
from scipy.stats import binomtest
from workspaces import Workspace, add_run

from llm2llm_local.config import flatten
from llm2llm_local.loop.llm2llm import llm2llm
from llm2llm_local.records import ReviewDecision, Split, Status
from llm2llm_local.report.compare import Comparison, Difference, compare
from llm2llm_local.report.compare_output import print_comparison
from llm2llm_local.report.results import Change, RunCost, RunResult, change_of, control_of, matched_run, run_cost
from llm2llm_local.report.statistics import mcnemar, p_text, spread
from llm2llm_local.report.status import run_statuses
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.wishes import add_review
from llm2llm_local.store.writer import Store
from llm2llm_local.wilson import wilson

SEEDS = [(f"seed {n}", "ab"[n % 2]) for n in range(4)]
TEST = [(f"test {n}", "ab"[n % 2]) for n in range(10)]
DEV = [(f"dev {n}", "ab"[n % 2]) for n in range(2)]
ROWS = {Split.TRAIN: SEEDS, Split.DEV: DEV, Split.TEST: TEST}


def wrong_on(*numbers: int) -> dict[str, str]:
    """A student who is wrong on these test rows alone."""
    return {f"test {n}": "ab"[(n + 1) % 2] for n in numbers}


def comparison_of(workspace: Path, *run_ids: int) -> Comparison:
    with open_reader(workspace) as connection:
        return compare(connection, run_ids)


def results_of(comparison: Comparison) -> list[RunResult]:
    return [run.result for run in comparison.runs if run.result is not None]


# --- the statistics -------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(0, 400))
def test_p_is_that_of_the_two_sided_binomial_test(gained: int, lost: int) -> None:
    n = gained + lost
    expected = binomtest(gained, n, 0.5).pvalue if n else 1.0
    assert mcnemar(gained, lost) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(gained, lost) == mcnemar(lost, gained)


def test_p_of_a_worked_example() -> None:
    """10 against 2 of 12: 2 · (1 + 12 + 66) / 4096."""
    assert mcnemar(10, 2) == 158 / 4096
    assert mcnemar(0, 0) == mcnemar(3, 3) == mcnemar(4, 3) == 1.0


def test_p_of_thousands_of_rows_is_no_trouble() -> None:
    assert mcnemar(20_000, 0) == 0.0  # less than any float
    assert mcnemar(2600, 2400) == pytest.approx(binomtest(2600, 5000, 0.5).pvalue)


def test_a_spread_is_that_of_a_sample() -> None:
    assert spread([0.8, 0.7, 0.9]) == spread([0.9, 0.8, 0.7])
    found = spread([0.8, 0.7, 0.9])
    assert (found.n, found.low, found.high) == (3, 0.7, 0.9)
    assert found.mean == pytest.approx(0.8)
    assert found.deviation == pytest.approx(0.1)
    assert spread([0.5]).deviation is None


@pytest.mark.parametrize(("p", "shown"), [(1.0, "1.000"), (0.0386, "0.039"), (0.001, "0.001"), (0.00099, "<0.001")])
def test_a_small_p_is_not_shown_as_nothing(p: float, shown: str) -> None:
    assert p_text(p) == shown


# --- results of runs ------------------------------------------------------------------------------------------------


def test_the_last_graded_student_is_the_result(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        run = add_answering_run(
            store, ROWS, [wrong_on(0, 1, 2), wrong_on(0)], [[("new 1", "a"), ("new 2", "b")], [("too late", "a")]]
        )
        run.open_iteration(2)  # in training, not graded
    (result,) = results_of(comparison_of(tmp_path, 1))
    assert result == RunResult(
        iteration=1,
        accuracy={Split.TRAIN: wilson(4, 4), Split.DEV: wilson(2, 2), Split.TEST: wilson(9, 10)},
        examples_added=2,
        steps=4 + 6,
        final_steps=6,
        paired=None,
    )


@pytest.mark.parametrize(
    ("wrong_on_dev", "chosen"), [((2, 0, 1), 1), ((2, 1, 0), 2), ((1, 0, 0), 1), ((0, 0, 0), 0), ((0, 1, 2), 0)]
)
def test_the_best_on_dev_is_the_result_where_that_is_asked_for(
    wrong_on_dev: tuple[int, ...], chosen: int, tmp_path: Path
) -> None:
    dev = [question for question, _ in ROWS[Split.DEV]]
    students = [
        # The more is right on test, the less on dev.
        {**dict.fromkeys(dev[:n_dev], "no such answer"), **wrong_on(*range(2 - n_dev))}
        for n_dev in wrong_on_dev
    ]
    with Store(tmp_path) as store:
        add_answering_run(store, ROWS, students, loop__select="best_dev")
        add_answering_run(store, ROWS, students, loop__select="last")
    best, last = results_of(comparison_of(tmp_path, 1, 2))
    assert (best.iteration, last.iteration) == (chosen, 2)
    n_dev = wrong_on_dev[chosen]
    assert best.accuracy[Split.DEV] == wilson(2 - n_dev, 2)
    assert best.accuracy[Split.TEST] == wilson(10 - (2 - n_dev), 10)
    assert last.paired is not None and last.paired.gained == max(0, wrong_on_dev[2] - n_dev)
    with open_reader(tmp_path) as connection:
        accuracies = [status.test_accuracy for status in run_statuses(connection, tmp_path, None)]
    assert accuracies == [best.accuracy[Split.TEST].share, last.accuracy[Split.TEST].share]


def test_the_change_of_a_run_is_counted_row_by_row(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_answering_run(store, ROWS, [wrong_on(0, 1, 2), wrong_on(0), wrong_on(0, 3)], loop__select="last")
        add_answering_run(store, ROWS, [wrong_on(0)])
    with open_reader(tmp_path) as connection:
        change = change_of(connection, 1)
        assert change == Change(2, wilson(7, 10), wilson(8, 10), gained=2, lost=1)
        assert change.p == mcnemar(2, 1) == 1.0
        assert change_of(connection, 2) is None


def test_steps_of_folds_count_among_all_and_not_as_those_of_the_final_training(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        run = add_answering_run(store, ROWS, [wrong_on(0)])
        with run.transaction():
            run.add_checkpoint(0, 90, 90, run.folder / "iteration-0/fold-1/adapter", "0" * 64, 8, 1.0, fold=1)
    (result,) = results_of(comparison_of(tmp_path, 1))
    assert (result.final_steps, result.steps) == (4, 4 + 90)


def test_what_a_run_took(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_answering_run(store, ROWS, [{}, {}], [[("new 1", "a"), ("new 2", "b")], [("new 3", "a")]])
        add_answering_run(store, ROWS, [{}], [[("new 4", "a")]])
    with open_reader(tmp_path) as connection:
        assert run_cost(connection, 1) == RunCost(60, 12, 0, 0, 0, {"train": 120.0, "grade": 0.0})


OF_STUDENT = {"data.train_rows": "these", "student.learning_rate": 1e-3, "student.model": "this one"}


def test_a_control_is_the_newest_of_the_same_seeds_student_test_rows_and_steps(tmp_path: Path) -> None:
    others = {**ROWS, Split.TEST: TEST[:5]}
    with Store(tmp_path) as store:
        add_answering_run(store, ROWS, [{}, wrong_on(0)], [[("new", "a")]])
        for rows, rng_seed, status, fields in (
            (ROWS, 0, Status.DONE, {}),
            (ROWS, 0, Status.DONE, {"loop.matched_steps": 4}),  # it has been forked for other decisions since
            (ROWS, 0, Status.DONE, {"data.train_rows": "others"}),
            (ROWS, 0, Status.DONE, {"student.learning_rate": 1e-5}),
            (ROWS, 0, Status.DONE, {"student.model": "another"}),
            (ROWS, 7, Status.DONE, {}),
            (ROWS, 0, Status.FAILED, {}),
            (others, 0, Status.DONE, {}),
        ):
            add_answering_run(store, rows, [wrong_on(0, 1, 2)], rng_seed=rng_seed, status=status)
            known = {"loop.match_run": 1, "loop.matched_steps": 5, "teacher.temperature": 2.0, **OF_STUDENT, **fields}
            with store.transaction():
                store.execute(
                    "UPDATE runs SET fingerprint_fields = ? WHERE run_id = (SELECT max(run_id) FROM runs)",
                    [json.dumps(known)],
                )
        with store.transaction():
            own = json.dumps(OF_STUDENT)
            store.execute("UPDATE runs SET fingerprint_fields = ? WHERE run_id = 1", [own])
    with open_reader(tmp_path) as connection:
        control = control_of(connection, 1)
        assert [matched_run(connection, run_id) for run_id in (1, 2)] == [None, 1]
    with Store(tmp_path) as store:  # as where a file for several recipes names it
        idle = "json_remove(fingerprint_fields, '$.\"loop.matched_steps\"')"
        store.execute(f"UPDATE runs SET fingerprint_fields = {idle} WHERE run_id = 3")
    with open_reader(tmp_path) as connection:
        assert matched_run(connection, 3) is None
        assert control_of(connection, 2) is None
    assert control is not None and (control.run_id, control.accuracy.share) == (2, 0.7)
    assert (control.beside.gained, control.beside.lost, control.beside.points) == (2, 0, 20.0)
    document = Workspace(tmp_path).llm2llm("report", "1", "--json").json()
    assert document["control"]["run_id"] == 2 and document["control"]["beside"]["points"] == 20.0


def test_votes_are_counted_as_they_were_asked_with_their_tokens(tmp_path: Path) -> None:
    config = configuration(checks__verify="on", checks__votes=2, checks__accept_probability=0.6)
    teacher = KnowingTeacher(writes)
    with run_of(tmp_path, config, teacher, KindStudent(lambda example, segment: False)) as run:
        with run.store.transaction():
            run.store._store.execute("UPDATE runs SET config = ?", [json.dumps(flatten(config))])
        llm2llm(run)
    with open_reader(tmp_path) as connection:
        cost = run_cost(connection, 1)
        (rows,) = connection.execute("SELECT count(*) FROM votes").fetchone()
    assert rows > cost.teacher_votes == len(teacher.ballots) > 2 * len(FAKE_SEEDS)
    n = len(teacher.requests)
    assert (cost.new_example_input_tokens, cost.new_example_output_tokens) == (7 * n, 3 * n)
    assert (cost.vote_input_tokens, cost.vote_output_tokens) == (11 * len(teacher.ballots), 0)
    out = " ".join(Workspace(tmp_path).llm2llm("compare", "1").out.split())
    assert (
        "tokens read by votes tokens written" in out
        and f"{cost.input_tokens:,} {cost.vote_input_tokens:,} {3 * n:,}" in out
    )
    assert "teacher votes: on seeds in the audit and on candidates" in out and "+:" not in out


def test_votes_of_a_version_that_recorded_no_tokens_are_said_to_be_missing(tmp_path: Path) -> None:
    teacher = KnowingTeacher(writes)
    config = configuration(checks__verify="on", checks__accept_probability=0.6)
    with run_of(tmp_path, config, teacher, KindStudent(lambda example, segment: False)) as run:
        llm2llm(run)
        with run.store.transaction():
            run.store._store.execute("UPDATE stages SET ballot_input_tokens = NULL, ballot_output_tokens = NULL")
            run.store._store.execute("UPDATE runs SET config = ?", [json.dumps(flatten(config))])
    with open_reader(tmp_path) as connection:
        cost = run_cost(connection, 1)
    assert (cost.vote_input_tokens, cost.vote_output_tokens) == (None, None)
    out = " ".join(Workspace(tmp_path).llm2llm("compare", "1").out.split())
    assert f"{7 * len(teacher.requests):,}+ – {3 * len(teacher.requests):,}+" in out
    assert "+: and what the votes took, which the version that asked for them didn't record" in out


def test_the_others_are_tested_against_the_first(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_answering_run(store, ROWS, [wrong_on(0, 1, 2, 3)])
        add_answering_run(store, ROWS, [wrong_on(3, 4)])
    first, second = results_of(comparison_of(tmp_path, 1, 2))
    assert first.paired is None
    paired = second.paired
    assert paired is not None
    assert (paired.other_run_id, paired.n_pairs, paired.n_rows, paired.n_other_rows) == (1, 10, 10, 10)
    assert (paired.gained, paired.lost, paired.p) == (3, 1, 0.625)
    assert paired.points == pytest.approx(20.0)
    (_, turned) = results_of(comparison_of(tmp_path, 2, 1))
    assert turned.paired is not None
    assert (turned.paired.gained, turned.paired.lost, turned.paired.other_run_id) == (1, 3, 2)


def test_rows_are_paired_by_what_they_say_and_not_by_their_place(tmp_path: Path) -> None:
    """The second run's test file has other rows in front and another order; one question has another gold answer."""
    other = [("another", "a"), *reversed(TEST[:6]), ("test 6", "b"), ("test 7", "b")]
    with Store(tmp_path) as store:
        add_answering_run(store, ROWS, [wrong_on(0)])
        add_answering_run(store, {**ROWS, Split.TEST: other}, [wrong_on(1, 6)])
    _, second = results_of(comparison_of(tmp_path, 1, 2))
    assert second.paired is not None
    assert (second.paired.n_pairs, second.paired.n_rows, second.paired.n_other_rows) == (7, 9, 10)
    assert (second.paired.gained, second.paired.lost) == (1, 1)


def test_a_row_that_is_there_twice_is_paired_twice_and_no_more(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_answering_run(store, {**ROWS, Split.TEST: [("test 0", "a")] * 3}, [{}])
        add_answering_run(store, {**ROWS, Split.TEST: [("test 0", "a")] * 2}, [wrong_on(0)])
    _, second = results_of(comparison_of(tmp_path, 1, 2))
    assert second.paired is not None
    assert (second.paired.n_pairs, second.paired.gained, second.paired.lost) == (2, 0, 2)


def test_runs_without_a_row_in_common_are_not_tested(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_answering_run(store, ROWS, [{}])
        add_answering_run(store, {**ROWS, Split.TEST: [("something else", "a")]}, [{}])
        add_answering_run(store, {Split.TRAIN: SEEDS}, [{}])
        add_run(store)
    comparison = comparison_of(tmp_path, 1, 2, 3, 4)
    assert [run.result and run.result.paired for run in comparison.runs] == [None] * 4
    assert comparison.runs[3].result is None
    assert comparison_of(tmp_path, 4, 1).runs[1].result == results_of(comparison_of(tmp_path, 1))[0]


def test_runs_that_differ_in_their_rng_seed_alone_are_repetitions(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_answering_run(store, ROWS, [wrong_on(0)], rng_seed=1)
        add_answering_run(store, ROWS, [wrong_on(0)], rng_seed=1, student__epochs=7)
        add_answering_run(store, ROWS, [wrong_on(0, 1, 2)], rng_seed=2)
        add_answering_run(store, ROWS, [wrong_on(0)], rng_seed=1)  # the first one once more
        other_code = add_answering_run(store, ROWS, [wrong_on(0)], rng_seed=3)
        store.execute("UPDATE runs SET fingerprint_fields = ? WHERE run_id = ?", ['{"code": "x"}', other_code.run_id])
        store.execute("UPDATE runs SET fingerprint_fields = ? WHERE run_id = 3", ['{"loop.rng_seed": 2}'])
    (found,) = comparison_of(tmp_path, 1, 2, 3, 4, 5).repetitions
    assert (found.run_ids, found.rng_seeds) == ((1, 3), (1, 2))
    test = found.accuracy[Split.TEST]
    assert (test.n, test.low, test.high) == (2, 0.7, 0.9)
    assert test.mean == pytest.approx(0.8)
    assert test.deviation == pytest.approx(math.sqrt(0.02))
    assert comparison_of(tmp_path, 1, 2, 4, 5).repetitions == ()


def test_a_run_that_a_person_had_a_part_in_repeats_no_other(tmp_path: Path) -> None:
    new = [[("new", "a")]]
    with Store(tmp_path) as store:
        for rng_seed in (1, 2, 3):
            add_answering_run(store, ROWS, [wrong_on(0), wrong_on(0)], new, rng_seed=rng_seed)
        (candidate,) = store.execute("SELECT id FROM candidates WHERE run_id = 3").fetchone()
    for decision in (ReviewDecision.ACCEPT, ReviewDecision.REJECT):  # the first confirms what is in
        (found,) = comparison_of(tmp_path, 1, 2, 3).repetitions
        assert found.run_ids == (1, 2, 3)
        add_review(tmp_path, 3, candidate, decision)
        carry_out(tmp_path, 3)
    comparison = comparison_of(tmp_path, 1, 2, 3)
    (found,) = comparison.repetitions
    assert found.run_ids == (1, 2)
    assert Difference("decided by a person", ("0", "0", "1")) in comparison.differences


def test_runs_whose_seeds_were_drawn_anew_are_repetitions_too(tmp_path: Path) -> None:
    """Other draws have their labels in another order, or lack one. Other test rows are another comparison."""
    with Store(tmp_path) as store:
        for loop, sample, labels, test in (
            (1, 1, "ab", 0),
            (2, 2, "ba", 0),
            (1, 2, "b", 0),
            (1, 1, "ab", 0),
            (3, 3, "ab", 7),
        ):
            run = add_answering_run(
                store,
                ROWS,
                [{}],
                rng_seed=loop,
                data__sample={"n": 4, "rng_seed": sample},
                data__test_sample={"n": 10, "rng_seed": test},
            )
            fields = {"task.labels": list(labels), "data.sample": {"n": 4, "rng_seed": sample}, "loop.rng_seed": loop}
            store.execute(
                "UPDATE runs SET fingerprint_fields = ?, labels = ? WHERE run_id = ?",
                [json.dumps(fields), json.dumps(list(labels)), run.run_id],
            )
        add_answering_run(store, ROWS, [{}], rng_seed=4, data__sample={"n": 3, "rng_seed": 4})
    (found,) = comparison_of(tmp_path, 1, 2, 3, 4, 5, 6).repetitions
    assert (found.run_ids, found.rng_seeds) == ((1, 2, 3), (1, 2, 1))


def test_without_a_sample_other_labels_are_another_task(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        for rng_seed, labels in ((1, "ab"), (2, "abc")):
            run = add_answering_run(store, ROWS, [{}], rng_seed=rng_seed)
            store.execute("UPDATE runs SET labels = ? WHERE run_id = ?", [json.dumps(list(labels)), run.run_id])
    assert comparison_of(tmp_path, 1, 2).repetitions == ()


def test_unfinished_runs_are_no_repetitions_and_said_to_be_unfinished(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_answering_run(store, ROWS, [{}], rng_seed=0)
        add_answering_run(store, ROWS, [wrong_on(0)], rng_seed=1)
        add_answering_run(store, ROWS, [wrong_on(*range(9))], rng_seed=2, status=Status.FAILED)
    comparison = comparison_of(tmp_path, 1, 2, 3)
    assert [one.run_ids for one in comparison.repetitions] == [(1, 2)]
    console = Console(file=io.StringIO(), width=200)
    with open_reader(tmp_path) as connection:
        print_comparison(comparison, {n: run_cost(connection, n) for n in (1, 2, 3)}, console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "run 3 isn't finished: its figures are of iteration 0" in text
    assert "run 2 isn't finished" not in text


def test_a_run_that_has_no_use_for_a_run_to_match_is_repeated_by_those_that_name_none(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        for rng_seed, fields in ((1, {}), (2, {"loop.match_run": 1}), (3, {})):
            run = add_answering_run(store, ROWS, [wrong_on(0)], rng_seed=rng_seed)
            named = json.dumps({**fields, "loop.rng_seed": rng_seed})
            store.execute("UPDATE runs SET fingerprint_fields = ? WHERE run_id = ?", [named, run.run_id])
    (found,) = comparison_of(tmp_path, 1, 2, 3).repetitions
    assert found.run_ids == (1, 2, 3)


def test_controls_at_matched_steps_are_repeated_with_the_runs_that_they_match(tmp_path: Path) -> None:
    """Runs 1 and 2 are repetitions, 3 isn't one of theirs; 4, 5 and 6 match them, and 7 and 8 what is gone."""
    with Store(tmp_path) as store:
        for rng_seed, epochs in ((1, 6), (2, 6), (1, 9)):
            add_answering_run(store, ROWS, [{}], rng_seed=rng_seed, student__epochs=epochs)
        for rng_seed, match_run, steps in ((1, 1, 130), (2, 2, 140), (1, 3, 999), (1, 77, 5), (2, 78, 6)):
            run = add_answering_run(store, ROWS, [{}], rng_seed=rng_seed, loop__match_run=match_run)
            fields = f'{{"loop.match_run": {match_run}, "loop.matched_steps": {steps}}}'
            store.execute("UPDATE runs SET fingerprint_fields = ? WHERE run_id = ?", [fields, run.run_id])
    found = comparison_of(tmp_path, 1, 2, 3, 4, 5, 6, 7, 8).repetitions
    assert [one.run_ids for one in found] == [(1, 2), (4, 5)]


def test_every_query_goes_by_an_index(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_answering_run(store, ROWS, [wrong_on(0)], [[("new 1", "a")]])
        add_answering_run(store, ROWS, [wrong_on(0)], rng_seed=1)
    with open_reader(tmp_path) as connection:
        assert_indexed(connection, lambda: compare(connection, (1, 2)))
        assert_indexed(connection, lambda: run_cost(connection, 1))


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    with Store(tmp_path) as store:
        add_answering_run(store, ROWS, [wrong_on(*range(6))])
        add_answering_run(
            store, ROWS, [{}, wrong_on(0)], [[("new 1", "a"), ("new 2", "b")]], loop__recipe="\x1b[31m[b]own"
        )
        add_answering_run(store, {**ROWS, Split.TEST: TEST[:5]}, [wrong_on(0)], rng_seed=4)
        add_run(store, rng_seed=9)
    return Workspace(tmp_path)


def test_compare_prints_tables_without_codes_when_piped(workspace: Workspace) -> None:
    ending = workspace.llm2llm("compare", "1", "2", "3", "4")
    assert (ending.code, ending.err) == (0, "")
    lines = [line.split() for line in ending.out.splitlines()]
    assert ["1", "0", "40.0%", "(16.8%–68.7%)", "–", "–", "–", "–", "100.0%", "(34.2%–100.0%)"] in lines
    assert ["2", "1", "90.0%", "(59.6%–98.2%)", "+50.0", "5", "0", "0.062", "100.0%", "(34.2%–100.0%)"] in lines
    assert ["2", "2", "10", "6", "40", "0", "8", "0", "2", "min", "00", "s", "2", "min", "00", "s"] in lines
    assert "teacher votes:" not in ending.out  # nobody voted
    assert ["4", "…", "…", "–", "–", "–", "–", "…"] in lines
    assert ["1,", "3", "60.0%", "40.0%–80.0%", "28.3", "points", "100.0%", "100.0%–100.0%", "0.0", "points"] in lines
    assert "\x1b" not in ending.out
    assert "\\x1b[31m[b]own" in ending.out
    for note in (
        "run 4: no student is graded yet",
        "run 3: 5 of its 5 test rows are among the 10 of run 1; it is compared on these",
        "gained, lost: test rows that are right here and not in run 1, and the reverse; p: McNemar's exact test",
    ):
        assert note in " ".join(ending.out.split())


def test_compare_prints_json(workspace: Workspace) -> None:
    document = workspace.llm2llm("compare", "2", "1", "4", "--json").json()
    second, first, none = document["runs"]
    assert (second["run_id"], second["result"]["iteration"], second["result"]["examples_added"]) == (2, 1, 2)
    assert second["result"]["accuracy"]["test"] == pytest.approx(
        {"n": 10, "n_correct": 9, "share": 0.9, "low": 0.5958, "high": 0.9821}, abs=5e-5
    )
    assert second["cost"] == {
        "new_example_input_tokens": 40,
        "new_example_output_tokens": 8,
        "teacher_votes": 0,
        "vote_input_tokens": 0,
        "vote_output_tokens": 0,
        "seconds": {"train": 120.0, "grade": 0.0},
    }
    assert first["result"]["paired"]["other_run_id"] == 2
    assert (first["result"]["paired"]["lost"], first["result"]["paired"]["p"]) == (5, 0.0625)
    assert first["result"]["paired"]["points"] == -50.0
    assert none["result"] is None
    assert document["repetitions"] == []
    (recipe,) = (one for one in document["differences"] if one["field"] == "loop.recipe")
    assert recipe["values"] == {"2": "\x1b[31m[b]own", "1": "—", "4": "—"}


def test_one_run_alone_has_its_figures_and_nothing_to_be_tested_against(workspace: Workspace) -> None:
    out = workspace.llm2llm("compare", "2").out
    assert "90.0% (59.6%–98.2%)" in out
    assert "points" not in out and "p:" not in out


def test_runs_without_a_result_yet_are_told(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_run(store, rng_seed=1)
        add_run(store, rng_seed=2)
    ending = Workspace(tmp_path).llm2llm("compare", "1", "2")
    assert ending.code == 0
    assert "run 2: no student is graded yet" in ending.out
    assert Workspace(tmp_path).llm2llm("compare", "1", "2", "--json").json()["repetitions"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing argument"),
        (("1", "7"), "there is no run 7"),
        (("1", "2", "1"), "run 1 is named more than once"),
        (("one",), "'one' is not a valid integer"),
        (("0",), "0 is not in the range"),
    ],
)
def test_what_can_not_be_compared_is_an_error(workspace: Workspace, arguments: tuple[str, ...], message: str) -> None:
    ending = workspace.llm2llm("compare", *arguments)
    assert ending.code == 2
    assert message in ending.err
    assert "Traceback" not in ending.err


def test_comparing_imports_no_model_library() -> None:
    names = imported_by("import llm2llm_local.report.compare_output")
    assert names & {"torch", "transformers", "llama_cpp", "textual", "pydantic", "numpy"} == set()
