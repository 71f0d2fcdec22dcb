"""The student: a frozen base model in 4 bits with LoRA adapters, in transformers, peft and bitsandbytes.

One forward and backward pass for everything: sequences are padded on the left, so that what is learnt or
scored stands at the end of every row and the vocabulary projection is computed there only.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, GenerationConfig
from transformers.utils import logging as transformers_logging

from ..errors import ModelError, RunFailedError
from ..file_digest import folder_digest
from ..records import FinishReason, Reply
from .batching import epoch_batches, learning_rate_factor
from .checkpoint import (
    ADAPTER_WEIGHTS,
    complete_folder,
    load_state,
    random_states,
    save_adapter,
    save_state,
    set_random_states,
)
from .protocol import (
    PredictionBatch,
    Progress,
    SegmentResult,
    StudentAnswer,
    StudentSettings,
    TrainingExample,
    TrainingProgress,
    TrainingSegment,
)
from .scoring import Padded, Tokens, generate, left_padded, score_completions


@dataclass(frozen=True, slots=True)
class _Position:
    """Which training the weights in memory belong to, and the steps done; compared to skip a reload."""

    folder: Path
    step: int


@dataclass(frozen=True, slots=True)
class _Answer:
    text: str
    finish_reason: FinishReason
    n_tokens: int
    confidence: float | None


class LoraStudent:
    """A base model, loaded once; adapters come and go. Raises ModelError when it can't be loaded."""

    def __init__(self, settings: StudentSettings) -> None:
        transformers_logging.disable_progress_bar()
        torch.set_num_threads(settings.threads)
        self._device = _device(settings.device)
        if self._device == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs to be deterministic
            torch.use_deterministic_algorithms(True, warn_only=True)
        self._dtype = _compute_dtype(self._device)
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(settings.model, local_files_only=True)
            base, loading = AutoModelForCausalLM.from_pretrained(
                settings.model,
                dtype=self._dtype,
                device_map={"": self._device},
                quantization_config=_quantization(settings.quantization, self._dtype),
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise ModelError(
                    f"{settings.model}: does not fit into the memory of {self._device}",
                    'Set student.quantization = "nf4", free memory, or take a smaller student.',
                ) from None
            raise ModelError(f"{settings.model}: transformers can't load it: {error}") from error
        if loading["missing_keys"]:  # transformers would go on with random numbers in their place
            names = ", ".join(sorted(loading["missing_keys"]))
            raise ModelError(f"{settings.model}: weights are missing: {names}", "Copy the model again.")
        if self._tokenizer.eos_token_id is None:
            raise ModelError(
                f"{settings.model}: the tokenizer has no end-of-text token", "Set eos_token in its config."
            )
        self._end = int(self._tokenizer.eos_token_id)
        limit = getattr(base.config, "max_position_embeddings", settings.max_length)
        self._max_length = min(settings.max_length, limit)
        for module in base.modules():
            # On CPUs with AVX512-BF16 bitsandbytes would repack the weights at the first prediction, for a kernel
            # in bf16 that has no gradient: trainings after it in the same process would silently learn less.
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
        base.config.use_cache = False
        # What the folder recommends for chatting (repetition penalties, suppressed tokens) has no place in grading.
        base.generation_config = GenerationConfig()
        self._model: Any = get_peft_model(
            base,
            LoraConfig(
                r=settings.lora_rank,
                lora_alpha=settings.lora_alpha,
                lora_dropout=settings.lora_dropout,
                target_modules="all-linear",
                task_type="CAUSAL_LM",
            ),
        )
        for parameter in self._trainable():
            parameter.data = parameter.data.float()
        self._optimizer: torch.optim.Optimizer | None = None
        self._micro_batch_size = 0
        self._position: _Position | None = None

    # --- training ---

    def train(self, segment: TrainingSegment, progress: TrainingProgress) -> SegmentResult:
        rows = [self._tokens(example) for example in segment.examples]
        self._prepare(segment)
        assert self._optimizer is not None
        self._position = None  # not the weights of any checkpoint until this segment is complete
        self._model.train()
        losses: list[float] = []
        tokens = 0
        notes: list[str] = []
        for step, batch in self._steps(segment, rows):
            for group in self._optimizer.param_groups:
                group["lr"] = segment.learning_rate * learning_rate_factor(
                    step, segment.total_steps, segment.warmup_ratio
                )
            losses.append(self._step_with_fitting_micro_batch(batch, segment.max_grad_norm, notes))
            if not math.isfinite(losses[-1]):
                raise RunFailedError(
                    f"the training diverged: the loss of step {step + 1} is {losses[-1]}",
                    "Lower student.learning_rate in a new run: llm2llm fork RUN --set student.learning_rate=…",
                )
            tokens += sum(len(row.ids) for row in batch)
            progress(step + 1, segment.total_steps, losses[-1])
        with complete_folder(segment.output) as folder:
            save_adapter(self._model, folder)
            if segment.stop_step < segment.total_steps:
                save_state(folder, self._optimizer, {"micro_batch_size": self._micro_batch_size})
            sha256 = folder_digest(folder)
        self._position = _Position(segment.output, segment.stop_step)
        return SegmentResult(tuple(losses), sha256, tokens, tuple(notes))

    def _prepare(self, segment: TrainingSegment) -> None:
        """Put weights, optimizer and random state where the segment starts."""
        if segment.checkpoint is not None and self._position == _Position(segment.checkpoint, segment.start_step):
            return  # the segment before was just trained here: nothing changed since
        torch.manual_seed(segment.rng_seed)
        self._optimizer = self._new_optimizer(segment)
        self._micro_batch_size = segment.micro_batch_size
        if segment.checkpoint is not None:
            self._load_adapter(segment.checkpoint)
            self._micro_batch_size = load_state(segment.checkpoint, self._optimizer)["micro_batch_size"]
        elif segment.start_adapter is not None:
            self._load_adapter(segment.start_adapter)
        else:
            for module in self._model.modules():
                if hasattr(module, "reset_lora_parameters"):
                    module.reset_lora_parameters("default", True)

    def _steps(self, segment: TrainingSegment, rows: Sequence[Tokens]) -> Iterator[tuple[int, list[Tokens]]]:
        """The (step, batch) pairs of the segment; which they are depends on the whole training's data order."""
        lengths = [len(row.ids) for row in rows]
        step = 0
        for epoch in range(segment.epochs):
            for batch in epoch_batches(lengths, segment.batch_size, segment.rng_seed, epoch):
                if segment.start_step <= step < segment.stop_step:
                    yield step, [rows[index] for index in batch]
                step += 1

    def _step_with_fitting_micro_batch(self, batch: Sequence[Tokens], max_grad_norm: float, notes: list[str]) -> float:
        """One optimizer step; out of memory halves the micro-batch for the rest of the training."""
        while True:
            random_state = random_states(self._device)
            try:
                return self._step(batch, max_grad_norm)
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
            if self._micro_batch_size == 1:
                raise ModelError(
                    f"out of memory on {self._device} with a single example at a time",
                    "Lower student.max_length, shorten the data, or take a smaller student.",
                )
            self._micro_batch_size = max(1, self._micro_batch_size // 2)
            notes.append(f"out of memory: micro-batch lowered to {self._micro_batch_size}")
            set_random_states(random_state)
            if self._device == "cuda":
                torch.cuda.empty_cache()

    def _step(self, batch: Sequence[Tokens], max_grad_norm: float) -> float:
        """Mean loss per learnt token over the whole batch, however it is cut into micro-batches."""
        assert self._optimizer is not None
        self._optimizer.zero_grad(set_to_none=True)
        learnt = sum(row.n_completion for row in batch)
        total = 0.0
        for start in range(0, len(batch), self._micro_batch_size):
            loss = self._summed_loss(batch[start : start + self._micro_batch_size]) / learnt
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self._trainable(), max_grad_norm)
        self._optimizer.step()
        return total

    def _summed_loss(self, rows: Sequence[Tokens]) -> torch.Tensor:
        padded = left_padded([row.ids for row in rows], self._end, self._device)
        longest = max(row.n_completion for row in rows)
        logits = self._model(**padded.inputs, logits_to_keep=longest + 1).logits[:, :-1].float()
        targets = padded.inputs["input_ids"][:, -longest:].clone()
        for index, row in enumerate(rows):
            targets[index, : longest - row.n_completion] = -100  # prompt tokens, and padding
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum")

    def _new_optimizer(self, segment: TrainingSegment) -> torch.optim.Optimizer:
        if self._device == "cuda":
            from bitsandbytes.optim import PagedAdamW8bit

            optimizer: torch.optim.Optimizer = PagedAdamW8bit(
                self._trainable(), lr=segment.learning_rate, weight_decay=segment.weight_decay
            )
            return optimizer
        return torch.optim.AdamW(self._trainable(), lr=segment.learning_rate, weight_decay=segment.weight_decay)

    # --- prediction ---

    @torch.inference_mode()
    def predict(self, batch: PredictionBatch, progress: Progress) -> list[StudentAnswer]:
        started = time.monotonic()
        position = _Position(batch.adapter, 0)
        if self._position != position:
            self._load_adapter(batch.adapter)
            self._position = position
        self._model.eval()
        prompts = [self._prompt_ids(prompt) for prompt in batch.prompts]
        padded = left_padded(prompts, self._end, self._device)
        try:
            if batch.completions:
                answers = self._scored(padded, batch.completions)
            else:
                answers = self._written(padded, batch.max_new_tokens, progress)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            raise ModelError(
                f"out of memory on {self._device} while predicting {len(prompts)} examples at once",
                "Lower student.predict_batch_size and go on with: llm2llm fork",
            ) from None
        progress(len(prompts), len(prompts))
        seconds = (time.monotonic() - started) / len(prompts)
        return [
            StudentAnswer(
                Reply(answer.text, answer.finish_reason, len(ids), answer.n_tokens, seconds), answer.confidence
            )
            for ids, answer in zip(prompts, answers, strict=True)
        ]

    def _scored(self, prompts: Padded, completions: tuple[str, ...]) -> list[_Answer]:
        scored = score_completions(self._model, prompts, [self._completion_ids(text) for text in completions])
        return [_Answer(completions[best].strip(), FinishReason.SCORED, 0, confidence) for best, confidence in scored]

    def _written(self, prompts: Padded, max_new_tokens: int, progress: Progress) -> list[_Answer]:
        return [
            _Answer(self._tokenizer.decode(ids, skip_special_tokens=True), FinishReason(reason), len(ids), None)
            for ids, reason in generate(self._model, prompts, self._end, max_new_tokens, progress)
        ]

    def check_lengths(self, examples: tuple[TrainingExample, ...], progress: Progress) -> int:
        return max(len(self._tokens(example).ids) for example in examples)

    # --- parts ---

    def _load_adapter(self, folder: Path) -> None:
        weights = load_file(folder / ADAPTER_WEIGHTS)
        set_peft_model_state_dict(self._model, weights)

    def _trainable(self) -> list[torch.nn.Parameter]:
        return [parameter for parameter in self._model.parameters() if parameter.requires_grad]

    def _prompt_ids(self, prompt: str) -> list[int]:
        return list(self._tokenizer(prompt)["input_ids"])

    def _completion_ids(self, completion: str) -> list[int]:
        return [*self._tokenizer(completion, add_special_tokens=False)["input_ids"], self._end]

    def _tokens(self, example: TrainingExample) -> Tokens:
        prompt, completion = self._prompt_ids(example.prompt), self._completion_ids(example.completion)
        length = len(prompt) + len(completion)
        if length > self._max_length:
            raise ModelError(
                f"an example has {length} tokens, the student takes {self._max_length}: {example.prompt[:50]!r}",
                "Shorten or remove it, or raise student.max_length if the model's context allows.",
            )
        return Tokens(prompt + completion, len(completion))


def _device(wanted: str) -> str:
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ModelError(
            'hardware.device = "cuda", but PyTorch finds no GPU', 'Use "auto" or "cpu"; see llm2llm doctor.'
        )
    return wanted


def _compute_dtype(device: str) -> torch.dtype:
    return torch.bfloat16 if device == "cuda" and torch.cuda.is_bf16_supported() else torch.float32


def _quantization(kind: str, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    if kind == "none":
        return None
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
