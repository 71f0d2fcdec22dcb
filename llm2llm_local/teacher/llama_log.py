"""What llama.cpp says: to standard error, which is the worker's log; its errors are kept for our messages.

What it says for its own developers is left out: pages of it with each new context.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import llama_cpp

_STDERR = 2
_DEBUG_LEVEL, _ERROR_LEVEL = 1, 4
"""GGML_LOG_LEVEL_DEBUG and GGML_LOG_LEVEL_ERROR in ggml.h."""

_errors: list[str] = []


@contextmanager
def collected_errors() -> Iterator[list[str]]:
    """The errors of the calls in the block, oldest first; filled as they come."""
    _errors.clear()
    llama_cpp.llama_log_set(_receive, None)
    yield _errors


@contextmanager
def printed() -> Iterator[Callable[[], str]]:
    """What the calls in the block write to standard error by themselves, for after the block; it isn't logged.

    The parser of grammars prints its reasons, and logs only that there is one.
    """
    sys.stderr.flush()
    own = os.dup(_STDERR)
    try:
        with os.fdopen(os.memfd_create("llama.cpp"), "w+b") as file:  # no folder need be writable
            os.dup2(file.fileno(), _STDERR)
            yield lambda: text
            file.seek(0)
            text = file.read().decode("utf-8", "replace")
    finally:
        os.dup2(own, _STDERR)
        os.close(own)


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _receive(level: int, text: bytes, _: object) -> None:
    if level == _DEBUG_LEVEL:
        return
    line = text.decode("utf-8", "replace")
    sys.stderr.write(line)
    if level == _ERROR_LEVEL and line.strip():
        _errors.append(line.strip())
