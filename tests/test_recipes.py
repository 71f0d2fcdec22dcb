"""What LLM2LLM is measured against, by the same loop: who is augmented, by whom, how often, in how many steps."""

from __future__ import annotations

import dataclasses
import io
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
from compared_runs import add_answering_run
from comparison import differences
from endings import DONE, assert_refused
from fake_runs import LABELS, SEEDS, Crash, RecordingWatcher, configuration, half_learnt, new_run, rows, run_of
from fakes import FakeStudent, FakeTeacher
from knowing import KnowingTeacher
from rich.console import Console
from workspaces import CONFIG_BY_HAND, Workspace, add_run, make_workspace

from llm2llm_local.checks.similarity import TextIndex
from llm2llm_local.config import Config, LoopConfig, flatten
from llm2llm_local.eda.augment import eda
from llm2llm_local.eda.wordnet import Synonyms
from llm2llm_local.errors import ConfigError
from llm2llm_local.loop.llm2llm import llm2llm
from llm2llm_local.loop.matching import final_steps
from llm2llm_local.loop.preflight import check_prompts_fit
from llm2llm_local.recipes import in_force, recipe_of, uses_teacher
from llm2llm_local.records import Split, Status
from llm2llm_local.report.compare import compare
from llm2llm_local.report.status import run_statuses, status_lines
from llm2llm_local.report.summary import summarize
from llm2llm_local.report.tables import print_summary
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.writer import Store

if TYPE_CHECKING:
    from tiny_models import TinyModels

RECIPES = get_args(LoopConfig.model_fields["recipe"].annotation)
NOTHING_LEARNT = FakeStudent(lambda example, segment: False)
N = len(SEEDS)
N_FAILED = sum(seed.answer != LABELS[0] for seed in SEEDS)
"""By a student that has learnt nothing and always answers the first label."""


def of(recipe: str, **changes: Any) -> Config:
    match_run = {"loop__match_run": 1} if recipe == "fine_tune_matched" else {}
    return configuration(loop__recipe=recipe, **match_run, **changes)


def worked(
    workspace: Path, config: Config, teacher: FakeTeacher | None = None, *, learns: bool = False
) -> tuple[FakeTeacher, FakeStudent, str]:
    """The engines of a run that went to its end, and how that was. `learns`: the student, all that it is trained on."""
    teacher, student = teacher or FakeTeacher(), FakeStudent(lambda example, segment: learns)
    with run_of(workspace, config, teacher, student) as run:
        ending = llm2llm(run)
        assert isinstance(run.watcher, RecordingWatcher)
        is_warned = any("checks.verify" in message for message in run.watcher.messages)
        assert is_warned == (config.checks.verify == "off" and config.loop.iterations > 0)
    return teacher, student, ending


def trained(workspace: Path) -> list[tuple[int, int]]:
    return rows(workspace, "SELECT iteration, count(*) FROM training_set_examples GROUP BY 1")


def asked(workspace: Path) -> list[tuple[int, int, int]]:
    """Iteration, examples that new ones were made for, new ones that were made."""
    sql = "SELECT iteration, count(DISTINCT example_id), count(*) FROM teacher_calls GROUP BY 1"
    return rows(workspace, sql)


# --- what each does -------------------------------------------------------------------------------------------------


def test_fine_tune_is_one_training_on_the_seeds_without_a_teacher(tmp_path: Path) -> None:
    config = of("fine_tune", checks__verify="on", loop__failure_signal="kfold")
    teacher, student, ending = worked(tmp_path, config)
    assert ending == "finished after 0 rounds of augmentation"
    assert trained(tmp_path) == [(0, N)]
    assert rows(tmp_path, "SELECT stage FROM stages ORDER BY id") == [("train",), ("predict",), ("grade",)]
    assert teacher.requests == [] and {segment.total_steps for segment in student.segments} == {6}


def test_fine_tune_matched_goes_on_over_the_seeds_for_as_many_steps_as_it_is_to(tmp_path: Path) -> None:
    student = FakeStudent(half_learnt)
    with run_of(tmp_path, of("fine_tune_matched"), student=student) as run:
        llm2llm(dataclasses.replace(run, matched_steps=11))  # of 3 to an epoch
    assert [(s.start_step, s.stop_step) for s in student.segments] == [
        (0, 2),
        (2, 4),
        (4, 6),
        (6, 8),
        (8, 10),
        (10, 11),
    ]
    assert {(s.total_steps, s.epochs) for s in student.segments} == {(11, 4)}
    assert trained(tmp_path) == [(0, N)]


