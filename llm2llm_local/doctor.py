"""Whether this machine can run a configuration: one line a finding, with what to do."""

from __future__ import annotations

import os
import platform
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import psutil

from .audit_words import audit_line, audit_warnings
from .byte_size import byte_size
from .config import flatten
from .counted import counted
from .errors import Llm2LlmError, NoHistoryError, RunFailedError, RunStoppedError
from .failure_signals import kinds_are_answers
from .forecast import forecast_lines
from .free_memory import available_bytes
from .loop.audit import against_bad_verifiers
from .loop.context import Watcher
from .loop.control import Interrupts
from .loop.fingerprint import threads
from .loop.inputs import Inputs, disk_plan, read_inputs
from .loop.matching import matched
from .loop.plans import DevicePlan, device_plan
from .loop.remarks import remarks
from .loop.start import audit_in
from .recipes import recipe_of, uses_teacher
from .records import Split
from .report.duration import estimated
from .report.growth import most_examples
from .report.plain import plain, shortened
from .report.rates import Plan, estimate, extent_of, measured_rates
from .report.status import run_statuses
from .report.verification import OFF, audits_of, newest_audit
from .speed import TooSlowError, measure_speed
from .store.reader import STORE_NAME, open_reader
from .student.batching import total_steps
from .teacher.plan import host_bytes
from .visible_gpu import visible_gpu
from .workers.device import without_cuda

_PACKAGES = ("llama-cpp-python", "torch", "transformers", "peft", "bitsandbytes", "sqlite-utils", "rich", "textual")
_GIB = 2**30
_SECONDS_OF_A_LOOK = 0.5
_MOST_BUSY = 0.2
"""Of all CPUs, by other programs: what a quiet desktop needs."""
_FEW_TEST_ROWS = 100
_LEAST_ROWS_WON = 6
"""Won, with none lost, for a p below 0.05 by McNemar's exact test: 2 / 2**6 is 0.03."""
_CUDA_BUILD = 'there; make setup CUDA=1 installs one, or set hardware.device = "cpu"'


@dataclass(frozen=True, slots=True)
class Finding:
    """`level`: ok, warning (it will run) or error (it won't)."""

    level: Literal["ok", "warning", "error"]
    text: str

    @property
    def is_error(self) -> bool:
        return self.level == "error"

    def line(self) -> str:
        return f"{self.level:<8}{plain(self.text)}"


def diagnose(config_path: Path, overrides: Sequence[str]) -> list[Finding]:
    """All findings; later checks are left out when an error makes them pointless."""
    findings = list(_software())
    try:
        inputs = matched(read_inputs(config_path, overrides))
    except Llm2LlmError as error:
        return [*findings, _error(error)]
    for check in (_hardware, _models, _data, _memory, _disk, _store, _verification, _plan):
        findings += check(inputs)
    return findings


def measure(config_path: Path, overrides: Sequence[str]) -> Iterator[Finding]:
    """What a run will take, from half a minute of the real models' work. For where nothing stands in a run's way."""
    try:
        inputs = matched(read_inputs(config_path, overrides))
        at_work = _at_work(inputs.workspace)
        if at_work:
            yield Finding("warning", f"nothing was measured: {at_work} is at work, and each would slow the other down")
            return
        busy = psutil.cpu_percent(interval=_SECONDS_OF_A_LOOK) / 100
        if busy > _MOST_BUSY:
            yield Finding("warning", f"other programs keep {busy:.0%} of the CPUs busy: what is measured is too slow")
        speed = measure_speed(inputs)
    except TooSlowError as error:
        yield Finding("warning", " ".join(str(error).splitlines()))
        return
    except Llm2LlmError as error:
        yield _error(error)
        return
    for line in forecast_lines(speed, _run_plan(inputs), inputs.config.teacher.attempts):
        yield Finding("ok", line)


