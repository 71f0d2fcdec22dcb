"""`bench verification`: how many of real candidates were right, without verification and with it.

The candidates and the verdicts are those of runs in the store, which is only read. What is right is said by a judge
that knows far more: the runs' student, trained on all rows of the data of which the runs' seeds are a small part. It is
of the same make as the students that vote and may share a few of their errors, which makes these look the better. A
right candidate is *hard* when the student of its iteration gets it wrong: verification that keeps these out keeps out
what the student needs most.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import DataConfig
from ..counted import counted
from ..datasets.reader import LoadedData, load_splits
from ..errors import ChangedSinceStartError, DataError, UserInputError
from ..loop.context import derive_rng_seed
from ..loop.fingerprint import differing
from ..loop.plans import estimated_tokens, settings_of_student
from ..loop.train import segment_of
from ..model_files.catalogue import content_hash
from ..model_files.folder import count_weights, inspect_folder
from ..records import DataRow, Outcome, Reply, Split
from ..store.reader import open_reader
from ..student.batching import total_steps
from ..student.protocol import PredictionBatch, Student, StudentSettings, TrainingExample
from ..tasks.base import Task
from ..tasks.families import make_task
from ..workers.device import find_device
from ..workers.memory import student_memory
from .judge import JudgeTraining, check_judge, train_judge
from .machine import Machine, this_machine, versions
from .measure import Tell
from .measured_run import MeasuredRun, read_run
from .output import now
from .student_process import student_process
from .worth import THRESHOLDS, Candidate, Judged, Part, Worth, worth_of

EPOCHS = 3
"""Over thousands of rows: as many steps as a run's ten epochs over a hundred rows have, and many more."""

_LEAST_ROWS = 4
"""Labelled rows for each seed, below which a judge is warned of."""

_SHARED = ("data.train", "data.question_column", "data.answer_column")


@dataclass(frozen=True, slots=True)
class Request:
    """`judge`: the folder that it is kept in; `epochs`: passes of its training over all rows."""

    workspace: Path
    run_ids: tuple[int, ...]
    judge: Path
    epochs: int = EPOCHS


@dataclass(frozen=True, slots=True)
class JudgeFigures:
    """`right`: of the rows of data.test; of none where there are none."""

    folder: Path
    model: str
    rows: int
    epochs: int
    right: Part


@dataclass(frozen=True, slots=True)
class RunFigures:
    """What was measured of one run. `verifiers`: nobody's when verification was off."""

    run_id: int
    teacher: str
    verifiers: tuple[str, ...]
    accept_probability: float
    worth: Worth


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """`runs`: those that are measured so far, in the order in which they were asked for."""

    created_at: str
    machine: Machine
    versions: dict[str, str]
    task: str
    judge: JudgeFigures
    runs: tuple[RunFigures, ...]


@dataclass(frozen=True, slots=True)
class _Labelled:
    """All labelled rows, and the task as those have it who know all of them."""

    train: tuple[DataRow, ...]
    test: tuple[DataRow, ...]
    task: Task
    sha256: str


def measure_verification(
    request: Request, tell: Tell, keep: Callable[[VerificationReport], None]
) -> VerificationReport:
    """Train the judge, or find it trained, and let it judge. `keep` hears the report as it is after each run.

    Raises UserInputError before anything is trained where runs can't be measured, or not by the judge in that folder.
    """
    with open_reader(request.workspace) as connection:
        runs = [read_run(connection, request.workspace, run_id) for run_id in dict.fromkeys(request.run_ids)]
    labelled = _labelled(runs)
    for run in runs:
        _check_student(run)
    training = _training(runs[0], labelled, request)
    done = check_judge(training)
    settings = _settings(runs[0], labelled.train)
    log, timeout = training.folder / "student.log", runs[0].hardware.worker_timeout_seconds
    for run in runs:
        if warning := _knows_little(run, len(labelled.train)):
            tell(f"warning: {warning}")
    tell(f"judge: {training.whole.total_steps:,} steps on {counted(len(labelled.train), 'row')}, {done:,} done")
    with student_process(settings, log, timeout) as student:
        adapter = train_judge(training, student, tell)
        judge = _Answers(student, adapter, labelled.task, runs[0])
        report = _begun(request, runs[0], labelled, judge, tell)
        right = {run.run_id: judge.agreeing(run.candidates) for run in runs}
    for run in runs:
        tell(f"run {run.run_id}: {counted(len(run.candidates), 'candidate')}, {sum(right[run.run_id]):,} right")
        with student_process(_settings(run, labelled.train), log, timeout) as student:
            judged = _judged(run, right[run.run_id], student)
        in_force = run.accept_probability
        worth = worth_of(judged, in_force, sorted({*THRESHOLDS, in_force}))
        figures = RunFigures(run.run_id, run.teacher, run.verifiers, in_force, worth)
        report = dataclasses.replace(report, created_at=now(), runs=(*report.runs, figures))
        keep(report)
    return report


