"""The frame of the benchmarks: real child processes, contenders that need no model. No test looks at a speed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import bench_contenders
import psutil
import pytest
from bench_contenders import FakeCase
from workspaces import PATIENCE_SECONDS, wait_for

from llm2llm_local.bench.growth import fit_growth, fit_line
from llm2llm_local.bench.measure import Ratio, Result, TimeLimits, measure, ratio
from llm2llm_local.bench.plan import Comparison, Contender, Prepare, Timed, against, resized
from llm2llm_local.errors import UserInputError

TESTS = Path(__file__).parent


@pytest.fixture(autouse=True)
def contenders_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the child processes, which don't look into the current folder; and no time is spent on resting."""
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    monkeypatch.setattr("llm2llm_local.bench.measure._REST_SECONDS", 0.0)


@pytest.fixture
def case(tmp_path: Path) -> FakeCase:
    return FakeCase(tmp_path / "journal.txt")


def comparison(case: FakeCase, *prepares: Prepare) -> Comparison:
    contenders = tuple(Contender(one.__name__, one) for one in prepares)
    return Comparison("fakes", case, contenders, measure="rows", repeats=3, warm_ups=1)


def journal(case: FakeCase) -> list[str]:
    return case.journal.read_text().splitlines()


def doings(case: FakeCase) -> list[str]:
    return [line.partition(" in ")[0] for line in journal(case)]


# --- the course of a measurement --------------------------------------------------------------------------------------


def test_repeats_alternate_and_each_is_prepared_once(case: FakeCase) -> None:
    measure(comparison(case, bench_contenders.first, bench_contenders.second))
    assert doings(case) == ["first prepares", "second prepares"] + 4 * ["first works", "second works"]


def test_one_by_one_the_first_has_ended_when_the_second_begins(case: FakeCase) -> None:
    one_by_one = replace(comparison(case, bench_contenders.first, bench_contenders.second), order="one by one")
    measure(one_by_one)
    assert doings(case) == ["first prepares", *4 * ["first works"], "second prepares", *4 * ["second works"]]


def test_each_contender_has_a_process_of_its_own(case: FakeCase) -> None:
    measure(comparison(case, bench_contenders.first, bench_contenders.second))
    processes = {line.split()[0]: set[str]() for line in journal(case)}
    for line in journal(case):
        processes[line.split()[0]].add(line.split()[-1])
    assert all(len(pids) == 1 for pids in processes.values())
    assert processes["first"] != processes["second"]
    assert str(os.getpid()) not in processes["first"] | processes["second"]


def test_a_warm_up_is_not_counted(case: FakeCase) -> None:
    (result,) = measure(comparison(case, bench_contenders.slow_at_first)).results
    assert [len(result.warm_ups), len(result.repeats)] == [1, 3]
    assert result.warm_ups[0].seconds >= 0.5
    assert result.spread_seconds[1] < 0.5


def test_work_is_counted_as_the_contender_told(case: FakeCase) -> None:
    (result,) = measure(comparison(replace(case, rows=7), bench_contenders.first)).results
    assert result.counts() == {"rows": 7, "tokens": 21}
    assert all(one.seconds >= case.seconds for one in result.repeats)


def test_progress_is_told_line_by_line(case: FakeCase) -> None:
    told: list[str] = []
    measure(comparison(case, bench_contenders.first, bench_contenders.refuses), told.append)
    assert told[0] == "fakes: first is prepared"
    assert [line.rpartition(":")[0] for line in told[2:]] == [
        "fakes: first, warm-up 1 of 1",
        *(f"fakes: first, repeat {n} of 3" for n in (1, 2, 3)),
    ]


def test_what_has_no_time_left_is_not_begun(case: FakeCase) -> None:
    measured = measure(
        comparison(case, bench_contenders.first, bench_contenders.second), limits=TimeLimits(begin=time.monotonic())
    )
    assert [one.not_run for one in measured.results] == ["there was no time left"] * 2
    assert not case.journal.exists()


