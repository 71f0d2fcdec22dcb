"""What `bench gpu` would print as JSON, made of results that are made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llm2llm_local.bench.gpu import parts
from llm2llm_local.bench.machine import Machine
from llm2llm_local.bench.measure import Measured, Result
from llm2llm_local.bench.output import Report, report_document


def document_of(*results_of_parts: tuple[Result, ...]) -> Any:
    """The parts that there are, in their order; those without results had no time."""
    comparisons = parts(Path("scratch"), Path("teacher.gguf"), Path("student"), "cuda", 4)
    measured = []
    for position, comparison in enumerate(comparisons):
        results = results_of_parts[position] if position < len(results_of_parts) else ()
        missing = [one.name for one in comparison.contenders if one.name not in {each.name for each in results}]
        rest = tuple(Result(name, not_run="there was no time left") for name in missing)
        measured.append(Measured(comparison, (*results, *rest)))
    machine = Machine("A CPU", 16, 2**37, "A GPU", 80 * 2**30, "580.1", "Linux")
    report = Report("gpu", machine, {"torch": "2.11.0"}, (), tuple(measured))
    return json.loads(json.dumps(report_document(report)))
