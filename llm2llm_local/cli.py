"""The command line: parse, call, map errors to exit codes.

Exit codes: 0 done, 1 failed, 2 the user's input, 3 stopped and resumable. Everything heavy is imported
inside the command that needs it, so that `--help` and `status` start at once.
"""

from __future__ import annotations

import codecs
import json
import math
import os
import shlex
import sys
from contextlib import AbstractContextManager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource

from . import __version__, airgap, terminal
from .errors import EXIT_FAILED, EXIT_USER_INPUT, Llm2LlmError

if TYPE_CHECKING:
    from .headless import HeadlessWatcher

_LARGEST = 2**63 - 1
"""Of SQLite's integers."""


def _whole(least: int, most: int = _LARGEST) -> click.IntRange:
    """What isn't one is "not a valid integer", instead of "not a valid integer range"."""
    numbers = click.IntRange(least, most)
    numbers.name = "integer"
    return numbers


_ID = _whole(1)
_RUN = click.argument("run", type=_ID, required=False)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
_SET = click.option(
    "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Override a field; can be repeated."
)
_HEADLESS = click.option("--headless", is_flag=True, help="Progress as plain lines, in a terminal too, and no TUI.")


def main() -> None:
    """Entry point: no user's mistake ends in a traceback."""
    airgap.enforce()
    os.umask(0o077)  # what we write is the owner's alone
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character is no reason to fail
    try:
        cli.main(standalone_mode=False)
    except Llm2LlmError as error:
        _fail(str(error), error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_USER_INPUT)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", EXIT_FAILED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
    except OSError as error:
        _fail(f"{error.filename or 'standard output'}: {error.strerror}", EXIT_FAILED)


def _fail(message: str, code: int) -> None:
    from .report.plain import plain

    print("llm2llm: " + "\n  ".join(plain(line) for line in message.splitlines()), file=sys.stderr)  # noqa: T201
    sys.exit(code)


