"""Pictures of screens, compared as SVG with those in tests/snapshots.

A picture that differs is written to tests/snapshots/actual (ignored by git). When it is right:
UPDATE_SNAPSHOTS=1 .venv/bin/pytest tests/test_tui_snapshots.py
"""

from __future__ import annotations

import os
from pathlib import Path

from screens import AppPilot

_FOLDER = Path(__file__).with_name("snapshots")


def assert_looks_as_before(pilot: AppPilot, name: str) -> None:
    """Compare the screen with tests/snapshots/NAME.svg."""
    picture = pilot.app.export_screenshot(title=name)
    expected = _FOLDER / f"{name}.svg"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        expected.parent.mkdir(exist_ok=True)
        expected.write_text(picture, encoding="utf-8")
        return
    if not expected.is_file() or expected.read_text(encoding="utf-8") != picture:
        actual = _FOLDER / "actual" / f"{name}.svg"
        actual.parent.mkdir(parents=True, exist_ok=True)
        actual.write_text(picture, encoding="utf-8")
        raise AssertionError(f"{name} looks otherwise than before: compare {expected} with {actual}")
