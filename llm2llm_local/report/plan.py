"""How a run's models share the device, in the words that were stored with the run."""

from __future__ import annotations

import json
import sqlite3


def plan_by_part(connection: sqlite3.Connection, run_id: int) -> dict[str, str]:
    """A line each for teacher, student and device, of the plan in force; none before the models were first planned."""
    row = connection.execute("SELECT summary FROM plans WHERE run_id = ? ORDER BY id DESC LIMIT 1", [run_id]).fetchone()
    lines = [] if row is None else json.loads(row["summary"])
    return {line.partition(":")[0]: line for line in lines}
