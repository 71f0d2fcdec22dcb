"""`bench loop`: a run of the bundled demo beside the same work done as the method's published code does it.

Both train on the same examples with the same hyperparameters, evaluate the same questions and make the same requests to
the teacher, with the same temperature, top-p, min-p and stop strings: those of our run, which is done first and read
out of its store. What differs is how they work: ours batches and keeps models loaded, the reference starts a process
for each stage. Each tells what it did itself; replies are sampled, so that their tokens differ.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import defaultdict
from dataclasses import dataclass
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Any

from ..config import Config
from ..config_file import load_config
from ..errors import Llm2LlmError, UserInputError
from ..loop.fingerprint import threads
from ..records import Example, Failure, Origin, Split
from ..scaffold import CONFIG_NAME, write_workspace
from ..store.reader import STORE_NAME, open_reader
from ..tasks.base import PromptBuilder, PromptStyle
from ..tasks.families import make_task
from ..workers.device import find_device
from .lifeline import run_module
from .plan import Comparison, Contender, Repeat, Work
from .reference import EvaluateTask, Task, TeachRequest, TeachTask, TrainTask, read_done, write_task
from .watching import TerminalUi

REST = "start and load"
"""What is no stage's work: starting processes, loading models, ending. Where ours has to load a model again within a
stage, since both don't fit into memory, that is in the stage."""


@dataclass(frozen=True, slots=True)
class LoopCase:
    """`iterations`: rounds of augmentation; one training more. `seeds` and `tests`: of the demo's, at most so many.

    Workspaces are made in `folder`.
    """

    folder: Path
    teacher: Path
    student: Path
    iterations: int = 2
    seeds: int = 49
    tests: int = 154
    epochs: int = 2

    def __post_init__(self) -> None:
        for size, asked, name in (("seeds", self.seeds, "train"), ("tests", self.tests, "test")):
            if asked > (most := len(_demo_rows(name))):
                raise UserInputError(f"--size {size}={asked}: the demo has {most}")


def llm2llm_run(case: LoopCase) -> Repeat:
    """The real command, as a process of its own, and the terminal UI on it, as a person has it open."""
    numbers = count()

    def repeat() -> Work:
        workspace = _our_workspace(case, next(numbers))
        write_workspace(workspace, "demo", case.folder)
        command = ("-C", str(workspace), "run", "--headless", *_overrides(case))
        with TerminalUi(workspace) as terminal_ui:
            started = time.perf_counter()
            run_module(case.folder / "ours.log", "llm2llm_local", *command, look=terminal_ui.look)
            seconds = time.perf_counter() - started
        with open_reader(workspace) as connection:
            parts, counts = _parts(connection), _counts(connection)
        return Work(counts, {**parts, REST: seconds - sum(parts.values())}, terminal_ui.figures())

    return repeat


_STAGES = ("train", "predict", "grade", "augment", "check")
"""Of a run that verifies nothing."""


def _parts(connection: sqlite3.Connection) -> dict[str, float]:
    """Seconds of our stages, by what they are called in the comparison; all that the compared run has, also where one
    had nothing to do, so that the repeats have the same.
    """
    parts = dict.fromkeys((_part(stage) for stage in _STAGES), 0.0)
    for stage, seconds in connection.execute("SELECT stage, sum(seconds) FROM stages GROUP BY stage"):
        parts[_part(stage)] = parts.get(_part(stage), 0.0) + seconds
    return parts


def _part(stage: str) -> str:
    """A stage that the reference doesn't have keeps its name."""
    return {"predict": "evaluate", "grade": "evaluate", "augment": "teach"}.get(stage, stage)


def _our_workspace(case: LoopCase, number: int) -> Path:
    return case.folder / f"ours-{number}"


def _overrides(case: LoopCase) -> list[str]:
    """Of the demo's configuration. All labels are named, since few seeds don't have them all."""
    values: dict[str, Any] = {
        "teacher.model": str(case.teacher),
        "student.model": str(case.student),
        "student.epochs": case.epochs,
        "loop.iterations": case.iterations,
        "checks.verify": "off",  # as in the method as it was published
        "loop.failure_signal": "train",
    }
    values["task.labels"] = sorted({json.loads(row)["answer"] for row in _demo_rows("train")})
    pairs = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]
    pairs += [f"data.sample={{n = {case.seeds}}}", f"data.test_sample={{n = {case.tests}}}"]
    return [word for pair in pairs for word in ("--set", pair)]


