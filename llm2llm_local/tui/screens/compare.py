"""Runs side by side: how their students did, on how much data they trained, what the runs came to, and what was set
differently.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal
from textual.widget import Widget
from textual.widgets import Static, TabbedContent, TabPane

from ...records import Split
from ...report.compare import Comparison, RunFigures, compare
from ...report.overview import RunOverview, run_overviews
from ...report.results import RunResult
from ...report.statistics import p_text
from ...store.reader import require_run
from ...wilson import Accuracy
from ..screen import HistoryScreen
from ..text import one_line
from ..widgets.fitted_table import FittedTable
from ..widgets.run_list import RunList
from ..widgets.run_marks import MOST_RUNS, marks

_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]
_MOST_CELLS_OF_VALUE = 32
_NOTHING = "space chooses runs in the list"
_RESULT_COLUMNS = ("", "accuracy", "points", "gained", "lost", "p", "added", "steps")


@dataclass(frozen=True, slots=True)
class _View:
    """What the screen shows; `comparison` is about the chosen runs."""

    runs: tuple[RunOverview, ...]
    comparison: Comparison


class CompareScreen(HistoryScreen):
    """Begins with the run that all screens are about, and the one that it is a fork of."""

    TITLE = "Compare"
    HORIZONTAL_BREAKPOINTS = _BREAKPOINTS
    BINDINGS: ClassVar[list[BindingType]] = [Binding("d", "next_split", "Split")]

    def __init__(self) -> None:
        super().__init__()
        self._chosen: tuple[int, ...] | None = None
        """By a person; None: nothing was chosen yet."""
        self._split: Split | None = None
        """Likewise; None: the most telling one."""
        self._view: _View | None = None

    def compose_body(self) -> Iterable[Widget]:
        with Horizontal(classes="body"):
            yield RunList()
            with TabbedContent():
                with TabPane("Accuracy", id="accuracy-tab"):
                    yield Container(id="plot")
                    yield Static(id="figures-caption", classes="muted", markup=False)
                    yield FittedTable(id="figures", cursor_type="row")
                with TabPane("Results", id="results-tab"):
                    yield Container(id="results-holder")
                    yield Static(id="results-caption", classes="muted", markup=False)
                    yield FittedTable(id="results", cursor_type="row")
                with TabPane("Differences", id="differences-tab"):
                    yield Static(id="differences-caption", classes="muted", markup=False)
                    yield FittedTable(id="differences", cursor_type="row")

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _: self._paint())

    def update_view(self) -> None:
        workspace, run_id, chosen = self.llm2llm.workspace, self.run_id, self._chosen

        def look(connection: sqlite3.Connection) -> _View:
            from ..widgets import results_plot, runs_plot  # noqa: F401  # numpy takes a while, while nobody waits

            runs = run_overviews(connection, workspace)
            wanted = chosen if chosen is not None else _at_first(runs, require_run(connection, run_id))
            return _View(runs, compare(connection, wanted))

        self.read(look, self._show)

    def _show(self, view: _View) -> None:
        if view != self._view:
            self._view = view
            self._paint()

    def _paint(self) -> None:
        view = self._view
        if view is None:
            return
        comparison = view.comparison
        self.query_one(RunList).show(view.runs, marks([run.run_id for run in comparison.runs]))
        split = self._shown_split(comparison)
        self._paint_plot(comparison, split)
        self._paint_figures(comparison, split)
        self._paint_results_plot(comparison, split)
        self._paint_results(comparison, split)
        self._paint_differences(comparison)

    def _paint_plot(self, comparison: Comparison, split: Split) -> None:
        from ..widgets.runs_plot import RunCurves, RunsPlot

        holder = self.query_one("#plot")
        if not holder.children:
            holder.mount(RunsPlot(id="runs-plot"))
        curves = tuple((run.run_id, run.accuracy.get(split, ())) for run in comparison.runs)
        self.query_one(RunsPlot).show(RunCurves(split, curves))

    def _paint_figures(self, comparison: Comparison, split: Split) -> None:
        table = self.query_one("#figures", FittedTable)
        of_run = marks([run.run_id for run in comparison.runs])
        iterations = sorted({iteration for run in comparison.runs for iteration in run.training_sizes})
        with self.app.batch_update():
            row = table.cursor_row
            table.clear(columns=True)
            table.add_column("iteration")
            for run in comparison.runs:
                table.add_column(of_run[run.run_id].text(self.app) + Text(f" run {run.run_id}"))
            for iteration in iterations:
                cells = (_figures(run, split, iteration) for run in comparison.runs)
                table.add_row(Text(str(iteration), justify="right"), *cells)
            table.move_cursor(row=row, animate=False)
        caption = f"{split} accuracy (95% interval), size of the training set" if iterations else _NOTHING
        self.query_one("#figures-caption", Static).update(caption)

    def _paint_results_plot(self, comparison: Comparison, split: Split) -> None:
        from ..widgets.results_plot import ResultsPlot, RunResults

        holder = self.query_one("#results-holder")
        if not holder.children:
            holder.mount(ResultsPlot(id="results-plot"))
        results = ((run.run_id, {} if run.result is None else run.result.accuracy) for run in comparison.runs)
        shown = tuple((run_id, accuracy.get(split)) for run_id, accuracy in results)
        self.query_one(ResultsPlot).show(RunResults(split, shown))

    def _paint_results(self, comparison: Comparison, split: Split) -> None:
        table = self.query_one("#results", FittedTable)
        of_run = marks([run.run_id for run in comparison.runs])
        with self.app.batch_update():
            row = table.cursor_row
            table.clear(columns=True)
            table.add_columns(*_RESULT_COLUMNS)
            for run in comparison.runs:
                name = of_run[run.run_id].text(self.app) + Text(f" run {run.run_id}")
                table.add_row(name, *_result_cells(run.result, split))
            table.move_cursor(row=row, animate=False)
        self.query_one("#results-caption", Static).update(_results_caption(comparison, split))

    def _paint_differences(self, comparison: Comparison) -> None:
        table = self.query_one("#differences", FittedTable)
        of_run = marks([run.run_id for run in comparison.runs])
        with self.app.batch_update():
            row = table.cursor_row
            table.clear(columns=True)
            table.add_column("field")
            for run in comparison.runs:
                table.add_column(of_run[run.run_id].text(self.app) + Text(f" run {run.run_id}"))
            for difference in comparison.differences:
                values = (one_line(value, _MOST_CELLS_OF_VALUE) for value in difference.values)
                table.add_row(one_line(difference.field), *values)
            table.move_cursor(row=row, animate=False)
        n = len(comparison.differences)
        caption = (
            f"{n} {'setting differs' if n == 1 else 'settings differ'}"
            if n
            else "no setting differs, and the models are the same"
        )
        self.query_one("#differences-caption", Static).update(caption if len(comparison.runs) > 1 else _NOTHING)

    def _shown_split(self, comparison: Comparison) -> Split:
        splits = comparison.splits()
        if self._split is not None:
            return self._split
        return splits[0] if splits else Split.TEST

    # --- keys ---

    def on_run_list_toggled(self, message: RunList.Toggled) -> None:
        if self._view is None:
            return
        chosen = {run.run_id for run in self._view.comparison.runs} ^ {message.run_id}
        if len(chosen) > MOST_RUNS:
            self.llm2llm.say(f"no more than {MOST_RUNS} runs fit side by side")
            return
        self._chosen = tuple(sorted(chosen))
        self.update_view()

    def action_next_split(self) -> None:
        if self._view is None:
            return
        comparison = self._view.comparison
        splits = comparison.splits()
        if splits:
            shown = self._shown_split(comparison)
            self._split = splits[(splits.index(shown) + 1) % len(splits)] if shown in splits else splits[0]
            self._paint()


def _at_first(runs: Sequence[RunOverview], run_id: int) -> tuple[int, ...]:
    known = {run.status.run_id: run.forked_from for run in runs}
    origin = known.get(run_id)
    return (run_id,) if origin not in known else (origin, run_id)


def _results_caption(comparison: Comparison, split: Split) -> str:
    if not comparison.runs:
        return _NOTHING
    caption = f"{split} accuracy (95% interval)"
    # Whatever split is shown, it is the test rows that tell runs apart.
    return caption if len(comparison.runs) == 1 else f"{caption}; test rows against run {comparison.runs[0].run_id}"


def _result_cells(result: RunResult | None, split: Split) -> list[Text]:
    if result is None:
        return [Text("not graded", "dim"), *(Text() for _ in _RESULT_COLUMNS[2:])]
    accuracy, paired = result.accuracy.get(split), result.paired
    cells = [
        "–" if accuracy is None else f"{accuracy.share:.1%} {_interval(accuracy)}",
        *(["–"] * 4 if paired is None else [f"{paired.points:+.1f}", paired.gained, paired.lost, p_text(paired.p)]),
        f"{result.examples_added:,}",
        "–" if result.steps is None else f"{result.steps:,}",
    ]
    return [Text(str(cell), justify="right") for cell in cells]


def _figures(run: RunFigures, split: Split, iteration: int) -> Text:
    accuracy = dict(run.accuracy.get(split, ())).get(iteration)
    size = run.training_sizes.get(iteration)
    if accuracy is None and size is None:
        return Text()
    interval = "" if accuracy is None else _interval(accuracy)
    return Text.assemble(
        "not graded" if accuracy is None else f"{accuracy.share:>6.1%}",
        (f" {interval:<{10 if accuracy is None else 14}}", "dim"),
        "" if size is None else f"{size:>7,}",
    )


def _interval(accuracy: Accuracy) -> str:
    return f"({100 * accuracy.low:.1f}–{100 * accuracy.high:.1f})"
