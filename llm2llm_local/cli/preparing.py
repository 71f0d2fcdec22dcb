"""Commands for before a run: a configuration, the models, what this machine can do."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from .. import terminal
from ..errors import EXIT_USER_INPUT, UserInputError
from .arguments import JSON, SET, config_path, whole_number
from .printing import printed_json

_EXAMPLES = ("classification", "math", "multiple_choice", "text", "demo")
_READY = ("gsm8k", "casehold", "snips", "trec", "sst2")


def _share(_context: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    """A part of the training rows: 0.011 or 1.1%."""
    if value is None:
        return None
    try:
        share = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise click.BadParameter(f"{value!r} is no part of the rows, such as 1.1% or 0.011")
    return share


class _Folder(click.Path):
    """A folder that is really named: the empty text, as a shell has it for a variable without a value, would silently
    be the current one, and ~ means the home folder to shells alone.
    """

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(
        self, value: str | os.PathLike[str], parameter: click.Parameter | None, context: click.Context | None
    ) -> Any:
        if not str(value).strip():
            self.fail("it is empty; name a folder, or . for the current one", parameter, context)
        if Path(value).parts[:1] == ("~",):
            self.fail(f"{value}: ~ isn't your home folder here; write the folder in full", parameter, context)
        return super().convert(value, parameter, context)


@click.command()
@click.argument("folder", type=_Folder())
@click.option(
    "--task",
    type=click.Choice([*_EXAMPLES, *_READY]),
    help=f"An example to start from, or with --data a published data set: {', '.join(_READY)}.",
)
@click.option(
    "--data",
    type=_Folder(),
    help="The data set's folder, as published. Without it: which files it has.",
)
@click.option(
    "--fraction",
    metavar="SHARE",
    callback=_share,
    help="Take a part of the training rows as seeds, such as 1.1% or 0.011.",
)
@click.option("--seeds", type=whole_number(1), help="Take so many of the training rows as seeds.")
@click.option("--models", type=_Folder(), default=Path("models"), help="Where the models lie.")
def init(
    folder: Path, task: str | None, data: Path | None, fraction: float | None, seeds: int | None, models: Path
) -> None:
    """Write a commented llm2llm.toml and data into FOLDER: an example's, or a published data set's.

    Of more than 1,000 training rows a small number becomes the seeds unless --fraction or --seeds says how many; all
    rows are in train.jsonl, and data.sample can be changed.
    """
    missing = _missing_models(models)
    if task in _READY:
        written = _init_ready(folder, task, data, fraction, seeds, models)
    elif data is not None or fraction is not None or seeds is not None:
        instead = "; name it with --task" if task is None else f", not with --task {task}"
        raise UserInputError(
            f"--data, --fraction and --seeds go with a published data set{instead}", f"Such are: {', '.join(_READY)}."
        )
    else:
        from ..scaffold import write_workspace

        written = write_workspace(folder, task or _EXAMPLES[0], models)
    for path in written:
        click.echo(path)
    place = shlex.quote(str(folder))
    change = "" if task in _READY else "Change them into yours, then: "
    click.echo(f"{change}llm2llm -C {place} doctor && llm2llm -C {place} run")
    if missing:
        click.echo(f"{missing}: set teacher.model and student.model to where your models are.")


def _missing_models(models: Path) -> str:
    """What is wrong with where they should lie, empty where nothing is. Looked at before anything is written: it may be
    where one may not look.
    """
    if models.is_dir():
        return ""
    return f"{models} is a file, not a folder" if models.exists() else f"There is no folder {models}"


def _init_ready(
    folder: Path, task: str, data: Path | None, fraction: float | None, seeds: int | None, models: Path
) -> list[Path]:
    """Convert a published data set, saying what became of its rows; the paths written."""
    from ..ready_tasks import Wanted, convert, missing_data
    from ..report.plain import visible
    from ..scaffold import CONFIG_NAME, check_free, write_template

    if data is None:
        raise missing_data(task)
    if fraction is not None and seeds is not None:
        raise UserInputError("--fraction and --seeds both say how many seeds to take", "Leave one of them out.")
    check_free(folder, [CONFIG_NAME])
    conversion = convert(task, data, Wanted(seeds, fraction))
    for line in conversion.lines:
        click.echo(visible(line))
    return write_template(folder, conversion.template, models)


@click.command()
@click.argument("folder", type=_Folder(), required=False)
@JSON
@click.pass_obj
def models(workspace: Path, folder: Path | None, as_json: bool) -> None:
    """The models in FOLDER (models by default) with architecture, quantization, size, context and hash."""
    from ..report.models import model_lines, model_records
    from ..report.plain import visible

    place = workspace / (folder or "models")
    if place.is_file():
        raise UserInputError(f"{place}: is a file, not a folder", "Name the folder that it lies in.")
    records = model_records(place)
    if as_json:
        click.echo(printed_json(records))
    elif records:
        click.echo("\n".join(model_lines(records)))
    else:
        click.echo(
            f"{visible(str(place))}: no models there: put GGUF files (teachers) and folders with config.json "
            "(students) into it, or name another folder"
        )


@click.command()
@click.argument("config", type=click.Path(path_type=Path), required=False)
@SET
@click.option(
    "--measure",
    is_flag=True,
    help="Also let both models work for half a minute, with nothing else at work: how long will a run take?",
)
@click.option(
    "--audit",
    is_flag=True,
    help="Also let the verifiers judge the seeds, as a run does first: can they tell right answers from wrong ones?",
)
def doctor(config: Path | None, overrides: tuple[str, ...], measure: bool, audit: bool) -> None:
    """Whether this machine can run CONFIG; one line a finding, with what to do."""
    from .. import doctor

    path = config_path(config)
    findings = doctor.diagnose(path, overrides)
    for finding in findings:
        click.echo(terminal.from_here(finding.line(), path.parent))
    if measure and not any(finding.is_error for finding in findings):
        click.echo("measuring: half a minute once the models are loaded …", err=True)
        for finding in doctor.measure(path, overrides):
            click.echo(terminal.from_here(finding.line(), path.parent))
            findings.append(finding)
    if audit and not any(finding.is_error for finding in findings):
        from ..headless import headless_watcher
        from ..loop.control import Interrupts

        interrupts = Interrupts()
        with interrupts.listening(), headless_watcher(path.parent) as watcher:
            audited = list(doctor.audit(path, overrides, watcher, interrupts))
        for finding in audited:
            click.echo(terminal.from_here(finding.line(), path.parent))
        findings += audited
    if any(finding.is_error for finding in findings):
        sys.exit(EXIT_USER_INPUT)


class _ConfigHelp(click.Command):
    """Adds every field to the command's help."""

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        from ..config_reference import terminal_reference

        for heading, description in terminal_reference():
            formatter.write_paragraph()
            formatter.write_text(heading)
            with formatter.indentation():
                formatter.write_text(description)


@click.command(cls=_ConfigHelp)
@click.argument("config", type=click.Path(path_type=Path), required=False)
@SET
def config(config: Path | None, overrides: tuple[str, ...]) -> None:
    """Print CONFIG as it is understood, defaults filled in. --help lists every field."""
    from ..config import flatten
    from ..config_file import load_config

    for name, value in flatten(load_config(config_path(config), overrides)).items():
        click.echo(f"{name} = {json.dumps(value, ensure_ascii=False)}")
