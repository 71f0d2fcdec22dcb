"""Lists that are longer than a page: Home and End go to the first and the last row of all."""

from __future__ import annotations

from pathlib import Path

import pytest
from big_run import Size
from big_store import make_big_store
from plans import assert_indexed
from rich.text import Text
from screens import AppPilot, opened, press, settled, shown, until
from textual.widgets import DataTable
from workspaces import Workspace, add_run

from llm2llm_local.report.candidates import CandidateFilter, candidate_order
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.writer import Store
from llm2llm_local.tui.screens import review
from llm2llm_local.tui.screens.runs import RunsScreen
from llm2llm_local.tui.widgets.paged_table import PAGE_ROWS, EdgeTable, Page, PagedTable

pytestmark = pytest.mark.anyio

_RUNS = 230
_SIZE = Size(runs=1, iterations=2, seeds=230, dev=4, test=4, candidates=230)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    make_big_store(folder, _SIZE)
    return folder


@pytest.fixture
def many_runs(tmp_path: Path) -> Path:
    with Store(tmp_path) as store, store.transaction():
        for _ in range(_RUNS):
            add_run(store)
    return tmp_path


def where(pilot: AppPilot) -> tuple[int, int, str]:
    """First row of the page, the cursor's row in it, and what it is on."""
    table = pilot.app.screen.query_one(PagedTable)
    return table.first_row, table.query_one(EdgeTable).cursor_row, table.chosen or ""


async def go_to_both_ends(pilot: AppPilot, n: int, last: str, end: str, home: str) -> None:
    pilot.app.screen.query_one(EdgeTable).focus()
    first = where(pilot)
    page = (n - 1) // PAGE_ROWS * PAGE_ROWS
    await press(pilot, end)
    await until(pilot, lambda: f"{page + 1}–{n:,} of {n:,}" in shown(pilot))
    assert where(pilot) == (page, n - page - 1, last)
    await press(pilot, "up", end)  # on the page that is shown
    assert where(pilot) == (page, n - page - 1, last)
    await press(pilot, "down")  # there is nothing beyond
    assert where(pilot) == (page, n - page - 1, last)
    await press(pilot, home)
    await until(pilot, lambda: f"1–100 of {n:,}" in shown(pilot))
    assert where(pilot) == (0, 0, first[2])
    await press(pilot, "down", "down", home)
    assert where(pilot) == (0, 0, first[2])
    await press(pilot, end, "pageup", "pageup", "pageup", home)
    assert where(pilot) == (0, 0, first[2])


@pytest.mark.parametrize(("end", "home"), [("end", "home"), ("ctrl+end", "ctrl+home")])
async def test_the_first_and_the_last_candidate(store: Path, end: str, home: str) -> None:
    with open_reader(store) as connection:
        order = candidate_order(connection, 1, CandidateFilter())
    assert len(order) > 2 * PAGE_ROWS
    async with opened(store, "review") as pilot:
        await go_to_both_ends(pilot, len(order), str(order[-1]), end, home)


async def test_the_first_and_the_last_candidate_of_a_filter(store: Path) -> None:
    with open_reader(store) as connection:
        order = candidate_order(connection, 1, CandidateFilter(verdict="accept"))
    assert len(order) > PAGE_ROWS
    async with opened(store, "review") as pilot:
        pilot.app.screen.query_one("#verdict").value = "accept"  # type: ignore[attr-defined]
        await until(pilot, lambda: f"of {len(order):,}" in shown(pilot))
        await go_to_both_ends(pilot, len(order), str(order[-1]), "end", "home")


@pytest.mark.parametrize("mode", ["lineage", "failures"])
async def test_the_first_and_the_last_seed(store: Path, mode: str) -> None:
    async with opened(store, mode) as pilot:
        if mode == "failures":
            await press(pilot, "o", "o")
            await until(pilot, lambda: "as in the file" in shown(pilot))
            pilot.app.screen.query_one(EdgeTable).move_cursor(row=0)
        with open_reader(store) as connection:
            sql = "SELECT max(id) FROM examples WHERE origin = 'seed' AND split = 'train'"
            last = str(connection.execute(sql).fetchone()[0])
        await go_to_both_ends(pilot, _SIZE.seeds, last, "end", "home")


