"""The screen with events and logs."""

from __future__ import annotations

from pathlib import Path

import pytest
from screens import opened, press, settled, shown, until
from textual.widgets import RichLog, TabbedContent
from workspaces import add_graded_run

from llm2llm_local.store.writer import Store

pytestmark = pytest.mark.anyio


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    with Store(tmp_path) as store:
        run = add_graded_run(store)
        run.add_event("worker_died", "the [bold]teacher[/bold] died\x1b[31m of thirst", 0)
    (tmp_path / "runs/1").mkdir(parents=True)
    (tmp_path / "runs/1/teacher.log").write_text("llama says [red]hello[/red]\n")
    return tmp_path


async def test_events_are_text_and_nothing_else(workspace: Path) -> None:
    async with opened(workspace, "logs") as pilot:
        assert "the [bold]teacher[/bold] died\\x1b[31m of thirst" in shown(pilot)


async def test_new_events_come_by_themselves(workspace: Path) -> None:
    async with opened(workspace, "logs") as pilot:
        with Store(workspace) as store, store.transaction():
            store.of_run(1).add_event("note", "something new")
        await until(pilot, lambda: "something new" in shown(pilot))
        assert shown(pilot).count("of thirst") == 1  # nothing is written twice


async def test_new_events_do_not_pull_away_whoever_reads_older_ones(workspace: Path) -> None:
    async with opened(workspace, "logs") as pilot:
        with Store(workspace) as store, store.transaction():
            for number in range(200):
                store.of_run(1).add_event("note", f"event number {number}")
        await until(pilot, lambda: "event number 199" in shown(pilot))
        await settled(pilot)  # it follows the events for a moment longer
        log = pilot.app.screen.query_one("#events RichLog", RichLog)
        log.scroll_home(animate=False)
        await settled(pilot)
        with Store(workspace) as store, store.transaction():
            store.of_run(1).add_event("note", "the newest of all")
        await until(pilot, lambda: any("the newest of all" in line.text for line in log.lines))
        assert log.scroll_y == 0


async def test_the_logs_of_the_processes_can_be_read(workspace: Path) -> None:
    async with opened(workspace, "logs") as pilot:
        pilot.app.screen.query_one("Tabs").focus()
        await press(pilot, "right", "right")
        assert "llama says [red]hello[/red]" in shown(pilot)
        await press(pilot, "right")
        assert "nothing so far" in shown(pilot)


async def test_a_log_that_is_read_stays_where_it_is(workspace: Path) -> None:
    file = workspace / "runs/1/teacher.log"
    lines = [f"line {number}" for number in range(300)]
    file.write_text("\n".join(lines))
    async with opened(workspace, "logs") as pilot:
        pilot.app.screen.query_one(TabbedContent).active = "teacher"
        await until(pilot, lambda: "line 299" in shown(pilot))  # the newest first
        log = pilot.app.screen.query_one("#teacher RichLog", RichLog)
        log.scroll_to(y=40, animate=False)
        await settled(pilot)
        events = pilot.app.screen.query_one("#events RichLog", RichLog)

        async def after(note: str) -> float:
            with Store(workspace) as store, store.transaction():
                store.of_run(1).add_event("note", note)
            await until(pilot, lambda: any(note in line.text for line in events.lines))
            await settled(pilot)
            return log.scroll_y

        assert await after("nothing new in the log") == 40
        file.write_text("\n".join([*lines, "the newest of all"]))
        assert await after("a line more in the log") == 40
        assert any("the newest of all" in line.text for line in log.lines)


async def test_a_processs_part_of_the_plan_is_above_its_log(workspace: Path) -> None:
    with Store(workspace) as store, store.transaction():
        for n in (32, 16):
            lines = [f"teacher: {n} sequences at once", "student: about 2.0 GiB", "device: cpu; both stay loaded"]
            store.of_run(1).add_plan("planned", {}, {}, lines)
    async with opened(workspace, "logs") as pilot:
        pilot.app.screen.query_one("Tabs").focus()
        await press(pilot, "right", "right")
        assert "teacher: 16 sequences at once" in shown(pilot)
        assert "both stay loaded" in shown(pilot)
        assert "student: about" not in shown(pilot)
        await press(pilot, "right")
        assert "student: about 2.0 GiB" in shown(pilot)
