"""What a person wishes while a run is at work, as rows that it finds: decisions and commands."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from fake_runs import rows
from reviewed_runs import ACCEPT, REJECT, candidate_of, finish

from llm2llm_local.errors import StoreError
from llm2llm_local.store.wishes import add_command, add_review


def test_an_edit_that_changes_nothing_is_stored_as_none(tmp_path: Path) -> None:
    finish(tmp_path, {})
    candidate, question, answer = candidate_of(tmp_path, "passed", 0)
    made = [
        add_review(tmp_path, 1, candidate, ACCEPT, f" {question}\n", "gamma " if answer != "gamma" else "beta"),
        add_review(tmp_path, 1, candidate, ACCEPT),
        add_review(tmp_path, 1, candidate, REJECT, "Some text", "beta"),
    ]
    stored = rows(tmp_path, "SELECT id, decision, question, answer, applied_iteration FROM reviews ORDER BY id")
    assert [row[0] for row in stored] == made
    assert [row[1:3] for row in stored] == [("accept", None), ("accept", None), ("reject", None)]
    assert stored[0][3] in ("gamma", "beta") and [row[3] for row in stored[1:]] == [None, None]


def test_a_candidate_of_another_run_is_refused(tmp_path: Path) -> None:
    finish(tmp_path, {})
    with pytest.raises(StoreError, match="run 2 has no candidate 1") as caught:
        add_review(tmp_path, 2, 1, REJECT)
    assert "SELECT id, question FROM candidates" in caught.value.remedy
    with pytest.raises(StoreError, match="there is no run 2"):
        add_command(tmp_path, 2, "pause")
    assert rows(tmp_path, "SELECT (SELECT count(*) FROM reviews) + (SELECT count(*) FROM commands)") == [(0,)]


def test_a_command_is_a_pending_row(tmp_path: Path) -> None:
    finish(tmp_path, {})
    add_command(tmp_path, 1, "pause")
    assert rows(tmp_path, "SELECT run_id, command, status, handled_at FROM commands") == [(1, "pause", "pending", None)]


def test_a_wish_makes_no_store_and_says_when_it_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreError, match="unable to open") as caught:
        add_command(tmp_path, 1, "stop")
    assert caught.value.remedy
    assert list(tmp_path.iterdir()) == []
    finish(tmp_path, {})
    monkeypatch.setattr("llm2llm_local.store.wishes._PATIENCE_SECONDS", 0.05)
    other = sqlite3.connect(tmp_path / "llm2llm.db")
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreError, match="locked") as caught:
            add_review(tmp_path, 1, 1, REJECT)
    finally:
        other.close()
    assert "nothing was changed" in caught.value.remedy


def test_wishes_need_the_standard_library_only() -> None:
    program = (
        "import sys; before = set(sys.modules); import llm2llm_local.store.wishes;"
        "print({name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'llm2llm_local'}"
