"""The dashboard's stream of candidates: whence each comes, its verdict, and what stays in place while one reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from dashboards import ask, held, make
from plans import assert_indexed
from screens import LARGE, NOW, SMALL, AppPilot, line_with, opened, press, settled, shown, until
from workspaces import _verdict, add_run

from llm2llm_local.records import Decision
from llm2llm_local.report.commands import pending_command
from llm2llm_local.report.stream import candidates_after, candidates_of_ids
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.writer import Store
from llm2llm_local.tui.run_view import MOST_CANDIDATES, Known, run_view
from llm2llm_local.tui.widgets.candidate_stream import CandidateStream

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("machine")]


def stream_of(pilot: AppPilot) -> CandidateStream:
    return pilot.app.screen.query_one(CandidateStream)


async def test_candidates_come_from_the_seed_to_the_verdict(tmp_path: Path) -> None:
    async with opened(make(tmp_path), "dashboard") as pilot:
        accepted, refused = line_with(pilot, "✓ accept "), line_with(pilot, "too similar")
        doubtful = line_with(pilot, "? doubt ")
    assert [part.strip() for part in accepted.split("→")] == ["✓ accept  seed 1", "wrong", "new question = answer 1"]
    assert "✗ reject  seed 3" in refused
    assert "unreadable" in refused
    assert "two readings" in doubtful


async def test_a_small_window_gives_a_candidate_two_lines(tmp_path: Path) -> None:
    with held(make(tmp_path)):
        async with opened(tmp_path, "dashboard", size=SMALL) as pilot:
            first, second = shown(pilot).splitlines()[-3:-1]
    assert "? doubt" in first
    assert "seed 3 → unreadable" in first
    assert "→ unsure = answer 3" in second
    assert second.rstrip(" ▁▂▃▄▅▆▇█").endswith("two readings")


async def test_a_candidate_gets_its_verdict_when_it_is_checked(tmp_path: Path) -> None:
    async with opened(make(tmp_path), "dashboard") as pilot:
        ask(tmp_path, "what is to be seen?")
        await until(pilot, lambda: "… pending" in shown(pilot))
        with Store(tmp_path) as store, store.transaction():
            run = store.of_run(1)
            run.candidates.decide(
                1, run.candidates.of_round(1, 0)[0], [_verdict("duplicate", Decision.REJECT, "seen before")]
            )
        await until(pilot, lambda: "seen before" in shown(pilot))
        assert "✗ reject" in line_with(pilot, "what is to be seen?")
        assert "pending" not in shown(pilot)


async def test_a_person_may_change_any_verdict(tmp_path: Path) -> None:
    """Carried out, a decision is the candidate's verdict, of an accepted one, too."""
    async with opened(make(tmp_path), "dashboard") as pilot:
        stream = stream_of(pilot)
        before = {one.id: one.verdict for one in stream._candidates}
        accepted = next(number for number, verdict in before.items() if verdict == "accept")
        with Store(tmp_path) as store, store.transaction():
            store.execute("UPDATE candidates SET verdict = 'reject' WHERE id = ?", [accepted])
        await until(
            pilot, lambda: {one.id: one.verdict for one in stream._candidates} == {**before, accepted: "reject"}
        )


async def test_the_newest_candidates_are_followed_unless_one_reads_older_ones(tmp_path: Path) -> None:
    make(tmp_path)
    ask(tmp_path, *(f"question {n}" for n in range(100)))
    async with opened(tmp_path, "dashboard") as pilot:
        stream = stream_of(pilot)
        assert pilot.app.screen.focused is stream
        assert "question 99" in shown(pilot)
        await press(pilot, "pageup", "pageup")
        await until(pilot, lambda: "question 99" not in shown(pilot))
        await pilot.pause(0.5)  # scrolling is animated
        before = stream.scroll_offset
        ask(tmp_path, "something new")
        await until(pilot, lambda: stream.ids[-1] == 106)
        await settled(pilot)
        assert stream.scroll_offset == before
        assert "something new" not in shown(pilot)
        await press(pilot, "end")
        await until(pilot, lambda: "something new" in shown(pilot))
        ask(tmp_path, "something newer")
        await until(pilot, lambda: "something newer" in shown(pilot))