def test_what_was_begun_in_time_has_one_repeat_at_least(case: FakeCase) -> None:
    slow = comparison(replace(case, seconds=1.0), bench_contenders.first)
    (result,) = measure(slow, limits=TimeLimits(begin=time.monotonic() + 0.9)).results
    assert result.not_run == "" and len(result.repeats) == 1


@pytest.mark.parametrize(("prepare", "repeats"), [("works_twice", 2), ("never_ends", 0)])
def test_what_runs_at_the_end_is_ended_and_has_what_it_had(
    case: FakeCase, prepare: str, repeats: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def now() -> float:
        """1 once the contender does what it never ends."""
        n_begun = sum(" works in " in line for line in journal(case)) if case.journal.exists() else 0
        return 1.0 if n_begun > repeats else 0.0

    monkeypatch.setattr("llm2llm_local.bench.measure.time", SimpleNamespace(monotonic=now, sleep=time.sleep))
    endless = replace(comparison(case, getattr(bench_contenders, prepare)), warm_ups=0, repeats=3)
    (result,) = measure(endless, limits=TimeLimits(end=0.5)).results
    assert len(result.repeats) == repeats
    assert (result.memory is not None) == (repeats > 0)
    assert result.not_run == ("" if repeats else "there was no time left")
    assert not is_alive(int(journal(case)[0].rsplit(" ", 1)[1]))


# --- what all of them need --------------------------------------------------------------------------------------------


def test_what_all_need_is_made_once_before_them_in_a_process_that_has_ended(case: FakeCase) -> None:
    contenders = comparison(case, bench_contenders.first, bench_contenders.second)
    measure(replace(contenders, before=bench_contenders.made_before))
    lines = journal(case)
    assert [line for line in lines if line.startswith("made")] == lines[:1]
    assert len({line.rsplit(" ", 1)[1] for line in lines}) == 3


def test_without_what_they_need_none_is_measured(case: FakeCase) -> None:
    contenders = comparison(case, bench_contenders.first, bench_contenders.second)
    results = measure(replace(contenders, before=bench_contenders.refuses)).results
    assert len(results) == 2 and all("the model doesn't fit" in one.not_run for one in results)
    assert not case.journal.exists()


# --- memory -----------------------------------------------------------------------------------------------------------


def test_the_peak_of_memory_is_the_childs_own(case: FakeCase) -> None:
    ballast = b"x" * 400_000_000  # of the parent: none of it may be counted
    plain, holding = measure(comparison(case, bench_contenders.first, bench_contenders.holds_200_mb)).results
    assert plain.memory and holding.memory and len(ballast)
    assert 5_000_000 < plain.memory.whole < 150_000_000
    assert 190_000_000 < holding.memory.working - plain.memory.working < 260_000_000


def test_what_was_held_while_preparing_is_told_apart(case: FakeCase) -> None:
    (result,) = measure(comparison(case, bench_contenders.held_200_mb)).results
    assert result.memory is not None
    assert result.memory.whole - result.memory.working > 150_000_000


def test_what_it_starts_counts_too(case: FakeCase) -> None:
    (result,) = measure(comparison(case, bench_contenders.starts_one_that_holds_200_mb)).results
    assert result.memory is not None
    assert 190_000_000 < result.memory.working < 350_000_000


def test_what_it_started_while_preparing_does_not_count_as_work(case: FakeCase) -> None:
    (result,) = measure(comparison(case, bench_contenders.prepared_by_one_that_holds_200_mb)).results
    assert result.memory is not None
    assert result.memory.whole > 190_000_000 and result.memory.working < 150_000_000


# --- contenders that can't run ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (bench_contenders.lacks_a_package, "the package no_such_package_anywhere is not installed"),
        (bench_contenders.refuses, "the model doesn't fit. Take a smaller one."),
        (bench_contenders.refuses_later, "out of memory at work. Take a smaller one."),
        (bench_contenders.raises, "failed: ValueError: its last words; see "),
        (bench_contenders.is_killed, "killed by SIGKILL (out of memory, perhaps)"),
        (bench_contenders.is_killed, "ends: loading the weights"),
    ],
)
def test_one_that_fails_says_why_and_the_others_go_on(case: FakeCase, prepare: Prepare, said: str) -> None:
    failed, other = measure(comparison(case, prepare, bench_contenders.second)).results
    assert said in failed.not_run and "\n" not in failed.not_run
    assert failed.repeats == ()
    assert len(other.repeats) == 3 and other.not_run == ""


