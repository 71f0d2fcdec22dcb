"""Every screen on the history of a real run."""

from __future__ import annotations

import pytest
from screens import LARGE, SMALL, opened, press, shown
from workspaces import Workspace

pytestmark = [pytest.mark.anyio, pytest.mark.model]


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
async def test_every_screen_shows_what_the_run_left(finished_run: Workspace, size: tuple[int, int]) -> None:
    ((question, failed),) = finished_run.rows(
        "SELECT question, example_id FROM failures WHERE iteration = 2 ORDER BY example_id LIMIT 1"
    )
    ((candidate,),) = finished_run.rows("SELECT max(id) FROM candidates")
    ((ending,),) = finished_run.rows("SELECT status_detail FROM runs")
    async with opened(finished_run.folder, "runs", size=size) as pilot:
        assert "✓ done" in shown(pilot)
        await press(pilot, "2")
        assert ending in shown(pilot)
        await press(pilot, "3")
        assert "iteration 2 (newest)" in shown(pilot)
        assert question[:20] in shown(pilot)
        await press(pilot, "4", "g", *str(failed), "enter")
        assert f"seed {failed}" in shown(pilot)
        await press(pilot, "5")
        assert str(candidate) in shown(pilot)
        await press(pilot, "6", "f5")
        assert "rows" in shown(pilot) and "n_correct" in shown(pilot)
        await press(pilot, "escape", "7")
        assert "size of the training set" in shown(pilot)
        await press(pilot, "8")
        assert ending in shown(pilot)
