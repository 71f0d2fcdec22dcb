"""What llama.cpp says: to standard error, which is the worker's log; its errors are kept for our messages.

What it says for its own developers is left out: pages of it with each new context.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import llama_cpp

_DEBUG_LEVEL, _ERROR_LEVEL = 1, 4
"""GGML_LOG_LEVEL_DEBUG and GGML_LOG_LEVEL_ERROR in ggml.h."""

_errors: list[str] = []


@contextmanager
def collected_errors() -> Iterator[list[str]]:
    """The errors of the calls in the block, oldest first; filled as they come."""
    _errors.clear()
    llama_cpp.llama_log_set(_receive, None)
    yield _errors


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _receive(level: int, text: bytes, _: object) -> None:
    if level == _DEBUG_LEVEL:
        return
    line = text.decode("utf-8", "replace")
    sys.stderr.write(line)
    if level == _ERROR_LEVEL and line.strip():
        _errors.append(line.strip())
