"""Commands that work on a run: start, continue, steer, watch and delete it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click

from .. import terminal
from .arguments import HEADLESS, ID, JSON, RUN, SET, config_path
from .printing import print_report, progress_watcher


@click.command()
@click.argument("config", type=click.Path(path_type=Path), required=False)
@HEADLESS
@JSON
@SET
def run(config: Path | None, headless: bool, as_json: bool, overrides: tuple[str, ...]) -> None:
    """Start a run of CONFIG (llm2llm.toml by default) and work it to its end.

    In a terminal the run is a process of its own, and the terminal UI shows it; leaving that doesn't stop the run.
    """
    path = config_path(config)
    workspace = path.parent
    if _shows_tui(headless, as_json, path):
        _end_watching(workspace, terminal.run_and_watch(workspace, "run", path.name, *_set_again(overrides)))
    from ..loop.control import Interrupts
    from ..loop.start import start_run

    interrupts = Interrupts()
    with interrupts.listening(), progress_watcher(workspace, headless) as watcher:
        run_id = start_run(path, overrides, watcher, interrupts)
    print_report(workspace, run_id, as_json)


@click.command()
@RUN
@HEADLESS
@JSON
@click.pass_obj
def resume(workspace: Path, run: int | None, headless: bool, as_json: bool) -> None:
    """Continue RUN, by default the newest unfinished one, where it was interrupted."""
    from ..store.reader import STORE_NAME

    if _shows_tui(headless, as_json, workspace / STORE_NAME):
        _end_watching(workspace, terminal.resume_and_watch(workspace, run))
    from ..loop.control import Interrupts
    from ..loop.start import resume_run

    interrupts = Interrupts()
    with interrupts.listening(), progress_watcher(workspace, headless) as watcher:
        run_id = resume_run(workspace, run, watcher, interrupts)
    print_report(workspace, run_id, as_json)


@click.command()
@click.argument("run", type=ID)
@click.argument("config", type=click.Path(path_type=Path), required=False)
@HEADLESS
@JSON
@SET
@click.pass_obj
def fork(
    workspace: Path, run: int, config: Path | None, headless: bool, as_json: bool, overrides: tuple[str, ...]
) -> None:
    """Start a new run that takes over what RUN has finished and what is unchanged since.

    The configuration is that of RUN, read anew, with RUN's overrides and then --set; or CONFIG with --set.
    """
    from ..store.reader import STORE_NAME

    if _shows_tui(headless, as_json, workspace / STORE_NAME):
        words = [str(run), *([] if config is None else [str(config)]), *_set_again(overrides)]
        _end_watching(workspace, terminal.run_and_watch(workspace, "fork", *words))
    from ..loop.control import Interrupts
    from ..loop.start import fork_run

    interrupts = Interrupts()
    with interrupts.listening(), progress_watcher(workspace, headless) as watcher:
        run_id = fork_run(workspace, run, config and workspace / config, overrides, watcher, interrupts)
    print_report(workspace, run_id, as_json)


@click.command()
@RUN
@click.pass_obj
def tui(workspace: Path, run: int | None) -> None:
    """Open the terminal UI on the history, or on RUN. Leaving it stops nothing."""
    from ..errors import UserInputError

    if not workspace.is_dir():
        raise UserInputError(f"{workspace}: no such folder", "Name that of a configuration: llm2llm -C FOLDER tui")
    if not terminal.is_there():
        raise UserInputError("the terminal UI needs a terminal", "Without one: llm2llm status, report, failures, query")
    if run is not None:
        from ..store.reader import open_reader, require_run

        with open_reader(workspace) as connection:
            require_run(connection, run)
    _end_watching(workspace, terminal.watch(workspace, run))


@click.command()
@RUN
@click.pass_obj
def pause(workspace: Path, run: int | None) -> None:
    """Let RUN wait after its current unit of work, its models unloaded; resume lets it go on."""
    _command(workspace, run, "pause")


@click.command()
@RUN
@click.pass_obj
def stop(workspace: Path, run: int | None) -> None:
    """End RUN after its current unit of work; resume continues it."""
    _command(workspace, run, "stop")


@click.command()
@click.argument("run", type=ID)
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.pass_obj
def delete(workspace: Path, run: int, yes: bool) -> None:
    """Remove RUN, its history and its adapters, for good. Other runs and the models stay as they are."""
    from ..errors import UserInputError
    from ..store.delete import delete_run, run_size
    from ..store.reader import open_reader, require_run

    with open_reader(workspace) as connection:
        size = run_size(connection, workspace, require_run(connection, run))
    rows = ", ".join(f"{n:,} {table}" for table, n in size.rows.items())
    what = f"run {run}: {rows}; {size.folder} with {size.folder_bytes / 2**20:,.1f} MiB"
    if not yes:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UserInputError(what, f"Not deleted, since there is no terminal to ask on: llm2llm delete {run} --yes")
        if not click.confirm(f"{what}\nDelete it for good?", err=True):
            click.echo("nothing was deleted")
            return
    delete_run(workspace, run)
    click.echo(f"deleted {what}")


def _command(workspace: Path, run: int | None, word: str) -> None:
    """Leave a command for a living run process: that of `run`, or the only one there is."""
    from ..errors import UserInputError
    from ..store.lock import holder
    from ..store.reader import open_reader, require_run
    from ..store.rows import run_folder
    from ..store.wishes import add_command

    with open_reader(workspace) as connection:
        newest = require_run(connection, run)
        every = [row[0] for row in connection.execute("SELECT run_id FROM runs")]
    candidates = every if run is None else [run]
    alive = {run_id: process for run_id in candidates if (process := holder(run_folder(workspace, run_id)))}
    if not alive:
        message = "no run is being worked on" if run is None else f"run {run} is not being worked on"
        raise UserInputError(message, f"Where it stands: llm2llm status {newest}")
    if len(alive) > 1:
        raise UserInputError(f"several runs are being worked on: {', '.join(map(str, alive))}", f"llm2llm {word} RUN")
    ((run_id, process),) = alive.items()
    add_command(workspace, run_id, word)
    click.echo(f"run {run_id} will {word} after its current unit of work (process {process}); nothing is lost")


def _shows_tui(headless: bool, as_json: bool, needed: Path) -> bool:
    """Where the `needed` file isn't there, the command itself says so at once."""
    return not headless and not as_json and terminal.is_there() and needed.is_file()


def _end_watching(workspace: Path, outcome: tuple[int, int | None]) -> NoReturn:
    """Ends with the exit code that the command would have had; a run that is done ends with its report."""
    code, done = outcome
    if done is not None:
        print_report(workspace, done, as_json=False)
    sys.exit(code)


def _set_again(overrides: tuple[str, ...]) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]
