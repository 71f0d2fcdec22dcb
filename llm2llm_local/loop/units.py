"""How a stage works through its units of work: in their order, each done whole or not at all.

What always holds: the rows of a unit and its done-mark are committed in one transaction, so that a unit that is marked
as done is there, and one that isn't left nothing. A person's commands are obeyed between units only. At most one unit
is ahead of the one that is being written. A stage goes on only under the conditions under which it was begun.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..errors import ChangedSinceStartError
from ..store.rows import StageRow
from .context import Run
from .fingerprint import differing

Unit = TypeVar("Unit")
Write = Callable[[], int]
"""Writes the results of a unit, inside its transaction; how many rows (steps, examples or requests) it had."""

Wait = Callable[[], Write]
"""Waits for a unit that a worker is at."""


def work_through(
    run: Run, iteration: int, stage: str, attempt: int, units: Sequence[Unit], work: Callable[[Unit], Write]
) -> None:
    """Do the units of a stage that aren't done yet, in order; each commits its results with its done-mark.

    `work` does a unit and returns a function that writes the results and tells how many rows it had; that
    function runs inside the unit's transaction. What the units are must follow from earlier stages alone; a unit
    may need the rows of those before it.
    Raises ChangedSinceStartError when the stage was begun under other conditions.
    """
    row = _open_stage(run, iteration, stage, attempt, len(units))
    for index in range(row.units_done, len(units)):
        run.obey()
        started = time.monotonic()
        _commit(run, row, work(units[index]), index, len(units), started)
    _close_stage(run, row)


def work_through_ahead(
    run: Run, iteration: int, stage: str, attempt: int, units: Sequence[Unit], begin: Callable[[Unit], Wait]
) -> None:
    """As `work_through`, for units that need no row of another unit of the stage: while one is written, the worker
    is at the next.

    `begin` hands a unit to its worker and returns a function that waits for it and returns what writes it. One unit
    is ahead at most, and when the run ends or pauses there it is done again.
    """
    row = _open_stage(run, iteration, stage, attempt, len(units))
    ahead: Wait | None = None
    for index in range(row.units_done, len(units)):
        run.obey()
        started = time.monotonic()
        write = (ahead or begin(units[index]))()
        ahead = begin(units[index + 1]) if index + 1 < len(units) else None
        _commit(run, row, write, index, len(units), started)
    _close_stage(run, row)


def _open_stage(run: Run, iteration: int, stage: str, attempt: int, n_units: int) -> StageRow:
    fields = run.fingerprint.fields_of(iteration, stage, attempt)
    fingerprint = run.fingerprint.advance(iteration, stage, attempt)
    known = run.store.stage(iteration, stage, attempt)
    if known is not None and known["fingerprint"] != fingerprint:
        raise ChangedSinceStartError(
            f"iteration {iteration}, {stage}: begun under other conditions ({_difference(known, fields)})",
            f"Start a new run from there: llm2llm fork {run.store.run_id}",
        )
    if known is not None and known["units_total"] != n_units:
        raise ChangedSinceStartError(
            f"iteration {iteration}, {stage}: was cut into {known['units_total']} units of work and now is into "
            f"{n_units}",
            f"Start a new run from there: llm2llm fork {run.store.run_id}",
        )
    row = run.store.open_stage(iteration, stage, attempt, fingerprint, fields, n_units)
    if not row.is_done:
        run.watcher.stage(iteration, stage, attempt, row.units_done, n_units)
    return row


def _commit(run: Run, row: StageRow, write: Write, index: int, total: int, started: float) -> None:
    with run.store.transaction():
        rows = write()
        run.store.mark_unit_done(row, time.monotonic() - started)
    run.watcher.unit(index + 1, total, rows)


def _close_stage(run: Run, row: StageRow) -> None:
    if not row.is_done:
        run.store.close_stage(row)


def _difference(known: Any, fields: dict[str, Any]) -> str:
    return ", ".join(differing(json.loads(known["fingerprint_fields"]), fields)) or "an earlier stage differs"
