"""Commands that look into the store and change nothing."""

from __future__ import annotations

import math
import os.path
import re
import sys
from io import TextIOWrapper
from pathlib import Path

import click
from click.core import ParameterSource

from .. import terminal
from ..errors import UserInputError
from ..reference.json_rows import RESULTS_FIELDS, SEED_FIELDS
from .arguments import ID, JSON, RUN, whole_number
from .printing import print_report, printed_json, wide_console, writable_json

_COMMENT_FIRST = re.compile(r"--(\s|.*\n)")
"""How SQL begins, and no option does."""


@click.command()
@RUN
@JSON
@click.pass_obj
def status(workspace: Path, run: int | None, as_json: bool) -> None:
    """Where RUN, or every run, stands."""
    from ..report.status import run_statuses, status_lines
    from ..store.reader import open_reader, require_run

    with open_reader(workspace) as connection:
        if run is not None:
            require_run(connection, run)
        statuses = run_statuses(connection, workspace, run)
    if as_json:
        import dataclasses

        click.echo(printed_json([dataclasses.asdict(item) for item in statuses]))
    else:
        click.echo(terminal.from_here("\n".join(status_lines(statuses)), workspace) or "no runs yet")


@click.command()
@RUN
@JSON
@click.option(
    "--reference",
    nargs=2,
    type=click.Path(path_type=Path),
    metavar="SEED_FILE EVAL_DIR",
    help="Instead of a run: results of LLM2LLM's published code, in EVAL_DIR/step_*, with the questions and gold "
    f"answers of SEED_FILE (.json or .jsonl), graded anew. {RESULTS_FIELDS} {SEED_FIELDS}",
)
@click.option(
    "--results-file-name",
    default="test_0.jsonl",
    show_default=True,
    metavar="NAME",
    help="Of --reference: which files to read.",
)
@click.option("--family", metavar="NAME", help="Of --reference: the kind of task; by default as the answers look.")
@click.option(
    "--csv",
    "csv_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="OUT",
    help="Of --reference: also write path, correct, matched and accuracy to this new file.",
)
@click.pass_context
def report(
    context: click.Context,
    run: int | None,
    as_json: bool,
    reference: tuple[Path, Path] | None,
    results_file_name: str,
    family: str | None,
    csv_file: Path | None,
) -> None:
    """The figures of RUN, by default the newest, iteration by iteration."""
    if reference is not None:
        if run is not None:
            raise click.UsageError("--reference is about no run of this store")
        _report_reference(*reference, results_file_name, family, csv_file, as_json=as_json)
        return
    for option in context.command.params:
        is_given = context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE
        if option.name in ("results_file_name", "family", "csv_file") and is_given:
            raise click.UsageError(f"{option.opts[0]} goes with --reference only")
    from ..store.reader import open_reader, require_run

    with open_reader(context.obj) as connection:
        run = require_run(connection, run)
    print_report(context.obj, run, as_json)


def _report_reference(
    seed_file: Path, folder: Path, name: str, family: str | None, csv_file: Path | None, *, as_json: bool
) -> None:
    if csv_file is not None and os.path.lexists(csv_file) and not _is_stream(csv_file):
        raise _taken(csv_file)  # perhaps it is one of the files that are to be read
    from ..reference.grading import reference_report
    from ..reference.output import csv_text, print_reference, reference_document

    found = reference_report(seed_file, folder, name, family)
    if csv_file is not None:
        try:
            mode = "a" if _is_stream(csv_file) else "x"
            with csv_file.open(mode, encoding="utf-8", errors="surrogateescape") as out:  # names as on disk
                out.write(csv_text(found))
        except FileExistsError:
            raise _taken(csv_file) from None
        except OSError as error:
            raise UserInputError(f"{csv_file}: can't be written: {error.strerror}", "Name another file.") from None
    if as_json:
        click.echo(printed_json(reference_document(found)))
    else:
        print_reference(found, wide_console())


def _is_stream(path: Path) -> bool:
    """A pipe or a terminal, or what goes by such a name, as /dev/stdout does: nothing in it is lost."""
    return path.is_fifo() or path.is_char_device() or path.parts[:2] == ("/", "dev")


def _taken(path: Path) -> UserInputError:
    if path.is_dir():
        return UserInputError(f"--csv {path}: is a folder", "Name a file in it; nothing was written.")
    return UserInputError(
        f"--csv {path}: is there already", "Name another file, or delete this one first; nothing was written."
    )


