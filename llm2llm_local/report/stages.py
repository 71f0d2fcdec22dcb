"""Which stages a run has, as its stored configuration wants them. A store of before there was verification, or folds,
has runs without these fields: they had neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..failure_signals import Answering, who_answers_seeds
from ..recipes import Recipe, recipe_named
from ..verifiers import voters, votes_in_audit

ROWS = {
    "audit": "ballots",
    "fold_train": "steps",
    "fold_predict": "examples",
    "calibrate": "seeds",
    "train": "steps",
    "predict": "examples",
    "grade": "rows",
    "augment": "requests",
    "vote": "ballots",
    "student_vote": "candidates",
    "check": "candidates",
}
"""All stages, in the order in which an iteration has them, and what their rows are, wherever progress is told."""

STAGES = tuple(ROWS)


def verifiers_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Whose votes decide on candidates; nobody's when verification is off."""
    return voters(config.get("checks.verify", "off"), config.get("checks.verifier", ""))


def audit_votes(config: Mapping[str, Any]) -> int:
    """Of the teacher on each seed."""
    return votes_in_audit(config.get("task.family", ""), config["checks.votes"])


def ballots_of_vote(config: Mapping[str, Any]) -> int:
    """In the audit. All answers to a seed are judged by one, but free ones, which it shows: there the right one has a
    ballot, and the one that is planted.
    """
    return 2 if config.get("task.family") == "text" else 1


def recipe_in(config: Mapping[str, Any]) -> Recipe:
    """The method of a run; there was one only before recipes."""
    return recipe_named(config.get("loop.recipe", "llm2llm"))


def folds_of(config: Mapping[str, Any], seeds: int, iteration: int) -> int:
    """Students of an iteration that leave a part of the seeds out; at most, since seeds may repeat each other."""
    votes = iteration == 0 and "student" in verifiers_of(config)
    tells_failures = answering_seeds(config, iteration) == "students of folds"
    return min(config["loop.folds"], seeds) if votes or tells_failures else 0


def answering_seeds(config: Mapping[str, Any], iteration: int) -> Answering:
    """Who is asked them."""
    return who_answers_seeds(signal_of(config), iteration, config["loop.iterations"])


def signal_of(config: Mapping[str, Any]) -> str:
    """What tells failures."""
    return str(config.get("loop.failure_signal", "train"))


def takes_least_confident(config: Mapping[str, Any]) -> bool:
    """Whether the teacher is asked about a share of the questions, wrong or right."""
    return signal_of(config) == "confidence"


def stages_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Those that any iteration may have, in order."""
    verifiers = verifiers_of(config)
    left_out = set[str]()
    if "teacher" not in verifiers:
        left_out |= {"audit", "vote"}
    if "student" not in verifiers:
        left_out |= {"student_vote"}
    if not verifiers:
        left_out |= {"calibrate"}
    if not folds_of(config, 1, 0):
        left_out |= {"fold_train", "fold_predict"}
    return tuple(stage for stage in STAGES if stage not in left_out)


def part_told(stage: str, attempt: int, round_name: str) -> str:
    """Which fold, or which round of asking from the second on, a stage is about; what a round is called there."""
    if stage.startswith("fold_"):
        return f" (fold {attempt})"
    return f" ({round_name} {attempt + 1})" if attempt else ""
