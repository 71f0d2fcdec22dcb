"""`llm2llm bench --plot`: what is drawn is what was measured, to scale and as text. Measurements made by hand."""

from __future__ import annotations

import json
import math
import re
import stat
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from bench_contenders import FakeCase, first, second
from workspaces import Workspace

from llm2llm_local.bench.machine import Machine
from llm2llm_local.bench.measure import Measured, Result
from llm2llm_local.bench.output import Report, report_document
from llm2llm_local.bench.plan import Comparison, Contender, Memory, Timed
from llm2llm_local.bench.plot import drawn, read_measurements
from llm2llm_local.errors import UserInputError

MACHINE = Machine("A <fast> CPU", 2, 8 * 2**30, "", 0, "", "Linux 6")
SVG = "{http://www.w3.org/2000/svg}"


def result(name: str, *seconds: float) -> Result:
    repeats = tuple(Timed(one, {"rows": 100.0}) for one in seconds)
    return Result(name, warm_ups=repeats[:1], repeats=repeats, memory=Memory(1, 1, None))


def measured(title: str, *results: Result) -> Measured:
    contenders = tuple(Contender(one.name, first if one is results[0] else second) for one in results)
    return Measured(Comparison(title, FakeCase(Path("journal")), contenders, measure="rows"), results)


def written(
    path: Path, *parts: Measured, machine: Machine = MACHINE, warnings: tuple[str, ...] = (), subject: str = "fakes"
) -> Path:
    report = Report(subject, machine, {"python": "3.11"}, warnings, parts, created_at="2026-01-01T00:00:00+00:00")
    path.write_text(json.dumps(report_document(report)))
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Four times and half as fast as an alternative; one that didn't run; a comparison without alternatives."""
    one = measured("reading & writing", result("ours", 2.0), result("slow", 8.0, 4.0, 16.0), result("fast", 1.0))
    two = measured("asking", result("ours", 1.0), Result("absent", not_run="no\x1b package"))
    return [
        written(tmp_path / "one.json", one, measured("alone", result("ours", 1.0))),
        written(tmp_path / "two.json", two),
    ]


def elements(files: list[Path], kind: str) -> list[dict[str, str]]:
    root = ElementTree.fromstring(drawn(read_measurements(files)))
    return [{**one.attrib, "text": one.text or ""} for one in root.iter(SVG + kind)]


def texts(files: list[Path]) -> list[str]:
    return [one["text"] for one in elements(files, "text")]


def test_all_figures_are_there_as_text(files: list[Path]) -> None:
    shown = texts(files)
    assert "reading & writing: rows a second, ours to …" in shown
    assert {"slow", "4× (2–8)", "fast", "0.5× (0.5–0.5)", "absent", r"not run: no\x1b package"} <= set(shown)
    assert sum("A <fast> CPU" in text for text in shown) == 1
    assert not any("alone" in text for text in shown)


def test_an_alternative_that_did_nothing_has_no_bar(tmp_path: Path) -> None:
    idle = Result("idle", repeats=(Timed(1.0, {"rows": 0.0}),), memory=Memory(1, 1, None))
    one = measured("reading", result("ours", 2.0), result("slow", 8.0), idle)
    assert {"slow", "4× (4–4)", "idle", "no ratio: a repeat did nothing"} <= set(texts([written(tmp_path / "a", one)]))


def test_bars_begin_at_one_and_are_as_long_as_the_logarithm(files: list[Path]) -> None:
    slow, fast = (one for one in elements(files, "rect") if one["class"] != "ground")
    assert [slow["class"], fast["class"]] == ["more", "less"]
    left, right = float(slow["x"]), float(slow["x"]) + float(slow["width"])
    assert float(fast["x"]) + float(fast["width"]) == pytest.approx(left, abs=0.2)
    assert float(slow["width"]) / float(fast["width"]) == pytest.approx(math.log(4) / math.log(2), abs=0.01)
    for line in elements(files, "line"):
        if line["class"] == "one":
            assert float(line["x1"]) == pytest.approx(left, abs=0.2)
    path = elements(files, "path")[0]["d"]
    low, high = float(re.findall(r"M([\d.]+)", path)[0]), float(re.findall(r"H([\d.]+)", path)[0])
    assert right - low == pytest.approx(high - right, abs=0.3)  # 2, 4 and 8 are as far from each other


def test_nothing_is_outside_and_no_text_meets_another(files: list[Path]) -> None:
    root = ElementTree.fromstring(drawn(read_measurements(files)))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    places = [(float(one["x"]), float(one["y"])) for one in elements(files, "text")]
    assert len(set(places)) == len(places)
    assert all(0 < x < width and 0 < y < height for x, y in places)


GPU_MACHINE = Machine(
    "Intel(R) Xeon(R) Platinum 8480C",
    16,
    128 * 2**30,
    "NVIDIA H100 80GB HBM3",
    80 * 2**30,
    "550.163.01",
    "Linux 6.8.0-x",
)
PIXELS = {"small": 5.5, "muted": 6.5}
"""Of a character in a browser's font for interfaces, on the average of a sentence."""