# --- who answers ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Answers:
    """A trained student with the task as it has learnt it."""

    student: Student
    adapter: Path
    task: Task
    run: MeasuredRun

    def agreeing(self, asked: Sequence[Candidate | DataRow]) -> list[bool]:
        """Of each whether the student, asked its question, gives its answer."""
        settings, prompts = self.run.student, self.task.prompts
        # Of similar length, so that little is padded.
        order = sorted(range(len(asked)), key=lambda place: (len(asked[place].question), place))
        replies: dict[int, Reply] = {}
        for start in range(0, len(order), settings.predict_batch_size):
            places = order[start : start + settings.predict_batch_size]
            batch = PredictionBatch(
                adapter=self.adapter,
                prompts=tuple(prompts.prompt(asked[place].question) for place in places),
                completions=tuple(prompts.completion(choice) for choice in self.task.choices),
                max_new_tokens=settings.max_new_tokens,
            )
            answers = self.student.predict(batch, lambda *_: None)
            replies |= {place: answer.reply for place, answer in zip(places, answers, strict=True)}
        return [
            self.task.grade(replies[place], one.answer).outcome is Outcome.CORRECT for place, one in enumerate(asked)
        ]


def _begun(request: Request, run: MeasuredRun, labelled: _Labelled, judge: _Answers, tell: Tell) -> VerificationReport:
    """Without a run yet."""
    right = judge.agreeing(labelled.test)
    tell(f"judge: {sum(right):,} of {counted(len(right), 'test row')} right")
    figures = JudgeFigures(
        request.judge, run.student.model.name, len(labelled.train), request.epochs, Part(sum(right), len(right))
    )
    task = f"{run.task.family}, {run.task.question_name} → {run.task.answer_name}"
    return VerificationReport(now(), this_machine(), versions(), task, figures, ())


def _judged(run: MeasuredRun, right: Sequence[bool], student: Student) -> list[Judged]:
    """Of each iteration's right candidates, which its own student gets wrong."""
    task = _task_of(run)
    easy: dict[int, bool] = {}
    for iteration, adapter in run.adapters.items():
        places = [
            place
            for place, (one, is_right) in enumerate(zip(run.candidates, right, strict=True))
            if is_right and one.iteration == iteration
        ]
        answered = _Answers(student, adapter, task, run).agreeing([run.candidates[place] for place in places])
        easy |= dict(zip(places, answered, strict=True))
    return [
        Judged(one, is_right, is_right and not easy[place])
        for place, (one, is_right) in enumerate(zip(run.candidates, right, strict=True))
    ]


def _knows_little(run: MeasuredRun, n_rows: int) -> str:
    """Why the judge's word on a run isn't worth much, where it has seen hardly more than the run's students."""
    sample = run.data.sample
    n_seeds = n_rows if sample is None else min(sample.n, n_rows)
    if n_rows >= _LEAST_ROWS * n_seeds:
        return ""
    return (
        f"run {run.run_id}: its seeds are {n_seeds:,} of the {counted(n_rows, 'row')} that the judge is trained on, so "
        "that it knows hardly more than the students whose word it is to judge"
    )


# --- what is judged by, and whether all runs can be -------------------------------------------------------------------


def _labelled(runs: Sequence[MeasuredRun]) -> _Labelled:
    """Raises UserInputError where the data has changed, and where runs are of different data or tasks."""
    first = runs[0]
    for run in runs[1:]:
        changed = differing(_kind(first), _kind(run))
        if changed:
            raise UserInputError(
                f"run {first.run_id} and run {run.run_id}: differ in {', '.join(changed)}, and no judge can be both's",
                "Measure them in calls of their own, each with a judge of its own: --judge FOLDER",
            )
    data = _data(first, first.data.model_copy(update={"sample": None, "test_sample": None}))
    rows = data.rows[Split.TRAIN]
    task = make_task(first.task, rows)
    for row in (*rows, *data.rows[Split.TEST]):
        task.validate(row)
    return _Labelled(rows, data.rows[Split.TEST], task, data.sha256["data.train"])