def test_eda_changes_words_of_every_seed_without_any_model(tmp_path: Path) -> None:
    teacher, _, _ = worked(tmp_path, of("eda", teacher__attempts=1))
    assert teacher.requests == []
    assert asked(tmp_path) == [(0, N, 2 * N)]
    calls = rows(tmp_path, "SELECT DISTINCT prompt, sampling, input_tokens, output_tokens FROM teacher_calls")
    ((prompt, sampling, *tokens),) = calls
    assert "no model was asked" in prompt and json.loads(sampling) == {"eda": {"alpha": 0.05}} and tokens == [0, 0]
    made = rows(
        tmp_path,
        "SELECT new.question, seed.question, new.answer = seed.answer FROM examples new "
        "JOIN examples seed ON seed.id = new.parent_example_id",
    )
    assert len(made) > N
    assert all(new != seed and keeps for new, seed, keeps in made)
    assert trained(tmp_path) == [(0, N), (1, N + len(made))]


def test_eda_of_a_long_text_is_no_duplicate_of_it() -> None:
    text = "The bakery at the corner sells rolls and loaves that are warm until noon, and cakes on Sundays"
    index = TextIndex([text], of("eda", checks__duplicate_threshold=0.9).checks.duplicate_threshold)
    synonyms = Synonyms()
    changed = [eda(text, random.Random(number), synonyms) for number in range(40)]
    assert [one for one in changed if index.nearest_above(one)] == []
    assert index.nearest_above(text.upper()) is not None


def test_auggpt_has_every_seed_said_in_other_words(tmp_path: Path) -> None:
    teacher, _, _ = worked(tmp_path, of("auggpt"))
    assert asked(tmp_path) == [(0, N, 2 * N)]
    assert trained(tmp_path) == [(0, N), (1, 3 * N)]
    for seed in SEEDS:
        prompts = [r.prompt.completion for r in teacher.requests if f"- {seed.question}\n" in r.prompt.completion]
        assert len(prompts) == 2 and all("several ways" in prompt and seed.answer in prompt for prompt in prompts)
    parents = "SELECT DISTINCT new.answer = seed.answer FROM examples new JOIN examples seed ON seed.id = "
    assert rows(tmp_path, f"{parents} new.parent_example_id") == [(1,)]


def test_self_instruct_asks_about_every_seed_in_every_round(tmp_path: Path) -> None:
    """A student that fails at nothing makes no difference."""
    for workspace, learns in ((tmp_path / "nothing", False), (tmp_path / "all", True)):
        workspace.mkdir()
        worked(workspace, of("self_instruct"), learns=learns)
        assert asked(workspace) == [(0, N, N), (1, N, N)]
        assert trained(workspace) == [(0, N), (1, 2 * N), (2, 3 * N)]


def test_one_shot_asks_for_all_in_the_first_round(tmp_path: Path) -> None:
    _, _, ending = worked(tmp_path, of("one_shot", loop__augmentations_per_failure=3))
    assert ending == "finished after 1 round of augmentation"
    assert asked(tmp_path) == [(0, N_FAILED, 6 * N_FAILED)]
    assert trained(tmp_path) == [(0, N), (1, N + 6 * N_FAILED)]


@pytest.mark.parametrize(
    ("recipe", "setting"),
    [("augment_all", {"loop__augment_from": "all"}), ("continue", {"loop__fine_tune": "continue"})],
)
def test_the_papers_ablations_are_settings_by_another_name(recipe: str, setting: dict[str, str]) -> None:
    left, right = flatten(of(recipe)), flatten(configuration(**setting))
    assert {name for name in left if left[name] != right[name]} == {"loop.recipe"}


def test_no_recipe_changes_nothing() -> None:
    assert configuration().loop.iterations == 2 and configuration().loop.recipe == "llm2llm"
    assert in_force(configuration()) == configuration()


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_is_known_and_in_force_once(recipe: str) -> None:
    config = of(recipe, checks__verify="on", loop__augmentations_per_failure=3)
    assert in_force(config) == config
    assert recipe_of(config).matches_steps == (recipe == "fine_tune_matched")


