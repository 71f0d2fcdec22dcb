"""`make torture`: many kills on tiny real models; prints how many were survived. KILLS says how many."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from conftest import TEXTS
from killing import Victim, compare, disturb, finish, llm2llm, make_workspace, units_done
from tiny_models import make_tiny_models

_KILLS_IN_A_RUN = 5


def main() -> None:
    wanted = int(os.environ.get("KILLS", "200"))
    rng_seed = int(os.environ.get("RNG_SEED", "0"))
    rng = random.Random(rng_seed)
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    models = make_tiny_models(folder / "models", TEXTS)
    calm = make_workspace(folder / "calm", models.teacher, models.student)
    finish(llm2llm(calm, "run"), calm)
    survived, total, number, stages = 0, 0, 0, Counter[str]()
    while total < wanted:
        number += 1
        victims: list[Victim] = rng.choices(["run", "teacher", "student"], weights=[3, 1, 1], k=_KILLS_IN_A_RUN)
        workspace = make_workspace(folder / f"run-{number}", models.teacher, models.student)
        disturbed = disturb(workspace, units_done(calm), victims, rng)
        differences = compare(calm, disturbed)
        total += len(disturbed.kills)
        survived += 0 if differences else len(disturbed.kills)
        stages.update(f"{kill.victim} in {kill.stage.split()[-1]}" for kill in disturbed.kills)
        print(f"{survived}/{total} kills survived", *differences[:3], sep="\n  ", flush=True)  # noqa: T201
        if not differences:
            shutil.rmtree(workspace)
    print(f"survived {survived} of {total} kills (RNG_SEED={rng_seed}); ", dict(stages))  # noqa: T201
    if survived < total:
        sys.exit(f"differing runs are kept in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
