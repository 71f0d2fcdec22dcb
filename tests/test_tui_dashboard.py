"""The home of a run: what it says in every state, how it is steered, and the machine."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dashboards import MACHINE, ask, held, make, work_on
from screens import LARGE, SMALL, line_with, opened, press, said, settled, shown, until
from textual.geometry import Region
from textual.screen import Screen
from workspaces import CONFIG_BY_HAND, add_run, fill

from llm2llm_local.records import Status
from llm2llm_local.report.commands import pending_command
from llm2llm_local.report.duration import duration, short_duration
from llm2llm_local.report.results import Change
from llm2llm_local.store.reader import STORE_NAME, open_reader
from llm2llm_local.store.wishes import add_command
from llm2llm_local.store.writer import Store
from llm2llm_local.tui.course import gain_of, title_of
from llm2llm_local.tui.hardware import Gpu, Sample, Sampler
from llm2llm_local.tui.widgets.hardware_panel import HardwarePanel
from llm2llm_local.tui.widgets.panel import Panel
from llm2llm_local.tui.widgets.timeline import Timeline
from llm2llm_local.wilson import wilson

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("machine")]


@pytest.fixture
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


# --- how far the run is ---


@pytest.mark.parametrize("size", [SMALL, LARGE, (200, 60)])
async def test_a_running_run_is_told_at_every_size(tmp_path: Path, size: tuple[int, int]) -> None:
    with held(make(tmp_path)):
        async with opened(tmp_path, "dashboard", size=size) as pilot:
            is_small = size == SMALL
            stages = line_with(pilot, "✓ 1m 00s" if is_small else "✓ 1 min 00 s").split("✓")
            took = ["1m", "6s", "<1s", "1m", "<1s"] if is_small else ["1", "6", "<1", "1", "<1"]
            assert [part.split()[0] for part in stages[1:]] == took
            assert "▶ 33%" in line_with(pilot, "✓ 1m 20s" if is_small else "✓ 1 min 20 s")
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


@pytest.mark.parametrize("iterations", [100, 150])
async def test_what_grows_beyond_a_year_has_no_figure(tmp_path: Path, iterations: int) -> None:
    config = {**CONFIG_BY_HAND, "loop.iterations": iterations, "loop.augment_from": "all"}
    with Store(tmp_path) as store:
        run = add_run(store, config=json.dumps(config))
        fill(run)
        for stage in ("train", "predict", "grade", "augment", "check"):
            work_on(run, 0, stage, units=1, done=1, seconds=5.0)
        run.close_iteration(0)
        run.open_stage(1, "train", 0, "", {}, units=1)
    with held(tmp_path):
        async with opened(tmp_path, "dashboard") as pilot:
            assert "whole run: more than a year left" in line_with(pilot, "whole run")
            assert "done about" not in shown(pilot)


@pytest.mark.parametrize(
    ("days", "told"),
    [
        (1.5, "about 1 d 12 h left, done about Tue 00:00"),
        (5.9, "about 5 d 21 h left, done about Sat 09:36"),
        (12, "about 12 d 0 h left, done about 13 Mar"),
        (364, "about 364 d 0 h left, done about 28 Feb"),
        (366, "more than a year left"),
    ],
)
@pytest.mark.usefixtures("_utc")
async def test_the_end_is_told_by_its_date_where_weekdays_come_again(tmp_path: Path, days: float, told: str) -> None:
    with held(make(tmp_path)):
        async with opened(tmp_path, "dashboard") as pilot:
            course = pilot.app.screen.query_one(Timeline).course
    assert course is not None
    far = replace(course, progress=replace(course.progress, seconds_left=days * 86_400))
    assert title_of(far) == f"Iteration 1 of 2 · whole run: {told}"


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


async def test_candidates_that_wait_for_their_checks_are_not_told_as_refused(tmp_path: Path) -> None:
    make(tmp_path)
    ask(tmp_path, "one more", "and another")
    async with opened(tmp_path, "dashboard", size=(200, 50)) as pilot:
        assert "… of 2" in line_with(pilot, " 1         ✓")
        assert "1 of 5" in line_with(pilot, " 0         ✓")


async def test_the_screen_survives_any_size(tmp_path: Path) -> None:
    with held(make(tmp_path, is_ended=True)):
        async with opened(tmp_path, "dashboard") as pilot:
            for size in ((20, 6), (1, 1), (300, 5), (30, 90), SMALL):
                await pilot.resize_terminal(*size)
                await settled(pilot)
            assert "● test" in shown(pilot)


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
    assert "100.0% (34–100) → 50.0% (9–91): -50.0 points, may be chance (p = 1.000)" in text
    assert "whole run" not in text


def test_a_gain_is_told_with_its_intervals() -> None:
    before, after = wilson(710, 1000), wilson(820, 1000)
    curve = ((0, before), (2, wilson(600, 1000)), (3, after))
    assert gain_of(curve, Change(3, before, after, 160, 50)) == (
        "71.0% (68–74) → 82.0% (79–84): +11.0 points, hardly chance (p <0.001)"
    )
    assert gain_of(curve, Change(3, before, after, 3, 2)).endswith("+11.0 points, may be chance (p = 1.000)")
    assert gain_of(((0, wilson(7, 10)),), None) == "70.0% (40–89)"
    assert "no test rows" in gain_of((), None)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "<1 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (90_000, "1 d 1 h"),
        (365 * 86_400, "365 d 0 h"),
        (366 * 86_400, "more than a year"),
        (math.inf, "more than a year"),
        (math.nan, "more than a year"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "cells", "words"),
    [
        (0.4, 7, "<1s"),
        (59.4, 7, "59s"),
        (2100, 7, "35m 00s"),
        (2100, 6, "35m"),
        (86_399, 7, "23h 59m"),
        (104 * 3600, 7, "4d 8h"),
        (104 * 3600, 4, "4d"),
        (1e300, 4, ">1y"),
        (math.inf, 4, ">1y"),
    ],
)
def test_durations_in_few_cells(seconds: float, cells: int, words: str) -> None:
    assert short_duration(seconds, cells) == words


# --- steering ---


@pytest.mark.parametrize(("key", "word"), [("p", "pause"), ("s", "stop")])
async def test_a_wish_is_shown_until_the_run_obeys(tmp_path: Path, key: str, word: str) -> None:
    with held(make(tmp_path)):
        async with opened(tmp_path, "dashboard") as pilot:
            await press(pilot, key)
            await until(pilot, lambda: f"it will {word} after this unit, about 2 s" in shown(pilot))
            with Store(tmp_path) as store, store.transaction():
                run = store.of_run(1)
                command = run.commands.next()
                assert command is not None
                assert command[1] == word
                run.commands.take(command[0])
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


# --- a history that is not there ---


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
