"""The screen with failures, and the figures behind it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from plans import assert_indexed
from screens import SMALL, AppPilot, opened, press, settled, shown
from textual.widgets import DataTable
from workspaces import add_run, fill

from llm2llm_local.records import DataRow, FinishReason, Grade, Outcome, Reply, Split
from llm2llm_local.report.confusion import Pair, confusion, members
from llm2llm_local.report.histories import AnswerRecord, Order, answer_record, histories, ranked, splits_of
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.run_store import RunStore
from llm2llm_local.store.writer import Store
from llm2llm_local.tui.widgets.confusion_table import ConfusionTable
from llm2llm_local.tui.widgets.outcomes import story

pytestmark = pytest.mark.anyio

_SEEDS = (
    ("Who is it?", "person"),
    ("Where [bold]is[/bold] it?\x1b[31m", "place"),
    ("How many are 日本 and שלום?", "number"),
    ("Where to?", "place"),
)
_ANSWERS: Sequence[Sequence[str | None]] = (
    # Of each student to each seed. Learnt; lost at the end; lost and learnt again; always right.
    ("place", "place", "number", "place"),
    ("place", "place", None, "place"),
    ("person", "number", "number", "place"),
)


def _outcome(predicted: str | None, answer: str) -> Outcome:
    return Outcome.TRUNCATED if predicted is None else Outcome.CORRECT if predicted == answer else Outcome.WRONG


def _history(run: RunStore, rows: Sequence[tuple[str, str]], answers: Sequence[Sequence[str | None]]) -> None:
    """Graded iterations; all rows are seeds, the first is a test row, too, and always answered wrongly there."""
    for iteration in range(len(answers)):
        run.open_iteration(iteration)
    with run.transaction():
        for split, part in ((Split.TRAIN, rows), (Split.TEST, rows[:1])):
            run.add_data(split, [DataRow(*row, f"{split}.jsonl", line) for line, row in enumerate(part, start=1)])
        for iteration, given in enumerate(answers):
            asked = zip(run.examples(Split.TRAIN), given, strict=True)
            for example, predicted in (*asked, (run.examples(Split.TEST)[0], "number")):
                reply = Reply(predicted or "so I [i]think[/i]", FinishReason.STOP, 9, 3, 0.1)
                run.add_prediction(
                    iteration, example, reply, Grade(_outcome(predicted, example.answer), predicted), 0.25
                )
    for iteration in range(len(answers)):
        run.close_stage(run.open_stage(iteration, "grade", 0, "", {}, units=1))


def _workspace(folder: Path, labels: Sequence[str]) -> Path:
    with Store(folder) as store:
        _history(add_run(store, labels=json.dumps(labels)), _SEEDS, _ANSWERS)
    return folder


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return _workspace(tmp_path, ["person", "place", "number"])


def _line_with(pilot: AppPilot, text: str) -> str:
    (line, *_) = [line for line in shown(pilot).splitlines() if text in line]
    return line


def _matrix_row(pilot: AppPilot, row: int) -> list[str]:
    return [cell.plain.strip() for cell in pilot.app.screen.query_one(ConfusionTable).get_row_at(row)]


def _questions(pilot: AppPilot) -> list[str]:
    """Those of the list, in its order."""
    table = pilot.app.screen.query_one("#examples DataTable", DataTable)
    return [table.get_row_at(row)[-1].plain for row in range(table.row_count)]


# --- the figures ---


def test_confusion_counts_pairs_and_outcomes_of_one_iteration(workspace: Path) -> None:
    with open_reader(workspace) as connection:
        first = confusion(connection, 1, 1, Split.TRAIN)
        assert first.labels == ("person", "place", "number")
        assert first.pairs == {Pair("person", "place"): 1, Pair("place", "place"): 2, Pair("number", None): 1}
        assert first.outcomes == {Outcome.WRONG: 1, Outcome.CORRECT: 2, Outcome.TRUNCATED: 1}
        assert first.mistakes() == [(Pair("number", None), 1), (Pair("person", "place"), 1)]
        assert confusion(connection, 1, 1, Split.TEST).pairs == {Pair("person", "number"): 1}


def test_members_are_the_examples_of_a_pair_or_an_outcome(workspace: Path) -> None:
    with open_reader(workspace) as connection:
        assert members(connection, 1, 1, Split.TRAIN, Pair("number", None)) == {3}
        assert members(connection, 1, 1, Split.TRAIN, Pair("place", "place")) == {2, 4}
        assert members(connection, 1, 1, Split.TRAIN, Outcome.TRUNCATED) == {3}


def test_orders_of_examples(workspace: Path) -> None:
    with open_reader(workspace) as connection:
        assert ranked(connection, 1, Split.TRAIN, (0, 1, 2), Order.LOST) == (2, 3, 1, 4)
        assert ranked(connection, 1, Split.TRAIN, (0, 1), Order.LOST) == (3, 1, 2, 4)
        assert ranked(connection, 1, Split.TRAIN, (0, 1, 2), Order.WRONG) == (1, 2, 3, 4)
        assert ranked(connection, 1, Split.TRAIN, (0, 1, 2), Order.FILE) == (1, 2, 3, 4)


def test_what_is_lost_comes_before_what_was_lost_later_and_learnt_again(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        answers = [("person", "place"), ("person", None), ("place", None), ("person", None)]
        _history(add_run(store), _SEEDS[:2], answers)
    with open_reader(tmp_path) as connection:
        assert ranked(connection, 1, Split.TRAIN, (0, 1, 2, 3), Order.LOST) == (2, 1)


def test_histories_tell_where_a_right_answer_was_lost(workspace: Path) -> None:
    with open_reader(workspace) as connection:
        (one, other) = histories(connection, (3, 1), (0, 1, 2))
        assert (one.outcomes, one.losses()) == ((Outcome.CORRECT, Outcome.TRUNCATED, Outcome.CORRECT), (1,))
        assert (other.losses(), other.predicted_answer) == ((), "person")
        record = answer_record(connection, 3, (0, 1))
        assert record is not None
        assert [answer.predicted_answer for answer in record.answers] == ["number", None]
        assert answer_record(connection, 999, (0, 1)) is None


@pytest.mark.parametrize("labels", [[], ["person", "place", "number"]])
def test_every_query_goes_by_an_index(tmp_path: Path, labels: Sequence[str]) -> None:
    graded = (0, 1, 2)
    with open_reader(_workspace(tmp_path, labels)) as connection:
        assert_indexed(connection, lambda: splits_of(connection, 1))
        assert_indexed(connection, lambda: confusion(connection, 1, 2, Split.TEST))
        assert_indexed(connection, lambda: members(connection, 1, 2, Split.TRAIN, Pair("place", "place")))
        assert_indexed(connection, lambda: members(connection, 1, 2, Split.TRAIN, Outcome.WRONG))
        assert_indexed(connection, lambda: ranked(connection, 1, Split.TRAIN, graded, Order.LOST))
        assert_indexed(connection, lambda: histories(connection, (1, 2, 3), graded))
        assert_indexed(connection, lambda: answer_record(connection, 1, graded))


# --- the screen ---


async def test_matrix_shows_the_newest_students_mistakes(workspace: Path) -> None:
    async with opened(workspace, "failures") as pilot:
        assert "iteration 2 (newest) · train seeds: 1 of 4 wrong · lost first" in shown(pilot)
        assert _matrix_row(pilot, 1) == ["place", "50%", "·", "1✓", "1"]


async def test_brackets_go_through_the_iterations(workspace: Path) -> None:
    async with opened(workspace, "failures") as pilot:
        await press(pilot, "[")
        assert "iteration 1 of 2 · train seeds: 2 of 4 wrong" in shown(pilot)
        assert _matrix_row(pilot, 2) == ["number", "0%", "·", "·", "0✓", "1"]
        await press(pilot, "[", "[")
        assert "iteration 0 of 2" in shown(pilot)
        await press(pilot, "]", "]", "]")
        assert "iteration 2 (newest)" in shown(pilot)


async def test_what_was_lost_comes_first_and_stands_out(workspace: Path) -> None:
    async with opened(workspace, "failures") as pilot:
        assert _questions(pilot)[0] == "Where [bold]is[/bold] it?\\x1b[31m"
        table = pilot.app.screen.query_one("#examples DataTable", DataTable)
        strip, lost = table.get_row_at(0)[:2]
        assert (strip.plain, lost.plain) == ("✓✓✗", "in 2")
        reverse = [span.start for span in strip.spans if span.style.reverse]
        assert reverse == [2]
        assert table.get_row_at(1)[0].plain == "✓…✓"


async def test_o_changes_the_order(workspace: Path) -> None:
    async with opened(workspace, "failures") as pilot:
        await press(pilot, "o")
        assert "most often wrong first" in shown(pilot)
        assert _questions(pilot)[0] == "Who is it?"
        await press(pilot, "o")
        assert _questions(pilot)[1].startswith("Where [bold]")
        await press(pilot, "o")
        assert "lost first" in shown(pilot)


async def test_return_on_a_cell_lists_only_its_examples(workspace: Path) -> None:
    async with opened(workspace, "failures") as pilot:
        await press(pilot, "down", "right", "right")
        assert "place → number: 1 of 2 (50%)" in shown(pilot)
        await press(pilot, "enter")
        assert "only place → number (esc: all)" in shown(pilot)
        assert len(_questions(pilot)) == 1
        await press(pilot, "escape")
        assert len(_questions(pilot)) == 4
        await press(pilot, "enter", "enter")
        assert len(_questions(pilot)) == 4  # the second one takes it back


async def test_d_shows_the_other_splits(workspace: Path) -> None:
    async with opened(workspace, "failures") as pilot:
        await press(pilot, "d")
        assert "test rows: 1 of 1 wrong" in shown(pilot)
        assert _questions(pilot) == ["Who is it?"]
        await press(pilot, "d")
        assert "train seeds" in shown(pilot)


async def test_all_answers_to_an_example_are_told(workspace: Path) -> None:
    async with opened(workspace, "failures") as pilot:
        pilot.app.screen.query_one("#examples DataTable").focus()
        await press(pilot, "down")
        screen = shown(pilot)
        assert "gold: number" in screen
        assert "1 … cut off at the token limit: so I" in screen
        assert "[i]think[/i]  25%" in screen
        assert screen.index("2 ✓ number") < screen.index("1 … cut off")


@pytest.mark.parametrize(
    ("n", "n_accepted", "n_pending", "told"),
    [
        (8, 0, 8, "8 candidates were made from it, 8 not checked yet (return)"),
        (8, 3, 2, "8 candidates were made from it, 3 accepted, 2 not checked yet (return)"),
        (8, 0, 0, "8 candidates were made from it, 0 accepted (return)"),
        (1, 1, 0, "1 candidate was made from it, 1 accepted (return)"),
    ],
)
def test_candidates_that_are_not_checked_yet_are_not_told_as_not_accepted(
    n: int, n_accepted: int, n_pending: int, told: str
) -> None:
    assert told in story(AnswerRecord(1, "q", "a", (), n, n_accepted, n_pending)).plain.splitlines()


def test_candidates_of_an_example_are_counted_with_those_that_wait(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        fill(add_run(store))
        with store.transaction():
            store.execute("UPDATE candidates SET verdict = 'pending' WHERE id = (SELECT max(id) FROM candidates)")
    with open_reader(tmp_path) as connection:
        records = [answer_record(connection, example, (0, 1)) for example in (1, 3)]
    assert [(one.n_candidates, one.n_accepted, one.n_pending) for one in records if one] == [(1, 1, 0), (4, 0, 1)]


async def test_return_and_l_lead_to_candidates_and_lineage(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(workspace, "failures") as pilot:
        asked: list[tuple[str, int]] = []
        monkeypatch.setattr(pilot.app, "open_candidates", lambda one: asked.append(("candidates", one)))
        monkeypatch.setattr(pilot.app, "open_lineage", lambda one: asked.append(("lineage", one)))
        await press(pilot, "l")
        pilot.app.screen.query_one("#examples DataTable").focus()
        await press(pilot, "down", "enter", "d", "enter")
        assert asked == [("lineage", 2), ("candidates", 3)]  # test rows have no candidates


async def test_tasks_without_labels_have_outcomes(tmp_path: Path) -> None:
    async with opened(_workspace(tmp_path, []), "failures") as pilot:
        await press(pilot, "[")
        assert _line_with(pilot, "cut off at the token limit").split()[-2:] == ["1", "25.0%"]
        await press(pilot, "end", "down", "down", "enter")
        assert len(_questions(pilot)) == 1


async def test_many_labels_are_a_list_of_pairs(tmp_path: Path) -> None:
    labels = [*("person", "place", "number"), *(f"kind {number}" for number in range(18))]
    async with opened(_workspace(tmp_path, labels), "failures") as pilot:
        table = pilot.app.screen.query_one(ConfusionTable)
        assert [cell.plain for cell in table.get_row_at(0)] == ["place", "number", "1"]
        await press(pilot, "enter")
        assert len(_questions(pilot)) == 1


async def test_column_heads_are_numbers_where_names_have_no_room(tmp_path: Path) -> None:
    labels = [*("person", "place", "number"), *(f"a kind with a long name {number}" for number in range(9))]
    async with opened(_workspace(tmp_path, labels), "failures", size=SMALL) as pilot:
        assert _line_with(pilot, "gold").split()[2:] == [str(number) for number in range(1, 13)]
        assert " 2 place " in shown(pilot)


async def test_another_run_begins_anew(workspace: Path) -> None:
    with Store(workspace) as store:
        _history(add_run(store, labels='["person"]'), _SEEDS[:1], [["person"]])
    async with opened(workspace, "failures", run_id=1) as pilot:
        await press(pilot, "[", "d")
        pilot.app.choose_run(2)  # type: ignore[attr-defined]
        await settled(pilot)
        assert "iteration 0 (newest) · train seeds: 0 of 1 wrong" in shown(pilot)


async def test_nothing_graded_is_said(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_run(store).open_iteration(0)
    async with opened(tmp_path, "failures") as pilot:
        assert "nothing is graded yet" in shown(pilot)
        await press(pilot, "[", "d", "o", "l", "enter", "escape")
        assert "nothing is graded yet" in shown(pilot)


@pytest.mark.parametrize("mode", ["failures", "lineage"])
async def test_of_an_answer_that_reasons_the_result_is_shown(tmp_path: Path, mode: str) -> None:
    with Store(tmp_path) as store:
        _history(add_run(store), [("How many?", "First there are 3.\nThen 4 come.\n#### 7")], [["6"]])
    async with opened(tmp_path, mode, size=SMALL) as pilot:
        (line,) = [line for line in shown(pilot).splitlines() if "How many?" in line and "7" in line]
        assert "#### 7" in line
        assert "First" not in line
