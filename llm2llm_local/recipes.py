"""What a run does about the student's failures: LLM2LLM, or one of the methods that it is measured against.

All are the same loop. A recipe says which training examples new ones are made for and who makes them; the rest are
settings of the loop that it puts in force in place of what the file has, so that whatever reads a configuration (the
loop, its forecasts, its reports) reads the truth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .verifiers import voters

if TYPE_CHECKING:  # reports read recipes, too, and not the configuration's library
    from .config import Config

Subjects = Literal["failures", "all seeds", "nothing"]
"""Which training examples new ones are made for."""

Writer = Literal["teacher", "rephrasing teacher", "eda"]
"""Who makes a new example: the teacher, of the same kind; the teacher, saying the same in other words; or nobody, by
changing words of the text.
"""


_REPEATED_WORDS_ONLY = math.nextafter(1.0, 0.0)
"""As checks.duplicate_threshold: refuses only what has the same words in the same order. A text of 11 words with one
left out or put in is above the usual 0.95, so of longer ones EDA would lose two of its four ways, and most of the rest.
"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """`rounds`: of augmentation; "one" has as many new examples in it as all of the file's rounds have together.

    `settings`: further fields of [loop] that it sets. `matches_steps`: trains for as many optimizer steps as the final
    training of the run `loop.match_run`.
    """

    subjects: Subjects = "failures"
    writer: Writer = "teacher"
    rounds: Literal["all", "one", "none"] = "all"
    settings: Mapping[str, Any] = field(default_factory=dict)
    matches_steps: bool = False


_RECIPES: Mapping[str, Recipe] = {
    "llm2llm": Recipe(),
    "fine_tune": Recipe("nothing", rounds="none"),
    "fine_tune_matched": Recipe("nothing", rounds="none", matches_steps=True),
    # Wei & Zou 2019, arXiv 1901.11196.
    "eda": Recipe("all seeds", "eda", rounds="one"),
    # Dai et al. 2023, arXiv 2302.13007.
    "auggpt": Recipe("all seeds", "rephrasing teacher", rounds="one"),
    # After Wang et al. 2022, arXiv 2212.10560: demonstrations drawn at random, whatever the student can.
    "self_instruct": Recipe("all seeds"),
    "one_shot": Recipe(rounds="one"),
    "augment_all": Recipe(settings={"augment_from": "all"}),
    "continue": Recipe(settings={"fine_tune": "continue"}),
}


def recipe_named(name: str) -> Recipe:
    """`name`: one that `loop.recipe` takes."""
    return _RECIPES[name]


def recipe_of(config: Config) -> Recipe:
    return recipe_named(config.loop.recipe)


def in_force(config: Config) -> Config:
    """With the settings that the recipe stands for; doing it twice changes nothing more."""
    recipe, loop, checks = recipe_of(config), config.loop, config.checks
    settings = dict(recipe.settings)
    if recipe.rounds == "none":
        settings |= {"iterations": 0}
        checks = checks.model_copy(update={"verify": "off"})  # nothing would be verified
    elif recipe.rounds == "one":
        settings |= {
            "iterations": 1,
            "augmentations_per_failure": loop.iterations * loop.augmentations_per_failure,
        }
    if recipe.writer == "eda":
        checks = checks.model_copy(update={"duplicate_threshold": _REPEATED_WORDS_ONLY})
    if recipe.subjects in ("all seeds", "nothing"):
        settings |= {"failure_signal": "train"}  # which costs no trainings, and nobody asks
    return config.model_copy(update={"loop": loop.model_copy(update=settings), "checks": checks})


def uses_teacher(config: Config) -> bool:
    """Whether a run of this configuration asks the teacher anything, new examples or votes."""
    return teacher_writes(config) or "teacher" in voters(config.checks.verify, config.checks.verifier)


def teacher_writes(config: Config) -> bool:
    """Whether new examples are the teacher's."""
    recipe = recipe_of(config)
    return recipe.subjects != "nothing" and recipe.writer != "eda"
