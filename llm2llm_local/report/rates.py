"""How long work takes, as measured in this store, and what that says of work to come. A number is never invented:
what was not measured is None, and so is every sum that needs it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypedDict

from ..failure_signals import Answering, who_answers_seeds
from ..recipes import Subjects
from ..records import Split
from .stages import (
    STAGES,
    audit_votes,
    ballots_of_vote,
    folds_of,
    recipe_in,
    signal_of,
    takes_least_confident,
    verifiers_of,
)
from .work import RunWork, StageProgress, run_work, taken_of_kinds

_STUDENT = (
    "task.family",
    "task.predict",
    "data.train",
    "student.model",
    "student.quantization",
    "student.compute_dtype",
    "student.lora_rank",
    "student.batch_size",
    "student.micro_batch_size",
    "student.max_length",
    "student.max_new_tokens",
    "student.predict_batch_size",
    "hardware.device",
    "hardware.threads",
)
_TEACHER = (
    "task.family",
    "data.train",
    "teacher.model",
    "teacher.prompt_style",
    "teacher.max_new_tokens",
    "teacher.demonstrations",
    "teacher.attempts",
    "teacher.group_size",
    "teacher.n_parallel",
    "teacher.n_batch",
    "teacher.gpu_layers",
    "teacher.kv_cache",
    "teacher.flash_attention",
    "hardware.device",
    "hardware.threads",
)
"""Configuration that must be the same for another run's rates to count: models, texts, batches and machine."""

_LEARNING = (
    "student.epochs",
    "student.learning_rate",
    "student.lora_alpha",
    "data.sample",
    "loop.recipe",
    "loop.augment_from",
    "loop.fine_tune",
    "loop.failure_signal",
    "loop.folds",
    "loop.least_confident",
)
"""And for its share of failures: how long, how fast and on what a student learns, and what is taken for a failure,
changes that many times over.
"""

_BY_STUDENT = ("train", "predict", "grade")
_BY_TEACHER = ("audit", "calibrate")
_BY_LEARNING = ("failures",)
_OF_NEW_BY_STUDENT = ("student_vote",)
_OF_NEW_BY_TEACHER = ("augment", "check", "vote")
_OF_NEW_BY_CHECKING = ("requests", "accepted")
"""What is measured on new examples (`_OF_NEW_…`) depends on who makes them, too: words are changed in no time, and how
many are let through to a vote, or in, is another share for each kind.
"""

_MEASURED_WITH = {"fold_train": "train", "fold_predict": "predict"}
"""Stages that do the same work as another."""

_IF_UNKNOWN = {"vote": "audit", "student_vote": "predict"}
"""Rates that another comes close to."""

_MOST_EARLIER_RUNS = 20
"""Looked into. What none of them measured isn't looked for in hundreds more, every fifth second."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What was measured; None: nothing was.

    `train`: seconds for an example in an epoch; `predict`, `grade`: for an example; `augment`: for a request; `check`:
    for a candidate. `failures`: share of the questions asked that were taken for failures, and new examples made for
    (seeds that a recipe takes whether they fail or not count as such). `requests`, `accepted`: for each example
    that was wanted (failures × loop.augmentations_per_failure). `audit`: for a ballot on a seed; `calibrate`: for a
    seed; `vote`: for each ballot that all candidates of a round would have, whether or not the other checks let them
    through to it; `student_vote`: for a candidate, likewise.
    """

    train: float | None = None
    predict: float | None = None
    grade: float | None = None
    augment: float | None = None
    check: float | None = None
    failures: float | None = None
    requests: float | None = None
    accepted: float | None = None
    audit: float | None = None
    calibrate: float | None = None
    vote: float | None = None
    student_vote: float | None = None

    def of_stage(self, stage: str) -> float | None:
        """Seconds for a piece of its work; None as well for a stage that has no rate."""
        name = _MEASURED_WITH.get(stage, stage)
        rate: float | None = getattr(self, name, None)
        return self.of_stage(_IF_UNKNOWN[name]) if rate is None and name in _IF_UNKNOWN else rate

    def completed_by(self, other: Rates, names: Iterable[str]) -> Rates:
        """What of `names` is missing here is taken from there."""
        return replace(self, **{name: getattr(other, name) for name in names if getattr(self, name) is None})


