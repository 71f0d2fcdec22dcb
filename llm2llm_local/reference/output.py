"""The published code's results as they are printed: a table for a person, a document for a program, CSV for a file."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from ..counted import counted
from ..report.columns import column_tables
from ..report.plain import conclusion, plain, shortened
from ..wilson import wilson, with_interval
from .folders import natural
from .grading import BrokenFile, Difference, FileFigures, ReferenceReport

_NONE = "–"
_HEADINGS = ("iter", "correct", "matched", "accuracy (95% interval)", "old grader", "differs", "path")
_MOST_SHOWN = 5
"""Of the rows that are graded otherwise; there may be thousands."""


def print_reference(report: ReferenceReport, console: Console) -> None:
    for table in column_tables(_columns(report), console.width):
        console.print(table, crop=False)
    for line in _notes(report):
        console.print(Text(line), crop=False)


def reference_document(report: ReferenceReport) -> dict[str, Any]:
    document = dataclasses.asdict(report)
    for figures, shown in zip(report.files, document["files"], strict=True):
        shown["accuracy"] = figures.accuracy
    return document


def csv_text(report: ReferenceReport) -> str:
    """The columns of the published report; an accuracy of nothing is empty, and so is all of what can't be read."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["path", "correct", "matched", "accuracy"])
    for one in _in_order(report):
        if isinstance(one, BrokenFile):
            rows.writerow([one.path, "", "", ""])
        else:
            rows.writerow([one.path, one.correct, one.matched, "" if one.accuracy is None else f"{one.accuracy:.2f}"])
    return out.getvalue()


def _in_order(report: ReferenceReport) -> list[FileFigures | BrokenFile]:
    """Those that can't be read stand where they would with figures."""
    return sorted([*report.files, *report.broken], key=lambda one: natural(Path(one.path)))


def _columns(report: ReferenceReport) -> list[list[str]]:
    rows = [_cells(one) for one in _in_order(report)]
    return [list(column) for column in zip(_HEADINGS, *rows, strict=True)]


def _cells(one: FileFigures | BrokenFile) -> list[str]:
    step = _NONE if one.step is None else str(one.step)
    if isinstance(one, BrokenFile):
        return [step, *[_NONE] * (len(_HEADINGS) - 2), plain(one.path)]
    by_old = (_NONE, _NONE) if one.old_correct is None else (f"{one.old_correct:,}", f"{one.n_differing:,}")
    return [step, f"{one.correct:,}", f"{one.matched:,}", _accuracy(one), *by_old, plain(one.path)]


def _accuracy(one: FileFigures) -> str:
    return with_interval(wilson(one.correct, one.matched)) if one.matched else _NONE


def _notes(report: ReferenceReport) -> Iterator[str]:
    yield f"graded as {report.family}, with the answers of {plain(report.seed_file)}"
    for broken in report.broken:
        yield f"{plain(broken.why)}: this file has no figures. {broken.remedy}"
    yield from map(plain, (*report.gaps, *report.notes))
    most = max((one.n_questions for one in report.files), default=0)
    for one in report.files:
        yield from _notes_of_file(one, report.seed_file)
        if one.n_questions < most:
            yield (
                f"{plain(one.path)}: answers {one.n_questions:,} of the {most:,} questions that another file does: its "
                "evaluation may have been ended; what it comes to can't be compared"
            )
    n = sum(one.n_differing for one in report.files)
    if n:
        yield f"the published report grades {counted(n, 'row')} otherwise:"
        if report.has_whole_rationales:
            yield "  (of seeds with instruction and output, it takes the whole output for the right answer)"
        yield from (_difference(one) for one in report.differences[:_MOST_SHOWN])
        if n > _MOST_SHOWN:
            yield f"  and {n - _MOST_SHOWN:,} more: --json has all of them"


def _notes_of_file(one: FileFigures, seed_file: str) -> Iterator[str]:
    path = plain(one.path)
    if not one.n_rows:
        yield f"{path}: has no rows"
    if one.matched < one.n_rows:
        n = one.n_rows - one.matched
        asks, counts = ("asks", "it doesn't count") if n == 1 else ("ask", "they don't count")
        yield f"{path}: {n:,} of {counted(one.n_rows, 'row')} {asks} what isn't in {plain(seed_file)}; {counts}"
    if one.n_repeated:
        repeated = counted(
            one.n_repeated, "row that repeats a question; it counts", "rows that repeat a question; they count"
        )
        yield f"{path}: {repeated} again"
    if one.n_to_other_questions:
        yield (
            f"{path}: {counted(one.n_to_other_questions, 'text')} with the answer to another row's question, as after "
            "an error of the published evaluation; not right"
        )
    if one.n_without_answer:
        yield (
            f"{path}: {counted(one.n_without_answer, 'text')} of {one.matched:,} with no answer that can be read; not "
            "right (the published code cuts a text after 100 tokens, which the file doesn't tell)"
        )
    if one.no_label is not None:
        yield (
            f"{path}: {counted(one.n_without_label, 'text')} of {one.matched:,} with what is no label, such as "
            f"{shortened(one.no_label, 40)!r}; not right"
        )
    if one.old_correct is None:
        yield f"{path}: the published report stops with an error, since an answer has no '#### '"


def _difference(one: Difference) -> str:
    ours, theirs = ("right", "wrong") if one.is_right else ("wrong", "right")
    where = f"{plain(one.path)}:{one.line}"
    if one.old_numbers is not None:
        old = "it compares {:.15g} with {:.15g}".format(*one.old_numbers)
    else:
        old = f"it reads {'nothing' if one.old_answer is None else repr(shortened(one.old_answer, 40))}"
    if one.gold is None:
        return f"  {where}: not in the seed file; it counts the row as right"
    gold = shortened(conclusion(one.gold).removeprefix("####"), 40)
    answer = "nothing" if one.answer is None else repr(shortened(one.answer, 40))
    return f"  {where}: gold {gold!r}, answer {answer}: {ours}; {old}: {theirs}"
