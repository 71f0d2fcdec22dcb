"""Where a run stands and when it will be done, from measured rates alone. A function of the store and of the time."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from ..records import Split
from .rates import Position, Rates, pieces_of, plan_of, rates_of, seconds_ahead
from .stages import stages_of
from .work import RunWork, StageProgress, run_work

_NEWEST_CALLS = 32
"""Replies differ in length, and so in the share of reading the prompt: one alone says little."""


@dataclass(frozen=True, slots=True)
class RunProgress:
    """A run's stages in order, and what is to be expected of it.

    `stage_names`: of those that any of its iterations may have. `current`: the stage that is open, None between stages
    and after the last. `seconds`: wall time spent on it so far, the unit in progress included. `rows_per_second`: of
    its complete units, in its own rows; before there are any, what the time left is reckoned with.
    `stage_seconds_left`, `seconds_left` (of the whole run): wall time, None when something that they need was never
    measured. Tokens a second: written by the teacher in its newest replies, trained on by the student up to its newest
    checkpoint; None until there are any, and where nobody writes.
    """

    run_id: int
    stages: tuple[StageProgress, ...]
    stage_names: tuple[str, ...]
    current: StageProgress | None
    seconds: float | None
    rows_per_second: float | None
    stage_seconds_left: float | None
    seconds_left: float | None
    teacher_tokens_per_second: float | None
    student_tokens_per_second: float | None


def run_progress(connection: sqlite3.Connection, run_id: int, now: datetime) -> RunProgress:
    """Of a run that exists; `now` knows its time zone."""
    work = run_work(connection, run_id)
    rates = rates_of(connection, work)
    current = work.stages[-1] if work.stages and work.stages[-1].status != "done" else None
    since = None if current is None or current.is_measured else _seconds_since_begun(connection, work, current, now)
    spent = left = None
    if current is not None:
        spent = since
        if current.is_measured:  # only complete units have a time; the one in progress is taken to be as quick
            spent = _rows_with_unit_in_progress(current) * current.seconds / current.rows_done
        left = _stage_seconds_left(work, current, rates, since)
    return RunProgress(
        run_id=run_id,
        stages=work.stages,
        stage_names=stages_of(work.config),
        current=current,
        seconds=spent,
        rows_per_second=None if current is None else _rows_per_second(current, left),
        stage_seconds_left=left,
        seconds_left=_run_seconds_left(work, current, rates, left),
        teacher_tokens_per_second=_teacher_tokens_per_second(connection, run_id),
        student_tokens_per_second=_student_tokens_per_second(connection, run_id),
    )


def _rows_per_second(stage: StageProgress, seconds_left: float | None) -> float | None:
    """By the complete units; before there are any, what the time left is reckoned with."""
    if stage.is_measured and stage.seconds:
        return stage.rows_done / stage.seconds
    return (1 - stage.share) * stage.rows_total / seconds_left if seconds_left else None


def _seconds_since_begun(
    connection: sqlite3.Connection, work: RunWork, stage: StageProgress, now: datetime
) -> float | None:
    """How long the first unit of a stage has been worked on; None when nobody works on the run."""
    if work.status != "running":
        return None
    went_on = connection.execute(
        "SELECT max(created_at) FROM events WHERE run_id = ? AND kind IN ('run_resumed', 'command_resume')",
        [work.run_id],
    ).fetchone()[0]
    begun = max(stage.created_at, went_on or "")  # what was done before an interruption was lost
    return max(0.0, (now - datetime.fromisoformat(begun)).total_seconds())


def _rows_with_unit_in_progress(stage: StageProgress) -> float:
    """Rows done, where part of the unit in progress counts; it is as large as those before, unless it is the last."""
    of_unit = min(stage.rows_done / stage.units_done, stage.rows_total - stage.rows_done)
    return stage.rows_done + of_unit * max(0.0, stage.share * stage.units_total - stage.units_done)


def _stage_seconds_left(work: RunWork, stage: StageProgress, rates: Rates, since_begun: float | None) -> float | None:
    """By the stage's own complete units; before there are any by the same stage elsewhere; else by its own share."""
    if stage.is_measured:
        return (stage.rows_total - _rows_with_unit_in_progress(stage)) * stage.seconds / stage.rows_done
    left = 1 - stage.share
    rate = rates.of_stage(stage.stage)
    if rate is not None:
        return left * pieces_of(work, stage) * rate
    if since_begun is not None and stage.is_under_way:
        return left * since_begun / stage.share
    return None


def _run_seconds_left(
    work: RunWork, current: StageProgress | None, rates: Rates, stage_left: float | None
) -> float | None:
    if work.status == "done":
        return 0.0
    if current is not None and stage_left is None:
        return None
    ahead = seconds_ahead(rates, plan_of(work), position_of(work))
    return None if ahead is None else ahead + (stage_left or 0.0)


def position_of(work: RunWork) -> Position:
    """After all stages that were opened."""
    if not work.iterations:
        return Position(0, work.n[Split.TRAIN])
    number = len(work.iterations) - 1
    iteration = work.iterations[number]
    of_iteration = [stage for stage in work.stages if stage.iteration == number]
    rounds = {stage.attempt: stage.rows_total for stage in of_iteration if stage.stage == "augment"}
    opened = {(stage.stage, stage.attempt) for stage in of_iteration}

    def not_in(stage: str) -> int:
        """Requests of the rounds whose stage of this name was not opened."""
        return sum(rows for attempt, rows in rounds.items() if (stage, attempt) not in opened)

    if iteration.is_done:
        return Position(number + 1, iteration.training_examples + iteration.accepted)
    return Position(
        number,
        iteration.training_examples,
        Counter(stage.stage for stage in of_iteration),
        iteration.failures,
        asked=sum(rounds.values()),
        unvoted={stage: not_in(stage) for stage in ("vote", "student_vote")},
        unchecked=not_in("check"),
        may_ask=len(rounds) < work.config["teacher.attempts"],
    )


def _teacher_tokens_per_second(connection: sqlite3.Connection, run_id: int) -> float | None:
    # By way of the candidates, which are made with their calls: they have an index by run and age.
    tokens, seconds = connection.execute(
        "SELECT sum(t.output_tokens), sum(t.seconds) FROM (SELECT teacher_call_id FROM candidates WHERE run_id = ? "
        "ORDER BY id DESC LIMIT ?) c CROSS JOIN teacher_calls t ON t.id = c.teacher_call_id",
        [run_id, _NEWEST_CALLS],
    ).fetchone()
    return tokens / seconds if tokens and seconds else None  # words that were changed have no tokens


def _student_tokens_per_second(connection: sqlite3.Connection, run_id: int) -> float | None:
    row = connection.execute(
        "SELECT tokens, seconds FROM checkpoints WHERE run_id = ? "
        "ORDER BY iteration DESC, fold = 0 DESC, fold DESC, step DESC LIMIT 1",  # the folds' students come first
        [run_id],
    ).fetchone()
    return row[0] / row[1] if row and row[1] else None
