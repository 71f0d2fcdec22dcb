"""A run in a terminal: started as a process of its own, and watched in the terminal UI until the person leaves."""

from __future__ import annotations

import os
import re
import shlex
import sys
from contextlib import suppress
from pathlib import Path

from .errors import EXIT_DONE, EXIT_FAILED, EXIT_RESUMABLE, NoHistoryError
from .launch import Launched, launch
from .report.plain import visible
from .report.query import for_terminal
from .report.status import RunStatus, run_statuses, status_lines
from .store.reader import open_reader
from .store.wishes import add_command, withdraw_commands

_EXIT_CODES = {"failed": EXIT_FAILED, "stopped": EXIT_RESUMABLE, "interrupted": EXIT_RESUMABLE}
_COMMAND = re.compile(
    r"\bllm2llm (?=(?:run|resume|fork|sweep|pause|stop|delete|tui|status|report|compare|failures|lineage|query|models|"
    r"doctor|bench)\b)"
)
"""Those that depend on the folder in which they are typed."""


def is_there() -> bool:
    """Whether a person sits at a terminal that can show the terminal UI."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)) and (
        os.environ.get("TERM", "dumb") != "dumb"
    )


def from_here(text: str, workspace: Path) -> str:
    """Our commands in a text as they are to be typed in the current folder."""
    with suppress(OSError):  # one of the folders is gone
        if workspace.samefile(os.curdir):
            return text
    place = visible(shlex.quote(str(workspace)))
    return _COMMAND.sub(lambda _: f"llm2llm -C {place} ", text)


def run_and_watch(workspace: Path, *arguments: str) -> tuple[int, int | None]:
    """Start `run`, `resume` or `fork` with these arguments and show it; the exit code, and the run if it is done.

    Leaving the terminal UI doesn't end the run. What a run that could not be started said is on standard error.
    """
    return _watch(workspace, None, launch(workspace, *arguments, "--headless"))


def resume_and_watch(workspace: Path, run_id: int | None) -> tuple[int, int | None]:
    """Resume `run_id`, or the newest unfinished run; one that a process has already is shown, and waits no more."""
    with open_reader(workspace) as connection:
        statuses = run_statuses(connection, workspace, run_id)
    unfinished = [status for status in statuses if status.state != "done"]
    free = [status for status in unfinished if status.state not in ("running", "starting")]
    chosen = next(reversed(free or unfinished), None)
    if chosen is None or chosen.pid is None:
        return run_and_watch(workspace, "resume", *([] if run_id is None else [str(run_id)]))
    if chosen.state == "paused":
        add_command(workspace, chosen.run_id, "resume")
    else:
        withdraw_commands(workspace, chosen.run_id)
    return watch(workspace, chosen.run_id)


def watch(workspace: Path, run_id: int | None) -> tuple[int, int | None]:
    """Show the history, or the run `run_id`; returns as `run_and_watch` does."""
    return _watch(workspace, run_id, None)


def _watch(workspace: Path, run_id: int | None, launched: Launched | None) -> tuple[int, int | None]:
    from .tui.app import Llm2LlmApp

    app = Llm2LlmApp(workspace, run_id=run_id, launched=launched)
    refused = app.run()
    if app.return_code:
        return app.return_code, None
    if refused is not None:
        sys.stderr.write(for_terminal(refused.output()))
        return refused.exit_code() or EXIT_FAILED, None
    if launched is not None and app.launched_run_id is None:
        return _left_before_a_run(launched), None
    status = _status(workspace, app.run_id if launched is None else app.launched_run_id)
    if status is None or (launched is None and status.pid is None):
        return EXIT_DONE, None
    if status.state == "done":
        return EXIT_DONE, status.run_id
    print(from_here("\n".join(status_lines([status])), workspace))  # noqa: T201
    if status.pid is not None:
        word = (
            "it waits; let it go on: llm2llm resume"
            if status.state == "paused"
            else "it goes on; stop it: llm2llm stop"
        )
        print(from_here(f"    {word} {status.run_id}   watch it: llm2llm tui", workspace))  # noqa: T201
    return _EXIT_CODES.get(status.state, EXIT_DONE), None


def _left_before_a_run(launched: Launched) -> int:
    """The exit code where the person did not wait for the process to have a run."""
    code = launched.exit_code()
    if code is None:
        print(from_here(f"process {launched.pid} goes on; watch it: llm2llm tui", launched.workspace))  # noqa: T201
        return EXIT_DONE
    sys.stderr.write(for_terminal(launched.output()))
    return code


def _status(workspace: Path, run_id: int | None) -> RunStatus | None:
    if run_id is None:
        return None
    try:
        with open_reader(workspace) as connection:
            statuses = run_statuses(connection, workspace, run_id)
    except NoHistoryError:
        return None
    return statuses[0] if statuses else None