def audit(config_path: Path, overrides: Sequence[str], watcher: Watcher, interrupts: Interrupts) -> Iterator[Finding]:
    """What a run's verification would be worth, by the very audit that the run would begin with. For where nothing
    stands in a run's way. Raises RunStoppedError when a person stops it.
    """
    try:
        inputs = read_inputs(config_path, overrides)
        if recipe_of(inputs.config).subjects == "nothing":
            recipe = inputs.config.loop.recipe
            yield Finding("error", f'loop.recipe = "{recipe}" makes no new examples, so there is nothing to audit')
            return
        if inputs.config.checks.verify == "off":
            yield Finding("error", f"{OFF}; there is nothing to audit without --set 'checks.verify=\"on\"'")
            return
        with tempfile.TemporaryDirectory(prefix="llm2llm-audit-") as name:
            yield from _audited(Path(name), inputs, watcher, interrupts)
    except RunStoppedError:
        raise RunStoppedError(
            "the audit was stopped, and nothing of it is kept", "Ask again when there is time."
        ) from None
    except Llm2LlmError as error:
        yield _error(error)


def _audited(folder: Path, inputs: Inputs, watcher: Watcher, interrupts: Interrupts) -> Iterator[Finding]:
    """Verifiers without information end the audit with an error, as they would end a run; what was measured is told
    first.
    """
    failed: Llm2LlmError | None = None
    try:
        audit_in(folder, inputs, watcher, interrupts)
    except RunFailedError as error:
        failed = error
    with open_reader(folder) as connection:
        figures = audits_of(connection, 1)
    if failed is not None and not figures:
        raise failed
    for one in figures:
        yield Finding("ok", audit_line(one))
    for warning in audit_warnings(figures):
        yield Finding("warning", warning)
    if failed is not None:
        yield Finding("error", f"a run would stop at this: {failed.message}. {against_bad_verifiers(inputs.config)}.")


def _at_work(workspace: Path) -> str:
    """The runs of this workspace that a process works on; empty when there are none."""
    try:
        with open_reader(workspace) as connection:
            statuses = run_statuses(connection, workspace, None)
    except NoHistoryError:
        return ""
    return " and ".join(f"run {one.run_id}" for one in statuses if one.pid is not None)


def _error(error: Llm2LlmError) -> Finding:
    message = str(error).removesuffix(error.remedy)
    return Finding("error", " – ".join(message.splitlines()) + f" {error.remedy}".rstrip())


def _software() -> Iterator[Finding]:
    found, missing = [], []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            missing.append(package)
    yield Finding("ok", f"Python {platform.python_version()}, {', '.join(found)}")
    if missing:
        yield Finding("error", f"missing: {', '.join(missing)}; install with: make setup")


def _hardware(inputs: Inputs) -> Iterator[Finding]:
    if inputs.device == "cpu":
        yield Finding("ok", f"no GPU in use: {threads(inputs.config.hardware)} CPU threads for each model")
        return
    import pynvml

    pynvml.nvmlInit()
    gpu = visible_gpu(pynvml)
    memory = pynvml.nvmlDeviceGetMemoryInfo(gpu)
    yield Finding("ok", f"GPU {pynvml.nvmlDeviceGetName(gpu)}, {memory.free / _GIB:.1f} GiB free")
    pynvml.nvmlShutdown()
    missing = without_cuda()
    if inputs.config.teacher.gpu_layers != 0 and "llama.cpp" in missing:
        yield Finding("error", f"llama.cpp is no build for CUDA and can't put the teacher's layers {_CUDA_BUILD}")
    if "PyTorch" in missing:
        yield Finding("error", f"PyTorch is no build for CUDA and can't put the student {_CUDA_BUILD}")


