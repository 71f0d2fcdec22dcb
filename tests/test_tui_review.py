"""The screen that shows candidates and takes decisions on them."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from screens import LARGE, SMALL, AppPilot, opened, press, said, settled, shown, until
from textual.widgets import DataTable, Select, Static, TextArea
from workspaces import PATIENCE_SECONDS, Workspace, add_run, fill, grade

from llm2llm_local.errors import StoreError
from llm2llm_local.records import ReviewDecision
from llm2llm_local.store import wishes
from llm2llm_local.store.writer import Store
from llm2llm_local.tui.screens import review as review_module
from llm2llm_local.tui.widgets.paged_table import PagedTable

pytestmark = pytest.mark.anyio

ACCEPTED, TOO_SIMILAR, UNREAD, DOUBTFUL = 1, 2, 4, 5
"""Ids of candidates that `fill` makes; 3 can't be read either."""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Run 1 has trained twice and has one training to come."""
    with Store(tmp_path) as store:
        run = add_run(store)
        fill(run)
        grade(run)
        for iteration in (0, 1):
            run.close_stage(run.open_stage(iteration, "train", 0, "", {}, units=1))
    return Workspace(tmp_path)


def reviews(workspace: Workspace) -> list[tuple[Any, ...]]:
    return workspace.rows("SELECT candidate_id, decision, question, answer FROM reviews ORDER BY id")


def table(pilot: AppPilot) -> PagedTable:
    return pilot.app.screen.query_one("#candidates", PagedTable)


def ids(pilot: AppPilot) -> list[int]:
    """Of the rows of the table."""
    rows = table(pilot).query_one(DataTable).rows
    return [int(key.value or "") for key in rows]


def row(pilot: AppPilot, candidate_id: int) -> str:
    cells = table(pilot).query_one(DataTable).get_row(str(candidate_id))
    return " | ".join(cell.plain for cell in cells)


async def go_to(pilot: AppPilot, candidate_id: int) -> None:
    while table(pilot).chosen != str(candidate_id):
        await press(pilot, "j")


def add_doubtful(workspace: Workspace, n: int) -> None:
    with sqlite3.connect(workspace.store) as connection:
        for number in range(n):
            connection.execute(
                "INSERT INTO candidates (run_id, iteration, attempt, key, teacher_call_id, parent_example_id, "
                "question, answer, output_text, verdict, created_at) "
                "SELECT run_id, iteration, attempt, ?, teacher_call_id, parent_example_id, ?, answer, output_text, "
                "verdict, created_at FROM candidates WHERE id = ?",
                [f"more/{number}", f"doubtful {number}", DOUBTFUL],
            )


async def test_doubtful_candidates_come_first_and_then_the_newest(workspace: Workspace) -> None:
    async with opened(workspace.folder, "review") as pilot:
        assert ids(pilot) == [DOUBTFUL, 4, 3, 2, 1]
        assert row(pilot, DOUBTFUL) == "5 | 0 | ? doubt | answer 3 | unsure"
        assert row(pilot, UNREAD) == "4 | 0 | ✗ reject | – | can't be read"


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_a_candidate_is_shown_with_all_that_led_to_it(workspace: Workspace, size: tuple[int, int]) -> None:
    async with opened(workspace.folder, "review", size=size) as pilot:
        text = shown(pilot)
        for part in ("seed 3", "answer 3", "nothing readable", "unparsed", "unsure", "two readings"):
            assert part in text
        pilot.app.screen.query_one("#whole").focus()
        await press(pilot, "end")
        await until(pilot, lambda: "example 3, asked about in iteration 0" in shown(pilot))
        await press(pilot, "escape")
        assert pilot.app.focused is table(pilot).query_one(DataTable)


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_help_says_what_the_marks_after_a_verdict_mean(workspace: Workspace, size: tuple[int, int]) -> None:
    with Store(workspace.folder) as store, store.transaction():
        store.of_run(1).verification.mark_audited(ACCEPTED)
    async with opened(workspace.folder, "review", size=size) as pilot:
        assert "✓ accept ◇" in row(pilot, ACCEPTED)
        await press(pilot, "question_mark")
        for mark, meaning in (("◇", "drawn at random"), ("◆", "A person decided so"), ("!", "could not be carried")):
            assert any(mark in line and meaning in line for line in shown(pilot).splitlines()), shown(pilot)
        await press(pilot, "escape", "2", "question_mark")
        assert "Marks after" not in shown(pilot)


