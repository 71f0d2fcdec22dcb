"""What `bench verification` found, as tables for a person and as JSON for a program."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from ..counted import counted
from ..report.columns import column_tables
from ..report.plain import plain, shortened
from ..wilson import with_interval
from .verification import RunFigures, VerificationReport
from .worth import Part

_NONE = "–"
_CELLS_OF_NAME = 32
_OFF = "off"


def print_verification(report: VerificationReport, console: Console) -> None:
    for line in _head(report):
        console.print(Text(line), soft_wrap=True)
    for columns in (_decided(report.runs), _hard(report.runs), _alone(report.runs), _thresholds(report.runs)):
        if len(columns[0]) > 1:
            console.print()
            for table in column_tables(columns, console.width):
                console.print(table, crop=False)


def _head(report: VerificationReport) -> list[str]:
    judge = report.judge
    right = (
        f"{_share(judge.right)} of {counted(judge.right.of, 'test row')} right" if judge.right.of else "no test rows"
    )
    return [
        f"llm2llm bench verification  {report.created_at}",
        *report.machine.lines(),
        ", ".join(f"{name} {version}" for name, version in report.versions.items()),
        f"task: {plain(report.task)}",
        f"judge: {plain(judge.model)} on {counted(judge.rows, 'row')}, {counted(judge.epochs, 'epoch')}: {right}; in "
        f"{plain(str(judge.folder))}",
        "A candidate is right when the judge gives its answer, and hard when its iteration's student doesn't. Shares "
        "have 95% intervals.",
    ]


def _decided(runs: Sequence[RunFigures]) -> list[list[str]]:
    """The columns of the main table, each with its heading."""
    return [
        ["run", *(str(run.run_id) for run in runs)],
        ["teacher", *(shortened(run.teacher, _CELLS_OF_NAME) for run in runs)],
        ["verified by", *(_verified_by(run) for run in runs)],
        ["candidates", *(f"{run.worth.all.of:,}" for run in runs)],
        ["of first rounds", *(f"{run.worth.unverified.of:,}" for run in runs)],
        ["right without verification", *(_share(run.worth.unverified) for run in runs)],
        ["accepted", *(f"{run.worth.accepted.of:,}" for run in runs)],
        ["right with verification", *(_share(run.worth.accepted) for run in runs)],
        ["in doubt", *(f"{run.worth.in_doubt.of:,}" for run in runs)],
        ["right of these", *(_share(run.worth.in_doubt) for run in runs)],
        ["rejected", *(f"{run.worth.rejected.of:,}" for run in runs)],
        ["right of these", *(_share(run.worth.rejected) for run in runs)],
    ]


def _hard(runs: Sequence[RunFigures]) -> list[list[str]]:
    def parts(of: Callable[[RunFigures], Part]) -> tuple[list[str], list[str]]:
        return [f"{of(run).of:,}" for run in runs], [_share(of(run)) for run in runs]

    right, kept = parts(lambda run: run.worth.kept.right)
    hard, kept_hard = parts(lambda run: run.worth.kept.hard)
    easy, kept_easy = parts(lambda run: run.worth.kept.easy)
    return [
        ["run", *(str(run.run_id) for run in runs)],
        ["right", *right],
        ["accepted of these", *kept],
        ["hard and right", *hard],
        ["accepted of these", *kept_hard],
        ["easy and right", *easy],
        ["accepted of these", *kept_easy],
    ]


def _alone(runs: Sequence[RunFigures]) -> list[list[str]]:
    """What each verifier would have let in of the same candidates, from the same probability on."""
    rows = [(run, one) for run in runs for one in run.worth.by]
    return [
        ["run", *(str(run.run_id) for run, _ in rows)],
        ["were it decided by", *(one.verifier for _, one in rows)],
        ["accepted", *(f"{one.accepted.of:,}" for _, one in rows)],
        ["right of these", *(_share(one.accepted) for _, one in rows)],
        ["accepted of the right", *(_share(one.kept.right) for _, one in rows)],
        ["accepted of the hard", *(_share(one.kept.hard) for _, one in rows)],
        ["accepted of the easy", *(_share(one.kept.easy) for _, one in rows)],
    ]


def _thresholds(runs: Sequence[RunFigures]) -> list[list[str]]:
    """The same candidates by other accept probabilities; a star marks the one that was in force."""
    rows = [(run, one) for run in runs for one in run.worth.at]
    return [
        ["run", *(str(run.run_id) for run, _ in rows)],
        [
            "accepted from",
            *(f"{'*' if one.threshold == run.accept_probability else ''}{one.threshold:g}" for run, one in rows),
        ],
        ["accepted", *(f"{one.accepted.of:,}" for _, one in rows)],
        ["right of these", *(_share(one.accepted) for _, one in rows)],
        ["accepted of the right", *(_share(one.kept.right) for _, one in rows)],
        ["accepted of the hard", *(_share(one.kept.hard) for _, one in rows)],
        ["accepted of the easy", *(_share(one.kept.easy) for _, one in rows)],
    ]


def _verified_by(run: RunFigures) -> str:
    return " and ".join(run.verifiers) or _OFF


def _share(part: Part) -> str:
    return _NONE if part.share is None else with_interval(part.share)


def verification_document(report: VerificationReport) -> dict[str, Any]:
    """All figures, in the words of the dataclasses that hold them."""
    judge = {**_document(report.judge), "folder": str(report.judge.folder)}
    return {
        "benchmark": "verification",
        "created_at": report.created_at,
        "machine": dataclasses.asdict(report.machine),
        "versions": report.versions,
        "task": report.task,
        "judge": judge,
        "runs": [_document(run) for run in report.runs],
    }


def _document(value: Any) -> Any:
    """As JSON values; of a part also its share with the bounds of its interval, None of nothing."""
    if isinstance(value, Part):
        share = value.share
        bounds = None if share is None else {"share": share.share, "low": share.low, "high": share.high}
        return {"n": value.n, "of": value.of, **(bounds or {"share": None, "low": None, "high": None})}
    if dataclasses.is_dataclass(value):
        return {field.name: _document(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: _document(one) for name, one in value.items()}
    return [_document(one) for one in value] if isinstance(value, tuple) else value
