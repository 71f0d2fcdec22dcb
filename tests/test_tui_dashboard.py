"""The home of a run: what it says in every state, its plots, the stream of candidates, the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from plans import assert_indexed
from screens import LARGE, NOW, SMALL, AppPilot, opened, press, said, settled, shown, until
from textual.color import Color
from textual.geometry import Region
from textual.screen import Screen
from textual_plot import PlotWidget
from workspaces import _ask, _verdict, add_run, fill, grade

from llm2llm_local.records import Decision, Split, Status
from llm2llm_local.report.commands import pending_command
from llm2llm_local.report.curves import CandidateCounts, LossPoint
from llm2llm_local.report.duration import duration
from llm2llm_local.report.stream import candidates_after, candidates_of_ids
from llm2llm_local.report.wilson import wilson
from llm2llm_local.store.lock import RunLock
from llm2llm_local.store.reader import STORE_NAME, open_reader
from llm2llm_local.store.run_store import RunStore
from llm2llm_local.store.wishes import add_command
from llm2llm_local.store.writer import Store
from llm2llm_local.tui.course import gain_of
from llm2llm_local.tui.hardware import Gpu, Sample, Sampler
from llm2llm_local.tui.run_view import MOST_CANDIDATES, Accuracies, Counts, Known, Loss, run_view
from llm2llm_local.tui.themes import LIGHT
from llm2llm_local.tui.widgets.accuracy_plot import AccuracyPlot
from llm2llm_local.tui.widgets.axes import Axes, Ticks
from llm2llm_local.tui.widgets.candidate_stream import CandidateStream
from llm2llm_local.tui.widgets.candidates_plot import CandidatesPlot
from llm2llm_local.tui.widgets.hardware_panel import HardwarePanel
from llm2llm_local.tui.widgets.loss_plot import LossPlot
from llm2llm_local.tui.widgets.panel import Panel
from llm2llm_local.tui.widgets.plot import Plot, Series

pytestmark = pytest.mark.anyio

MACHINE = Sample(
    gpu=None,
    cpu_percent=42.0,
    load=1.5,
    n_cpus=2,
    ram_used_bytes=6 * 2**30,
    ram_total_bytes=16 * 2**30,
    memory={},
)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> list[Sample]:
    """What every look at the machine finds; a test may append."""
    samples = [MACHINE]
    monkeypatch.setattr(Sampler, "sample", lambda _, __: samples[-1])
    return samples


def work_on(
    run: RunStore, iteration: int, stage: str, *, units: int, done: int, seconds: float, attempt: int = 0
) -> None:
    """`done` of the stage's units take so many seconds each; it is closed when all of them are done."""
    row = run.open_stage(iteration, stage, attempt, "", {}, units)
    for _ in range(done - row.units_done):
        with run.transaction():
            run.mark_unit_done(row, seconds)
    if done == units:
        run.close_stage(row)


def history(run: RunStore) -> None:
    """`fill`, with its first iteration's stages, and the second one's student amid its answers."""
    fill(run)
    with run.transaction():
        for iteration in (0, 1):
            run.add_checkpoint(iteration, 4, 4, run.folder / f"{iteration}/adapter", "", tokens=900, seconds=9.0)
            for step, loss in enumerate((2.0, 1.5, 1.0, 0.5)):
                run.add_metric(iteration, "loss", step, loss)
        run.add_metric(0, "accuracy_train", 0, 1 / 3)
        run.add_metric(0, "accuracy_test", 0, 1.0)
    work_on(run, 0, "train", units=2, done=2, seconds=30.0)
    work_on(run, 0, "predict", units=3, done=3, seconds=2.0)
    work_on(run, 0, "grade", units=3, done=3, seconds=0.0)
    work_on(run, 0, "augment", units=1, done=1, seconds=100.0)
    work_on(run, 0, "check", units=1, done=1, seconds=0.5)
    run.close_iteration(0)
    work_on(run, 1, "train", units=2, done=2, seconds=40.0)
    work_on(run, 1, "predict", units=3, done=1, seconds=2.0)


def ended(run: RunStore) -> None:
    """The same, at its end: two iterations, both graded."""
    history(run)
    work_on(run, 1, "predict", units=3, done=3, seconds=2.0)
    grade(run)
    with run.transaction():
        run.add_metric(1, "accuracy_train", 0, 2 / 3)
        run.add_metric(1, "accuracy_test", 0, 0.5)


def make(workspace: Path, status: Status = Status.RUNNING, detail: str = "", *, is_ended: bool = False) -> Path:
    with Store(workspace) as store:
        run = add_run(store, status=status, status_detail=detail)
        (ended if is_ended else history)(run)
    run.folder.mkdir(parents=True, exist_ok=True)
    return workspace


