"""The table that `make bench-gpu` ends with, from a document that is made up."""

from __future__ import annotations

import dataclasses
import re

from gpu_documents import document_of

from llm2llm_local.bench.gpu.context import BUDGET, CONTEXT, LONGEST, NO_TIME, TOO_LONG
from llm2llm_local.bench.gpu.hand_over import FIRST_STEP, LEFT
from llm2llm_local.bench.gpu.targets import table
from llm2llm_local.bench.gpu.training import DISTANCE, PEAK, PEAK_SHARE
from llm2llm_local.bench.measure import Result
from llm2llm_local.bench.plan import Memory, Timed, Work


def result(name: str, seconds: float, work: Work, gpu_mib: int) -> Result:
    timed = Timed(seconds, dict(work.counts), dict(work.parts), dict(work.figures))
    memory = Memory(whole=2**30, working=2**30, gpu=gpu_mib * 2**20)
    return Result(name, repeats=(timed, timed), memory=memory)


def shown(*results_of_parts: tuple[Result, ...]) -> list[str]:
    """The lines of the table of such a document."""
    return list(table(document_of(*results_of_parts)))


def line_of(lines: list[str], beginning: str) -> list[str]:
    (line,) = (one for one in lines if one.startswith(beginning))
    return re.split(r" {2,}", line)[1:]


def trained(seconds: float, share: float) -> Work:
    return Work({"tokens": 1000, "TFLOP": 1}, figures={PEAK_SHARE: share, PEAK: 780.0, "times out of memory": 0})


MEMORY_ENDED = {CONTEXT: 36_000, TOO_LONG: 37_500, BUDGET: 22.5}
MODEL_ENDED = {CONTEXT: 131_000, LONGEST: 131_072, BUDGET: 24.0}
TIMED = Timed(1.0, {"tokens": 1000, "TFLOP": 1})


def test_the_table_says_what_was_met_and_what_was_missed() -> None:
    lines = shown(
        (
            result("batched", 1.0, Work({"requests": 32, "tokens": 1500}), 900),
            result("one_at_a_time", 13.0, Work({"requests": 32, "tokens": 1500}), 900),
            result("bare_loop", 0.9, Work({"requests": 32, "tokens": 1500}), 900),
        ),
        (result("training", 1.0, trained(1.0, 42.4), 20_000), result("Trainer", 1.9, trained(1.9, 22.0), 30_000)),
        (result("hand-over", 30.0, Work({"hand-overs": 1}, {FIRST_STEP: 9.5}, {LEFT: 40.0}), 0),),
        (result("largest context", 60.0, Work({"trainings": 9}, figures=MEMORY_ENDED), 0),),
        (result("training", 1.0, trained(1.0, 40.0), 30_000), result("Trainer", 2.5, trained(2.5, 16.0), 20_000)),
        (result("largest context", 9.0, Work({"trainings": 5}, figures=MODEL_ENDED), 0),),
        (result("two segments", 9.0, Work({"trainings": 2}, figures={DISTANCE: 0.0}), 0),),
    )
    assert "A GPU, 80 GiB, driver 580.1" in lines[0]
    assert line_of(lines, "teacher, 32 in parallel, to the loop") == ["13× (13–13)", "≥ 12×", "met"]
    assert line_of(lines, "teacher, to llama.cpp's bare loop") == ["0.9× (0.9–0.9)", "≥ 0.95×", "missed"]
    assert line_of(lines, "training a 8B student, to Trainer") == ["1.9× (1.9–1.9)", "≥ 2×", "missed"]
    assert line_of(lines, "training a 1B student, to Trainer") == ["2.5× (2.5–2.5)", "≥ 2×", "met"]
    assert line_of(lines, "training a 8B student, peak memory")[1:] == ["no more", "met"]
    assert line_of(lines, "training a 1B student, peak memory")[1:] == ["no more", "missed"]
    assert line_of(lines, "training a 8B student, tokens/s") == ["1,000"]
    assert line_of(lines, "training a 8B student, share of the matrix peak") == ["42% of 780 TFLOP/s"]
    assert line_of(lines, "hand-over to a 8B student, last token to first step") == ["9.5 s", "< 10 s", "met"]
    assert line_of(lines, "hand-over to a 8B student, memory left") == ["40 MiB", "nothing", "missed"]
    assert line_of(lines, "largest context of a 8B student in 22.5 GiB") == ["36,000 tokens; memory ran out at 37,500"]
    assert line_of(lines, "largest context of a 1B student in 24 GiB") == ["131,000 tokens; the model's longest"]
    assert line_of(lines, "a 1B student's training in two segments, largest difference") == ["0"]


def test_the_table_has_a_search_that_time_ended_and_medians_of_two() -> None:
    peaks = [dataclasses.replace(TIMED, figures={PEAK_SHARE: share, PEAK: 780.0}) for share in (20.0, 40.0)]
    training = Result("training", repeats=tuple(peaks), memory=Memory(whole=1, working=1, gpu=1))
    found = {CONTEXT: 36_000, NO_TIME: 38_000, TOO_LONG: 40_000, BUDGET: 24.0}
    lines = shown((), (training,), (), (result("largest context", 60.0, Work({"trainings": 9}, figures=found), 0),))
    assert line_of(lines, "training a 8B student, share of the matrix peak") == ["30% of 780 TFLOP/s"]
    ended = ["36,000 tokens; memory ran out at 40,000; no time left for 38,000"]
    assert line_of(lines, "largest context of a 8B student in 24 GiB") == ended


def test_the_table_names_all_that_had_no_time() -> None:
    lines = shown()
    without = [one for one in lines if one.endswith("not run: there was no time left")]
    assert len(without) == 3 + 2 + 1 + 1 + 2 + 1 + 1
    assert len(lines) == len(without) + 3