def test_the_log_of_a_crash_is_kept_and_others_are_not(case: FakeCase, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = case.journal.parent / "logs"
    logs.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(logs))
    measure(comparison(case, bench_contenders.first, bench_contenders.refuses))
    assert list(logs.iterdir()) == []
    (failed,) = measure(comparison(case, bench_contenders.raises)).results
    assert "Traceback" in Path(failed.not_run.rpartition("see ")[2]).read_text()


# --- ends -------------------------------------------------------------------------------------------------------------

PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background may have it ignored
from pathlib import Path
from bench_contenders import FakeCase, first, never_ends
from llm2llm_local.bench.measure import measure
from llm2llm_local.bench.plan import Comparison, Contender
contenders = (Contender("first", first), Contender("never_ends", never_ends))
measure(Comparison("fakes", FakeCase(Path(sys.argv[1])), contenders, measure="rows"))
"""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda one: one.name)
def test_no_child_outlives_its_parent(case: FakeCase, end: signal.Signals) -> None:
    scratch = case.journal.parent / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(case.journal)],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    wait_for(lambda: case.journal.exists() and "never_ends works" in doings(case))
    children = {int(line.split()[-1]) for line in journal(case)}
    assert len(children) == 2 and all(is_alive(pid) for pid in children)
    process.send_signal(end)
    process.wait(timeout=PATIENCE_SECONDS)
    wait_for(lambda: not any(is_alive(pid) for pid in children))
    assert end is not signal.SIGINT or list(scratch.iterdir()) == []


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


# --- figures ----------------------------------------------------------------------------------------------------------


def result(*repeats: tuple[float, float]) -> Result:
    """Of seconds and rows."""
    return Result("one", repeats=tuple(Timed(seconds, {"rows": rows}) for seconds, rows in repeats))


def test_median_spread_and_rates() -> None:
    one = result((2.0, 10), (1.0, 10), (4.0, 10))
    assert one.median_seconds == 2.0
    assert one.spread_seconds == (1.0, 4.0)
    assert one.rates("rows") == [5.0, 10.0, 2.5]
    assert one.rate("rows") == 5.0


def test_the_ratio_is_that_of_median_rates_with_its_widest_range() -> None:
    ours, other = result((1.0, 10), (2.0, 10), (1.0, 10)), result((4.0, 10), (4.0, 10), (8.0, 10))
    assert ratio(ours, other, "rows") == Ratio(of_medians=10 / 2.5, low=5 / 2.5, high=10 / 1.25)


def test_the_ratio_is_one_of_work_not_of_time() -> None:
    assert ratio(result((1.0, 30)), result((1.0, 10)), "rows") == Ratio(3.0, 3.0, 3.0)


def test_there_is_no_ratio_where_a_repeat_did_nothing() -> None:
    done, nothing = result((1.0, 30), (1.0, 30)), result((1.0, 30), (1.0, 0))
    assert ratio(done, nothing, "rows") is None and ratio(nothing, done, "rows") is None


def test_what_not_all_repeats_found_is_the_median_of_those_that_did() -> None:
    figures = ({"most": 1.0, "ran out at": 4.0}, {"most": 3.0, "longest": 7.0}, {"most": 2.0, "ran out at": 6.0})
    one = Result("one", repeats=tuple(Timed(1.0, {}, {}, found) for found in figures))
    assert one.figures() == {"most": 2.0, "ran out at": 5.0, "longest": 7.0}


# --- which, and how large ---------------------------------------------------------------------------------------------


def test_alternatives_are_chosen_by_name_and_ours_stays(case: FakeCase) -> None:
    both = comparison(case, bench_contenders.first, bench_contenders.second, bench_contenders.refuses)
    (chosen,) = against([both], ["refuses"])
    assert [one.name for one in chosen.contenders] == ["first", "refuses"]
    assert against([both], []) == [both]


def test_a_comparison_without_the_named_alternative_is_left_out(case: FakeCase) -> None:
    one = comparison(case, bench_contenders.first, bench_contenders.second)
    other = comparison(case, bench_contenders.first, bench_contenders.refuses)
    assert against([one, other], ["second"]) == [one]


@pytest.mark.parametrize("name", ["first", "nobody"])
def test_an_unknown_alternative_is_refused_with_those_there_are(case: FakeCase, name: str) -> None:
    with pytest.raises(UserInputError, match=rf"--against {name}.*\nThere is: second"):
        against([comparison(case, bench_contenders.first, bench_contenders.second)], [name])


def test_sizes_are_those_of_the_case(case: FakeCase) -> None:
    one = comparison(case, bench_contenders.first)
    assert one.sizes() == {"rows": 10, "seconds": 0.001}
    (changed,) = resized([one], {"rows": 20.0})
    assert changed.case == replace(case, rows=20)
    assert isinstance(changed.case.rows, int)


def test_sizes_that_there_are_not_are_refused(case: FakeCase) -> None:
    one = comparison(case, bench_contenders.first)
    with pytest.raises(UserInputError, match=r"--size lines: .*\nThere is: rows, seconds"):
        resized([one], {"lines": 1})
    with pytest.raises(UserInputError, match=r"rows=1\.5: must be an integer"):
        resized([one], {"rows": 1.5})
    for size in (0, -5, float("nan"), float("inf")):
        with pytest.raises(UserInputError, match=r"--size rows=.*: must be a number above 0"):
            resized([one], {"rows": size})


# --- growth -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_law_is_found(exponent: float) -> None:
    growth = fit_growth([(size, 0.003 * size**exponent) for size in (1e4, 1e5, 1e6, 1e7)])
    assert growth.exponent == pytest.approx(exponent)
    assert growth.exponent_r_squared == pytest.approx(1.0)


def test_the_cost_of_each_further_one_is_found_beside_a_fixed_one() -> None:
    growth = fit_growth([(size, 0.25 + 3e-6 * size) for size in (1e4, 1e5, 1e6)])
    assert growth.per_one == pytest.approx(3e-6)
    assert growth.fixed == pytest.approx(0.25)
    assert growth.per_one_r_squared == pytest.approx(1.0)


def test_a_line_agrees_with_another_ones_arithmetic() -> None:
    from scipy.stats import linregress

    xs, ys = [1.0, 2.0, 4.0, 7.0, 11.0], [2.0, 1.0, 6.0, 5.5, 12.0]
    line, other = fit_line(list(zip(xs, ys, strict=True)), [1.0] * 5), linregress(xs, ys)
    assert (line.slope, line.intercept) == pytest.approx((other.slope, other.intercept))
    assert line.r_squared == pytest.approx(other.rvalue**2)
    assert 0 < line.r_squared < 1


def test_weights_count_like_repeated_points() -> None:
    weighted = fit_line([(1, 2), (2, 5), (4, 4)], [1, 2, 1])
    repeated = fit_line([(1, 2), (2, 5), (2, 5), (4, 4)], [1, 1, 1, 1])
    assert (weighted.slope, weighted.intercept) == pytest.approx((repeated.slope, repeated.intercept))


def test_one_size_has_no_slope() -> None:
    with pytest.raises(ValueError, match="two sizes"):
        fit_growth([(10, 1.0), (10, 2.0)])
