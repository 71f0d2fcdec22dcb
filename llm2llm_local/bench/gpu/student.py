"""Students of random weights, in the shape of a Llama: made once, before what is measured of them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from ...student.precision import find_compute_dtype
from ...student.protocol import StudentSettings
from ...teacher.plan import Device

_LORA_DROPOUT = 0.0
_SHARD = "2GB"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentCase:
    """A student's shape, in the words of transformers' LlamaConfig.

    `tokenizer`: a student's folder whose tokenizer is taken; `vocabulary` may be larger than its. `longest`: tokens
    that the student takes.
    """

    scratch: Path
    tokenizer: Path
    device: Device
    threads: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    feed_forward: int
    vocabulary: int = 128_256
    longest: int = 131_072
    lora_rank: int = 16
    rng_seed: int = 0

    @property
    def folder(self) -> Path:
        """Of the student; cases of the same shape share it."""
        heads = f"{self.heads}-{self.kv_heads}"
        shape = f"{self.hidden}-{self.layers}-{heads}-{self.feed_forward}-{self.vocabulary}-{self.longest}"
        return self.scratch / f"llama-{shape}"

    def settings(self) -> StudentSettings:
        return StudentSettings(
            model=self.folder,
            quantization="nf4",
            compute_dtype=find_compute_dtype("auto", self.device),
            lora_rank=self.lora_rank,
            lora_alpha=2 * self.lora_rank,
            lora_dropout=_LORA_DROPOUT,
            max_length=self.longest,
            device=self.device,
            threads=self.threads,
        )


def made_student(case: StudentCase) -> None:
    """Leaves the student in its folder, whole or not at all, unless it is there.

    In 16 bits from the first to the last, on the device: 32 bits for 8 billion weights would be 32 GB, and drawing
    them on the CPU takes minutes.
    """
    if case.folder.exists():
        return
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    partial = case.folder.with_name(f"{case.folder.name}.part")
    if partial.exists():  # of a call that was ended in the middle
        shutil.rmtree(partial)
    tokenizer = AutoTokenizer.from_pretrained(case.tokenizer, local_files_only=True)
    config = LlamaConfig(
        vocab_size=case.vocabulary,
        hidden_size=case.hidden,
        intermediate_size=case.feed_forward,
        num_hidden_layers=case.layers,
        num_attention_heads=case.heads,
        num_key_value_heads=case.kv_heads,
        max_position_embeddings=case.longest,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(case.rng_seed)
    with torch.device(case.device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(partial, max_shard_size=_SHARD)
    tokenizer.save_pretrained(partial)
    partial.rename(case.folder)
