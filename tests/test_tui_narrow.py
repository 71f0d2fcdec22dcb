"""Large figures in a terminal of 80 columns: none loses its end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from audits import audit_row
from screens import NOW, SMALL, opened, settled, shown
from workspaces import add_run, fill

from llm2llm_local.report.progress import run_progress
from llm2llm_local.report.stages import STAGES
from llm2llm_local.report.verification import PersonAudit, Verification
from llm2llm_local.report.work import StageProgress
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.writer import Store
from llm2llm_local.tui.course import facts_of
from llm2llm_local.tui.hardware import Gpu, Sample, Sampler
from llm2llm_local.tui.widgets.candidate_stream import CandidateStream
from llm2llm_local.tui.widgets.hardware_panel import HardwarePanel
from llm2llm_local.tui.widgets.timeline import Timeline

pytestmark = pytest.mark.anyio

_GPU = Gpu("NVIDIA H200", 139 << 30, 141 << 30, 100, 101, 1000.0)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    with Store(tmp_path) as store:
        run = add_run(store)
        fill(run)
        run.close_stage(run.open_stage(1, "augment", 0, "", {}, units=1))
        run.open_stage(1, "check", 0, "", {}, units=4)
    return tmp_path


@pytest.mark.parametrize(
    ("speed", "memory", "words"),
    [
        (9_999.0, 99 << 30, "▶ 99.0 GiB  9,999 tokens/s"),
        (9_999.6, 99 << 30, "▶ 99.0 GiB  10.0k tokens/s"),
        (12_345.0, 12 << 30, "▶ 12.0 GiB  12.3k tokens/s"),
        (99_949.0, 100 << 30, "▶ 100 GiB  99.9k tokens/s"),
        (99_951.0, 1023 << 20, "▶ 1023 MiB  100k tokens/s"),
        (123_456.0, None, "not loaded  123k tokens/s"),
        (12_345.0, None, "not loaded  12.3k tokens/s"),
    ],
)
async def test_a_fast_model_is_told_in_full(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, speed: float, memory: int | None, words: str
) -> None:
    held = {"run": 1 << 30} | ({} if memory is None else {"student": memory})
    monkeypatch.setattr(Sampler, "sample", lambda *_: Sample(_GPU, 100.0, 123.4, 256, 1 << 40, 1 << 41, held))
    async with opened(workspace, "dashboard", size=SMALL) as pilot:
        panel = pilot.app.screen.query_one(HardwarePanel)
        assert panel.progress is not None and panel.progress.current is not None
        current = replace(panel.progress.current, stage="train")
        panel.show_progress(replace(panel.progress, current=current, student_tokens_per_second=speed))
        await settled(pilot)
        assert f"student {words}" in shown(pilot)


@pytest.mark.parametrize("attempt", [0, 1])
async def test_a_stage_of_many_rows_is_told_to_the_end(workspace: Path, attempt: int) -> None:
    async with opened(workspace, "dashboard", size=SMALL) as pilot:
        line = pilot.app.screen.query_one(Timeline)
        course = line.course
        assert course is not None and course.progress.current is not None
        many = StageProgress(1, "check", attempt, "running", 0.5, 2, 4, 10_000, 20_000, 3599.0, "")
        progress = replace(course.progress, current=many, rows_per_second=12.3, stage_seconds_left=3599.0)
        line.show(replace(course, progress=progress))
        await settled(pilot)
        assert "10,000/20,000 candidates · 12.3/s · 59 min 59 s left" in shown(pilot)


def test_where_there_is_room_a_rate_says_what_it_counts(workspace: Path) -> None:
    with open_reader(workspace) as connection:
        progress = replace(run_progress(connection, 1, NOW), rows_per_second=0.1, stage_seconds_left=60.0)
    assert progress.current is not None
    full = facts_of(progress, progress.current, 100)
    assert "6.0 candidates/min" in full
    assert facts_of(progress, progress.current, len(full)) == full
    assert "6.0/min" in facts_of(progress, progress.current, len(full) - 1)


@pytest.mark.parametrize("size", [SMALL, (90, 24), (110, 34), (120, 34), (140, 45), (160, 45)])
async def test_times_of_stages_neither_touch_nor_leave_their_columns(workspace: Path, size: tuple[int, int]) -> None:
    took = {"train": 2100.0, "predict": 1390.0, "grade": 1.0, "augment": 86_399.0, "check": 905.0}
    async with opened(workspace, "dashboard", size=size) as pilot:
        line = pilot.app.screen.query_one(Timeline)
        course = line.course
        assert course is not None
        stages = tuple(
            StageProgress(0, name, 0, "done", 1.0, 1, 1, 1, 1, seconds, "") for name, seconds in took.items()
        )
        line.show(replace(course, progress=replace(course.progress, stages=stages, current=None)))
        await settled(pilot)
        names, row = (text.plain for text in line.lines()[:2])
        assert len(row.rstrip()) <= line.size.width
        for name in took:
            start = names.index(name)
            assert row[start - 1 : start + 2] == " ✓ "
        assert "✓ 35m 00s" in row or "✓ 35 min 00 s" in row


@pytest.mark.parametrize("size", [SMALL, (90, 24), (110, 34), (120, 34), (140, 45), (160, 45)])
async def test_folds_and_votes_have_columns_where_there_are_any(workspace: Path, size: tuple[int, int]) -> None:
    async with opened(workspace, "dashboard", size=size) as pilot:
        line = pilot.app.screen.query_one(Timeline)
        course = line.course
        assert course is not None and "vote" not in line.lines()[0].plain
        stages = tuple(StageProgress(0, name, 1, "done", 1.0, 1, 1, 1, 1, 86_399.0, "") for name in STAGES)
        line.show(replace(course, progress=replace(course.progress, stages=stages, stage_names=STAGES, current=None)))
        await settled(pilot)
        names, row = (text.plain for text in line.lines()[:2])
        assert len(row.rstrip()) <= line.size.width
        for name in ("folds", "train", "predict", "grade", "augment", "vote", "check"):
            start = names.index(name)
            assert row[start - 1 : start + 2] == " ✓ "
        stream = pilot.app.screen.query_one(CandidateStream)
        stream.tell(Verification(True, (audit_row(),), 0, PersonAudit(0.1, 9999, 1234, 0, 0, None)))
        await settled(pilot)
        assert "accepts 50%" in str(stream.border_title) and len(str(stream.border_title)) <= size[0] - 4
