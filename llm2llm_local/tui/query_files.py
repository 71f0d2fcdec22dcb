"""A person's own queries, a file each in the workspace's folder `queries`; and results, written where they want them.

All of it is readable by its owner only.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..encoding import UTF16_REMEDY, wide_encoding
from ..errors import UserInputError
from ..report.questions import Question

_FOLDER = "queries"
_MOST_CHARACTERS_OF_NAME = 60


def own_queries(workspace: Path) -> tuple[Question, ...]:
    """By name, those with a name that could be given here. One that can't be read says why, as a comment in SQL."""
    files = sorted(file for file in (workspace / _FOLDER).glob("*.sql") if _is_fit(file.stem))
    return tuple(Question(file.stem, _read(file)) for file in files)


def _read(file: Path) -> str:
    try:
        raw = file.read_bytes()
    except OSError as error:
        return f"-- {file}: {error.strerror}"
    if wide := wide_encoding(raw):
        return f"-- {file}: is {wide}, not UTF-8. {UTF16_REMEDY}"
    return raw.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")


def query_file(workspace: Path, name: str) -> Path:
    """Where a query of this name is kept. Raises UserInputError when a file can't be called so."""
    if not _is_fit(name):
        raise UserInputError(
            f"a query can't be called {name!r}",
            f'Take up to {_MOST_CHARACTERS_OF_NAME} characters other than / \\ : * ? " < > |, no dot first.',
        )
    return workspace / _FOLDER / f"{name}.sql"


def _is_fit(name: str) -> bool:
    is_sound = name.isprintable() and not set(name) & set('/\\:*?"<>|') and not name.startswith(".")
    return is_sound and 0 < len(name) <= _MOST_CHARACTERS_OF_NAME


def write_private(path: Path, text: str) -> None:
    """Write a file whole or not at all, replacing one that is there. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)  # of a try that was cut off, perhaps with another mode
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
