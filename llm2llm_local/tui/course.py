"""The course of a run in words and figures. Without an interface, so that what is said follows from what was read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ..report.curves import AccuracyCurve, CandidateCounts
from ..report.duration import DAY_SECONDS, LONGEST_SECONDS, duration, estimated
from ..report.progress import RunProgress
from ..report.results import Change
from ..report.stages import ROWS
from ..report.statistics import is_perhaps_chance, p_statement
from ..report.status import RunStatus
from ..report.work import StageProgress
from ..wilson import Accuracy

_SLOW = 0.5
"""Rows a second, below which they are told by the minute."""


@dataclass(frozen=True, slots=True)
class Course:
    """Where a run stands and what came of its iterations so far. `test`: accuracy on the test split; `change`: what a
    run that is done did for it.
    """

    status: RunStatus
    progress: RunProgress
    test: AccuracyCurve
    change: Change | None
    counts: tuple[CandidateCounts, ...]
    read_at: datetime


def title_of(course: Course) -> str:
    """The method where it is another than LLM2LLM, the iteration, and when the whole run will be done."""
    status, left = course.status, course.progress.seconds_left
    recipe = "" if status.recipe == "llm2llm" else f"recipe {status.recipe} · "
    title = f"{recipe}Iteration {status.iteration or 0} of {status.iterations}"
    if status.state == "done":
        return title
    if left is None:
        return f"{title} · whole run: – left, not all measured yet"
    is_near = status.state == "running" and left <= LONGEST_SECONDS
    at = f", done about {_moment(course.read_at, left)}" if is_near else ""
    return f"{title} · whole run: {estimated(left)} left{at}"


def _moment(now: datetime, seconds: float) -> str:
    """By its weekday, or by its date where that weekday may come sooner, too."""
    then = datetime.fromtimestamp(now.timestamp() + seconds).astimezone()
    return f"{then:%a %H:%M}" if seconds < 6 * DAY_SECONDS else f"{then.day} {then:%b}"


def facts_of(progress: RunProgress, current: StageProgress, cells: int) -> str:
    """Amount, rate and time left of the stage that is open; what the rate counts is left out where it doesn't fit."""
    rows, left = ROWS[current.stage], progress.stage_seconds_left
    time = "–" if left is None else duration(left)
    amount = f"{current.rows_with_part:,}/{current.rows_total:,} {rows}"
    texts = [f"{amount} · {_rate(progress.rows_per_second, unit)} · {time} left" for unit in (f" {rows}", "")]
    return texts[0] if len(texts[0]) <= cells else texts[1]


def figures_of(course: Course, iteration: int) -> tuple[str, str]:
    """Accuracy on the test split, and accepted candidates of all, … while some wait for their checks; '' before."""
    test = next((f"{accuracy.share:.1%}" for number, accuracy in course.test if number == iteration), "")
    counts = next((one for one in course.counts if one.iteration == iteration), None)
    if counts is None:
        return test, ""
    accepted = "…" if counts.pending else f"{counts.accepted:,}"
    return test, f"{accepted} of {counts.accepted + counts.rejected + counts.doubtful + counts.pending:,}"


def gain_of(test: AccuracyCurve, change: Change | None) -> str:
    """What the whole run did for the accuracy on the test split."""
    if not test:
        return "no test rows: no gain to tell"
    if change is None:
        return _interval(test[0][1])
    sure = f"{'may be chance' if is_perhaps_chance(change.p) else 'hardly chance'} ({p_statement(change.p)})"
    return f"{_interval(change.before)} → {_interval(change.after)}: {change.points:+.1f} points, {sure}"


def _rate(per_second: float | None, unit: str) -> str:
    if per_second is None:
        return f"–{unit}/s"
    if per_second < _SLOW:
        return f"{60 * per_second:.1f}{unit}/min"
    return f"{per_second:,.1f}{unit}/s" if per_second < 100 else f"{per_second:,.0f}{unit}/s"


def _interval(accuracy: Accuracy) -> str:
    return f"{accuracy.share:.1%} ({100 * accuracy.low:.0f}–{100 * accuracy.high:.0f})"
