"""Pictures of screens, compared as SVG with those in tests/snapshots.

What is promised is how a screen looks in the end, not how soon: it has some time to become like its picture, and is to
stay so. A picture that differs is written to tests/snapshots/actual (ignored by git). When it is right:
UPDATE_SNAPSHOTS=1 .venv/bin/pytest tests/test_tui_snapshots.py
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from screens import AppPilot

_FOLDER = Path(__file__).with_name("snapshots")

_PATIENCE_SECONDS = 20.0
_LOOKS = 3


async def assert_looks_as_before(pilot: AppPilot, name: str) -> None:
    """Compare the screen with tests/snapshots/NAME.svg."""
    expected = _FOLDER / f"{name}.svg"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        expected.parent.mkdir(exist_ok=True)
        expected.write_text(pilot.app.export_screenshot(title=name), encoding="utf-8")
        return
    before = expected.read_text(encoding="utf-8") if expected.is_file() else ""
    deadline, alike = time.monotonic() + _PATIENCE_SECONDS, 0
    while alike < _LOOKS:
        picture = pilot.app.export_screenshot(title=name)
        alike = alike + 1 if picture == before else 0
        if alike == 0 and (not before or time.monotonic() > deadline):
            actual = _FOLDER / "actual" / f"{name}.svg"
            actual.parent.mkdir(parents=True, exist_ok=True)
            actual.write_text(picture, encoding="utf-8")
            raise AssertionError(f"{name} looks otherwise than before: compare {expected} with {actual}")
        await pilot.pause(0.05)