class _Commands(click.Group):
    """What helps after an error is said as it is to be typed where the person is."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except Llm2LlmError as error:
            error.remedy = terminal.from_here(error.remedy, context.obj)
            raise


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-C",
    "workspace",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Folder of the configuration and the store; the current one by default.",
)
@click.version_option(__version__)
@click.pass_context
def cli(context: click.Context, workspace: Path) -> None:
    """LLM2LLM on one machine: a local teacher writes examples like those that a student gets wrong."""
    context.obj = workspace
    _bring_up_to_date(workspace)


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--task",
    type=click.Choice(["classification", "math", "demo"]),
    default="classification",
    help="Which example to start from.",
)
@click.option("--models", type=click.Path(path_type=Path), default=Path("models"), help="Where the models lie.")
def init(folder: Path, task: str, models: Path) -> None:
    """Write a commented llm2llm.toml and example data into FOLDER."""
    from .scaffold import write_workspace

    for path in write_workspace(folder, task, models):
        click.echo(path)
    place = shlex.quote(str(folder))
    click.echo(f"Change them into yours, then: llm2llm -C {place} doctor && llm2llm -C {place} run")
    if not models.is_dir():
        click.echo(f"There is no folder {models}: set teacher.model and student.model to where your models are.")


@cli.command()
@click.argument("config", type=click.Path(path_type=Path), required=False)
@_HEADLESS
@_JSON
@_SET
def run(config: Path | None, headless: bool, as_json: bool, overrides: tuple[str, ...]) -> None:
    """Start a run of CONFIG (llm2llm.toml by default) and work it to its end.

    In a terminal the run is a process of its own, and the terminal UI shows it; leaving that doesn't stop the run.
    """
    path = _config_path(config)
    workspace = path.parent
    if _shows_tui(headless, as_json, path):
        _end_watching(workspace, terminal.run_and_watch(workspace, "run", path.name, *_set_again(overrides)))
    from .loop.control import Interrupts
    from .loop.start import start_run

    interrupts = Interrupts()
    with interrupts.listening(), _watcher(workspace, headless) as watcher:
        run_id = start_run(path, overrides, watcher, interrupts)
    _print_report(workspace, run_id, as_json)


@cli.command()
@_RUN
@_HEADLESS
@_JSON
@click.pass_obj
def resume(workspace: Path, run: int | None, headless: bool, as_json: bool) -> None:
    """Continue RUN, by default the newest unfinished one, where it was interrupted."""
    from .store.reader import STORE_NAME

    if _shows_tui(headless, as_json, workspace / STORE_NAME):
        _end_watching(workspace, terminal.resume_and_watch(workspace, run))
    from .loop.control import Interrupts
    from .loop.start import resume_run

    interrupts = Interrupts()
    with interrupts.listening(), _watcher(workspace, headless) as watcher:
        run_id = resume_run(workspace, run, watcher, interrupts)
    _print_report(workspace, run_id, as_json)


@cli.command()
@click.argument("run", type=_ID)
@click.argument("config", type=click.Path(path_type=Path), required=False)
@_HEADLESS
@_JSON
@_SET
@click.pass_obj
def fork(
    workspace: Path, run: int, config: Path | None, headless: bool, as_json: bool, overrides: tuple[str, ...]
) -> None:
    """Start a new run that takes over what RUN has finished and what is unchanged since.

    The configuration is that of RUN, read anew, with RUN's overrides and then --set; or CONFIG with --set.
    """
    from .store.reader import STORE_NAME

    if _shows_tui(headless, as_json, workspace / STORE_NAME):
        words = [str(run), *([] if config is None else [str(config)]), *_set_again(overrides)]
        _end_watching(workspace, terminal.run_and_watch(workspace, "fork", *words))
    from .loop.control import Interrupts
    from .loop.start import fork_run

    interrupts = Interrupts()
    with interrupts.listening(), _watcher(workspace, headless) as watcher:
        run_id = fork_run(workspace, run, config and workspace / config, overrides, watcher, interrupts)
    _print_report(workspace, run_id, as_json)


@cli.command()
@_RUN
@click.pass_obj
def tui(workspace: Path, run: int | None) -> None:
    """Open the terminal UI on the history, or on RUN. Leaving it stops nothing."""
    from .errors import UserInputError

    if not workspace.is_dir():
        raise UserInputError(f"{workspace}: no such folder", "Name that of a configuration: llm2llm -C FOLDER tui")
    if not terminal.is_there():
        raise UserInputError("the terminal UI needs a terminal", "Without one: llm2llm status, report, failures, query")
    if run is not None:
        from .store.reader import open_reader, require_run

        with open_reader(workspace) as connection:
            require_run(connection, run)
    _end_watching(workspace, terminal.watch(workspace, run))


@cli.command()
@_RUN
@_JSON
@click.pass_obj
def status(workspace: Path, run: int | None, as_json: bool) -> None:
    """Where RUN, or every run, stands."""
    from .report.status import run_statuses, status_lines
    from .store.reader import open_reader, require_run

    with open_reader(workspace) as connection:
        if run is not None:
            require_run(connection, run)
        statuses = run_statuses(connection, workspace, run)
    if as_json:
        import dataclasses

        click.echo(_json([dataclasses.asdict(item) for item in statuses]))
    else:
        click.echo(terminal.from_here("\n".join(status_lines(statuses)), workspace) or "no runs yet")


@cli.command()
@_RUN
@click.pass_obj
def pause(workspace: Path, run: int | None) -> None:
    """Let RUN wait after its current unit of work, its models unloaded; resume lets it go on."""
    _command(workspace, run, "pause")


@cli.command()
@_RUN
@click.pass_obj
def stop(workspace: Path, run: int | None) -> None:
    """End RUN after its current unit of work; resume continues it."""
    _command(workspace, run, "stop")


@cli.command()
@click.argument("run", type=_ID)
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.pass_obj
def delete(workspace: Path, run: int, yes: bool) -> None:
    """Remove RUN, its history and its adapters, for good. Other runs and the models stay as they are."""
    from .errors import UserInputError
    from .store.delete import delete_run, run_size
    from .store.reader import open_reader, require_run

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


@cli.command()
@_RUN
@_JSON
@click.pass_obj
def report(workspace: Path, run: int | None, as_json: bool) -> None:
    """The figures of RUN, by default the newest, iteration by iteration."""
    from .store.reader import open_reader, require_run

    with open_reader(workspace) as connection:
        run = require_run(connection, run)
    _print_report(workspace, run, as_json)


@cli.command()
@_RUN
@click.option("--iteration", type=_whole(0), help="Of which student; by default the newest that is graded.")
@_JSON
@click.pass_obj
def failures(workspace: Path, run: int | None, iteration: int | None, as_json: bool) -> None:
    """The training examples that the student gets wrong."""
    from .report.failures import failure_lines, failures_of
    from .store.reader import open_reader, require_run

    with open_reader(workspace) as connection:
        listing = failures_of(connection, require_run(connection, run), iteration)
    click.echo(_json(listing) if as_json else "\n".join(failure_lines(listing)))


@cli.command()
@click.argument("example", type=_ID)
@_JSON
@click.pass_obj
def lineage(workspace: Path, example: int, as_json: bool) -> None:
    """Where EXAMPLE (an id) came from: checks, teacher's reply and prompt, the failure, the seed."""
    from .report.lineage import lineage_lines, lineage_of
    from .store.reader import open_reader

    with open_reader(workspace) as connection:
        chain = lineage_of(connection, example)
    click.echo(_json(chain) if as_json else "\n".join(lineage_lines(chain)))