async def test_the_first_and_the_last_run(many_runs: Path) -> None:
    async with opened(many_runs, "runs") as pilot:
        await go_to_both_ends(pilot, _RUNS, "1", "end", "home")


async def commit_something(pilot: AppPilot, folder: Path) -> None:
    """And wait until it is seen."""
    reads = 0

    def seen(_: object) -> None:
        nonlocal reads
        reads += 1

    pilot.app.history.subscribe(pilot.app, seen)  # type: ignore[attr-defined]
    with Store(folder) as store, store.transaction():
        store.of_run(5).add_event("note", "something new")
    await until(pilot, lambda: reads > 0)
    pilot.app.history.unsubscribe(pilot.app)  # type: ignore[attr-defined]
    await settled(pilot)


async def test_the_chosen_run_stays_chosen_on_whatever_page_it_is(many_runs: Path) -> None:
    async with opened(many_runs, "runs", run_id=1) as pilot:
        assert where(pilot) == (200, 29, "1")
        await commit_something(pilot, many_runs)
        assert (where(pilot), chosen_run(pilot)) == ((200, 29, "1"), 1)
        await press(pilot, "home", "pagedown", "pagedown", "pagedown")
        before = where(pilot)
        await commit_something(pilot, many_runs)
        assert (where(pilot), chosen_run(pilot)) == (before, int(before[2]))
        with Store(many_runs) as store, store.transaction():
            for _ in range(PAGE_ROWS):
                add_run(store)
        await until(pilot, lambda: f"of {_RUNS + PAGE_ROWS}" in shown(pilot))
        assert (where(pilot), chosen_run(pilot)) == ((PAGE_ROWS, *before[1:]), int(before[2]))


async def test_another_screens_choice_of_a_run_is_shown_where_it_is(many_runs: Path) -> None:
    async with opened(many_runs, "runs") as pilot:
        await press(pilot, "down", "2")
        pilot.app.choose_run(7)  # type: ignore[attr-defined]
        await press(pilot, "1")
        assert (where(pilot), chosen_run(pilot)) == ((200, 23, "7"), 7)
        with Store(many_runs) as store, store.transaction():
            newest = add_run(store).run_id
        pilot.app.choose_run(newest)  # type: ignore[attr-defined]  # before the list has it
        await until(pilot, lambda: where(pilot) == (0, 0, str(newest)))
        assert chosen_run(pilot) == newest


async def test_a_key_that_was_pressed_while_a_list_is_under_way_counts(many_runs: Path) -> None:
    async with opened(many_runs, "runs") as pilot:
        screen = pilot.app.screen
        assert isinstance(screen, RunsScreen)
        pilot.app.screen.query_one(EdgeTable).action_cursor_down()
        screen._show(_RUNS, screen._runs)  # read before, and here before the screen is told of the key
        await settled(pilot)
        assert (where(pilot), chosen_run(pilot)) == ((0, 1, str(_RUNS - 1)), _RUNS - 1)


async def test_when_the_chosen_run_is_deleted_the_cursor_stays_at_its_place(tmp_path: Path) -> None:
    def delete(run_id: int) -> None:
        with Store(tmp_path) as store, store.transaction():
            store.of_run(run_id).delete()

    with Store(tmp_path) as store, store.transaction():
        for _ in range(PAGE_ROWS + 1):
            add_run(store)
    async with opened(tmp_path, "runs", run_id=50) as pilot:
        delete(50)
        await until(pilot, lambda: where(pilot) == (0, 51, "49"))
        pilot.app.screen.query_one(EdgeTable).focus()
        await press(pilot, "end")
        assert where(pilot) == (0, 99, "1")
        with Store(tmp_path) as store, store.transaction():
            add_run(store)
        await until(pilot, lambda: where(pilot) == (PAGE_ROWS, 0, "1"))
        delete(1)  # the only one of its page
        await until(pilot, lambda: where(pilot) == (0, 99, "2"))
        assert chosen_run(pilot) == 2 and "1–100 of 100" in shown(pilot)