async def test_help_has_all_keys_of_a_screen_in_words_that_say_what_they_do(workspace: Workspace) -> None:
    async with opened(workspace.folder, "failures", size=LARGE) as pilot:
        await press(pilot, "question_mark")
        lines = shown(pilot).splitlines()
        for key, what in (("]", "The next student"), ("p", "Pause"), ("s", "Stop"), ("t", "Light/dark")):
            assert any(key in line and what in line for line in lines), shown(pilot)
        await press(pilot, "escape", "1", "question_mark")
        assert shown(pilot).count("Pause") == 1


async def test_accepting_writes_a_row_and_goes_on(workspace: Workspace) -> None:
    async with opened(workspace.folder, "review") as pilot:
        await press(pilot, "a")
        assert "✓ accept ◆" in row(pilot, DOUBTFUL)
        assert table(pilot).chosen == "4"
        await until(pilot, lambda: reviews(workspace) == [(DOUBTFUL, "accept", None, None)])
        effect = pilot.app.screen.query_one("#effect", Static)
        await until(pilot, lambda: str(effect.content).endswith("Waiting so far: 1."))
        assert ids(pilot)[0] == DOUBTFUL  # the list doesn't move while one works it off
        await press(pilot, "k")
        assert "by a person, waits" in shown(pilot)
    async with opened(workspace.folder, "review") as pilot:
        assert ids(pilot) == [5, 4, 3, 2, 1]
        assert "✓ accept ◆" in row(pilot, DOUBTFUL)


async def test_what_was_decided_is_no_longer_in_the_queue(workspace: Workspace) -> None:
    add_doubtful(workspace, 1)
    wishes.add_review(workspace.folder, 1, DOUBTFUL, ReviewDecision.REJECT)
    async with opened(workspace.folder, "review") as pilot:
        assert ids(pilot) == [6, 5, 4, 3, 2, 1]
        assert "✗ reject ◆" in row(pilot, DOUBTFUL)


async def test_rejecting_an_accepted_candidate(workspace: Workspace) -> None:
    async with opened(workspace.folder, "review") as pilot:
        await go_to(pilot, ACCEPTED)
        await press(pilot, "x")
        assert "✗ reject ◆" in row(pilot, ACCEPTED)
        await until(pilot, lambda: reviews(workspace) == [(ACCEPTED, "reject", None, None)])
        await press(pilot, "x")  # once more changes nothing
        await press(pilot, "u")
        await until(pilot, lambda: len(reviews(workspace)) == 2)
        assert [decision for _, decision, *_ in reviews(workspace)] == ["reject", "withdraw"]


async def test_undo_withdraws_and_goes_back(workspace: Workspace) -> None:
    async with opened(workspace.folder, "review") as pilot:
        await press(pilot, "a", "u")
        assert "? doubt" in row(pilot, DOUBTFUL)
        assert table(pilot).chosen == str(DOUBTFUL)
        await until(pilot, lambda: len(reviews(workspace)) == 2)
        assert reviews(workspace)[1] == (DOUBTFUL, "withdraw", None, None)


async def test_undo_brings_the_decision_before_back(workspace: Workspace) -> None:
    async with opened(workspace.folder, "review") as pilot:
        await press(pilot, "x", "k", "a", "u")
        assert "✗ reject ◆" in row(pilot, DOUBTFUL)
        await until(pilot, lambda: len(reviews(workspace)) == 3)
        assert [decision for _, decision, *_ in reviews(workspace)] == ["reject", "accept", "reject"]
        await press(pilot, "u")
        assert "? doubt" in row(pilot, DOUBTFUL)


@pytest.mark.parametrize("key", ["u", "w"])
async def test_a_decision_of_another_day_can_be_withdrawn(workspace: Workspace, key: str) -> None:
    wishes.add_review(workspace.folder, 1, DOUBTFUL, ReviewDecision.REJECT)
    async with opened(workspace.folder, "review") as pilot:
        await go_to(pilot, DOUBTFUL)
        await press(pilot, key)
        assert "? doubt" in row(pilot, DOUBTFUL)
        await until(pilot, lambda: len(reviews(workspace)) == 2)
        await press(pilot, "w")  # there is nothing left to withdraw
        assert reviews(workspace)[1:] == [(DOUBTFUL, "withdraw", None, None)]