@click.command()
@click.argument("runs", metavar="RUN...", type=ID, nargs=-1, required=True)
@JSON
@click.pass_obj
def compare(workspace: Path, runs: tuple[int, ...], as_json: bool) -> None:
    """The results of RUNs side by side, each tested against the first on the same test rows.

    A run's result is its last graded student, or the one that loop.select chose. Accuracy is with its 95% Wilson
    interval; the difference to the first RUN is tested by McNemar's exact test. Runs that differ in nothing but their
    rng_seed, that of data.sample included, are also told as mean and spread.
    """
    from ..report.compare import compare as compared
    from ..report.results import run_cost
    from ..store.reader import open_reader, require_run

    repeated = [run for place, run in enumerate(runs) if run in runs[:place]]
    if repeated:
        raise click.UsageError(f"run {repeated[0]} is named more than once")
    with open_reader(workspace) as connection:
        comparison = compared(connection, [require_run(connection, run) for run in runs])
        costs = {run.run_id: run_cost(connection, run.run_id) for run in comparison.runs}
    from ..report.compare_output import comparison_document, print_comparison

    if as_json:
        click.echo(printed_json(comparison_document(comparison, costs)))
    else:
        print_comparison(comparison, costs, wide_console())


@click.command()
@RUN
@click.option("--iteration", type=whole_number(0), help="Of which student; by default the newest that is graded.")
@click.option(
    "--flips",
    is_flag=True,
    help="Instead: the right answers that each student lost, on test, dev and seeds, with the new examples nearest to "
    "them that have the wrong answer; of every student, or of --iteration.",
)
@JSON
@click.pass_obj
def failures(workspace: Path, run: int | None, iteration: int | None, flips: bool, as_json: bool) -> None:
    """The training examples that the student gets wrong."""
    if flips:
        _print_flips(workspace, run, iteration, as_json)
        return
    from ..report.failures import failure_lines, failures_of
    from ..store.reader import open_reader, require_run

    with open_reader(workspace) as connection:
        listing = failures_of(connection, require_run(connection, run), iteration)
    click.echo(printed_json(listing) if as_json else "\n".join(failure_lines(listing)))


def _print_flips(workspace: Path, run: int | None, iteration: int | None, as_json: bool) -> None:
    import dataclasses

    from ..report.flips import flip_lines, flips_of
    from ..store.reader import open_reader, require_run

    with open_reader(workspace) as connection:
        found = flips_of(connection, require_run(connection, run), iteration)
    click.echo(printed_json([dataclasses.asdict(one) for one in found]) if as_json else "\n".join(flip_lines(found)))


@click.command()
@click.argument("example", type=ID)
@JSON
@click.pass_obj
def lineage(workspace: Path, example: int, as_json: bool) -> None:
    """Where EXAMPLE (an id) came from: checks, teacher's reply and prompt, the failure, the seed."""
    from ..report.lineage import lineage_lines, lineage_of
    from ..store.reader import open_reader

    with open_reader(workspace) as connection:
        chain = lineage_of(connection, example)
    click.echo(printed_json(chain) if as_json else "\n".join(lineage_lines(chain)))


class _Query(click.Command):
    """SQL may begin with a comment, which then isn't taken for an option."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(context, [f" {word}" if _COMMENT_FIRST.match(word) else word for word in args])


@click.command(cls=_Query)
@click.argument("sql")
@JSON
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead of a table.")
@click.option("--timeout", type=click.FloatRange(min=0.1), default=60.0, show_default=True, help="Seconds allowed.")
@click.pass_obj
def query(workspace: Path, sql: str, as_json: bool, as_csv: bool, timeout: float) -> None:
    """Run a SELECT on the history; it can't change anything.

    A BLOB is shown as X'00FF'. JSON has no infinite numbers: they are the texts "Infinity" and "-Infinity". CSV that
    goes to a file or a program is UTF-8.
    """
    from ..report.query import csv_text, for_terminal, json_text, table_text
    from ..store.reader import open_reader, run_query

    if not math.isfinite(timeout):
        raise click.BadParameter(f"{timeout} is no number of seconds", param_hint="--timeout")
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    with open_reader(workspace) as connection:
        result = run_query(connection, sql, timeout)
    render = json_text if as_json else csv_text if as_csv else table_text
    text = writable_json(render(result)) if as_json else render(result)
    if sys.stdout.isatty():
        click.echo(for_terminal(text), nl=False, color=True)
        return
    if as_csv and isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # CSV has no escapes: in another encoding characters would be lost
    click.echo(text, nl=False, color=True)