@cli.command()
@click.argument("sql")
@_JSON
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead of a table.")
@click.option("--timeout", type=click.FloatRange(min=0.1), default=60.0, show_default=True, help="Seconds allowed.")
@click.pass_obj
def query(workspace: Path, sql: str, as_json: bool, as_csv: bool, timeout: float) -> None:
    """Run a SELECT on the history; it can't change anything.

    A BLOB is shown as X'00FF'. JSON has no infinite numbers: they are the texts "Infinity" and "-Infinity". CSV that
    goes to a file or a program is UTF-8.
    """
    from .report.query import csv_text, for_terminal, json_text, table_text
    from .store.reader import open_reader, run_query

    if not math.isfinite(timeout):
        raise click.BadParameter(f"{timeout} is no number of seconds", param_hint="--timeout")
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    with open_reader(workspace) as connection:
        result = run_query(connection, sql, timeout)
    render = json_text if as_json else csv_text if as_csv else table_text
    text = _writable_json(render(result)) if as_json else render(result)
    if sys.stdout.isatty():
        click.echo(for_terminal(text), nl=False, color=True)
        return
    if as_csv and isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # CSV has no escapes: in another encoding characters would be lost
    click.echo(text, nl=False, color=True)


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@_JSON
@click.pass_obj
def models(workspace: Path, folder: Path | None, as_json: bool) -> None:
    """The models in FOLDER (models by default) with architecture, quantization, size, context and hash."""
    from .report.models import model_lines, model_records

    records = model_records(workspace / (folder or "models"))
    click.echo(_json(records) if as_json else "\n".join(model_lines(records)))


@cli.command()
@click.argument("config", type=click.Path(path_type=Path), required=False)
@_SET
def doctor(config: Path | None, overrides: tuple[str, ...]) -> None:
    """Whether this machine can run CONFIG; one line a finding, with what to do."""
    from .doctor import diagnose

    path = _config_path(config)
    findings = diagnose(path, overrides)
    for finding in findings:
        click.echo(terminal.from_here(finding.line(), path.parent))
    if any(finding.is_error for finding in findings):
        sys.exit(EXIT_USER_INPUT)


@cli.command()
@click.argument("what", nargs=-1)
@click.option("--against", multiple=True, metavar="NAME", help="Only these alternatives; can be repeated.")
@_JSON
@click.option("--repeats", type=_whole(1, 1000), help="Timed repeats of each contender.")
@click.option("--teacher", type=click.Path(path_type=Path), metavar="GGUF", help="Instead of the configured one.")
@click.option("--student", type=click.Path(path_type=Path), metavar="FOLDER", help="Instead of the configured one.")
@click.option(
    "--data", type=click.Path(path_type=Path), metavar="FOLDER", help="train.jsonl and test.jsonl; else the demo's."
)
@click.option("--size", "sizes", multiple=True, metavar="NAME=NUMBER", help="A size of the case; can be repeated.")
@click.option("--grow", metavar="N,N,…", help="The sizes at which growth is measured.")
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="SVG", help="Draw WHAT: files of --json."
)
@click.pass_context
def bench(
    context: click.Context,
    what: tuple[str, ...],
    against: tuple[str, ...],
    as_json: bool,
    repeats: int | None,
    teacher: Path | None,
    student: Path | None,
    data: Path | None,
    sizes: tuple[str, ...],
    grow: str | None,
    plot: Path | None,
) -> None:
    """Measure this machine on WHAT, beside what one would otherwise use. Without WHAT, say what there is.

    Models are those of the configuration, or else the default ones in models. Nothing else should be at work meanwhile.
    With --plot, what earlier calls printed with --json is drawn instead.
    """
    from .bench.output import report_document, report_lines
    from .bench.plot import write_plot
    from .bench.subjects import Request, run_benchmark, subject_lines

    if plot is not None or not what:
        _refuse_options(context, "plot")
    if plot is not None:
        write_plot(plot, [Path(name) for name in what])
        click.echo(plot)
        return
    if not what:
        click.echo("\n".join(subject_lines()))
        return
    if len(what) > 1:
        raise click.UsageError(f"bench {' '.join(what)}: one at a time, so that each has the machine to itself")
    request = Request(
        subject=what[0],
        workspace=context.obj,
        teacher=teacher,
        student=student,
        data=data,
        against=against,
        sizes=dict(_named_number(size) for size in sizes),
        grow=_integers(grow),
        repeats=repeats,
    )
    report = run_benchmark(request, tell=lambda line: click.echo(line, err=True))
    click.echo(_json(report_document(report)) if as_json else "\n".join(report_lines(report)))
    if not report.has_figures:
        raise Llm2LlmError("nothing could be measured: see what is told of each as not run")


