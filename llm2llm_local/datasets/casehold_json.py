"""CaseHOLD's rows as JSON, one array or an object a line, in the forms that go round.

LexGLUE's and its exports name the citing text `context`, `citing_prompt` or `text`, the holdings `endings`, `holdings`
or `holding_0` and on, and the right one's number `label`. The instruction-following form wraps all of it into a prompt,
`input_text`, with the holdings in `choices` and the right one's text as `answer`. Rows with `question` and `answer`, as
this program writes them, are taken as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from ..errors import DataError
from ..tasks.options import OptionsError, split_options
from .casehold import found_holding
from .published import Found, Published, Skip, decode, published, read_bytes

_STEMS = ("citing_prompt", "context", "text")
_LISTS = ("endings", "holdings")
_EXCERPT = re.compile(r'court opinion:\n"(.*)"\n\nThe \[Masked Holding\] is', re.DOTALL)


def read_casehold_json(path: Path) -> Published:
    """A row's line is its number where the file is one array. Raises DataError when it can't be read."""
    decoded = decode(read_bytes(path))
    return published(path, _found(path, decoded.text), decoded.notes)


def _found(path: Path, text: str) -> Iterator[Found | Skip]:
    if not text.lstrip().startswith("["):
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield _row(number, _object(line))
        return
    try:
        items = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: broken JSON: {error}", "Take the file anew from where it was published.") from None
    for number, item in enumerate(items, start=1):
        yield _row(number, item)


def _object(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _row(number: int, item: Any) -> Found | Skip:
    if not isinstance(item, dict):
        return Skip(number, "not a JSON object")
    if isinstance(item.get("question"), str) and isinstance(item.get("answer"), str):
        return _as_it_is(number, item["question"], item["answer"])
    if isinstance(item.get("input_text"), str):
        return _unwrapped(number, item)
    stem = next((item[key] for key in _STEMS if isinstance(item.get(key), str)), None)
    holdings = next((item[key] for key in _LISTS if isinstance(item.get(key), list)), None)
    if holdings is None:
        holdings = [item[key] for key in sorted(item) if re.fullmatch(r"holding_\d", key)]
    if stem is None or not _are_texts(holdings):
        return Skip(number, "no citing text with holdings")
    return found_holding(number, stem, holdings, item.get("label"))


def _as_it_is(number: int, question: str, answer: str) -> Found | Skip:
    try:
        split_options(question)
    except OptionsError as error:
        return Skip(number, str(error))
    return Found(number, question, answer)


def _unwrapped(number: int, item: Mapping[str, Any]) -> Found | Skip:
    """A row of the instruction-following form without its prompt, and with the marker that CaseHOLD has."""
    excerpt, choices = _EXCERPT.search(item["input_text"]), item.get("choices")
    if excerpt is None or not _are_texts(choices) or item.get("answer") not in choices:
        return Skip(number, "a prompt of another form")
    stem = excerpt[1].replace("[Masked Holding]", "<HOLDING>")
    return found_holding(number, stem, choices, choices.index(item["answer"]))


def _are_texts(items: Any) -> TypeGuard[list[str]]:
    """Whether it is a list of texts that isn't empty."""
    return isinstance(items, list) and bool(items) and all(isinstance(item, str) for item in items)
