"""The configuration: typed, strict, every field documented where it is defined. `config_file` reads it.

The descriptions below are the only ones: `llm2llm config --help`, the README and the file that
`llm2llm init` writes are made from them. Fields that can't change any result are marked with
`NO_EFFECT_ON_RESULTS`; all others are part of a run's fingerprint.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

NO_EFFECT_ON_RESULTS: dict[str, Any] = {"affects_results": False}

LARGEST_RNG_SEED = 2**63 - 1
"""What an SQLite integer can hold."""

PathField = Annotated[Path, Field(strict=False)]


@dataclass(frozen=True, slots=True)
class AutoOr:
    """Annotates a field that is "auto" or an integer from `ge` to `le`: one error for both, not one for each."""

    ge: int
    le: int

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def _check(self, value: Any) -> Any:
        if value != "auto" and not (type(value) is int and self.ge <= value <= self.le):
            raise PydanticCustomError(
                "auto_or", 'Input should be "auto" or an integer from {ge} to {le}', {"ge": self.ge, "le": self.le}
            )
        return value


class Section(BaseModel):
    """A TOML table: unknown keys are errors, values keep their TOML type, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class TaskConfig(Section):
    """What the student learns to do."""

    family: Literal["classification", "math", "multiple_choice", "text"] = Field(
        description="Kind of task: classification (one of a fixed set of labels), math (GSM8K format: "
        "a rationale that ends in '#### number'), multiple_choice (options (A), (B) … on lines of their own below the "
        "question, the answer is a letter) or text (a free answer)."
    )
    instruction: str = Field("", description="One sentence that tells the teacher what the task is.")
    question_name: str = Field(
        "Question", min_length=1, description="What a question is called in prompts, such as Message or Review."
    )
    answer_name: str = Field(
        "Answer", min_length=1, description="What an answer is called in prompts, such as Queue or Sentiment."
    )
    labels: tuple[str, ...] = Field(
        (),
        strict=False,
        max_length=200,
        description="Classification: the label set, 2 to 200 labels. Empty: the labels that the seeds have.",
    )
    predict: Literal["likelihood", "generate"] = Field(
        "likelihood",
        description="Classification and multiple choice: score every label or letter and take the likeliest (gives a "
        "confidence), or let the student write and match its text exactly. Math and text always write.",
    )


class SampleConfig(Section):
    """A random part of a file."""

    n: int = Field(ge=1, description="Rows to take; all of them when the file has fewer.")
    rng_seed: int = Field(
        0, ge=0, le=LARGEST_RNG_SEED, description="Which random part; the same number takes the same rows."
    )
    draw: Literal["plain", "balanced"] = Field(
        "plain", description="plain: every row alike; balanced: as many rows of each label, as far as there are."
    )


class DataConfig(Section):
    """The person's files: JSONL, CSV or TSV, told apart by their ending."""

    train: PathField = Field(description="The seeds: the labelled examples there are.")
    dev: PathField | None = Field(None, description="Rows to watch while tuning; never trained on. Optional.")
    test: PathField | None = Field(None, description="Rows for the final figures; never trained on. Optional.")
    question_column: str = Field("question", min_length=1, description="Column or JSON key of the question.")
    answer_column: str = Field("answer", min_length=1, description="Column or JSON key of the answer.")
    sample: SampleConfig | None = Field(
        None,
        description="Use a random part of the seeds: {n = 60, rng_seed = 0} takes 60 rows, which ones by rng_seed; "
        'with the key draw set to "balanced" as many of each label, as far as there are.',
    )
    dev_sample: SampleConfig | None = Field(None, description="Use a random part of dev.")
    test_sample: SampleConfig | None = Field(None, description="Use a random part of test.")


