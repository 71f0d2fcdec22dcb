"""The judge of `llm2llm bench verification`: trained once, kept in a folder of its own, and taken up again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeStudent

from llm2llm_local.bench.judge import JudgeTraining, check_judge, train_judge
from llm2llm_local.bench.training import whole_training
from llm2llm_local.errors import ChangedSinceStartError, RunBusyError, UserInputError
from llm2llm_local.student.protocol import SegmentResult, TrainingExample, TrainingProgress, TrainingSegment

ROWS = [(f"row {n}", ("alpha", "beta", "gamma")[n % 3]) for n in range(12)]


class Crash(Exception):
    """Stands for a kill within a segment."""


@dataclass
class Crashing(FakeStudent):
    """Dies at the beginning of its third segment."""

    def train(self, segment: TrainingSegment, progress: TrainingProgress) -> SegmentResult:
        if len(self.segments) == 2:
            raise Crash
        return super().train(segment, progress)


def by_heart(example: TrainingExample, segment: TrainingSegment) -> bool:
    return True


def training_in(folder: Path, **conditions: Any) -> JudgeTraining:
    """Eight steps in four segments."""
    examples = tuple(TrainingExample(question, answer) for question, answer in ROWS)
    whole = whole_training(examples, folder / "adapter", epochs=2, batch_size=3, learning_rate=1e-3, rng_seed=1)
    return JudgeTraining(whole, {"data.train": "a", "epochs": 2, **conditions}, checkpoint_steps=2)


def quiet(line: str) -> None:
    """Nobody listens."""


def test_a_judge_is_trained_once_in_segments_that_follow_each_other(tmp_path: Path) -> None:
    student = FakeStudent(by_heart)
    training = training_in(tmp_path / "judge")
    assert train_judge(training, student, quiet) == tmp_path / "judge" / "adapter"
    assert [(one.start_step, one.stop_step) for one in student.segments] == [(0, 2), (2, 4), (4, 6), (6, 8)]
    checkpoints = [one.checkpoint and one.checkpoint.name for one in student.segments]
    assert checkpoints == [None, "step-2", "step-4", "step-6"]
    assert sorted(path.name for path in training.folder.iterdir()) == ["adapter", "judge.json"]
    train_judge(training, student, quiet)
    assert len(student.segments) == 4


def test_a_training_that_was_ended_goes_on_from_its_newest_checkpoint(tmp_path: Path) -> None:
    training = training_in(tmp_path / "judge")
    with pytest.raises(Crash):
        train_judge(training, Crashing(by_heart), quiet)
    assert check_judge(training) == 4
    (training.folder / "step-6.part-1").mkdir()  # of the writer that was killed
    student = FakeStudent(by_heart)
    train_judge(training, student, quiet)
    assert [(one.start_step, one.stop_step) for one in student.segments] == [(4, 6), (6, 8)]
    assert sorted(path.name for path in training.folder.iterdir()) == ["adapter", "judge.json"]


def test_a_call_that_was_killed_before_it_had_a_record_begins_anew(tmp_path: Path) -> None:
    training = training_in(tmp_path / "judge")
    training.folder.mkdir()
    (training.folder / "judge.json.part").write_text('{"cond')
    assert check_judge(training) == 0


@pytest.mark.parametrize("done", ["begun", "trained"])
def test_a_judge_of_other_conditions_is_refused_and_left_alone(tmp_path: Path, done: str) -> None:
    training = training_in(tmp_path / "judge")
    check_judge(training)
    if done == "trained":
        train_judge(training, FakeStudent(by_heart), quiet)
    before = (training.folder / "judge.json").read_bytes()
    with pytest.raises(ChangedSinceStartError, match="other conditions") as refused:
        check_judge(training_in(training.folder, **{"data.train": "b", "epochs": 3}))
    assert 'data.train: was "a", is "b"' in refused.value.message and "epochs: was 2, is 3" in refused.value.message
    assert "--judge" in refused.value.remedy
    assert (training.folder / "judge.json").read_bytes() == before


@pytest.mark.parametrize("content", [None, "[]", '{"conditions": 3}', "no JSON"])
def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path, content: str | None) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    name = "holiday.jpg" if content is None else "judge.json"
    (folder / name).write_text(content or "jpg")
    with pytest.raises(UserInputError, match="no judge"):
        check_judge(training_in(folder))
    assert [path.name for path in folder.iterdir()] == [name]


def test_a_file_in_the_judges_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "judge").write_text("")
    with pytest.raises(UserInputError, match="is no folder"):
        check_judge(training_in(tmp_path / "judge"))


def test_a_damaged_judge_does_not_judge(tmp_path: Path) -> None:
    training = training_in(tmp_path / "judge")
    train_judge(training, FakeStudent(by_heart), quiet)
    (training.whole.output / "learnt.json").write_text("{}")
    with pytest.raises(UserInputError, match="not what was written there"):
        check_judge(training)


def test_two_calls_do_not_train_the_same_judge(tmp_path: Path) -> None:
    training = training_in(tmp_path / "judge")

    @dataclass
    class Visited(FakeStudent):
        def train(self, segment: TrainingSegment, progress: TrainingProgress) -> SegmentResult:
            with pytest.raises(RunBusyError, match="another process"):
                train_judge(training, FakeStudent(by_heart), quiet)
            return super().train(segment, progress)

    check_judge(training)
    train_judge(training, Visited(by_heart), quiet)
