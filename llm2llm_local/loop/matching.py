"""How many optimizer steps a run takes that is to take as many as another: more data also means more steps, so only a
training on the seeds that has as many shows what the new examples themselves are worth.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError, NoHistoryError
from ..recipes import recipe_of
from ..records import Status
from ..store.graded import steps_of_result
from ..store.reader import open_reader
from .fingerprint import MATCH_RUN, MATCHED_STEPS
from .inputs import Inputs

_REMEDY = "llm2llm status lists the runs."


def matched(inputs: Inputs, known: Mapping[str, Any] | None = None) -> Inputs:
    """With the steps of the run that the configuration names, if its recipe asks for that.

    `known`: what the results of the run that goes on, or is forked, depend on: what was found for it stays true when
    the other run has been deleted since. Raises ConfigError when there is no such run, or it isn't finished.
    """
    run_id = inputs.config.loop.match_run
    if not recipe_of(inputs.config).matches_steps or run_id is None:
        return inputs
    if known is not None and known.get(MATCH_RUN) == run_id and MATCHED_STEPS in known:
        steps = int(known[MATCHED_STEPS])
    else:
        steps = final_steps(inputs.workspace, run_id)
    return dataclasses.replace(inputs, matched_steps=steps)


def final_steps(workspace: Path, run_id: int) -> int:
    """That a finished run's chosen student has had. Raises ConfigError as `matched` does."""
    problem = f"loop.match_run = {run_id}: "
    try:
        with open_reader(workspace) as connection:
            run = connection.execute("SELECT status FROM runs WHERE run_id = ?", [run_id]).fetchone()
            steps = None if run is None else steps_of_result(connection, run_id)
    except NoHistoryError:
        raise ConfigError(f"{problem}there are no runs in {workspace} yet", "Start with the one to match.") from None
    if run is None:
        raise ConfigError(f"{problem}there is no such run in {workspace}", _REMEDY)
    if run["status"] != Status.DONE:
        raise ConfigError(
            f"{problem}run {run_id} isn't finished, so its result isn't known", f"llm2llm resume {run_id}"
        )
    if steps is None:
        raise ConfigError(f"{problem}run {run_id} has no training", _REMEDY)
    return steps
