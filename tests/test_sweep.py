"""`llm2llm sweep`: which runs are a cell's, what goes on and what fails, and what it came to. No model."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from compared_runs import Answers, add_answering_run, carry_out
from fake_runs import RecordingWatcher
from rich.console import Console
from tiny_models import TinyModels
from workspaces import add_run, make_workspace

from llm2llm_local.errors import (
    ChangedSinceStartError,
    ConfigError,
    DiskError,
    ModelError,
    RunBusyError,
    RunFailedError,
    RunStoppedError,
)
from llm2llm_local.loop.control import Interrupts
from llm2llm_local.loop.fingerprint import Fingerprint
from llm2llm_local.loop.inputs import DiskPlan
from llm2llm_local.records import ReviewDecision, Split, Status
from llm2llm_local.report.sweep_output import print_cells, print_groups, sweep_document
from llm2llm_local.store.lock import RunLock
from llm2llm_local.store.run_store import RunStore
from llm2llm_local.store.wishes import add_review
from llm2llm_local.store.writer import Store
from llm2llm_local.sweep import work
from llm2llm_local.sweep.grid import Grid, Varied
from llm2llm_local.sweep.outcome import sweep_error, sweep_tables
from llm2llm_local.sweep.plan import PlannedCell, SweepPlan, conditions, plan_sweep
from llm2llm_local.sweep.standing import Standing, most_shared_run, standings
from llm2llm_local.sweep.work import FailedCell, work_cells

TEST = [(f"test {n}", "ab"[n % 2]) for n in range(10)]
ROWS = {Split.TRAIN: [("seed 0", "a"), ("seed 1", "b")], Split.TEST: TEST}


def wrong_on(n: int) -> Answers:
    """A student who is wrong on so many test rows."""
    return {question: "ba"[place % 2] for place, (question, _) in enumerate(TEST[:n])}


def fields_of(recipe: str, rng_seed: int, **changes: Any) -> dict[str, Any]:
    iterations = 0 if recipe.startswith("fine_tune") else 2
    return {
        "loop.recipe": recipe,
        "loop.rng_seed": rng_seed,
        "loop.iterations": iterations,
        "loop.failure_signal": "train",
        "data.train": "rows",
        "teacher.temperature": 1.0,
        "student.compute_dtype": "bfloat16",
        **{name.replace("__", "."): value for name, value in changes.items()},
    }


def cell_of(number: int, recipe: str, rng_seed: int = 0, **columns: Any) -> PlannedCell:
    values: dict[str, Any] = {
        "values": (),
        "overrides": (f"loop.recipe={recipe}",),
        "fields": fields_of(recipe, rng_seed),
        "chooses_dtype": False,
        "disk": DiskPlan(0, 0, 1),
        **columns,
    }
    return PlannedCell(number=number, recipe=recipe, n_seeds=2, rng_seed=rng_seed, **values)


def plan_of(workspace: Path, *cells: PlannedCell, varied: tuple[Varied, ...] = ()) -> SweepPlan:
    recipes = tuple(dict.fromkeys(cell.recipe for cell in cells))
    return SweepPlan(workspace / "llm2llm.toml", Grid(recipes=recipes, varied=varied), cells, lambda _: "")


def add_finished(
    store: Store, fields: dict[str, Any], students: Sequence[Answers] = ({},), status: Status = Status.DONE
) -> RunStore:
    """A run that came to what its students answer, under these conditions."""
    run = add_answering_run(store, ROWS, students)
    store.execute(
        "UPDATE runs SET fingerprint_fields = ?, status = ?, status_detail = 'x' WHERE run_id = ?",
        [json.dumps(fields), status, run.run_id],
    )
    return run


def add_begun(store: Store, fields: dict[str, Any], status: Status, detail: str = "") -> RunStore:
    return add_run(store, fingerprint_fields=json.dumps(fields), status=status, status_detail=detail)


# --- where cells stand ----------------------------------------------------------------------------------------------


def test_without_a_store_every_cell_is_new(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, cell_of(1, "fine_tune"), cell_of(2, "llm2llm"))
    assert [one.state for one in standings(plan).values()] == ["new", "new"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "detail", "state"),
    [
        (Status.DONE, "finished", "done"),
        (Status.RUNNING, "", "interrupted"),
        (Status.PENDING, "stopped", "stopped"),
        (Status.PENDING, "paused", "interrupted"),
        (Status.FAILED, "the disk was full", "failed"),
    ],
)
def test_a_run_under_the_same_conditions_is_the_cells(tmp_path: Path, status: Status, detail: str, state: str) -> None:
    with Store(tmp_path) as store:
        add_begun(store, fields_of("llm2llm", 0, teacher__temperature=0.5), Status.DONE)
        add_begun(store, fields_of("llm2llm", 0), status, detail)
        add_begun(store, fields_of("llm2llm", 1), Status.DONE)
    found = standings(plan_of(tmp_path, cell_of(1, "llm2llm")))[1]
    assert (found.state, found.run_id) == (state, 2)


def test_of_several_runs_a_finished_one_counts_and_then_the_newest(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        for rng_seed, statuses in ((0, (Status.DONE, Status.DONE, Status.FAILED)), (1, (Status.FAILED,) * 2)):
            for status in statuses:
                add_begun(store, fields_of("llm2llm", rng_seed), status)
    found = standings(plan_of(tmp_path, cell_of(1, "llm2llm"), cell_of(2, "llm2llm", 1)))
    assert [one.run_id for one in found.values()] == [2, 5]


def test_what_a_training_on_the_seeds_alone_never_reads_is_no_other_condition() -> None:
    one = fields_of("fine_tune", 0)
    for same in ({"teacher__temperature": 0.5}, {"loop__folds": 3}, {"code__votes": "other"}):
        assert conditions(fields_of("fine_tune", 0, **same)) == conditions(one)
        assert conditions(fields_of("llm2llm", 0, **same)) != conditions(fields_of("llm2llm", 0))
    for other in ({"student__epochs": 3}, {"data__train": "others"}, {"loop__rng_seed": 1}, {"loop__matched_steps": 7}):
        assert conditions(fields_of("fine_tune", 0, **other)) != conditions(one)


def test_the_precision_counts_only_where_the_person_chose_it(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_begun(store, fields_of("llm2llm", 0, student__compute_dtype="float32"), Status.DONE)
    for chooses, state in ((True, "done"), (False, "new")):
        assert standings(plan_of(tmp_path, cell_of(1, "llm2llm", chooses_dtype=chooses)))[1].state == state


def test_what_matches_a_run_waits_for_it_and_then_goes_by_its_steps(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, cell_of(1, "llm2llm"), cell_of(2, "fine_tune_matched", matches=1))
    assert standings(plan)[2].state == "waits"
    with Store(tmp_path) as store:
        add_finished(store, fields_of("llm2llm", 0), [{}], Status.RUNNING)
        assert standings(plan)[2].state == "waits"
        store.execute("UPDATE runs SET status = 'done'")
        assert (standings(plan)[2].state, standings(plan)[2].match_run) == ("new", 1)
        # Which run it was is all the same; how many steps it took isn't. Each seed is a step here.
        for steps in (3, 2):
            fields = fields_of("fine_tune_matched", 0, loop__matched_steps=steps, loop__match_run=99)
            add_begun(store, fields, Status.DONE)
    assert (standings(plan)[2].state, standings(plan)[2].run_id) == ("done", 3)


def test_controls_of_runs_that_differ_are_cells_of_their_own(tmp_path: Path, tiny_models: TinyModels) -> None:
    """Their steps will differ; to one that trains on the seeds alone verification is all the same."""
    workspace = make_workspace(tmp_path / "cells", tiny_models)
    verify = Varied("checks.verify", ('"on"', '"off"'))
    plan = plan_sweep(workspace.config, Grid(("fine_tune_matched", "llm2llm", "fine_tune"), varied=(verify,)))
    assert [(cell.number, cell.recipe, cell.values, cell.matches, cell.baseline) for cell in plan.cells] == [
        (1, "llm2llm", ('"on"',), None, 3),
        (2, "fine_tune", (None,), None, 3),
        (3, "fine_tune_matched", ('"on"',), 1, None),
        (4, "llm2llm", ('"off"',), None, 5),
        (5, "fine_tune_matched", ('"off"',), 4, None),
    ]


# --- what a new run takes over --------------------------------------------------------------------------------------


def add_stages(store: Store, fields: dict[str, Any], *stages: tuple[str, float]) -> RunStore:
    run = add_begun(store, fields, Status.DONE)
    fingerprint = Fingerprint(fields)
    for name, seconds in stages:
        stage = run.open_stage(0, name, 0, fingerprint.advance(0, name, 0), {}, units=1)
        with run.transaction():
            run.mark_unit_done(stage, seconds)
        run.close_stage(stage)
    return run


def test_a_new_run_begins_with_what_takes_longest_of_what_others_have_done_of_it(tmp_path: Path) -> None:
    fields = fields_of("llm2llm", 0)
    assert most_shared_run(tmp_path, fields) is None
    with Store(tmp_path) as store:
        add_stages(store, fields_of("llm2llm", 0, student__epochs=9), ("train", 900.0))
        assert most_shared_run(tmp_path, fields) is None
        add_stages(store, fields_of("fine_tune", 0), ("train", 60.0))
        add_stages(store, fields_of("one_shot", 0), ("train", 60.0), ("predict", 9.0))
        add_stages(store, fields_of("eda", 0), ("train", 60.0))
    assert most_shared_run(tmp_path, fields) == 3
    assert not Fingerprint.is_aside("train") and not Fingerprint.is_aside("predict")


def test_no_run_takes_over_the_decisions_of_a_person(tmp_path: Path) -> None:
    """A fork takes them along; a cell of a sweep has its own, or none."""
    fields = fields_of("llm2llm", 0)
    with Store(tmp_path) as store:
        add_stages(store, fields, ("train", 60.0))
        run = add_answering_run(store, ROWS, [{}], [[("new", "a")]])
        store.execute("UPDATE runs SET fingerprint_fields = ? WHERE run_id = 2", [json.dumps(fields)])
        first = Fingerprint(fields).advance(0, "train", 0)
        store.execute("UPDATE stages SET fingerprint = ? WHERE run_id = 2 AND stage = 'train'", [first])
        store.execute("UPDATE stages SET seconds = 600 WHERE run_id = 2 AND stage = 'train'")
        assert most_shared_run(tmp_path, fields) == 2
        (candidate,) = store.execute("SELECT id FROM candidates WHERE run_id = 2").fetchone()
    add_review(tmp_path, run.run_id, candidate, ReviewDecision.REJECT)
    assert most_shared_run(tmp_path, fields) == 1


def test_a_cell_is_not_the_run_that_a_person_decided_in(tmp_path: Path) -> None:
    """One works a sweep, reviews what is in doubt, and forks the run: the fork is no cell of the sweep."""
    with Store(tmp_path) as store:
        for _ in range(2):
            run = add_answering_run(store, ROWS, [{}], [[("new", "a")]])
            fields = json.dumps(fields_of("llm2llm", 0))
            store.execute("UPDATE runs SET fingerprint_fields = ? WHERE run_id = ?", [fields, run.run_id])
        (candidate,) = store.execute("SELECT max(id) FROM candidates WHERE run_id = 2").fetchone()
    plan = plan_of(tmp_path, cell_of(1, "llm2llm"))
    assert standings(plan)[1].run_id == 2
    add_review(tmp_path, 2, candidate, ReviewDecision.REJECT)
    assert standings(plan)[1].run_id == 2  # it was finished before
    carry_out(tmp_path, 2)
    assert standings(plan)[1].run_id == 1
    with Store(tmp_path) as store:
        store.execute("UPDATE runs SET status = 'failed' WHERE run_id = 1")
    assert standings(plan)[1] == Standing("failed", 1)  # to go on, beside one that is finished


def test_where_there_is_no_other_run_the_table_says_that_a_person_had_a_part_in_it(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        run = add_answering_run(store, ROWS, [{}, {}], [[("new", "a")]])
        fields = json.dumps(fields_of("llm2llm", 0))
        store.execute("UPDATE runs SET fingerprint_fields = ? WHERE run_id = ?", [fields, run.run_id])
        (candidate,) = store.execute("SELECT max(id) FROM candidates").fetchone()
    add_review(tmp_path, 1, candidate, ReviewDecision.REJECT)
    carry_out(tmp_path, 1)
    out = io.StringIO()
    print_groups(sweep_tables(plan_of(tmp_path, cell_of(1, "llm2llm"))), Console(file=out, width=120))
    assert "a person's decisions had a part in run 1, which" in out.getvalue()


# --- the work -------------------------------------------------------------------------------------------------------


class Runs:
    """In place of the functions that begin runs: each makes a finished run of the cell, or fails as it is told to."""

    def __init__(self, plan: SweepPlan, monkeypatch: pytest.MonkeyPatch) -> None:
        self.plan = plan
        self.diary: list[str] = []
        self.errors: dict[str, BaseException] = {}
        self.watchers: list[RecordingWatcher] = []
        self.now: dict[str, Any] = {}  # fields that have changed since the sweep began
        monkeypatch.setattr(work, "start_run", self.start)
        monkeypatch.setattr(work, "resume_run", self.resume)
        monkeypatch.setattr(work, "fork_run", self.fork)
        monkeypatch.setattr(work, "read_fields", self.read)

    def sweep(self, interrupts: Interrupts | None = None) -> list[FailedCell]:
        return work_cells(self.plan, self.watching, interrupts or Interrupts())

    @contextlib.contextmanager
    def watching(self) -> Iterator[RecordingWatcher]:
        self.watchers.append(RecordingWatcher())
        yield self.watchers[-1]

    @property
    def messages(self) -> list[str]:
        return [message for watcher in self.watchers for message in watcher.messages]

    def read(self, plan: SweepPlan, overrides: tuple[str, ...]) -> dict[str, Any]:
        (cell,) = (cell for cell in plan.cells if cell.overrides == overrides[: len(cell.overrides)])
        steps = {"loop.matched_steps": 2} if len(overrides) > len(cell.overrides) else {}
        return {**cell.fields, **steps, **self.now}

    def start(self, path: Path, overrides: tuple[str, ...], *_: object) -> int:
        self.diary.append(f"start {' '.join(overrides)}")
        if error := self.errors.get(overrides[0]):
            raise error
        with Store(path.parent) as store:
            return add_finished(store, self.read(self.plan, overrides)).run_id

    def resume(self, workspace: Path, run_id: int, *_: object) -> int:
        self.diary.append(f"resume {run_id}")
        if error := self.errors.get(f"resume {run_id}"):
            raise error
        with Store(workspace) as store:
            store.execute("UPDATE runs SET status = 'done' WHERE run_id = ?", [run_id])
        return run_id

    def fork(self, workspace: Path, run_id: int, path: Path, overrides: tuple[str, ...], *_: object) -> int:
        self.diary.append(f"fork {run_id}")
        with Store(workspace) as store:
            return add_finished(store, self.read(self.plan, overrides)).run_id


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    cells = (
        cell_of(1, "fine_tune"),
        cell_of(2, "llm2llm"),
        cell_of(3, "fine_tune_matched", matches=2),
        cell_of(4, "eda"),
    )
    return Runs(plan_of(tmp_path, *cells), monkeypatch)


def test_cells_are_worked_in_their_order_and_only_once(runs: Runs) -> None:
    assert runs.sweep() == []
    assert runs.diary == [
        "start loop.recipe=fine_tune",
        "start loop.recipe=llm2llm",
        "start loop.recipe=fine_tune_matched loop.match_run=2",
        "start loop.recipe=eda",
    ]
    assert runs.messages[:2] == [
        "sweep: 4 cells, 0 of them done",
        "sweep: cell 1 of 4: recipe fine_tune, 2 seeds, rng seed 0 → a new run",
    ]
    runs.diary.clear()
    assert (runs.sweep(), runs.diary) == ([], [])
    assert runs.messages[-1] == "sweep: 4 cells, 4 of them done"


@pytest.mark.parametrize("status", [Status.RUNNING, Status.PENDING, Status.FAILED])
def test_what_was_begun_goes_on(runs: Runs, status: Status) -> None:
    with Store(runs.plan.workspace) as store:
        add_finished(store, fields_of("fine_tune", 0))
        add_finished(store, fields_of("llm2llm", 0), [{}], status)
    assert runs.sweep() == []
    assert runs.diary[0] == "resume 2"
    assert "sweep: cell 2 of 4: recipe llm2llm, 2 seeds, rng seed 0 → run 2 goes on" in runs.messages


@pytest.mark.parametrize("error", [ChangedSinceStartError("its file says otherwise"), ConfigError("its file is gone")])
def test_a_run_that_can_not_be_resumed_as_it_was_started_is_forked(runs: Runs, error: Exception) -> None:
    runs.errors["resume 1"] = error
    with Store(runs.plan.workspace) as store:
        add_begun(store, fields_of("eda", 0), Status.PENDING, "stopped")
    assert runs.sweep() == []
    assert runs.diary[-2:] == ["resume 1", "fork 1"]


def test_a_control_that_turns_out_to_be_done_already_is_not_worked_again(runs: Runs) -> None:
    """By a run that matched another one, of as many steps."""
    with Store(runs.plan.workspace) as store:
        add_finished(store, fields_of("fine_tune_matched", 0, loop__matched_steps=2))
    assert runs.sweep() == []
    assert [one.partition(" ")[2] for one in runs.diary] == [
        "loop.recipe=fine_tune",
        "loop.recipe=llm2llm",
        "loop.recipe=eda",
    ]


def test_a_cell_that_fails_is_told_and_the_others_go_on(runs: Runs) -> None:
    runs.errors["loop.recipe=fine_tune"] = ModelError("a prompt is too long")
    runs.errors["loop.recipe=llm2llm"] = RunFailedError("the votes tell nothing", "Take another teacher.")
    failed = runs.sweep()
    assert [(one.cell.number, one.reason) for one in failed] == [
        (1, "a prompt is too long"),
        (2, "the votes tell nothing"),
        (3, "it takes as many optimizer steps as cell 2, which isn't done"),
    ]
    assert runs.diary[-1] == "start loop.recipe=eda"
    assert "sweep: cell 2 failed: the votes tell nothing.\nTake another teacher." in runs.messages
    error = sweep_error(runs.plan, failed)
    assert error.exit_code == 1
    assert str(error).splitlines() == [
        "3 of 4 cells have no result:",
        "cell 1 of 4: recipe fine_tune, 2 seeds, rng seed 0: a prompt is too long",
        "cell 2 of 4: recipe llm2llm, 2 seeds, rng seed 0: the votes tell nothing",
        "cell 3 of 4: recipe fine_tune_matched, 2 seeds, rng seed 0: it takes as many optimizer steps as cell 2, "
        "which isn't done.",
        "The same llm2llm sweep tries them again.",
    ]
    runs.errors.clear()
    assert runs.sweep() == []
    assert [line.partition(" ")[0] for line in runs.diary].count("start") == 3 + 3


def test_stopping_a_run_stops_the_sweep(runs: Runs) -> None:
    runs.errors["loop.recipe=llm2llm"] = RunStoppedError("run 2 stopped", "Nothing is lost. Continue: llm2llm resume 2")
    with pytest.raises(RunStoppedError, match="run 2 stopped") as caught:
        runs.sweep()
    assert caught.value.remedy.endswith("llm2llm resume 2, or the whole sweep: the same llm2llm sweep again")
    assert len(runs.diary) == 2


def test_an_interrupt_between_two_runs_stops_the_sweep(runs: Runs) -> None:
    interrupts = Interrupts()
    interrupts.names.append("Ctrl-C")
    with pytest.raises(RunStoppedError, match="the sweep was stopped by Ctrl-C"):
        runs.sweep(interrupts)
    assert runs.diary == []


def test_a_full_disk_stops_the_sweep(runs: Runs) -> None:
    runs.errors["loop.recipe=fine_tune"] = DiskError("the disk is full")
    with pytest.raises(DiskError):
        runs.sweep()
    assert len(runs.diary) == 1


def test_no_cell_is_begun_under_other_conditions_than_those_before(runs: Runs) -> None:
    runs.now = {"data.train": "other rows", "loop.match_run": 7}
    with pytest.raises(ChangedSinceStartError, match=r"changed since the sweep began: data\.train; ") as caught:
        runs.sweep()
    assert "The same llm2llm sweep again" in caught.value.remedy
    assert runs.diary == []


def test_a_cell_that_another_process_works_on_is_told_before_anything_begins(runs: Runs) -> None:
    with Store(runs.plan.workspace) as store:
        run = add_begun(store, fields_of("eda", 0), Status.RUNNING)
    run.folder.mkdir(parents=True)
    with RunLock(run.folder, 1), pytest.raises(RunBusyError, match="rng seed 0: run 1 is being worked on by process"):
        runs.sweep()
    assert runs.diary == []


def test_a_disk_that_may_be_too_small_for_all_of_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gib = 2**30
    for free, is_told in ((7 * gib, False), (6 * gib, True)):
        disk = DiskPlan(2 * gib, 3 * gib, free)
        plan = plan_of(tmp_path / str(free), cell_of(1, "fine_tune", disk=disk), cell_of(2, "eda", disk=disk))
        plan.workspace.mkdir()
        runs = Runs(plan, monkeypatch)
        runs.sweep()
        assert any("warning: disk: about 7.00 GiB" in message for message in runs.messages) == is_told


# --- what it came to ------------------------------------------------------------------------------------------------


@pytest.fixture
def compared(tmp_path: Path) -> SweepPlan:
    """Two recipes, three rng seeds, one of which isn't through; runs of fine_tune are the same for both values."""
    cells: list[PlannedCell] = []
    number = 0
    with Store(tmp_path) as store:
        for rng_seed, n_wrong in ((0, (4, 2)), (1, (5, 1)), (2, (5, None))):
            baseline = number + 1
            for recipe, wrong in zip(("fine_tune", "llm2llm"), n_wrong, strict=True):
                number += 1
                values = (None,) if recipe == "fine_tune" else ("on",)
                of = None if recipe == "fine_tune" else baseline
                cells.append(cell_of(number, recipe, rng_seed, values=values, baseline=of))
                status = Status.RUNNING if wrong is None else Status.DONE
                add_finished(store, fields_of(recipe, rng_seed), [wrong_on(wrong or 0)], status)
    return plan_of(tmp_path, *cells, varied=(Varied("checks.verify", ("on", "off")),))


