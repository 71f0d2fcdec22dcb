"""What `bench` prints: the table, and the JSON for programs. Figures made by hand; no process is started."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from bench_contenders import FakeCase, first, second

from llm2llm_local.bench.machine import Machine, this_machine, versions
from llm2llm_local.bench.measure import Measured, MeasuredSeries, Result
from llm2llm_local.bench.output import Report, figure, report_document, report_lines
from llm2llm_local.bench.plan import Comparison, Contender, Memory, Series, Timed

MIB = 2**20
MACHINE = Machine("A CPU", 2, 8 * 2**30, "", 0, "", "Linux 6")
CASE = FakeCase(Path("/tmp/journal.txt"), rows=1_000)
COMPARISON = Comparison(
    "fakes", CASE, (Contender("ours", first), Contender("plain", second), Contender("absent", second)), measure="rows"
)


def result(name: str, *seconds: float, memory: Memory | None = None, **parts: float) -> Result:
    repeats = tuple(Timed(one, {"rows": 1_000.0}, dict(parts)) for one in seconds)
    return Result(name, warm_ups=repeats[:1], repeats=repeats, memory=memory or Memory(30 * MIB, 20 * MIB, None))


MEASURED = Measured(
    COMPARISON,
    (result("ours", 1.0, 2.0, 1.25), result("plain", 5.0, 4.0, 6.0), Result("absent", not_run="no\x1b[31m package")),
)
SERIES = MeasuredSeries(
    Series(Comparison("growth", CASE, (Contender("ours", first),), measure="rows"), "rows", (10, 100)),
    ((10, (result("ours", 1.0),)), (100, (result("ours", 10.0),))),
    ((10, {"bytes": 50.0}), (100, {"bytes": 50.0})),
)


def report(*parts: Measured | MeasuredSeries) -> Report:
    return Report("fakes", MACHINE, {"python": "3.11"}, ("something is at work",), parts)


def row(lines: list[str], name: str) -> list[str]:
    (found,) = (line for line in lines if line.startswith(f"{name} "))
    return found.split()


def test_hardware_versions_sizes_and_warnings_come_first() -> None:
    lines = list(report_lines(report(MEASURED)))
    assert lines[1] == "A CPU, 2 CPUs in use, 8.0 GiB; no GPU; Linux 6"
    assert lines[2:4] == ["python 3.11", "warning: something is at work"]
    assert lines[5:7] == ["fakes: rows 1,000, seconds 0.001", "5 repeats of each after 1 warm-up, interleaved"]


def test_the_table_has_work_median_spread_rate_memory_and_ratio() -> None:
    lines = list(report_lines(report(MEASURED)))
    assert row(lines, "ours") == ["ours", "1,000", "1.25", "1–2", "800", "30", "20"]
    assert row(lines, "plain") == ["plain", "1,000", "5", "4–6", "200", "30", "20", "4×", "(2–6)"]


def test_where_an_alternative_did_nothing_there_is_no_ratio() -> None:
    nothing = Result("plain", repeats=(Timed(1.0, {"rows": 0.0}),), memory=Memory(30 * MIB, 20 * MIB, None))
    measured = report(Measured(COMPARISON, (result("ours", 1.0), nothing)))
    assert row(list(report_lines(measured)), "plain")[-1] == "–"
    (comparison,) = report_document(measured)["comparisons"]
    assert comparison["contenders"][1]["ratio"] is None


def test_columns_are_in_line() -> None:
    lines = list(report_lines(report(MEASURED)))
    heading = next(line for line in lines if line.startswith("contender"))
    plain = next(line for line in lines if line.startswith("plain"))
    end = heading.index("median s") + len("median s")
    assert plain[:end].endswith(" 5")


def test_one_that_did_not_run_says_so_in_its_row_without_control_characters() -> None:
    lines = list(report_lines(report(MEASURED)))
    (line,) = (line for line in lines if line.startswith("absent"))
    assert "not run: no" in line and "package" in line
    assert all(character.isprintable() for text in lines for character in text)


def test_parts_and_gpu_memory_have_columns_where_there_are_any() -> None:
    measured = Measured(COMPARISON, (result("ours", 3.0, memory=Memory(MIB, MIB, 7 * MIB), train=2.0, predict=1.0),))
    lines = list(report_lines(report(measured)))
    heading = next(line for line in lines if line.startswith("contender"))
    assert "train s" in heading and "predict s" in heading and "GPU MiB" in heading
    assert row(lines, "ours")[-5:] == ["2", "1", "1", "1", "7"]
    assert "GPU MiB" not in "".join(report_lines(report(MEASURED)))


def test_a_series_has_a_column_for_each_size_and_the_slopes() -> None:
    lines = list(report_lines(report(SERIES)))
    assert row(lines, "ours")[:4] == ["ours", "1", "10", "1.00"]
    assert row(lines, "bytes")[:4] == ["bytes", "50", "50", "0.00"]


@pytest.mark.parametrize(
    ("largest", "size", "heading", "slope"),
    [
        (256, "n_requests", "each further request (R²)", "0.5 s"),
        (20_000, "rows", "each further 1,000 rows (R²)", "500 s"),
        (10_000_000, "rows", "each further 1,000,000 rows (R²)", "500,000 s"),
    ],
)
def test_a_slope_is_told_for_as_many_as_there_were(largest: int, size: str, heading: str, slope: str) -> None:
    sizes = (largest // 2, largest)
    timed = tuple((one, (result("ours", 2 + one / 2),)) for one in sizes)
    series = MeasuredSeries(dataclasses.replace(SERIES.series, size=size, sizes=sizes), timed, ())
    lines = list(report_lines(report(series)))
    (head,) = (line for line in lines if line.startswith("median s by "))
    assert heading in head and "n_" not in head
    assert f"{slope} (1.000)" in next(line for line in lines if line.startswith("ours "))


def test_a_slope_of_what_isnt_seconds_doesnt_say_seconds() -> None:
    lines = list(report_lines(report(SERIES)))
    assert row(lines, "ours")[-3:] == ["0.1", "s", "(1.000)"]
    assert row(lines, "bytes")[-2:] == ["0", "(1.000)"]


def test_a_series_says_at_which_size_something_did_not_run() -> None:
    broken = dataclasses.replace(
        SERIES, at_sizes=(SERIES.at_sizes[0], (100, (Result("ours", not_run="out of memory"),)))
    )
    lines = list(report_lines(report(broken)))
    assert row(lines, "ours") == ["ours", "1", "–"]
    assert "rows 100: ours: not run: out of memory" in lines


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1536.0, "1,536"), (1234.5, "1,234"), (12.345, "12.3"), (0.00012345, "0.000123"), (2.5e-7, "2.5e-07")],
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert figure(value) == text


def test_json_has_every_repeat_and_all_that_the_table_has() -> None:
    document = json.loads(json.dumps(report_document(report(MEASURED, SERIES))))
    assert set(document) == {
        "benchmark", "created_at", "machine", "versions", "warnings", "comparisons", "series"
    }  # fmt: skip
    (comparison,) = document["comparisons"]
    assert comparison["case"] == {"journal": "/tmp/journal.txt", "rows": 1000, "seconds": 0.001}
    ours, plain, absent = comparison["contenders"]
    assert ours["repeats"][0] == {"seconds": 1.0, "counts": {"rows": 1000.0}, "parts": {}, "figures": {}}
    assert [len(ours["repeats"]), len(ours["warm_ups"])] == [3, 1]
    assert (ours["median_seconds"], ours["least_seconds"], ours["most_seconds"]) == (1.25, 1.0, 2.0)
    assert ours["rates"] == {"rows": 800.0} and ours["ratio"] is None
    assert plain["ratio"] == {"median": 4.0, "low": 2.0, "high": 6.0}
    assert (plain["peak_bytes"], plain["peak_bytes_at_work"], plain["peak_gpu_bytes"]) == (30 * MIB, 20 * MIB, None)
    assert absent == {"name": "absent", "not_run": "no\x1b[31m package", "ratio": None}
    (series,) = document["series"]
    assert [one["size"] for one in series["at"]] == [10, 100]
    assert series["growth"]["ours"]["exponent"] == pytest.approx(1.0)
    assert series["growth"]["ours"]["per_one"] == pytest.approx(0.1)
    assert series["figures"] == [{"size": 10, "bytes": 50.0}, {"size": 100, "bytes": 50.0}]


def test_this_machine_is_described() -> None:
    machine = this_machine()
    assert machine.cpu and machine.cpus >= 1 and machine.ram_bytes > 2**28
    assert {"llm2llm-local", "python", "torch", "llama-cpp-python"} <= set(versions())
