"""What the screens ask a store, by name: the functions of `report` as a screen calls them on a large history."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from llm2llm_local.report.curves import accuracies, accuracies_by_run, candidate_counts, loss_curve
from llm2llm_local.report.events import worker_deaths
from llm2llm_local.report.overview import run_overviews
from llm2llm_local.report.progress import run_progress
from llm2llm_local.report.rates import estimate, measured_rates, plan_of, rates_of
from llm2llm_local.report.status import run_statuses
from llm2llm_local.report.verification import verification_of
from llm2llm_local.report.work import run_work

Call = Callable[[], object]

NOW = datetime(2026, 1, 23, 10, tzinfo=UTC)


def screen_queries(connection: sqlite3.Connection, workspace: Path) -> dict[str, Call]:
    """On the store of big_store.py in its default size: run 10 is at work, run 2 is done."""
    config = dict(run_work(connection, 2).config)

    def estimated() -> object:
        return estimate(measured_rates(connection, config), plan_of(run_work(connection, 2)))

    return {
        "run_progress": lambda: run_progress(connection, 10, NOW),
        "run_progress, done": lambda: run_progress(connection, 2, NOW),
        "run_work": lambda: run_work(connection, 10),
        "rates_of": lambda: rates_of(connection, run_work(connection, 10)),
        "measured_rates, estimate": estimated,
        "loss_curve": lambda: loss_curve(connection, 2, 10, max_points=200),
        "accuracies": lambda: accuracies(connection, 2),
        "accuracies_by_run": lambda: accuracies_by_run(connection, None),
        "candidate_counts": lambda: candidate_counts(connection, 2),
        "worker_deaths": lambda: worker_deaths(connection, 10),
        "verification_of": lambda: verification_of(connection, 10),
        "run_overviews": lambda: run_overviews(connection, workspace),
        "run_statuses": lambda: run_statuses(connection, workspace, None),
    }
