"""Everything a run needs from the person, read and checked before anything is started."""

from __future__ import annotations

import dataclasses
import itertools
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import Config
from ..config_file import load_config, read_text
from ..counted import counted
from ..datasets.reader import PATH_REMEDY, LoadedData, load_splits
from ..eda.wordnet import Synonyms
from ..errors import ConfigError
from ..failure_signals import who_answers_seeds
from ..model_files.catalogue import content_hash
from ..model_files.folder import WeightCounts, count_weights, inspect_folder
from ..model_files.gguf_file import describe_gguf, read_gguf_header
from ..model_files.layers import LayerSizes, layer_sizes
from ..model_files.model import ModelFile
from ..recipes import recipe_of
from ..records import DataRow, Split
from ..spelling import same_words
from ..store.rows import ModelRow
from ..student.precision import ComputeDtype, find_compute_dtype
from ..tasks.base import PromptStyle, Task
from ..tasks.families import make_task
from ..teacher.plan import Device, can_quantize
from ..teacher.protocol import KV_BLOCK
from ..verifiers import voters
from ..wilson import interval
from ..workers.device import find_device
from ..workers.memory import lora_parameters
from .fingerprint import COMPUTE_DTYPE, MATCHED_STEPS, ROWS, digest, run_fields

_ADAPTER_BYTES_PER_PARAMETER = 4
_CHECKPOINT_BYTES_PER_PARAMETER = 12
"""Adapter and AdamW's two moments in 32 bits, for each LoRA parameter."""


@dataclass(frozen=True)
class Inputs:
    """A configuration with all that it names, read and found sound."""

    config_path: Path
    overrides: tuple[str, ...]
    config: Config
    data: LoadedData
    task: Task
    labels: tuple[str, ...]
    teacher: ModelFile
    teacher_layers: LayerSizes
    student: ModelFile
    student_weights: WeightCounts
    grammar: str | None
    device: Device
    compute_dtype: ComputeDtype
    matched_steps: int | None = None
    """Of every training, where the recipe asks for as many as another run's last one had."""

    @property
    def workspace(self) -> Path:
        """Where the store lies: beside the configuration."""
        return self.config_path.parent

    @property
    def prompt_style(self) -> PromptStyle:
        """Where it is left open, questions of a class are asked for by a list to continue, of chat models, too.

        Measured on 60 TREC seeds: Qwen2.5-Coder-1.5B-Instruct so writes in their style, and of their class in 53, by
        reading them; as a chat model in 45, and "What is the capital of Japan?" four times.
        """
        style = self.config.teacher.prompt_style
        if style == "auto":
            continues_list = self.config.task.family == "classification" and recipe_of(self.config).writer == "teacher"
            return "chat" if self.teacher.has_chat_template and not continues_list else "completion"
        return style

    @property
    def ballot_style(self) -> PromptStyle:
        """That of ballots: of those that are a list to continue for chat models, too, whatever new examples are asked
        for in, so that runs of all recipes may share an audit.
        """
        return "completion" if self.config.task.family in ("classification", "text") else self.prompt_style


@dataclass(frozen=True, slots=True)
class HashedInputs:
    """Content hashes of the models and what the run's results depend on, field by field."""

    teacher: ModelRow
    student: ModelRow
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DiskPlan:
    """What a run's adapters and checkpoints will take up, and what is free where they go. Checkpoints are gone when the
    run is through.
    """

    adapter_bytes: int
    checkpoint_bytes: int
    free_bytes: int

    @property
    def needed_bytes(self) -> int:
        return self.adapter_bytes + self.checkpoint_bytes

    @property
    def is_enough(self) -> bool:
        return self.needed_bytes <= self.free_bytes

    def __str__(self) -> str:
        needed, free = self.needed_bytes / 2**30, self.free_bytes / 2**30
        return f"disk: about {needed:.2f} GiB for adapters and checkpoints, {free:.1f} GiB free"


