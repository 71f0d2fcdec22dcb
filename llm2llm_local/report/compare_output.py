"""The comparison of runs as it is printed: tables for a person, a document for a program."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from ..counted import counted
from ..records import Split
from ..wilson import with_interval
from .columns import column_tables
from .compare import Comparison, Repetitions, RunFigures
from .duration import duration
from .plain import shortened_apart
from .results import STEPS_NOTE, Paired, RunCost, RunResult
from .statistics import p_text

_NONE = "–"
_NOT_YET = "…"
_CELLS_OF_VALUE = 24
_VOTES_NOTE = (
    "teacher votes: on seeds in the audit and on candidates, their time is that of audit and vote; prompts are "
    "counted whole, though what they have in common is evaluated once"
)
_UNRECORDED_NOTE = "+: and what the votes took, which the version that asked for them didn't record"


def print_comparison(comparison: Comparison, costs: Mapping[int, RunCost], console: Console) -> None:
    for columns in (_results(comparison), _costs(comparison, costs), _repetitions(comparison)):
        if columns:
            for table in column_tables(columns, console.width):
                console.print(table, crop=False)
    for table in column_tables(_differences(comparison), console.width) if comparison.differences else ():
        console.print(table, crop=False)
    for note in _notes(comparison):
        console.print(Text(note), crop=False)
    if any(costs[run.run_id].teacher_votes for run in comparison.runs):
        console.print(Text(_VOTES_NOTE), crop=False)
    if any(costs[run.run_id].vote_input_tokens is None for run in comparison.runs):
        console.print(Text(_UNRECORDED_NOTE), crop=False)


def comparison_document(comparison: Comparison, costs: Mapping[int, RunCost]) -> dict[str, Any]:
    """All figures, in the words of the dataclasses that hold them."""
    return {
        "runs": [
            {
                "run_id": run.run_id,
                "is_done": run.is_done,
                "result": None if run.result is None else _result_document(run.result),
                "cost": dataclasses.asdict(costs[run.run_id]),
            }
            for run in comparison.runs
        ],
        "repetitions": [dataclasses.asdict(one) for one in comparison.repetitions],
        "differences": [
            {"field": one.field, "values": {run.run_id: value for run, value in _by_run(comparison, one.values)}}
            for one in comparison.differences
        ],
    }


def _result_document(result: RunResult) -> dict[str, Any]:
    document = dataclasses.asdict(result)
    for split, accuracy in result.accuracy.items():
        document["accuracy"][split]["share"] = accuracy.share
    if result.paired is not None:
        document["paired"]["points"] = result.paired.points
    return document


def _by_run(comparison: Comparison, values: Sequence[str]) -> Iterator[tuple[RunFigures, str]]:
    return zip(comparison.runs, values, strict=True)


def _results(comparison: Comparison) -> list[list[str]]:
    """The columns of the main table, each with its heading. What compares is left out where there is one run alone."""
    runs = comparison.runs
    columns = [
        ["run", *(str(run.run_id) for run in runs)],
        ["iter", *_of_results(runs, lambda one: str(one.iteration))],
        ["test (95% interval)", *_of_results(runs, lambda one: _accuracy(one, Split.TEST))],
    ]
    if len(runs) > 1:
        against = f"points to run {runs[0].run_id}"
        columns += [
            [against, *_of_pairs(runs, lambda one: f"{one.points:+.1f}")],
            ["gained", *_of_pairs(runs, lambda one: str(one.gained))],
            ["lost", *_of_pairs(runs, lambda one: str(one.lost))],
            ["p", *_of_pairs(runs, lambda one: p_text(one.p))],
        ]
    return [*columns, ["dev (95% interval)", *_of_results(runs, lambda one: _accuracy(one, Split.DEV))]]


def _costs(comparison: Comparison, costs: Mapping[int, RunCost]) -> list[list[str]]:
    runs = comparison.runs
    of_runs = [costs[run.run_id] for run in runs]
    stages = dict.fromkeys(stage for cost in of_runs for stage, seconds in cost.seconds.items() if seconds >= 0.5)
    return [
        ["run", *(str(run.run_id) for run in runs)],
        ["new examples", *_of_results(runs, lambda one: f"{one.examples_added:,}")],
        ["steps in all", *_of_results(runs, lambda one: _count(one.steps))],
        ["of the result", *_of_results(runs, lambda one: _count(one.final_steps))],
        ["tokens read", *(_tokens(cost.input_tokens, cost.vote_input_tokens) for cost in of_runs)],
        ["by votes", *(_NONE if (n := cost.vote_input_tokens) is None else f"{n:,}" for cost in of_runs)],
        ["tokens written", *(_tokens(cost.output_tokens, cost.vote_output_tokens) for cost in of_runs)],
        ["teacher votes", *(f"{cost.teacher_votes:,}" for cost in of_runs)],
        ["time", *(duration(sum(cost.seconds.values())) for cost in of_runs)],
        *([stage, *(duration(cost.seconds.get(stage, 0.0)) for cost in of_runs)] for stage in stages),
    ]


def _tokens(n: int, of_votes: int | None) -> str:
    return f"{n:,}{'+' if of_votes is None else ''}"


def _repetitions(comparison: Comparison) -> list[list[str]]:
    """Where there are any: the runs that differ in nothing but their rng_seeds, a group a line."""
    groups = comparison.repetitions
    splits = [split for split in (Split.TEST, Split.DEV) if any(split in one.accuracy for one in groups)]
    if not splits:
        return []
    return [
        ["runs alike but for their rng_seed", *(", ".join(map(str, one.run_ids)) for one in groups)],
        *(column for split in splits for column in _spread_columns(groups, split)),
    ]


def _spread_columns(groups: Sequence[Repetitions], split: Split) -> Iterator[list[str]]:
    found = [one.accuracy.get(split) for one in groups]
    yield [f"{split} mean", *(_NONE if one is None else f"{one.mean:.1%}" for one in found)]
    yield ["min–max", *(_NONE if one is None else f"{one.low:.1%}–{one.high:.1%}" for one in found)]
    yield ["deviation", *(_NONE if one is None else f"{100 * (one.deviation or 0):.1f} points" for one in found)]


def _differences(comparison: Comparison) -> list[list[str]]:
    """A line for each run, a column for each setting that isn't the same in all."""
    return [
        ["run", *(str(run.run_id) for run in comparison.runs)],
        *(
            [one.field, *(value or _NONE for value in shortened_apart(one.values, _CELLS_OF_VALUE))]
            for one in comparison.differences
        ),
    ]