def chosen_run(pilot: AppPilot) -> int | None:
    return pilot.app.run_id  # type: ignore[attr-defined, no-any-return]


async def test_an_empty_list_has_no_ends(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_run(store)
    async with opened(tmp_path, "review") as pilot:
        await press(pilot, "end", "home", "end")
        assert where(pilot)[2] == "" and "no candidates like this" in shown(pilot)


async def test_what_is_read_again_meanwhile_does_not_take_the_cursor_to_its_end(store: Path) -> None:
    async with opened(store, "review") as pilot:
        table = pilot.app.screen.query_one(PagedTable)
        page = table._page
        assert page is not None
        with table.prevent(PagedTable.PageWanted):
            table.query_one(DataTable).action_scroll_end()
            await pilot.pause(0.1)
        table.show_page(page)  # it was under way already
        assert where(pilot)[:2] == (0, 0)


@pytest.mark.parametrize("mode", ["review", "lineage", "failures"])
async def test_the_end_that_was_asked_for_last_is_where_the_cursor_comes_to(store: Path, mode: str) -> None:
    async with opened(store, mode) as pilot:
        table = pilot.app.screen.query_one(PagedTable)
        table.query_one(EdgeTable).focus()
        await press(pilot, "down", "down")
        last = (table._total - 1) // PAGE_ROWS * PAGE_ROWS
        assert where(pilot)[0] == 0 and last >= 2 * PAGE_ROWS
        _press_at_once(pilot, "end", "home")
        await settled(pilot)
        assert where(pilot)[:2] == (0, 0)
        _press_at_once(pilot, "end", "home", "end")
        await settled(pilot)
        assert where(pilot)[:2] == (last, table._total - last - 1)
        await press(pilot, "up")
        _press_at_once(pilot, "home", "end")
        await settled(pilot)
        assert where(pilot)[:2] == (last, table._total - last - 1)


def _press_at_once(pilot: AppPilot, *keys: str) -> None:
    """Before what the first one asks for is read."""
    for key in keys:
        pilot.app.simulate_key(key)


async def test_the_cursor_goes_to_an_end_only_when_the_page_is_turned_to_it(store: Path) -> None:
    async with opened(store, "review") as pilot:
        table = pilot.app.screen.query_one(PagedTable)
        with table.prevent(PagedTable.PageWanted):  # so that it never comes
            table.query_one(EdgeTable).action_scroll_end()
            await pilot.pause(0.1)
        table.show_page(_page(200, 230), choose="207")
        assert where(pilot) == (200, 7, "207")
        table.show_page(_page(0, 230))
        with table.prevent(PagedTable.PageWanted):
            table.query_one(EdgeTable).action_scroll_end()
            await pilot.pause(0.1)
        table.show_page(_page(0, 150))  # there is no such page any more
        table.show_page(_page(200, 230))
        assert where(pilot) == (200, 0, "200")


def _page(offset: int, total: int) -> Page:
    rows = range(offset, min(offset + PAGE_ROWS, total))
    return Page(offset, total, [(str(row), [Text(str(row))] * 5) for row in rows])


def test_the_last_page_goes_by_an_index(big_store: Workspace) -> None:
    with open_reader(big_store.folder) as connection:
        offset = len(candidate_order(connection, 10, CandidateFilter())) - PAGE_ROWS

        def look() -> None:
            found = review._look(connection, 10, CandidateFilter(), frozenset(), offset, frozenset())
            assert len(found.lines) == PAGE_ROWS and found.lines[-1].id == found.order[-1]

        assert_indexed(connection, look)
