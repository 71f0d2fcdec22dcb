"""Where every run stands, read from another terminal while it runs. Standard library only: it must be quick."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..store.graded import chosen_iteration
from ..store.lock import holder
from .plain import plain
from .plan import plan_by_part


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run's state in a word, and how far it is.

    `state`: running, paused, stopped, interrupted (its process died), failed, done, starting.
    `done`/`total`: units of work of the current stage, `unit_seconds`: what one of them took on average so far.
    `test_accuracy`: of the last graded iteration. `device_plan`: how the models of a living run share the device.
    `recipe`: the method that is followed.
    """

    run_id: int
    state: str
    detail: str
    pid: int | None
    iteration: int | None
    iterations: int
    stage: str | None
    done: int
    total: int
    unit_seconds: float | None
    test_accuracy: float | None
    created_at: str
    changed_at: str
    device_plan: str
    recipe: str = "llm2llm"


def run_statuses(connection: sqlite3.Connection, workspace: Path, run_id: int | None) -> list[RunStatus]:
    """One run, or all of them, newest last."""
    rows = connection.execute(
        "SELECT run_id, status, status_detail, created_at, "
        "json_extract(config, '$.\"loop.iterations\"') AS iterations, "
        "coalesce(json_extract(config, '$.\"loop.recipe\"'), 'llm2llm') AS recipe FROM runs "
        "WHERE run_id = coalesce(?, run_id) ORDER BY run_id",
        [run_id],
    )
    return [_status(connection, workspace, row) for row in rows.fetchall()]


def status_lines(statuses: Sequence[RunStatus]) -> list[str]:
    """A line for each run, and one with the detail and one with the device's plan where there is one."""
    lines = []
    for status in statuses:
        where = ""
        if status.state != "done" and status.stage is not None:
            where = f"iteration {status.iteration} of {status.iterations}, {status.stage} {status.done}/{status.total}"
        accuracy = "" if status.test_accuracy is None else f"test {status.test_accuracy:.1%}"
        process = f"process {status.pid}" if status.pid else ""
        parts = [
            f"run {status.run_id}",
            status.state,
            "" if status.recipe == "llm2llm" else f"recipe {status.recipe}",
            where,
            accuracy,
            process,
            f"{age(status.changed_at, datetime.now(UTC))} ago",
        ]
        lines.append("  ".join(plain(part) for part in parts if part))
        if status.detail:
            lines.append(f"    {plain(status.detail)}")
        if status.device_plan:
            lines.append(f"    {plain(status.device_plan)}")
        if status.state in ("stopped", "interrupted", "failed"):
            lines.append(f"    continue it: llm2llm resume {status.run_id}")
    return lines


def _status(connection: sqlite3.Connection, workspace: Path, run: sqlite3.Row) -> RunStatus:
    run_id = run["run_id"]
    stage = connection.execute(
        "SELECT iteration, stage, units_done, units_total, seconds FROM stages WHERE run_id = ? "
        "ORDER BY id DESC LIMIT 1",
        [run_id],
    ).fetchone()
    accuracy = connection.execute(
        "SELECT value FROM metrics WHERE run_id = ? AND name = 'accuracy_test' AND iteration = ?",
        [run_id, chosen_iteration(connection, run_id)],
    ).fetchone()
    changed = connection.execute("SELECT max(created_at) FROM events WHERE run_id = ?", [run_id]).fetchone()[0]
    pid = holder(workspace / "runs" / str(run_id))
    return RunStatus(
        run_id=run_id,
        state=_state(run["status"], run["status_detail"], pid),
        detail=run["status_detail"] if run["status"] in ("failed", "done") else "",
        pid=pid,
        iteration=stage["iteration"] if stage else None,
        iterations=run["iterations"],
        stage=stage["stage"] if stage else None,
        done=stage["units_done"] if stage else 0,
        total=stage["units_total"] if stage else 0,
        unit_seconds=stage["seconds"] / stage["units_done"] if stage and stage["units_done"] else None,
        test_accuracy=accuracy["value"] if accuracy else None,
        created_at=run["created_at"],
        changed_at=changed or run["created_at"],
        device_plan=plan_by_part(connection, run_id).get("device", "") if pid is not None else "",
        recipe=run["recipe"],
    )


def _state(status: str, detail: str, pid: int | None) -> str:
    match status:
        case "running":
            return "running" if pid is not None else "interrupted"
        case "pending":
            if pid is not None:
                return "paused" if detail == "paused" else "starting"
            return "stopped" if detail and detail != "paused" else "interrupted"
        case _:
            return status


def age(timestamp: str, now: datetime) -> str:
    """How long ago that was, in its largest unit."""
    seconds = int((now - datetime.fromisoformat(timestamp)).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{max(0, seconds)} s"
