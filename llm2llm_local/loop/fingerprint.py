"""What a result depends on, as fields with names, so that a difference can be named.

A run's fingerprint covers everything. A stage's covers what that stage reads, and through a chain of
hashes all stages before it: equal fingerprints mean equal results, since every stage is deterministic.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
from collections.abc import Mapping
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from ..config import Config, HardwareConfig, affects_results, flatten
from ..failure_signals import Answering, who_answers_seeds
from ..recipes import recipe_of
from ..verifiers import voters

COMPUTE_DTYPE = "student.compute_dtype"

DEVICE = "hardware.device"

MATCH_RUN = "loop.match_run"

MATCHED_STEPS = "loop.matched_steps"
"""Optimizer steps of a run whose recipe takes as many as another's result has had."""

ROWS = "_rows"
"""Ends the names of the fields that say which rows of a split are read: "data.train_rows"."""

_BY_CONTENT = frozenset({"teacher.model", "student.model", "data.train", "data.dev", "data.test", "teacher.grammar"})
"""Files: what is in them counts, not where they lie."""

_VOTES = ("loop/audit", "loop/folds", "loop/vote", "loop/predict", "loop/train", "student/batching")

_CODE: Mapping[str, tuple[str, ...]] = {
    "tasks": (
        "tasks/*",
        "store/run_store",
        "store/candidates",
        "store/reviews",
        "store/verdicts",
        "store/verification",
        "store/audits",
        "failure_signals",
        "verifiers",
        "spelling",
        "recipes",
        "loop/llm2llm",
        "loop/context",
        "loop/units",
        "loop/grade",
        "loop/signal",
    ),
    "checks": ("checks/*", "spelling", "wilson", "loop/check", "loop/review", *_VOTES),
    "votes": ("checks/audit", "checks/verification", "wilson", *_VOTES),
    "student": (
        "student/base",
        "student/float32_parts",
        "student/heap",
        "student/limits",
        "student/linear",
        "student/loss",
        "student/rows",
        "student/training",
        "student/batching",
        "student/checkpoint",
        "loop/train",
    ),
    "predict": (
        "student/base",
        "student/float32_parts",
        "student/heap",
        "student/limits",
        "student/linear",
        "student/loss",
        "student/rows",
        "student/checkpoint",
        "student/cache",
        "student/packing",
        "prefixes",
        "student/prediction",
        "student/scoring",
        "student/generation",
        "loop/predict",
    ),
    # The header says how many cells keys and values of a unit may take, which bounds what runs at once.
    "teacher": ("teacher/*", "prefixes", "model_files/gguf_file", "model_files/layers", "loop/augment", "loop/prompts"),
    "eda": ("eda/*",),
}
"""Which modules' code can change results, by the part of the fingerprint that tells of it."""

_PACKAGES: Mapping[str, tuple[str, ...]] = {
    "student": ("torch", "transformers", "peft", "bitsandbytes"),
    "teacher": ("llama-cpp-python",),
    "eda": ("wn",),
}
"""Which packages' versions can, likewise."""

_TRAINING = (
    "student.model",
    "student.quantization",
    COMPUTE_DTYPE,
    "student.lora_",
    "student.epochs",
    "student.learning_rate",
    "student.warmup_ratio",
    "student.weight_decay",
    "student.max_grad_norm",
    "student.batch_size",
    "student.micro_batch_size",
    "student.max_length",
    "student.checkpoint_steps",
    "loop.fine_tune",
    MATCHED_STEPS,
    "loop.rng_seed",
    "hardware.",
    "code.student",
    "version.student",
)

_PREDICTION = (
    "student.predict_batch_size",
    "student.max_new_tokens",
    "task.predict",
    "loop.augment_from",
    "code.predict",
)