def _models(inputs: Inputs) -> Iterator[Finding]:
    for role, model in (("teacher", inputs.teacher), ("student", inputs.student)):
        yield Finding(
            "ok",
            f"{role} {model.name}: {model.architecture}, {model.quantization}, {model.size_bytes / _GIB:.2f} GiB, "
            f"context {model.context_length}",
        )
    if not uses_teacher(inputs.config):
        return
    style = inputs.prompt_style
    if style == "chat" and not inputs.teacher.has_chat_template:
        yield Finding("error", 'teacher has no chat template; set teacher.prompt_style = "completion"')
    else:
        yield Finding("ok", f"the teacher is asked in {style} style")


def _data(inputs: Inputs) -> Iterator[Finding]:
    counts = ", ".join(f"{len(inputs.data.rows[split])} {split}" for split in Split)
    yield Finding("ok", f"rows: {counts}")
    if inputs.labels:
        seeds = Counter(row.answer for row in inputs.data.rows[Split.TRAIN])
        yield Finding(
            "ok", "seeds by label: " + ", ".join(f"{_short(label)} {seeds[label]}" for label in inputs.labels)
        )
    n_test = len(inputs.data.rows[Split.TEST])
    if not n_test:
        yield Finding("warning", "no test file: there will be no figure to believe; set data.test")
    elif n_test < _FEW_TEST_ROWS:
        least = 100 * _LEAST_ROWS_WON / n_test
        gain = f"a gain of less than {least:.0f} points" if least <= 100 else "a gain"
        yield Finding("warning", f"{counted(n_test, 'test row')}: {gain} can't be told from chance")
    for text in remarks(inputs):
        yield Finding("warning", text)


def _short(label: str) -> str:
    """A label is a whole text where the wrong column was taken for the answer."""
    return shortened(label, 40)


def _memory(inputs: Inputs) -> Iterator[Finding]:
    plan = device_plan(inputs)
    student, memory = plan.student, plan.memory
    for line in plan.lines():
        yield Finding("ok", line)
    if plan.asks_teacher:
        yield from _memory_of_teacher(inputs, plan)
    if student.needed_bytes > memory.free_bytes:
        quantize = ' or student.quantization = "nf4"' if inputs.config.student.quantization == "none" else ""
        yield Finding(
            "warning",
            f"the student needs about {byte_size(student.needed_bytes)} of the {byte_size(memory.free_bytes)} free "
            f"({memory.device}): memory may run out; free some, take a smaller model, a smaller "
            f"student.micro_batch_size{quantize}",
        )


def _memory_of_teacher(inputs: Inputs, plan: DevicePlan) -> Iterator[Finding]:
    teacher, memory = plan.teacher, plan.memory
    for reason in plan.reasons:
        yield Finding("ok", f"teacher: {reason}")
    if not teacher.fits:
        by_hand = ", ".join(f"teacher.{name}" for name in teacher.by_hand)
        yield Finding(
            "warning",
            f"the teacher needs about {byte_size(teacher.total_bytes)} of the {byte_size(memory.free_bytes)} free "
            f"({memory.device}): memory may run out; free some, take a smaller model"
            + (f', or set to "auto" what is set by hand ({by_hand})' if by_hand else ""),
        )
    left, machine = host_bytes(teacher, inputs.teacher_layers), available_bytes()
    if left > machine:
        yield Finding(
            "warning",
            f"what is left of the teacher beside the GPU needs about {byte_size(left)} of the {byte_size(machine)} of "
            "RAM that are free: it may be read from the disk again and again; free some, raise teacher.gpu_layers, or "
            "take a smaller model",
        )


def _disk(inputs: Inputs) -> Iterator[Finding]:
    plan = disk_plan(inputs)
    yield Finding("ok" if plan.is_enough else "error", str(plan))


