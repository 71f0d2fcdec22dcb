"""The base model, loaded and quantized once, with LoRA layers on it; adapters come and go.

What always holds: the base weights never change, and `position` says which training's weights the adapter holds.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, GenerationConfig
from transformers.utils import logging as transformers_logging

from ..errors import ModelError, OutOfMemoryError
from ..free_memory import available_bytes
from .checkpoint import ADAPTER_WEIGHTS
from .float32_parts import attention_in_float32_backward, scores_in_float32
from .heap import spare_memory
from .limits import SHARE_TO_KEEP
from .linear import DequantizedWeights, share_dropout, use_lean_layers
from .loss import loss_for
from .protocol import StudentSettings, TrainingExample
from .rows import Tokens

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Position:
    """Which training the weights in memory belong to, and the steps done; compared to skip a reload."""

    folder: Path
    step: int


class AdaptedModel:
    """A base model with one adapter. Raises ModelError when it can't be loaded, OutOfMemoryError for want of memory."""

    def __init__(self, settings: StudentSettings) -> None:
        self.device = settings.device
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ModelError(
                "the student is to be on the GPU, but PyTorch finds no GPU",
                'Install its build for CUDA with make setup CUDA=1, or set hardware.device = "cpu".',
            )
        try:
            self._load(settings)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemoryError(
                f"{settings.model}: does not fit into the memory of {self.device}",
                'Set student.quantization = "nf4", free memory, or take a smaller student.',
                "weights",
            ) from None

    def _load(self, settings: StudentSettings) -> None:
        transformers_logging.disable_progress_bar()
        torch.set_num_threads(settings.threads)
        spare_memory()
        if self.device == "cuda":
            compute_deterministically()
        dtype = _DTYPES[settings.compute_dtype]
        self.tokenizer, base = _pretrained(settings, dtype)
        self.end = int(self.tokenizer.eos_token_id)
        limit = getattr(base.config, "max_position_embeddings", settings.max_length)
        self._max_length = min(settings.max_length, limit)
        self._n_positions = limit if _learns_positions(base, limit) else None
        _compute_as_trained(base, self.device, dtype)
        self.model: Any = get_peft_model(base, _lora(settings))
        self.dropout = share_dropout(self.model, settings.lora_dropout)
        for parameter in self.trainable():
            parameter.data = parameter.data.float()
        self.dequantized = DequantizedWeights(self.model, dtype)
        free = available_bytes() - settings.reserved_bytes
        if self.device == "cpu" and 0 < self.dequantized.n_bytes <= free * SHARE_TO_KEEP:
            self.dequantized.keep()
            mebibytes = self.dequantized.n_bytes / 2**20
            sys.stderr.write(f"The student's weights are kept dequantized, in {mebibytes:.0f} MiB: the same numbers.\n")
        self.loss = loss_for(base)
        self._recomputes_activations = False
        self.position: Position | None = None

    @property
    def recomputes_activations(self) -> bool:
        """Whether a training keeps each layer's input alone and computes the rest again in the backward pass."""
        return self._recomputes_activations

    @recomputes_activations.setter
    def recomputes_activations(self, wanted: bool) -> None:
        base = self.model.get_base_model()
        if wanted and not self._recomputes_activations:
            base.gradient_checkpointing_enable({"use_reentrant": False})  # the other way needs inputs with a gradient
        elif not wanted and self._recomputes_activations:
            base.gradient_checkpointing_disable()
        self._recomputes_activations = wanted

    def trainable(self) -> list[torch.nn.Parameter]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def reset_adapter(self) -> None:
        """Fresh LoRA matrices, drawn from torch's random generator."""
        for module in self.model.modules():
            if hasattr(module, "reset_lora_parameters"):
                module.reset_lora_parameters("default", True)

    def load_adapter(self, folder: Path) -> None:
        weights = load_file(folder / ADAPTER_WEIGHTS)
        set_peft_model_state_dict(self.model, weights)

    def prompt_ids(self, prompt: str) -> list[int]:
        return list(self.tokenizer(prompt)["input_ids"])

    def completion_ids(self, completion: str) -> list[int]:
        return [*self.tokenizer(completion, add_special_tokens=False)["input_ids"], self.end]

    def tokens(self, example: TrainingExample) -> Tokens:
        """Raises ModelError when the example is longer than the student's limit."""
        prompt, completion = self.prompt_ids(example.prompt), self.completion_ids(example.completion)
        length = len(prompt) + len(completion)
        if length > self._max_length:
            raise ModelError(
                f"an example has {length} tokens, the student takes {self._max_length}: {example.prompt[:50]!r}",
                "Shorten or remove it, or raise student.max_length if the model's context allows.",
            )
        return Tokens(prompt + completion, len(completion))

    def check_positions(self, prompts: Sequence[list[int]], n_more: int) -> None:
        """Raises ModelError when the model has learnt fewer positions than the longest prompt and `n_more` tokens take.

        Where positions are computed they have no end: beyond what the model was made for its answers are only worse.
        """
        n_prompt = max(len(prompt) for prompt in prompts)
        if self._n_positions is not None and n_prompt + n_more > self._n_positions:
            raise ModelError(
                f"a prompt has {n_prompt} tokens, its answer up to {n_more}, and the student has learnt "
                f"{self._n_positions} positions",
                "Lower student.max_new_tokens, shorten the data, or take a student with a longer context.",
            )