@pytest.mark.parametrize(
    ("recipe", "changes", "expected"),
    [
        ("fine_tune", {"checks__verify": "on"}, False),
        ("eda", {"checks__verify": "off"}, False),
        ("eda", {"checks__verify": "on", "checks__verifier": "student"}, False),
        ("eda", {"checks__verify": "on", "checks__verifier": "both"}, True),
        ("auggpt", {"checks__verify": "off"}, True),
        ("llm2llm", {"checks__verify": "off"}, True),
    ],
)
def test_a_teacher_that_is_asked_nothing_is_not_loaded(
    tmp_path: Path, recipe: str, changes: dict[str, str], expected: bool
) -> None:
    config = of(recipe, **changes)
    assert uses_teacher(config) == expected
    if expected:
        return

    class Absent(FakeTeacher):
        def check_prompts(self, group: Any, progress: Any) -> int:
            raise AssertionError("loaded")

    with run_of(tmp_path, config, Absent()) as run:
        check_prompts_fit(run)


# --- with verification, and interrupted -----------------------------------------------------------------------------


SHORT = {"loop__iterations": 1, "teacher__group_size": 6, "student__predict_batch_size": 12}


def verified_eda() -> Config:
    return of("eda", checks__verify="on", checks__verifier="teacher", checks__accept_probability=0.5, **SHORT)


def test_changed_seeds_are_verified_like_all_others(tmp_path: Path) -> None:
    worked(tmp_path, verified_eda(), KnowingTeacher())
    assert rows(tmp_path, "SELECT count(*) FROM audits") == [(1,)]
    decided = rows(tmp_path, "SELECT DISTINCT check_name FROM verdicts")
    assert ("verify",) in decided


@pytest.mark.parametrize("config", [verified_eda(), of("self_instruct", **SHORT)], ids=lambda c: c.loop.recipe)
def test_a_run_that_is_stopped_anywhere_goes_on_to_the_same_rows(tmp_path: Path, config: Config) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    with run_of(whole, config, KnowingTeacher()) as run:
        llm2llm(run)
        n_units = run.watcher.units  # type: ignore[attr-defined]
    run_id: int | None = None
    for _ in range(n_units):
        n_done = 0

        def obey() -> None:
            nonlocal n_done
            n_done += 1
            if n_done > 1:
                raise Crash

        try:
            with run_of(cut, config, KnowingTeacher(), run_id=run_id, obey=obey) as run:
                run_id = run.store.run_id
                llm2llm(run)
            break
        except Crash:
            continue
    assert differences(whole, 1, cut, 1) == []


# --- the run that is matched ----------------------------------------------------------------------------------------


