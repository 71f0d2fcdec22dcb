"""The student in a few plain lines, to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from llm2llm_local.student.batching import epoch_batches, learning_rate_factor
from llm2llm_local.student.protocol import TrainingExample, TrainingSegment


class NaiveStudent:
    """The same model the plain way: transformers and peft alone, one unpadded row at a time, no cache."""

    def __init__(
        self,
        model: Path,
        adapter: Path | None,
        quantization: str = "none",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        nf4 = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
        base = AutoModelForCausalLM.from_pretrained(
            model, dtype=dtype, quantization_config=nf4 if quantization == "nf4" else None
        )
        self.model: Any = base if adapter is None else PeftModel.from_pretrained(base, adapter)
        self.model.eval()

    def ids(self, prompt: str) -> list[int]:
        return list(self.tokenizer(prompt).input_ids)

    def completion_ids(self, completion: str) -> list[int]:
        return [*self.tokenizer(completion, add_special_tokens=False).input_ids, self.tokenizer.eos_token_id]

    def n_tokens(self, example: TrainingExample) -> int:
        """Of the prompt, the completion and the end token."""
        return len(self.ids(example.prompt)) + len(self.completion_ids(example.completion))

    def log_likelihood(self, prompt: str, completion: str) -> float:
        """Of the completion and the end token after the prompt."""
        before, after = self.ids(prompt), self.completion_ids(completion)
        with torch.inference_mode():
            log_probabilities = self.model(torch.tensor([before + after])).logits[0].float().log_softmax(-1)
        return sum(
            float(log_probabilities[position - 1, token]) for position, token in enumerate(after, start=len(before))
        )

    def mean_loss(self, examples: Sequence[TrainingExample]) -> float:
        tokens = sum(len(self.completion_ids(example.completion)) for example in examples)
        return -sum(self.log_likelihood(example.prompt, example.completion) for example in examples) / tokens

    def write(self, prompt: str, max_new_tokens: int) -> str:
        ids = self.ids(prompt)
        written = self.model.generate(
            input_ids=torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            do_sample=False,
            max_new_tokens=max_new_tokens,
        )
        return str(self.tokenizer.decode(written[0, len(ids) :], skip_special_tokens=True))

    def train(self, start: Path, segment: TrainingSegment) -> tuple[list[float], dict[str, torch.Tensor]]:
        """A whole training with the examples, steps and rates of `segment`, from the adapter in `start`, without
        dropout; its losses, and the weights it comes to.
        """
        model = PeftModel.from_pretrained(self.model, start, is_trainable=True)
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(weights, weight_decay=segment.weight_decay)
        losses: list[float] = []
        for epoch in range(segment.epochs):
            lengths = [self.n_tokens(example) for example in segment.examples]
            for batch in epoch_batches(lengths, segment.batch_size, segment.rng_seed, epoch):
                factor = learning_rate_factor(len(losses), segment.total_steps, segment.warmup_ratio)
                optimizer.param_groups[0]["lr"] = segment.learning_rate * factor
                losses.append(self._step(model, optimizer, weights, [segment.examples[i] for i in batch], segment))
        return losses, get_peft_model_state_dict(model)

    def _step(
        self,
        model: Any,
        optimizer: torch.optim.Optimizer,
        weights: Sequence[torch.nn.Parameter],
        examples: Sequence[TrainingExample],
        segment: TrainingSegment,
    ) -> float:
        n_learnt = sum(len(self.completion_ids(example.completion)) for example in examples)
        optimizer.zero_grad()
        total = 0.0
        for example in examples:
            ids, after = self.ids(example.prompt), self.completion_ids(example.completion)
            labels = torch.tensor([[-100] * len(ids) + after])
            loss = model(input_ids=torch.tensor([ids + after]), labels=labels).loss * len(after) / n_learnt
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(weights, segment.max_grad_norm)
        optimizer.step()
        return total