def _pretrained(settings: StudentSettings, dtype: torch.dtype) -> tuple[Any, Any]:
    """The tokenizer and the base model. Raises ModelError for what can't be a student, MemoryError for want of it."""
    reports: list[str] = []
    try:
        tokenizer = AutoTokenizer.from_pretrained(settings.model, local_files_only=True)
        with _reports_of_transformers(reports):
            base, loading = AutoModelForCausalLM.from_pretrained(
                settings.model,
                dtype=dtype,
                device_map={"": settings.device},
                quantization_config=_quantization(settings.quantization, dtype),
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if isinstance(error, torch.OutOfMemoryError) or any(map(_tell_of_no_memory, (str(error), *reports))):
            raise MemoryError from None
        raise ModelError(
            f"{settings.model}: transformers can't load it: {error}",
            "Copy the model again, or take one of another architecture.",
        ) from error
    if loading["missing_keys"]:  # transformers would go on with random numbers in their place
        names = ", ".join(sorted(loading["missing_keys"]))
        raise ModelError(f"{settings.model}: weights are missing: {names}", "Copy the model again.")
    if _keeps_states(base):
        raise ModelError(
            f"{settings.model}: layers that keep a state instead of keys and values are not supported",
            "Take a student with attention in every layer, such as Llama, Qwen 2.5 or Gemma.",
        )
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{settings.model}: the tokenizer has no end-of-text token", "Set eos_token in its config.")
    return tokenizer, base


def _compute_as_trained(base: Any, device: str, dtype: torch.dtype) -> None:
    """Take away what would make predictions other than trainings, or other than the model's own likeliest text."""
    for module in base.modules():
        # On CPUs with AVX512-BF16 bitsandbytes would repack the weights at the first prediction, for a kernel in bf16
        # that has no gradient: trainings after it in the same process would silently learn less.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    base.config.use_cache = False
    if dtype != torch.float32:
        scores_in_float32(base)
        if device == "cpu":
            attention_in_float32_backward(base)
    # What the folder recommends for chatting (repetition penalties, suppressed tokens) has no place in grading.
    base.generation_config = GenerationConfig()


def _lora(settings: StudentSettings) -> LoraConfig:
    lora = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    use_lean_layers(lora)
    return lora


def compute_deterministically() -> None:
    """On a GPU the same call gives the same result from now on, without which a resumed run would be another one.

    Never with `warn_only`: backward passes of attention would then go on adding in any order. What has no such way
    raises: of all that PyTorch lists, nothing here and nothing in the language models of transformers (cumsum and
    histc are of whole numbers, which it allows, and the loss is no NLLLoss). bitsandbytes isn't asked, and adds in
    a fixed order anyhow.
    """
    # PyTorch and cuBLAS read it at the first product. Others' values may not do, and sizes change sums.
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.use_deterministic_algorithms(True)
    # Else each new tensor is filled with NaN first, for the sake of what is read before it was written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


_MEMORY_RAN_OUT = ("can't allocate memory", "CUDA out of memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """NumPy, which draws dropout on a CPU, has an error of its own; PyTorch has but words for it, and so have CUDA's
    libraries.
    """
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or _tell_of_no_memory(str(error))


def _tell_of_no_memory(words: str) -> bool:
    return any(some in words for some in _MEMORY_RAN_OUT)


@contextmanager
def _reports_of_transformers(reports: list[str]) -> Iterator[None]:
    """Collects what it tells its log. Why a weight could not be quantized stands there alone, want of memory too."""
    handler = logging.Handler()
    handler.emit = lambda record: reports.append(record.getMessage())  # type: ignore[method-assign]
    logger = transformers_logging.get_logger("transformers")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _learns_positions(base: Any, limit: int) -> bool:
    """Whether there is a table with a row for each position, as GPT-2 has one, and OPT, whose has two more."""
    tables = (module for module in base.modules() if isinstance(module, torch.nn.Embedding))
    tokens = base.get_input_embeddings()
    return any(limit <= table.num_embeddings <= limit + 2 for table in tables if table is not tokens)


_ATTENTION = ("full_attention", "sliding_attention", "chunked_attention")


def _keeps_states(base: Any) -> bool:
    """Whether a layer is recurrent or a convolution (Mamba, RecurrentGemma, LFM2): its rows can't join and leave."""
    kinds = getattr(base.config.get_text_config(), "layer_types", None) or ()
    return bool(getattr(base, "_is_stateful", False)) or any(kind not in _ATTENTION for kind in kinds)


def _quantization(kind: str, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    if kind == "none":
        return None
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
