"""Start, resume and fork a run.

What always holds: nothing is written before the inputs were found sound, and a run is worked on by the one
process that holds its lock, from before it is looked at until its last row.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from sqlite3 import Row
from typing import Any

from ..config import flatten
from ..counted import counted
from ..errors import ChangedSinceStartError, StoreError, UserInputError
from ..records import Status
from ..store.fork import before_decisions, copy_stages, unchanged_stages
from ..store.lock import RunLock, holder
from ..store.reader import require_store
from ..store.rows import RunRow, run_folder
from ..store.run_store import RunStore
from ..store.wishes import withdraw_commands
from ..store.writer import Store
from ..workers.device import unused_gpu
from .adapters import adapter_folder, is_sound, share_adapter
from .context import Watcher
from .control import Interrupts
from .fingerprint import DEVICE, Fingerprint, differing, digest
from .inputs import HashedInputs, Inputs, continued, disk_plan, hash_inputs, read_inputs
from .matching import matched
from .remarks import remarks
from .signal import asks_where_nothing_fails
from .work import audit, work


def start_run(config_path: Path, overrides: Sequence[str], watcher: Watcher, interrupts: Interrupts) -> int:
    """Start a new run and work it to its end; its id. Raises Llm2LlmError."""
    inputs = matched(_read(config_path, overrides, watcher))
    _refuse_small_disk(inputs, n_trained=0)
    hashed = hash_inputs(inputs)
    with Store(inputs.workspace) as store:
        with store.transaction():
            run = _insert_run(store, inputs, hashed, forked_from=None)
            run.add_event("run_started", f"run {run.run_id} started from {inputs.config_path.name}")
        watcher.message(f"run {run.run_id} started")
        with RunLock(_made(run.folder), run.run_id):
            work(run, inputs, hashed, watcher, interrupts)
    return run.run_id


def audit_in(folder: Path, inputs: Inputs, watcher: Watcher, interrupts: Interrupts) -> None:
    """The audit that a run would begin with, in a store of its own in `folder`. Raises Llm2LlmError."""
    hashed = hash_inputs(inputs)
    with Store(folder) as store:
        with store.transaction():
            run = _insert_run(store, inputs, hashed, forked_from=None)
        audit(run, inputs, hashed, watcher, interrupts)


def resume_run(workspace: Path, run_id: int | None, watcher: Watcher, interrupts: Interrupts) -> int:
    """Continue a run (by default the newest unfinished one that no process works on) to its end; its id.

    A run that is paused in a living process is told to go on, and what one that is at work was asked to do and hasn't
    done yet is taken back; then this returns. Raises ChangedSinceStartError
    when the configuration, the data or a model differ from when the run started, RunBusyError when another
    process works on it.
    """
    require_store(workspace)
    with Store(workspace) as store:
        chosen = run_id if run_id is not None else _newest_to_resume(store)
        run = store.of_run(chosen)
        process = holder(run.folder)
        if process is not None and run.row().status is Status.PENDING:
            run.commands.add("resume")
            watcher.message(f"run {chosen} goes on in process {process}")
            return chosen
        if process is not None and (withdrawn := withdraw_commands(workspace, chosen)):
            watcher.message(f"run {chosen} goes on in process {process}: {' and '.join(withdrawn)} taken back in time")
            return chosen
        with RunLock(_made(run.folder), chosen):
            row = run.row()
            if row.status is Status.DONE:
                raise UserInputError(f"run {chosen} is finished", f"See it: llm2llm report {chosen}")
            with run.transaction():
                run.commands.cancel()  # of before; what is asked for from now on is obeyed
            fields = row.fingerprint_fields
            inputs = continued(matched(_read(workspace / row.config_name, row.overrides, watcher), fields), fields)
            hashed = hash_inputs(inputs)
            _refuse_changes(row, hashed)
            _refuse_small_disk(inputs, run.n_trained())
            with run.transaction():
                run.add_event("run_resumed", f"run {chosen} resumed")
            work(run, inputs, hashed, watcher, interrupts)
    return chosen


def fork_run(
    workspace: Path,
    run_id: int,
    config_path: Path | None,
    overrides: Sequence[str],
    watcher: Watcher,
    interrupts: Interrupts,
) -> int:
    """Start a new run that takes over all stages of another whose conditions are unchanged; its id.

    Without `config_path` the origin's configuration is read anew, with its overrides and, after them, `overrides`.
    """
    require_store(workspace)
    with Store(workspace) as store:
        origin = store.of_run(run_id)
        row = origin.row()
        if config_path is None:
            config_path, overrides = workspace / row.config_name, (*row.overrides, *overrides)
        inputs = matched(_read(config_path, overrides, watcher), row.fingerprint_fields)
        if inputs.workspace != workspace.resolve():
            raise UserInputError(
                f"{inputs.config_path}: lies in another workspace than run {run_id}",
                f"Name a configuration in {workspace}, beside the store, or none.",
            )
        hashed = hash_inputs(inputs)
        unchanged = unchanged_stages(store, run_id, Fingerprint(hashed.fields))
        sound = _with_sound_adapters(origin, unchanged)
        stages = before_decisions(
            store,
            run_id,
            sound,
            inputs.config.loop.iterations,
            asks_where_nothing_fails=asks_where_nothing_fails(inputs.config),
        )
        _refuse_small_disk(inputs, len(_trained(stages)))
        changed = differing(row.fingerprint_fields, hashed.fields)
        with store.transaction():
            run = _insert_run(store, inputs, hashed, forked_from=run_id)
            copy_stages(store, run_id, run.run_id, stages)
            for trained in _trained(stages):
                share_adapter(adapter_folder(origin, *trained), adapter_folder(run, *trained))
            run.add_event(
                "run_started",
                f"run {run.run_id} forked from run {run_id}: {counted(len(stages), 'stage')} taken over, "
                f"changed: {', '.join(changed) or 'nothing'}",
            )
        watcher.message(f"run {run.run_id}: {counted(len(stages), 'finished stage')} of run {run_id} taken over")
        if len(stages) < len(sound):
            watcher.message("the last student is trained anew, with what you decided in the review since")
        with RunLock(_made(run.folder), run.run_id):
            work(run, inputs, hashed, watcher, interrupts)
    return run.run_id


def _read(config_path: Path, overrides: Sequence[str], watcher: Watcher) -> Inputs:
    inputs = read_inputs(config_path, overrides)
    for remark in remarks(inputs):
        watcher.message(f"warning: {remark}")
    return inputs


def _insert_run(store: Store, inputs: Inputs, hashed: HashedInputs, forked_from: int | None) -> RunStore:
    """A new run with its data; part of a transaction."""
    run_id = store.insert(
        "runs",
        status=Status.PENDING,
        status_detail="",
        config_name=inputs.config_path.name,
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
    _put_aside(run_folder(store.workspace, run_id))
    run = store.of_run(run_id)
    _made(run.folder)  # where it can't be made there is no run either
    for split, rows in inputs.data.rows.items():
        run.add_data(split, rows)
    return run


def _put_aside(folder: Path) -> None:
    """A folder of this run's number belongs to a run that the store doesn't have: it isn't ours to delete."""
    if folder.exists():
        folder.rename(folder.with_name(f"{folder.name}.before-{datetime.now(UTC):%Y%m%d-%H%M%S}"))


