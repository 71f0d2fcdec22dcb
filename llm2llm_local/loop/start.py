"""Start, resume and fork a run: everything around the loop itself.

What always holds: nothing is written before the inputs were found sound; a run is worked on by one process,
which holds its lock; however this process ends, the store says where the run stands.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..config import flatten
from ..errors import ChangedSinceStartError, DiskError, Llm2LlmError, RunStoppedError, StoreError, UserInputError
from ..records import Status
from ..store.fork import copy_unchanged
from ..store.lock import RunLock, holder
from ..store.reader import STORE_NAME
from ..store.writer import RunRow, RunStore, Store
from ..student.protocol import StudentSettings
from ..teacher.protocol import TeacherSettings
from ..workers.pool import WorkerPool
from .context import Run, Watcher
from .control import Control
from .fingerprint import Fingerprint, differing, digest, threads
from .inputs import HashedInputs, Inputs, hash_inputs, memory_plan, read_inputs
from .llm2llm import llm2llm
from .preflight import check_prompts_fit


def start_run(config_path: Path, overrides: Sequence[str], watcher: Watcher) -> int:
    """Start a new run and work it to its end; its id. Raises Llm2LlmError."""
    inputs = read_inputs(config_path, overrides)
    for finding in inputs.data.findings:
        watcher.message(f"warning: {finding}")
    hashed = hash_inputs(inputs)
    with Store(inputs.workspace) as store:
        with store.transaction():
            run_id = _insert_run(store, inputs, hashed, forked_from=None)
            run = store.of_run(run_id)
            for split, rows in inputs.data.rows.items():
                run.add_data(split, rows)
            run.add_event("run_started", f"run {run_id} started from {inputs.config_path.name}")
        _work(run, inputs, hashed, watcher, is_new=True)
    return run_id


def resume_run(workspace: Path, run_id: int | None, watcher: Watcher) -> int:
    """Continue a run (by default the newest unfinished one) to its end; its id.

    A run that is paused in a living process is told to go on, and this returns. Raises ChangedSinceStartError
    when the configuration, the data or a model differ from when the run started, RunBusyError when another
    process works on it.
    """
    _require_store(workspace)
    with Store(workspace) as store:
        chosen = run_id if run_id is not None else store.newest_unfinished_run()
        if chosen is None:
            raise StoreError("no run is unfinished", "Start one with: llm2llm run")
        row, run = store.run(chosen), store.of_run(chosen)
        process = holder(run.folder)
        if process is not None and row.status is Status.PENDING:
            run.add_command("resume")
            watcher.message(f"run {chosen} goes on in process {process}")
            return chosen
        if row.status is Status.DONE:
            raise UserInputError(f"run {chosen} is finished", f"See it: llm2llm report {chosen}")
        with RunLock(_made(run.folder), chosen):
            inputs = read_inputs(row.config_path, row.overrides)
            hashed = hash_inputs(inputs)
            _refuse_changes(row, hashed)
            with run.transaction():
                run.cancel_commands()
                run.add_event("run_resumed", f"run {chosen} resumed")
        _work(run, inputs, hashed, watcher, is_new=False)
    return chosen


def fork_run(workspace: Path, run_id: int, config_path: Path | None, overrides: Sequence[str], watcher: Watcher) -> int:
    """Start a new run that takes over all stages of another whose conditions are unchanged; its id."""
    _require_store(workspace)
    with Store(workspace) as store:
        origin = store.run(run_id)
        inputs = read_inputs(config_path or origin.config_path, overrides or origin.overrides)
        if inputs.workspace != workspace.resolve():
            raise UserInputError(f"{inputs.config_path}: lies in another workspace than run {run_id}")
        hashed = hash_inputs(inputs)
        changed = differing(origin.fingerprint_fields, hashed.fields)
        with store.transaction():
            new_id = _insert_run(store, inputs, hashed, forked_from=run_id)
            run = store.of_run(new_id)
            chain = Fingerprint(hashed.fields)
            for split, rows in inputs.data.rows.items():
                run.add_data(split, rows)
            n_stages = copy_unchanged(store, run_id, new_id, chain.advance)
            run.add_event(
                "run_started",
                f"run {new_id} forked from run {run_id}: {n_stages} stages taken over, "
                f"changed: {', '.join(changed) or 'nothing'}",
            )
        watcher.message(f"run {new_id}: {n_stages} finished stages of run {run_id} taken over")
        _work(run, inputs, hashed, watcher, is_new=True)
    return new_id


def _work(run: RunStore, inputs: Inputs, hashed: HashedInputs, watcher: Watcher, *, is_new: bool) -> None:
    """Hold the run's lock, start the workers, run the loop, and record how it ended."""
    with RunLock(_made(run.folder), run.run_id):
        control = Control(run, watcher.message)
        with control.listening_to_signals(), _pool(run, inputs, watcher, control) as pool:
            context = _context(run, inputs, hashed, watcher, control, pool)
            try:
                with run.transaction():
                    run.set_status(Status.RUNNING)
                if is_new:
                    check_prompts_fit(context)
                ending = llm2llm(context)
            except BaseException as error:
                if isinstance(error, UserInputError) and is_new and not run.has_begun():
                    _undo(run)
                else:
                    _record_end(run, error)
                raise
            with run.transaction():
                run.set_status(Status.DONE, ending)
                run.add_event("run_done", ending)
            watcher.message(f"run {run.run_id} {ending}")


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
        watcher=watcher,
        obey=lambda: control.obey(pool.close),
    )