@dataclass(frozen=True, slots=True)
class Plan:
    """A run to be estimated: its rows, and the fields of its configuration that say how often they are worked on.

    `epochs`: not whole where a training has as many steps as another. `subjects`: which examples new ones are made for.
    `votes`: the teacher's ballots on each answer; `audit_ballots`: all of its ballots on a seed in the audit. `folds`:
    into which the seeds are divided for students that haven't seen them, which tell failures (by `failure_signal`),
    vote, or both. `failures`: the share of the questions asked that is taken for failures, where that doesn't depend on
    the answers.
    """

    seeds: int
    dev: int
    test: int
    iterations: int
    epochs: float
    augmentations_per_failure: int
    augment_from: str = "seeds"
    subjects: Subjects = "failures"
    verifiers: tuple[str, ...] = ()
    votes: int = 0
    audit_ballots: int = 0
    folds: int = 0
    failure_signal: str = "train"
    failures: float | None = None

    @property
    def failures_are_known(self) -> bool:
        """Whether the answers have no say in how many new examples there will be."""
        return self.failures is not None or self.subjects == "all seeds"

    def taken_for_failures(self, share: float | None, asked: float) -> float | None:
        """Examples that new ones are made for, of those `asked`, where students fail this share of them."""
        if self.subjects == "all seeds":
            return self.seeds
        return _times(share if self.failures is None else self.failures, asked)

    def folds_in(self, iteration: int) -> int:
        """Students of an iteration that leave a part of the seeds out."""
        votes = iteration == 0 and "student" in self.verifiers
        return self.folds if votes or self.answering_seeds(iteration) == "students of folds" else 0

    def answering_seeds(self, iteration: int) -> Answering:
        """Who is asked them."""
        return who_answers_seeds(self.failure_signal, iteration, self.iterations)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a run is: stages that it has not opened yet in `iteration` are ahead, and all later ones.

    `opened`: how often each stage was opened in the iteration; `failures`: None when not known yet; `asked`: requests
    of rounds that were opened; `unvoted`, by stage, and `unchecked`: those of them whose vote or check was not opened;
    `may_ask`: a round of asking is left.
    """

    iteration: int
    training_examples: int
    opened: Mapping[str, int] = field(default_factory=dict)
    failures: int | None = None
    asked: int = 0
    unvoted: Mapping[str, int] = field(default_factory=dict)
    unchecked: int = 0
    may_ask: bool = True


def estimate(rates: Rates, plan: Plan) -> float | None:
    """Wall seconds of a whole new run; None when something that it needs was never measured."""
    return seconds_ahead(rates, plan, Position(0, plan.seeds))


def seconds_ahead(rates: Rates, plan: Plan, position: Position) -> float | None:
    """Wall seconds of all stages that are not opened yet; None as in `estimate`. May be more than any calendar has."""
    total = 0.0
    for ahead in iterations_ahead(rates, plan, position):
        if ahead.seconds is None:
            return None
        total += ahead.seconds
    return total


@dataclass(frozen=True, slots=True)
class IterationAhead:
    """What is expected of an iteration. Both may be infinite: they grow from round to round.

    `seconds`: wall time of its stages that are not opened yet; None when something that they need was never measured.
    """

    iteration: int
    training_examples: float
    seconds: float | None


def iterations_ahead(rates: Rates, plan: Plan, position: Position) -> Iterator[IterationAhead]:
    """Up to the last, or to one whose student fails nothing, or whose new examples can't be told."""
    training_examples: float = position.training_examples
    while position.iteration <= plan.iterations:
        asked = training_examples if plan.augment_from == "all" else plan.seeds
        failures: float | None = position.failures
        if failures is None:
            failures = plan.taken_for_failures(rates.failures, asked)
        is_last = position.iteration == plan.iterations or failures == 0  # the run ends early then
        work = list(_of_student(rates, plan, position, training_examples, asked))
        accepted: float | None = 0.0
        if not is_last:
            wanted = _times(failures, plan.augmentations_per_failure)
            requests, accepted = _times(rates.requests, wanted), _times(rates.accepted, wanted)
            work += _of_new(rates, plan, position, requests, accepted)
        yield IterationAhead(position.iteration, training_examples, _seconds(work))
        if is_last or accepted is None:
            return
        training_examples += accepted
        position = Position(position.iteration + 1, 0)


