"""SNIPS intents (Coucke et al. 2018) as published: a JSON file for each intent, its utterances cut into slots.

{"PlayMusic": [{"data": [{"text": "play "}, {"text": "Yo Ho", "entity": "track"}]}, …]}
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import DataError
from .published import Found, Published, Skip, decode, published, read_bytes


def read_snips_intent(path: Path) -> Published:
    """A `train_*.json` or `validate_*.json`; a row's line is the number of its utterance, since JSON has no lines.

    Raises DataError when the file can't be read or isn't such JSON.
    """
    decoded = decode(read_bytes(path))
    try:
        content = json.loads(decoded.text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: broken JSON: {error}", "Take the file anew from where it was published.") from None
    if not isinstance(content, dict) or not all(isinstance(items, list) for items in content.values()):
        raise DataError(
            f"{path}: is no JSON of an intent with its utterances",
            'SNIPS has such as {"PlayMusic": [{"data": [{"text": "play "}, …]}, …]}.',
        )
    found = [
        _found(number, item, intent) for intent, items in content.items() for number, item in enumerate(items, start=1)
    ]
    return published(path, found, decoded.notes)


def _found(number: int, item: Any, intent: str) -> Found | Skip:
    try:
        texts = [part["text"] for part in item["data"]]
        return Found(number, " ".join("".join(texts).split()), intent)
    except (KeyError, TypeError):
        return Skip(number, "an utterance without texts")


def read_slot_gated(path: Path) -> Published:
    """The form of SlotGated-SLU (Goo et al. 2018): `path` is a `seq.in`, an utterance a line; `label` beside it has
    their intents.

    Raises DataError when one can't be read, or they have different numbers of lines.
    """
    utterances, labels = (decode(read_bytes(path.with_name(name))) for name in (path.name, "label"))
    questions, intents = (decoded.text.rstrip("\n").split("\n") for decoded in (utterances, labels))
    if len(questions) != len(intents):
        raise DataError(
            f"{path}: has {len(questions):,} lines, and label beside it {len(intents):,}",
            "Take both files from the same place.",
        )
    return published(path, _paired(questions, intents), [*utterances.notes, *labels.notes])


def _paired(questions: list[str], intents: list[str]) -> Iterator[Found]:
    for number, (question, intent) in enumerate(zip(questions, intents, strict=True), start=1):
        yield Found(number, question, intent)
