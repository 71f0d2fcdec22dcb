"""`bench teacher` and `bench student` on the tiny models: that each contender does the same work and counts it right.

Contenders run in this process here, and what goes into the model is looked at on its way. No test looks at a speed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from trainings import QUESTIONS, folder_bytes
from workspaces import Workspace

from llm2llm_local.bench import prediction, training
from llm2llm_local.bench.measure import measure_series
from llm2llm_local.bench.plan import Prepare, against
from llm2llm_local.bench.prediction import PredictionCase, check_labels, worked_problems
from llm2llm_local.bench.teacher import TeacherCase, bare_loop
from llm2llm_local.bench.training import TrainingCase
from llm2llm_local.errors import DataError, ModelError, UserInputError
from llm2llm_local.student import precision
from llm2llm_local.student.batching import learning_rate_factor
from llm2llm_local.student.protocol import PredictionBatch

if TYPE_CHECKING:
    from tiny_models import TinyModels

TRAINERS = (
    training.lean,
    training.trainer,
    pytest.param(
        training.sft_trainer,
        marks=pytest.mark.skipif(
            find_spec("trl") is None or find_spec("datasets") is None, reason="needs pip install trl datasets"
        ),
    ),
)
WRITERS = (prediction.generate_16, prediction.generate_16_all_tokens, prediction.generate_16_greedy)
PREDICTORS = (prediction.scored, prediction.refilled, *WRITERS)


def written_rows(path: Path, rows: Sequence[tuple[str, str]]) -> Path:
    path.write_text("".join(json.dumps({"question": one, "answer": other}) + "\n" for one, other in rows))
    return path


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def training_case(tmp_path: Path, tiny_models: TinyModels) -> TrainingCase:
    """Three steps: two of four rows, one of two."""
    data = written_rows(tmp_path / "train.jsonl", QUESTIONS)
    return TrainingCase(tiny_models.student, "cpu", data, n_examples=10, batch_size=4, lora_rank=4, threads=1)


@pytest.fixture
def cpu_without_bfloat16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What Linux tells of the CPU; all contenders go by it."""
    file = tmp_path / "cpuinfo"
    file.write_text("flags : avx2")
    monkeypatch.setattr(precision, "_CPU_INFO", file)
    return file


@dataclass
class Seen:
    """What trained models were given: rows without padding, those of each batch, and what they were computed with."""

    rows: list[list[int]] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    how: set[tuple[Any, ...]] = field(default_factory=set)
    rates: list[float] = field(default_factory=list)
    optimizers: set[tuple[Any, ...]] = field(default_factory=set)