_Work = tuple[float | None, float | None]
"""Seconds for a piece of work, and how many pieces; None: not known."""


def _of_student(
    rates: Rates, plan: Plan, position: Position, training_examples: float, asked: float
) -> Iterator[_Work]:
    """What comes before the teacher is asked for new examples, the audit included."""
    opened = position.opened
    if position.iteration == 0 and "teacher" in plan.verifiers and "audit" not in opened:
        yield rates.audit, plan.seeds * plan.audit_ballots
    if position.iteration == 0 and plan.verifiers and "calibrate" not in opened:
        yield rates.calibrate, plan.seeds
    answering, folds = plan.answering_seeds(position.iteration), plan.folds_in(position.iteration)
    if folds:  # as large as one another, to within an example
        size = plan.seeds / folds
        yield rates.train, (folds - opened.get("fold_train", 0)) * (training_examples - size) * plan.epochs
        yield rates.predict, (folds - opened.get("fold_predict", 0)) * size
    if "train" not in opened:
        yield rates.train, training_examples * plan.epochs
    if "predict" not in opened:
        by_others = 0 if answering == "its student" else plan.seeds
        yield rates.predict, asked - by_others + plan.dev + plan.test
    if "grade" not in opened:
        yield rates.grade, (0 if answering == "nobody" else plan.seeds) + plan.dev + plan.test


def _of_new(
    rates: Rates, plan: Plan, position: Position, requests: float | None, accepted: float | None
) -> Iterator[_Work]:
    """New examples: asking for them, voting and checking."""
    if requests is None or accepted is None:
        yield None, None
        return
    ahead = max(0.0, requests - position.asked) if position.may_ask else 0.0
    yield rates.augment, ahead
    if "teacher" in plan.verifiers:
        yield rates.of_stage("vote"), (ahead + position.unvoted.get("vote", 0)) * plan.votes
    if "student" in plan.verifiers:
        yield rates.of_stage("student_vote"), ahead + position.unvoted.get("student_vote", 0)
    yield rates.check, ahead + position.unchecked


def _seconds(work: Iterable[_Work]) -> float | None:
    total = 0.0
    for seconds, amount in work:
        if amount is None or (amount and seconds is None):
            return None
        total += amount * seconds if seconds else 0.0  # the amount may be infinite
    return total


