"""Hugging Face folders: config.json, a tokenizer, safetensors weights."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelError
from .model import COPY_AGAIN, LISTS, ModelFile, incomplete, reading

# The same quantity under the names that model families give it, the usual one first.
_CONTEXT_LENGTH = ("max_position_embeddings", "n_positions", "seq_length", "max_seq_len")
_N_LAYERS = ("num_hidden_layers", "n_layer", "n_layers")
_N_EMBD = ("hidden_size", "n_embd", "d_model")

_TOKENIZERS = (("tokenizer.json",), ("tokenizer.model",), ("spiece.model",), ("vocab.json", "merges.txt"))
_PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")

_STUDENT = "a folder with config.json, tokenizer and safetensors weights"
_SET_ONE = f"Set student.model to {_STUDENT}: {LISTS}"

_SAFETENSORS_TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True, slots=True)
class WeightCounts:
    """How many numbers a folder's weights have. `in_layers`: in the matrices of its layers, which can be quantized;
    `others`: in embeddings, an output matrix of its own, norms and biases.
    """

    in_layers: int
    others: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor's entry in a safetensors header; `type_name` as PyTorch calls it ("float16")."""

    type_name: str
    shape: tuple[int, ...]
    n_bytes: int


def count_weights(model: ModelFile) -> WeightCounts:
    """Of a model in a folder. Matrices with a row for each token are embeddings or their counterpart at the end."""
    shapes = [tensor.shape for file in _weight_files(model.path) for tensor in _safetensors_table(file)]
    in_layers = sum(math.prod(shape) for shape in shapes if len(shape) == 2 and shape[0] != model.vocab_size)
    return WeightCounts(in_layers, sum(math.prod(shape) for shape in shapes) - in_layers)


def inspect_folder(path: Path) -> ModelFile:
    """What the Hugging Face folder at `path` is.

    Raises ModelError when it has no readable config.json, no tokenizer, no safetensors weights (pickles are refused),
    weights that are incomplete, or code of its own.
    """
    with reading(path):
        config = _folder_config(path)
        tokenizer_config = _optional_json(path / "tokenizer_config.json")
        _refuse_unusable(path, config, tokenizer_config)
        types: Counter[str] = Counter()
        weights = _weight_files(path)
        for file in weights:
            for tensor in _safetensors_table(file):
                types[tensor.type_name] += tensor.n_bytes
        size_bytes = sum(file.stat().st_size for file in weights)
    # Models with more than text keep the language model's numbers in a section of their own.
    text_config = config["text_config"] if isinstance(config.get("text_config"), dict) else config
    return ModelFile(
        path=path,
        kind="folder",
        name=path.resolve().name,
        architecture=str(config.get("model_type", "")),
        quantization=types.most_common(1)[0][0],
        size_bytes=size_bytes,
        context_length=_number(path, text_config, _CONTEXT_LENGTH),
        n_layers=_number(path, text_config, _N_LAYERS),
        n_embd=_number(path, text_config, _N_EMBD),
        vocab_size=_number(path, text_config, ("vocab_size",)),
        has_chat_template="chat_template" in tokenizer_config
        or any((path / name).is_file() for name in ("chat_template.jinja", "chat_template.json")),
    )


def _refuse_unusable(path: Path, config: Mapping[str, Any], tokenizer_config: Mapping[str, Any]) -> None:
    for name, content in (("config.json", config), ("tokenizer_config.json", tokenizer_config)):
        if "auto_map" in content:
            raise ModelError(
                f"{path / name}: the model brings code of its own (auto_map)",
                "Code from models is never run: use a model whose architecture transformers has built in.",
            )
    if not any(all((path / name).is_file() for name in names) for names in _TOKENIZERS):
        raise ModelError(
            f"{path}: no tokenizer (neither tokenizer.json nor tokenizer.model)",
            "Copy the tokenizer's files of the same model into the folder.",
        )


