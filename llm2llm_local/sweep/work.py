"""Work the cells of a sweep one after another; what is done stays done, what was begun goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from ..counted import counted
from ..errors import (
    ChangedSinceStartError,
    ConfigError,
    DiskError,
    RunBusyError,
    RunFailedError,
    RunStoppedError,
    StoreError,
    UserInputError,
)
from ..loop.context import Watcher
from ..loop.control import Interrupts
from ..loop.fingerprint import MATCH_RUN, MATCHED_STEPS, differing
from ..loop.inputs import DiskPlan
from ..loop.start import fork_run, resume_run, start_run
from .plan import PlannedCell, SweepPlan, overrides_with_match, read_fields
from .standing import WAITS, Standing, most_shared_run, standings

Watching = Callable[[], AbstractContextManager[Watcher]]
"""Opens a watcher; each run gets one of its own."""

_AGAIN = "the same llm2llm sweep again"
_CHANGED_REMEDY = "The same llm2llm sweep again works the grid under the new conditions, and keeps what is unaffected."


@dataclass(frozen=True, slots=True)
class FailedCell:
    """A cell that has no result yet, and why."""

    cell: PlannedCell
    reason: str


def work_cells(plan: SweepPlan, watching: Watching, interrupts: Interrupts) -> list[FailedCell]:
    """Work all cells that aren't done; those that failed, each of which was tried once.

    Raises what would stop every other cell, too: RunStoppedError when the person stops the sweep or the run that it
    works on, ChangedSinceStartError when the configuration, the data, a model or the program changes meanwhile,
    DiskError, StoreError; RunBusyError, before anything is done, when another process works on a cell's run.
    """
    before = standings(plan)
    _refuse_busy(plan, before)
    with watching() as watcher:
        _tell_extent(plan, before, watcher)
    failed: list[FailedCell] = []
    for cell in plan.cells:
        if before[cell.number].is_done:
            continue
        if interrupts.names:
            raise RunStoppedError(
                f"the sweep was stopped by {interrupts.names[0]}", f"Nothing is lost. Continue: {_AGAIN}"
            )
        standing = standings(plan)[cell.number]
        if standing.is_done:  # by a run of before, now that it is known how many steps it was to match
            continue
        with watching() as watcher:
            try:
                _work(plan, cell, standing, watcher, interrupts)
            except (DiskError, StoreError, ChangedSinceStartError):
                raise
            except RunStoppedError as error:
                raise RunStoppedError(error.message, f"{error.remedy}, or the whole sweep: {_AGAIN}") from None
            except (UserInputError, RunFailedError) as error:
                failed.append(FailedCell(cell, error.message))
                watcher.message(f"sweep: cell {cell.number} failed: {error}")
    return failed


def _work(plan: SweepPlan, cell: PlannedCell, standing: Standing, watcher: Watcher, interrupts: Interrupts) -> None:
    told = f"sweep: {plan.described(cell)}"
    if standing.state == WAITS:
        raise RunFailedError(
            f"it takes as many optimizer steps as cell {cell.matches}, which isn't done",
            f"See to that cell first, then start {_AGAIN}.",
        )
    if standing.pid is not None:  # since the sweep began
        raise RunBusyError(
            f"run {standing.run_id} is being worked on by process {standing.pid}",
            f"Let it end, then start {_AGAIN}.",
        )
    overrides = overrides_with_match(cell.overrides, standing.match_run)
    fields = read_fields(plan, overrides)
    _refuse_changes(cell.fields, fields)
    if standing.run_id is None:
        watcher.message(f"{told} → a new run")
        origin = most_shared_run(plan.workspace, fields)
    else:
        watcher.message(f"{told} → run {standing.run_id} goes on")
        try:
            resume_run(plan.workspace, standing.run_id, watcher, interrupts)
            return
        except (ChangedSinceStartError, ConfigError):  # it was started from another file, or one that said otherwise
            watcher.message(f"run {standing.run_id} can't be resumed as it was started: a fork of it goes on")
            origin = standing.run_id
    if origin is None:
        run_id = start_run(plan.config_path, overrides, watcher, interrupts)
    else:
        run_id = fork_run(plan.workspace, origin, plan.config_path, overrides, watcher, interrupts)
    if standings(plan)[cell.number].run_id != run_id:
        raise ChangedSinceStartError(
            f"run {run_id} was started under other conditions than the sweep: a model or the data changed meanwhile",
            _CHANGED_REMEDY,
        )


def _refuse_busy(plan: SweepPlan, before: Mapping[int, Standing]) -> None:
    for cell in plan.cells:
        standing = before[cell.number]
        if standing.pid is not None:
            raise RunBusyError(
                f"{plan.described(cell)}: run {standing.run_id} is being worked on by process {standing.pid}",
                f"Let it end, or stop it first: llm2llm stop {standing.run_id}",
            )


def _refuse_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    changed = [name for name in differing(before, after) if name not in (MATCH_RUN, MATCHED_STEPS)]
    if changed:
        raise ChangedSinceStartError(
            f"changed since the sweep began: {', '.join(changed)}; its other cells would be no comparison any more",
            _CHANGED_REMEDY,
        )


def _tell_extent(plan: SweepPlan, before: Mapping[int, Standing], watcher: Watcher) -> None:
    missing = [cell for cell in plan.cells if not before[cell.number].is_done]
    watcher.message(f"sweep: {counted(len(plan.cells), 'cell')}, {len(plan.cells) - len(missing)} of them done")
    if not missing:
        return
    disk = DiskPlan(
        sum(cell.disk.adapter_bytes for cell in missing),
        max(cell.disk.checkpoint_bytes for cell in missing),
        missing[0].disk.free_bytes,
    )
    if not disk.is_enough:
        watcher.message(f"warning: {disk}: not all of the sweep may fit")
