"""Why a run isn't worked on any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from workspaces import add_run

from llm2llm_local.launch import process_log
from llm2llm_local.records import Status
from llm2llm_local.report.events import Event, worker_deaths
from llm2llm_local.report.last_words import last_words
from llm2llm_local.report.status import run_statuses
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.writer import Store


def words_of(workspace: Path) -> str:
    with open_reader(workspace) as connection:
        (status,) = run_statuses(connection, workspace, 1)
        return last_words(connection, workspace, status)


@pytest.fixture
def dead(tmp_path: Path) -> Path:
    """Run 1, whose process 4711 is gone."""
    with Store(tmp_path) as store:
        run = add_run(store)
        with store.transaction():
            run.add_event("worker_died", "the teacher died\x1b[31m")
        run.folder.mkdir(parents=True)
        (run.folder / "lock").write_text("4711\n")
    return tmp_path


def test_a_dead_run_has_its_last_event_and_the_last_line_of_its_process(dead: Path) -> None:
    assert words_of(dead) == "Its last event: the teacher died\\x1b[31m."
    process_log(dead / "runs/1", 4711).write_text("one\nSegmentation fault\n")
    assert words_of(dead) == "Its last event: the teacher died\\x1b[31m. Its last line: Segmentation fault"


def test_the_same_words_are_said_once(dead: Path) -> None:
    process_log(dead / "runs/1", 4711).write_text("one\nthe teacher died\x1b[31m\n")
    assert words_of(dead) == "Its last event: the teacher died\\x1b[31m."


def test_a_failed_run_has_its_reason(dead: Path) -> None:
    with Store(dead) as store, store.transaction():
        store.of_run(1).set_status(Status.FAILED, "the disk is full")
    assert words_of(dead) == "the disk is full"


def test_of_deaths_only_the_newest_is_read(dead: Path) -> None:
    """There may be thousands, which a screen counts every second."""
    with Store(dead) as store, store.transaction():
        run = store.of_run(1)
        for number in range(5):
            run.add_event("worker_died", f"death {number}")
        run.add_event("run_failed", "no more")
    read: list[Any] = []

    def counted(cursor: object, row: tuple[Any, ...]) -> tuple[Any, ...]:
        read.append(row)
        return row

    with open_reader(dead) as connection:
        connection.row_factory = counted
        deaths = worker_deaths(connection, 1)
        assert worker_deaths(connection, 2) is None
    assert deaths is not None
    assert (deaths.n, deaths.newest.message, deaths.newest.kind) == (6, "death 4", "worker_died")
    assert isinstance(deaths.newest, Event)
    assert len(read) == 1