async def test_a_test_question_is_only_accepted_with_changes(workspace: Workspace) -> None:
    workspace.execute(
        "UPDATE verdicts SET check_name = 'leak' WHERE candidate_id = ? AND verdict = 'reject'", TOO_SIMILAR
    )
    async with opened(workspace.folder, "review") as pilot:
        await go_to(pilot, TOO_SIMILAR)
        assert "Can't be accepted as it is: it repeats a dev" in shown(pilot)
        await press(pilot, "a")
        assert "reject" in row(pilot, TOO_SIMILAR)
        await press(pilot, "e", "ctrl+s")  # nothing changed
        assert "reject" in row(pilot, TOO_SIMILAR)
        await press(pilot, "e", "end", "space", "b", "i", "s", "ctrl+s")
        assert row(pilot, TOO_SIMILAR) == "2 | 0 | ✓ accept ◆ | answer 3 | seed 3 bis"
        await until(pilot, lambda: reviews(workspace) == [(TOO_SIMILAR, "accept", "seed 3 bis", None)])


async def test_an_unread_reply_is_only_accepted_with_a_question(workspace: Workspace) -> None:
    async with opened(workspace.folder, "review") as pilot:
        await go_to(pilot, UNREAD)
        await press(pilot, "a")
        await press(pilot, "e", "ctrl+s")  # it has no question: the editor stays
        assert pilot.app.focused is pilot.app.screen.query_one("#question", TextArea)
        await press(pilot, *"why", "ctrl+s")
        await until(pilot, lambda: reviews(workspace) == [(UNREAD, "accept", "why", "answer 3")])


async def test_an_edit_can_be_left(workspace: Workspace) -> None:
    async with opened(workspace.folder, "review") as pilot:
        await press(pilot, "e", "z", "escape")
        assert "? doubt" in row(pilot, DOUBTFUL)
        assert pilot.app.focused is table(pilot).query_one(DataTable)
        await press(pilot, "e")
        assert pilot.app.screen.query_one("#question", TextArea).text == "unsure"
        await press(pilot, "tab", *"s", "ctrl+s")
        await until(pilot, lambda: reviews(workspace) == [(DOUBTFUL, "accept", None, "sanswer 3")])


async def test_an_edit_stays_with_its_candidate(workspace: Workspace) -> None:
    async with opened(workspace.folder, "review") as pilot:
        await press(pilot, "e", "end", "2")
        table(pilot).query_one(DataTable).move_cursor(row=3)
        await settled(pilot)
        await press(pilot, "a", "x")  # typed into the field
        assert "candidate 5" in shown(pilot)
        await press(pilot, "ctrl+s")
        await until(pilot, lambda: reviews(workspace) == [(DOUBTFUL, "accept", "unsure2ax", None)])


async def test_with_labels_the_answer_is_one_of_them(workspace: Workspace) -> None:
    workspace.execute("""UPDATE runs SET labels = '["answer 1", "answer 3", "[b]other"]'""")
    async with opened(workspace.folder, "review") as pilot:
        await press(pilot, "e", "tab")
        assert isinstance(pilot.app.focused, Select)
        await press(pilot, "a", "x", "e", "u", "w")  # decide nothing meanwhile
        assert isinstance(pilot.app.focused, Select)
        await press(pilot, "enter", "down")
        assert "[b]other" in shown(pilot)
        await press(pilot, "enter", "ctrl+s")
        await until(pilot, lambda: reviews(workspace) == [(DOUBTFUL, "accept", None, "[b]other")])
        await press(pilot, "k", "e", "ctrl+s")  # what was edited stays edited
        await until(pilot, lambda: len(reviews(workspace)) == 2)
        assert reviews(workspace)[1] == (DOUBTFUL, "accept", None, "[b]other")


async def test_filters_say_how_many_there_are(workspace: Workspace) -> None:
    async with opened(workspace.folder, "review") as pilot:
        await press(pilot, "f", "tab", "tab", "enter")
        text = shown(pilot)
        for choice in ("reject 3", "accept 1", "doubt 1", "decided by a person 0"):
            assert choice in text
        await press(pilot, "down", "enter")
        assert ids(pilot) == [4, 3, 2]
        await press(pilot, "tab", "enter")
        assert "empty reply 2" in shown(pilot)
        await press(pilot, "down", "enter", "escape")
        assert ids(pilot) == [4, 3]
        assert pilot.app.focused is table(pilot).query_one(DataTable)
        await press(pilot, "c")
        assert ids(pilot) == [5, 4, 3, 2, 1]


