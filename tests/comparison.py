"""Whether two runs are the same, row for row: ids, times and what tells of an interruption aside."""

from __future__ import annotations

import sqlite3
from pathlib import Path

_TABLES = (
    "iterations",
    "stages",
    "examples",
    "training_set_examples",
    "checkpoints",
    "predictions",
    "teacher_calls",
    "candidates",
    "votes",
    "verdicts",
    "audits",
    "reviews",
    "metrics",
    "events",
)
_TIMES = frozenset({"created_at", "finished_at", "handled_at", "seconds"})
_REFERENCES = {
    "example_id": "examples",
    "parent_example_id": "examples",
    "candidate_id": "candidates",
    "teacher_call_id": "teacher_calls",
    "review_id": "reviews",
}
_EVENTS_OF_INTERRUPTIONS = (
    "run_resumed",
    "run_stopped",
    "run_failed",
    "worker_started",
    "worker_died",
    "hand_over",
    "memory_short",
    "command_pause",
    "command_resume",
    "command_stop",
)


def differences(one: Path, one_run: int, other: Path, other_run: int) -> list[str]:
    """What differs between a run of workspace `one` and a run of `other`; empty when nothing does."""
    found = []
    for table in _TABLES:
        left, right = _content(one, one_run, table), _content(other, other_run, table)
        if len(left) != len(right):
            found.append(f"{table}: {len(left)} rows and {len(right)}")
        found += [f"{table}: {a} != {b}" for a, b in zip(left, right, strict=False) if a != b]
    for row in _content(one, one_run, "checkpoints"):
        path = dict(row).get("path")
        if path is not None:
            for file in sorted((one / _placed(str(path), one_run)).iterdir()):
                twin = other / _placed(str(path), other_run) / file.name
                if not twin.is_file() or file.read_bytes() != twin.read_bytes():
                    found.append(f"{path}/{file.name}: bytes differ")
    return found


def _content(workspace: Path, run_id: int, table: str) -> list[tuple[tuple[str, object], ...]]:
    """Rows in their order, ids replaced by the position of the row they name within the run."""
    connection = sqlite3.connect(workspace / "llm2llm.db")
    connection.row_factory = sqlite3.Row
    try:
        positions = {name: _positions(connection, name, run_id) for name in set(_REFERENCES.values())}
        where, order = "run_id = ?", "iteration, position" if table == "training_set_examples" else "id"
        if table == "events":
            where += f" AND kind NOT IN ({', '.join(repr(kind) for kind in _EVENTS_OF_INTERRUPTIONS)})"
        content = []
        for row in connection.execute(f"SELECT * FROM {table} WHERE {where} ORDER BY {order}", [run_id]):
            cells: list[tuple[str, object]] = []
            for name in row.keys():  # noqa: SIM118 - a Row isn't a dict
                if name in _TIMES or name in ("id", "run_id"):
                    continue
                value = row[name]
                if name in _REFERENCES and value is not None:
                    value = positions[_REFERENCES[name]][value]
                if name == "path" and value is not None:
                    value = str(value).replace(f"runs/{run_id}/", "runs/RUN/")
                if table == "events" and name == "message":
                    value = str(value).replace(f"run {run_id}", "run RUN")
                cells.append((name, value))
            content.append(tuple(cells))
        return content
    finally:
        connection.close()


def _placed(path: str, run_id: int) -> str:
    return path.replace("runs/RUN/", f"runs/{run_id}/")


def _positions(connection: sqlite3.Connection, table: str, run_id: int) -> dict[int, int]:
    ids = connection.execute(f"SELECT id FROM {table} WHERE run_id = ? ORDER BY id", [run_id]).fetchall()
    return {row[0]: position for position, row in enumerate(ids)}
