"""JSON as the published code writes it: objects in a list, or one a line. None is repaired or left out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..encoding import REMEDY, UTF16_REMEDY, wide_encoding
from ..errors import DataError, UserInputError

RESULTS_FIELDS = (
    'A row of results needs "question" and "text": what the student wrote, with the prompt still before it or not.'
)
SEED_FIELDS = 'A seed needs "question" and "answer", or "instruction" and "output".'


@dataclass(frozen=True, slots=True)
class JsonRow:
    """An object and where it stands: `number` in `place` ("test.jsonl", "seeds.json entry"), counted from 1.

    `needs`: a sentence on the fields that are expected, for whoever has given the wrong file.
    """

    place: str
    number: int
    fields: Mapping[str, Any]
    needs: str

    @property
    def where(self) -> str:
        return f"{self.place}:{self.number}"

    def text(self, name: str) -> str:
        """Raises DataError when there is no such field, or it isn't text."""
        if name not in self.fields:
            there = ", ".join(sorted(self.fields)[:10]) or "nothing"
            raise DataError(f"{self.where}: has no {name!r}, only {there}", self.needs)
        value = self.fields[name]
        if not isinstance(value, str):
            raise DataError(f"{self.where}: {name!r} isn't text", "Write it as text in quotes.")
        return value


def rows_of_lines(path: Path, needs: str) -> Iterator[JsonRow]:
    """Of a .jsonl file; blank lines are skipped. `needs`: see JsonRow."""
    for number, line in enumerate(_text_of(path).split("\n"), start=1):
        if line.strip():
            yield _row(str(path), number, _decoded(line, f"{path}:{number}"), needs)


def rows_of_list(path: Path, needs: str) -> Iterator[JsonRow]:
    """Of a .json file, which may be a single line: its entries are counted. `needs`: see JsonRow."""
    entries = _decoded(_text_of(path), str(path))
    if not isinstance(entries, list):
        raise DataError(f"{path}: isn't a list of JSON objects", "Is this the file that you mean?")
    for number, entry in enumerate(entries, start=1):
        yield _row(f"{path} entry", number, entry, needs)


def _text_of(path: Path) -> str:
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # reading a pipe would wait, perhaps forever
            raise UserInputError(f"{path}: is no file but a pipe or a device", "Write what it has into a file.")
        raw = path.read_bytes()
    except FileNotFoundError:
        raise UserInputError(f"{path}: no such file", "Check the path.") from None
    except IsADirectoryError:
        raise UserInputError(f"{path}: is a folder", "Name a file in it.") from None
    except OSError as error:
        raise UserInputError(f"{path}: can't be read: {error.strerror}", "Check its permissions.") from None
    if wide := wide_encoding(raw):
        raise DataError(f"{path}: is {wide}, not UTF-8", UTF16_REMEDY)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: not valid UTF-8", REMEDY) from None


def _decoded(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}" if "\n" in text else f"column {error.colno}"
        raise DataError(
            f"{where}: broken JSON: {error.msg} ({at})",
            "What was being written when a program was ended is cut off: have the file written anew.",
        ) from None
    except (RecursionError, ValueError):  # nested too deeply; a number of more digits than Python reads
        raise DataError(f"{where}: not JSON that can be read", "Is this the file that you mean?") from None


def _row(place: str, number: int, value: Any, needs: str) -> JsonRow:
    if not isinstance(value, dict):
        raise DataError(f"{place}:{number}: not a JSON object", needs)
    return JsonRow(place, number, value, needs)
