"""How fast the models are, by fakes that take a known time, and what that says of a run."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fake_runs import SEEDS, TEST, configuration, half_learnt
from fakes import FakeStudent, FakeTeacher, quiet
from tiny_models import TinyModels
from workspaces import Workspace, make_workspace

from llm2llm_local import doctor
from llm2llm_local.config import Config
from llm2llm_local.datasets.reader import LoadedData
from llm2llm_local.errors import Llm2LlmError
from llm2llm_local.forecast import Asking, Assumption, forecast, forecast_lines
from llm2llm_local.loop.inputs import Inputs
from llm2llm_local.loop.plans import DevicePlan
from llm2llm_local.loop.vote import WRITTEN
from llm2llm_local.records import FinishReason, Reply, Split
from llm2llm_local.report.duration import estimated
from llm2llm_local.report.rates import Plan
from llm2llm_local.speed import (
    Speed,
    StudentSpeed,
    TeacherSpeed,
    TimeLimit,
    TooSlowError,
    WritingSpeed,
    measure_models,
    measure_student,
    measure_teacher,
)
from llm2llm_local.student.protocol import (
    PredictionBatch,
    Progress,
    SegmentResult,
    StudentAnswer,
    TrainingExample,
    TrainingProgress,
    TrainingSegment,
)
from llm2llm_local.tasks.families import make_task
from llm2llm_local.teacher.protocol import ScoreRequest, Scores, TeacherRequest
from llm2llm_local.workers.memory import MemoryPlan

PLAN = Plan(seeds=60, dev=0, test=500, iterations=3, epochs=10, augmentations_per_failure=1)
SPEED = Speed(
    TeacherSpeed(
        loading=3.0,
        writing=WritingSpeed(requests=32, request_seconds=0.5, longest_request_seconds=2.0, tokens_per_second=40.0),
    ),
    StudentSpeed(loading=5.0, example_seconds=0.1, tokens_per_second=200.0, answer_seconds=0.02),
    takes_turns=False,
)


class FakeClock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class SlowTeacher(FakeTeacher):
    """Takes 7 s to load, `group_seconds` for what a group's prompts have in common, `prompt_seconds` for the rest of
    each, and 0.1 s for a token of all its requests; replies would have `tokens` each.
    """

    clock: FakeClock = field(default_factory=FakeClock)
    tokens: int = 100
    group_seconds: float = 2.0
    prompt_seconds: float = 0.0

    def check_prompts(self, group: Sequence[TeacherRequest], progress: Progress) -> int:
        self.clock.now += 7.0
        return 10

    def generate(self, group: Sequence[TeacherRequest], progress: Progress) -> list[Reply]:
        self.requests += group
        replies = []
        for request in group:
            n = min(self.tokens, request.max_tokens)
            reason = FinishReason.LENGTH if self.tokens > n else FinishReason.STOP
            replies.append(Reply("words", reason, 50, n, 0.0))
        self.clock.now += (
            self.group_seconds + self.prompt_seconds * len(group) + 0.1 * max(reply.output_tokens for reply in replies)
        )
        return replies


@dataclass
class SlowStudent(FakeStudent):
    """Takes 4 s to load, 1 s for an optimizer step and 0.1 s for an answer."""

    clock: FakeClock = field(default_factory=FakeClock)
    step_seconds: float = 1.0

    def check_lengths(self, examples: tuple[TrainingExample, ...], progress: Progress) -> int:
        self.clock.now += 4.0
        return 12

    def train(self, segment: TrainingSegment, progress: TrainingProgress) -> SegmentResult:
        self.clock.now += self.step_seconds * (segment.stop_step - segment.start_step)
        return super().train(segment, progress)

    def predict(self, batch: PredictionBatch, progress: Progress) -> list[StudentAnswer]:
        self.clock.now += 0.1 * len(batch.prompts)
        return super().predict(batch, progress)


def inputs_of(config: Config) -> Inputs:
    """What a measurement reads of them."""
    unread = cast(Any, None)
    return Inputs(
        config_path=Path("llm2llm.toml"),
        overrides=(),
        config=config,
        data=LoadedData({Split.TRAIN: tuple(SEEDS), Split.DEV: (), Split.TEST: tuple(TEST)}, {}, ()),
        task=make_task(config.task, SEEDS),
        labels=(),
        teacher=unread,
        teacher_layers=unread,
        student=unread,
        student_weights=unread,
        grammar=None,
        device="cpu",
        compute_dtype="float32",
    )


def config_of(**changes: Any) -> Config:
    return configuration(
        **{"teacher__prompt_style": "completion", "teacher__group_size": 4, "teacher__max_new_tokens": 256, **changes}
    )


def of_teacher(teacher: SlowTeacher, **changes: Any) -> TeacherSpeed:
    return measure_teacher(inputs_of(config_of(**changes)), teacher, TimeLimit(teacher.clock), teacher.clock)


def of_student(student: SlowStudent, folder: Path, **changes: Any) -> StudentSpeed:
    return measure_student(inputs_of(config_of(**changes)), student, folder, TimeLimit(student.clock), student.clock)


def writing_of(teacher: TeacherSpeed) -> WritingSpeed:
    assert teacher.writing is not None
    return teacher.writing


# --- votes ---


@dataclass
class SlowVoter(SlowTeacher):
    """A vote takes two seconds, and `ballot_seconds` for each ballot."""

    ballot_seconds: float = 0.25

    def score(self, group: Sequence[ScoreRequest], progress: Progress) -> list[Scores]:
        self.clock.now += 2.0 + self.ballot_seconds * len(group)
        return super().score(group, progress)


def test_a_vote_on_a_group_is_timed_where_the_teacher_has_one() -> None:
    speeds = [
        of_teacher(SlowVoter(), checks__verify=verify, checks__verifier=verifier)
        for verify, verifier in (("on", "both"), ("on", "student"), ("off", "both"))
    ]
    assert [speed.ballot_seconds for speed in speeds] == [(2.0 + 0.25 * 4) / 4, None, None]


def test_a_forecast_has_votes_and_folds() -> None:
    assert SPEED.teacher is not None
    speed = dataclasses.replace(
        SPEED, teacher=dataclasses.replace(SPEED.teacher, ballot_seconds=0.1, longest_ballot_seconds=0.4)
    )
    assumption = Assumption(0.5, 1, Asking(0.5, 0.1))
    verified = dataclasses.replace(PLAN, verifiers=("teacher", "student"), votes=3, audit_ballots=3, folds=5)
    audit, folds = 0.1 * 60 * 3, 5 * (0.1 * 48 * 10 + 0.02 * 12)
    votes = 3 * 30 * (0.1 * 3 + 0.02)
    more = forecast(speed, verified, assumption).whole_run - forecast(speed, PLAN, assumption).whole_run
    assert more == pytest.approx(audit + folds + votes)
    assert "0.1 s for each ballot" in next(forecast_lines(speed, verified, attempts=3))


# --- measuring ------------------------------------------------------------------------------------------------------


def test_replies_that_end_by_themselves_are_measured_once() -> None:
    teacher = SlowTeacher(tokens=10)
    of_model = of_teacher(teacher)
    speed = writing_of(of_model)
    assert len(teacher.requests) == 1 + 4
    assert of_model.loading == 7.0
    assert speed.request_seconds == speed.longest_request_seconds == pytest.approx(3.0 / 4)
    assert speed.tokens_per_second == pytest.approx(40 / 3)


def test_longer_replies_get_as_many_tokens_as_there_is_time_for() -> None:
    teacher = SlowTeacher(tokens=1000)
    speed = writing_of(of_teacher(teacher))
    lengths = {request.max_tokens for request in teacher.requests}
    assert len(teacher.requests) == 1 + 4 + 4 and len(lengths) == 2
    longest = max(lengths)
    assert 40 < longest < 256
    assert teacher.clock.now - 7.0 <= 15.0 + 3.6  # one request alone
    assert speed.request_seconds == pytest.approx((2.0 + 0.1 * longest) / 4)
    assert speed.longest_request_seconds == pytest.approx((2.0 + 0.1 * 256) / 4)


def test_a_group_that_may_take_longer_than_a_minute_is_measured_in_part() -> None:
    teacher = SlowTeacher(tokens=10, prompt_seconds=6.0)
    speed = writing_of(of_teacher(teacher, teacher__group_size=32))
    assert len(teacher.requests) == 1 + 3 + 4  # which took 9, 21 and 27 s
    assert speed.requests == 4 and speed.request_seconds == pytest.approx((2.0 + 4 * 6.0 + 1.0) / 4)


def test_tokens_that_are_missing_are_not_given_the_time_that_prompts_took() -> None:
    """Where there is no time for longer replies, shorter ones tell how long a token takes."""
    speed = writing_of(of_teacher(SlowTeacher(tokens=1000, prompt_seconds=6.0), teacher__group_size=32))
    assert speed.requests == 4
    assert speed.longest_request_seconds == pytest.approx((2.0 + 4 * 6.0 + 0.1 * 256) / 4)


def test_ballots_that_may_take_longer_than_a_minute_are_measured_in_part() -> None:
    voter = SlowVoter(ballot_seconds=12.0)
    assert of_teacher(voter, checks__verify="on").ballot_seconds == pytest.approx((2.0 + 2 * 12.0) / 2)


def test_a_group_is_one_of_a_run(tmp_path: Path) -> None:
    few = SlowTeacher(tokens=5, group_seconds=0.25)
    of_teacher(few, teacher__group_size=32)
    assert len(few.requests) == 1 + len(SEEDS)  # no more can fail
    many = SlowTeacher(tokens=5, group_seconds=0.25)
    of_teacher(many, teacher__group_size=32, loop__augmentations_per_failure=5)
    assert len(many.requests) == 1 + 32
    assert all(request.prompt.completion.count("seed question") > 1 for request in many.requests)


def test_a_training_is_measured_in_its_first_steps(tmp_path: Path) -> None:
    student = SlowStudent(half_learnt)
    speed = of_student(student, tmp_path, student__epochs=10)  # 30 steps of 4 examples
    first, second = student.segments
    assert (first.start_step, first.stop_step, first.total_steps) == (0, 2, 30)
    assert (second.start_step, second.stop_step) == (2, 10) and second.checkpoint == first.output
    assert speed.loading == 4.0
    assert speed.example_seconds == pytest.approx(1.0 / 4)
    assert speed.tokens_per_second == pytest.approx(8.0)
    assert speed.answer_seconds == pytest.approx(0.1)


def test_a_training_that_is_short_is_measured_whole(tmp_path: Path) -> None:
    student = SlowStudent(half_learnt)
    speed = of_student(student, tmp_path, student__epochs=1)  # 3 steps
    assert [(one.start_step, one.stop_step) for one in student.segments] == [(0, 2), (2, 3)]
    assert speed.example_seconds == pytest.approx(1.0 / 4)


def test_steps_that_take_long_are_not_followed_by_more(tmp_path: Path) -> None:
    student = SlowStudent(half_learnt, step_seconds=20.0)
    speed = of_student(student, tmp_path, student__epochs=10)
    assert [(one.start_step, one.stop_step) for one in student.segments] == [(0, 2)]
    assert speed.example_seconds == pytest.approx(5.0)


def test_answers_are_measured_in_the_largest_batch_that_there_is_time_for(tmp_path: Path) -> None:
    student = SlowStudent(half_learnt)
    of_student(student, tmp_path, student__predict_batch_size=64)
    assert [len(batch.prompts) for batch in student.batches] == [8, 17]  # all that there are
    for batch in student.batches:
        assert [len(prompt) for prompt in batch.prompts] == sorted(len(prompt) for prompt in batch.prompts)


def test_a_call_that_takes_a_minute_is_ended() -> None:
    clock = FakeClock()
    limit = TimeLimit(clock)

    def call() -> None:
        for _ in range(100):
            clock.now += 1.0
            limit.look()

    limit.look()
    with pytest.raises(TooSlowError, match="a group takes longer than 60 s"):
        limit.timed("a group", call)
    assert clock.now == 61.0
    limit.look()  # while what was at work is ended
    assert limit.timed("a quick one", lambda: quiet()) < 1.0


# --- recipes --------------------------------------------------------------------------------------------------------


@dataclass
class NeverAsked(FakeTeacher):
    """Fails the test that asks it anything, loading included."""

    def check_prompts(self, group: Sequence[TeacherRequest], progress: Progress) -> int:
        raise AssertionError("a run of this recipe never asks its teacher")

    generate = score = check_prompts  # type: ignore[assignment]


def of_models(folder: Path, teacher: FakeTeacher, config: Config, *, keeps_both: bool = True) -> Speed:
    clock = FakeClock()
    if isinstance(teacher, SlowTeacher):
        teacher.clock = clock
    memory = MemoryPlan("cpu", 0, 0, 0, keeps_both, "for a test")
    plan = cast(DevicePlan, SimpleNamespace(memory=memory))
    student = SlowStudent(half_learnt, clock=clock)
    return measure_models(inputs_of(config), teacher, student, plan, folder, TimeLimit(clock), clock)


@pytest.mark.parametrize(
    "changes",
    [
        {"loop__recipe": "fine_tune", "checks__verify": "on"},
        {"loop__recipe": "fine_tune_matched", "loop__match_run": 1},
        {"loop__recipe": "eda"},
        {"loop__recipe": "eda", "checks__verify": "on", "checks__verifier": "student"},
    ],
)
def test_a_teacher_that_is_never_asked_is_not_even_loaded(tmp_path: Path, changes: dict[str, Any]) -> None:
    config = config_of(**changes)
    speed = of_models(tmp_path, NeverAsked(), config, keeps_both=False)
    assert speed.teacher is None and not speed.takes_turns
    plan = dataclasses.replace(PLAN, iterations=config.loop.iterations)
    found = forecast(speed, plan, Assumption(0.0, 1, Asking(0.0)))
    assert found.whole_run == pytest.approx(found.first_iteration + speed.student.loading)
    (measured, *_) = forecast_lines(speed, plan, attempts=3)
    assert measured.endswith("it was loaded in 4 s, and the teacher is never asked")


def test_a_teacher_that_only_votes_is_asked_for_no_new_example(tmp_path: Path) -> None:
    teacher = SlowVoter()
    speed = of_models(tmp_path, teacher, config_of(loop__recipe="eda", checks__verify="on"), keeps_both=False)
    assert speed.teacher == TeacherSpeed(7.0, None, (2.0 + 0.25 * 4) / 4, (2.0 + 0.25 * 4) / 4) and speed.takes_turns
    assert teacher.requests == []
    plan = dataclasses.replace(
        PLAN, iterations=1, subjects="all seeds", verifiers=("teacher",), votes=3, audit_ballots=3
    )
    lines = list(forecast_lines(speed, plan, attempts=2))
    assert "the teacher voted, 0.75 s for each ballot; the student" in lines[0]
    # Two trainings, on 60 and on 120, and three ballots on each of 60 seeds and of 60 new examples, or of 120.
    trainings = speed.student.example_seconds * 10 * 180 + speed.student.answer_seconds * 2 * 560
    for line, tries in ((lines[2].partition(", ")[0], 1), (lines[2].partition(", ")[2], 2)):
        assert estimated(trainings + 0.75 * 3 * 60 * (1 + tries) + 3 * 11.0) in line, lines
    assert "accepted at once" in lines[2] and "each takes 2 tries" in lines[2]


def test_written_votes_of_a_teacher_that_writes_nothing_else_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    solved = [dataclasses.replace(seed, answer=f"#### {n}") for n, seed in enumerate(SEEDS)]
    monkeypatch.setitem(globals(), "SEEDS", solved)
    teacher = SlowTeacher(tokens=10)
    math = {"task__family": "math", "task__labels": []}
    speed = of_teacher(teacher, loop__recipe="eda", checks__verify="on", **math)
    assert speed == TeacherSpeed(7.0, None, (2.0 + 0.1 * 10) / 4, (2.0 + 0.1 * 10) / 4)
    assert len(teacher.requests) == 1 + 4 and {request.sampling for request in teacher.requests} == {WRITTEN}


def test_a_rephrasing_teacher_is_asked_to_rephrase() -> None:
    teacher = SlowTeacher(tokens=5)
    of_teacher(teacher, loop__recipe="auggpt")
    assert teacher.requests and all("several ways" in one.prompt.completion for one in teacher.requests)


@pytest.mark.parametrize("known", [{"subjects": "all seeds"}, {"failures": 0.5}])
def test_where_the_answers_have_no_say_nothing_is_told_of_failures(known: dict[str, Any]) -> None:
    plan = dataclasses.replace(PLAN, iterations=1, **known)
    lines = list(forecast_lines(SPEED, plan, attempts=3))
    assert not [line for line in lines if "fails no seed" in line or "is failed" in line or "fails half" in line]
    share = plan.failures or 1.0
    found = [
        forecast(SPEED, plan, Assumption(share, requests, Asking(seconds))).whole_run
        for requests, seconds in ((1, 0.5), (3, 2.0))
    ]
    assert f"{estimated(found[0])} when each new example is accepted at once" in lines[2]
    assert f"{estimated(found[1])} when each takes 3 requests" in lines[2]
    assert found[0] > forecast(SPEED, PLAN, Assumption(0.0, 1, Asking(0.5))).whole_run


def test_at_most_written_ballots_are_as_long_as_they_may_be() -> None:
    assert SPEED.teacher is not None
    plan = dataclasses.replace(PLAN, verifiers=("teacher",), votes=3, audit_ballots=3)
    lines = {
        longest: list(
            forecast_lines(
                dataclasses.replace(
                    SPEED,
                    teacher=dataclasses.replace(SPEED.teacher, ballot_seconds=0.1, longest_ballot_seconds=longest),
                ),
                plan,
                attempts=2,
            )
        )
        for longest in (0.1, 0.4)
    }
    most = forecast(SPEED, plan, Assumption(1.0, 2, Asking(2.0, 0.4))).whole_run
    assert f"{estimated(most)} when every student fails all" in lines[0.4][2]
    assert most - forecast(SPEED, plan, Assumption(1.0, 2, Asking(2.0, 0.1))).whole_run == pytest.approx(
        0.3 * 3 * (60 + 3 * 2 * 60)
    )
    half = [line[2].split("; ")[1] for line in lines.values()]
    assert half[0] == half[1]


# --- what follows ---------------------------------------------------------------------------------------------------


def test_without_a_failure_a_run_ends_after_its_first_student() -> None:
    found = forecast(SPEED, PLAN, Assumption(0.0, 1, Asking(0.5)))
    student = 0.1 * 60 * 10 + 0.02 * 560
    assert found.first_iteration == pytest.approx(student)
    assert found.whole_run == pytest.approx(student + 8.0)


@pytest.mark.parametrize(("share", "requests"), [(0.5, 1), (1.0, 3)])
def test_failures_and_requests_are_added_up_over_the_iterations(share: float, requests: int) -> None:
    found = forecast(SPEED, PLAN, Assumption(share, requests, Asking(2.0)))
    students = sum(0.1 * 60 * (1 + share * i) * 10 + 0.02 * 560 for i in range(4))
    teacher = 60 * share * requests * 2.0
    assert found.first_iteration == pytest.approx(0.1 * 600 + 0.02 * 560 + teacher)
    assert found.whole_run == pytest.approx(students + 3 * teacher + 8.0)


@pytest.mark.parametrize(
    ("verifiers", "requests", "n_loads"),
    [
        ((), 3, 1 + 3),
        (("teacher",), 3, 1 + 1 + 3),  # the teacher asks and votes in all rounds of an iteration, one after another
        (("teacher", "student"), 1, 1 + 1 + 3),
        (("teacher", "student"), 3, 1 + 1 + 3 * 3),
        (("student",), 3, 1 + 3 * 3),
    ],
)
def test_models_that_take_turns_are_loaded_as_often_as_it_is_the_others_turn(
    verifiers: tuple[str, ...], requests: int, n_loads: int
) -> None:
    teacher = (
        dataclasses.replace(SPEED.teacher, ballot_seconds=0.1, longest_ballot_seconds=0.4) if SPEED.teacher else None
    )
    speed, plan = dataclasses.replace(SPEED, teacher=teacher), dataclasses.replace(PLAN, verifiers=verifiers)
    both, turns = (
        forecast(
            dataclasses.replace(speed, takes_turns=takes_turns), plan, Assumption(1.0, requests, Asking(0.5, 0.1))
        ).whole_run
        for takes_turns in (False, True)
    )
    assert turns - both == pytest.approx((n_loads - 1) * 8.0)


def test_what_is_told_goes_from_the_least_to_the_most() -> None:
    lines = list(forecast_lines(SPEED, PLAN, attempts=3))
    assert "40 tokens/s in a group of 32 requests" in lines[0]
    assert "200 tokens/s" in lines[0] and "50 answers/s" in lines[0]
    assert re.search(r"about 1 min 11 s when the student fails no seed, about 7 min 11 s when it fails every", lines[1])
    assert "about 1 min 19 s when no seed is failed" in lines[2]
    assert "about 8 min 38 s when every student fails half" in lines[2]
    assert "about 28 min 53 s when every student fails all, with 3 requests for each" in lines[2]


def test_a_run_of_one_training_has_one_time() -> None:
    lines = list(forecast_lines(SPEED, dataclasses.replace(PLAN, iterations=0), attempts=3))
    assert lines[1:] == ["time: about 1 min 19 s"]


def test_a_run_that_multiplies_takes_more_than_any_calendar_has() -> None:
    plan = dataclasses.replace(PLAN, iterations=300, augmentations_per_failure=100, augment_from="all")
    assert "more than a year when every student fails all" in list(forecast_lines(SPEED, plan, 3))[2]


# --- doctor ---------------------------------------------------------------------------------------------------------


@pytest.mark.model
def test_a_doctor_measures_the_real_models(tiny_models: TinyModels, tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "workspace", tiny_models)
    quick = workspace.llm2llm("doctor")
    assert "llm2llm doctor --measure" in quick.out and "measured: " not in quick.out
    ending = workspace.llm2llm("doctor", "--measure")
    assert ending.code == 0 and "half a minute" in ending.err, ending
    for text in (
        r"the teacher wrote [\d.e+]+ tokens/s",
        r"gave [\d.e+]+ answers/s",
        "first iteration: about",
        "whole run",
    ):
        assert re.search(rf"^ok .*{text}", ending.out, re.MULTILINE), ending.out
    assert not workspace.store.exists()


@pytest.mark.model
def test_nothing_is_measured_beside_a_run(tiny_models: TinyModels, tmp_path: Path, finished_run: Workspace) -> None:
    from llm2llm_local.store.lock import RunLock

    with RunLock(finished_run.folder / "runs" / "1", 1):
        (finding,) = doctor.measure(finished_run.config, ())
    assert finding.level == "warning" and "run 1 is at work" in finding.text


@pytest.mark.model
@pytest.mark.parametrize("error", [TooSlowError("the group takes long", "Wait."), None])
def test_a_measurement_that_fails_says_why(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: TooSlowError | None
) -> None:
    workspace = make_workspace(tmp_path / "workspace", tiny_models)

    def fail(_: Inputs) -> Speed:
        raise error or Llm2LlmError("no memory", "Free some.")

    monkeypatch.setattr(doctor, "measure_speed", fail)
    monkeypatch.setattr("psutil.cpu_percent", lambda interval: 70.0)
    busy, finding = doctor.measure(workspace.config, ())
    assert "70% of the CPUs" in busy.text
    expected = ("error", "no memory. Free some.") if error is None else ("warning", "the group takes long. Wait.")
    assert (finding.level, finding.text) == expected
