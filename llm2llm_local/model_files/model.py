"""The record of a model, and what the readers of its formats share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import ModelError

COPY_AGAIN = "Copy the file again from where it came from."
LISTS = "llm2llm models FOLDER lists what there is."


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
    vocab_size: int
    has_chat_template: bool


@dataclass(frozen=True, slots=True)
class BadModel:
    """Something in the models folder that looks like a model and can't be used, and why."""

    path: Path
    error: ModelError


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What the operating system refuses becomes a ModelError that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise ModelError(f"{error.filename or path}: no such file", f"Name one that is there: {LISTS}") from None
    except OSError as error:
        remedy = "Name a GGUF file." if isinstance(error, IsADirectoryError) else "Check the path and its permissions."
        raise ModelError(f"{error.filename or path}: can't be read: {error.strerror}", remedy) from None


def incomplete(path: Path, expected: int, present: int) -> ModelError:
    """The error for a file of `present` bytes that should have at least `expected`."""
    return ModelError(f"{path}: incomplete or damaged: {present:,} bytes of at least {expected:,}", COPY_AGAIN)
