"""Makes a trainable student out of a GGUF file: dequantizes it into a Hugging Face folder, once.

transformers reads GGUF files of the Llama family, but leaves parts of some of them out without a word and guesses at
how the tokenizer splits text. What is not known to be converted faithfully is refused here: a student that reads text
differently from how its base model was trained loses accuracy, and nothing says why.

Importing this module imports torch and transformers; the offline variables must be set by then.
"""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ..durable import sync
from ..errors import ModelError
from ..model_files.gguf_file import GgufHeader, inspect_gguf, read_gguf_header
from ..model_files.model import COPY_AGAIN

USE_THE_FOLDER = "Use the Hugging Face folder (safetensors) of this model as the student instead."

# llama.cpp's names for how a byte-level tokenizer splits text before merging. Each was compared with llama.cpp on 500
# texts of five data sets: not one token differs. transformers splits all of them like GPT-2; for those that take every
# digit alone 1 text in 25 then comes out different (the blank lines before a number).
SPLITS_OFF_DIGITS = frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"})
SPLITS_LIKE_GPT2 = frozenset({"gpt-2", "mpt", "olmo", "jais", "phi-2"})


def convert_gguf_student(gguf: Path, folder: Path) -> None:
    """Writes the model in the file `gguf` as a Hugging Face folder: safetensors, tokenizer, chat template.

    `folder` appears complete or not at all. Takes about 15 s and 1 GB of memory for 135M parameters. Raises ModelError
    when the file can't be used, or not be converted faithfully, or when `folder` exists; OSError when writing fails.
    """
    context_length = inspect_gguf(gguf).context_length
    header = read_gguf_header(gguf)
    _refuse_what_would_change(header)
    if folder.exists():
        raise ModelError(f"{folder}: exists already", "Move or delete it to have it made again.")
    partial = folder.with_name(f"{folder.name}.part")
    if partial.exists():  # an earlier conversion was interrupted
        shutil.rmtree(partial)
    tokenizer = load_gguf_tokenizer(header)
    tokenizer.model_max_length = context_length
    with _without_progress_bars():
        model = _load_model(header)
        # The end token comes with the file, the padding may not.
        model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
        model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    for written in (*partial.iterdir(), partial):
        sync(written)
    partial.rename(folder)
    sync(folder.parent)


def load_gguf_tokenizer(header: GgufHeader) -> PreTrainedTokenizerBase:
    """The tokenizer of a GGUF file, made to split text as llama.cpp does; padding is the end token if not given."""
    tokenizer = AutoTokenizer.from_pretrained(header.path.parent, gguf_file=header.path.name)
    if header.text("tokenizer.ggml.model") == "llama":
        prefix = header.metadata.get("tokenizer.ggml.add_space_prefix", True)
        _split_like_sentencepiece(tokenizer.backend_tokenizer, prefix=" " if prefix else "")
    else:
        steps: list[pre_tokenizers.PreTokenizer] = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
        if header.text("tokenizer.ggml.pre") in SPLITS_OFF_DIGITS:
            steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _split_like_sentencepiece(tokenizer: Tokenizer, prefix: str) -> None:
    """`prefix` goes before every stretch of text between special tokens, so that a turn of a chat has it too.

    transformers puts it before the first stretch only, and drops one of several leading spaces.
    """
    space = "\u2581"  # how sentencepiece spells it
    to_pieces: list[normalizers.Normalizer] = [normalizers.Replace(" ", space)]
    to_text: list[decoders.Decoder] = [decoders.Replace(space, " "), decoders.ByteFallback(), decoders.Fuse()]
    if prefix:
        to_pieces.insert(0, normalizers.Prepend(prefix))
        to_text.append(decoders.Strip(prefix, left=len(prefix), right=0))
    tokenizer.normalizer = normalizers.Sequence(to_pieces)
    tokenizer.pre_tokenizer = None
    tokenizer.decoder = decoders.Sequence(to_text)


def _refuse_what_would_change(header: GgufHeader) -> None:
    """ModelError for all that transformers would leave out or read differently."""
    architecture = header.text("general.architecture")
    if architecture != "llama":
        raise ModelError(f"{header.path}: only the Llama family can be converted, not {architecture!r}", USE_THE_FOLDER)
    rope_scaling = header.text("llama.rope.scaling.type")
    if rope_scaling not in ("", "none") or any(tensor.name == "rope_freqs.weight" for tensor in header.tensors):
        raise ModelError(f"{header.path}: its scaled rotary positions can't be converted", USE_THE_FOLDER)
    tokenizer, split = header.text("tokenizer.ggml.model"), header.text("tokenizer.ggml.pre")
    if tokenizer != "llama" and (tokenizer != "gpt2" or split not in SPLITS_OFF_DIGITS | SPLITS_LIKE_GPT2):
        raise ModelError(f"{header.path}: its tokenizer ({tokenizer} {split}) can't be converted", USE_THE_FOLDER)


def _load_model(header: GgufHeader) -> PreTrainedModel:
    """The dequantized model, in float16 unless a weight is beyond its range.

    Measured on the default model (Q4_1, whose values fit neither 16-bit type exactly): relative error of the weights
    2.1e-4 in float16, 1.4e-3 in bfloat16; the student's own 4-bit quantization adds about 1e-1 to either. float32
    would double the folder for nothing.
    """
    for dtype in (torch.float16, torch.float32):
        model, loading = AutoModelForCausalLM.from_pretrained(
            header.path.parent,
            gguf_file=header.path.name,
            # Otherwise the model counts as quantized for ever and can't be saved.
            quantization_config=GgufConfig(dequantize=True),
            dtype=dtype,
            output_loading_info=True,
        )
        weights = list(model.parameters())
        # transformers skips tensors that it has no place for (biases, experts) and invents those that it misses.
        if loading["missing_keys"] or len(weights) != len(header.tensors):
            raise ModelError(f"{header.path}: its weights are not those of a plain Llama", USE_THE_FOLDER)
        if all(bool(weight.isfinite().all()) for weight in weights):
            return model
    raise ModelError(f"{header.path}: some weights are not finite numbers", COPY_AGAIN)


@contextlib.contextmanager
def _without_progress_bars() -> Iterator[None]:
    """transformers' GGUF reader draws its bar whatever the settings say; what matters arrives as an exception."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield
