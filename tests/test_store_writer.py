"""What the one writer writes is whole or not there, and is found again as it was meant."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from store_contract import TABLES
from workspaces import Workspace, add_run, fill

from llm2llm_local.errors import DiskError
from llm2llm_local.records import CheckVerdict, Decision, Status
from llm2llm_local.store.reader import STORE_NAME
from llm2llm_local.store.rows import ModelRow
from llm2llm_local.store.wishes import withdraw_commands
from llm2llm_local.store.writer import Store


def test_the_writer_is_durable_and_checks_foreign_keys(store: Store) -> None:
    pragmas = {name: store.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")}
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}  # 2 is FULL
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"), store.transaction():
        store.of_run(1).add_event("kind", "of a run that isn't there")


def test_opening_a_store_again_changes_nothing(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_run(store)
    before = (tmp_path / STORE_NAME).read_bytes()
    with Store(tmp_path) as store:
        assert store.run(1).status is Status.RUNNING
    assert (tmp_path / STORE_NAME).read_bytes() == before


def test_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    run = add_run(store)
    with pytest.raises(RuntimeError, match="in the middle"), run.transaction():
        run.add_event("kind", "lost")
        raise RuntimeError("in the middle of a unit")
    with run.transaction():
        run.add_event("kind", "kept")
    assert [row["message"] for row in store.execute("SELECT message FROM events")] == ["kept"]


def test_a_defect_in_sql_is_not_taken_for_a_full_disk(store: Store) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"), store.transaction():
        store.execute("INSERT INTO nowhere VALUES (1)")
    assert store.execute("SELECT 1").fetchone()[0] == 1


def test_a_full_disk_is_an_error_and_loses_nothing(store: Store, tmp_path: Path) -> None:
    run = add_run(store)
    with run.transaction():
        run.add_event("kind", "before")
    pages = store.execute("PRAGMA page_count").fetchone()[0]
    store.execute(f"PRAGMA max_page_count = {pages + 4}")
    with pytest.raises(DiskError) as caught, run.transaction():
        for _ in range(100):
            run.add_event("kind", "x" * 5000)
    assert str(tmp_path / STORE_NAME) in caught.value.message
    assert "llm2llm resume" in caught.value.remedy
    assert Workspace(tmp_path).rows("SELECT message FROM events") == [("before",)]
    assert Workspace(tmp_path).rows("PRAGMA integrity_check") == [("ok",)]
    store.execute(f"PRAGMA max_page_count = {pages + 1000}")
    with run.transaction():
        run.add_event("kind", "after")
    assert Workspace(tmp_path).rows("SELECT message FROM events") == [("before",), ("after",)]


def test_another_process_that_writes_for_long_is_named_as_the_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path) as store:
        run = add_run(store)
        store.execute("PRAGMA busy_timeout = 50")
        other = sqlite3.connect(tmp_path / STORE_NAME)
        other.execute("BEGIN IMMEDIATE")
        try:
            with pytest.raises(DiskError, match="locked"), run.transaction():
                run.add_event("kind", "too late")
        finally:
            other.close()


def test_deleting_a_run_leaves_nothing_of_it_and_all_of_others(store: Store) -> None:
    kept, deleted = add_run(store), add_run(store)
    fill(kept)
    fill(deleted)
    per_run = sorted(TABLES - {"models", "candidates_search"})
    of_kept = {name: rows_of(store, name, kept.run_id) for name in per_run}
    with deleted.transaction():
        deleted.delete()
    assert {name: rows_of(store, name, deleted.run_id) for name in per_run} == {name: [] for name in per_run}
    assert {name: rows_of(store, name, kept.run_id) for name in per_run} == of_kept
    found = store.execute("SELECT rowid FROM candidates_search WHERE candidates_search MATCH 'new question'")
    assert [row[0] for row in found] == [1]
    assert add_run(store).run_id == 3  # its adapters' folder may still be there, so a number isn't used again


def rows_of(store: Store, table: str, run_id: int) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in store.execute(f"SELECT * FROM {table} WHERE run_id = ?", [run_id])]


def test_a_model_is_known_by_its_content(store: Store) -> None:
    here = ModelRow("a" * 64, "gguf", "here", "/here.gguf", "llama", "F32", 1, 512)
    there = ModelRow("a" * 64, "gguf", "there", "/there.gguf", "llama", "F32", 1, 512)
    assert store.add_model(here) == store.add_model(there)
    assert [row["name"] for row in store.execute("SELECT name FROM models")] == ["here"]


def test_runs_that_are_not_done_are_unfinished(store: Store) -> None:
    assert store.unfinished_runs() == []
    first, second, third = add_run(store), add_run(store), add_run(store)
    with store.transaction():
        second.set_status(Status.FAILED, "why")
        third.set_status(Status.DONE)
    assert store.unfinished_runs() == [first.run_id, second.run_id]


def test_commands_are_obeyed_in_order_and_those_of_before_are_cancelled(store: Store) -> None:
    run, other = add_run(store), add_run(store)
    other.commands.add("stop")
    run.commands.add("pause")
    run.commands.add("resume")
    pause = run.commands.next()
    assert pause is not None and pause[1] == "pause"
    with run.transaction():
        assert run.commands.take(pause[0])
    with run.transaction():
        run.commands.cancel()
    assert run.commands.next() is None
    statuses = store.execute("SELECT command, status FROM commands WHERE run_id = ? ORDER BY id", [run.run_id])
    assert [tuple(row) for row in statuses] == [("pause", "done"), ("resume", "cancelled")]
    assert other.commands.next() is not None


def test_a_command_that_was_taken_back_is_not_obeyed(store: Store) -> None:
    run, other = add_run(store), add_run(store)
    other.commands.add("stop")
    run.commands.add("pause")
    pause = run.commands.next()
    assert pause is not None
    assert withdraw_commands(store.workspace, run.run_id) == ("pause",)
    assert withdraw_commands(store.workspace, run.run_id) == ()
    with run.transaction():
        assert not run.commands.take(pause[0])
    assert run.commands.next() is None
    assert other.commands.next() is not None


def test_a_rejection_counts_more_than_an_earlier_doubt(store: Store) -> None:
    run = add_run(store)
    fill(run)
    candidate = run.candidates.of_round(0, 0)[-1]
    store.execute("DELETE FROM verdicts WHERE candidate_id = ?", [candidate.id])
    verdicts = [
        CheckVerdict(name, decision, f"by {name}", "", None)
        for name, decision in (("format", Decision.DOUBT), ("duplicate", Decision.REJECT), ("leak", Decision.REJECT))
    ]
    with run.transaction():
        assert run.candidates.decide(0, candidate, verdicts) is Decision.REJECT
    row = store.execute("SELECT verdict, reject_reason FROM candidates WHERE id = ?", [candidate.id]).fetchone()
    assert tuple(row) == ("reject", "by duplicate")


def test_an_opened_stage_is_found_again_with_its_progress(store: Store) -> None:
    run = add_run(store)
    opened = run.open_stage(0, "train", 0, "fingerprint", {"b": 1, "a": 2}, units=2)
    with run.transaction():
        run.mark_unit_done(opened, 1.5)
    again = run.open_stage(0, "train", 0, "fingerprint", {}, units=2)
    assert (again.id, again.units_done, again.is_done) == (opened.id, 1, False)
    run.close_stage(again)
    row = run.stage(0, "train", 0)
    assert row is not None
    assert (row["status"], row["seconds"], row["fingerprint_fields"]) == ("done", 1.5, '{"a": 2, "b": 1}')