def _times(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one * other


def measured_rates(connection: sqlite3.Connection, config: Mapping[str, Any]) -> Rates:
    """For a run to be started with this configuration (dotted names, as `config.flatten` gives): see `rates_of`."""
    models = [_model_at(connection, role, config.get(f"{role}.model")) for role in ("student", "teacher")]
    return _of_earlier_runs(connection, Rates(), config, models[0], models[1], before_run_id=None)


def rates_of(connection: sqlite3.Connection, work: RunWork) -> Rates:
    """What the run itself measured; the rest from the newest earlier runs with the same models and conditions."""
    own = rates_within(work)
    row = connection.execute(
        "SELECT student_model_id, teacher_model_id FROM runs WHERE run_id = ?", [work.run_id]
    ).fetchone()
    return _of_earlier_runs(connection, own, work.config, row[0], row[1], before_run_id=work.run_id)


def rates_within(work: RunWork) -> Rates:
    """What the complete units of a run tell."""
    seconds = dict.fromkeys((_MEASURED_WITH.get(stage, stage) for stage in STAGES), 0.0)
    amounts = dict(seconds)
    for stage in work.stages:
        if stage.is_measured:
            name = _MEASURED_WITH.get(stage.stage, stage.stage)
            seconds[name] += stage.seconds
            amounts[name] += pieces_of(work, stage) * stage.rows_done / stage.rows_total
    rates = Rates(**{name: seconds[name] / amount for name, amount in amounts.items() if amount})
    for number, iteration in reversed(list(enumerate(work.iterations))):
        if rates.failures is None and iteration.failures is not None:
            rates = replace(rates, failures=iteration.failures / work.asked(iteration.training_examples))
        if iteration.is_done and iteration.failures and number < work.config["loop.iterations"]:
            wanted = iteration.failures * work.config["loop.augmentations_per_failure"]
            requests = sum(one.rows_total for one in work.stages if (one.iteration, one.stage) == (number, "augment"))
            return replace(rates, requests=requests / wanted, accepted=iteration.accepted / wanted)
    return rates


def pieces_of(work: RunWork, stage: StageProgress) -> float:
    """How much work a whole stage is, in what its rate counts."""
    if stage.stage in ("train", "fold_train"):
        return work.trained_on(stage) * work.epochs(work.trained_on(stage))
    if stage.stage == "vote":
        return float(work.requests(stage.iteration, stage.attempt) * work.config["checks.votes"])
    return float(stage.rows_total)


def _of_earlier_runs(
    connection: sqlite3.Connection,
    rates: Rates,
    config: Mapping[str, Any],
    student: int | None,
    teacher: int | None,
    before_run_id: int | None,
) -> Rates:
    rows = connection.execute(
        "SELECT run_id, config, student_model_id, teacher_model_id FROM runs WHERE run_id < coalesce(?1, run_id + 1) "
        "AND (student_model_id = ?2 OR teacher_model_id = ?3) ORDER BY run_id DESC LIMIT ?4",
        [before_run_id, student, teacher, _MOST_EARLIER_RUNS],
    )
    for run_id, text, of_student, of_teacher in rows:
        missing = [one.name for one in fields(Rates) if getattr(rates, one.name) is None]
        if not missing:
            break
        other = json.loads(text)
        makes_alike = recipe_in(config).writer == recipe_in(other).writer
        usable: list[str] = []
        if of_student == student and _same(config, other, _STUDENT):
            usable += _BY_STUDENT
            if _same(config, other, _LEARNING):
                usable += _BY_LEARNING
            if makes_alike:
                usable += _OF_NEW_BY_STUDENT
        if of_teacher == teacher and _same(config, other, _TEACHER):
            usable += _BY_TEACHER
            if makes_alike:
                usable += _OF_NEW_BY_TEACHER
                if _checks_alike(config, other) and (of_student == student or "student" not in verifiers_of(config)):
                    usable += _OF_NEW_BY_CHECKING
        if set(usable) & set(missing):
            rates = rates.completed_by(rates_within(run_work(connection, run_id)), usable)
    return rates


def _same(config: Mapping[str, Any], other: Mapping[str, Any], names: Iterable[str]) -> bool:
    return all(config.get(name) == other.get(name) for name in names)


def _checks_alike(config: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether what one lets in the other does, too. How many are drawn for a person is nothing to that."""
    fields = {name for name in config.keys() | other.keys() if name.startswith("checks.")} - {"checks.audit_sample"}
    return _same(config, other, fields)


def _model_at(connection: sqlite3.Connection, role: str, path: object) -> int | None:
    """The model that lay there when a run last used it."""
    row = connection.execute(
        f"SELECT {role}_model_id FROM runs WHERE json_extract(config, ?) = ? ORDER BY run_id DESC LIMIT 1",
        [f'$."{role}.model"', path],
    ).fetchone()
    return None if row is None else int(row[0])


def plan_of(work: RunWork) -> Plan:
    """What a run that exists was planned as."""
    return Plan(
        seeds=work.n[Split.TRAIN],
        dev=work.n[Split.DEV],
        test=work.n[Split.TEST],
        iterations=work.config["loop.iterations"],
        epochs=work.epochs(work.n[Split.TRAIN]),
        augmentations_per_failure=work.config["loop.augmentations_per_failure"],
        augment_from=work.config["loop.augment_from"],
        **extent_of(work.config, work.kinds),
    )


class _Extent(TypedDict):
    subjects: Subjects
    verifiers: tuple[str, ...]
    votes: int
    audit_ballots: int
    folds: int
    failure_signal: str
    failures: float | None


def extent_of(config: Mapping[str, Any], kinds: Sequence[int]) -> _Extent:
    """These fields of a plan, from a configuration by dotted names. `kinds`: how many seeds there are of each."""
    verifiers, seeds = verifiers_of(config), sum(kinds)
    return {
        "subjects": recipe_in(config).subjects,
        "verifiers": verifiers,
        "votes": config["checks.votes"] if "teacher" in verifiers else 0,
        "audit_ballots": audit_votes(config) * ballots_of_vote(config) if "teacher" in verifiers else 0,
        "folds": folds_of(config, seeds, 0),
        "failure_signal": signal_of(config),
        "failures": taken_of_kinds(config, kinds) / seeds if takes_least_confident(config) else None,
    }