def _store(inputs: Inputs) -> Iterator[Finding]:
    if not os.access(inputs.workspace, os.W_OK):
        yield Finding("error", f"{inputs.workspace}: can't be written to; the store and the adapters go there")
        return
    path = inputs.workspace / STORE_NAME
    if not path.exists():
        yield Finding("ok", f"a store will be made: {path}")
        return
    if not path.is_file():
        yield Finding("error", f"{path}: is no file; the store has this name: move it away")
        return
    try:
        with open_reader(inputs.workspace) as connection:
            n = connection.execute("SELECT count(*) FROM runs").fetchone()[0]
        yield Finding("ok", f"store {path} has {counted(n, 'run')}")
    except NoHistoryError:
        yield Finding("ok", f"store {path} has no runs yet")
    except Llm2LlmError as error:
        yield _error(error)


def _verification(inputs: Inputs) -> Iterator[Finding]:
    if recipe_of(inputs.config).subjects == "nothing":
        return
    if inputs.config.checks.verify == "off":
        yield Finding("warning", OFF)
        return
    seeds = [(row.question, row.answer) for row in inputs.data.rows[Split.TRAIN]]
    sizes = {"teacher": inputs.teacher.size_bytes, "student": inputs.student.size_bytes}
    try:
        with open_reader(inputs.workspace) as connection:
            found = newest_audit(connection, flatten(inputs.config), seeds, sizes)
    except Llm2LlmError:
        found = None  # a store that can't be read has a finding of its own
    if found is None:
        yield Finding(
            "ok",
            "verification: not audited with these models, seeds and settings yet; a run begins with it, and llm2llm "
            "doctor --audit does it alone",
        )
        return
    run_id, audits = found
    for one in audits:
        yield Finding("ok" if one.preference.low > 0.5 else "warning", f"run {run_id}: {audit_line(one)}")
    for warning in audit_warnings(audits):
        yield Finding("warning", f"run {run_id}: {warning}")


def _plan(inputs: Inputs) -> Iterator[Finding]:
    plan, student = _run_plan(inputs), inputs.config.student
    most = most_examples(plan, plan.iterations) - plan.seeds
    steps = inputs.matched_steps or total_steps(plan.seeds, student.batch_size, student.epochs)
    folds = sum(plan.folds_in(iteration) for iteration in range(plan.iterations + 1))
    yield Finding(
        "ok",
        f"plan: {counted(plan.iterations + 1, 'training')}, the first of {counted(steps, 'step')} on "
        f"{counted(plan.seeds, 'seed')}"
        + (f", and {folds} on a part of them each" if folds else "")
        + f"; at most {counted(most, 'new example')}",
    )
    seconds = _estimated_seconds(inputs)
    if seconds is None:
        yield Finding(
            "ok",
            "time: nothing like it was measured in this store; llm2llm doctor --measure reckons it from half a minute "
            "of work, and it is known better once the first iteration is through",
        )
    else:
        yield Finding("ok", f"time: {estimated(seconds)}, at the rates that this store's runs had")


def _estimated_seconds(inputs: Inputs) -> float | None:
    try:
        with open_reader(inputs.workspace) as connection:
            return estimate(measured_rates(connection, flatten(inputs.config)), _run_plan(inputs))
    except Llm2LlmError:
        return None  # a store that can't be read has a finding of its own


def _run_plan(inputs: Inputs) -> Plan:
    loop, student, rows = inputs.config.loop, inputs.config.student, inputs.data.rows
    has_kinds = kinds_are_answers(inputs.config.task.family)
    kinds = tuple(Counter(row.answer if has_kinds else "" for row in rows[Split.TRAIN]).values())
    epochs: float = student.epochs
    if inputs.matched_steps is not None:
        epochs = inputs.matched_steps / total_steps(len(rows[Split.TRAIN]), student.batch_size, 1)
    return Plan(
        seeds=len(rows[Split.TRAIN]),
        dev=len(rows[Split.DEV]),
        test=len(rows[Split.TEST]),
        iterations=loop.iterations,
        epochs=epochs,
        augmentations_per_failure=loop.augmentations_per_failure,
        augment_from=loop.augment_from,
        **extent_of(flatten(inputs.config), kinds),
    )
