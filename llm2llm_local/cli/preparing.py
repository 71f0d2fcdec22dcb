"""Commands for before a run: a configuration, the models, what this machine can do."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import click

from .. import terminal
from ..errors import EXIT_USER_INPUT
from .arguments import JSON, SET, config_path
from .printing import printed_json


@click.command()
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
    from ..scaffold import write_workspace

    for path in write_workspace(folder, task, models):
        click.echo(path)
    place = shlex.quote(str(folder))
    click.echo(f"Change them into yours, then: llm2llm -C {place} doctor && llm2llm -C {place} run")
    if not models.is_dir():
        click.echo(f"There is no folder {models}: set teacher.model and student.model to where your models are.")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@JSON
@click.pass_obj
def models(workspace: Path, folder: Path | None, as_json: bool) -> None:
    """The models in FOLDER (models by default) with architecture, quantization, size, context and hash."""
    from ..report.models import model_lines, model_records

    records = model_records(workspace / (folder or "models"))
    click.echo(printed_json(records) if as_json else "\n".join(model_lines(records)))


@click.command()
@click.argument("config", type=click.Path(path_type=Path), required=False)
@SET
@click.option(
    "--measure",
    is_flag=True,
    help="Also let both models work for half a minute, with nothing else at work: how long will a run take?",
)
def doctor(config: Path | None, overrides: tuple[str, ...], measure: bool) -> None:
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
