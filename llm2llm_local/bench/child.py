"""A contender's process: `python -m llm2llm_local.bench.child NAME FD`. Air gap, pipe and lifeline are the workers'.

Time is taken here, beside the work: neither the pipe nor what the parent does meanwhile is in it.
"""

from __future__ import annotations

import gc
import sys
import time
from typing import Any

from ..errors import Llm2LlmError
from ..workers.main import serve
from .memory import PeakMemory
from .plan import Memory, Prepare, Timed, Work


class PreparedContender:
    """A contender that has been prepared. Raises Llm2LlmError when it can't run here."""

    def __init__(self, prepare: Prepare, case: Any) -> None:
        self._peak = PeakMemory()
        started = time.perf_counter()
        try:
            self._repeat = prepare(case)
        except ModuleNotFoundError as error:
            raise Llm2LlmError(f"the package {error.name} is not installed") from None
        self._seconds = time.perf_counter() - started
        self._peak.begin_work()

    def preparation_seconds(self, _: object) -> float:
        return self._seconds

    def repeat(self, _: object) -> Timed:
        gc.collect()  # what earlier repeats left behind is not this one's work
        started = time.perf_counter()
        done = self._repeat()
        _wait_for_gpu()
        seconds = time.perf_counter() - started
        work = done if isinstance(done, Work) else Work(done)
        counts = {name: float(count) for name, count in work.counts.items()}
        return Timed(seconds, counts, dict(work.parts), dict(work.figures))

    def memory(self, _: object) -> Memory:
        return self._peak.so_far()


def _wait_for_gpu() -> None:
    """PyTorch hands work to the GPU and goes on: what isn't done yet belongs to the repeat."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def main(descriptor: int) -> None:
    serve(descriptor, lambda settings: PreparedContender(*settings))


if __name__ == "__main__":
    main(int(sys.argv[2]))
