"""The student in a few plain lines, to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from llm2llm_local.student.protocol import TrainingExample


class NaiveStudent:
    """The same model the plain way: transformers and peft alone, one unpadded row at a time, no cache."""

    def __init__(self, model: Path, adapter: Path | None) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
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
            log_probabilities = self.model(torch.tensor([before + after])).logits[0].log_softmax(-1)
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
