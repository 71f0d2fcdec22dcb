"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path

import click

_LARGEST = 2**63 - 1
"""Of SQLite's integers."""


def whole_number(least: int, most: int = _LARGEST) -> click.IntRange:
    """What isn't one is "not a valid integer", instead of "not a valid integer range"."""
    numbers = click.IntRange(least, most)
    numbers.name = "integer"
    return numbers


ID = whole_number(1)
RUN = click.argument("run", type=ID, required=False)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
SET = click.option(
    "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Override a field; can be repeated."
)
HEADLESS = click.option("--headless", is_flag=True, help="Progress as plain lines, in a terminal too, and no TUI.")


def config_path(config: Path | None) -> Path:
    """Of CONFIG; its folder is the one that the store is in, so that errors name that from now on."""
    context = click.get_current_context().find_root()
    path: Path = context.obj / (config or "llm2llm.toml")
    context.obj = path.parent
    return path