_VERIFICATION = (
    "checks.verify",
    "checks.votes",
    "teacher.model",
    "teacher.ballot_style",
    "teacher.max_new_tokens",
    "teacher.group_size",
    "teacher.n_parallel",
    "teacher.context_length",
    "teacher.n_batch",
    "teacher.gpu_layers",
    "teacher.kv_cache",
    "teacher.flash_attention",
    "task.instruction",
    "code.votes",
)
"""How the teacher writes new examples (its sampling, its demonstrations) and who else votes is nothing to its votes."""

_OTHER_CHECKS = ("checks.duplicate_threshold", "checks.leak_threshold", "checks.max_length_ratio", "code.checks")
"""What they refuse is not voted on."""

_FOLDS = ("loop.folds", "code.votes")

_READ_BY_STAGE: Mapping[str, tuple[str, ...]] = {
    "audit": (*_VERIFICATION, "loop.rng_seed", "hardware.", "code.teacher", "version.teacher"),
    "fold_train": (*_TRAINING, *_FOLDS),
    "fold_predict": (*_PREDICTION, *_FOLDS, "checks.verify", "checks.verifier"),
    "calibrate": (
        *_VERIFICATION,
        "checks.verifier",
        "checks.accept_probability",
        "checks.reject_probability",
        "checks.doubt",
    ),
    "train": _TRAINING,
    "predict": _PREDICTION,
    "grade": (),
    "augment": (
        "teacher.",
        "task.instruction",
        "loop.recipe",
        "loop.augmentations_per_failure",
        "loop.failure_signal",
        "loop.least_confident",
        "code.teacher",
        "version.teacher",
        "code.eda",
        "version.eda",
    ),
    "vote": (*_VERIFICATION, *_OTHER_CHECKS),
    "student_vote": (*_VERIFICATION, "checks.verifier", *_OTHER_CHECKS, *_PREDICTION),
    "check": ("checks.", "code.checks", "code.votes"),
}
"""Which fields a stage reads beside those of the stages before it; by prefix of the name."""

STAGES = tuple(_READ_BY_STAGE)
"""All that an iteration may have, in their order: one that isn't here has no fingerprint, so it can't be worked."""

_FOLD_STAGES = frozenset({"fold_train", "fold_predict"})

_ASIDE = _FOLD_STAGES | {"audit", "calibrate"}
"""Stages that no training and no prediction of the iteration's own student depends on."""

_TEACHERS_VOTES = frozenset({"audit", "vote"})

_ROUND_STAGES = ("augment", "vote", "student_vote", "check")


_ALWAYS = ("task.family", "task.question_name", "task.answer_name", "task.labels", "data.", "code.tasks")


def run_fields(
    config: Config, labels: tuple[str, ...], hashes: Mapping[str, str], device: str, compute_dtype: str
) -> dict[str, Any]:
    """Everything that can change a result of a run.

    `hashes`: content hashes by dotted name ("data.train", "teacher.model" …); they stand in for the paths.
    `device`: what hardware.device means on this machine; `compute_dtype`: what student.compute_dtype does.
    """
    fields = {name: value for name, value in flatten(config).items() if affects_results(name)}
    for name in _BY_CONTENT & fields.keys():
        if fields[name] is not None:
            fields[name] = hashes.get(name)
    fields["task.labels"] = list(labels)
    fields["hardware.threads"] = threads(config.hardware)
    fields[DEVICE] = device
    fields[COMPUTE_DTYPE] = compute_dtype
    unused = frozenset() if recipe_of(config).writer == "eda" else frozenset({"eda"})
    for part in _CODE.keys() - unused:
        fields[f"code.{part}"] = _code_digest(_CODE[part])
    for part in _PACKAGES.keys() - unused:
        packages = _PACKAGES[part]
        fields[f"version.{part}"] = ", ".join(f"{package} {metadata.version(package)}" for package in packages)
    return fields


def threads(hardware: HardwareConfig) -> int:
    """CPU threads of a model: as configured, or one for each core this process may use."""
    return hardware.threads or len(os.sched_getaffinity(0))