def test_rng_seeds_are_told_as_mean_and_spread_and_only_finished_runs_count(compared: SweepPlan) -> None:
    fine_tune, llm2llm = sweep_tables(compared).groups
    assert fine_tune.run_ids == (1, 3, 5)
    test = fine_tune.accuracy[Split.TEST]
    assert (test.n, test.low, test.high, test.mean) == pytest.approx((3, 0.5, 0.6, 1.6 / 3))
    assert (fine_tune.points, fine_tune.steps, fine_tune.final_steps, fine_tune.seconds) == (None, 2.0, 2.0, 60.0)
    assert llm2llm.run_ids == (2, 4)
    assert llm2llm.accuracy[Split.TEST].mean == pytest.approx(0.85)
    points = llm2llm.points
    assert points is not None
    assert (points.n, points.low, points.high, points.mean) == pytest.approx((2, 20, 40, 30))
    assert (llm2llm.p, llm2llm.alone) == (None, {})


def test_one_run_alone_has_its_interval_and_its_p(compared: SweepPlan) -> None:
    plan = plan_of(compared.workspace, *compared.cells[:2], varied=compared.grid.varied)
    _, llm2llm = sweep_tables(plan).groups
    assert llm2llm.alone[Split.TEST].n_correct == 8
    assert llm2llm.p == 0.5  # 2 gained of 2


