"""Going to a screen: the first time costs no more than later, and later visits make nothing anew."""

from __future__ import annotations

import asyncio
import gc
from itertools import pairwise
from pathlib import Path

import pytest
from screens import SMALL, AppPilot, opened, press, settled, shown, until
from textual.widget import Widget
from textual.widgets import RichLog
from textual.widgets._footer import FooterKey
from workspaces import add_graded_run

from llm2llm_local.store.writer import Store
from llm2llm_local.tui import app as app_module
from llm2llm_local.tui.app import Llm2LlmApp
from llm2llm_local.tui.screens.logs import LogsScreen

pytestmark = pytest.mark.anyio

_MODES = ("dashboard", "failures", "lineage", "review", "sql", "compare", "logs")
_EVENTS = 450


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    with Store(tmp_path) as store:
        run = add_graded_run(store)
        with store.transaction():
            for number in range(_EVENTS):
                run.add_event("note", f"event number {number}")
    return tmp_path


@pytest.fixture
def freezes(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """The tests' own objects are not to be kept for ever."""
    calls: list[None] = []
    monkeypatch.setattr(gc, "freeze", lambda: calls.append(None))
    monkeypatch.setattr(app_module, "_SECONDS_UNTIL_IDLE", 0.0)
    return calls


async def make_ready(pilot: AppPilot) -> None:
    assert isinstance(pilot.app, Llm2LlmApp)
    await pilot.app.prepare_screens().wait()


def drawn(pilot: AppPilot, mode: str) -> str:
    """What a screen shows, or would show if it was gone to."""
    strips = pilot.app.get_screen_stack(mode)[0]._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


@pytest.mark.parametrize("size", [SMALL, (140, 45)])
async def test_a_screen_is_drawn_with_its_data_before_it_is_first_gone_to(
    workspace: Path, freezes: list[None], size: tuple[int, int]
) -> None:
    async with opened(workspace, "runs", size=size) as pilot:
        await make_ready(pilot)
        before = {mode: drawn(pilot, mode) for mode in _MODES}
        for mode in _MODES:
            pilot.app.switch_mode(mode)
            await settled(pilot)
            ours, now = (text.replace("looking …", "").split("\n") for text in (before[mode], shown(pilot)))
            changed = [pair for pair in zip(ours, now, strict=True) if pair[0] != pair[1]]
            # Only the machine may have changed, and which keys there are.
            assert len(changed) <= (12 if mode == "dashboard" else 1), (mode, changed)


async def test_each_screen_is_taken_out_of_garbage_collection_once_it_is_ready(
    workspace: Path, freezes: list[None]
) -> None:
    async with opened(workspace, "runs") as pilot:
        await make_ready(pilot)
    assert len(freezes) == 1 + len(_MODES) + 1


async def test_the_keys_of_a_screen_are_made_once(workspace: Path) -> None:
    async with opened(workspace, "failures") as pilot:
        before = [*pilot.app.screen.query(FooterKey)]
        assert before
        await press(pilot, "8")
        await press(pilot, "3")
        assert [*pilot.app.screen.query(FooterKey)] == before


async def test_other_keys_are_shown_and_those_before_are_let_go(workspace: Path) -> None:
    async with opened(workspace, "review") as pilot:
        before = [*pilot.app.screen.query(FooterKey)]
        await press(pilot, "e")
        await until(pilot, lambda: "Accept as edited" in shown(pilot))
        await press(pilot, "escape")
        await until(pilot, lambda: "Accept as edited" not in shown(pilot))
        now = [*pilot.app.screen.query(FooterKey)]
        assert {id(key) for key in before}.isdisjoint(id(key) for key in now)
        footer = pilot.app.screen.query_one("KeyLine")
        assert {watcher for watcher, _ in getattr(footer, "__watchers")["compact"]} == {*now}


async def test_nothing_is_left_behind_by_going_from_screen_to_screen(workspace: Path) -> None:
    async def widgets_after_a_round(pilot: AppPilot) -> int:
        for mode in ("runs", *_MODES):
            pilot.app.switch_mode(mode)
            await settled(pilot)
        gc.collect()
        return sum(issubclass(type(one), Widget) for one in gc.get_objects())

    async with opened(workspace, "runs") as pilot:
        await widgets_after_a_round(pilot)
        assert await widgets_after_a_round(pilot) == await widgets_after_a_round(pilot)


@pytest.mark.parametrize("mode", ["runs", *_MODES])
async def test_a_screen_reads_once_at_a_change(workspace: Path, mode: str) -> None:
    async with opened(workspace, mode) as pilot:
        assert len(pilot.app.history._subscriptions[pilot.app.screen]) == 1  # type: ignore[attr-defined]


async def test_many_events_are_written_a_few_at_a_time(workspace: Path) -> None:
    async with opened(workspace, "runs") as pilot:
        counts: list[int] = []

        async def count() -> None:
            while not counts or counts[-1] < _EVENTS:
                if pilot.app.current_mode == "logs" and isinstance(pilot.app.screen, LogsScreen):
                    counts.extend(len(log.lines) for log in pilot.app.screen.query("#events RichLog").results(RichLog))
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        await press(pilot, "8")
        await asyncio.wait_for(counting, 30)
        steps = [after - before for before, after in pairwise(counts)]
        assert max(steps) <= _EVENTS / 2
        log = pilot.app.screen.query_one("#events RichLog", RichLog)
        assert [line.text.split()[-1] for line in log.lines][-_EVENTS:] == [str(n) for n in range(_EVENTS)]