async def test_filters_by_iteration_and_answer(workspace: Workspace) -> None:
    async with opened(workspace.folder, "review") as pilot:
        await press(pilot, "f", "tab", "enter")
        assert "answer 3 2" in shown(pilot)
        await press(pilot, "down", "enter")
        assert ids(pilot) == [5, 2]
        await press(pilot, "c", "f", "enter", "down", "enter")
        assert ids(pilot) == [5, 4, 3, 2, 1]
        assert "iteration 0 5" in shown(pilot)


async def test_words_are_searched_for(workspace: Workspace) -> None:
    async with opened(workspace.folder, "review") as pilot:
        await press(pilot, "slash", *"question new")
        assert ids(pilot) == [ACCEPTED]
        await press(pilot, "space", "x")
        assert ids(pilot) == [ACCEPTED]
        assert "not searched for, shorter than 3 characters: x" in shown(pilot)
        await press(pilot, "y", '"')
        assert ids(pilot) == []
        assert "no candidates like this" in shown(pilot)
        await press(pilot, "enter")
        assert pilot.app.focused is table(pilot).query_one(DataTable)
        await press(pilot, "c")
        assert ids(pilot) == [5, 4, 3, 2, 1]
        field = pilot.app.screen.query_one("#search")
        await press(pilot, "slash")
        assert field.display
        await press(pilot, "escape")
        assert not field.display


async def test_the_next_training_is_said(workspace: Workspace) -> None:
    async with opened(workspace.folder, "review") as pilot:
        assert "Decisions count from the training of iteration 2 on." in shown(pilot)
        with Store(workspace.folder) as store:
            store.of_run(1).open_stage(2, "train", 0, "", {}, units=1)
        await until(pilot, lambda: "begins no more trainings" in shown(pilot) and "llm2llm fork 1" in shown(pilot))


async def test_a_finished_run_is_not_changed(workspace: Workspace) -> None:
    workspace.execute("UPDATE runs SET status = 'done'")
    async with opened(workspace.folder, "review") as pilot:
        assert "llm2llm fork 1" in shown(pilot)
        await press(pilot, "a")
        await until(pilot, lambda: len(reviews(workspace)) == 1)


async def test_what_became_of_a_decision(workspace: Workspace) -> None:
    add_doubtful(workspace, 1)
    for candidate_id, refused in ((DOUBTFUL, None), (6, "too similar to a dev or test question")):
        review_id = wishes.add_review(workspace.folder, 1, candidate_id, ReviewDecision.ACCEPT)
        workspace.execute(
            "UPDATE reviews SET applied_iteration = 1, refused_reason = ? WHERE id = ?", refused, review_id
        )
    async with opened(workspace.folder, "review") as pilot:
        assert ids(pilot)[0] == 6  # undecided again
        assert "? doubt !" in row(pilot, 6)
        assert "not carried out: too similar to a dev" in shown(pilot)
        await go_to(pilot, DOUBTFUL)
        assert "by a person, in since iteration 1" in shown(pilot)


