"""Work a run to its end: the worker processes, the loop, and a true last word in the store."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import suppress

from ..errors import DiskError, Llm2LlmError, RunStoppedError, StoreError, UserInputError
from ..launch import take_log_along
from ..records import Split, Status
from ..store.run_store import RunStore
from ..teacher.protocol import TeacherSettings
from ..workers.memory import MemoryPlan
from ..workers.pool import ShortOf, WorkerPool
from .audit import audit_teacher, calibrate_verifiers
from .context import Run, Watcher
from .control import Control, Interrupts
from .fingerprint import Fingerprint, threads
from .folds import ask_folds
from .inputs import HashedInputs, Inputs
from .llm2llm import llm2llm
from .plans import plan_of_run, smaller_plan_of_run, student_settings, turns_of_run
from .preflight import check_prompts_fit
from .pulse import Pulse
from .vote import verifiers


def work(run: RunStore, inputs: Inputs, hashed: HashedInputs, watcher: Watcher, interrupts: Interrupts) -> None:
    """Do all that is left of a run; the caller holds its lock. However this ends, the store says how."""
    take_log_along(run.workspace, run.folder)
    control = Control(run, interrupts, watcher.message)
    with _pool(run, inputs, watcher, control) as pool:
        context = _context(run, inputs, hashed, watcher, control, pool)
        try:
            with run.transaction():
                run.set_status(Status.RUNNING)
            if not run.has_begun():
                check_prompts_fit(context)
            ending = llm2llm(context)
        except BaseException as error:
            if isinstance(error, UserInputError) and not run.has_begun():
                _undo(run)
            else:
                record_end(run, error)
            raise
        with run.transaction():
            run.set_status(Status.DONE, ending)
            run.add_event("run_done", ending)
        watcher.message(f"run {run.run_id} {ending}")


def audit(run: RunStore, inputs: Inputs, hashed: HashedInputs, watcher: Watcher, interrupts: Interrupts) -> None:
    """Only what a run does first to know what its verifiers are worth. Raises RunFailedError as the run would."""
    control = Control(run, interrupts, watcher.message)
    with _pool(run, inputs, watcher, control) as pool:
        context = _context(run, inputs, hashed, watcher, control, pool)
        check_prompts_fit(context)
        run.open_iteration(0)
        audit_teacher(context)
        if "student" in verifiers(context):
            ask_folds(context, 0, run.examples(Split.TRAIN))
        calibrate_verifiers(context)


def _context(
    run: RunStore, inputs: Inputs, hashed: HashedInputs, watcher: Watcher, control: Control, pool: WorkerPool
) -> Run:
    return Run(
        config=inputs.config,
        task=inputs.task,
        store=run,
        teacher=pool.teacher,
        student=pool.student,
        teacher_model_id=run.row().teacher_model_id,
        prompt_style=inputs.prompt_style,
        grammar=inputs.grammar,
        fingerprint=Fingerprint(hashed.fields),
        watcher=Pulse(watcher, run),
        obey=lambda: control.obey(pool.close),
        matched_steps=inputs.matched_steps,
    )


def _pool(run: RunStore, inputs: Inputs, watcher: Watcher, control: Control) -> WorkerPool:
    config = inputs.config

    def report(kind: str, message: str) -> None:
        with run.transaction():
            run.add_event(kind, message)
        watcher.message(message)

    def shrink(why: str, what: ShortOf, memory: MemoryPlan) -> tuple[TeacherSettings, MemoryPlan] | None:
        smaller = smaller_plan_of_run(run, inputs, why, what, memory)
        if smaller is None:
            return None
        watcher.message(f"the teacher ran out of memory and goes on with less: {smaller.lines()[0]}")
        return smaller.teacher.settings(config.teacher.model, threads(config.hardware)), smaller.memory

    plan = plan_of_run(run, inputs)
    for line in plan.lines():
        watcher.message(line)
    return WorkerPool(
        teacher=plan.teacher.settings(config.teacher.model, threads(config.hardware)),
        student=student_settings(inputs, plan),
        plan=plan.memory,
        logs=run.folder,
        timeout_seconds=config.hardware.worker_timeout_seconds,
        retries=config.hardware.worker_retries,
        report=report,
        interrupted=control.look,
        shrink=shrink,
        take_turns=lambda memory: turns_of_run(run, inputs, memory),
    )


def _undo(run: RunStore) -> None:
    """A run whose inputs turn out not to fit the models leaves nothing behind."""
    with run.transaction():
        run.delete()
    shutil.rmtree(run.folder, ignore_errors=True)


def record_end(run: RunStore, error: BaseException) -> None:
    """Say in the store why the run ended; when even that can't be written, the error itself still counts."""
    with suppress(DiskError, StoreError, sqlite3.Error), run.transaction():
        if isinstance(error, RunStoppedError):
            run.set_status(Status.PENDING, error.message)
            run.add_event("run_stopped", error.message)
        else:
            message = error.message if isinstance(error, Llm2LlmError) else f"{type(error).__name__}: {error}"
            run.set_status(Status.FAILED, message)
            run.add_event("run_failed", message)