def _kind(run: MeasuredRun) -> dict[str, Any]:
    """What runs that are judged by the same judge have in common."""
    task = {f"task.{name}": value for name, value in run.task.model_dump(mode="json").items()}
    return task | {name: run.conditions.get(name) for name in _SHARED}


def _data(run: MeasuredRun, config: DataConfig) -> LoadedData:
    """Raises DataError where a file isn't where the run had it, ChangedSinceStartError where it isn't what it was."""
    try:
        data = load_splits(config.model_copy(update={"dev": None}))
    except DataError as error:
        raise DataError(f"run {run.run_id}: {error.message}", "Put it back as it was when the run started.") from None
    for name, sha256 in data.sha256.items():
        if run.conditions.get(name) != sha256:
            path = config.train if name == "data.train" else config.test
            raise ChangedSinceStartError(
                f"{path}: has changed since run {run.run_id} started", "Put it back as it was then."
            )
    return data


def _task_of(run: MeasuredRun) -> Task:
    """As the run's own students have learnt it: with the labels of its seeds, where none were declared."""
    task = run.task
    if run.labels:
        task = task.model_copy(update={"labels": run.labels})
    return make_task(task, _data(run, run.data).rows[Split.TRAIN])


def _check_student(run: MeasuredRun) -> None:
    """Raises ModelError for a student that can't be read, ChangedSinceStartError for another than the run's."""
    path = run.student.model
    inspect_folder(path)
    if content_hash(path) != run.conditions.get("student.model"):
        raise ChangedSinceStartError(
            f"{path}: is not the student that run {run.run_id} was started with",
            "Put that one back: what the run was worth is measured with it.",
        )


def _settings(run: MeasuredRun, rows: Sequence[DataRow]) -> StudentSettings:
    """How its student is loaded, with room for a training on these rows."""
    student = run.student
    device = find_device(run.hardware.device)
    dtype = run.compute_dtype(device)
    model = inspect_folder(student.model)
    longest = max(estimated_tokens(row.question + row.answer) for row in rows)
    memory = student_memory(
        model,
        count_weights(model),
        device=device,
        training_tokens=student.micro_batch_size * min(student.max_length, longest),
        quantization=student.quantization,
        compute_dtype=dtype,
        lora_rank=student.lora_rank,
    )
    return settings_of_student(student, run.hardware, device, dtype, memory)


def _training(run: MeasuredRun, labelled: _Labelled, request: Request) -> JudgeTraining:
    """By the student's settings of the run, but for the epochs; nothing in it is drawn by the run."""
    student, prompts = run.student, labelled.task.prompts
    steps = total_steps(len(labelled.train), student.batch_size, request.epochs)
    whole = segment_of(
        student,
        tuple(TrainingExample(prompts.prompt(row.question), prompts.completion(row.answer)) for row in labelled.train),
        epochs=request.epochs,
        rng_seed=derive_rng_seed(0, "judge"),
        start_step=0,
        stop_step=steps,
        total_steps=steps,
        start_adapter=None,
        checkpoint=None,
        output=request.judge.resolve() / "adapter",
    )
    return JudgeTraining(whole, _conditions(run, labelled, request.epochs), student.checkpoint_steps)


_LEARNT = (
    "quantization",
    "lora_rank",
    "lora_alpha",
    "lora_dropout",
    "learning_rate",
    "warmup_ratio",
    "weight_decay",
    "max_grad_norm",
    "batch_size",
    "micro_batch_size",
    "max_length",
)
"""Of the student's settings: what a training follows from, beside its epochs."""


def _conditions(run: MeasuredRun, labelled: _Labelled, epochs: int) -> dict[str, Any]:
    return {
        "data.train": labelled.sha256,
        "data.question_column": run.data.question_column,
        "data.answer_column": run.data.answer_column,
        "task.question_name": run.task.question_name,
        "task.answer_name": run.task.answer_name,
        "student.model": run.conditions["student.model"],
        **{f"student.{name}": getattr(run.student, name) for name in _LEARNT},
        "epochs": epochs,
    }
