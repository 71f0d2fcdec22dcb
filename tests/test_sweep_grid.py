"""Which cells a sweep has, in which order, and what each one sets."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from llm2llm_local.cli import cli
from llm2llm_local.errors import ConfigError
from llm2llm_local.sweep.grid import Cell, Grid, Varied

VERIFY = Varied("checks.verify", ("on", "off"))


def test_every_combination_is_a_cell_and_one_rng_seed_is_through_before_the_next() -> None:
    grid = Grid(recipes=("fine_tune", "llm2llm"), seeds=(20, 60), rng_seeds=(0, 1), varied=(VERIFY,))
    cells = list(grid.cells())
    assert len(cells) == len(set(cells)) == 16
    assert cells[:5] == [
        Cell("fine_tune", 20, 0, ("on",)),
        Cell("llm2llm", 20, 0, ("on",)),
        Cell("fine_tune", 20, 0, ("off",)),
        Cell("llm2llm", 20, 0, ("off",)),
        Cell("fine_tune", 60, 0, ("on",)),
    ]
    assert [cell.rng_seed for cell in cells] == [0] * 8 + [1] * 8


def test_what_is_not_varied_is_left_as_the_configuration_has_it() -> None:
    grid = Grid(seeds=(20,))
    assert list(grid.cells()) == [Cell(None, 20, None, ())]
    assert grid.overrides_of(Cell(None, 20, None, ()), has_sample=False) == ("data.sample.n=20",)


def test_what_matches_a_run_is_worked_after_it_and_has_its_values() -> None:
    grid = Grid(recipes=("fine_tune_matched", "llm2llm", "eda"), rng_seeds=(3,), varied=(VERIFY,))
    cells = list(grid.cells())
    assert [cell.recipe for cell in cells] == ["llm2llm", "eda", "fine_tune_matched"] * 2
    for place, cell in enumerate(cells):
        match = grid.matched_by(cell)
        assert (match is not None) == (cell.recipe == "fine_tune_matched")
        if match is not None:
            assert match == Cell("llm2llm", None, 3, cell.values)
            assert cells.index(match) < place


def test_without_llm2llm_nothing_of_the_sweep_is_matched() -> None:
    grid = Grid(recipes=("fine_tune_matched", "eda"))
    assert [grid.matched_by(cell) for cell in grid.cells()] == [None, None]


def test_overrides_come_after_those_of_all_cells() -> None:
    grid = Grid(overrides=("loop.iterations=2",), varied=(VERIFY,))
    cell = Cell("eda", 20, 5, ("off",))
    assert grid.overrides_of(cell, has_sample=False) == (
        "loop.iterations=2",
        "data.sample.n=20",
        "loop.rng_seed=5",
        "data.sample.rng_seed=5",
        "checks.verify=off",
        "loop.recipe=eda",
    )


@pytest.mark.parametrize("has_sample", [True, False])
def test_the_draw_of_the_seeds_is_repeated_where_there_is_one(has_sample: bool) -> None:
    overrides = Grid().overrides_of(Cell(None, None, 5, ()), has_sample=has_sample)
    assert ("data.sample.rng_seed=5" in overrides) == has_sample


def test_each_cell_is_compared_with_the_first_recipe() -> None:
    grid = Grid(recipes=("fine_tune", "llm2llm"), varied=(VERIFY,))
    assert grid.baseline_of(Cell("llm2llm", 20, 1, ("off",))) == Cell("fine_tune", 20, 1, ("off",))
    assert grid.baseline_name() == "fine_tune"


def test_where_there_is_one_recipe_alone_each_is_compared_with_the_first_values() -> None:
    grid = Grid(recipes=("llm2llm",), varied=(VERIFY, Varied("student.epochs", ("5", "10"))))
    assert grid.baseline_of(Cell("llm2llm", 20, 1, ("off", "10"))) == Cell("llm2llm", 20, 1, ("on", "5"))
    assert grid.baseline_name() == "checks.verify=on, student.epochs=5"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"varied": (Varied("loop.recipe", ("eda",)),)},
            "--vary loop.recipe: has an option of its own.\nUse --recipes",
        ),
        ({"varied": (Varied("loop.rng_seed", ("1",)),)}, "Use --rng-seeds instead"),
        ({"varied": (Varied("data.sample.n", ("1",)),)}, "Use --seeds instead"),
        ({"varied": (VERIFY, VERIFY)}, "--vary checks.verify: is given more than once"),
        ({"varied": (VERIFY,), "overrides": ("checks.verify=on",)}, "--set checks.verify: is varied, too"),
        ({"recipes": ("eda",), "overrides": ("loop.recipe=eda",)}, "--set loop.recipe: is varied by --recipes"),
        ({"rng_seeds": (1,), "overrides": ("data.sample.rng_seed=2",)}, "is varied by --rng-seeds"),
        ({"seeds": (9,), "overrides": ("data.sample.n=2",)}, "is varied by --seeds"),
        (
            {"recipes": ("llm2llm", "fine_tune_matched"), "overrides": ("loop.match_run=3",)},
            "--set loop.match_run: this sweep has the runs to match",
        ),
        ({"varied": (Varied("loop.match_run", ("1", "2")),)}, "a sweep matches its own runs"),
    ],
)
def test_what_would_be_set_twice_is_refused(arguments: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Grid(**arguments)  # type: ignore[arg-type]
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing varies"),
        (["--set", "loop.iterations=2"], "nothing varies"),
        (["--seeds", "20,20"], "20 is there more than once"),
        (["--seeds", "0"], "0 is not in the range"),
        (["--rng-seeds", "1,x"], "'x' is not a valid integer"),
        (["--recipes", "eda,,llm2llm"], "a value is empty"),
        (["--vary", "checks.verify"], "expected SECTION.KEY=VALUE"),
        (["--vary", "task.labels=[1"], "no TOML list"),
    ],
)
def test_wrong_usage_is_refused(arguments: list[str], message: str) -> None:
    outcome = CliRunner().invoke(cli, ["sweep", *arguments])
    assert outcome.exit_code == 2
    assert message in outcome.output


def test_values_with_commas_are_given_as_a_toml_list(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}
    monkeypatch.setattr(cli.commands["sweep"], "callback", lambda **values: given.update(values))
    arguments = ["--vary", 'task.instruction=["Sort, please.", "Say \\"x\\"."]', "--vary", "checks.verify = on, off"]
    outcome = CliRunner().invoke(cli, ["sweep", *arguments, "--seeds", "20, 60"])
    assert outcome.exit_code == 0, outcome.output
    assert given["varied"] == (Varied("task.instruction", ('"Sort, please."', '"Say \\"x\\"."')), VERIFY)
    assert given["seeds"] == (20, 60)
