"""The summary of a run for a terminal."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from .plain import plain, shortened
from .summary import STAGES, Accuracy, RunSummary


def print_summary(summary: RunSummary, console: Console) -> None:
    console.print(_summary(summary))


def _summary(summary: RunSummary) -> RenderableType:
    heading = Text(f"run {summary.run_id}: {summary.status}  teacher {plain(summary.teacher)}, ", no_wrap=False)
    heading.append(f"student {plain(summary.student)}")
    parts: list[RenderableType] = [heading]
    if summary.status_detail:
        parts.append(Text(plain(summary.status_detail)))
    parts.append(_iterations(summary))
    if summary.rejections:
        parts.append(_rejections(summary))
    parts += [Text(note) for note in _notes(summary)]
    return Group(*parts)


def _iterations(summary: RunSummary) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("iter", "training", "failures", "candidates", "accepted", "seeds", "dev", "test (95% interval)"):
        table.add_column(name, justify="right")
    stages = [stage for stage in STAGES if any(row.seconds.get(stage, 0) >= 0.05 for row in summary.iterations)]
    for stage in stages:
        table.add_column(f"{stage} s", justify="right")
    for row in summary.iterations:
        table.add_row(
            str(row.iteration),
            str(row.training_examples),
            str(row.failures),
            str(row.candidates),
            str(row.accepted),
            _percent(row.accuracy.get("train")),
            _percent(row.accuracy.get("dev")),
            _with_interval(row.accuracy.get("test")),
            *(f"{row.seconds.get(stage, 0):.1f}" for stage in stages),
        )
    return table


def _rejections(summary: RunSummary) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title="refused", title_justify="left")
    table.add_column("n", justify="right")
    table.add_column("check")
    table.add_column("reason")
    table.add_column("such as", overflow="fold")
    for rejection in summary.rejections:
        table.add_row(
            str(rejection.n), rejection.check_name, Text(plain(rejection.reason)), Text(shortened(rejection.sample, 60))
        )
    return table


def _notes(summary: RunSummary) -> list[str]:
    """What the table can't say by itself."""
    notes = []
    for row in summary.iterations:
        if row.truncated or row.unparsed:
            notes.append(
                f"iteration {row.iteration}: of the test answers {row.truncated} were cut off at "
                f"student.max_new_tokens and {row.unparsed} held no answer; they count as not correct"
            )
        if row.candidates and not row.accepted:
            notes.append(f"iteration {row.iteration}: none of the teacher's {row.candidates} candidates was accepted")
    first, last = summary.iterations[:1], summary.iterations[-1:]
    if len(summary.iterations) > 1 and "test" in first[0].accuracy and "test" in last[0].accuracy:
        before, after = first[0].accuracy["test"], last[0].accuracy["test"]
        notes.append(
            f"test accuracy: seeds only {before.share:.1%}, after {last[0].iteration} rounds {after.share:.1%} "
            f"({100 * (after.share - before.share):+.1f} points)"
        )
    return notes


def _percent(accuracy: Accuracy | None) -> str:
    return "–" if accuracy is None else f"{accuracy.share:.1%}"


def _with_interval(accuracy: Accuracy | None) -> str:
    return "–" if accuracy is None else f"{accuracy.share:.1%} ({accuracy.low:.1%}–{accuracy.high:.1%})"
