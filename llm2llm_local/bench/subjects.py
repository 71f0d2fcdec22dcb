"""What `llm2llm bench` can measure, and the way from a call of it to a report."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..config_file import load_config
from ..datasets.reader import read_rows
from ..default_model import STUDENT, TEACHER
from ..errors import UserInputError
from ..loop.fingerprint import threads
from ..model_files.folder import inspect_folder
from ..model_files.gguf_file import inspect_gguf
from ..teacher.plan import Device
from ..workers.device import find_device
from .gpu.limits import STARTED, time_limits
from .machine import disturbances, this_machine, versions
from .measure import UNLIMITED, Tell, measure, measure_series
from .output import Report, now
from .plan import ALL_LAYERS, Comparison, Series, against, resized

_CONFIG_NAME = "llm2llm.toml"

SUBJECTS = {
    "teacher": "requests in batches against one at a time and against llama.cpp's bare loop; growth by requests",
    "student": "training and prediction against what transformers offers",
    "loop": "a run of the bundled demo, stage by stage, against a process per stage as the method was published",
    "checks": "comparing candidates with all that is known and held out, against other ways; growth by examples",
    "gpu": "all of an NVIDIA GPU in under 9 minutes: teacher, training, largest context, hand-over",
    "store": "writing results, and how the store's size and its queries grow; --grow up to 10000000 predictions",
}
"""Name → what is measured."""

VERIFICATION = "verification"
"""Not of this machine but of runs, and so by a way of its own (see the module of that name)."""

_OF_RUNS = "RUN…: how many of their candidates are right, with and without verification, by a judge trained on all data"

_MODELS = ("--teacher", "--student")
_TAKES: Mapping[str, tuple[str, ...]] = {
    "teacher": ("--teacher", "--grow"),
    "student": ("--student", "--data", "--grow"),
    "loop": _MODELS,
    "checks": ("--grow",),
    "gpu": _MODELS,
    "store": ("--grow",),
}
"""Name → the options that are read beside those that all subjects take."""

_ALL_TAKE = ("--against", "--size", "--repeats", "--json")


@dataclass(frozen=True, slots=True)
class Material:
    """What is measured with.

    `data`: a folder with train.jsonl and test.jsonl; None for the bundled demo. `scratch`: a folder that is deleted
    afterwards.
    """

    teacher: Path
    student: Path
    data: Path | None
    device: Device
    threads: int
    scratch: Path


@dataclass(frozen=True, slots=True)
class Request:
    """A call of `bench`. What is None is taken from the configuration, or is what a benchmark has by itself.

    `sizes`: by name of a case's number; `grow`: the sizes at which growth is measured.
    """

    subject: str
    workspace: Path
    teacher: Path | None = None
    student: Path | None = None
    data: Path | None = None
    against: tuple[str, ...] = ()
    sizes: Mapping[str, float] = dataclasses.field(default_factory=dict)
    grow: tuple[int, ...] = ()
    repeats: int | None = None


Keep = Callable[[Report], None]


def subject_lines() -> list[str]:
    """What there is to measure, a line each."""
    every = {**SUBJECTS, VERIFICATION: _OF_RUNS}
    width = max(map(len, every))
    return [f"{name:<{width}} {what}" for name, what in every.items()]


def run_benchmark(request: Request, tell: Tell, keep: Keep = lambda _: None) -> Report:
    """Measure. `keep` hears the report as it is after each part. Raises UserInputError for what there isn't, before
    anything is measured.
    """
    if request.subject not in SUBJECTS:
        raise UserInputError(f"bench {request.subject}: there is no such benchmark", "\n".join(subject_lines()))
    _check_options(request)
    with _scratch(request) as scratch:
        material = _material(request, scratch)
        parts = _wanted(_PARTS[request.subject](material), request)
        if request.subject == "student":
            from .prediction import check_labels

            check_labels(parts)
        if material.device == "cuda":
            parts = [_one_by_one(part) for part in parts]
        warnings = tuple(disturbances())
        for warning in warnings:
            tell(f"warning: {warning}")
        if request.subject == "gpu":
            os.environ.setdefault(STARTED, str(time.time()))  # contenders go by the same limits
        limits = time_limits() if request.subject == "gpu" else UNLIMITED
        report = Report(request.subject, this_machine(), versions(), warnings, ())
        for part in parts:
            done = measure_series(part, tell) if isinstance(part, Series) else measure(part, tell, limits)
            report = dataclasses.replace(report, parts=(*report.parts, done), created_at=now())
            keep(report)
        if not warnings:
            report = dataclasses.replace(report, warnings=tuple(disturbances()))
            keep(report)
    return report


@contextmanager
def _scratch(request: Request) -> Iterator[Path]:
    """A folder, deleted afterwards. For stores it is where a history would lie, since it's that disk which counts."""
    if request.subject != "store":
        with tempfile.TemporaryDirectory(prefix="llm2llm-bench-") as folder:
            yield Path(folder)
        return
    try:
        made = tempfile.TemporaryDirectory(prefix=".llm2llm-bench-", dir=request.workspace.resolve())
    except OSError as error:
        raise UserInputError(
            f"{request.workspace}: bench store writes where histories lie, and can't here: {error.strerror}",
            "Name a folder that can be written to: llm2llm -C FOLDER bench store",
        ) from None
    with made as folder:
        yield Path(folder)