@contextmanager
def held(workspace: Path) -> Iterator[None]:
    """A process (this one) works on the run."""
    folder = workspace / "runs/1"
    folder.mkdir(parents=True, exist_ok=True)
    with RunLock(folder, 1):
        yield


def line_with(pilot: AppPilot, text: str) -> str:
    (line,) = [line for line in shown(pilot).splitlines() if text in line]
    return line


# --- how far the run is ---


@pytest.mark.parametrize("size", [SMALL, LARGE, (200, 60)])
async def test_a_running_run_is_told_at_every_size(tmp_path: Path, size: tuple[int, int]) -> None:
    with held(make(tmp_path)):
        async with opened(tmp_path, "dashboard", size=size) as pilot:
            stages = line_with(pilot, "✓ 1 min 00 s").split("✓")
            assert [part.split()[0] for part in stages[1:]] == ["1", "6", "<1", "1", "<1"]
            assert "▶ 33%" in line_with(pilot, "✓ 1 min 20 s")
            now = line_with(pilot, "examples/s")
            assert "predict    33% ━" in now
            assert "2/5 examples · 1.0 examples/s · 3 s left" in now  # a batch of 2 rows in 2 s
            assert "p pause · s stop: after this unit, about 2 s; nothing is lost" in shown(pilot)
            for part in ("Hardware", "42%", "6.0 of 16 GiB", "● test", "✗ reject", "Iteration 1 of 2"):
                assert part in shown(pilot)


async def test_the_whole_run_has_a_time_left_once_all_was_measured(tmp_path: Path) -> None:
    with held(make(tmp_path)):
        async with opened(tmp_path, "dashboard") as pilot:
            title = line_with(pilot, "whole run")
    assert "whole run: about" in title
    assert "left, done about" in title


