"""Where each cell of a sweep stands: which run of the store is its, and how far that is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import NoHistoryError
from ..loop.fingerprint import Fingerprint
from ..loop.matching import final_steps
from ..report.results import n_decided
from ..report.status import RunStatus, run_statuses
from ..store.fork import unchanged_stages
from ..store.reader import STORE_NAME, open_reader
from ..store.writer import Store
from .plan import PlannedCell, SweepPlan

NEW, WAITS, DONE = "new", "waits", "done"


@dataclass(frozen=True, slots=True)
class Standing:
    """`state`: of its run in a word, as `llm2llm status` tells it; or new (there is none), or waits (for the run that
    it matches). `pid`: the process that works on it. `match_run`: the run whose steps it takes, once that is done.
    `is_decided`: whether a person's decisions had a part in it.
    """

    state: str
    run_id: int | None = None
    pid: int | None = None
    match_run: int | None = None
    is_decided: bool = False

    @property
    def is_done(self) -> bool:
        return self.state == DONE


@dataclass(frozen=True, slots=True)
class _KnownRun:
    """A run of the store: its status, what its results depend on, and whether a person's decisions changed it."""

    status: RunStatus
    fields: Mapping[str, Any]
    is_decided: bool


def standings(plan: SweepPlan) -> dict[int, Standing]:
    """By number of the cell. Of several runs that are a cell's one that no decision of a person had a part in comes
    first, then a finished one, then the newest.
    """
    runs = _known_runs(plan.workspace)
    found: dict[int, Standing] = {}
    for cell in plan.cells:  # a cell that is matched comes before the one that matches it
        found[cell.number] = _standing(plan.workspace, cell, runs, found)
    return found


def most_shared_run(workspace: Path, fields: Mapping[str, Any]) -> int | None:
    """The run that has finished most, by its wall time, of what a new run under these conditions would do first.

    Not one with a person's decisions: a fork takes them along, and a cell has none but its own.
    """
    if not (workspace / STORE_NAME).is_file():
        return None
    with Store(workspace) as store:
        undecided = store.execute(
            "SELECT run_id FROM runs r WHERE NOT EXISTS (SELECT 1 FROM reviews WHERE run_id = r.run_id)"
        ).fetchall()
        shared = {
            run_id: sum(stage["seconds"] for stage in unchanged_stages(store, run_id, Fingerprint(fields)))
            for (run_id,) in undecided
        }
    run_id = max(shared, key=lambda one: shared[one], default=None)
    return run_id if run_id is not None and shared[run_id] > 0 else None


def _known_runs(workspace: Path) -> list[_KnownRun]:
    """Newest first; none where there is no store yet."""
    try:
        with open_reader(workspace) as connection:
            fields = dict(connection.execute("SELECT run_id, fingerprint_fields FROM runs").fetchall())
            decided = {run_id for run_id in fields if n_decided(connection, run_id)}
            statuses = run_statuses(connection, workspace, None)
    except NoHistoryError:
        return []
    return [
        _KnownRun(one, json.loads(fields[one.run_id]), one.run_id in decided)
        for one in reversed(statuses)
        if one.run_id in fields
    ]


def _standing(workspace: Path, cell: PlannedCell, runs: list[_KnownRun], before: Mapping[int, Standing]) -> Standing:
    match_run, steps = None, None
    if cell.matches is not None:
        matched = before[cell.matches]
        if not matched.is_done or matched.run_id is None:
            return Standing(WAITS)
        match_run, steps = matched.run_id, final_steps(workspace, matched.run_id)
    own = [run for run in runs if cell.is_worked_by(run.fields, steps)]
    if not own:
        return Standing(NEW, match_run=match_run)
    undecided = [run for run in own if not run.is_decided]
    chosen = min(undecided or own, key=lambda run: run.status.state != DONE)
    return Standing(
        chosen.status.state, chosen.status.run_id, chosen.status.pid, match_run, is_decided=chosen.is_decided
    )