def _check_options(request: Request) -> None:
    """What isn't read is refused: whoever gives it believes that it was measured with."""
    given = {
        "--teacher": request.teacher,
        "--student": request.student,
        "--data": request.data,
        "--grow": request.grow or None,
    }
    taken = _TAKES[request.subject]
    for option, value in given.items():
        if value is not None and option not in taken:
            raise UserInputError(
                f"{option}: bench {request.subject} doesn't read it", f"It takes: {', '.join((*taken, *_ALL_TAKE))}"
            )


def _one_by_one(part: Comparison | Series) -> Comparison | Series:
    """On a GPU the memory of a process is what comes into use while it is there, so there must be no other."""
    if isinstance(part, Series):
        return dataclasses.replace(part, comparison=dataclasses.replace(part.comparison, order="one by one"))
    return dataclasses.replace(part, order="one by one")


def _wanted(parts: Sequence[Comparison | Series], request: Request) -> list[Comparison | Series]:
    """The parts as the person wants them: against whom, how large, how often."""
    comparisons = [part for part in parts if isinstance(part, Comparison)]
    series = [part for part in parts if isinstance(part, Series)]
    if request.against and request.grow:
        raise UserInputError(
            "--against with --grow: growth is measured of ours alone", "Give one of the two, or call it twice."
        )
    if request.against:
        comparisons, series = against(comparisons, request.against), []
    for one in series:
        _check_sizes(one, request.grow)
        if one.size in request.sizes and not any(one.size in other.sizes() for other in comparisons):
            raise UserInputError(f"--size {one.size}: this is what grows", "Its sizes are told by --grow.")
    every = resized([*comparisons, *(one.comparison for one in series)], request.sizes)
    if request.repeats is not None:
        every = [dataclasses.replace(one, repeats=request.repeats) for one in every]
    changed = [
        dataclasses.replace(one, comparison=comparison, sizes=tuple(dict.fromkeys(request.grow)) or one.sizes)
        for one, comparison in zip(series, every[len(comparisons) :], strict=True)
    ]
    return [*every[: len(comparisons)], *changed]


def _check_sizes(series: Series, sizes: Sequence[int]) -> None:
    for size in sizes:
        if size < 1:
            raise UserInputError("--grow: a size is 1 at least")
        if size % series.step:
            raise UserInputError(
                f"--grow {size}: not a multiple of {series.step:,}, by which {series.size} grow",
                f"The nearest is {max(1, round(size / series.step)) * series.step}.",
            )


def _material(request: Request, scratch: Path) -> Material:
    """From the command line, else the workspace's configuration, else the default models. What runs no model asks no
    configuration.
    """
    path = request.workspace / _CONFIG_NAME
    has_models = not {"--teacher", "--student"}.isdisjoint(_TAKES[request.subject])
    config = load_config(path) if has_models and path.is_file() else None
    models = request.workspace / "models"
    return Material(
        teacher=request.teacher or (config.teacher.model if config else models / TEACHER),
        student=request.student or (config.student.model if config else models / STUDENT),
        data=request.data,
        device=find_device(config.hardware.device if config else "auto"),
        threads=threads(config.hardware) if config else len(os.sched_getaffinity(0)),
        scratch=scratch,
    )


def _teacher(material: Material) -> list[Comparison | Series]:
    from .teacher import parts

    return parts(_teacher_model(material), material.threads, ALL_LAYERS if material.device == "cuda" else 0)


def _student(material: Material) -> list[Comparison | Series]:
    from .prediction import comparisons
    from .training import TrainingCase, comparison, growth

    student = _student_model(material)
    if material.data is not None:
        for name in ("train.jsonl", "test.jsonl"):
            if not (material.data / name).is_file():
                raise UserInputError(
                    f"--data {material.data}: there is no {name}",
                    "Name a folder with train.jsonl and test.jsonl; a relative one counts from the current folder.",
                )
            read_rows(material.data / name, "question", "answer")
    seeds = material.data and material.data / "train.jsonl"
    case = TrainingCase(student, material.device, seeds, threads=material.threads)
    predictions = comparisons(student, material.data, material.scratch, material.device, material.threads)
    return [comparison(case), growth(case), *predictions]


def _checks(_: Material) -> list[Comparison | Series]:
    from .checks import parts

    return parts()


def _loop(material: Material) -> list[Comparison]:
    from .loop import parts

    return parts(material.scratch, _teacher_model(material), _student_model(material))


def _teacher_model(material: Material) -> Path:
    """Looked at before anything is measured. Raises UserInputError for what is no GGUF file."""
    inspect_gguf(_existing(material.teacher))
    return material.teacher.resolve()


def _student_model(material: Material) -> Path:
    """Likewise, for what is no folder of a model."""
    inspect_folder(_existing(material.student))
    return material.student.resolve()


def _existing(model: Path) -> Path:
    if not model.exists():
        raise UserInputError(f"{model}: no such model", "Name the models with --teacher and --student, or: make models")
    return model


def _gpu(material: Material) -> list[Comparison]:
    from .gpu import parts

    if material.device != "cuda":
        raise UserInputError(
            "bench gpu: there is no NVIDIA GPU in use here", "Without one: bench teacher, bench student"
        )
    teacher, tokenizer = _teacher_model(material), _student_model(material)
    return parts(material.scratch, teacher, tokenizer, material.device, material.threads)


def _store(material: Material) -> list[Comparison | Series]:
    from .store import parts

    return parts(material.scratch)


_PARTS: Mapping[str, Callable[[Material], Sequence[Comparison | Series]]] = {
    "teacher": _teacher,
    "student": _student,
    "checks": _checks,
    "loop": _loop,
    "gpu": _gpu,
    "store": _store,
}