def _pool(run: RunStore, inputs: Inputs, watcher: Watcher, control: Control) -> WorkerPool:
    config = inputs.config

    def report(kind: str, message: str) -> None:
        with run.transaction():
            run.add_event(kind, message)
        watcher.message(message)

    return WorkerPool(
        teacher=TeacherSettings(
            model=config.teacher.model,
            context_length=config.teacher.context_length,
            threads=threads(config),
            gpu_layers=0 if config.hardware.device == "cpu" else config.teacher.gpu_layers,
        ),
        student=StudentSettings(
            model=config.student.model,
            quantization=config.student.quantization,
            lora_rank=config.student.lora_rank,
            lora_alpha=config.student.lora_alpha,
            lora_dropout=config.student.lora_dropout,
            max_length=config.student.max_length,
            device=config.hardware.device,
            threads=threads(config),
        ),
        plan=memory_plan(inputs),
        logs=run.folder,
        timeout_seconds=config.hardware.worker_timeout_seconds,
        retries=config.hardware.worker_retries,
        report=report,
        interrupted=control.raise_if_impatient,
    )


def _insert_run(store: Store, inputs: Inputs, hashed: HashedInputs, forked_from: int | None) -> int:
    return store.insert(
        "runs",
        status=Status.PENDING,
        status_detail="",
        config_path=str(inputs.config_path),
        overrides=json.dumps(list(inputs.overrides)),
        config=json.dumps(flatten(inputs.config)),
        fingerprint=digest(hashed.fields),
        fingerprint_fields=json.dumps(hashed.fields, sort_keys=True),
        rng_seed=inputs.config.loop.rng_seed,
        labels=json.dumps(list(inputs.labels), ensure_ascii=False),
        teacher_model_id=store.add_model(hashed.teacher),
        student_model_id=store.add_model(hashed.student),
        forked_from_run_id=forked_from,
    )


def _refuse_changes(row: RunRow, hashed: HashedInputs) -> None:
    changed = differing(row.fingerprint_fields, hashed.fields)
    if changed:
        lines = [
            f"  {name}: was {_short(row.fingerprint_fields.get(name))}, is {_short(hashed.fields.get(name))}"
            for name in changed
        ]
        raise ChangedSinceStartError(
            f"run {row.run_id} was started under other conditions:\n" + "\n".join(lines),
            f"Change it back, or start a new run that keeps what is unaffected: llm2llm fork {row.run_id}",
        )


def _undo(run: RunStore) -> None:
    """A run whose inputs turn out not to fit the models leaves nothing behind."""
    with run.transaction():
        run.delete()
    shutil.rmtree(run.folder, ignore_errors=True)


def _record_end(run: RunStore, error: BaseException) -> None:
    """Say in the store why the run ended; when even that can't be written, the error itself still counts."""
    with suppress(DiskError), run.transaction():
        if isinstance(error, RunStoppedError):
            run.set_status(Status.PENDING, error.message)
            run.add_event("run_stopped", error.message)
        else:
            message = error.message if isinstance(error, Llm2LlmError) else f"{type(error).__name__}: {error}"
            run.set_status(Status.FAILED, message)
            run.add_event("run_failed", message)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:18]}…{text[-18:]}"


def _require_store(workspace: Path) -> None:
    if not (workspace / STORE_NAME).is_file():
        raise StoreError(
            f"{workspace / STORE_NAME}: no store there",
            "Go to the folder of the configuration, or name it: llm2llm -C FOLDER …",
        )


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(f"{folder}: can't be made: {error.strerror}") from None
    return folder
