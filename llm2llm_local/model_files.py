"""What a model on disk is and whether it is whole, without loading it.

Everything here is decided from headers and small JSON files, so that a wrong model is named in a fraction of a
second, before a worker process spends minutes on it. Nothing of a model is ever executed: pickles and models that
bring their own code are refused.

GGUF headers are read here rather than with `gguf.GGUFReader`: that one makes numpy views for every token of the
vocabulary (1.8 s for 49,152 tokens where this takes 0.1 s) and answers a file that is cut short with "cannot
reshape array". The tables of tensor and file types do come from the `gguf` package, imported only when needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from .errors import ModelError

GgufValue = int | float | bool | str | tuple[Any, ...]

COPY_AGAIN = "Copy the file again from where it came from."


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model that can be used.

    `kind`: one GGUF file, or a Hugging Face folder. `architecture`: the family as the format calls it ("llama").
    `quantization`: of most weights ("Q4_1"), or their type in a folder ("float16"). `size_bytes`: of the GGUF file,
    or of a folder's weights. `context_length`: in tokens, as trained. `n_embd`: width of the hidden state.
    """

    path: Path
    kind: Literal["gguf", "folder"]
    name: str
    architecture: str
    quantization: str
    size_bytes: int
    context_length: int
    n_layers: int
    n_embd: int
    n_head: int
    n_head_kv: int
    vocab_size: int
    has_chat_template: bool


@dataclass(frozen=True, slots=True)
class BadModel:
    """Something in the models folder that looks like a model and can't be used, and why."""

    path: Path
    error: ModelError


def list_models(folder: Path) -> list[ModelFile | BadModel]:
    """Everything in `folder` that looks like a model: GGUF files and folders with a config.json, two levels deep.

    A model that can't be used is listed with its error. Hidden names and names ending in `.part` (an unfinished
    download or conversion) are left out. Raises ModelError when the folder itself can't be read.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder", "`make models` makes it, with the default models in it.")
    with _reading(folder):
        paths = list(_candidates(folder, depth=2))
    models: list[ModelFile | BadModel] = []
    for path in paths:
        try:
            models.append(inspect_model(path))
        except ModelError as error:
            models.append(BadModel(path, error))
    return models


def inspect_model(path: Path) -> ModelFile:
    """What the model at `path` is, be it a GGUF file or a folder; ModelError when it can't be used."""
    if not path.exists():
        raise ModelError(f"{path}: no such file or folder", "Put the model there, or name another.")
    return inspect_folder(path) if path.is_dir() else inspect_gguf(path)


