"""`llm2llm sweep`: a grid of runs."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from .arguments import HEADLESS, JSON, SET, config_path, whole_number
from .printing import printed_json, progress_watcher, wide_console

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..sweep.grid import Varied
    from ..sweep.plan import SweepPlan
    from ..sweep.work import FailedCell

T = TypeVar("T")


def _names(_: click.Context, __: click.Parameter, text: str | None) -> tuple[str, ...]:
    return () if text is None else _each_once(text, [word.strip() for word in text.split(",")])


def _numbers(least: int) -> Callable[[click.Context, click.Parameter, str | None], tuple[int, ...]]:
    number = whole_number(least)

    def numbers(context: click.Context, option: click.Parameter, text: str | None) -> tuple[int, ...]:
        if text is None:
            return ()
        return _each_once(text, [number(word.strip(), option, context) for word in text.split(",")])

    return numbers


def _varied(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> tuple[Varied, ...]:
    from ..sweep.grid import Varied

    varied = []
    for text in texts:
        field, equals, values = text.partition("=")
        if not (equals and field.strip()):
            raise click.BadParameter(f"{text}: expected SECTION.KEY=VALUE,VALUE,…")
        try:
            varied.append(Varied(field.strip(), _each_once(text, _values(values))))
        except tomllib.TOMLDecodeError as error:
            raise click.BadParameter(f"{text}: no TOML list: {error}") from None
    return tuple(varied)


def _each_once(text: str, values: Sequence[T]) -> tuple[T, ...]:
    """A value that is given twice, or left out between two commas, is a slip."""
    repeated = [one for place, one in enumerate(values) if one in values[:place]]
    if repeated:
        raise click.BadParameter(f"{text}: {repeated[0]} is there more than once")
    if not values or "" in values:
        raise click.BadParameter(f"{text}: a value is empty")
    return tuple(values)


def _values(text: str) -> tuple[str, ...]:
    import json

    from ..config import toml_text

    if not text.lstrip().startswith("["):
        return tuple(word.strip() for word in text.split(","))
    listed = tomllib.loads(f"values = {text}")["values"]
    return tuple(json.dumps(one, ensure_ascii=False) if isinstance(one, str) else toml_text(one) for one in listed)


@click.command()
@click.argument("config", type=click.Path(path_type=Path), required=False)
@click.option("--recipes", callback=_names, metavar="RECIPE,…", help="Of loop.recipe.")
@click.option(
    "--seeds",
    callback=_numbers(1),
    metavar="N,…",
    help="How many seeds there are: data.sample.n.",
)
@click.option(
    "--rng-seeds",
    callback=_numbers(0),
    metavar="N,…",
    help="Repetitions: loop.rng_seed, and data.sample.rng_seed where a part of the seeds is drawn.",
)
@click.option(
    "--vary",
    "varied",
    multiple=True,
    callback=_varied,
    metavar="SECTION.KEY=VALUE,…",
    help="Values of any other field; can be repeated. Values with commas: a TOML list.",
)
@SET
@click.option("--dry-run", is_flag=True, help="Only say where each cell stands, and what those that are done came to.")
@HEADLESS
@JSON
def sweep(
    config: Path | None,
    recipes: tuple[str, ...],
    seeds: tuple[int, ...],
    rng_seeds: tuple[int, ...],
    varied: tuple[Varied, ...],
    overrides: tuple[str, ...],
    dry_run: bool,
    headless: bool,
    as_json: bool,
) -> None:
    """Work a run of CONFIG (llm2llm.toml by default) for every combination of values, and compare them.

    Each is a run as any other, one after another. The same command again goes on where it was interrupted: it skips
    what is done, resumes what was begun and tries once more what failed. Stopping the run at work stops the sweep.
    fine_tune_matched takes the steps of the llm2llm run with the same values.
    """
    if not (recipes or seeds or rng_seeds or varied):
        raise click.UsageError("nothing varies: give --recipes, --seeds, --rng-seeds or --vary")
    from ..report.sweep_output import print_cells, print_groups, sweep_document
    from ..sweep.grid import Grid
    from ..sweep.outcome import sweep_error, sweep_tables
    from ..sweep.plan import plan_sweep, remarks_on

    path = config_path(config)
    plan = plan_sweep(path, Grid(recipes, seeds, rng_seeds, varied, overrides))
    if dry_run:  # else each run says its own
        for remark in remarks_on(plan):
            click.echo(f"warning: {remark}", err=True)
    failed = [] if dry_run else _work(plan, path.parent, headless)
    tables = sweep_tables(plan, failed)
    if as_json:
        click.echo(printed_json(sweep_document(tables)))
    else:
        if dry_run:
            print_cells(tables, wide_console())
        print_groups(tables, wide_console())
    if failed:
        raise sweep_error(plan, failed)


def _work(plan: SweepPlan, workspace: Path, headless: bool) -> list[FailedCell]:
    from ..loop.control import Interrupts
    from ..sweep.work import work_cells

    interrupts = Interrupts()
    with interrupts.listening():
        return work_cells(plan, lambda: progress_watcher(workspace, headless), interrupts)