class TeacherConfig(Section):
    """The model that writes new examples: a GGUF file, run by llama.cpp."""

    model: PathField = Field(description="The teacher's GGUF file.")
    prompt_style: Literal["auto", "chat", "completion"] = Field(
        "auto",
        description="chat: the model's own chat template; completion: a list for the model to continue, which "
        "suits base models and very small ones; auto: completion for new questions in classification, else chat when "
        "the file has a template.",
    )
    temperature: float = Field(1.0, ge=0.0, le=5.0, description="Sampling temperature; 0 always takes the likeliest.")
    top_p: float = Field(1.0, gt=0.0, le=1.0, description="Sample from the likeliest tokens of this total probability.")
    min_p: float = Field(
        0.0, ge=0.0, le=1.0, description="Drop tokens less likely than this share of the likeliest one's probability."
    )
    max_new_tokens: int = Field(256, ge=1, le=32768, description="Longest reply, in tokens.")
    demonstrations: int = Field(
        3, ge=0, le=50, description="Other seeds of the same class shown to the teacher beside the failing one."
    )
    show_student_answer: bool = Field(False, description="Tell the teacher what the student answered wrongly.")
    attempts: int = Field(
        3,
        ge=1,
        le=100,
        description="Rounds of asking in an iteration; from the second on, for what is still missing only.",
    )
    grammar: PathField | None = Field(None, description="A GBNF grammar file that every reply must follow. Optional.")
    group_size: int = Field(
        32,
        ge=1,
        le=1024,
        description="Requests in a unit of work: what is decoded together, and redone, at most, after an interruption.",
    )
    n_parallel: Annotated[Literal["auto"] | int, AutoOr(1, 255)] = Field(
        "auto",
        description="Requests decoded at once; auto: all of a unit, if keys and values fit into the memory. A unit has "
        "teacher.group_size of them.",
    )
    context_length: Annotated[Literal["auto"] | int, AutoOr(64, 2**24)] = Field(
        "auto",
        description="Tokens for a prompt and its reply together; at most what the model was made for. auto: as many "
        "as there is memory for.",
    )
    n_batch: Annotated[Literal["auto"] | int, AutoOr(32, 8192)] = Field(
        "auto", description="Tokens in a forward pass, of all requests together; auto: 512."
    )
    gpu_layers: Annotated[Literal["auto"] | int, AutoOr(0, 10_000)] = Field(
        "auto",
        description="Layers to put on the GPU, the output counting as one; auto: all that fit. No effect on a CPU.",
    )
    kv_cache: Literal["auto", "f16", "q8_0", "q4_0"] = Field(
        "auto", description="How keys and values are kept; auto: f16, or q8_0 where that doesn't fit."
    )
    flash_attention: Literal["auto", "on", "off"] = Field(
        "auto",
        description="llama.cpp's flash attention, which a quantized kv_cache needs; auto: on a GPU where it is "
        "supported, on a CPU only where it saves more than 1 GiB.",
    )


class StudentConfig(Section):
    """The model that is trained: a Hugging Face folder, 4-bit weights with LoRA adapters."""

    model: PathField = Field(description="Folder with config.json, tokenizer and safetensors weights.")
    quantization: Literal["nf4", "none"] = Field("nf4", description="Precision of the frozen base weights.")
    compute_dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Precision of the arithmetic; auto: bfloat16 where the GPU or the CPU (AMX, AVX512-BF16) has "
        "instructions for it, else float32.",
    )
    lora_rank: int = Field(16, ge=1, le=1024, description="Rank of the LoRA matrices on every linear layer.")
    lora_alpha: int = Field(32, ge=1, le=4096, description="LoRA scale: updates count alpha / rank.")
    lora_dropout: float = Field(0.05, ge=0.0, lt=1.0, description="Dropout before the LoRA matrices.")
    epochs: int = Field(10, ge=1, le=1000, description="Passes over the training set in every iteration.")
    learning_rate: float = Field(
        1e-3, gt=0.0, le=1.0, description="Peak learning rate; 1e-3 suits 100M to 500M parameters, 2e-4 suits 7B."
    )
    warmup_ratio: float = Field(0.1, ge=0.0, le=1.0, description="Share of the steps in which the rate rises.")
    weight_decay: float = Field(0.0, ge=0.0, le=1.0, description="AdamW's decoupled weight decay.")
    max_grad_norm: float = Field(1.0, gt=0.0, description="Gradients are scaled down to this norm.")
    batch_size: int = Field(8, ge=1, le=4096, description="Examples in an optimizer step.")
    micro_batch_size: int = Field(
        8, ge=1, le=4096, description="Examples computed at once; halved by itself when memory runs out."
    )
    max_length: int = Field(1024, ge=8, description="Tokens of the longest prompt and answer together.")
    max_new_tokens: int = Field(
        256, ge=1, le=32768, description="Longest answer that the student may write, in tokens."
    )
    predict_batch_size: int = Field(
        64,
        ge=1,
        le=4096,
        description="Examples in a unit of predictions: what is redone, at most, after an interruption; up to 64 of "
        "them are computed at once, fewer when memory runs out.",
    )
    checkpoint_steps: int = Field(
        25, ge=1, description="Optimizer steps between checkpoints: what is redone, at most, after an interruption."
    )


