"""A run by hand as the dashboard finds it: at work, waiting or ended, with a machine that is always the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workspaces import _ask, add_run, fill, grade

from llm2llm_local.records import Split, Status
from llm2llm_local.store.lock import RunLock
from llm2llm_local.store.run_store import RunStore
from llm2llm_local.store.writer import Store
from llm2llm_local.tui.hardware import Sample

MACHINE = Sample(
    gpu=None,
    cpu_percent=42.0,
    load=1.5,
    n_cpus=2,
    ram_used_bytes=6 * 2**30,
    ram_total_bytes=16 * 2**30,
    memory={},
)


def work_on(
    run: RunStore, iteration: int, stage: str, *, units: int, done: int, seconds: float, attempt: int = 0
) -> None:
    """`done` of the stage's units take so many seconds each; it is closed when all of them are done."""
    row = run.open_stage(iteration, stage, attempt, "", {}, units)
    for _ in range(done - row.units_done):
        with run.transaction():
            run.mark_unit_done(row, seconds)
    if done == units:
        run.close_stage(row)


def history(run: RunStore) -> None:
    """`fill`, with its first iteration's stages, and the second one's student amid its answers."""
    fill(run)
    with run.transaction():
        for iteration in (0, 1):
            run.add_checkpoint(iteration, 4, 4, run.folder / f"{iteration}/adapter", "", tokens=900, seconds=9.0)
            for step, loss in enumerate((2.0, 1.5, 1.0, 0.5)):
                run.add_metric(iteration, "loss", step, loss)
        run.add_metric(0, "accuracy_train", 0, 1 / 3)
        run.add_metric(0, "accuracy_test", 0, 1.0)
    work_on(run, 0, "train", units=2, done=2, seconds=30.0)
    work_on(run, 0, "predict", units=3, done=3, seconds=2.0)
    work_on(run, 0, "grade", units=3, done=3, seconds=0.0)
    work_on(run, 0, "augment", units=1, done=1, seconds=100.0)
    work_on(run, 0, "check", units=1, done=1, seconds=0.5)
    run.close_iteration(0)
    work_on(run, 1, "train", units=2, done=2, seconds=40.0)
    work_on(run, 1, "predict", units=3, done=1, seconds=2.0)


def ended(run: RunStore) -> None:
    """The same, at its end: two iterations, both graded."""
    history(run)
    work_on(run, 1, "predict", units=3, done=3, seconds=2.0)
    grade(run)
    with run.transaction():
        run.add_metric(1, "accuracy_train", 0, 2 / 3)
        run.add_metric(1, "accuracy_test", 0, 0.5)


def make(workspace: Path, status: Status = Status.RUNNING, detail: str = "", *, is_ended: bool = False) -> Path:
    """A workspace with that run, which nobody works on."""
    with Store(workspace) as store:
        run = add_run(store, status=status, status_detail=detail)
        (ended if is_ended else history)(run)
    run.folder.mkdir(parents=True, exist_ok=True)
    return workspace


@contextmanager
def held(workspace: Path) -> Iterator[None]:
    """A process (this one) works on the run."""
    folder = workspace / "runs/1"
    folder.mkdir(parents=True, exist_ok=True)
    with RunLock(folder, 1):
        yield


def ask(workspace: Path, *questions: str | None) -> None:
    """The teacher's replies to the first seed, which still wait for their checks."""
    with Store(workspace) as store, store.transaction():
        run = store.of_run(1)
        seed = run.examples(Split.TRAIN)[0]
        taken = len(run.candidates.of_round(1, 0))
        for slot, question in enumerate(questions, start=taken):
            _ask(run, 1, seed, slot, question)
