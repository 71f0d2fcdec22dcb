"""A teacher and a student without models, by the real protocols, and a progress that nobody looks at."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llm2llm_local.file_digest import folder_digest
from llm2llm_local.records import FinishReason, Reply
from llm2llm_local.student.protocol import (
    PredictionBatch,
    Progress,
    SegmentResult,
    StudentAnswer,
    TrainingExample,
    TrainingProgress,
    TrainingSegment,
)
from llm2llm_local.teacher.protocol import ScoreRequest, Scores, TeacherRequest, TeacherSettings


@dataclass
class FakeTeacher:
    """Writes what `write` makes of a request; remembers all requests."""

    write: Callable[[TeacherRequest], str] = lambda request: f" message number {request.rng_seed}"
    requests: list[TeacherRequest] = field(default_factory=list)

    def generate(self, group: Sequence[TeacherRequest], progress: Progress) -> list[Reply]:
        self.requests += group
        return [Reply(self.write(request), FinishReason.STOP, 7, 3, 0.01) for request in group]

    def begin_generate(self, group: Sequence[TeacherRequest]) -> Callable[[Progress], list[Reply]]:
        return lambda progress: self.generate(group, progress)

    def check_prompts(self, group: Sequence[TeacherRequest], progress: Progress) -> int:
        return 10

    def check_memory(self, progress: Progress) -> None:
        """There is enough."""

    def score(self, group: Sequence[ScoreRequest], progress: Progress) -> list[Scores]:
        return [Scores(self.log_likelihoods(request), 11) for request in group]

    def log_likelihoods(self, request: ScoreRequest) -> tuple[float, ...]:
        """The longer, the less likely."""
        return tuple(-float(len(text)) for text in request.continuations)

    def begin_score(self, group: Sequence[ScoreRequest]) -> Callable[[Progress], list[Scores]]:
        return lambda progress: self.score(group, progress)


@dataclass
class FakeStudent:
    """Learns by heart what `learns` says it does, and answers `choices[0]` to everything else."""

    learns: Callable[[TrainingExample, TrainingSegment], bool]
    segments: list[TrainingSegment] = field(default_factory=list)
    batches: list[PredictionBatch] = field(default_factory=list)

    def train(self, segment: TrainingSegment, progress: TrainingProgress) -> SegmentResult:
        self.segments.append(segment)
        learnt = {example.prompt: example.completion for example in segment.examples if self.learns(example, segment)}
        segment.output.mkdir(parents=True, exist_ok=True)
        text = json.dumps(learnt, sort_keys=True)
        (segment.output / "learnt.json").write_text(text)
        steps = range(segment.start_step, segment.stop_step)
        losses = tuple(1.0 / (step + 1) for step in steps)
        for step, loss in zip(steps, losses, strict=True):
            progress(step + 1, segment.total_steps, loss)
        return SegmentResult(losses, folder_digest(segment.output), 8 * len(steps), ())

    def predict(self, batch: PredictionBatch, progress: Progress) -> list[StudentAnswer]:
        self.batches.append(batch)
        learnt = json.loads((batch.adapter / "learnt.json").read_text())
        return [scored(batch.completions, learnt.get(prompt)) for prompt in batch.prompts]

    def begin_predict(self, batch: PredictionBatch) -> Callable[[Progress], list[StudentAnswer]]:
        return lambda progress: self.predict(batch, progress)

    def check_lengths(self, examples: tuple[TrainingExample, ...], progress: Progress) -> int:
        return 12


def scored(completions: Sequence[str], learnt: str | None) -> StudentAnswer:
    """What was learnt with 90%, else the first with 40%; the others share the rest."""
    chosen, share = (completions[0], 0.4) if learnt is None else (learnt, 0.9)
    others = (1 - share) / (len(completions) - 1)
    log_probabilities = tuple(math.log(share if one == chosen else others) for one in completions)
    return StudentAnswer(Reply(chosen.strip(), FinishReason.SCORED, 5, 0, 0.001), log_probabilities)


def teacher_settings(model: Path, context_length: int) -> TeacherSettings:
    """Settings for a tiny model on one CPU core, as they are planned, with sizes that don't stand in the way."""
    return TeacherSettings(
        model=model,
        context_length=context_length,
        threads=1,
        gpu_layers=0,
        n_parallel=8,
        n_batch=512,
        kv_bytes=2**28,
        kv_type="f16",
        flash_attention="off",
    )


def quiet(*figures: float) -> None:
    """Progress that nobody looks at."""


def stable_number(text: str) -> int:
    """The same for the same text in every process, unlike `hash`."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