class _ConfigHelp(click.Command):
    """Adds every field to the command's help."""

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        from .config_reference import terminal_reference

        for heading, description in terminal_reference():
            formatter.write_paragraph()
            formatter.write_text(heading)
            with formatter.indentation():
                formatter.write_text(description)


@cli.command(cls=_ConfigHelp)
@click.argument("config", type=click.Path(path_type=Path), required=False)
@_SET
def config(config: Path | None, overrides: tuple[str, ...]) -> None:
    """Print CONFIG as it is understood, defaults filled in. --help lists every field."""
    from .config import flatten
    from .config_file import load_config

    for name, value in flatten(load_config(_config_path(config), overrides)).items():
        click.echo(f"{name} = {json.dumps(value, ensure_ascii=False)}")


def _bring_up_to_date(workspace: Path) -> None:
    """Migrate a store of an earlier version. What else is wrong with one is said by the commands that need it."""
    from contextlib import suppress

    from .errors import OutdatedStoreError, StoreError
    from .store.reader import open_reader

    with suppress(StoreError):
        try:
            with open_reader(workspace):
                pass
        except OutdatedStoreError:
            from .store.writer import Store

            Store(workspace).close()


def _watcher(workspace: Path, headless: bool) -> AbstractContextManager[HeadlessWatcher]:
    from .headless import headless_watcher, line_watcher

    return line_watcher(workspace) if headless else headless_watcher(workspace)


def _shows_tui(headless: bool, as_json: bool, needed: Path) -> bool:
    """Where the `needed` file isn't there, the command itself says so at once."""
    return not headless and not as_json and terminal.is_there() and needed.is_file()


def _end_watching(workspace: Path, outcome: tuple[int, int | None]) -> NoReturn:
    """Ends with the exit code that the command would have had; a run that is done ends with its report."""
    code, done = outcome
    if done is not None:
        _print_report(workspace, done, as_json=False)
    sys.exit(code)


def _set_again(overrides: tuple[str, ...]) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


def _refuse_options(context: click.Context, allowed: str) -> None:
    """Of a call that measures nothing: what isn't read is refused."""
    for one in context.command.params:
        is_given = context.get_parameter_source(one.name or "") is ParameterSource.COMMANDLINE
        if isinstance(one, click.Option) and is_given and one.name != allowed:
            raise click.UsageError(f"{one.opts[0]}: this call measures nothing")


def _named_number(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        return name, float(number)
    except ValueError:
        raise click.BadParameter(f"{text}: expected NAME=NUMBER", param_hint="--size") from None


def _integers(text: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(",")) if text else ()
    except ValueError:
        raise click.BadParameter(f"{text}: expected numbers with commas between", param_hint="--grow") from None


def _config_path(config: Path | None) -> Path:
    """Of CONFIG; its folder is the one that the store is in, so that errors name that from now on."""
    context = click.get_current_context().find_root()
    path: Path = context.obj / (config or "llm2llm.toml")
    context.obj = path.parent
    return path


def _command(workspace: Path, run: int | None, word: str) -> None:
    """Leave a command for a living run process: that of `run`, or the only one there is."""
    from .errors import UserInputError
    from .store.lock import holder
    from .store.reader import open_reader, require_run
    from .store.rows import run_folder
    from .store.wishes import add_command

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


def _print_report(workspace: Path, run_id: int, as_json: bool) -> None:
    import dataclasses

    from .report.summary import summarize
    from .store.reader import open_reader

    with open_reader(workspace) as connection:
        summary = summarize(connection, run_id)
    if as_json:
        click.echo(_json(dataclasses.asdict(summary)))
        return
    from rich.console import Console

    from .report.tables import print_summary

    print_summary(summary, Console(highlight=False, width=None if sys.stdout.isatty() else 160))


def _json(value: Any) -> str:
    from .report.query import for_terminal

    text = _writable_json(json.dumps(value, ensure_ascii=False, indent=2, default=str))
    return for_terminal(text) if sys.stdout.isatty() else text


def _writable_json(text: str) -> str:
    """JSON in ASCII, by its own escapes, where standard output isn't UTF-8: readers expect that; nothing is lost."""
    if text.isascii() or codecs.lookup(sys.stdout.encoding or "utf-8").name == "utf-8":
        return text
    return "".join(one if one.isascii() else json.dumps(one)[1:-1] for one in text)
