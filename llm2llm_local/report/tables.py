"""The summary of a run for a terminal. Figures are never cut: what is too wide goes into a table of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..audit_words import rate_text, ratio_text
from ..counted import counted
from ..records import Status
from ..store.audits import AuditRow
from ..wilson import Accuracy, with_interval
from .columns import column_tables
from .duration import duration
from .growth import IterationGrowth
from .plain import plain, shortened
from .results import Change, Paired
from .stages import STAGES
from .statistics import is_perhaps_chance, p_statement
from .summary import IterationSummary, RunSummary
from .verification import verification_notes

_NOT_YET = "…"
_NO_SUCH_SPLIT = "–"
_NO_FIGURE = "–"
_LABEL_CHARACTERS = 40
_MOST_SHIFTS = 5
_GROWTH_HEADING = (
    "growth of the training set; at most: had all examples failed that may, and all new ones been accepted, a person's "
    "decisions aside"
)
_MOST_AHEAD = 5
"""Iterations ahead that are shown, beside the last."""


def print_summary(summary: RunSummary, console: Console, typed: Callable[[str], str] = str) -> None:
    """`typed`: makes our commands in a text what is to be typed where one is."""
    # Not cropped: on a terminal that is narrower than two columns of figures, lines wrap.
    console.print(_summary(summary, console.width, typed), crop=False)


def _summary(summary: RunSummary, width: int, typed: Callable[[str], str]) -> RenderableType:
    recipe = "" if summary.recipe == "llm2llm" else f"recipe {plain(summary.recipe)}, "
    heading = Text(f"run {summary.run_id}: {plain(summary.status)}  {recipe}teacher {plain(summary.teacher)}, ")
    heading.append(f"student {plain(summary.student)}")
    parts: list[RenderableType] = [heading]
    if summary.status_detail:
        parts.append(Text(plain(summary.status_detail)))
    parts += column_tables(_figures(summary), width)
    seconds = _seconds(summary)
    if len(seconds) > 1:
        parts += column_tables(seconds, width)
    if len(summary.growth) > 1:
        parts.append(Text(_GROWTH_HEADING))
        parts += column_tables(_growth(summary.growth), width)
    if summary.rejections:
        parts.append(_rejections(summary))
    if summary.verification is not None:
        if summary.verification.audits:
            first = summary.verification.audits[0]
            parts.append(Text(f"audit: {counted(first.n_seeds, 'seed')}, {first.n_wrong:,} wrong answers"))
            parts += column_tables(_audits(summary.verification.audits), width)
        parts += [Text(typed(line)) for line in verification_notes(summary.verification)]
    # A command stays in one line, so that it can be copied.
    parts += [Text(typed(note), no_wrap=note.startswith("  llm2llm "), overflow="ignore") for note in _notes(summary)]
    return Group(*parts)


def _figures(summary: RunSummary) -> list[list[str]]:
    """The columns of the main table, each with its heading."""
    rows = summary.iterations
    return [
        ["iter", *(str(row.iteration) for row in rows)],
        ["training", *(str(row.training_examples) for row in rows)],
        ["failures", *(_failures(row) for row in rows)],
        *(
            [["asked about", *(str(row.asked_about) for row in rows)]]
            if any(row.is_checked and row.asked_about not in (0, row.failures) for row in rows)
            else []
        ),
        ["candidates", *(str(row.candidates) for row in rows)],
        ["accepted", *(_NOT_YET if row.accepted is None else str(row.accepted) for row in rows)],
        *(
            [["in doubt", *(_NOT_YET if row.in_doubt is None else str(row.in_doubt) for row in rows)]]
            if any(row.in_doubt for row in rows)
            else []
        ),
        ["seeds unseen" if summary.asks_unseen else "seeds", *(_accuracy(row, "train", _percent) for row in rows)],
        ["dev", *(_accuracy(row, "dev", _percent) for row in rows)],
        ["test (95% interval)", *(_accuracy(row, "test", with_interval) for row in rows)],
    ]


def _failures(row: IterationSummary) -> str:
    """After the last iteration none are wanted, so students that haven't seen the seeds aren't asked."""
    if row.failures is None:
        return _NOT_YET if row.accuracy is None else _NO_FIGURE
    return str(row.failures)


def _seconds(summary: RunSummary) -> list[list[str]]:
    """The columns of the table of wall times: the iteration, and stages that took any time worth showing."""
    rows = summary.iterations
    return [
        ["iter", *(str(row.iteration) for row in rows)],
        *(
            [f"{stage} s", *(f"{row.seconds.get(stage, 0):.1f}" for row in rows)]
            for stage in STAGES
            if any(row.seconds.get(stage, 0) >= 0.05 for row in rows)
        ),
    ]


def _growth(growth: Sequence[IterationGrowth]) -> list[list[str]]:
    """The columns of the table of training sets. What is expected has a mark; far ahead, only the last is shown."""
    ahead = [one for one in growth if one.is_ahead]
    left_out = ahead[_MOST_AHEAD:-1]
    rows = [one for one in growth if one not in left_out]
    return [
        ["iter", *(str(row.iteration) for row in rows)],
        [
            "training",
            *(_expected(row, None if row.training_examples is None else _whole(row.training_examples)) for row in rows),
        ],
        ["at most", *(_whole(row.most_examples) for row in rows)],
        ["steps", *(_expected(row, None if row.steps is None else _whole(row.steps)) for row in rows)],
        ["time", *(_expected(row, None if row.seconds is None else duration(row.seconds)) for row in rows)],
    ]


def _expected(row: IterationGrowth, figure: str | None) -> str:
    if figure is None:
        return _NOT_YET
    return f"~{figure}" if row.is_ahead else figure


def _whole(number: int) -> str:
    return str(number) if number < 10**9 else f"{Decimal(number):.1e}"


def _rejections(summary: RunSummary) -> Table:
    title = "refused, or in doubt" if any(one.verdict == "doubt" for one in summary.rejections) else "refused"
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    table.add_column("n", justify="right", no_wrap=True, min_width=max(len(str(one.n)) for one in summary.rejections))
    table.add_column("check")
    table.add_column("reason")
    table.add_column("such as", overflow="fold")
    for rejection in summary.rejections:
        table.add_row(
            str(rejection.n),
            Text(plain(rejection.check_name)),
            Text(plain(rejection.reason)),
            Text(shortened(rejection.sample, 60)),
        )
    return table


def _audits(audits: Sequence[AuditRow]) -> list[list[str]]:
    """The columns of the table of verifiers; the last one, if there are several, is by which candidates are judged."""
    together = audits[-1]
    weights = [together.weights.get(audit.verifier) for audit in audits]
    return [
        ["verifier", *(audit.verifier for audit in audits)],
        ["accepts right", *(rate_text(audit.true_accepts) for audit in audits)],
        ["accepts wrong", *(rate_text(audit.false_accepts) for audit in audits)],
        *(
            [[f"mistakes ({together.n_mistaken_seeds} seeds)", *(_of_mistakes(audit) for audit in audits)]]
            if together.n_mistaken_seeds
            else []
        ),
        ["ratio", *(ratio_text(audit.true_accepts, audit.false_accepts) for audit in audits)],
        ["prefers right", *(rate_text(audit.preference) for audit in audits)],
        [
            "own answers right",
            *(_NO_FIGURE if audit.agreement is None else f"{audit.agreement:.0%}" for audit in audits),
        ],
        *(
            [["weight", *(_NO_FIGURE if weight is None else f"{weight:.2f}" for weight in weights)]]
            if len(together.weights) > 1
            else []
        ),
    ]


def _of_mistakes(audit: AuditRow) -> str:
    return _NO_FIGURE if audit.mistake_accepts is None else rate_text(audit.mistake_accepts)


def _notes(summary: RunSummary) -> Iterator[str]:
    """What the tables can't say by themselves."""
    for row in summary.iterations:
        yield from _unreadable(row)
        if row.candidates and row.is_checked and row.accepted == 0:
            which = f"none of the teacher's {row.candidates:,} candidates" if row.candidates > 1 else "no candidate"
            yield f"iteration {row.iteration}: {which} was accepted"
    if summary.label_shifts:
        shares = ", ".join(
            f"{shortened(one.label, _LABEL_CHARACTERS)} {one.of_training_set:.0%} of the training set "
            f"({one.of_seeds:.0%} of the seeds)"
            for one in summary.label_shifts[:_MOST_SHIFTS]
        )
        yield f"new examples shift the labels: {shares}; a student expects each as often as it was trained on it"
        yield "  a larger teacher.attempts asks more often for what is refused"
    yield from _gain(summary)


