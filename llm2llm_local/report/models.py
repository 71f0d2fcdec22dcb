"""What is in the models folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ModelError, UserInputError
from ..model_files.catalogue import content_hash, list_models
from ..model_files.model import BadModel, ModelFile
from .plain import plain


def model_records(folder: Path) -> list[dict[str, Any]]:
    """A record for each model, with its content hash or with what is wrong with it."""
    if not folder.is_dir():
        raise UserInputError(
            f"{folder}: no such folder", "Name the folder that holds the models: llm2llm models FOLDER"
        )
    return [_record(model) for model in list_models(folder)]


def _record(model: ModelFile | BadModel) -> dict[str, Any]:
    if isinstance(model, BadModel):
        return dataclasses.asdict(model)
    try:
        return {**dataclasses.asdict(model), "sha256": content_hash(model.path)}
    except ModelError as error:  # of a file that only the hash is read for
        return dataclasses.asdict(BadModel(model.path, error))


def model_lines(records: Sequence[dict[str, Any]]) -> list[str]:
    """For a terminal: two lines a model."""
    lines = []
    for record in records:
        lines.append(plain(str(record["path"])))
        if "error" in record:
            lines.append(f"    can't be used: {plain(str(record['error']))}")
            continue
        role = "teacher" if record["kind"] == "gguf" else "student"
        lines.append(
            f"    {role}: {plain(record['architecture'])}, {plain(record['quantization'])}, "
            f"{record['size_bytes'] / 2**20:.0f} MiB, context {record['context_length']}, sha256 {record['sha256']}"
        )
    return lines
