"""What travels over the pipe between the run process and a worker.

Both ends are this program, the parent having started the child; the standard library's framing and
serialisation of `multiprocessing.connection` are used as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """Run a method of the engine."""

    method: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Progressed:
    """A sign of life while a call is worked on: what the engine tells the function it was given for that."""

    figures: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Returned:
    """The call's result."""

    value: Any


@dataclass(frozen=True, slots=True)
class Refused:
    """The call can't be done, and trying again won't help: a user's mistake or a full disk."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Crashed:
    """The engine raised something unforeseen; the worker ends, its traceback in its log."""

    summary: str


Answer = Progressed | Returned | Refused | Crashed
