"""Finding models, telling what they are, and their identity by content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import ModelError
from .folder import inspect_folder
from .gguf_file import inspect_gguf
from .model import BadModel, ModelFile, reading

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


def list_models(folder: Path) -> list[ModelFile | BadModel]:
    """Everything in `folder` that looks like a model: GGUF files and folders with a config.json, two levels deep.

    A model that can't be used is listed with its error. Hidden names and names ending in `.part` (an unfinished
    download or conversion) are left out. Raises ModelError when the folder itself can't be read.
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "no such folder"
        raise ModelError(f"{folder}: {what}", "Name the folder that has the models; `make models` makes one.")
    with reading(folder):
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
    with reading(path):
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
            if not os.access(entry, os.R_OK | os.X_OK):
                yield entry  # perhaps a model: with it is said what keeps one from looking
                continue
            if (entry / "config.json").exists():
                yield entry
            if depth > 1:
                yield from _candidates(entry, depth - 1)
        elif entry.suffix.lower() == ".gguf":
            yield entry


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
