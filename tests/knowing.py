"""Engines that know the labels of the runs in `fake_runs`, so that their votes on an answer carry information."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fake_runs import LABELS, SEEDS, configuration
from fakes import FakeStudent, FakeTeacher, scored

from llm2llm_local.config import Config
from llm2llm_local.student.protocol import PredictionBatch, StudentAnswer, TrainingExample
from llm2llm_local.teacher.protocol import Progress, ScoreRequest, TeacherRequest

NOTHING_LEARNT = FakeStudent(lambda example, segment: False)


def verified(**changes: Any) -> Config:
    """As `configuration`, with verification by the teacher."""
    return configuration(**{"checks__verify": "on", "checks__verifier": "teacher", **changes})


def by_heart(example: TrainingExample, segment: object) -> bool:
    return True


def label_in(text: str) -> str | None:
    """What a question of these runs says of itself: "… (alpha) …", or, of a seed, what its number tells."""
    for label in LABELS:
        if f"({label})" in text:
            return label
    number = next((word for word in text.split() if word.isdigit()), None)
    return LABELS[int(number) % 3] if text.startswith("seed") and number else None


@dataclass
class KnowingTeacher(FakeTeacher):
    """Knows seeds' labels, and those of questions that say so; writes every third question of another label."""

    ballots: list[ScoreRequest] = field(default_factory=list)
    knows: bool = True

    def log_likelihoods(self, request: ScoreRequest) -> tuple[float, ...]:
        self.ballots.append(request)
        question = request.prompt.completion.rpartition("Question: ")[2].partition("\n")[0]
        known = label_in(question) if self.knows else LABELS[0]
        likely = -0.1 if known is not None else -1.0
        return tuple(likely if choice.strip() == known else -3.0 for choice in request.continuations)


def writes(request: TeacherRequest) -> str:
    """A new question of the label that is asked for, or (every third) of the next one."""
    wanted = next(label for label in LABELS if f"is {label}" in request.prompt.completion)
    off = request.rng_seed % 3 == 0
    said = LABELS[(LABELS.index(wanted) + off) % 3]
    return f" new ({said}) thing {request.rng_seed} to talk about"


@dataclass
class KindStudent(FakeStudent):
    """Knows the label of what says so, and those of three seeds in four whether it has seen them or not."""

    def predict(self, batch: PredictionBatch, progress: Progress) -> list[StudentAnswer]:
        answers = super().predict(batch, progress)
        return [self._known(batch, prompt, answer) for prompt, answer in zip(batch.prompts, answers, strict=True)]

    def _known(self, batch: PredictionBatch, prompt: str, answer: StudentAnswer) -> StudentAnswer:
        question = prompt.removeprefix("Question: ").partition("\n")[0]
        label = label_in(question)
        if label is None or question in {seed.question for seed in SEEDS[::4]}:
            return answer
        return scored(batch.completions, f" {label}")
