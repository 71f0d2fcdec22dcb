"""GGUF files: the header, and what it says of the model.

The header is read here rather than with `gguf.GGUFReader`: that one makes numpy views for every token of the
vocabulary (1.8 s for 49,152 tokens where this takes 0.1 s) and answers a file that is cut short with "cannot
reshape array". The tables of tensor and file types do come from the `gguf` package, imported only when needed.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import ModelError
from .model import COPY_AGAIN, LISTS, ModelFile, incomplete, reading

GgufValue = int | float | bool | str | tuple[Any, ...]

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
    return describe_gguf(read_gguf_header(path))


def describe_gguf(header: GgufHeader) -> ModelFile:
    """What the header says of the model. ModelError when it lacks what a language model needs."""
    path = header.path
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
        vocab_size=len(tokens),
        has_chat_template=bool(header.text("tokenizer.chat_template")),
    )


def read_gguf_header(path: Path) -> GgufHeader:
    """The header of the GGUF file at `path`, and proof that every tensor lies within the file.

    Raises ModelError when the file is missing, empty, not a GGUF, of a version or with tensor types unknown here,
    damaged, or cut short anywhere.
    """
    with reading(path):
        if not path.exists():
            raise ModelError(f"{path}: no such file", f"Set teacher.model to a GGUF file that is there: {LISTS}")
        with path.open("rb") as file:
            return _read_header(_HeaderBytes(path, file, os.fstat(file.fileno()).st_size))


def _read_header(source: _HeaderBytes) -> GgufHeader:
    path = source.path
    if source.size == 0:
        raise ModelError(f"{path}: the file is empty", COPY_AGAIN)
    magic = source.take(min(4, source.size))
    if magic != _MAGIC:
        text = magic.decode("ascii", errors="replace")
        start = f'"{text}"' if text.isascii() and text.isprintable() else f"the bytes {magic.hex(' ').upper()}"
        raise ModelError(f"{path}: not a GGUF file (it starts with {start})", "Models as a single file must be GGUF.")
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
        raise incomplete(path, data_start + data_bytes, source.size)
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
            raise incomplete(self.path, self.position + n_bytes, self.size)
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