@pytest.fixture
def seen(training_case: TrainingCase, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    import torch
    from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook
    from transformers import AutoTokenizer, LlamaModel

    made, end = Seen(), AutoTokenizer.from_pretrained(training_case.model).eos_token_id
    forward = LlamaModel.forward

    def watched(model: LlamaModel, input_ids: Any, **more: Any) -> Any:
        if not model.training:
            return forward(model, input_ids, **more)  # ours looks at a model when it has loaded it
        for row in input_ids.tolist():
            while row[-2:] == [end, end]:  # the end is learnt once, and is what rows are padded with
                row.pop()
            made.rows.append(row)
        made.batches.append(len(input_ids))
        made.how.add((torch.get_num_threads(), model.embed_tokens.weight.dtype, torch.is_grad_enabled()))
        return forward(model, input_ids, **more)

    def before_step(optimizer: Optimizer, *_: Any) -> None:
        (group,) = [one for one in optimizer.param_groups if one["params"]]
        made.rates.append(group["lr"])
        told = tuple(group[name] for name in ("betas", "eps", "weight_decay", "fused", "amsgrad"))
        made.optimizers.add((torch.optim.AdamW in type(optimizer).__mro__, *told))

    monkeypatch.setattr(LlamaModel, "forward", watched)
    hook = register_optimizer_step_pre_hook(before_step)
    torch.set_num_threads(2)
    yield made
    hook.remove()


@pytest.mark.model
@pytest.mark.parametrize("prepare", TRAINERS)
def test_each_trainer_learns_each_row_once_and_counts_its_tokens(
    prepare: Prepare, training_case: TrainingCase, seen: Seen
) -> None:
    from transformers import AutoTokenizer

    repeat = prepare(training_case)
    assert seen.rows == []  # nothing of the work is done before time is taken
    work = repeat()
    tokenizer = AutoTokenizer.from_pretrained(training_case.model)
    texts = [f"question: {question}\nanswer: {answer}{tokenizer.eos_token}" for question, answer in QUESTIONS[:10]]
    expected = [tokenizer(text)["input_ids"] for text in texts]
    assert sorted(seen.rows) == sorted(expected)
    assert sorted(seen.batches) == [2, 4, 4]
    assert work == {"tokens": sum(map(len, expected)), "steps": 3}
    seen.rows.clear()
    assert repeat() == work and sorted(seen.rows) == sorted(expected)  # as much again


@pytest.mark.model
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("prepare", TRAINERS)
def test_each_trainer_computes_in_what_is_fastest_for_it(
    prepare: Prepare, training_case: TrainingCase, seen: Seen, cpu_without_bfloat16: Path, dtype: str
) -> None:
    import torch

    if dtype == "bfloat16":
        cpu_without_bfloat16.write_text("flags : avx512_bf16")
    prepare(training_case)()
    assert seen.how == {(1, getattr(torch, dtype if prepare is training.lean else "float32"), True)}
    assert seen.optimizers == {(True, (0.9, 0.999), 1e-8, 0.0, True, False)}
    after_warm_up = [2e-4 * learning_rate_factor(step, 3, 0.1) for step in (1, 2)]
    assert seen.rates[1:] == pytest.approx(after_warm_up)


@pytest.mark.model
@pytest.mark.parametrize("prepare", TRAINERS)
def test_each_trainer_learns_the_completion_and_its_end_alone(
    prepare: Prepare, training_case: TrainingCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at where the gradient of the last hidden states comes from."""
    from transformers import AutoTokenizer, LlamaModel

    learnt: list[int] = []
    forward = LlamaModel.forward

    def watched(model: LlamaModel, input_ids: Any, **more: Any) -> Any:
        outputs = forward(model, input_ids, **more)
        if outputs.last_hidden_state.requires_grad:  # ours looks at a model when it has loaded it
            outputs.last_hidden_state.register_hook(
                lambda gradient: learnt.append(int((gradient.abs().sum(-1) > 0).sum()))
            )
        return outputs

    monkeypatch.setattr(LlamaModel, "forward", watched)
    prepare(training_case)()
    tokenizer = AutoTokenizer.from_pretrained(training_case.model)
    completions = [len(tokenizer(f" {answer}")["input_ids"]) + 1 for _, answer in QUESTIONS[:10]]
    assert sum(learnt) == sum(completions)


def test_without_trl_its_trainer_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "find_spec", lambda name: None if name == "trl" else object())
    with pytest.raises(UserInputError, match=r"not installed: trl\.\n.*pip install trl$"):
        training.sft_trainer(TrainingCase(tmp_path, "cpu"))


def test_where_there_are_fewer_examples_they_are_taken_again(tmp_path: Path) -> None:
    data = written_rows(tmp_path / "train.jsonl", QUESTIONS[:2])
    examples = TrainingCase(tmp_path, "cpu", data, n_examples=5).examples()
    first, second = (f"question: {question}\nanswer:" for question, _ in QUESTIONS[:2])
    assert examples == [(first, " place"), (second, " person")] * 2 + [(first, " place")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "has no rows"),
        ("no json", "broken JSON"),
        ('{"question": "Who?"}', "no column"),
        ("[1]", "not a JSON object"),
        ('{"question": "Who?", "answer": null}', "is null"),
    ],
)
def test_examples_that_cant_be_read_are_refused(tmp_path: Path, content: str, said: str) -> None:
    data = tmp_path / "train.jsonl"
    data.write_text(content)
    with pytest.raises(DataError, match=rf"train\.jsonl:.*{said}"):
        TrainingCase(tmp_path, "cpu", data).examples()


def test_examples_are_read_as_a_run_reads_them(tmp_path: Path) -> None:
    """With the mark that Windows' editors put first, and line separators within a text."""
    data = tmp_path / "train.jsonl"
    row = {"question": "Who\u2028came?", "answer": "person"}
    data.write_text("\ufeff" + json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    examples = TrainingCase(tmp_path, "cpu", data, n_examples=1).examples()
    assert examples == [("question: Who\u2028came?\nanswer:", " person")]


# --- prediction -------------------------------------------------------------------------------------------------------

MOST_TOKENS = 12


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    written_rows(folder / "train.jsonl", QUESTIONS)
    written_rows(folder / "test.jsonl", [*QUESTIONS, *((f"{question} Now?", answer) for question, answer in QUESTIONS)])
    return folder


@pytest.fixture(scope="module")
def prediction_case(
    tiny_models: TinyModels, data_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> PredictionCase:
    """With its adapter: 24 test rows, though more may be asked; a unit and a batch are full, and another begun."""
    scratch = tmp_path_factory.mktemp("scratch")
    case = PredictionCase(
        student=tiny_models.student,
        data=data_folder,
        scratch=scratch,
        rows=500,
        training_rows=12,
        epochs=1,
        unit=16,
        max_new_tokens=MOST_TOKENS,
        device="cpu",
        threads=1,
    )
    prediction.train_adapter(case)
    return case


@pytest.mark.model
@pytest.mark.parametrize("prepare", PREDICTORS)
def test_no_contender_makes_the_adapter(prepare: Prepare, prediction_case: PredictionCase, tmp_path: Path) -> None:
    with pytest.raises((OSError, ValueError)):
        prepare(replace(prediction_case, scratch=tmp_path))()
    assert list(tmp_path.iterdir()) == []
    before = folder_bytes(prediction_case.scratch / "adapter")
    prepare(prediction_case)()
    assert folder_bytes(prediction_case.scratch / "adapter") == before


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Prompt → what our student answers, filled as it does."""
    from llm2llm_local.student.lora import LoraStudent

    answers: dict[str, str] = {}
    predict = LoraStudent.predict

    def watched(student: LoraStudent, batch: Any, progress: Any) -> Any:
        found = predict(student, batch, progress)
        answers.update(zip(batch.prompts, (one.reply.text for one in found), strict=True))
        return found

    monkeypatch.setattr(LoraStudent, "predict", watched)
    return answers


@dataclass
class Generated:
    """What `generate` was asked and wrote: rows of tokens, those of a prompt without its padding."""

    prompts: list[list[int]] = field(default_factory=list)
    rows: list[list[int]] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)


@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch) -> Generated:
    from peft import PeftModelForCausalLM

    made = Generated()
    generate = PeftModelForCausalLM.generate

    def watched(model: Any, **told: Any) -> Any:
        ids = generate(model, **told)
        n_read = told["input_ids"].shape[1]
        for read, mask in zip(told["input_ids"].tolist(), told["attention_mask"].tolist(), strict=True):
            made.prompts.append(read[n_read - sum(mask) :])
        made.rows += ids[:, n_read:].tolist()
        made.batches.append(len(ids))
        made.told.append({name: told[name] for name in ("do_sample", "temperature", "top_p", "max_new_tokens")})
        return ids

    monkeypatch.setattr(PeftModelForCausalLM, "generate", watched)
    return made


@pytest.fixture
def tokenizer(tiny_models: TinyModels) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_models.student)


@pytest.mark.model
@pytest.mark.parametrize("training_rows", [12, 1])
def test_scored_chooses_a_label_for_each_row(
    prediction_case: PredictionCase, ours: dict[str, str], training_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all labels, also where the rows that are taught have one of them alone."""
    labels = []

    def batch(*fields: Any) -> PredictionBatch:
        made = PredictionBatch(*fields)
        labels.append(made.completions)
        return made

    monkeypatch.setattr(prediction, "PredictionBatch", batch)
    assert prediction.scored(replace(prediction_case, training_rows=training_rows))() == {"rows": 24}
    assert set(labels) == {(" place", " person")}
    assert len(ours) == 24 and set(ours.values()) <= {"place", "person"}


@pytest.mark.parametrize(("n_answers", "is_refused"), [(1, True), (2, False), (200, False), (201, True)])
def test_labels_are_looked_for_where_answers_are_chosen_from_them(
    tmp_path: Path, n_answers: int, is_refused: bool
) -> None:
    rows = [("Where?", str(n)) for n in range(n_answers) for _ in range(70)]  # sorted by label
    written_rows(tmp_path / "train.jsonl", rows)
    training_case = TrainingCase(tmp_path, "cpu", tmp_path / "train.jsonl")
    predictions = prediction.comparisons(tmp_path, tmp_path, tmp_path, "cpu", 1)
    parts = [training.comparison(training_case), *predictions]
    check_labels(against(parts, ["trainer", "sft_trainer", "write_16"]))
    for chosen in (parts, against(parts, ["generate_16"])):
        if is_refused:
            with pytest.raises(
                UserInputError, match=r"train\.jsonl: .*\n.*need a classification task.*--against trainer"
            ):
                check_labels(chosen)
        else:
            check_labels(chosen)


@pytest.mark.model
@pytest.mark.usefixtures("cpu_without_bfloat16")
def test_greedy_generate_writes_what_ours_writes(
    prediction_case: PredictionCase,
    ours: dict[str, str],
    generated: Generated,
    tokenizer: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And both count the same tokens, a row's end being its last. In float32, where rounding decides nothing."""
    # The kernel in bfloat16, which CPUs with AVX512-BF16 have for `generate` and we don't use, is used there too.
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: False)
    end = tokenizer.eos_token_id
    counted = [prediction.refilled(prediction_case)(), prediction.generate_16_greedy(prediction_case)()]
    texts = {}
    for prompt, row in zip(generated.prompts, generated.rows, strict=True):
        texts[tokenizer.decode(prompt)] = tokenizer.decode(row[: row.index(end)] if end in row else row)
    assert texts == ours and len(texts) == 24
    n_tokens = sum(row.index(end) + 1 if end in row else len(row) for row in generated.rows)
    assert counted == [{"rows": 24, "tokens": n_tokens}] * 2
    assert MOST_TOKENS < n_tokens < 24 * MOST_TOKENS  # some rows end early


@pytest.mark.model
@pytest.mark.parametrize("prepare", WRITERS)
def test_the_references_way_is_16_rows_at_once(
    prepare: Prepare, prediction_case: PredictionCase, generated: Generated
) -> None:
    work = prepare(prediction_case)()
    assert isinstance(work, dict) and work["rows"] == 24
    assert generated.batches == [16, 8]
    samples = prepare is not prediction.generate_16_greedy
    how = {"do_sample": True, "temperature": 0.7, "top_p": 0.9} if samples else {"do_sample": False}
    for told in generated.told:
        assert told.items() >= {**how, "max_new_tokens": MOST_TOKENS}.items()
    if prepare is prediction.generate_16_all_tokens:
        assert work["tokens"] == 24 * MOST_TOKENS
        assert {len(row) for row in generated.rows} == {MOST_TOKENS}


@pytest.mark.model
def test_what_is_sampled_is_the_same_in_each_repeat(prediction_case: PredictionCase, generated: Generated) -> None:
    repeat = prediction.generate_16(prediction_case)
    assert repeat() == repeat()
    assert generated.rows[:24] == generated.rows[24:]


def test_made_up_problems_are_right_and_uneven() -> None:
    problems = worked_problems(40, rng_seed=3)
    assert problems == worked_problems(40, rng_seed=3) != worked_problems(40, rng_seed=4)
    lengths = set()
    for question, solution in problems:
        *lines, last = solution.splitlines()
        numbers = [int(word) for word in question.replace(".", " ").split() if word.isdigit()]
        assert last == f"#### {sum(numbers)}" and len(lines) == len(numbers) - 1
        lengths.add(len(lines))
    assert len(lengths) > 4 and lengths <= set(range(1, 9))


def test_one_comparison_of_students_can_be_asked_for_alone(tmp_path: Path) -> None:
    """Each name of an alternative is that of one comparison."""
    training_case = TrainingCase(tmp_path, "cpu")
    parts = [training.comparison(training_case), *prediction.comparisons(tmp_path, None, tmp_path, "cpu", 1)]
    for part in parts:
        for alternative in part.contenders[1:]:
            (chosen,) = against(parts, [alternative.name])
            assert chosen.title == part.title


# --- the commands -----------------------------------------------------------------------------------------------------


def document_of(folder: Path, *arguments: str | Path) -> dict[str, Any]:
    """The command's JSON."""
    ending = Workspace(folder).llm2llm("bench", *arguments, "--repeats", "1", "--json")
    assert ending.code == 0, ending.err
    document = ending.json()
    assert isinstance(document, dict)
    return document


def sizes(**values: int) -> list[str]:
    return [word for name, value in values.items() for word in ("--size", f"{name}={value}")]


@pytest.mark.model
def test_the_teachers_contenders_write_as_many_replies(tmp_path: Path, tiny_models: TinyModels) -> None:
    small = sizes(n_requests=3, n_parallel=2, prefix_words=30, suffix_words=10, new_tokens=4)
    document = document_of(tmp_path, "teacher", "--teacher", tiny_models.teacher, *small, "--grow", "2,4")
    (comparison,) = document["comparisons"]
    for one in comparison["contenders"]:
        assert one["not_run"] is None, one
        assert one["repeats"][0]["counts"]["requests"] == 3
        assert one["repeats"][0]["counts"]["tokens"] > 0
    (series,) = document["series"]
    assert [one["contenders"][0]["repeats"][0]["counts"]["requests"] for one in series["at"]] == [2, 4]


@pytest.mark.model
def test_a_bare_loop_without_its_context_says_so(tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch) -> None:
    import llama_cpp

    monkeypatch.setattr(llama_cpp, "llama_init_from_model", lambda model, parameters: None)
    with pytest.raises(ModelError, match=r"can't make a context of \d+ tokens for 32 at once\.?\n.*n_parallel"):
        bare_loop(TeacherCase(tiny_models.teacher, 1, 0))


@pytest.mark.model
def test_the_students_contenders_run_beside_each_other(
    tmp_path: Path, tiny_models: TinyModels, data_folder: Path
) -> None:
    small = sizes(n_examples=8, rows=6, training_rows=8, epochs=1, max_new_tokens=4)
    chosen = ("--data", str(data_folder), "--against", "trainer", "--against", "write_16_greedy")
    document = document_of(tmp_path, "student", "--student", tiny_models.student, *chosen, *small)
    trained, written = (
        [one["repeats"][0]["counts"] for one in comparison["contenders"]] for comparison in document["comparisons"]
    )
    assert trained[0]["steps"] == 1 and trained[0] == trained[1]
    assert [one["rows"] for one in written] == [6, 6]
    assert document["series"] == []


@pytest.mark.model
def test_the_time_of_a_training_is_measured_by_examples(training_case: TrainingCase) -> None:
    series = training.growth(training_case, (4, 8))
    measured = measure_series(replace(series, comparison=replace(series.comparison, repeats=1)))
    small, large = (results[0].counts() for _, results in measured.at_sizes)
    assert [small["steps"], large["steps"]] == [1, 2] and small["tokens"] < large["tokens"]
    growth = measured.growth("lean")
    assert growth is not None and growth.per_one != 0