def _newest_to_resume(store: Store) -> int:
    unfinished = store.unfinished_runs()
    if not unfinished:
        raise StoreError("no run is unfinished", "Start one with: llm2llm run")
    free = [
        run_id
        for run_id in unfinished
        if holder(run_folder(store.workspace, run_id)) is None or store.run(run_id).status is Status.PENDING
    ]
    return (free or unfinished)[-1]


def _with_sound_adapters(origin: RunStore, stages: Sequence[Row]) -> Sequence[Row]:
    """The stages before the first training whose adapter is missing or damaged."""
    for position, stage in enumerate(stages):
        for trained in _trained([stage]):
            checkpoint = origin.last_checkpoint(*trained)
            assert checkpoint is not None
            if not is_sound(adapter_folder(origin, *trained), checkpoint["sha256"]):
                return stages[:position]
    return stages


def _trained(stages: Sequence[Row]) -> list[tuple[int, int]]:
    """Iteration and fold (0: none) of each training."""
    return [(stage["iteration"], stage["attempt"]) for stage in stages if stage["stage"] in ("train", "fold_train")]


def _refuse_small_disk(inputs: Inputs, n_trained: int) -> None:
    plan = disk_plan(inputs, n_trained)
    if not plan.is_enough:
        raise UserInputError(str(plan), f"Make room on the disk that holds {inputs.workspace}, then try again.")


def _refuse_changes(row: RunRow, hashed: HashedInputs) -> None:
    changed = differing(row.fingerprint_fields, hashed.fields)
    if changed:
        lines = [
            f"  {name}: was {_short(row.fingerprint_fields.get(name))}, is {_short(hashed.fields.get(name))}"
            for name in changed
        ]
        if (row.fingerprint_fields.get(DEVICE), hashed.fields.get(DEVICE)) == ("cuda", "cpu"):
            lines.append(f"  {unused_gpu() or 'no NVIDIA GPU answers: see nvidia-smi'}")
        raise ChangedSinceStartError(
            f"run {row.run_id} was started under other conditions:\n" + "\n".join(lines),
            f"Change it back, or start a new run that keeps what is unaffected: llm2llm fork {row.run_id}",
        )


def _short(value: Any) -> str:
    """Both its ends: of paths and lists of versions it is often the last part that differs."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:18]}…{text[-18:]}"


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(
            f"{folder}: can't be made: {error.strerror}",
            f"The run's files go there: make {folder.parent} a folder that you may write to.",
        ) from None
    return folder
