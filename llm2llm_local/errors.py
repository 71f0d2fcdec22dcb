"""The one error tree: every error says what is wrong, where, and what to do next.

The command line maps each class to an exit code and prints the message alone; only an error that is not
one of these is a defect of the program and shows a traceback.
"""

from __future__ import annotations

from typing import Literal

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USER_INPUT = 2
EXIT_RESUMABLE = 3

_ENDS_OF_SENTENCES = (".", "!", "?", ":", ";", ",", "…")


class Llm2LlmError(Exception):
    """Base of all errors that a person is meant to read.

    `message` says what is wrong and where; `remedy` says what to do next (may be empty when the message
    already does). As text they are sentences of their own, since who shows it may put both on one line.
    """

    exit_code = EXIT_FAILED

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        if not self.remedy:
            return self.message
        stop = "" if self.message.endswith(_ENDS_OF_SENTENCES) else "."
        return f"{self.message}{stop}\n{self.remedy}"


class UserInputError(Llm2LlmError):
    """What the person gave (a file, a value, a command) can't be used. Nothing was changed."""

    exit_code = EXIT_USER_INPUT


class ConfigError(UserInputError):
    """The TOML file or a `--set` override is not a valid configuration."""


class DataError(UserInputError):
    """A data file can't be used; the message names the file and the line."""


class ModelError(UserInputError):
    """A model file or folder can't be used."""


class StoreError(UserInputError):
    """The store is missing, unreadable, newer than this program, or lacks what was asked for."""


class NoHistoryError(StoreError):
    """There is no store yet, or none with a run in it."""


class HistoryGoneError(StoreError):
    """The store was there while the program was at work, and is no longer."""


class OutdatedStoreError(StoreError):
    """The store was made by an earlier version and lacks what this one reads; a writer brings it up to date."""


class RunBusyError(UserInputError):
    """Another process is working on this run."""


class ChangedSinceStartError(UserInputError):
    """Something that affects the results differs from when the run started."""


class RunFailedError(Llm2LlmError):
    """The run could not go on; what was finished is in the store and `resume` continues from there."""


class DiskError(RunFailedError):
    """Writing failed (a full disk, most often); the last complete unit of work is safe."""


class OutOfMemoryError(RunFailedError):
    """A model, its keys and values or a forward pass don't fit into the device's memory as planned.

    The message says what was asked for. `what` didn't fit: the model's "weights", which only fewer layers on the GPU
    make smaller, or the "context" with its buffers, which a smaller plan does.
    """

    def __init__(self, message: str, remedy: str = "", what: Literal["weights", "context"] = "context") -> None:
        super().__init__(message, remedy)
        self.what = what


class WorkerError(RunFailedError):
    """A worker process failed at the same unit of work more often than it is retried."""


class RunStoppedError(Llm2LlmError):
    """The person stopped the run; it is resumable."""

    exit_code = EXIT_RESUMABLE


class NetworkRefusedError(Llm2LlmError):
    """Something tried to reach the network; this program never does."""