async def test_the_stream_keeps_the_newest_and_what_is_read_stays_in_place(tmp_path: Path) -> None:
    make(tmp_path)
    ask(tmp_path, *(f"question {n} of many" for n in range(MOST_CANDIDATES)))
    async with opened(tmp_path, "dashboard") as pilot:
        stream = stream_of(pilot)
        stream.scroll_to(y=200, animate=False)
        await settled(pilot)
        assert "question 200 of many" in shown(pilot)
        top = shown(pilot).splitlines()[stream.region.y + 1]
        ask(tmp_path, *(f"question {n} of more" for n in range(7)))
        await until(pilot, lambda: stream.ids[-1] == 5 + MOST_CANDIDATES + 7)
        await settled(pilot)
        assert len(stream._candidates) == MOST_CANDIDATES
        assert shown(pilot).splitlines()[stream.region.y + 1] == top


async def test_the_tail_is_followed_through_a_resize(tmp_path: Path) -> None:
    make(tmp_path)
    ask(tmp_path, *(f"question {n}" for n in range(100)))
    async with opened(tmp_path, "dashboard") as pilot:
        for size in (SMALL, (200, 60), (100, 40)):
            await pilot.resize_terminal(*size)
            await settled(pilot)
            assert "question 99 =" in shown(pilot)


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_texts_of_models_are_text_and_fit_their_cells(tmp_path: Path, size: tuple[int, int]) -> None:
    make(tmp_path)
    ask(tmp_path, "[red]no[/red]\x1b[31m markup\nat all", "長" * 2000, "x" * 1_000_000, None)
    with held(tmp_path):
        async with opened(tmp_path, "dashboard", size=size) as pilot:
            stream = stream_of(pilot)
            assert max(len(candidate.question) for candidate in stream._candidates) <= 400
            stream.scroll_to(y=5 if size == LARGE else 10, animate=False)
            await settled(pilot)
            assert "[red]no[/red]\\x1b[31m mar" in shown(pilot)
            strips = pilot.app.screen._compositor.render_strips()
            assert {strip.cell_length for strip in strips} == {size[0]}


async def test_another_run_has_its_own_candidates(tmp_path: Path) -> None:
    make(tmp_path)
    with Store(tmp_path) as store:
        add_run(store)
    async with opened(tmp_path, "dashboard", run_id=1) as pilot:
        assert "new question" in shown(pilot)
        pilot.app.choose_run(2)  # type: ignore[attr-defined]
        await until(pilot, lambda: "new question" not in shown(pilot))
        assert stream_of(pilot).ids == []


async def test_of_an_answer_that_reasons_the_stream_shows_the_result(tmp_path: Path) -> None:
    make(tmp_path)
    reasoning = "\n".join(f"Step {number} of many." for number in range(60))
    with Store(tmp_path) as store, store.transaction():
        store.execute("UPDATE candidates SET answer = ? WHERE id = 1", [f"{reasoning}\n#### 7"])
    async with opened(tmp_path, "dashboard") as pilot:
        assert "new question = #### 7" in shown(pilot)


def test_what_the_stream_has_is_not_read_again(tmp_path: Path) -> None:
    make(tmp_path)
    with open_reader(tmp_path) as connection:
        for known, before, new in (
            (Known(1, [2, 3]), [2, 3], [4, 5]),
            (Known(None, []), [], [1, 2, 3, 4, 5]),
            (Known(7, [2, 3]), [], [1, 2, 3, 4, 5]),  # of another run
        ):
            view = run_view(connection, tmp_path, 1, known, NOW)
            assert [one.id for one in view.known] == before
            assert [one.id for one in view.new] == new


def test_the_streams_queries_go_by_indexes(tmp_path: Path) -> None:
    make(tmp_path)
    with open_reader(tmp_path) as connection:
        assert_indexed(connection, lambda: candidates_after(connection, 1, 0, 10))
        assert_indexed(connection, lambda: candidates_of_ids(connection, [1, 2]))
        assert_indexed(connection, lambda: pending_command(connection, 1))
        assert [one.id for one in candidates_after(connection, 1, 2, 2)] == [4, 5]
        assert [one.reason for one in candidates_of_ids(connection, [1, 5])] == ["", "two readings"]
    with Store(tmp_path) as store, store.transaction():
        store.execute("UPDATE candidates SET verdict = 'accept' WHERE id = 5")  # by a person
    with open_reader(tmp_path) as connection:
        assert [one.reason for one in candidates_of_ids(connection, [5])] == [""]
