"""Defects of this program that show while a screen reads: a line on that screen, and the traceback in a file.

Who watches a run for hours should not lose the terminal UI to a figure that can't be reckoned. Nothing is hidden by
that: the line says that it is a defect, and stays for as long as the reading fails.
"""

from __future__ import annotations

import os
import traceback
from datetime import UTC, datetime
from pathlib import Path

from ..errors import Llm2LlmError
from ..report.plain import shortened

_PACKAGE = Path(__file__).parents[1]
_MOST_CELLS_OF_MESSAGE = 200


def defects_log(workspace: Path) -> Path:
    """Beside the runs, as the logs of processes that have none yet; readable by its owner only."""
    return workspace / "runs" / "terminal-ui.log"


class Defects:
    """Those of one process. Each is logged once, however often a screen reads again."""

    def __init__(self, workspace: Path) -> None:
        self._log = defects_log(workspace)
        self._logged: set[tuple[type[Exception], str, int]] = set()

    def told(self, error: Exception) -> Llm2LlmError:
        """Log it, and give what a person should read of it."""
        file, line = _place(error)
        what = shortened(f"{type(error).__name__}: {error}", _MOST_CELLS_OF_MESSAGE)
        where = f"Its traceback is in {self._log}."
        if (type(error), file, line) not in self._logged:
            try:
                self._write("".join(traceback.format_exception(error)))
            except OSError as refused:
                where = f"Its traceback can't be written: {self._log}: {refused.strerror}."
            else:
                self._logged.add((type(error), file, line))
        return Llm2LlmError(
            f"a defect of llm2llm: {what} ({file}, line {line})", f"Runs are not touched by it. {where}"
        )

    def _write(self, text: str) -> None:
        self._log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        with os.fdopen(os.open(self._log, flags, 0o600), "w", encoding="utf-8", errors="backslashreplace") as log:
            log.write(f"{datetime.now(UTC).isoformat(timespec='seconds')}\n{text}\n")


def _place(error: Exception) -> tuple[str, int]:
    """The innermost line of this program that was at work: its file in the package, and its number."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(_PACKAGE)] or frames
    file = Path(ours[-1].filename)
    return str(file.relative_to(_PACKAGE) if file.is_relative_to(_PACKAGE) else file.name), ours[-1].lineno or 0