def test_the_tables(compared: SweepPlan) -> None:
    out = io.StringIO()
    console = Console(file=out, width=200)
    tables = sweep_tables(compared, [FailedCell(compared.cells[5], "it failed")])
    print_cells(tables, console)
    print_groups(tables, console)
    lines = [" ".join(line.split()) for line in out.getvalue().splitlines()]
    assert "cell recipe seeds rng seed checks.verify state run" in lines
    assert "6 llm2llm 2 2 on interrupted 6" in lines
    heading = "recipe seeds checks.verify runs test min–max deviation points to fine_tune deviation new examples"
    assert f"{heading} steps in all of the result teacher tokens teacher votes time" in lines
    assert "fine_tune 2 – 3 of 3 53.3% 50.0%–60.0% 5.8 – – 0 2 2 0 0 1 min 00 s" in lines
    assert "llm2llm 2 on 2 of 3 85.0% 80.0%–90.0% 7.1 +30.0 14.1 0 2 2 0 0 1 min 00 s" in lines


def test_a_narrow_table_is_divided_and_each_part_says_what_it_is_about(compared: SweepPlan) -> None:
    out = io.StringIO()
    print_groups(sweep_tables(compared), Console(file=out, width=70))
    parts = [line for line in out.getvalue().splitlines() if line.lstrip().startswith("llm2llm ")]
    assert len(parts) > 1
    assert all(line.split()[:3] == ["llm2llm", "2", "on"] for line in parts)


def test_the_document_has_cells_and_groups(compared: SweepPlan) -> None:
    document = json.loads(json.dumps(sweep_document(sweep_tables(compared, [FailedCell(compared.cells[5], "why")]))))
    assert document["cells"][5] == {
        "number": 6,
        "recipe": "llm2llm",
        "n_seeds": 2,
        "rng_seed": 2,
        "values": {"checks.verify": "on"},
        "state": "interrupted",
        "run_id": 6,
        "reason": "why",
        "is_decided": False,
    }
    _, llm2llm = document["groups"]
    assert document["baseline"] == "fine_tune"
    assert (llm2llm["recipe"], llm2llm["n_seeds"], llm2llm["n_cells"], llm2llm["run_ids"]) == ("llm2llm", 2, 3, [2, 4])
    assert llm2llm["accuracy"]["test"]["mean"] == pytest.approx(0.85)


def test_where_nothing_is_done_there_is_no_table(tmp_path: Path) -> None:
    out = io.StringIO()
    print_groups(sweep_tables(plan_of(tmp_path, cell_of(1, "eda"))), Console(file=out))
    assert out.getvalue() == "no cell is done yet\n"
