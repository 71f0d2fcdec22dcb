"""Units that a worker is handed ahead: what is written when, and what is done again after a stop between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fake_runs import Crash, configuration, half_learnt, rows, run_of
from fakes import FakeStudent, FakeTeacher

from llm2llm_local.errors import RunStoppedError
from llm2llm_local.loop.llm2llm import llm2llm
from llm2llm_local.records import Reply
from llm2llm_local.student.protocol import Progress
from llm2llm_local.teacher.protocol import TeacherRequest

WRITTEN = (
    "SELECT iteration, attempt, slot, example_id, output_text FROM teacher_calls "
    "ORDER BY iteration, attempt, example_id, slot"
)
ALL = ("predictions", "candidates", "verdicts", "examples", "training_set_examples")


@dataclass
class WatchedTeacher(FakeTeacher):
    """Notes how many calls were in the store when it was handed a group, and when it was waited for."""

    workspace: Path = Path()
    begun: list[int] = field(default_factory=list)
    waited: list[int] = field(default_factory=list)
    on_begin: Callable[[int], None] = lambda n: None

    def begin_generate(self, group: Sequence[TeacherRequest]) -> Callable[[Progress], list[Reply]]:
        self.begun.append(self._stored())
        self.on_begin(len(self.begun))

        def wait(progress: Progress) -> list[Reply]:
            self.waited.append(self._stored())
            return self.generate(group, progress)

        return wait

    def _stored(self) -> int:
        return int(rows(self.workspace, "SELECT count(*) FROM teacher_calls")[0][0])


def complete(workspace: Path, teacher: FakeTeacher | None = None, **more: object) -> None:
    with run_of(workspace, configuration(), teacher, FakeStudent(half_learnt), **more) as run:  # type: ignore[arg-type]
        llm2llm(run)


def history(workspace: Path) -> list[object]:
    counts = [rows(workspace, f"SELECT count(*) FROM {table}") for table in ALL]
    return [*counts, rows(workspace, WRITTEN), rows(workspace, "SELECT stage, attempt, units_done FROM stages")]


def test_the_next_group_is_begun_before_the_last_one_is_written_and_never_two(tmp_path: Path) -> None:
    teacher = WatchedTeacher(workspace=tmp_path)
    complete(tmp_path, teacher)
    assert teacher.begun[:3] == [0, 0, 2]  # groups of 2 in this configuration
    assert teacher.waited[:3] == [0, 2, 4]
    assert len(teacher.begun) == len(teacher.waited)


@pytest.mark.parametrize("at", [2, 3, 4])
def test_a_run_that_dies_with_a_group_ahead_does_it_again(tmp_path: Path, at: int) -> None:
    """Between the result of a unit and its rows, or between those and the next result: nothing is lost or doubled."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    complete(tmp_path / "one")

    def crash(n: int) -> None:
        if n == at:
            raise Crash

    with pytest.raises(Crash):
        complete(tmp_path / "two", WatchedTeacher(workspace=tmp_path / "two", on_begin=crash))
    complete(tmp_path / "two", run_id=1)
    assert history(tmp_path / "two") == history(tmp_path / "one")


def test_a_stop_is_obeyed_after_the_unit_that_is_finished_is_written(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    complete(tmp_path / "one")
    teacher = WatchedTeacher(workspace=tmp_path / "two")

    def obey() -> None:
        if len(teacher.waited) == 1:  # the second group is ahead
            raise RunStoppedError("stopped")

    with pytest.raises(RunStoppedError):
        complete(tmp_path / "two", teacher, obey=obey)
    assert rows(tmp_path / "two", "SELECT count(*) FROM teacher_calls") == [(2,)]
    assert rows(tmp_path / "two", "SELECT units_done FROM stages WHERE stage = 'augment'") == [(1,)]
    complete(tmp_path / "two", run_id=1)
    assert history(tmp_path / "two") == history(tmp_path / "one")
