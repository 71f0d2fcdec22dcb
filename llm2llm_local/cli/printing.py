"""What commands print: JSON, the report of a run, and its progress."""

from __future__ import annotations

import codecs
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from rich.console import Console

    from ..headless import HeadlessWatcher


def print_report(workspace: Path, run_id: int, as_json: bool) -> None:
    from ..report.summary import summarize, summary_document
    from ..store.reader import open_reader

    with open_reader(workspace) as connection:
        summary = summarize(connection, run_id)
    if as_json:
        click.echo(printed_json(summary_document(summary)))
        return
    from ..report.tables import print_summary
    from ..terminal import from_here

    print_summary(summary, wide_console(), lambda text: from_here(text, workspace))


def wide_console() -> Console:
    """Standard output for tables: as wide as the terminal, and wide enough where there is none."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def progress_watcher(workspace: Path, headless: bool) -> AbstractContextManager[HeadlessWatcher]:
    """Of a run, on standard error; `headless`: plain lines in a terminal, too."""
    from ..headless import headless_watcher, line_watcher

    return line_watcher(workspace) if headless else headless_watcher(workspace)


def printed_json(value: Any) -> str:
    from ..report.query import for_terminal

    text = writable_json(json.dumps(value, ensure_ascii=False, indent=2, default=str))
    return for_terminal(text) if sys.stdout.isatty() else text


def writable_json(text: str) -> str:
    """JSON in ASCII, by its own escapes, where standard output isn't UTF-8: readers expect that; nothing is lost."""
    if text.isascii() or codecs.lookup(sys.stdout.encoding or "utf-8").name == "utf-8":
        return text
    return "".join(one if one.isascii() else json.dumps(one)[1:-1] for one in text)