def _unreadable(row: IterationSummary) -> Iterator[str]:
    if row.truncated is None or row.unparsed is None:
        return
    for split, name in (("train", "seed"), ("dev", "dev"), ("test", "test")):
        truncated, unparsed = row.truncated.get(split, 0), row.unparsed.get(split, 0)
        if truncated or unparsed:
            were = "was" if truncated == 1 else "were"
            yield (
                f"iteration {row.iteration}: of the {name} answers {truncated} {were} cut off at "
                f"student.max_new_tokens and {unparsed} held no answer; they count as not correct"
            )


def _gain(summary: RunSummary) -> Iterator[str]:
    """The change on test from the first to the chosen student, and what else than new data may explain it."""
    if summary.select == "best_dev" and summary.chosen_iteration is not None:
        yield f'chosen: iteration {summary.chosen_iteration}, the best on dev (loop.select = "best_dev")'
    if summary.matched_run is not None:
        yield f"beside the run whose steps it matches: llm2llm compare {summary.run_id} {summary.matched_run}"
    change = summary.change
    if change is None:
        return
    yield (
        f"test accuracy: seeds only {change.before.share:.1%}, after {counted(change.iteration, 'round')} "
        f"{change.after.share:.1%} ({change.points:+.1f} points)"
    )
    yield f"  {_rows_changed(change)}"
    sizes = {row.iteration: row.training_examples for row in summary.iterations}
    if summary.trains_on:
        yield "  each student was trained on from the one before it: more optimizer steps, too"
    elif sizes[change.iteration] == summary.iterations[0].training_examples:
        yield "  the training set hasn't grown: the difference is another random start, or what a person exchanged"
        return
    else:
        yield "  more examples also mean more optimizer steps"
    if (control := summary.control) is not None:
        yield (
            f"the seeds alone, in as many steps (run {control.run_id}): {control.accuracy.share:.1%}, so this run is "
            f"{control.beside.points:+.1f} points beside it"
        )
        yield f"  {_rows_changed(control.beside)}"
    elif summary.status == Status.DONE:
        yield "  the seeds alone, in as many steps:"
        yield (
            f"  llm2llm fork {summary.run_id} --set loop.recipe=fine_tune_matched --set loop.match_run={summary.run_id}"
        )


def _rows_changed(rows: Change | Paired) -> str:
    said = "this may be chance" if is_perhaps_chance(rows.p) else "hardly by chance"
    return (
        f"{counted(rows.gained, 'row')} gained and {rows.lost:,} lost: {said} (McNemar's exact {p_statement(rows.p)})"
    )


def _accuracy(row: IterationSummary, split: str, shown: Callable[[Accuracy], str]) -> str:
    if row.accuracy is None:
        return _NOT_YET
    accuracy = row.accuracy.get(split)
    return _NO_SUCH_SPLIT if accuracy is None else shown(accuracy)


def _percent(accuracy: Accuracy) -> str:
    return f"{accuracy.share:.1%}"