class LoopConfig(Section):
    """The algorithm."""

    recipe: Literal[
        "llm2llm",
        "fine_tune",
        "fine_tune_matched",
        "eda",
        "auggpt",
        "self_instruct",
        "one_shot",
        "augment_all",
        "continue",
    ] = Field(
        "llm2llm",
        description="The method. llm2llm: the paper's; all others are what it is measured against. fine_tune: train "
        "once, on the seeds alone; fine_tune_matched: so, for as many optimizer steps as the result of loop.match_run "
        "has had; eda: in one round, change words of every seed (synonyms from WordNet, swaps, deletions), without a "
        "teacher; auggpt: in one round, the teacher says every seed in other words; self_instruct: in every "
        "round, the teacher writes new examples like each seed, whether it fails or not; one_shot: one round, on "
        "the failures of the first student; augment_all: loop.augment_from = all; continue: loop.fine_tune = "
        "continue. One round has as many new examples for each seed as all rounds of loop.iterations have "
        "together. eda, auggpt and self_instruct ask no failure_signal.",
    )
    match_run: int | None = Field(
        None, ge=1, description="For recipe = fine_tune_matched: a finished run of the same store."
    )
    iterations: int = Field(
        3, ge=1, le=1000, description="Rounds of augmentation; the student is trained once more after the last."
    )
    augmentations_per_failure: int = Field(1, ge=1, le=100, description="New examples wanted for each failure.")
    augment_from: Literal["seeds", "all"] = Field(
        "seeds", description="Failures to augment: on seeds only (the paper's finding), or on augmented examples too."
    )
    fine_tune: Literal["scratch", "continue"] = Field(
        "scratch", description="Start each training from the base model (the paper's finding) or from the last adapter."
    )
    failure_signal: Literal["train", "kfold", "confidence"] = Field(
        "train",
        description="Which seeds the teacher is asked about. train: those that the student, trained on them, still "
        "gets wrong (the paper); kfold: those that a student which has not seen them gets wrong; confidence: those "
        "whose right answer the student gives the least probability, wrong or right.",
    )
    folds: int = Field(
        5,
        ge=2,
        le=20,
        description="Parts into which the seeds are divided for students that have not seen one of them: each costs a "
        "training, in every iteration but the last for failure_signal = kfold, once for a student's votes.",
    )
    least_confident: float = Field(
        0.3,
        gt=0.0,
        le=1.0,
        description="Share of the seeds, in classification of each label and rounded up, that "
        "failure_signal = confidence takes.",
    )
    select: Literal["last", "best_dev"] = Field(
        "last",
        description="Which student is the run's result. last: that of the last iteration (the paper); best_dev: the "
        "one that is right most often on data.dev, of equals the earliest. Never by the test rows.",
    )
    rng_seed: int = Field(
        0,
        ge=0,
        le=LARGEST_RNG_SEED,
        description="Start of every random draw: the same number gives the same run.",
    )


class ChecksConfig(Section):
    """What keeps a candidate out of the training set."""

    duplicate_threshold: float = Field(
        0.95,
        gt=0.0,
        le=1.0,
        description="Reject above this ROUGE-L F with any seed or accepted example; the recipe eda, which changes few "
        "words, rejects only what has the same words in the same order.",
    )
    leak_threshold: float = Field(
        0.95, gt=0.0, le=1.0, description="Reject above this ROUGE-L F with any dev or test question."
    )
    max_length_ratio: float = Field(
        2.0, ge=1.0, description="Reject questions this many times longer than the longest seed."
    )
    verify: Literal["on", "off"] = Field(
        "on",
        description="Have the answer of every candidate verified, after an audit on the seeds of what that is worth; "
        "off: take the teacher's word.",
    )
    verifier: Literal["teacher", "student", "both"] = Field(
        "both",
        description="Who votes: the teacher, students that have not seen the failing seed, or both, weighted by what "
        "the audit measured of each.",
    )
    votes: int = Field(
        3, ge=1, le=25, description="Ballots of the teacher for each candidate, each with other seeds shown."
    )
    accept_probability: float = Field(
        0.9,
        ge=0.0,
        le=1.0,
        description="Accept from this probability of a right answer on, as the audit calibrates it: if right and wrong "
        "answers were equally frequent. Where most are right, more of the accepted are.",
    )
    reject_probability: float = Field(
        0.5, ge=0.0, le=1.0, description="Reject below this probability; what lies between is in doubt."
    )
    doubt: Literal["review", "drop", "keep"] = Field(
        "review",
        description="What becomes of candidates in doubt: wait for a person's review, left out until then; drop: left "
        "out; keep: trained on.",
    )
    audit_sample: float = Field(
        0.05,
        ge=0.0,
        le=1.0,
        description="Share of the accepted candidates, drawn at random, that a person is asked to look at as well: "
        "from these decisions follows how often accepted answers are wrong.",
    )


