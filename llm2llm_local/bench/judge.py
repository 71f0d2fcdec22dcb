"""The judge of `bench verification`: a student trained on all labelled rows there are, kept in a folder.

What always holds: `judge.json` says what the judge was trained on and how far it is, and names the newest checkpoint
by its content; a folder that was begun under other conditions, or that holds anything else, is left alone. A training
that is ended at any moment goes on from its newest checkpoint, and one that is done isn't done again.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ChangedSinceStartError, DiskError, RunBusyError, UserInputError
from ..loop.adapters import is_sound
from ..loop.fingerprint import differing
from ..student.protocol import Student, TrainingSegment
from .measure import Tell

_RECORD, _PART = "judge.json", "judge.json.part"
_ELSEWHERE = "Name another folder for this judge: --judge FOLDER"
_MOST_SHOWN = 48


@dataclass(frozen=True, slots=True)
class JudgeTraining:
    """`whole`: all of the training in one segment, whose `output` is where the adapter will be, in the judge's folder.

    `conditions`: what it follows from, by name, as JSON values. `checkpoint_steps`: optimizer steps between
    checkpoints, which change nothing but what is lost when it is ended.
    """

    whole: TrainingSegment
    conditions: Mapping[str, Any]
    checkpoint_steps: int

    @property
    def folder(self) -> Path:
        return self.whole.output.parent

    def output(self, step: int) -> Path:
        """Where the checkpoint after so many steps lies; after the last, the adapter."""
        return self.whole.output if step == self.whole.total_steps else self.folder / f"step-{step}"


@dataclass(frozen=True, slots=True)
class _Record:
    """`sha256`: of the checkpoint after `steps_done`; empty before the first."""

    conditions: Mapping[str, Any]
    steps_done: int = 0
    sha256: str = ""


def check_judge(training: JudgeTraining) -> int:
    """Make the judge's folder, or find it fit to go on with; optimizer steps that are done.

    Raises UserInputError for a folder of something else, ChangedSinceStartError for a judge that was trained under
    other conditions; both before anything is changed in there.
    """
    folder = training.folder
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        names = {file.name for file in folder.iterdir()}
    except (FileExistsError, NotADirectoryError):
        raise UserInputError(f"{folder}: is no folder", _ELSEWHERE) from None
    except OSError as error:
        raise UserInputError(f"{folder}: can't be made or read: {error.strerror}", _ELSEWHERE) from None
    if not names - {_PART}:
        _write(folder, _Record(training.conditions))
    record = _read(folder)
    changed = differing(record.conditions, training.conditions)
    if changed:
        lines = [
            f"  {name}: was {_short(record.conditions.get(name))}, is {_short(training.conditions.get(name))}"
            for name in changed
        ]
        raise ChangedSinceStartError(
            f"{folder}: this judge was trained under other conditions:\n" + "\n".join(lines), _ELSEWHERE
        )
    if record.steps_done and not is_sound(training.output(record.steps_done), record.sha256):
        raise UserInputError(
            f"{training.output(record.steps_done)}: missing, or not what was written there",
            f"Delete {folder} to train the judge anew, or name another: --judge FOLDER",
        )
    return record.steps_done


def train_judge(training: JudgeTraining, student: Student, tell: Tell) -> Path:
    """Train what is left of it; the adapter. Raises RunBusyError when another process is at it; see `check_judge`."""
    whole = training.whole
    check_judge(training)
    with _alone(training.folder):
        done = check_judge(training)
        for start in range(done, whole.total_steps, training.checkpoint_steps):
            stop = min(start + training.checkpoint_steps, whole.total_steps)
            checkpoint = training.output(start) if start else None
            _delete_superseded(training.folder, keep=checkpoint)
            output = training.output(stop)
            segment = dataclasses.replace(whole, start_step=start, stop_step=stop, checkpoint=checkpoint, output=output)
            result = student.train(segment, lambda *_: None)
            _write(training.folder, _Record(training.conditions, stop, result.sha256))
            for note in result.notes:
                tell(f"judge: {note}")
            loss = sum(result.losses) / len(result.losses)
            tell(f"judge: step {stop:,} of {whole.total_steps:,}, loss {loss:.3f}")
        _delete_superseded(training.folder, keep=None)
    return whole.output


def _delete_superseded(folder: Path, keep: Path | None) -> None:
    """Checkpoints that a later one has replaced, and what killed writers left."""
    for pattern in ("step-*", "adapter.part-*"):
        for superseded in folder.glob(pattern):
            if superseded != keep:
                shutil.rmtree(superseded, ignore_errors=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The only process that trains here; the lock dies with it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunBusyError(f"{folder}: another process is training this judge", "Wait for it, or end it.") from None
        yield
    finally:
        os.close(descriptor)


def _read(folder: Path) -> _Record:
    path = folder / _RECORD
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return _Record(dict(document["conditions"]), int(document["steps_done"]), str(document["sha256"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise UserInputError(f"{folder}: has files, and no judge ({_RECORD}) among them", _ELSEWHERE) from None


def _write(folder: Path, record: _Record) -> None:
    """Whole or not at all."""
    part = folder / _PART
    try:
        with part.open("w", encoding="utf-8") as file:
            json.dump(dataclasses.asdict(record), file, indent=2, sort_keys=True, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / _RECORD)
    except OSError as error:
        raise DiskError(
            f"{folder / _RECORD}: can't be written: {error.strerror}", "Make room; the same call then goes on."
        ) from None


def _short(value: Any) -> str:
    """Both its ends: of lists and hashes it is often the last part that differs."""
    text = json.dumps(value, ensure_ascii=False)
    half = _MOST_SHOWN // 2
    return text if len(text) <= _MOST_SHOWN else f"{text[:half]}…{text[-half:]}"
