"""What several test files share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from timed_runs import Clock
    from tiny_models import TinyModels
    from worker_pools import Open
    from workspaces import Workspace

    from llm2llm_local.store.writer import Store
    from llm2llm_local.student.lora import LoraStudent
    from llm2llm_local.tui.hardware import Sample

TEXTS = (
    "The old bridge crosses the river near the station.",
    "A teacher reads the letter in the quiet garden.",
    "What is the name of the longest river in the north?",
    "Who wrote the first book about the stars?",
    "How many people live in the village today?",
    "How far is it from the harbour to the market?",
    "Where did the painter keep her brushes?",
    "When does the last train leave for the coast?",
    "Why do leaves turn red before the winter?",
    "Which animal sleeps through the whole winter?",
    "Please play the song that we heard this morning.",
    "Add this song to my evening list.",
    "Will it rain in the mountains tomorrow?",
    "Book a table for 4 people at 7 in the evening.",
    "Find a restaurant that serves soup near the theatre.",
    "Show me the times of the film on Sunday.",
    "I give this book 3 of 5 stars.",
    "The film was slow, but the ending was beautiful.",
    "The story is dull and the jokes are old.",
    "A warm and funny film about two brothers.",
    "Anna has 12 apples and gives 5 of them to Ben, so 12 - 5 = 7 apples are left.",
    "A box holds 6 eggs, and 4 boxes hold 6 * 4 = 24 eggs.",
    "The answer is 42.",
    "question: Where is the library?\nanswer: place",
    "question: Who opened the door?\nanswer: person",
    "question: How much does the ticket cost?\nanswer: number",
    "Write one new question of the same kind.",
    "The court finds that the contract was never signed.",
    "The owner must repair the roof within 30 days.",
    "Yes, that is right.\nNo, that is wrong.",
    "Examples:\n\n1. Where is the harbour?\n\n2. Who sang the song?\n\n3. How old is the bridge?",
    "Kinds:\n\nplace\n\nperson\n\nnumber",
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An open store without runs, in `tmp_path`."""
    from llm2llm_local.store.writer import Store

    with Store(tmp_path) as opened:
        yield opened


@pytest.fixture
def history(tmp_path: Path) -> Workspace:
    """A run by hand whose process has died, in a workspace without a configuration."""
    from workspaces import Workspace, add_run, fill

    from llm2llm_local.store.writer import Store

    with Store(tmp_path) as store:
        fill(add_run(store))
    return Workspace(tmp_path)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    """A teacher (GGUF) and a student (folder) with the same random weights; made once, never changed."""
    from tiny_models import make_tiny_models  # torch and transformers: seconds that most tests need not wait

    return make_tiny_models(tmp_path_factory.mktemp("models"), TEXTS)


@pytest.fixture
def open_pool(tiny_models: TinyModels, tmp_path: Path, request: pytest.FixtureRequest) -> Open:
    """Opens pools of workers with the tiny models, which are closed when the test ends; logs in `tmp_path`."""
    from worker_pools import opener

    return opener(tiny_models, tmp_path, request)


@pytest.fixture
def diary(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens in a pool without real processes (see fake_workers.py)."""
    from fake_workers import FakeWorker

    from llm2llm_local.workers import pool

    lines: list[str] = []
    monkeypatch.setattr(FakeWorker, "diary", lines, raising=False)
    monkeypatch.setattr(pool, "WorkerProcess", FakeWorker)
    return lines


@pytest.fixture(scope="session")
def student(tiny_models: TinyModels) -> LoraStudent:
    """A student without dropout and quantization, shared: what it was asked before makes no difference."""
    from trainings import settings

    from llm2llm_local.student.lora import LoraStudent

    return LoraStudent(settings(tiny_models.student))


@pytest.fixture(scope="session")
def trained(student: LoraStudent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter of a student that has learnt EXAMPLES."""
    from fakes import quiet
    from trainings import training

    folder = tmp_path_factory.mktemp("trained") / "adapter"
    student.train(training(folder, epochs=20), quiet)
    return folder


@pytest.fixture(scope="session")
def undecided(student: LoraStudent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter of a student that has learnt UNEVEN_LABELS, but not which belongs where."""
    from fakes import quiet
    from trainings import PROMPTS, UNEVEN_LABELS, training

    from llm2llm_local.student.protocol import TrainingExample

    examples = tuple(TrainingExample(prompt, label) for prompt in PROMPTS for label in UNEVEN_LABELS)
    folder = tmp_path_factory.mktemp("undecided") / "adapter"
    student.train(training(folder, examples=examples), quiet)
    return folder


@pytest.fixture(scope="session")
def finished_run(tiny_models: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with one finished run of two iterations, for looking at; copy it to change it."""
    from workspaces import make_workspace

    workspace = make_workspace(tmp_path_factory.mktemp("finished") / "workspace", tiny_models)
    process = workspace.start("run")
    assert process.wait() == 0, workspace.error_output()
    return workspace


@pytest.fixture(scope="session")
def big_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A store with more than a million predictions (see big_store.py), for looking at: about 20 s and 560 MB."""
    from big_run import Size
    from big_store import make_big_store
    from workspaces import Workspace

    folder = tmp_path_factory.mktemp("big")
    make_big_store(folder, Size())
    yield Workspace(folder)
    (folder / "llm2llm.db").unlink()  # pytest keeps the folders of three sessions


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What `time.monotonic` says, moved by the engines of timed_runs.py alone."""
    from timed_runs import Clock

    return Clock(monkeypatch)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[Sample]:
    """What every look of a screen at the machine finds is the last of these; a test may append."""
    from dashboards import MACHINE

    from llm2llm_local.tui.hardware import Sampler

    samples = [MACHINE]
    monkeypatch.setattr(Sampler, "sample", lambda _, __: samples[-1])
    return samples


@pytest.fixture
def anyio_backend() -> str:
    """Tests of the terminal UI run in asyncio, as Textual does."""
    return "asyncio"