def _folder_config(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        if path.is_file():
            raise ModelError(f"{path}: a file, but a student is a folder", _SET_ONE)
        raise ModelError(f"{path}: no such folder", _SET_ONE)
    file = path / "config.json"
    if file.is_file():
        return _read_json(file)
    ggufs = sorted(entry.name for entry in path.iterdir() if entry.suffix.lower() == ".gguf")
    if ggufs:
        remedy = f"It holds {', '.join(ggufs)}, and GGUF is for teachers: a student is {_STUDENT}."
    elif (path / "adapter_config.json").is_file():
        remedy = "It holds an adapter: name the folder of the model that the adapter belongs to."
    else:
        remedy = _SET_ONE
    raise ModelError(f"{path}: no config.json in this folder", remedy)


def _optional_json(path: Path) -> dict[str, Any]:
    return _read_json(path) if path.is_file() else {}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not valid JSON: {error}", COPY_AGAIN) from None
    if not isinstance(content, dict):
        raise ModelError(f"{path}: a JSON object is expected", COPY_AGAIN)
    return content


def _number(path: Path, config: Mapping[str, Any], names: Sequence[str]) -> int:
    for name in names:
        if isinstance(config.get(name), int):
            return int(config[name])
    raise ModelError(f"{path / 'config.json'}: no {names[0]}", "The folder must hold a language model.")


def _weight_files(path: Path) -> list[Path]:
    """The safetensors files that make up the model, by the rules that transformers finds them with."""
    single = path / "model.safetensors"
    if single.is_file():
        return [single]
    index = path / "model.safetensors.index.json"
    if index.is_file():
        shard_of = _read_json(index).get("weight_map")
        if not isinstance(shard_of, dict) or not shard_of:
            raise ModelError(f"{index}: no weight_map", COPY_AGAIN)
        shards = sorted({str(name) for name in shard_of.values()})
        missing = [name for name in shards if not (path / name).is_file()]
        if missing:
            raise ModelError(
                f"{path}: {len(missing)} of {len(shards)} weight files missing: {', '.join(missing)}", COPY_AGAIN
            )
        return [path / name for name in shards]
    pickles = sorted(entry.name for entry in path.iterdir() if entry.suffix in _PICKLE_SUFFIXES)
    if pickles:
        raise ModelError(
            f"{path}: weights only as a pickle ({pickles[0]}), which can run code when it is loaded",
            'If you trust its source, convert it: python -c "from transformers import AutoModelForCausalLM as M; '
            f"M.from_pretrained('{path}').save_pretrained('{path}')\"",
        )
    raise ModelError(
        f"{path}: no weights (neither model.safetensors nor model.safetensors.index.json)",
        "Copy the safetensors files of the model into the folder.",
    )


def _safetensors_table(path: Path) -> list[_Tensor]:
    """All tensors of a file; ModelError when it is damaged or cut short.

    The format: 8 bytes with the header's length, a JSON header, the data, nothing else
    (https://github.com/huggingface/safetensors#format).
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        header_size = int.from_bytes(start, "little")
        if len(start) < 8 or 8 + header_size > size:
            raise incomplete(path, 8 + header_size if len(start) == 8 else 8, size)
        try:
            header = json.loads(file.read(header_size))
            tensors = []
            end = 0
            for name, tensor in header.items():
                if name != "__metadata__":
                    first, after = _integers(tensor["data_offsets"])
                    type_name = _SAFETENSORS_TYPES.get(tensor["dtype"], tensor["dtype"].lower())
                    tensors.append(_Tensor(type_name, _integers(tensor["shape"]), after - first))
                    end = max(end, after)
        except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
            raise ModelError(f"{path}: damaged: its header can't be read", COPY_AGAIN) from None
    if 8 + header_size + end > size:
        raise incomplete(path, 8 + header_size + end, size)
    if not tensors:
        raise ModelError(f"{path}: holds no weights", COPY_AGAIN)
    return tensors


def _integers(value: object) -> tuple[int, ...]:
    """Of a JSON list; TypeError when it is none, or has anything else."""
    if not isinstance(value, list) or not all(type(item) is int for item in value):
        raise TypeError(f"a list of integers is expected: {value!r}")
    return tuple(value)
