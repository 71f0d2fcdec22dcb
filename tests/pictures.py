"""The README's pictures, from a workspace in which `make demo` has run: `python tests/pictures.py demo`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from screens import opened, press

_FOLDER = Path(__file__).parents[1] / "llm2llm_local/demo/pictures"
_SIZE = (140, 40)

_KEYS = {
    "dashboard": (),
    "lineage": ("down", "enter", "down", "down", "right", "down", "right", "down", "right", "down", "up"),
    "review": (),
}
"""What is pressed on each screen before its picture is taken."""


async def main(workspace: Path) -> None:
    _FOLDER.mkdir(exist_ok=True)
    for mode, keys in _KEYS.items():
        async with opened(workspace, mode, size=_SIZE) as pilot:
            await press(pilot, *keys)
            await asyncio.sleep(2.5)  # the dashboard's second look at the machine
            picture = pilot.app.export_screenshot(title=f"llm2llm: {mode}")
            (_FOLDER / f"{mode}.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
