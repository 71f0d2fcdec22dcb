"""The dashboard's plots: which of them is shown, what their curves say, and when they are drawn anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from dashboards import held, make
from screens import LARGE, SMALL, AppPilot, opened, press, settled, shown, until
from textual.color import Color
from textual_plot import PlotWidget
from workspaces import add_run

from llm2llm_local.records import Split
from llm2llm_local.report.curves import CandidateCounts, LossPoint
from llm2llm_local.report.growth import IterationGrowth
from llm2llm_local.store.writer import Store
from llm2llm_local.tui.run_view import Accuracies, Counts, Loss
from llm2llm_local.tui.themes import LIGHT
from llm2llm_local.tui.widgets.accuracy_plot import AccuracyPlot
from llm2llm_local.tui.widgets.axes import Axes, Ticks
from llm2llm_local.tui.widgets.candidates_plot import CandidatesPlot
from llm2llm_local.tui.widgets.growth_plot import GrowthPlot
from llm2llm_local.tui.widgets.loss_plot import LossPlot
from llm2llm_local.tui.widgets.plot import Plot, Series
from llm2llm_local.wilson import wilson

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("machine")]


def plots_shown(pilot: AppPilot) -> list[str | None]:
    return [plot.id for plot in pilot.app.screen.query(Plot) if plot.display and plot.region.area]


async def test_v_shows_one_plot_after_another_where_there_is_room_for_one(tmp_path: Path) -> None:
    async with opened(make(tmp_path), "dashboard", size=SMALL) as pilot:
        seen = [plots_shown(pilot)]
        for _ in range(4):
            await press(pilot, "v")
            seen.append(plots_shown(pilot))
    assert seen == [["accuracy"], ["loss"], ["candidates"], ["growth"], ["accuracy"]]


async def test_v_enlarges_one_plot_after_another_where_there_is_room_for_all(tmp_path: Path) -> None:
    async with opened(make(tmp_path), "dashboard", size=LARGE) as pilot:
        seen = [plots_shown(pilot)]
        for _ in range(5):
            await press(pilot, "v")
            seen.append(plots_shown(pilot))
    every = ["loss", "accuracy", "candidates"]
    assert seen == [every, ["accuracy"], ["loss"], ["candidates"], ["growth"], every]


async def test_a_plot_chosen_in_a_small_window_stays_when_it_grows(tmp_path: Path) -> None:
    async with opened(make(tmp_path), "dashboard", size=SMALL) as pilot:
        await press(pilot, "v")
        await pilot.resize_terminal(*LARGE)
        await settled(pilot)
        assert plots_shown(pilot) == ["loss"]
        await press(pilot, "v", "v", "v")
        assert plots_shown(pilot) == ["loss", "accuracy", "candidates"]


async def test_training_sets_are_plotted_beside_what_they_may_become(tmp_path: Path) -> None:
    async with opened(make(tmp_path), "dashboard") as pilot:
        plot = pilot.app.screen.query_one(GrowthPlot)
        await press(pilot, "v", "v", "v", "v")
        title, *inside = text_of(pilot, plot)
        assert all(f"{marker} {name}" in title for marker, name in (("●", "examples"), ("▲", "at most")))
        assert "".join(inside).count("▲") >= 2
        assert inside[-1].split() == ["0", "1", "2"]
        far = [IterationGrowth(n, n > 0, 3 if n == 0 else None, 3 * 101**n, None, None) for n in range(9)]
        plot.show(tuple(far))
        await settled(pilot)
        assert "".join(text_of(pilot, plot)[1:]).count("▲") <= 1  # what is far above all else isn't there
        plot.show(())
        await settled(pilot)
        assert "no training set yet" in "".join(text_of(pilot, plot))


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


@pytest.mark.parametrize(("asks_unseen", "name"), [(True, "seeds unseen"), (False, "seeds")])
async def test_accuracy_on_seeds_that_the_students_had_not_seen_is_called_so(
    tmp_path: Path, asks_unseen: bool, name: str
) -> None:
    async with opened(make(tmp_path), "dashboard") as pilot:
        plot = pilot.app.screen.query_one(AccuracyPlot)
        plot.show(Accuracies(((Split.TRAIN, ((0, wilson(3, 5)),)),), 0, asks_unseen))
        await settled(pilot)
        text = "".join(text_of(pilot, plot))
        assert name in text and ("unseen" in text) == asks_unseen


async def test_one_point_is_seen(tmp_path: Path) -> None:
    async with opened(make(tmp_path), "dashboard") as pilot:
        screen = pilot.app.screen
        screen.query_one(LossPlot).show(Loss(0, 0, 1, (LossPoint(0, 0.0),)))
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