def test_the_steps_are_those_of_the_final_training(tmp_path: Path) -> None:
    worked(tmp_path, configuration())
    with pytest.raises(ConfigError, match="run 1 isn't finished"):
        final_steps(tmp_path, 1)
    with Store(tmp_path) as store, store.transaction():
        store.of_run(1).set_status(Status.DONE)
    n_examples = N + 2 * N_FAILED
    assert final_steps(tmp_path, 1) == -(-n_examples // 4) * 2


@pytest.mark.parametrize(
    ("select", "fine_tune", "steps"),
    [("last", "scratch", 3), ("best_dev", "scratch", 2), ("last", "continue", 1 + 2 + 3), ("best_dev", "continue", 3)],
)
def test_the_steps_to_match_are_those_that_the_chosen_student_has_had(
    tmp_path: Path, select: str, fine_tune: str, steps: int
) -> None:
    rows = {Split.TRAIN: [("seed", "a")], Split.DEV: [("dev", "a")]}
    with Store(tmp_path) as store:
        students: list[dict[str, str]] = [{"dev": "b"}, {}, {"dev": "b"}]
        settings: dict[str, Any] = {"loop__select": select, "loop__fine_tune": fine_tune}
        run = add_answering_run(store, rows, students, [[("new 1", "a")], [("new 2", "a")]], **settings)
        with store.transaction():
            run.set_status(Status.DONE)
    assert final_steps(tmp_path, 1) == steps
    with open_reader(tmp_path) as connection:
        (compared,) = compare(connection, [1]).runs
    assert compared.result is not None and compared.result.final_steps == steps


def test_a_run_that_is_not_there_or_has_no_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no runs in"):
        final_steps(tmp_path, 1)
    with Store(tmp_path) as store:
        run_id = new_run(store)
        with store.transaction():
            store.of_run(run_id).set_status(Status.DONE)
    with pytest.raises(ConfigError, match="no such run"):
        final_steps(tmp_path, run_id + 1)
    with pytest.raises(ConfigError, match="has no training"):
        final_steps(tmp_path, run_id)


def test_matched_steps_need_a_run_to_match() -> None:
    with pytest.raises(ConfigError, match=r"needs loop\.match_run"):
        configuration(loop__recipe="fine_tune_matched")


def test_a_student_chosen_on_dev_needs_dev_rows() -> None:
    with pytest.raises(ConfigError, match=r'loop\.select = "best_dev" needs data\.dev'):
        configuration(loop__select="best_dev", data__dev=None)
    assert configuration(loop__select="best_dev", data__dev="dev.jsonl").loop.select == "best_dev"


# --- what is shown --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("recipe", "shown"), [("eda", True), ("llm2llm", False), (None, False)])
def test_the_report_names_the_recipe_where_it_is_another(tmp_path: Path, recipe: str | None, shown: bool) -> None:
    with Store(tmp_path) as store:
        config = {**CONFIG_BY_HAND, **({"loop.recipe": recipe} if recipe else {})}
        with store.transaction():
            add_run(store, config=json.dumps(config))
    console = Console(file=io.StringIO(), width=160)
    with open_reader(tmp_path) as connection:
        summary = summarize(connection, 1)
        print_summary(summary, console)
        statuses = run_statuses(connection, tmp_path, 1)
    assert ("recipe eda" in status_lines(statuses)[0]) == shown
    assert summary.recipe == (recipe or "llm2llm")
    assert isinstance(console.file, io.StringIO)
    assert ("recipe eda" in console.file.getvalue()) == shown


# --- with models ----------------------------------------------------------------------------------------------------


@pytest.mark.model
def test_recipes_from_the_command_line(tmp_path: Path, tiny_models: TinyModels) -> None:
    workspace: Workspace = make_workspace(tmp_path / "workspace", tiny_models)

    def run(recipe: str, *more: str) -> str:
        ending = workspace.llm2llm("run", "--set", f"loop.recipe={recipe}", *more)
        assert ending.code == DONE, ending.err
        assert f"recipe {recipe}, teacher" in ending.out
        return ending.err

    matched = ("run", "--set", "loop.recipe=fine_tune_matched")
    assert_refused(workspace.llm2llm(*matched), "needs loop.match_run")
    assert_refused(workspace.llm2llm(*matched, "--set", "loop.match_run=7"), "there are no runs in")
    assert "teacher prompt" not in run("fine_tune")
    assert "iteration 0 augment" in run("eda")
    assert_refused(workspace.llm2llm(*matched, "--set", "loop.match_run=7"), "there is no such run")
    doctor = workspace.llm2llm("doctor", *matched[1:], "--set", "loop.match_run=2")
    ((steps,),) = workspace.rows("SELECT max(step) FROM checkpoints WHERE run_id = 2 AND iteration = 1")
    assert f"1 training, the first of {steps} steps" in doctor.out
    control = workspace.llm2llm("fork", "2", *matched[1:], "--set", "loop.match_run=2")  # as the report says
    assert control.code == DONE, control.err
    assert "0 finished stages of run 2 taken over" in control.err
    sizes = workspace.rows("SELECT run_id, iteration, count(*) FROM training_set_examples GROUP BY 1, 2")
    assert sizes[0] == (1, 0, 9) and sizes[-1] == (3, 0, 9) and len(sizes) == 4
    assert workspace.rows("SELECT max(step) FROM checkpoints WHERE run_id = 3") == [(steps,)]
    assert workspace.rows("SELECT count(*) FROM metrics WHERE run_id = 3 AND name = 'loss'") == [(steps,)]
    assert workspace.rows("SELECT count(*) FROM events WHERE kind = 'worker_started' AND message LIKE '%teacher%'") == [
        (0,)
    ]
    assert workspace.llm2llm("delete", "2", "--yes").code == DONE
    forked = workspace.llm2llm("fork", "3", "--set", "teacher.attempts=5")
    assert forked.code == DONE, forked.err
    assert "3 finished stages of run 3 taken over" in forked.err
