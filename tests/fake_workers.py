"""Workers that are no processes and note what they do in which order, and a student that is only planned for."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worker_pools import Reports, never

from llm2llm_local.model_files.folder import WeightCounts
from llm2llm_local.student.protocol import StudentSettings
from llm2llm_local.workers.memory import MemoryPlan, StudentMemory, student_memory
from llm2llm_local.workers.pool import WorkerPool

FOR_A_TEST = "it is for a test"
"""Why a plan keeps both, or not."""

STUDENT = StudentSettings(Path("student"), "nf4", "float32", 8, 16, 0.1, 128, "cpu", threads=1, reserved_bytes=30)

_SMALL: Any = types.SimpleNamespace(size_bytes=1, n_layers=2, n_embd=8, vocab_size=1000)


class FakeWorker:
    """Stands in for a worker process; `diary` has what was done in order."""

    diary: list[str]
    pid = 1

    is_in_call = False

    def __init__(self, role: str, *_: object) -> None:
        self.role = role
        self.diary.append(f"{role} starts")

    def load(self, settings: object) -> None:
        self.diary.append(f"{self.role} loads")

    def begin(self, method: str, *arguments: Any) -> None:
        self.diary.append(f"{self.role} works")

    def finish(self, progress: Callable[[int, int], None]) -> int:
        return 0

    def stop(self) -> None:
        self.diary.append(f"{self.role} ends")

    def memory_bytes(self) -> int:
        return 0


def fake_pool(tmp_path: Path, plan: MemoryPlan) -> WorkerPool:
    """For tests with the fixture `diary`, which gives it these workers."""
    teacher: Any = None
    return WorkerPool(teacher, STUDENT, plan, tmp_path, 1, 0, Reports(), never)


def planned_student(
    device: Any, quantization: Any, weights: WeightCounts, n_tokens: int = 1, compute_dtype: Any = "float32"
) -> StudentMemory:
    """What a small student is planned to need."""
    return student_memory(
        _SMALL,
        weights,
        device=device,
        training_tokens=n_tokens,
        quantization=quantization,
        compute_dtype=compute_dtype,
        lora_rank=1,
    )
