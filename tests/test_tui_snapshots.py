"""Every screen as a picture, in a small and a large terminal, on a store that is always the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from big_run import Size
from big_store import make_big_store
from screens import LARGE, SMALL, opened, press
from snapshots import assert_looks_as_before
from textual.widgets import TextArea

from llm2llm_local.store.lock import RunLock
from llm2llm_local.store.rows import run_folder
from llm2llm_local.tui.hardware import Gpu, Sample, Sampler
from llm2llm_local.tui.themes import LIGHT

pytestmark = pytest.mark.anyio

SCREENS: dict[str, tuple[str, ...]] = {
    "runs": (),
    "dashboard": (),
    "failures": (),
    "lineage": ("g", "6", "8", "0", "enter", "down", "down", "down", "right", "down", "right", "down"),
    "review": (),
    "sql": ("f5",),
    "compare": (),
    "logs": (),
}
"""What is pressed before the picture is taken."""

_GPU = Gpu("NVIDIA RTX A4500", 9 << 30, 20 << 30, 97, 71, 188.0)
_SAMPLE = Sample(_GPU, 43.0, 1.7, 16, 21 << 30, 64 << 30, {"run": 66 << 20, "student": 5 << 30})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three runs, the newest of them at work."""
    folder = tmp_path_factory.mktemp("pictures") / "store"
    folder.mkdir()
    make_big_store(folder, Size(runs=3, iterations=4, seeds=60, dev=40, test=100, candidates=60))
    run = run_folder(folder, 3)
    run.mkdir(parents=True)
    with RunLock(run, 3):
        yield folder


@pytest.fixture(autouse=True)
def _frozen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same zone, machine and process everywhere, and no blinking cursor; the clock is frozen by `opened`."""
    monkeypatch.setattr(Sampler, "sample", lambda self, pid: _SAMPLE)
    monkeypatch.setattr("llm2llm_local.tui.screens.sql.monotonic", lambda: 0.0)
    monkeypatch.setattr(TextArea, "_toggle_cursor_blink_visible", lambda self: None)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("mode", SCREENS)
async def test_a_screen_looks_as_before(store: Path, mode: str, size: tuple[int, int]) -> None:
    async with opened(store, mode, size=size) as pilot:
        await press(pilot, *SCREENS[mode])
        await assert_looks_as_before(pilot, f"{mode}-{size[0]}x{size[1]}")


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_the_results_of_compared_runs_look_as_before(store: Path, size: tuple[int, int]) -> None:
    async with opened(store, "compare", size=size) as pilot:
        await press(pilot, "down", "space", "down", "space")
        pilot.app.screen.query_one("Tabs").focus()
        await press(pilot, "right")
        await assert_looks_as_before(pilot, f"compare-results-{size[0]}x{size[1]}")


async def test_the_light_theme_looks_as_before(store: Path) -> None:
    async with opened(store, "dashboard", size=LARGE) as pilot:
        await press(pilot, "t")
        assert pilot.app.theme == LIGHT.name
        await assert_looks_as_before(pilot, "dashboard-light-140x45")


async def test_a_screen_that_looks_otherwise_is_told(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snapshots._FOLDER", tmp_path)
    monkeypatch.setattr("snapshots._PATIENCE_SECONDS", 0.2)
    (tmp_path / "runs.svg").write_text("<svg/>", encoding="utf-8")
    async with opened(store, "runs", size=SMALL) as pilot:
        for name in ("runs", "no-picture-yet"):
            with pytest.raises(AssertionError, match=f"{name} looks otherwise"):
                await assert_looks_as_before(pilot, name)
            assert (tmp_path / "actual" / f"{name}.svg").read_text(encoding="utf-8").startswith("<svg")
