"""When the screens hear that the history has changed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from workspaces import PATIENCE_SECONDS, add_run, wait_for

from llm2llm_local.records import Status
from llm2llm_local.store.lock import RunLock
from llm2llm_local.store.run_store import RunStore
from llm2llm_local.store.writer import Store
from llm2llm_local.tui import feed as feed_module
from llm2llm_local.tui.feed import Feed


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunStore]:
    monkeypatch.setattr(feed_module, "_SECONDS_BETWEEN_LOOKS", 0.01)
    with Store(tmp_path) as store:
        run = add_run(store, status=Status.RUNNING)
        run.folder.mkdir(parents=True)
        yield run


def commit(run: RunStore) -> None:
    with run.transaction():
        run.add_event("note", "something")


def test_however_often_a_run_commits_it_is_told_now_and_then_and_at_last(
    run: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "_SECONDS_BETWEEN_TELLINGS", 0.3)
    told: list[float] = []
    feed = Feed(run.workspace, lambda: told.append(time.monotonic()))
    feed.start()
    try:
        wait_for(lambda: bool(told))
        for _ in range(50):
            commit(run)
            time.sleep(0.02)
        last = time.monotonic()
        wait_for(lambda: told[-1] > last)
    finally:
        feed.stop()
    assert all(later - earlier >= 0.29 for earlier, later in pairwise(told))


def test_a_process_that_comes_or_goes_and_a_pause_are_told_of_at_once(
    run: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "_SECONDS_BETWEEN_TELLINGS", 10 * PATIENCE_SECONDS)
    told: list[None] = []
    feed = Feed(run.workspace, lambda: told.append(None))
    feed.start()
    try:
        wait_for(lambda: len(told) == 1)
        with RunLock(run.folder, run.run_id):
            wait_for(lambda: len(told) == 2)
        wait_for(lambda: len(told) == 3)
        with run.transaction():
            run.set_status(Status.PENDING, "paused")
        wait_for(lambda: len(told) == 4)
    finally:
        feed.stop()
