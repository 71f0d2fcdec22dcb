"""Kill real runs with SIGKILL at random moments, resume them, and compare what they become."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil
from comparison import differences

Victim = Literal["run", "teacher", "student"]

_QUESTIONS = (
    ("where is the old bridge", "place"),
    ("who wrote the letter", "person"),
    ("where does the train leave", "place"),
    ("who opened the door", "person"),
    ("where did she keep her brushes", "place"),
    ("who teaches in the village", "person"),
    ("where do the brothers live", "place"),
    ("who repaired the roof", "person"),
    ("where is the market today", "place"),
    ("who plays in the film", "person"),
)
_TEST = (
    ("where is the library", "place"),
    ("who signed the contract", "person"),
    ("where is the river", "place"),
    ("who reads the book", "person"),
)
_PATIENCE_SECONDS = 300.0
"""Longest wait for anything; only a defect takes so long."""


def make_workspace(
    folder: Path, teacher: Path, student: Path, n_questions: int = len(_QUESTIONS), **changes: str
) -> Path:
    """A workspace with a small task; `changes` are TOML values by dotted name with __ for the dot."""
    folder.mkdir(parents=True)
    for name, rows in (("train", _QUESTIONS[:n_questions]), ("test", _TEST)):
        text = "".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in rows)
        (folder / f"{name}.jsonl").write_text(text)
    (folder / "reply.gbnf").write_text('root ::= " "? [a-z ]{6,28}\n')
    values = {
        "task__family": '"classification"',
        "data__train": '"train.jsonl"',
        "data__test": '"test.jsonl"',
        "teacher__model": json.dumps(str(teacher)),
        "teacher__prompt_style": '"completion"',
        "teacher__grammar": '"reply.gbnf"',
        "teacher__max_new_tokens": "32",
        "teacher__context_length": "512",
        "teacher__group_size": "2",
        "teacher__attempts": "2",
        "student__model": json.dumps(str(student)),
        "student__epochs": "4",
        "student__batch_size": "4",
        "student__micro_batch_size": "4",
        "student__checkpoint_steps": "3",
        "student__predict_batch_size": "4",
        "student__max_length": "128",
        "loop__iterations": "2",
        "loop__failure_signal": '"kfold"',  # so that trainings of folds are killed, too
        "loop__folds": "2",
        "checks__verify": '"off"',  # random weights know nothing
        "hardware__threads": "1",
        **changes,
    }
    sections: dict[str, list[str]] = {}
    for name, value in values.items():
        section, key = name.split("__")
        sections.setdefault(section, []).append(f"{key} = {value}")
    text = "\n".join("\n".join([f"[{section}]", *lines, ""]) for section, lines in sections.items())
    (folder / "llm2llm.toml").write_text(text)
    return folder


def llm2llm(workspace: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a command in a process of its own, its output kept in `log.txt`."""
    with (workspace / "log.txt").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "llm2llm_local", "-C", str(workspace), *arguments],
            stdout=log,
            stderr=log,
            text=True,
        )


def finish(process: subprocess.Popen[str], workspace: Path) -> None:
    """Wait for a run to end well."""
    code = process.wait(timeout=_PATIENCE_SECONDS)
    assert code == 0, f"exit code {code}:\n{(workspace / 'log.txt').read_text()[-4000:]}"


def units_done(workspace: Path) -> int:
    """Units of work committed so far."""
    return int(str(_ask(workspace, "SELECT coalesce(sum(units_done), 0) FROM stages") or 0))


@dataclass
class Kill:
    """What was killed, after how many units, and where that left the run."""

    victim: Victim
    units: int
    stage: str


@dataclass
class Disturbed:
    """A run with its kills."""

    workspace: Path
    kills: list[Kill] = field(default_factory=list)


def disturb(workspace: Path, total_units: int, victims: Sequence[Victim], rng: random.Random) -> Disturbed:
    """Work a new run to its end while killing the victims one after another, spread over the whole run."""
    disturbed = Disturbed(workspace)
    moments = sorted(rng.randrange(total_units) for _ in victims)
    process = llm2llm(workspace, "run")
    for victim, moment in zip(victims, moments, strict=True):
        process = _kill_at(disturbed, process, victim, moment, rng)
    finish(process, workspace)
    return disturbed


def compare(undisturbed: Path, disturbed: Disturbed) -> list[str]:
    """What differs, with the kills that led to it."""
    found = differences(undisturbed, 1, disturbed.workspace, 1)
    return [f"{difference}  after {disturbed.kills}" for difference in found]


def _kill_at(
    disturbed: Disturbed, process: subprocess.Popen[str], victim: Victim, moment: int, rng: random.Random
) -> subprocess.Popen[str]:
    """Kill when at least `moment` units are done; the process that carries the run from there on."""
    workspace = disturbed.workspace
    deadline = time.monotonic() + _PATIENCE_SECONDS
    target: psutil.Process | None = None
    while process.poll() is None:
        if units_done(workspace) >= moment:
            target = _process_of(process, victim)
            if target is not None:
                break
        assert time.monotonic() < deadline, f"{victim} never came up:\n{(workspace / 'log.txt').read_text()[-4000:]}"
        time.sleep(0.002)
    if target is None:
        return process  # the run ended before
    time.sleep(rng.random() * 0.3)  # into the middle of a unit, wherever that is
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    if not target.is_running() or process.poll() is not None:
        return process
    disturbed.kills.append(Kill(victim, units_done(workspace), _stage(workspace)))
    target.kill()
    if victim != "run":
        return process  # it replaces its worker by itself
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive, f"workers outlived their parent: {alive}"
    status = _ask(workspace, "SELECT status FROM runs")
    if status == "done":  # killed while it said goodbye: there is nothing left to resume
        return llm2llm(workspace, "status")
    return llm2llm(workspace, "run" if status is None else "resume")


def _process_of(process: subprocess.Popen[str], victim: Victim) -> psutil.Process | None:
    try:
        parent = psutil.Process(process.pid)
        if victim == "run":
            return parent
        for child in parent.children():
            if victim in child.cmdline():
                return child
    except psutil.NoSuchProcess:
        pass
    return None


def _stage(workspace: Path) -> str:
    found = _ask(workspace, "SELECT iteration || ' ' || stage FROM stages ORDER BY id DESC LIMIT 1")
    return str(found or "before the first")


def _ask(workspace: Path, sql: str) -> object:
    """The first value of a query; None when there is none, or no store with its tables yet."""
    store = workspace / "llm2llm.db"
    if not store.exists():
        return None
    connection = sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True, timeout=10)
    try:
        row = connection.execute(sql).fetchone()
        return None if row is None else row[0]
    except sqlite3.OperationalError:
        return None
    finally:
        connection.close()
