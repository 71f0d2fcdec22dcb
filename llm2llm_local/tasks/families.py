"""From the configuration to a task."""

from __future__ import annotations

from collections.abc import Sequence

from ..config import TaskConfig
from ..records import DataRow
from .base import PromptBuilder, Task
from .classification import ClassificationTask, label_set
from .math import MathTask


def make_task(config: TaskConfig, seeds: Sequence[DataRow]) -> Task:
    """The task of `config`; `seeds` give the label set when none is declared.

    Raises DataError when they can't.
    """
    prompts = PromptBuilder(config.question_name, config.answer_name)
    match config.family:
        case "classification":
            labels = label_set(config.labels, seeds)
            return ClassificationTask(prompts, config.instruction, labels, config.predict == "likelihood")
        case "math":
            return MathTask(prompts, config.instruction)