def _demo_rows(name: str) -> list[str]:
    return (resources.files("llm2llm_local") / "demo" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()


def _counts(connection: sqlite3.Connection) -> dict[str, float]:
    counted = {
        "trained": "SELECT count(*) FROM training_set_examples",
        "evaluated": "SELECT count(*) FROM predictions",
        "requests": "SELECT count(*) FROM teacher_calls",
        "reply tokens": "SELECT coalesce(sum(output_tokens), 0) FROM teacher_calls",
    }
    return {name: float(connection.execute(sql).fetchone()[0]) for name, sql in counted.items()}


def process_per_stage(case: LoopCase) -> Repeat:
    """The reference's way, with what our run had to do."""
    workspace = _our_workspace(case, 0)
    if not (workspace / STORE_NAME).is_file():
        raise Llm2LlmError("what is to be done is taken from our run, and that did not come to its end")
    config = load_config(workspace / CONFIG_NAME, [one for one in _overrides(case) if one != "--set"])
    numbers = count()

    def repeat() -> Work:
        folder = case.folder / f"reference-{next(numbers)}"
        folder.mkdir()
        parts: defaultdict[str, float] = defaultdict(float)
        counts: defaultdict[str, float] = defaultdict(float)
        with open_reader(workspace) as connection:
            (n_iterations,) = connection.execute("SELECT count(*) FROM iterations").fetchone()
            for iteration in range(n_iterations):
                for stage, task in _tasks(connection, config, case, iteration, folder / f"adapter-{iteration}"):
                    path = folder / f"{iteration}-{stage}.json"
                    write_task(path, task)
                    started = time.perf_counter()
                    run_module(folder / "log.txt", "llm2llm_local.bench.reference", stage, str(path))
                    seconds, done = time.perf_counter() - started, read_done(path)
                    parts[stage] += done.seconds
                    parts[REST] += seconds - done.seconds
                    for name, count_of_stage in done.counts.items():
                        counts[name] += count_of_stage
        return Work(dict(counts), dict(parts))

    return repeat


def _tasks(
    connection: sqlite3.Connection, config: Config, case: LoopCase, iteration: int, adapter: Path
) -> list[tuple[str, Task]]:
    """The processes of one iteration, in order. Without failures the teacher is not asked."""
    prompts = PromptBuilder(config.task.question_name, config.task.answer_name)
    trained = connection.execute(
        "SELECT e.question, e.answer FROM training_set_examples t JOIN examples e ON e.id = t.example_id "
        "WHERE t.iteration = ? ORDER BY t.position",
        [iteration],
    ).fetchall()
    asked = connection.execute(
        "SELECT e.question FROM predictions p JOIN examples e ON e.id = p.example_id "
        "WHERE p.iteration = ? ORDER BY e.id",
        [iteration],
    ).fetchall()
    calls = connection.execute(
        "SELECT prompt FROM teacher_calls WHERE iteration = ? ORDER BY id", [iteration]
    ).fetchall()
    student, teacher = config.student, config.teacher
    device, n_threads = find_device(config.hardware.device), threads(config.hardware)
    tasks: list[tuple[str, Task]] = [
        (
            "train",
            TrainTask(
                model=str(case.student),
                device=device,
                threads=n_threads,
                examples=[(prompts.prompt(question), prompts.completion(answer)) for question, answer in trained],
                epochs=case.epochs,
                batch_size=student.batch_size,
                learning_rate=student.learning_rate,
                lora_rank=student.lora_rank,
                lora_alpha=student.lora_alpha,
                lora_dropout=student.lora_dropout,
                warmup_ratio=student.warmup_ratio,
                weight_decay=student.weight_decay,
                max_grad_norm=student.max_grad_norm,
                rng_seed=config.loop.rng_seed,
                adapter=str(adapter),
            ),
        ),
        (
            "evaluate",
            EvaluateTask(
                str(case.student),
                device,
                n_threads,
                str(adapter),
                [prompts.prompt(question) for (question,) in asked],
            ),
        ),
    ]
    if calls:
        teach = TeachTask(
            model=str(case.teacher),
            device=device,
            threads=n_threads,
            requests=[_request(config, prompt) for (prompt,) in calls],
            temperature=teacher.temperature,
            top_p=teacher.top_p,
            min_p=teacher.min_p,
            max_tokens=teacher.max_new_tokens,
        )
        tasks.append(("teach", teach))
    return tasks


def _request(config: Config, prompt: str) -> TeachRequest:
    """What a stored prompt asks. Its stop strings, which the store doesn't have, are those of the task's requests."""
    stored = json.loads(prompt)
    style: PromptStyle = "completion" if isinstance(stored, str) else "chat"
    text = stored if isinstance(stored, str) else "\n\n".join(message["content"] for message in stored)
    failure = Failure(Example(0, "", Split.TRAIN, Origin.SEED, "", (config.task.labels or [""])[0]), None)
    asked = make_task(config.task, []).teacher_prompt(failure, [], [], style, show_student_answer=False)
    return TeachRequest(text, style == "completion", asked.stop)


def parts(scratch: Path, teacher: Path, student: Path) -> list[Comparison]:
    return [
        Comparison(
            "the demo's loop",
            LoopCase(scratch, teacher, student),
            (Contender("llm2llm run", llm2llm_run), Contender("process-per-stage", process_per_stage)),
            measure="trained",
            order="one by one",
            repeats=1,
            warm_ups=0,
            note="the same examples, questions and numbers of requests; the reference loads a model for each stage and "
            "samples up to 100 tokens an answer; memory is that of the largest process of each",
        )
    ]