class HardwareConfig(Section):
    """The machine."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where the models run; auto: a GPU if there is one."
    )
    threads: int = Field(0, ge=0, le=1024, description="CPU threads for a model; 0: one for each core.")
    keep_both: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Keep teacher and student loaded at once; auto: when both fit into 95% of the free memory.",
        json_schema_extra=NO_EFFECT_ON_RESULTS,
    )
    worker_timeout_seconds: int = Field(
        900,
        ge=1,
        description="A worker that says nothing for so long is ended and its work retried.",
        json_schema_extra=NO_EFFECT_ON_RESULTS,
    )
    worker_retries: int = Field(
        2,
        ge=0,
        le=100,
        description="How often a unit of work whose worker died is tried again before the run stops.",
        json_schema_extra=NO_EFFECT_ON_RESULTS,
    )


class Config(Section):
    """The whole file."""

    task: TaskConfig
    data: DataConfig
    teacher: TeacherConfig
    student: StudentConfig
    loop: LoopConfig = LoopConfig()
    checks: ChecksConfig = ChecksConfig()
    hardware: HardwareConfig = HardwareConfig()


class FieldDoc(NamedTuple):
    """A documented field: its dotted name, type, default and allowed range as text, and its description."""

    name: str
    type: str
    default: str
    range: str
    description: str
    affects_results: bool


def flatten(config: Config) -> dict[str, Any]:
    """Dotted name → JSON value, for storing and for saying which field differs."""
    flat: dict[str, Any] = {}
    for section_name, section in config.model_dump(mode="json").items():
        flat.update({f"{section_name}.{key}": value for key, value in section.items()})
    return flat


def field_docs() -> list[FieldDoc]:
    """Every field in file order, from the declarations above."""
    return [
        FieldDoc(
            name=f"{section_name}.{key}",
            type=_type_text(field),
            default="required" if field.is_required() else toml_text(field.default),
            range=_range_text(field),
            description=field.description or "",
            affects_results=affects_results(f"{section_name}.{key}"),
        )
        for section_name, section in sections()
        for key, field in section.model_fields.items()
    ]


def affects_results(name: str) -> bool:
    """Whether the field with this dotted name can change any result."""
    section_name, key = name.split(".")
    field = dict(sections())[section_name].model_fields[key]
    return field.json_schema_extra != NO_EFFECT_ON_RESULTS


def sections() -> Iterator[tuple[str, type[Section]]]:
    """Their names and what they are, in file order."""
    for name, field in Config.model_fields.items():
        section = field.annotation
        assert isinstance(section, type) and issubclass(section, Section)
        yield name, section


def _type_text(field: FieldInfo) -> str:
    annotation = str(field.annotation)
    if any(isinstance(constraint, AutoOr) for constraint in field.metadata):
        return '"auto" | integer'
    if "Literal" in annotation:
        return " | ".join(f'"{choice}"' for choice in field.annotation.__args__)  # type: ignore[union-attr]
    for word, text in (
        ("SampleConfig", "table"),
        ("Path", "path"),
        ("tuple", "list of strings"),
        ("bool", "true | false"),
        ("int", "integer"),
        ("float", "number"),
    ):
        if word in annotation:
            return text
    return "string"


def _range_text(field: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    return ", ".join(
        f"{sign} {getattr(constraint, name)}"
        for constraint in field.metadata
        for name, sign in signs.items()
        if hasattr(constraint, name) and getattr(constraint, name) != LARGEST_RNG_SEED
    )


def toml_text(value: Any) -> str:
    """A value as a person writes it into the file."""
    match value:
        case None:
            return "not set"
        case bool():
            return str(value).lower()
        case str() | Path():
            return f'"{value}"'
        case tuple() | list():
            return "[" + ", ".join(toml_text(item) for item in value) + "]"
        case _:
            return str(value)
