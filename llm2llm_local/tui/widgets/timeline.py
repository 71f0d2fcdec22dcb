"""The iterations and their stages: what is done, what is being done, and how long it takes."""

from __future__ import annotations

from rich.style import Style
from rich.text import Text

from ...report.duration import FULL_CELLS, duration, short_duration
from ...report.stages import part_told
from ..course import Course, facts_of, figures_of, gain_of, title_of
from ..ink import bar, ink
from .bars import SIGNS
from .panel import Panel, set_title

_COLUMNS = {
    "folds": ("fold_train", "fold_predict"),
    "train": ("train",),
    "predict": ("predict",),
    "grade": ("grade",),
    "augment": ("augment",),
    "vote": ("audit", "calibrate", "vote", "student_vote"),
    "check": ("check",),
}
"""What their stages take together. A column is there if the run's configuration wants any of its stages."""

_LABEL_CELLS = 10
_MOST_STAGE_CELLS = 18
_TEST_CELLS, _ACCEPTED_CELLS = 10, 16
_CELLS_FOR_FIGURES = 115
_FEWEST_BAR_CELLS = 4
_LINES_AROUND = 2
"""The names of the columns, and the line on what is going on now."""


class Timeline(Panel):
    """As many iterations as there is room for, the present one among them; below them what is going on now."""

    def __init__(self) -> None:
        super().__init__()
        self.border_title = "Iterations"
        self.course: Course | None = None

    def show(self, course: Course) -> None:
        self.course = course
        set_title(self, Text(title_of(course)))
        self.redraw()

    def lines(self) -> list[Text]:
        course = self.course
        if course is None:
            return []
        present = course.status.iteration or 0
        lines = [self._names()]
        for iteration in _window(course.status.iterations + 1, present, self.size.height - _LINES_AROUND):
            lines.append(self._iteration(course, iteration, "dim" if iteration > present else ""))
        lines.append(self._now(course))
        return lines

    @property
    def _has_figures(self) -> bool:
        return self.size.width >= _CELLS_FOR_FIGURES

    @property
    def _columns(self) -> dict[str, tuple[str, ...]]:
        names = self.course.progress.stage_names if self.course else ()
        return {column: stages for column, stages in _COLUMNS.items() if set(stages) & set(names)}

    @property
    def _stage_cells(self) -> int:
        room = self.size.width - _LABEL_CELLS - (_TEST_CELLS + _ACCEPTED_CELLS if self._has_figures else 0)
        return min(_MOST_STAGE_CELLS, room // len(self._columns))

    def _names(self) -> Text:
        names = "iteration".ljust(_LABEL_CELLS) + "".join(name.ljust(self._stage_cells) for name in self._columns)
        return Text(names + ("test".ljust(_TEST_CELLS) + "accepted" if self._has_figures else ""), style="dim")

    def _iteration(self, course: Course, iteration: int, style: str) -> Text:
        line = Text(f"{iteration:<{_LABEL_CELLS}}", style=style)
        for stages in self._columns.values():
            line.append_text(self._column(course, iteration, stages))
        if self._has_figures:
            test, accepted = figures_of(course, iteration)
            line.append(f"{test:<{_TEST_CELLS}}{accepted}")
        return line

    def _column(self, course: Course, iteration: int, stages: tuple[str, ...]) -> Text:
        """There may be several rounds of asking, voting and checking, and folds; their times are added."""
        cells = self._stage_cells
        rounds = [one for one in course.progress.stages if one.iteration == iteration and one.stage in stages]
        if not rounds:
            return Text("·".ljust(cells), style="dim")
        if rounds[-1].status == "done":
            seconds = sum(one.seconds for one in rounds)
            room = cells - len("✓ ") - 1  # a blank parts it from the next one
            took = duration(seconds) if room >= FULL_CELLS else short_duration(seconds, room)
            return Text.assemble(("✓ ", ink(self.app, "success")), took.ljust(room + 1))
        return Text(f"{SIGNS[course.status.state]} {rounds[-1].share:.0%}".ljust(cells), style=self._style(course))

    def _now(self, course: Course) -> Text:
        current = course.progress.current
        if course.status.state == "done":
            return Text.assemble(("test ", "dim"), gain_of(course.test, course.change))
        if current is None:
            has_begun = bool(course.progress.stages)
            return Text("between two stages" if has_begun else "no stage has begun: the models come first", style="dim")
        name = current.stage + part_told(current.stage, current.attempt, "round")
        line = Text(f"{name.ljust(_LABEL_CELLS - 1)} {current.share:4.0%} ", style="bold")
        room = self.size.width - line.cell_len - 1
        facts = facts_of(course.progress, current, room - _FEWEST_BAR_CELLS)
        cells = max(_FEWEST_BAR_CELLS, room - len(facts))
        return Text.assemble(line, bar(current.share, cells, self._style(course)), f" {facts}")

    def _style(self, course: Course) -> Style:
        return ink(self.app, "primary" if course.status.state == "running" else "warning", bold=True)


def _window(total: int, present: int, room: int) -> range:
    """Those that are shown: the present one, one to come where there is room, and those before."""
    room = max(1, room)
    first = present - room + (2 if room > 2 else 1)
    first = max(0, min(first, total - room))
    return range(first, min(total, first + room))