def read_inputs(config_path: Path, overrides: Sequence[str]) -> Inputs:
    """Read the configuration, the data and the models' headers. Raises UserInputError of every kind."""
    config_path = Path(os.path.realpath(config_path))  # one that links to itself is told when it is read
    config = load_config(config_path, overrides)
    if recipe_of(config).writer == "eda":
        Synonyms()  # says so where there are none
    device = find_device(config.hardware.device)
    header = read_gguf_header(config.teacher.model)
    teacher = describe_gguf(header)
    student = inspect_folder(config.student.model)
    teacher_layers = layer_sizes(header)
    _check_context(config, teacher)
    _check_cache(config, teacher, teacher_layers)
    data = load_splits(config.data)
    # The label set comes from the seeds, so rows can be held against the task only now.
    task = make_task(config.task, data.rows[Split.TRAIN])
    for rows in data.rows.values():
        for row in rows:
            task.validate(row)
    if config.loop.failure_signal == "confidence" and not task.choices:
        raise ConfigError(
            'loop.failure_signal = "confidence": needs answers that are scored, and these are written',
            'Take "train" or "kfold", or, for classification, task.predict = "likelihood".',
        )
    _check_seeds(config, data.rows[Split.TRAIN])
    labels = getattr(task, "labels", ())
    return Inputs(
        config_path=config_path,
        overrides=tuple(overrides),
        config=config,
        data=data,
        task=task,
        labels=tuple(labels),
        teacher=teacher,
        teacher_layers=teacher_layers,
        student=student,
        student_weights=count_weights(student),
        grammar=_grammar(config),
        device=device,
        compute_dtype=find_compute_dtype(config.student.compute_dtype, device),
    )


def continued(inputs: Inputs, fields: Mapping[str, Any]) -> Inputs:
    """For a run that was started with `fields`: where the machine decides in what precision the student computes, as it
    was decided then, on another machine perhaps.
    """
    if inputs.config.student.compute_dtype != "auto" or COMPUTE_DTYPE not in fields:
        return inputs
    return dataclasses.replace(inputs, compute_dtype=fields[COMPUTE_DTYPE])


def hash_inputs(inputs: Inputs, hash_model: Callable[[Path], str] = content_hash) -> HashedInputs:
    """Read the model files in full for their content hashes: about a second a gigabyte. `hash_model`: knows some."""
    teacher = _model_row(inputs.teacher, hash_model(inputs.teacher.path))
    student = _model_row(inputs.student, hash_model(inputs.student.path))
    hashes = {**inputs.data.sha256, "teacher.model": teacher.sha256, "student.model": student.sha256}
    if inputs.grammar is not None:
        hashes["teacher.grammar"] = content_hash(inputs.config.teacher.grammar or Path())
    fields = run_fields(inputs.config, inputs.labels, hashes, inputs.device, inputs.compute_dtype)
    fields |= {
        f"data.{split}{ROWS}": digest({"rows": [(row.question, row.answer) for row in rows]})
        for split, rows in inputs.data.rows.items()
    }
    fields["teacher.prompt_style"] = inputs.prompt_style
    fields["teacher.ballot_style"] = inputs.ballot_style
    if inputs.matched_steps is not None:
        fields[MATCHED_STEPS] = inputs.matched_steps
    return HashedInputs(teacher, student, fields)


def disk_plan(inputs: Inputs, n_trained: int = 0) -> DiskPlan:
    """What the trainings take up that are still to come when `n_trained` of the run's are done."""
    student, config = inputs.student, inputs.config
    parameters = lora_parameters(student, config.student.lora_rank)
    n_trainings = max(0, _n_trainings(config) - n_trained)
    adapters = n_trainings * _ADAPTER_BYTES_PER_PARAMETER * parameters
    checkpoints = 2 * _CHECKPOINT_BYTES_PER_PARAMETER * parameters if n_trainings else 0
    return DiskPlan(adapters, checkpoints, shutil.disk_usage(inputs.workspace).free)


