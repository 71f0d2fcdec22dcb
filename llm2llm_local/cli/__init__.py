"""The command line: parse, call, map errors to exit codes.

Exit codes: 0 done, 1 failed, 2 the user's input, 3 stopped and resumable. Everything heavy is imported inside the
command that needs it, so that `--help` and `status` start at once. The commands are in modules by purpose. Here is what
all go through, and `bench`: this module alone may reach what measures models (see the import rules).
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from .. import __version__, airgap, terminal
from ..errors import EXIT_FAILED, EXIT_USER_INPUT, Llm2LlmError, UserInputError
from .arguments import ID, JSON, whole_number
from .history import compare, failures, lineage, query, report, status
from .preparing import config, doctor, init, models
from .printing import printed_json, wide_console
from .runs import delete, fork, pause, resume, run, stop, tui
from .sweeping import sweep

_OF_THE_PATH = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR)
"""What the system refuses for how a path was named or who asks for it: another attempt fails, too."""


def main() -> None:
    """Entry point: no user's mistake ends in a traceback."""
    _open_closed_streams()
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
        what = f"{error.filename or 'standard output'}: {error.strerror}"
        if error.errno in _OF_THE_PATH:
            _fail(str(UserInputError(what, "Check the path and its permissions.")), EXIT_USER_INPUT)
        _fail(what, EXIT_FAILED)


def _open_closed_streams() -> None:
    """Python has None for a standard stream that is closed, and the next file to be opened would get its number. In
    this order each gets its own.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115


def _fail(message: str, code: int) -> None:
    from ..report.plain import plain

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
        except click.NoSuchOption as error:
            if error.option_name != "-C":
                raise
            command = "COMMAND" if error.ctx is None else error.ctx.info_name
            hint = f"It goes before the command: llm2llm -C FOLDER {command}"
            raise click.NoSuchOption(error.option_name, f"{error.message} {hint}", ctx=error.ctx) from None


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


def _bring_up_to_date(workspace: Path) -> None:
    """Migrate a store of an earlier version. What else is wrong with one is said by the commands that need it."""
    from contextlib import suppress

    from ..errors import OutdatedStoreError, StoreError
    from ..store.reader import open_reader

    with suppress(StoreError):
        try:
            with open_reader(workspace):
                pass
        except OutdatedStoreError:
            from ..store.writer import Store

            Store(workspace).close()


for _commands in (
    (init, models, doctor, config),
    (run, resume, fork, sweep, tui, pause, stop, delete),
    (status, report, compare, failures, lineage, query),
):
    for _command in _commands:
        cli.add_command(_command)


@cli.command()
@click.argument("what", nargs=-1)
@click.option(
    "--against",
    multiple=True,
    metavar="NAME",
    help="Only these alternatives, and no comparison without one of them; can be repeated.",
)
@JSON
@click.option("--repeats", type=whole_number(1, 1000), help="Timed repeats of each contender.")
@click.option("--teacher", type=click.Path(path_type=Path), metavar="GGUF", help="Instead of the configured one.")
@click.option("--student", type=click.Path(path_type=Path), metavar="FOLDER", help="Instead of the configured one.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="A classification task's train.jsonl and test.jsonl; else the demo's.",
)
@click.option("--size", "sizes", multiple=True, metavar="NAME=NUMBER", help="A size of the case; can be repeated.")
@click.option("--grow", metavar="N,N,…", help="The sizes at which growth is measured.")
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="SVG", help="Draw WHAT: files of --json."
)
@click.option(
    "--judge",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Of verification: where its judge is kept, or is to be; judge in the workspace by default.",
)
@click.option(
    "--epochs", type=whole_number(1, 1000), help="Of verification: passes of its judge over all rows; 3 by default."
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
    judge: Path | None,
    epochs: int | None,
) -> None:
    """Measure this machine on WHAT, beside what one would otherwise use. Without WHAT, say what there is.

    Models are those of the configuration, or else the default ones in models. Nothing else should be at work meanwhile.
    With --plot, what earlier calls printed with --json is drawn instead.

    WHAT = verification RUN…: what verification was worth to runs of this workspace, by a judge that is trained on all
    of their data first. It goes on where it was ended, and is trained once.
    """
    from ..bench.output import KeptDocument, report_document, report_lines
    from ..bench.plot import write_plot
    from ..bench.subjects import VERIFICATION, Request, run_benchmark, subject_lines

    if plot is not None or not what:
        _refuse_all_but(context, ("plot",), "this call measures nothing")
    if plot is not None:
        write_plot(plot, [Path(name) for name in what])
        click.echo(plot)
        return
    if not what:
        click.echo("\n".join(subject_lines()))
        return
    if what[0] == VERIFICATION:
        _bench_verification(context, what[1:], judge, epochs, as_json)
        return
    if judge is not None or epochs is not None:
        raise click.UsageError(f"--{'epochs' if judge is None else 'judge'}: bench verification alone reads it")
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
    kept = KeptDocument(_tell)
    _end_in_order()
    report = run_benchmark(request, _tell, kept.keep)
    click.echo(printed_json(report_document(report)) if as_json else "\n".join(report_lines(report)))
    if not report.has_figures:
        raise Llm2LlmError("nothing could be measured: see what is told of each as not run")
    if kept.error is not None:
        raise kept.error


def _bench_verification(
    context: click.Context, words: tuple[str, ...], judge: Path | None, epochs: int | None, as_json: bool
) -> None:
    from ..bench.output import KeptDocument
    from ..bench.verification import EPOCHS, Request, measure_verification
    from ..bench.verification_output import print_verification, verification_document

    _refuse_all_but(context, ("judge", "epochs", "as_json"), "bench verification doesn't read it")
    if not words:
        raise click.UsageError("bench verification: name the runs: llm2llm bench verification RUN…")
    runs = tuple(ID(word, None, context) for word in words)
    request = Request(context.obj, runs, judge or context.obj / "judge", epochs or EPOCHS)
    kept = KeptDocument(_tell)
    _end_in_order()
    report = measure_verification(request, _tell, lambda so_far: kept.keep_document(verification_document(so_far)))
    if as_json:
        click.echo(printed_json(verification_document(report)))
    else:
        print_verification(report, wide_console())
    if kept.error is not None:
        raise kept.error


def _end_in_order() -> None:
    """From now on SIGTERM and SIGHUP end this process as Ctrl-C does: what was measured with may be gigabytes, and is
    deleted. Only the first of them, since a terminal that is closed sends several. What is ignored (by nohup, say)
    stays so.
    """
    numbers = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is not signal.SIG_IGN]

    def ignore(*_: object) -> None:
        """Not SIG_IGN: Python would complain of a signal that is pending already."""

    def end(*_: object) -> None:
        for number in numbers:
            signal.signal(number, ignore)
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, end)


def _tell(line: str) -> None:
    click.echo(line, err=True)


def _refuse_all_but(context: click.Context, allowed: tuple[str, ...], why: str) -> None:
    """Options that aren't read: whoever gives one believes that it counts."""
    for one in context.command.params:
        is_given = context.get_parameter_source(one.name or "") is ParameterSource.COMMANDLINE
        if isinstance(one, click.Option) and is_given and one.name not in allowed:
            raise click.UsageError(f"{one.opts[0]}: {why}")


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
