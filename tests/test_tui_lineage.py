"""The screen that leads from a seed to everything that came of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from screens import LARGE, SMALL, AppPilot, opened, press, said, settled, shown, until
from textual.widgets import DataTable
from workspaces import Workspace, add_graded_run, add_run, fill

from llm2llm_local.records import ReviewDecision
from llm2llm_local.report.lineage_tree import Step
from llm2llm_local.store.wishes import add_review
from llm2llm_local.store.writer import Store
from llm2llm_local.tui.widgets.full_text import FullText
from llm2llm_local.tui.widgets.lineage_tree import LineageTree

pytestmark = pytest.mark.anyio


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    with Store(tmp_path) as store:
        add_graded_run(store)
    return Workspace(tmp_path)


def tree(pilot: AppPilot) -> LineageTree:
    return pilot.app.screen.query_one(LineageTree)


def chosen(pilot: AppPilot) -> Step | None:
    node = tree(pilot).chosen
    return None if node is None else node.step


@pytest.mark.parametrize("text", ["x", "9" * 30, "c" + "9" * 30])
async def test_what_is_no_id_is_said(workspace: Workspace, text: str) -> None:
    async with opened(workspace.folder, "lineage") as pilot:
        await press(pilot, "g", *text, "enter")
        assert "that is not an id" in said(pilot)


async def test_seeds_are_listed_with_how_they_fared(workspace: Workspace) -> None:
    async with opened(workspace.folder, "lineage") as pilot:
        table = pilot.app.screen.query_one(DataTable)
        rows = [" | ".join(cell.plain for cell in table.get_row(key)) for key in table.rows]
        assert rows == ["1 | ✗✓ | answer 1 | seed 1", "2 | ✓✗ | answer 2 | seed 2", "3 | …✓ | answer 3 | seed 3"]
        await press(pilot, "j", "j", "k", "enter")
        assert chosen(pilot) == Step("example", 2)


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_from_a_seed_step_by_step(workspace: Workspace, size: tuple[int, int]) -> None:
    async with opened(workspace.folder, "lineage", size=size) as pilot:
        await press(pilot, "enter")
        assert "✗ wrong iteration 0, 25%  wrong" in shown(pilot)
        assert "teacher, round" not in shown(pilot)  # nothing is read before it is opened
        await press(pilot, "down", "down", "right")
        assert "teacher, round 1, place 1  new question" in shown(pilot)
        await press(pilot, "right", "right", "right", "right", "down", "down", "down", "right")
        assert chosen(pilot) == Step("example", 6)
        text = shown(pilot)
        assert "✓ accept candidate 1  new question = answer 1" in text
        assert "✓ accept format check" in text
        assert "trained in iteration 1" in text
        assert "made from  1" in text
        await press(pilot, "left", "left")
        assert chosen(pilot) == Step("candidate", 1)
        assert "trained in iteration 1" not in shown(pilot)


async def test_a_lost_answer_stands_out(workspace: Workspace) -> None:
    async with opened(workspace.folder, "lineage") as pilot:
        await press(pilot, "down", "enter")
        assert "✗ wrong  was right before  iteration 1" in shown(pilot)
        assert shown(pilot).count("was right before") == 1


async def test_prompt_and_reply_can_be_read_in_full(workspace: Workspace) -> None:
    prompt = '[{"role": "user", "content": "' + "\\n".join(f"line {n}" for n in range(60)) + '"}]'
    workspace.execute("UPDATE teacher_calls SET prompt = ?, output_text = ?", prompt, "the whole\nreply")
    async with opened(workspace.folder, "lineage", size=SMALL) as pilot:
        await press(pilot, "enter", "down", "down", "right", "right")
        assert "[user] line 0" in shown(pilot)
        pane = pilot.app.screen.query_one(FullText)
        await press(pilot, "tab")
        assert pane.has_focus
        await press(pilot, "end")
        await until(pilot, lambda: "0" * 50 in shown(pilot))  # sha256 of the model
        pane.scroll_to(y=60, animate=False)
        await settled(pilot)
        assert "reply      the whole" in shown(pilot)
        await press(pilot, "escape")
        assert tree(pilot).has_focus


async def test_back_from_an_example_or_a_candidate_by_its_id(workspace: Workspace) -> None:
    async with opened(workspace.folder, "lineage") as pilot:
        await press(pilot, "g", "6", "enter")
        assert chosen(pilot) == Step("example", 6)
        assert "seed 1" in shown(pilot)
        await press(pilot, "g", "c", "5", "enter")
        assert chosen(pilot) == Step("candidate", 5)
        assert "two readings" in shown(pilot)
        await press(pilot, "g", "9", "9", "enter")
        assert "there is no example 99" in said(pilot)
        assert chosen(pilot) == Step("candidate", 5)
        await press(pilot, "g", "x", "enter", "escape")
        assert tree(pilot).has_focus
        await press(pilot, "escape")
        assert pilot.app.screen.query_one(DataTable).has_focus


async def test_other_screens_come_here_and_go_back_to_the_candidates(workspace: Workspace) -> None:
    async with opened(workspace.folder, "runs") as pilot:
        pilot.app.open_lineage(6)  # type: ignore[attr-defined]
        await until(pilot, lambda: bool(pilot.app.screen.query(LineageTree)) and chosen(pilot) == Step("example", 6))
        await press(pilot, "c")
        await until(pilot, lambda: "only those written for example 1" in shown(pilot))
        await press(pilot, "4", "escape", "down", "c")
        await until(pilot, lambda: "only those written for example 2" in shown(pilot))


async def test_seeds_are_searched_for(workspace: Workspace) -> None:
    async with opened(workspace.folder, "lineage") as pilot:
        await press(pilot, "slash", *"d 3")
        table = pilot.app.screen.query_one(DataTable)
        assert [key.value for key in table.rows] == ["3"]
        await press(pilot, "z")
        assert "no such seeds" in shown(pilot)
        await press(pilot, "backspace", "enter", "enter")
        assert chosen(pilot) == Step("example", 3)


async def test_what_is_new_comes_into_the_open_tree(workspace: Workspace) -> None:
    async with opened(workspace.folder, "lineage") as pilot:
        await press(pilot, "g", "c", "5", "enter")
        assert "person:" not in shown(pilot)
        add_review(workspace.folder, 1, 5, ReviewDecision.REJECT)
        await until(pilot, lambda: "✗ reject person: reject, waits" in shown(pilot))
        assert chosen(pilot) == Step("candidate", 5)
        add_review(workspace.folder, 1, 5, ReviewDecision.WITHDRAW)
        await until(pilot, lambda: "↶ person: withdraw, waits" in shown(pilot))
        workspace.execute("DELETE FROM verdicts WHERE candidate_id = 5")
        await until(pilot, lambda: "format check" not in shown(pilot))
        workspace.execute("UPDATE reviews SET applied_iteration = 2")
        await until(pilot, lambda: "person: withdraw, since iteration 2" in shown(pilot))


async def test_what_is_new_comes_where_it_belongs(workspace: Workspace) -> None:
    async with opened(workspace.folder, "lineage") as pilot:
        await press(pilot, "g", "6", "enter")
        add_review(workspace.folder, 1, 1, ReviewDecision.REJECT)
        await until(pilot, lambda: "person: reject, waits" in shown(pilot))
        text = shown(pilot)
        assert text.index("duplicate check") < text.index("person: reject") < text.index("example 6")
        assert chosen(pilot) == Step("example", 6)


async def test_text_of_data_and_models_is_text(workspace: Workspace) -> None:
    hostile = "[bold]図書館[/bold]\x1b[31m \u202earaw\nnext [/] line"
    workspace.execute("UPDATE examples SET question = ? WHERE id = 1", hostile)
    workspace.execute("UPDATE teacher_calls SET output_text = ?", hostile)
    async with opened(workspace.folder, "lineage") as pilot:
        assert "[bold]図書館[/bold]\\x1b[31m \\u202earaw next [/] line" in shown(pilot)
        await press(pilot, "enter", "down", "down", "right", "right")
        assert "place 1  [bold]図書館[/bold]\\x1b[31m" in shown(pilot)
        assert "reply      [bold]図書館[/bold]\\x1b[31m \\u202earaw" in shown(pilot)


async def test_another_run_has_other_seeds(workspace: Workspace) -> None:
    with Store(workspace.folder) as store:
        fill(add_run(store))
    async with opened(workspace.folder, "lineage", run_id=1) as pilot:
        await press(pilot, "enter")
        pilot.app.choose_run(2)  # type: ignore[attr-defined]
        table = pilot.app.screen.query_one(DataTable)
        await until(pilot, lambda: [key.value for key in table.rows] == ["7", "8", "9"])
        assert table.has_focus
        await press(pilot, "g", "6", "enter")
        assert "example 6 is of run 1, not of run 2" in said(pilot)


async def test_a_seed_that_is_opened_is_told_in_full_at_once(workspace: Workspace) -> None:
    async with opened(workspace.folder, "lineage") as pilot:
        for _ in range(2):
            await press(pilot, "enter")
            await until(pilot, lambda: "train.jsonl" in shown(pilot))
            await press(pilot, "right")
            await until(pilot, lambda: "iteration 0: place 1 of 3" in shown(pilot))
            await press(pilot, "escape")
