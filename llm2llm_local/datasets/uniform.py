"""JSONL with a question and an answer a line, which is also how GSM8K is published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from .published import Found, Published, Skip, decode, published, read_bytes


def read_uniform(path: Path) -> Published:
    """A JSONL file with the keys `question` and `answer`; others are ignored.

    Raises DataError when it can't be read.
    """
    decoded = decode(read_bytes(path))
    return published(path, _found(decoded.text), decoded.notes)


def _found(text: str) -> Iterator[Found | Skip]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            yield Skip(number, "broken JSON")
            continue
        question, answer = (fields.get(key) for key in ("question", "answer")) if isinstance(fields, dict) else (0, 0)
        if isinstance(question, str) and isinstance(answer, str):
            yield Found(number, question, answer)
        else:
            yield Skip(number, "no question and answer as text")
