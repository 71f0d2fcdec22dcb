"""Where a run's adapters and checkpoints lie, and whether they are still what was written.

A result from a damaged file would be a wrong number that looks like a right one, so nothing is used whose
content hash isn't the one in the store.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..durable import sync
from ..errors import RunFailedError
from ..file_digest import folder_digest
from ..store.run_store import RunStore


def training_folder(store: RunStore, iteration: int, fold: int = 0) -> Path:
    """Where the checkpoints and the adapter of one training lie; `fold`: the part of the seeds left out, from 1."""
    folder = store.folder / f"iteration-{iteration}"
    return folder / f"fold-{fold}" if fold else folder


def adapter_folder(store: RunStore, iteration: int, fold: int = 0) -> Path:
    """Where the finished adapter lies, or will."""
    return training_folder(store, iteration, fold) / "adapter"


def require_sound(store: RunStore, iteration: int, fold: int = 0) -> Path:
    """The newest checkpoint of a training (the adapter, when it is complete), found unchanged.

    Raises RunFailedError when it is missing or differs from what was written.
    """
    row = store.last_checkpoint(iteration, fold)
    assert row is not None
    folder = store.workspace / str(row["path"])
    if not is_sound(folder, row["sha256"]):
        raise RunFailedError(
            f"{folder}: missing, or not what was written there",
            f"Put it back, or train this iteration again in a new run: llm2llm fork {store.run_id}",
        )
    return folder


def is_sound(folder: Path, sha256: str) -> bool:
    try:
        return folder_digest(folder) == sha256
    except OSError:
        return False


def delete_superseded(store: RunStore, iteration: int, fold: int, keep: Path | None) -> None:
    """Checkpoints that a later one has replaced, and what killed writers left, are of no use any more."""
    for pattern in ("step-*", "adapter.part-*"):
        for folder in training_folder(store, iteration, fold).glob(pattern):
            if folder != keep:
                shutil.rmtree(folder, ignore_errors=True)


def share_adapter(source: Path, target: Path) -> None:
    """Give another run the same adapter: the files are linked, since neither run ever changes them. It is on the disk
    when this returns, as the store will say.
    """
    target.mkdir(parents=True)
    for file in source.iterdir():
        try:
            os.link(file, target / file.name)
        except OSError:  # a file system without hard links
            shutil.copy2(file, target / file.name)
            sync(target / file.name)
    for folder in (target, target.parent, target.parent.parent, target.parent.parent.parent):
        sync(folder)