async def test_a_starting_run_invents_no_number(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_run(store, status=Status.PENDING)
    with held(tmp_path):
        async with opened(tmp_path, "dashboard", size=SMALL) as pilot:
            text = shown(pilot)
    assert "▷ starting" in text
    assert "whole run: – left" in text
    assert "no stage has begun" in text
    assert "as soon as the models are loaded" in text
    assert "no figures yet" in text
    assert "none yet: they come when the teacher is asked" in text


async def test_a_stage_without_a_complete_unit_has_no_rate(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        run = add_run(store)
        fill(run)
        work_on(run, 0, "train", units=2, done=0, seconds=0.0)
    with held(tmp_path):
        async with opened(tmp_path, "dashboard") as pilot:
            assert "– steps/s · – left" in line_with(pilot, "steps/s")
            assert "s stop: after this unit; nothing is lost" in shown(pilot)


async def test_a_slow_stage_is_told_by_the_minute(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        run = add_run(store)
        fill(run)
        work_on(run, 0, "train", units=2, done=1, seconds=60.0)
    with held(tmp_path):
        async with opened(tmp_path, "dashboard") as pilot:
            assert "2.0 steps/min" in shown(pilot)


async def test_progress_within_a_unit_is_followed(tmp_path: Path) -> None:
    with held(make(tmp_path)):
        async with opened(tmp_path, "dashboard") as pilot:
            with Store(tmp_path) as store:
                store.of_run(1).set_progress(1, "predict", 0, 0.625)
            await until(pilot, lambda: "▶ 62%" in shown(pilot))


async def test_progress_draws_the_lines_that_it_changes_and_lays_out_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid_out: list[None] = []
    drawn: list[tuple[Region, ...]] = []
    lay_out, refresh = Screen._refresh_layout, Panel.refresh

    def count_layouts(screen: Screen[None], *arguments: object, **options: object) -> None:
        laid_out.append(None)
        lay_out(screen, *arguments, **options)  # type: ignore[arg-type]

    def record(panel: Panel, *regions: Region, **options: bool) -> Panel:
        drawn.append(regions)
        return refresh(panel, *regions, **options)

    with held(make(tmp_path)):
        async with opened(tmp_path, "dashboard") as pilot:
            monkeypatch.setattr(Screen, "_refresh_layout", count_layouts)
            monkeypatch.setattr(Panel, "refresh", record)
            with Store(tmp_path) as store:
                store.of_run(1).set_progress(1, "predict", 0, 0.625)
            await until(pilot, lambda: "▶ 62%" in shown(pilot))
            assert not laid_out
            # The title, the line of the iteration and that of the stage.
            assert drawn and all(regions for regions in drawn)
            assert sum(region.height for regions in drawn for region in regions) <= 4


async def test_the_loss_is_followed_between_checkpoints(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        run = add_run(store)
        fill(run)
        run.open_stage(0, "train", 0, "", {}, units=2)
    with held(tmp_path):
        async with opened(tmp_path, "dashboard") as pilot:
            with Store(tmp_path) as store:
                store.of_run(1).set_progress(0, "train", 0, 0.25, [4.0, 3.0])
            await until(pilot, lambda: "Loss of training 0: 3─" in shown(pilot))
            with Store(tmp_path) as store:
                store.of_run(1).set_progress(0, "train", 0, 0.5, [4.0, 3.0, 2.25])
            await until(pilot, lambda: "Loss of training 0: 2.25─" in shown(pilot))


async def test_a_round_of_asking_again_is_named_and_its_time_added(tmp_path: Path) -> None:
    make(tmp_path)
    with Store(tmp_path) as store:
        work_on(store.of_run(1), 0, "augment", attempt=1, units=1, done=1, seconds=20.0)
        work_on(store.of_run(1), 0, "check", attempt=1, units=2, done=1, seconds=1.0)
    with held(tmp_path):
        async with opened(tmp_path, "dashboard") as pilot:
            assert "✓ 2 min 00 s" in shown(pilot)
            assert "check (round 2)" in shown(pilot)


def add_event(workspace: Path, kind: str, message: str) -> None:
    with Store(workspace) as store, store.transaction():
        store.of_run(1).add_event(kind, message)


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_workers_that_died_are_told_while_the_run_is_at_work(tmp_path: Path, size: tuple[int, int]) -> None:
    add_event(make(tmp_path), "worker_died", "the [b]teacher[/b] worker\x1b[31m ended with code 1; attempt 1 of 3")
    with held(tmp_path):
        async with opened(tmp_path, "dashboard", size=size) as pilot:
            assert ": the [b]teacher[/b] worker\\x1b" in line_with(pilot, "a worker died ")
            assert "after this unit" in shown(pilot)
            assert "examples/s" in shown(pilot)
            add_event(tmp_path, "worker_died", "the student worker said nothing for 900 s; attempt 1 of 3")
            await until(pilot, lambda: "2 workers died, the last " in shown(pilot))
            assert ": the student worker said nothing" in line_with(pilot, "workers died")
            add_event(tmp_path, "run_resumed", "run 1 resumed")
            await until(pilot, lambda: "died" not in shown(pilot))


async def test_of_a_run_that_nobody_works_on_no_workers_are_told(tmp_path: Path) -> None:
    add_event(make(tmp_path), "worker_died", "the teacher worker ended with code 1; attempt 1 of 3")
    async with opened(tmp_path, "dashboard") as pilot:
        assert "a worker died" not in shown(pilot)


async def test_a_paused_run_says_how_it_goes_on(tmp_path: Path) -> None:
    with held(make(tmp_path, Status.PENDING, "paused")):
        async with opened(tmp_path, "dashboard", size=SMALL) as pilot:
            assert "‖ 33%" in shown(pilot)
            assert "models unloaded · r goes on" in shown(pilot)


@pytest.mark.parametrize(
    ("status", "detail", "sign", "words"),
    [
        (Status.PENDING, "run 1 stopped by Ctrl-C", "■ stopped", "run 1 stopped by Ctrl-C"),
        (Status.RUNNING, "", "✗ interrupted", "its process is gone"),
        (Status.FAILED, "the [bold]teacher[/bold] died", "✗ failed", "the [bold]teacher[/bold] died"),
    ],
)
async def test_a_run_that_is_not_worked_on_says_why_and_which_key_goes_on(
    tmp_path: Path, status: Status, detail: str, sign: str, words: str
) -> None:
    async with opened(make(tmp_path, status, detail), "dashboard", size=SMALL) as pilot:
        text = shown(pilot)
    assert sign in text
    assert words in text
    assert "r continues it" in text
    assert f"{sign[0]} 33%" in text
    assert "p pause" not in text
    assert "→ new question = answer 1" not in text  # there is room for the newest candidate only
    assert "→ unsure = answer 3" in text


async def test_a_done_run_says_how_it_ended_and_what_it_gained(tmp_path: Path) -> None:
    make(tmp_path, Status.DONE, "finished early: in iteration 1 " + "of a long story " * 20, is_ended=True)
    async with opened(tmp_path, "dashboard", size=SMALL) as pilot:
        text = shown(pilot)
    assert "finished early: in iteration 1" in text
    assert "100.0% (34–100) → 50.0% (9–91): -50.0 points, intervals overlap" in text
    assert "whole run" not in text


def test_a_gain_is_told_with_its_intervals() -> None:
    assert gain_of(((0, wilson(710, 1000)), (3, wilson(820, 1000)))) == (
        "71.0% (68–74) → 82.0% (79–84): +11.0 points, intervals don't overlap"
    )
    assert gain_of(((0, wilson(7, 10)), (1, wilson(8, 10)))).endswith("+10.0 points, intervals overlap")
    assert gain_of(((0, wilson(7, 10)),)) == "70.0% (40–89)"
    assert "no test rows" in gain_of(())


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "<1 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


# --- steering ---


@pytest.mark.parametrize(("key", "word"), [("p", "pause"), ("s", "stop")])
async def test_a_wish_is_shown_until_the_run_obeys(tmp_path: Path, key: str, word: str) -> None:
    with held(make(tmp_path)):
        async with opened(tmp_path, "dashboard") as pilot:
            await press(pilot, key)
            await until(pilot, lambda: f"it will {word} after this unit, about 2 s" in shown(pilot))
            with Store(tmp_path) as store, store.transaction():
                run = store.of_run(1)
                command = run.next_command()
                assert command is not None
                assert command[1] == word
                run.take_command(command[0])
            await until(pilot, lambda: f"it will {word}" not in line_with(pilot, "after this unit"))


@pytest.mark.parametrize("key", ["p", "s"])
async def test_a_wish_is_taken_back_as_long_as_the_run_has_not_obeyed(tmp_path: Path, key: str) -> None:
    with held(make(tmp_path)):
        async with opened(tmp_path, "dashboard", size=SMALL) as pilot:
            await press(pilot, key)
            await until(pilot, lambda: "r takes it back" in " ".join(shown(pilot).split()))
            await press(pilot, "r")
            await until(pilot, lambda: "taken back: run 1 goes on" in said(pilot))
            await until(pilot, lambda: "p pause · s stop" in shown(pilot))
            await press(pilot, "r")
            await until(pilot, lambda: "there is nothing to resume" in said(pilot))
    with open_reader(tmp_path) as connection:
        assert [*map(tuple, connection.execute("SELECT status FROM commands"))] == [("cancelled",)]


async def test_r_lets_a_paused_run_go_on_wherever_the_focus_is(tmp_path: Path) -> None:
    with held(make(tmp_path, Status.PENDING, "paused")):
        async with opened(tmp_path, "dashboard") as pilot:
            for _ in range(4):  # through all parts that take the focus
                await press(pilot, "tab")
            await press(pilot, "r")
            await until(pilot, lambda: "it will go on at once" in shown(pilot))


def test_of_several_wishes_the_one_that_counts_is_told(tmp_path: Path) -> None:
    make(tmp_path)
    for words, told in ((["pause"], "pause"), (["resume"], "resume"), (["stop"], "stop"), (["pause"], "stop")):
        for word in words:
            add_command(tmp_path, 1, word)
        with open_reader(tmp_path) as connection:
            assert pending_command(connection, 1) == told


# --- plots ---


def plots_shown(pilot: AppPilot) -> list[str | None]:
    return [plot.id for plot in pilot.app.screen.query(Plot) if plot.display and plot.region.area]


async def test_v_shows_one_plot_after_another_where_there_is_room_for_one(tmp_path: Path) -> None:
    async with opened(make(tmp_path), "dashboard", size=SMALL) as pilot:
        seen = [plots_shown(pilot)]
        for _ in range(3):
            await press(pilot, "v")
            seen.append(plots_shown(pilot))
    assert seen == [["accuracy"], ["loss"], ["candidates"], ["accuracy"]]


async def test_v_enlarges_one_plot_after_another_where_there_is_room_for_all(tmp_path: Path) -> None:
    async with opened(make(tmp_path), "dashboard", size=LARGE) as pilot:
        seen = [plots_shown(pilot)]
        for _ in range(4):
            await press(pilot, "v")
            seen.append(plots_shown(pilot))
    every = ["loss", "accuracy", "candidates"]
    assert seen == [every, ["accuracy"], ["loss"], ["candidates"], every]


async def test_a_plot_chosen_in_a_small_window_stays_when_it_grows(tmp_path: Path) -> None:
    async with opened(make(tmp_path), "dashboard", size=SMALL) as pilot:
        await press(pilot, "v")
        await pilot.resize_terminal(*LARGE)
        await settled(pilot)
        assert plots_shown(pilot) == ["loss"]
        await press(pilot, "v", "v")
        assert plots_shown(pilot) == ["loss", "accuracy", "candidates"]


async def test_curves_have_their_markers_and_intervals(tmp_path: Path) -> None:
    async with opened(make(tmp_path, is_ended=True), "dashboard") as pilot:
        screen = pilot.app.screen
        accuracy = text_of(pilot, screen.query_one(AccuracyPlot))
        candidates = text_of(pilot, screen.query_one(CandidatesPlot))
        loss = text_of(pilot, screen.query_one(LossPlot))
    title, *inside = accuracy
    assert "● test" in title
    assert "■ seeds" in title
    assert "dev" not in title  # there are no dev rows
    body = "".join(inside)
    assert [body.count(marker) for marker in "●■▲"] == [2, 2, 0]
    assert "│" in body
    assert inside[-1].split() == ["0", "1", "2"]  # iterations to come have their place
    assert "100%" in body
    assert "".join(candidates[1:]).count("●") == 1
    assert "Loss of training 1: 0.5" in loss[0]
    assert any("⠀" < character <= "⣿" for character in "".join(loss))


def text_of(pilot: AppPilot, plot: Plot[Any]) -> list[str]:
    """What a plot shows, line by line."""
    x, y, width, height = plot.region
    return [line.ljust(x + width)[x : x + width] for line in shown(pilot).splitlines()[y : y + height]]


async def test_one_point_is_seen(tmp_path: Path) -> None:
    async with opened(make(tmp_path), "dashboard") as pilot:
        screen = pilot.app.screen
        screen.query_one(LossPlot).show(Loss(0, 1, (LossPoint(0, 0.0),)))
        screen.query_one(AccuracyPlot).show(Accuracies(((Split.TEST, ((0, wilson(5, 5)),)),), 0))
        screen.query_one(CandidatesPlot).show(Counts((CandidateCounts(0, 0, 3, 0, 0),), 0))
        await settled(pilot)
        assert "•" in "".join(text_of(pilot, screen.query_one(LossPlot))[1:])
        assert "●" in "".join(text_of(pilot, screen.query_one(AccuracyPlot))[1:])
        assert "●" in "".join(text_of(pilot, screen.query_one(CandidatesPlot))[1:])


async def test_candidates_that_are_not_checked_yet_are_no_point_of_a_curve(tmp_path: Path) -> None:
    async with opened(make(tmp_path), "dashboard") as pilot:
        plot = pilot.app.screen.query_one(CandidatesPlot)
        checked, unchecked = CandidateCounts(0, 5, 1, 0, 0), CandidateCounts(1, 0, 0, 0, 8)
        plot.show(Counts((checked, unchecked), 1))
        await settled(pilot)
        title, *body = text_of(pilot, plot)
        assert "Candidates (8 not checked yet)" in title
        assert ("".join(body).count("●"), "".join(body).count("×")) == (1, 1)
        plot.show(Counts((unchecked,), 1))
        await settled(pilot)
        assert "●" not in "".join(text_of(pilot, plot))
        assert "8 not checked yet" in "".join(text_of(pilot, plot))
        plot.show(None)
        await settled(pilot)
        assert "no candidates yet" in "".join(text_of(pilot, plot))


async def test_plots_without_figures_say_so(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_run(store)
    async with opened(tmp_path, "dashboard") as pilot:
        for words in ("no loss yet", "no figures yet", "no candidates yet"):
            assert words in shown(pilot)
        assert not any(axes.display for axes in pilot.app.screen.query(Axes))


async def test_plots_take_the_colours_of_another_theme(tmp_path: Path) -> None:
    async with opened(make(tmp_path), "dashboard") as pilot:
        axes = pilot.app.screen.query_one("#accuracy Axes", Axes)
        dark = {dataset.line_style for dataset in axes._datasets if hasattr(dataset, "line_style")}
        await press(pilot, "t")
        light = {dataset.line_style for dataset in axes._datasets if hasattr(dataset, "line_style")}
    assert Color.parse(LIGHT.primary).hex.lower() in light
    assert not dark & light


async def test_plots_are_drawn_anew_only_when_their_figures_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str | None] = []
    real = Plot.put

    def put(plot: Plot[Any], title: str, series: Sequence[Series]) -> None:
        drawn.append(plot.id)
        real(plot, title, series)

    monkeypatch.setattr(Plot, "put", put)
    with held(make(tmp_path)):
        async with opened(tmp_path, "dashboard") as pilot:
            drawn.clear()
            with Store(tmp_path) as store:
                store.of_run(1).set_progress(1, "predict", 0, 0.625)
            await until(pilot, lambda: "62%" in shown(pilot))
            assert drawn == []
            with Store(tmp_path) as store, store.transaction():
                store.of_run(1).add_metric(1, "accuracy_test", 0, 0.5)
            await until(pilot, lambda: drawn == ["accuracy"])


async def test_the_screen_survives_any_size(tmp_path: Path) -> None:
    with held(make(tmp_path, is_ended=True)):
        async with opened(tmp_path, "dashboard") as pilot:
            for size in ((20, 6), (1, 1), (300, 5), (30, 90), SMALL):
                await pilot.resize_terminal(*size)
                await settled(pilot)
            assert "● test" in shown(pilot)


async def test_plots_leave_the_keys_and_the_focus_to_the_screen(tmp_path: Path) -> None:
    async with opened(make(tmp_path), "dashboard") as pilot:
        assert not any(plot.focusable for plot in pilot.app.screen.query(PlotWidget))
        await press(pilot, "question_mark")
        for words in ("Pause", "Resume", "Stop", "Next plot"):
            assert words in shown(pilot)
        assert "Zoom" not in shown(pilot)


@pytest.mark.parametrize(
    ("ticks", "low", "high", "labels"),
    [
        (Ticks(least_step=1), -0.4, 2.4, ["0", "1", "2"]),
        (Ticks(least_step=1), -0.4, 1.4, ["0", "1"]),
        (Ticks(least_step=1), 0, 25_000, ["0", "5000", "10k", "15k", "20k", "25k"]),
        (Ticks(), 0, 0.55, ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]),
        (Ticks(), 0, 1e-9, ["0", "2e-10", "4e-10", "6e-10", "8e-10", "1e-09"]),
        (Ticks(unit="%"), 61.0, 102.0, ["70%", "80%", "90%", "100%"]),
        (Ticks(unit="%"), 30.0, 96.0, ["40%", "60%", "80%"]),
    ],
)
def test_ticks_are_round_numbers(ticks: Ticks, low: float, high: float, labels: list[str]) -> None:
    ticks.most = 6
    assert ticks.get_labels_for_ticks(ticks.get_ticks(low, high)) == labels


# --- the stream of candidates ---


def stream_of(pilot: AppPilot) -> CandidateStream:
    return pilot.app.screen.query_one(CandidateStream)


def ask(workspace: Path, *questions: str | None) -> None:
    """The teacher's replies to the first seed, which still wait for their checks."""
    with Store(workspace) as store, store.transaction():
        run = store.of_run(1)
        seed = run.examples(Split.TRAIN)[0]
        taken = len(run.candidates(1, 0))
        for slot, question in enumerate(questions, start=taken):
            _ask(run, 1, seed, slot, question)


async def test_candidates_come_from_the_seed_to_the_verdict(tmp_path: Path) -> None:
    async with opened(make(tmp_path), "dashboard") as pilot:
        accepted, refused = line_with(pilot, "✓ accept "), line_with(pilot, "too similar")
        doubtful = line_with(pilot, "? doubt ")
    assert [part.strip() for part in accepted.split("→")] == ["✓ accept  seed 1", "wrong", "new question = answer 1"]
    assert "✗ reject  seed 3" in refused
    assert "unreadable" in refused
    assert "two readings" in doubtful


async def test_a_small_window_gives_a_candidate_two_lines(tmp_path: Path) -> None:
    with held(make(tmp_path)):
        async with opened(tmp_path, "dashboard", size=SMALL) as pilot:
            first, second = shown(pilot).splitlines()[-3:-1]
    assert "? doubt" in first
    assert "seed 3 → unreadable" in first
    assert "→ unsure = answer 3" in second
    assert second.rstrip(" ▁▂▃▄▅▆▇█").endswith("two readings")


async def test_a_candidate_gets_its_verdict_when_it_is_checked(tmp_path: Path) -> None:
    async with opened(make(tmp_path), "dashboard") as pilot:
        ask(tmp_path, "what is to be seen?")
        await until(pilot, lambda: "… pending" in shown(pilot))
        with Store(tmp_path) as store, store.transaction():
            run = store.of_run(1)
            run.decide(1, run.candidates(1, 0)[0], [_verdict("duplicate", Decision.REJECT, "seen before")])
        await until(pilot, lambda: "seen before" in shown(pilot))
        assert "✗ reject" in line_with(pilot, "what is to be seen?")
        assert "pending" not in shown(pilot)


async def test_only_new_candidates_and_undecided_ones_are_read_again(tmp_path: Path) -> None:
    async with opened(make(tmp_path), "dashboard") as pilot:
        stream = stream_of(pilot)
        assert stream.newest_id == 5
        assert stream.undecided == [5]  # the doubtful one: a person may decide
        ask(tmp_path, "a", "b")
        await until(pilot, lambda: stream.newest_id == 7)
        assert stream.undecided == [5, 6, 7]
        assert len(stream._candidates) == 7


async def test_the_newest_candidates_are_followed_unless_one_reads_older_ones(tmp_path: Path) -> None:
    make(tmp_path)
    ask(tmp_path, *(f"question {n}" for n in range(100)))
    async with opened(tmp_path, "dashboard") as pilot:
        stream = stream_of(pilot)
        assert pilot.app.screen.focused is stream
        assert "question 99" in shown(pilot)
        await press(pilot, "pageup", "pageup")
        await until(pilot, lambda: "question 99" not in shown(pilot))
        await pilot.pause(0.5)  # scrolling is animated
        before = stream.scroll_offset
        ask(tmp_path, "something new")
        await until(pilot, lambda: stream.newest_id == 106)
        await settled(pilot)
        assert stream.scroll_offset == before
        assert "something new" not in shown(pilot)
        await press(pilot, "end")
        await until(pilot, lambda: "something new" in shown(pilot))
        ask(tmp_path, "something newer")
        await until(pilot, lambda: "something newer" in shown(pilot))


async def test_the_stream_keeps_the_newest_and_what_is_read_stays_in_place(tmp_path: Path) -> None:
    make(tmp_path)
    ask(tmp_path, *(f"question {n} of many" for n in range(MOST_CANDIDATES)))
    async with opened(tmp_path, "dashboard") as pilot:
        stream = stream_of(pilot)
        stream.scroll_to(y=200, animate=False)
        await settled(pilot)
        assert "question 200 of many" in shown(pilot)
        top = shown(pilot).splitlines()[stream.region.y + 1]
        ask(tmp_path, *(f"question {n} of more" for n in range(7)))
        await until(pilot, lambda: stream.newest_id == 5 + MOST_CANDIDATES + 7)
        await settled(pilot)
        assert len(stream._candidates) == MOST_CANDIDATES
        assert shown(pilot).splitlines()[stream.region.y + 1] == top


async def test_the_tail_is_followed_through_a_resize(tmp_path: Path) -> None:
    make(tmp_path)
    ask(tmp_path, *(f"question {n}" for n in range(100)))
    async with opened(tmp_path, "dashboard") as pilot:
        for size in (SMALL, (200, 60), (100, 40)):
            await pilot.resize_terminal(*size)
            await settled(pilot)
            assert "question 99 =" in shown(pilot)


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_texts_of_models_are_text_and_fit_their_cells(tmp_path: Path, size: tuple[int, int]) -> None:
    make(tmp_path)
    ask(tmp_path, "[red]no[/red]\x1b[31m markup\nat all", "長" * 2000, "x" * 1_000_000, None)
    with held(tmp_path):
        async with opened(tmp_path, "dashboard", size=size) as pilot:
            stream = stream_of(pilot)
            assert max(len(candidate.question) for candidate in stream._candidates) <= 400
            stream.scroll_to(y=5 if size == LARGE else 10, animate=False)
            await settled(pilot)
            assert "[red]no[/red]\\x1b[31m mar" in shown(pilot)
            strips = pilot.app.screen._compositor.render_strips()
            assert {strip.cell_length for strip in strips} == {size[0]}


async def test_another_run_has_its_own_candidates(tmp_path: Path) -> None:
    make(tmp_path)
    with Store(tmp_path) as store:
        add_run(store)
    async with opened(tmp_path, "dashboard", run_id=1) as pilot:
        assert "new question" in shown(pilot)
        pilot.app.choose_run(2)  # type: ignore[attr-defined]
        await until(pilot, lambda: "new question" not in shown(pilot))
        assert stream_of(pilot).newest_id == 0


async def test_of_an_answer_that_reasons_the_stream_shows_the_result(tmp_path: Path) -> None:
    make(tmp_path)
    reasoning = "\n".join(f"Step {number} of many." for number in range(60))
    with Store(tmp_path) as store, store.transaction():
        store.execute("UPDATE candidates SET answer = ? WHERE id = 1", [f"{reasoning}\n#### 7"])
    async with opened(tmp_path, "dashboard") as pilot:
        assert "new question = #### 7" in shown(pilot)


def test_what_the_stream_has_is_not_read_again(tmp_path: Path) -> None:
    make(tmp_path)
    with open_reader(tmp_path) as connection:
        for known, decided, new in (
            (Known(1, 3, [2]), [2], [4, 5]),
            (Known(None, 0, []), [], [1, 2, 3, 4, 5]),
            (Known(7, 3, [2]), [], [1, 2, 3, 4, 5]),  # of another run
        ):
            view = run_view(connection, tmp_path, 1, known, NOW)
            assert [one.id for one in view.decided] == decided
            assert [one.id for one in view.new] == new


def test_the_streams_queries_go_by_indexes(tmp_path: Path) -> None:
    make(tmp_path)
    with open_reader(tmp_path) as connection:
        assert_indexed(connection, lambda: candidates_after(connection, 1, 0, 10))
        assert_indexed(connection, lambda: candidates_of_ids(connection, [1, 2]))
        assert_indexed(connection, lambda: pending_command(connection, 1))
        assert [one.id for one in candidates_after(connection, 1, 2, 2)] == [4, 5]
        assert [one.reason for one in candidates_of_ids(connection, [1, 5])] == ["", "two readings"]
    with Store(tmp_path) as store, store.transaction():
        store.execute("UPDATE candidates SET verdict = 'accept' WHERE id = 5")  # by a person
    with open_reader(tmp_path) as connection:
        assert [one.reason for one in candidates_of_ids(connection, [5])] == [""]


# --- the machine ---


async def test_a_gpu_and_who_holds_it_are_shown(tmp_path: Path, machine: list[Sample]) -> None:
    gpu = Gpu("NVIDIA H100 80GB HBM3", 21 * 2**30, 80 * 2**30, 87, 63, 312.4)
    memory = {"run": 120 * 2**20, "student": 3 * 2**30}
    machine.append(Sample(gpu, None, 1.5, 2, 6 * 2**30, 16 * 2**30, memory))
    with held(make(tmp_path)):
        async with opened(tmp_path, "dashboard", size=SMALL) as pilot:
            await until(pilot, lambda: "H100" in shown(pilot))
            text = shown(pilot)
    for words in ("87%, 63 °C, 312 W", "21.0 of 80 GiB", "–, load 1.5 of 2", "6.0 of 16 GiB", "teacher not loaded"):
        assert words in text
    assert "student ▶ 3.0 GiB  100 tokens/s" in text  # it is answering; it trained on 900 tokens in 9 s
    assert "held by student" in text


async def test_a_gpu_that_tells_little_is_shown_all_the_same(tmp_path: Path, machine: list[Sample]) -> None:
    machine.append(Sample(Gpu("old", 1, 2**30, None, None, None), 1.0, 0.1, 2, 1, 2, {"run": 1, "teacher": 1}))
    with held(make(tmp_path)):
        async with opened(tmp_path, "dashboard") as pilot:
            await until(pilot, lambda: "old" in line_with(pilot, "GPU"))
            assert "held by teacher" in shown(pilot)


async def test_the_machine_is_looked_at_only_while_it_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int | None] = []

    def sample(_: Sampler, run_pid: int | None) -> Sample:
        looks.append(run_pid)
        return MACHINE

    monkeypatch.setattr(Sampler, "sample", sample)
    monkeypatch.setattr("llm2llm_local.tui.screens.dashboard._SECONDS_BETWEEN_SAMPLES", 0.05)
    with held(make(tmp_path)):
        async with opened(tmp_path, "dashboard") as pilot:
            await until(pilot, lambda: os.getpid() in looks)
            await press(pilot, "8")
            looks.clear()
            await pilot.pause(0.3)
            assert looks == []
            await press(pilot, "2")
            await until(pilot, lambda: len(looks) > 1)


async def test_a_run_without_a_history_yet_is_a_hint_and_no_error(tmp_path: Path) -> None:
    async with opened(tmp_path, "dashboard", size=SMALL) as pilot:
        assert "No runs yet" in shown(pilot)
        assert pilot.app.screen.query_one(HardwarePanel).sample == MACHINE


@pytest.mark.parametrize("mode", ["runs", "dashboard", "review"])
async def test_a_history_that_is_gone_is_said_to_be_and_shown_again_once_it_is_back(tmp_path: Path, mode: str) -> None:
    store, away = tmp_path / STORE_NAME, tmp_path / "away"
    with held(make(tmp_path)):
        async with opened(tmp_path, mode, size=SMALL) as pilot:
            await until(pilot, lambda: "▶ running" in shown(pilot))
            before, focused = shown(pilot), pilot.app.focused
            for _ in range(2):
                store.rename(away)
                await until(pilot, lambda: "was deleted or moved" in " ".join(shown(pilot).split()))
                assert "running" not in shown(pilot) and "No runs yet" not in shown(pilot)
                assert "33%" not in shown(pilot) and "seed" not in shown(pilot)
                await press(pilot, "p")
                assert said(pilot).endswith("no run is chosen")
                pilot.app.clear_notifications()
                away.rename(store)
                await until(pilot, lambda: shown(pilot) == before)
                assert pilot.app.focused is focused


async def test_candidates_that_wait_for_their_checks_are_not_told_as_refused(tmp_path: Path) -> None:
    make(tmp_path)
    ask(tmp_path, "one more", "and another")
    async with opened(tmp_path, "dashboard", size=(200, 50)) as pilot:
        assert "… of 2" in line_with(pilot, " 1         ✓")
        assert "1 of 5" in line_with(pilot, " 0         ✓")