def test_long_lines_of_machines_and_warnings_are_wrapped_below_the_bars(tmp_path: Path) -> None:
    comparison = measured("asking", result("ours", 1.0), result("other", 2.0))
    busy = "the machine is not quiet: other processes use 1.3 of 2 CPUs " + 10 * "and so on " + "x" * 500
    loud = [
        written(
            tmp_path / f"{name}.json", comparison, machine=GPU_MACHINE, warnings=(busy, "a\x1b[1m run"), subject=name
        )
        for name in ("teacher", "student")
    ]
    below = [one for one in elements(loud, "text") if one.get("class") in PIXELS and float(one["x"]) == 20.0]
    for one in below:
        assert len(one["text"]) * PIXELS[one["class"]] < 860 - 2 * 20, one
    machine = " ".join(one["text"] for one in below if one["class"] == "muted")
    assert machine.endswith(GPU_MACHINE.lines()[0])  # the whole of it, once
    warned = [one for one in below if one["class"] == "small"]
    said = " ".join(one["text"] for one in warned)
    assert said.count("warning: bench teacher: the machine is not quiet") == 1
    assert r"warning: bench student: a\x1b[1m run" in said and said.count("…") == 2  # what can't be broken is cut
    assert min(float(one["y"]) for one in warned) > max(float(one["y"]) for one in below if one["class"] == "muted")
    root = ElementTree.fromstring(drawn(read_measurements(loud)))
    assert max(float(one["y"]) for one in warned) < float(root.attrib["height"])


def test_warnings_of_a_file_of_which_nothing_is_drawn_are_left_out(tmp_path: Path, files: list[Path]) -> None:
    alone = written(tmp_path / "alone.json", measured("alone", result("ours", 1.0)), warnings=("a run is at work",))
    assert not any("warning" in text for text in texts([*files, alone]))


def test_large_ratios_have_ticks_that_can_be_told_apart(tmp_path: Path) -> None:
    huge = written(tmp_path / "huge.json", measured("checks", result("ours", 0.001), result("reference", 700.0)))
    ticks = [text for text in texts([huge]) if re.fullmatch(r"[\d,.]+×", text)]
    assert ticks == ["1×", "10×", "100×", "1,000×", "10,000×", "100,000×"]


def test_the_same_files_give_the_same_bytes_for_light_and_dark(files: list[Path]) -> None:
    once, again = (drawn(read_measurements(files)) for _ in range(2))
    assert once == again
    assert "prefers-color-scheme: dark" in once


def test_the_command_writes_a_file_of_its_owners_alone(tmp_path: Path, files: list[Path]) -> None:
    picture = tmp_path / "bench.svg"
    ending = Workspace(tmp_path).llm2llm("bench", "--plot", picture, *files)
    assert ending.code == 0 and ending.out.strip() == str(picture)
    assert picture.read_text() == drawn(read_measurements(files))
    assert stat.S_IMODE(picture.stat().st_mode) == 0o600


def test_a_picture_is_never_written_over_measurements(tmp_path: Path, files: list[Path]) -> None:
    before = [file.read_bytes() for file in files]
    ending = Workspace(tmp_path).llm2llm("bench", "--plot", *files)
    assert ending.code == 2 and "ends in .svg" in ending.err
    assert [file.read_bytes() for file in files] == before


@pytest.mark.parametrize(
    "change",
    [
        {"comparisons": 3},
        {"machine": {}},
        {"comparisons": [{"title": "x", "measure": "rows", "contenders": [{"name": "a"}, {"name": "b"}]}]},
    ],
)
def test_other_files_are_refused(tmp_path: Path, files: list[Path], change: dict[str, Any]) -> None:
    files[0].write_text(json.dumps(json.loads(files[0].read_text()) | change))
    with pytest.raises(UserInputError, match=r"one\.json: not what llm2llm bench --json prints"):
        read_measurements(files)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("comparisons", 0, "contenders", 1, "ratio", "high"), 10**400),
        (("comparisons", 0, "contenders", 1, "ratio", "high"), 1e308),
        (("comparisons", 0, "contenders", 1, "ratio", "low"), 1e-300),
        (("machine", "ram_bytes"), 10**400),
    ],
)
def test_numbers_that_nobody_measures_are_refused(
    tmp_path: Path, files: list[Path], place: tuple[str | int, ...], value: float
) -> None:
    """Above all those that can't be computed with, which end no call in a traceback."""
    document = json.loads(files[0].read_text())
    inner: Any = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    files[0].write_text(json.dumps(document))
    with pytest.raises(UserInputError, match=r"one\.json: not what llm2llm bench --json prints"):
        read_measurements(files)


def test_the_largest_and_the_smallest_ratio_can_be_drawn(tmp_path: Path) -> None:
    for name, seconds in (("large.json", 1e9), ("small.json", 1e-9)):
        one = written(tmp_path / name, measured("x", result("ours", 1.0), result("other", seconds)))
        assert "×" in drawn(read_measurements([one]))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["teacher"], "teacher: no such file"),
        (["."], ".: can't be read: Is a directory"),
        ([], "nothing to draw"),
        (["broken.json"], "broken.json: not what llm2llm bench --json prints"),
        (["deep.json"], "deep.json: not what llm2llm bench --json prints"),
    ],
)
def test_what_cant_be_drawn_is_said(tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "deep.json").write_text(100_000 * "[")
    ending = Workspace(tmp_path).llm2llm("bench", "--plot", "bench.svg", *arguments)
    assert ending.code == 2
    assert said in ending.err and "llm2llm bench teacher --json > teacher.json" in ending.err
    assert not (tmp_path / "bench.svg").exists()
