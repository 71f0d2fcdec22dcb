"""From the configuration to a task."""

from __future__ import annotations

from collections.abc import Sequence

from ..config import TaskConfig
from ..records import DataRow
from .base import PromptBuilder, Task
from .classification import ClassificationTask, label_set
from .math import MathTask
from .multiple_choice import MultipleChoiceTask, most_frequent_count
from .text import TextTask


def make_task(config: TaskConfig, seeds: Sequence[DataRow]) -> Task:
    """The task of `config`; `seeds` give the label set when none is declared, and the number of options.

    Raises DataError when they can't.
    """
    prompts = PromptBuilder(config.question_name, config.answer_name)
    match config.family:
        case "classification":
            labels = label_set(config.labels, seeds)
            return ClassificationTask(prompts, config.instruction, labels, config.predict == "likelihood")
        case "math":
            return MathTask(prompts, config.instruction)
        case "multiple_choice":
            n_options, counted_in = most_frequent_count(seeds)
            scores_letters = config.predict == "likelihood"
            return MultipleChoiceTask(prompts, config.instruction, n_options, counted_in, scores_letters)
        case "text":
            return TextTask(prompts, config.instruction)