def _n_trainings(config: Config) -> int:
    """At most: the seeds may be fewer than the folds."""
    rounds, checks = config.loop.iterations, config.checks
    student_votes = "student" in voters(checks.verify, checks.verifier)
    asking = (who_answers_seeds(config.loop.failure_signal, iteration, rounds) for iteration in range(rounds + 1))
    with_folds = max(sum(who == "students of folds" for who in asking), int(student_votes))
    return rounds + 1 + with_folds * config.loop.folds


def _check_seeds(config: Config, seeds: Sequence[DataRow]) -> None:
    n_seeds, n_questions = len(seeds), len({same_words(seed.question) for seed in seeds})
    student_votes = "student" in voters(config.checks.verify, config.checks.verifier)
    least = next(n for n in itertools.count(1) if interval(1.0, n)[0] > 0.5)
    if config.checks.verify == "on" and n_questions < least:
        of_these = "" if n_questions == n_seeds else f" with {counted(n_questions, 'different question')}"
        raise ConfigError(
            f"{config.data.train}: {counted(n_seeds, 'seed')}{of_these}: too few to tell what verification is "
            "worth, were it always right",
            f'Give it {least} or more, or, against all this, have nothing verified (checks.verify = "off").',
        )
    if n_questions < 2 and (student_votes or config.loop.failure_signal == "kfold"):
        raise ConfigError(
            f"{config.data.train}: has one question only, and a student that hasn't seen it has nothing to learn from",
            "Give it other seeds.",
        )


def _check_context(config: Config, teacher: ModelFile) -> None:
    wanted = config.teacher.context_length
    if wanted == "auto":
        wanted = teacher.context_length
    if wanted > teacher.context_length:
        raise ConfigError(
            f"teacher.context_length = {wanted}: {teacher.path.name} was made for {teacher.context_length} tokens"
        )
    if config.teacher.max_new_tokens >= wanted:
        raise ConfigError(
            f"teacher.max_new_tokens = {config.teacher.max_new_tokens}: leaves no room for a prompt in a context of "
            f"{wanted} tokens"
        )


def _check_cache(config: Config, teacher: ModelFile, sizes: LayerSizes) -> None:
    wanted = config.teacher
    if wanted.kv_cache not in ("auto", "f16") and not can_quantize(sizes):
        heads = f"heads of a multiple of {sizes.head_values} numbers" if sizes.head_values else "no heads"
        raise ConfigError(
            f'teacher.kv_cache = "{wanted.kv_cache}": {teacher.path.name} has {heads}, and quantized keys and values '
            f"need a multiple of {KV_BLOCK}",
            'Set teacher.kv_cache = "auto" or "f16".',
        )
    if wanted.n_parallel != "auto" and wanted.n_batch != "auto" and wanted.n_parallel > wanted.n_batch:
        raise ConfigError(
            f"teacher.n_parallel = {wanted.n_parallel}: more than teacher.n_batch = {wanted.n_batch}, and each request "
            "that is decoded takes a token of every forward pass",
            'Raise teacher.n_batch, or set one of them to "auto".',
        )


def _grammar(config: Config) -> str | None:
    if config.teacher.grammar is None:
        return None
    try:
        grammar = read_text(config.teacher.grammar, PATH_REMEDY)
    except ConfigError as error:
        raise ConfigError(f"teacher.grammar: {error.message}", error.remedy) from None
    if not grammar.strip():
        raise ConfigError(f"teacher.grammar: {config.teacher.grammar}: is empty", "Without a grammar, leave it out.")
    return grammar


def _model_row(model: ModelFile, sha256: str) -> ModelRow:
    return ModelRow(
        sha256=sha256,
        kind=model.kind,
        name=model.name,
        path=str(model.path),
        architecture=model.architecture,
        quantization=model.quantization,
        size_bytes=model.size_bytes,
        context_length=model.context_length,
    )
