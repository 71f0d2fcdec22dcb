"""JSONL with a question and an answer a line, which is also how GSM8K is published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .published import Found, Published, Skip, decode, published, read_bytes


def read_uniform(path: Path) -> Published:
    """A JSONL file with the keys `question` and `answer`; others are ignored.

    Raises DataError when it can't be read.
    """
    decoded = decode(read_bytes(path))
    return published(path, _found(decoded.text), decoded.notes)


class _RepeatedKey(Exception):
    """The json module would silently take the last value."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise _RepeatedKey
    return fields


def _found(text: str) -> Iterator[Found | Skip]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line, object_pairs_hook=_object)
        except _RepeatedKey:
            yield Skip(number, "a key is there more than once")
            continue
        except (ValueError, RecursionError):
            yield Skip(number, "broken JSON")
            continue
        question, answer = (fields.get(key) for key in ("question", "answer")) if isinstance(fields, dict) else (0, 0)
        if isinstance(question, str) and isinstance(answer, str):
            yield Found(number, question, answer)
        else:
            yield Skip(number, "no question and answer as text")