def _code_digest(patterns: tuple[str, ...]) -> str:
    """Of modules' code: comments, docstrings and layout don't count.

    So a person who changes how a task is graded is told that an unfinished run was graded otherwise.
    """
    package = Path(str(resources.files("llm2llm_local")))
    trees = {
        str(file.relative_to(package)): _tree(file.read_text(encoding="utf-8"))
        for pattern in patterns
        for file in package.glob(f"{pattern}.py")
    }
    return digest(trees)


@cache
def _tree(code: str) -> str:
    """A sweep asks for it again and again, to find that code has changed."""
    return ast.dump(_without_docstrings(ast.parse(code)))


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return tree


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Names of the fields that differ, sorted; which rows were read only where no file or draw says why they differ."""
    names = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    rows = {name for name in names if name.endswith(ROWS)}
    is_explained = any(name.startswith("data.") for name in names - rows)
    return sorted(names - rows if is_explained else names)


def digest(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


class Fingerprint:
    """The chain of stage fingerprints of a run; stages must be asked for in the order in which they run.

    The stages that only find out what answers are worth are chains of their own beside it: folds, which join where
    their answers to seeds are graded or their students vote, and the audit, which joins where candidates are decided
    on. When one changes, what was done before that stays as it is.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields
        self._last = digest({name: value for name, value in fields.items() if name.startswith(_ALWAYS)})
        self._fold = self._folds = self._audit = ""

    @staticmethod
    def place(iteration: int, stage: str, attempt: int) -> tuple[int, ...]:
        """Sorts stages into the order in which they are worked: those of a fold, or of a round of asking, one after
        another. The order of a fork's rows is another where it does a stage aside anew.
        """
        before = STAGES.index("fold_train" if stage in _FOLD_STAGES else "augment" if stage in _ROUND_STAGES else stage)
        return iteration, before, attempt, STAGES.index(stage)

    @staticmethod
    def is_aside(stage: str) -> bool:
        """Whether no training and no prediction of the iteration's own student depends on it."""
        return stage in _ASIDE

    def fields_of(self, iteration: int, stage: str, attempt: int) -> dict[str, Any]:
        """What this stage reads."""
        read = {name: value for name, value in self._fields.items() if name.startswith(_READ_BY_STAGE[stage])}
        if stage == "grade":
            read["seeds_answered_by"] = self._answering(iteration)
        elif stage in ("predict", "fold_predict"):
            read["is_asked_seeds"] = self._answering(iteration) == "its student"
        return {**read, "iteration": iteration, "stage": stage, "attempt": attempt}

    def _answering(self, iteration: int) -> Answering:
        return who_answers_seeds(self._fields["loop.failure_signal"], iteration, self._fields["loop.iterations"])

    def _has_folds(self, iteration: int) -> bool:
        votes = iteration == 0 and "student" in self._voters()
        return votes or self._answering(iteration) == "students of folds"

    def _voters(self) -> tuple[str, ...]:
        return voters(self._fields["checks.verify"], self._fields["checks.verifier"])

    def advance(self, iteration: int, stage: str, attempt: int) -> str:
        """The fingerprint of the next stage; '' of one that this run doesn't have."""
        last = self._fields["loop.iterations"]
        if iteration > last or (iteration == last and stage in _ROUND_STAGES):
            return ""
        if stage in _FOLD_STAGES and not self._has_folds(iteration):
            return ""
        if stage in _TEACHERS_VOTES and "teacher" not in self._voters():
            return ""
        fields = {**self.fields_of(iteration, stage, attempt), "before": self._last}
        if stage == "fold_train":
            self._fold = digest(fields)
            return self._fold
        if stage == "fold_predict":
            self._folds = digest({**fields, "fold": self._fold, "folds": self._folds})
            return self._folds
        if stage in _ASIDE:
            self._audit = digest({**fields, "folds": self._folds, "audit": self._audit})
            return self._audit
        if stage == "student_vote" or (stage == "grade" and self._answering(iteration) != "its student"):
            fields["folds"] = self._folds
        elif stage == "check":
            fields["audit"] = self._audit
        self._last = digest(fields)
        return self._last