def _notes(comparison: Comparison) -> Iterator[str]:
    for run in comparison.runs:
        if run.result is None:
            yield f"run {run.run_id}: no student is graded yet"
        elif not run.is_done:
            yield f"run {run.run_id} isn't finished: its figures are of iteration {run.result.iteration}"
    first, *others = comparison.runs
    results = [(run, run.result) for run in others if run.result is not None]
    if first.result is None or not results:
        return
    for run, result in results:
        paired = result.paired
        if paired is None:
            yield f"run {run.run_id} has no test row in common with run {first.run_id}"
        elif not paired.n_pairs == paired.n_rows == paired.n_other_rows:
            yield (
                f"run {run.run_id}: {paired.n_pairs:,} of its {counted(paired.n_rows, 'test row')} are among the "
                f"{paired.n_other_rows:,} of run {first.run_id}; it is compared on these"
            )
    if any(result.paired is not None for _, result in results):
        yield STEPS_NOTE
        yield (
            f"gained, lost: test rows that are right here and not in run {first.run_id}, and the reverse; p: McNemar's "
            "exact test, two-sided, each run by itself"
        )


def _of_results(runs: Sequence[RunFigures], shown: Callable[[RunResult], str]) -> Iterator[str]:
    return (_NOT_YET if run.result is None else shown(run.result) for run in runs)


def _of_pairs(runs: Sequence[RunFigures], shown: Callable[[Paired], str]) -> Iterator[str]:
    pairs = (None if run.result is None else run.result.paired for run in runs)
    return (_NONE if pair is None else shown(pair) for pair in pairs)


def _accuracy(result: RunResult, split: Split) -> str:
    return with_interval(result.accuracy[split]) if split in result.accuracy else _NONE


def _count(n: int | None) -> str:
    return _NONE if n is None else f"{n:,}"
