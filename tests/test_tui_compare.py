"""The screen that compares runs, and the figures behind it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from compared_runs import add_answering_run
from plans import assert_indexed
from screens import SMALL, AppPilot, opened, press, said, settled, shown, until
from textual.widgets import DataTable
from workspaces import CONFIG_BY_HAND, add_run, fill

from llm2llm_local.records import Split
from llm2llm_local.report.compare import ABSENT, Difference, compare
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.rows import ModelRow
from llm2llm_local.store.writer import Store
from llm2llm_local.tui.widgets.run_list import RunList
from llm2llm_local.tui.widgets.run_marks import MOST_RUNS
from llm2llm_local.wilson import wilson

pytestmark = pytest.mark.anyio

_HOSTILE = "[bold]tea[/bold]\x1b[31m cher"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """The second run is a fork of the first, with another seed; the third has another student and no figures."""
    with Store(tmp_path) as store:
        other = store.add_model(ModelRow("1" * 64, "gguf", _HOSTILE, "/other.gguf", "llama", "Q8_0", 1, 512))
        first = add_run(store, config=json.dumps({**CONFIG_BY_HAND, "loop.rng_seed": 1}))
        changed = {**CONFIG_BY_HAND, "loop.rng_seed": 2, "loop.recipe": "eda", "new": True}
        fork = add_run(store, config=json.dumps(changed), forked_from_run_id=1)
        for run, shares in ((first, (0.5, 1.0)), (fork, (0.5, 0.5))):
            fill(run)
            with run.transaction():
                for iteration, share in enumerate(shares):
                    run.add_metric(iteration, "accuracy_test", 0, share)
                    run.add_metric(iteration, "accuracy_train", 0, 1 / 3)
        add_run(store, config=json.dumps({**CONFIG_BY_HAND, "loop.rng_seed": 2}), student_model_id=other)
    return tmp_path


def _rows(pilot: AppPilot, table: str) -> list[list[str]]:
    found = pilot.app.screen.query_one(table, DataTable)
    return [[" ".join(cell.plain.split()) for cell in found.get_row_at(row)] for row in range(found.row_count)]


def _heads(pilot: AppPilot, table: str) -> list[str]:
    return [str(column.label) for column in pilot.app.screen.query_one(table, DataTable).ordered_columns]


# --- the figures ---


def test_figures_of_runs_side_by_side(workspace: Path) -> None:
    with open_reader(workspace) as connection:
        found = compare(connection, (1, 3))
    assert [run.run_id for run in found.runs] == [1, 3]
    assert found.runs[0].accuracy[Split.TEST] == ((0, wilson(1, 2)), (1, wilson(2, 2)))
    assert found.runs[0].training_sizes == {0: 3, 1: 4}
    assert found.splits() == (Split.TEST, Split.TRAIN)


def test_only_what_differs_is_told(workspace: Path) -> None:
    with open_reader(workspace) as connection:
        assert compare(connection, (1, 2)).differences == (
            Difference("loop.rng_seed", ("1", "2")),
            Difference("loop.recipe", (ABSENT, "eda")),
            Difference("new", (ABSENT, "true")),
        )
        fields = {one.field: one.values for one in compare(connection, (1, 3)).differences}
        assert compare(connection, (1,)).differences == ()
    assert fields["student sha256"] == ("0" * 64, "1" * 64)
    assert fields["student"] == ("tiny F32", f"{_HOSTILE} Q8_0")
    assert "teacher" not in fields


def test_runs_that_are_gone_are_left_out(workspace: Path) -> None:
    with open_reader(workspace) as connection:
        assert [run.run_id for run in compare(connection, (2, 9)).runs] == [2]


def test_every_query_goes_by_an_index(workspace: Path) -> None:
    with open_reader(workspace) as connection:
        assert_indexed(connection, lambda: compare(connection, (1, 2)))


# --- the screen ---


async def test_begins_with_the_chosen_run_and_its_origin(workspace: Path) -> None:
    async with opened(workspace, "compare", run_id=2) as pilot:
        assert _heads(pilot, "#figures") == ["iteration", "● run 1", "▲ run 2"]
        assert _rows(pilot, "#figures") == [
            ["0", "50.0% (9.5–90.5) 3", "50.0% (9.5–90.5) 3"],
            ["1", "100.0% (34.2–100.0) 4", "50.0% (9.5–90.5) 4"],
        ]
        assert _rows(pilot, "RunList")[1:] == [
            ["▲", "2", "50.0%", "eda", "✗ interrupted", "run 1"],
            ["●", "1", "100.0%", "llm2llm", "✗ interrupted", ""],
        ]


async def test_space_and_return_choose_runs(workspace: Path) -> None:
    async with opened(workspace, "compare", run_id=2) as pilot:
        await press(pilot, "space")
        assert _heads(pilot, "#figures")[1:] == ["● run 1", "▲ run 2", "■ run 3"]
        await press(pilot, "down", "enter")
        assert _heads(pilot, "#figures")[1:] == ["● run 1", "▲ run 3"]
        await press(pilot, "up", "space", "down", "down", "space")
        assert _heads(pilot, "#figures")[1:] == []
        assert "space chooses runs in the list" in shown(pilot)


async def test_another_chosen_run_is_followed_until_a_person_chooses(workspace: Path) -> None:
    async with opened(workspace, "compare", run_id=2) as pilot:
        pilot.app.choose_run(3)  # type: ignore[attr-defined]
        await settled(pilot)
        assert _heads(pilot, "#figures")[1:] == ["● run 3"]
        await press(pilot, "down", "down", "space")
        pilot.app.choose_run(2)  # type: ignore[attr-defined]
        await settled(pilot)
        assert _heads(pilot, "#figures")[1:] == ["● run 1", "▲ run 3"]


async def test_all_curves_are_on_one_plot(workspace: Path) -> None:
    async with opened(workspace, "compare", run_id=2) as pilot:
        await until(pilot, lambda: shown(pilot).count("●") > 2)  # more than the list and the head of the table have
        assert shown(pilot).count("▲") > 2


async def test_d_shows_the_other_splits(workspace: Path) -> None:
    async with opened(workspace, "compare", run_id=2) as pilot:
        assert "test accuracy (95% interval)" in shown(pilot)
        await press(pilot, "d")
        assert "train accuracy (95% interval)" in shown(pilot)
        assert _rows(pilot, "#figures")[0][1].startswith("33.3% ")
        await press(pilot, "d")
        assert "test accuracy" in shown(pilot)


async def test_results_are_plotted_with_their_intervals_and_tested(tmp_path: Path) -> None:
    rows = {Split.TRAIN: [("seed", "a")], Split.TEST: [(f"test {n}", "a") for n in range(10)]}
    with Store(tmp_path) as store:
        add_answering_run(store, rows, [{f"test {n}": "b" for n in range(6)}])
        add_answering_run(store, rows, [{}, {"test 0": "b"}], [[("new 1", "a")]], forked_from_run_id=1)
        add_run(store)
    async with opened(tmp_path, "compare", run_id=2) as pilot:
        await press(pilot, "space")
        pilot.app.screen.query_one("Tabs").focus()
        await press(pilot, "right")
        assert _rows(pilot, "#results") == [
            ["● run 1", "40.0% (16.8–68.7)", "–", "–", "–", "–", "0", "1"],
            ["▲ run 2", "90.0% (59.6–98.2)", "+50.0", "5", "0", "0.062", "1", "3"],
            ["■ run 3", "not graded", "", "", "", "", "", ""],
        ]
        await until(pilot, lambda: shown(pilot).count("│") > 10)
        assert "test accuracy (95% interval); test rows against run 1" in shown(pilot)
        await press(pilot, "d")
        assert _rows(pilot, "#results")[1][:2] == ["▲ run 2", "100.0% (20.7–100.0)"]
        assert "train accuracy (95% interval); test rows against run 1" in shown(pilot)


async def test_differences_are_shown_as_text(workspace: Path) -> None:
    async with opened(workspace, "compare", run_id=1) as pilot:
        pilot.app.screen.query_one(RunList).focus()
        await press(pilot, "space")
        pilot.app.screen.query_one("Tabs").focus()
        await press(pilot, "right", "right")
        assert "4 settings differ" not in shown(pilot)
        assert "3 settings differ" in shown(pilot)
        rows = {row[0]: row[1:] for row in _rows(pilot, "#differences")}
        assert rows["loop.rng_seed"] == ["1", "2"]
        assert rows["student"] == ["tiny F32", "[bold]tea[/bold]\\x1b[31m cher Q…"]
        assert rows["student sha256"][0] == "0" * 31 + "…"


async def test_new_figures_come_by_themselves(workspace: Path) -> None:
    async with opened(workspace, "compare", run_id=2) as pilot:
        with Store(workspace) as store:
            run = store.of_run(2)
            run.open_iteration(2)
            with run.transaction():
                run.add_metric(2, "accuracy_test", 0, 1.0)
                run.set_training_set(2, run.examples(Split.TRAIN))
        await until(pilot, lambda: len(_rows(pilot, "#figures")) == 3)
        assert _rows(pilot, "#figures")[2] == ["2", "", "100.0% (34.2–100.0) 3"]


async def test_an_iteration_in_training_is_not_graded_yet(workspace: Path) -> None:
    with Store(workspace) as store:
        run = store.of_run(2)
        run.open_iteration(2)
        with run.transaction():
            run.set_training_set(2, run.examples(Split.TRAIN))
    async with opened(workspace, "compare", run_id=2) as pilot:
        assert _rows(pilot, "#figures")[2] == ["2", "", "not graded 3"]


async def test_no_more_runs_than_there_are_markers(workspace: Path) -> None:
    with Store(workspace) as store:
        for _ in range(MOST_RUNS):
            add_run(store)
    async with opened(workspace, "compare", run_id=1) as pilot:
        for _ in range(MOST_RUNS):
            await press(pilot, "space", "down")
        assert len(_heads(pilot, "#figures")) == 1 + MOST_RUNS
        assert "no more than" in said(pilot)


async def test_all_of_it_fits_a_small_terminal(workspace: Path) -> None:
    async with opened(workspace, "compare", run_id=2, size=SMALL) as pilot:
        await settled(pilot)
        screen = shown(pilot)
        assert all(part in screen for part in ("100%", "● run 1", "34.2–100.0", "Differences", "space Choose run"))


async def test_without_runs_it_says_so(tmp_path: Path) -> None:
    async with opened(tmp_path, "compare") as pilot:
        await press(pilot, "space", "d")
        assert "No runs yet" in shown(pilot)


@pytest.mark.parametrize("mode", ["dashboard", "compare"])
async def test_plots_are_drawn_without_colours_too(workspace: Path, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with opened(workspace, mode, run_id=1) as pilot:
        await until(pilot, lambda: "┃" in shown(pilot))