def content_hash(path: Path) -> str:
    """Hex sha256 that changes exactly when the results of the model at `path` may change.

    A GGUF: of the file's bytes. A folder: of the sorted names and hashes of its configuration, tokenizer and weight
    files, so that neither its place nor a README counts. Reads every byte. ModelError when something can't be read.
    """
    with _reading(path):
        if not path.is_dir():
            return _file_hash(path)
        lines = [
            f"{file.name}\0{_file_hash(file)}\n"
            for file in sorted(path.iterdir())
            if file.name in _HASHED_NAMES or file.name.endswith(_HASHED_SUFFIXES)
        ]
    if not lines:
        raise ModelError(f"{path}: no model in this folder", "Name a GGUF file, or a folder with config.json.")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _candidates(folder: Path, depth: int) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.name.endswith(".part"):
            continue
        if entry.is_dir():
            if (entry / "config.json").exists():
                yield entry
            if depth > 1:
                yield from _candidates(entry, depth - 1)
        elif entry.suffix.lower() == ".gguf":
            yield entry


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What the operating system refuses becomes a ModelError that names the file."""
    try:
        yield
    except OSError as error:
        raise ModelError(f"{error.filename or path}: can't be read: {error.strerror}") from None


# --- GGUF -----------------------------------------------------------------------------------------------------------
# The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)  # 1, with its 32-bit lengths, is refused by llama.cpp too
_SCALARS = {
    code: struct.Struct(f"<{letter}")
    for code, letter in {
        0: "B",
        1: "b",
        2: "H",
        3: "h",
        4: "I",
        5: "i",
        6: "f",
        7: "?",
        10: "Q",
        11: "q",
        12: "d",
    }.items()
}
_STRING, _ARRAY = 8, 9
_MAX_DIMENSIONS = 4  # GGML_MAX_DIMS
_DEFAULT_ALIGNMENT = 32


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """A tensor's entry in the header. `type_name` as ggml calls it ("Q4_1"); `n_bytes` in the file."""

    name: str
    type_name: str
    n_bytes: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """All of a GGUF file but the weights: what the file says of itself, and its tensors in the file's order."""

    path: Path
    metadata: Mapping[str, GgufValue]
    tensors: tuple[GgufTensor, ...]

    def text(self, key: str) -> str:
        """The string under `key`, "" when there is none."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def integer(self, key: str) -> int | None:
        """The integer under `key`, the largest when the file gives one for each layer; None when there is none."""
        value = self.metadata.get(key)
        if isinstance(value, tuple):
            value = max((item for item in value if isinstance(item, int)), default=None)
        return value if isinstance(value, int) else None


def inspect_gguf(path: Path) -> ModelFile:
    """What the GGUF file at `path` is.

    ModelError when it is no GGUF, incomplete, or lacks what a language model needs.
    """
    header = read_gguf_header(path)
    architecture = header.text("general.architecture")
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if not header.tensors:
        raise ModelError(f"{path}: holds no weights", "It is a vocabulary only; use the model's own file.")
    if (header.integer("split.count") or 1) > 1:
        raise ModelError(
            f"{path}: one part of a model that is split over several files",
            "Merge them first: llama-gguf-split --merge FIRST_PART MERGED.gguf",
        )
    if not header.text("tokenizer.ggml.model") or not isinstance(tokens, tuple) or not tokens:
        raise ModelError(f"{path}: holds no tokenizer", "Use a GGUF of the whole language model.")

    def required(key: str) -> int:
        value = header.integer(f"{architecture}.{key}")
        if value is None:
            raise ModelError(f"{path}: {architecture}.{key} is not in its header", "It is no language model.")
        return value

    return ModelFile(
        path=path,
        kind="gguf",
        name=path.stem,
        architecture=architecture,
        quantization=_gguf_quantization(header),
        size_bytes=path.stat().st_size,
        context_length=required("context_length"),
        n_layers=required("block_count"),
        n_embd=required("embedding_length"),
        n_head=required("attention.head_count"),
        # Absent means that every head has its own keys and values.
        n_head_kv=header.integer(f"{architecture}.attention.head_count_kv") or required("attention.head_count"),
        vocab_size=len(tokens),
        has_chat_template=bool(header.text("tokenizer.chat_template")),
    )


def read_gguf_header(path: Path) -> GgufHeader:
    """The header of the GGUF file at `path`, and proof that every tensor lies within the file.

    Raises ModelError when the file is missing, empty, not a GGUF, of a version or with tensor types unknown here,
    damaged, or cut short anywhere.
    """
    with _reading(path), path.open("rb") as file:
        return _read_header(_HeaderBytes(path, file, os.fstat(file.fileno()).st_size))


def _read_header(source: _HeaderBytes) -> GgufHeader:
    path = source.path
    if source.size == 0:
        raise ModelError(f"{path}: the file is empty", COPY_AGAIN)
    magic = source.take(min(4, source.size))
    if magic != _MAGIC:
        raise ModelError(f"{path}: not a GGUF file (it starts with {magic!r})", "Models as a single file must be GGUF.")
    version = source.scalar("<I")
    if version not in _VERSIONS:
        raise ModelError(
            f"{path}: GGUF version {version} is not supported (2 and 3 are)",
            "Get a current little-endian GGUF of the model, or convert it again with llama.cpp.",
        )
    n_tensors, n_entries = source.scalar("<Q"), source.scalar("<Q")
    metadata: dict[str, GgufValue] = {}
    for _ in range(n_entries):
        key = source.text()
        metadata[key] = source.value(source.scalar("<I"))
    tensors, data_bytes = _read_tensor_table(source, n_tensors)
    alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1:
        raise ModelError(f"{path}: damaged: general.alignment is {alignment!r}", COPY_AGAIN)
    data_start = -(-source.position // alignment) * alignment
    if tensors and data_start + data_bytes > source.size:
        raise _incomplete(path, data_start + data_bytes, source.size)
    return GgufHeader(path, metadata, tensors)


def _read_tensor_table(source: _HeaderBytes, n_tensors: int) -> tuple[tuple[GgufTensor, ...], int]:
    """The tensors' entries, and where the last of their data ends, counted from the start of the data."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType  # numpy comes with it

    sizes: dict[int, tuple[str, int, int]] = {
        int(kind): (GGMLQuantizationType(kind).name, *block) for kind, block in GGML_QUANT_SIZES.items()
    }
    tensors = []
    end = 0
    for _ in range(n_tensors):
        name = source.text()
        n_dimensions = source.scalar("<I")
        if n_dimensions > _MAX_DIMENSIONS:
            raise ModelError(f"{source.path}: damaged: {name!r} has {n_dimensions} dimensions", COPY_AGAIN)
        n_values = 1
        for _ in range(n_dimensions):
            n_values *= source.scalar("<Q")
        kind, offset = source.scalar("<I"), source.scalar("<Q")
        if kind not in sizes:
            raise ModelError(
                f"{source.path}: {name!r} is quantized in a way unknown here (ggml type {kind})",
                "Use another quantization of the model, for example Q4_K_M or Q8_0.",
            )
        type_name, block_values, block_bytes = sizes[kind]
        tensors.append(GgufTensor(name, type_name, n_values // block_values * block_bytes))
        end = max(end, offset + tensors[-1].n_bytes)
    return tuple(tensors), end


class _HeaderBytes:
    """Reads a GGUF header piece by piece; asking for bytes beyond the end of the file is a ModelError."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self.path = path
        self.size = size
        self.position = 0
        self._file = file

    def take(self, n_bytes: int) -> bytes:
        if n_bytes > self.size - self.position:
            raise _incomplete(self.path, self.position + n_bytes, self.size)
        self.position += n_bytes
        return self._file.read(n_bytes)

    def scalar(self, layout: str) -> int:
        (value,) = struct.unpack(layout, self.take(struct.calcsize(layout)))
        assert isinstance(value, int)
        return value

    def text(self) -> str:
        # A vocabulary may hold tokens that are not whole characters.
        return self.take(self.scalar("<Q")).decode("utf-8", errors="replace")

    def value(self, kind: int) -> GgufValue:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            return self._array(self.scalar("<I"), self.scalar("<Q"))
        if kind in _SCALARS:
            layout = _SCALARS[kind]
            value: int | float | bool = layout.unpack(self.take(layout.size))[0]
            return value
        raise ModelError(f"{self.path}: damaged: unknown kind of value {kind} in its header", COPY_AGAIN)

    def _array(self, kind: int, count: int) -> GgufValue:
        if kind == _STRING:
            return tuple(self.text() for _ in range(count))
        if kind in _SCALARS:
            layout = _SCALARS[kind]
            return tuple(value for (value,) in layout.iter_unpack(self.take(count * layout.size)))
        raise ModelError(f"{self.path}: damaged: unknown kind of list {kind} in its header", COPY_AGAIN)


def _incomplete(path: Path, expected: int, present: int) -> ModelError:
    return ModelError(f"{path}: incomplete or damaged: {present:,} bytes of at least {expected:,}", COPY_AGAIN)


def _gguf_quantization(header: GgufHeader) -> str:
    from gguf.constants import LlamaFileType

    try:
        name: str = LlamaFileType(header.integer("general.file_type")).name
        return name.removeprefix("MOSTLY_").removeprefix("ALL_")
    except ValueError:  # not given, or newer than the gguf package: what most of the bytes are
        by_type: Counter[str] = Counter()
        for tensor in header.tensors:
            by_type[tensor.type_name] += tensor.n_bytes
        return by_type.most_common(1)[0][0]


# --- Hugging Face folders -------------------------------------------------------------------------------------------

# The same quantity under the names that model families give it, the usual one first.
_CONTEXT_LENGTH = ("max_position_embeddings", "n_positions", "seq_length", "max_seq_len")
_N_LAYERS = ("num_hidden_layers", "n_layer", "n_layers")
_N_EMBD = ("hidden_size", "n_embd", "d_model")
_N_HEAD = ("num_attention_heads", "n_head", "n_heads")
_N_HEAD_KV = ("num_key_value_heads", "num_kv_heads")

_TOKENIZERS = (("tokenizer.json",), ("tokenizer.model",), ("spiece.model",), ("vocab.json", "merges.txt"))
_PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")

_HASHED_NAMES = frozenset(
    {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.jinja",
        "chat_template.json",
        "spiece.model",
        "vocab.json",
        "merges.txt",
    }
)
_HASHED_SUFFIXES = (".safetensors", ".safetensors.index.json")

_SAFETENSORS_TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def inspect_folder(path: Path) -> ModelFile:
    """What the Hugging Face folder at `path` is.

    Raises ModelError when it has no readable config.json, no tokenizer, no safetensors weights (pickles are refused),
    weights that are incomplete, or code of its own.
    """
    with _reading(path):
        config = _folder_config(path)
        tokenizer_config = _optional_json(path / "tokenizer_config.json")
        _refuse_unusable(path, config, tokenizer_config)
        types: Counter[str] = Counter()
        weights = _weight_files(path)
        for file in weights:
            types.update(_safetensors_bytes_by_type(file))
        size_bytes = sum(file.stat().st_size for file in weights)
    # Models with more than text keep the language model's numbers in a section of their own.
    text_config = config["text_config"] if isinstance(config.get("text_config"), dict) else config
    n_head = _number(path, text_config, _N_HEAD)
    has_kv_heads = any(isinstance(text_config.get(name), int) for name in _N_HEAD_KV)
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
        n_head=n_head,
        n_head_kv=_number(path, text_config, _N_HEAD_KV) if has_kv_heads else n_head,
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
        raise ModelError(f"{path}: no such folder")
    file = path / "config.json"
    if file.is_file():
        return _read_json(file)
    ggufs = sorted(entry.name for entry in path.iterdir() if entry.suffix.lower() == ".gguf")
    if len(ggufs) == 1:
        remedy = f"It holds {ggufs[0]}: name that file instead of the folder."
    elif ggufs:
        remedy = f"It holds GGUF files: name one of them instead of the folder ({', '.join(ggufs)})."
    elif (path / "adapter_config.json").is_file():
        remedy = "It holds an adapter: name the folder of the model that the adapter belongs to."
    else:
        remedy = "Name a GGUF file, or a folder with config.json, tokenizer and safetensors weights."
    raise ModelError(f"{path}: no config.json in this folder", remedy)


def _optional_json(path: Path) -> dict[str, Any]:
    return _read_json(path) if path.is_file() else {}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
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


def _safetensors_bytes_by_type(path: Path) -> dict[str, int]:
    """Bytes of weights of each type ("float16"); ModelError when the file is damaged or cut short.

    The format: 8 bytes with the header's length, a JSON header, the data, nothing else
    (https://github.com/huggingface/safetensors#format).
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        header_size = int.from_bytes(start, "little")
        if len(start) < 8 or 8 + header_size > size:
            raise _incomplete(path, 8 + header_size if len(start) == 8 else 8, size)
        try:
            header = json.loads(file.read(header_size))
            types: Counter[str] = Counter()
            end = 0
            for name, tensor in header.items():
                if name != "__metadata__":
                    first, after = tensor["data_offsets"]
                    types[_SAFETENSORS_TYPES.get(tensor["dtype"], tensor["dtype"].lower())] += after - first
                    end = max(end, after)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ModelError(f"{path}: damaged: its header can't be read", COPY_AGAIN) from None
    if 8 + header_size + end > size:
        raise _incomplete(path, 8 + header_size + end, size)
    if not types:
        raise ModelError(f"{path}: holds no weights", COPY_AGAIN)
    return types