async def test_a_decision_that_cannot_be_written_is_taken_back(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise StoreError("the [disk] is full")

    monkeypatch.setattr(review_module, "add_review", refuse)
    async with opened(workspace.folder, "review") as pilot:
        await press(pilot, "x")
        await until(pilot, lambda: "? doubt" in row(pilot, DOUBTFUL))
        await until(pilot, lambda: "candidate 5 was not kept: the [disk] is full" in said(pilot))


async def test_quick_decisions_are_shown_at_once_and_all_written_in_order(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_is_free = threading.Event()

    def wait_and_write(*arguments: Any) -> int:
        store_is_free.wait()
        return wishes.add_review(*arguments)

    add_doubtful(workspace, 10)
    monkeypatch.setattr(review_module, "add_review", wait_and_write)
    async with opened(workspace.folder, "review") as pilot:
        await pilot.press("a", "x", "a", "x", "a")
        words = [row(pilot, id).split(" | ")[2] for id in (5, 6, 7, 8, 9)]
        assert words == [*["✓ accept ◆", "✗ reject ◆"] * 2, "✓ accept ◆"]
        assert reviews(workspace) == []
    store_is_free.set()  # the app was left meanwhile: it is written all the same
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(reviews(workspace)) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    decisions = [(id, decision) for id, decision, *_ in reviews(workspace)]
    assert decisions == [(5, "accept"), (6, "reject"), (7, "accept"), (8, "reject"), (9, "accept")]


async def test_deciding_goes_on_to_the_next_page_and_undo_back(workspace: Workspace) -> None:
    add_doubtful(workspace, 120)
    async with opened(workspace.folder, "review") as pilot:
        table(pilot).query_one(DataTable).move_cursor(row=99)
        await settled(pilot)
        chosen = table(pilot).chosen
        await press(pilot, "a")
        await until(pilot, lambda: "101–125 of 125" in shown(pilot))
        assert table(pilot).chosen == str(int(chosen or 0) + 1)
        await press(pilot, "u")
        await until(pilot, lambda: "1–100 of 125" in shown(pilot))
        assert table(pilot).chosen == chosen


async def test_new_candidates_leave_the_cursor_where_it_is(workspace: Workspace) -> None:
    async with opened(workspace.folder, "review") as pilot:
        await go_to(pilot, 3)
        add_doubtful(workspace, 2)
        await until(pilot, lambda: "of 7" in shown(pilot))
        assert ids(pilot) == [5, 6, 7, 4, 3, 2, 1]
        assert table(pilot).chosen == "3"


async def test_only_what_was_written_for_a_seed(workspace: Workspace) -> None:
    async with opened(workspace.folder, "runs") as pilot:
        pilot.app.open_candidates(1)  # type: ignore[attr-defined]
        await settled(pilot)
        await until(pilot, lambda: "only those written for example 1" in shown(pilot))
        await until(pilot, lambda: ids(pilot) == [ACCEPTED])
        await press(pilot, "c")
        assert len(ids(pilot)) == 5


async def test_the_lineage_of_a_candidate(workspace: Workspace) -> None:
    async with opened(workspace.folder, "review") as pilot:
        await press(pilot, "l")
        await until(pilot, lambda: "candidate 5" in shown(pilot))
        assert "seed 3" in shown(pilot)


async def test_text_of_data_and_models_is_text(workspace: Workspace) -> None:
    hostile = "[bold]図書館[/bold]\x1b[31m \u202earaw\nnext [/] line"
    workspace.execute("UPDATE candidates SET question = ?, answer = ? WHERE id = ?", hostile, "[u]a", DOUBTFUL)
    workspace.execute("UPDATE examples SET question = ? WHERE id = 3", hostile)
    async with opened(workspace.folder, "review") as pilot:
        assert "[bold]図書館[/bold]\\x1b[31m \\u202eara" in row(pilot, DOUBTFUL)
        assert shown(pilot).count("[bold]図書館[/bold]\\x1b[31m \\u202eara") == 3
        await press(pilot, "f", "tab", "enter")
        assert "[u]a 1" in shown(pilot)
        await press(pilot, "escape", "escape", "e")
        assert "\x1b[31m" not in shown(pilot)
        await press(pilot, "ctrl+s")
        await until(pilot, lambda: reviews(workspace) == [(DOUBTFUL, "accept", None, None)])


async def test_a_long_question_ends_where_the_table_does(workspace: Workspace) -> None:
    workspace.execute("UPDATE candidates SET question = ? WHERE id = ?", "図書館" * 40, DOUBTFUL)
    async with opened(workspace.folder, "review", size=SMALL) as pilot:
        wide = row(pilot, DOUBTFUL)
        assert wide[-2] in "図書館"
        assert wide[-1] == "…"
        assert "…" in shown(pilot)
        await pilot.resize_terminal(60, 24)
        await until(pilot, lambda: len(row(pilot, DOUBTFUL)) == len(wide) - 10)


async def test_another_run_is_shown_from_its_start(workspace: Workspace) -> None:
    with Store(workspace.folder) as store:
        fill(add_run(store))
    async with opened(workspace.folder, "review", run_id=1) as pilot:
        await press(pilot, "a")
        pilot.app.choose_run(2)  # type: ignore[attr-defined]
        await until(pilot, lambda: ids(pilot) == [10, 9, 8, 7, 6])
        await press(pilot, "u")  # there is nothing to undo in this one
        await until(pilot, lambda: len(reviews(workspace)) == 1)
        assert "? doubt" in row(pilot, 10)
        assert "undone" not in said(pilot)
