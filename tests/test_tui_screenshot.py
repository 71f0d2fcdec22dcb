"""A picture of the screen, by the command palette."""

from __future__ import annotations

from pathlib import Path

import pytest
from screens import NOW, opened, said, until
from workspaces import add_graded_run

from llm2llm_local.store.writer import Store

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Beside a home that has no folder of downloads."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    with Store(tmp_path / "work") as store:
        add_graded_run(store)
    return tmp_path / "work"


async def test_a_screenshot_lies_in_the_workspace_and_is_its_owners_alone(workspace: Path) -> None:
    async with opened(workspace, "runs") as pilot:
        await pilot.press("ctrl+p", *"Screenshot")
        await pilot.pause(0.5)
        await pilot.press("enter")
        picture = workspace / f"llm2llm-{NOW.astimezone():%Y-%m-%d-%H%M%S}.svg"
        await until(pilot, lambda: str(picture) in said(pilot))
        assert picture.stat().st_mode & 0o777 == 0o600
        assert "interrupted" in picture.read_text(encoding="utf-8")


async def test_a_screenshot_that_cannot_be_written_says_why(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async with opened(workspace, "runs") as pilot:
        monkeypatch.setattr("llm2llm_local.tui.query_files.write_private", refuse)
        pilot.app.deliver_screenshot()
        await until(pilot, lambda: ".svg: No space left on device" in said(pilot))
        assert list(workspace.glob("*.svg")) == []
