"""SST-2 (Socher et al. 2013) in its usual forms: a sentence, a tab, and 1 for positive or 0 for negative.

GLUE's files have a header, which other exports give further columns, and SentEval's have none. There is no quoting: a
quote is part of the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .published import Found, Published, Skip, decode, published, read_bytes

LABELS = {"0": "negative", "1": "positive"}

_COLUMNS = ["sentence", "label"]
_HEADER_WITHOUT_LABELS = ["index", "sentence"]


def read_sst2(path: Path) -> Published:
    """A file of one split; GLUE's test.tsv, which has no labels, has no rows.

    Raises DataError when it can't be read.
    """
    decoded = decode(read_bytes(path))
    return published(path, _found(decoded.text), decoded.notes)


def _found(text: str) -> Iterator[Found | Skip]:
    lines = text.split("\n")
    header = [name.strip() for name in lines[0].split("\t")]
    if header == _HEADER_WITHOUT_LABELS:
        yield Skip(1, "the whole file: it has no labels, as GLUE keeps those of its test split")
        return
    has_header = set(_COLUMNS) <= set(header)
    columns = header if has_header else _COLUMNS
    for number, line in enumerate(lines[has_header:], start=1 + has_header):
        if not line.strip():
            continue
        values = dict(zip(columns, line.split("\t"), strict=False))
        label = values.get("label", "").strip()
        if line.count("\t") != len(columns) - 1:
            yield Skip(number, f"does not have {len(columns)} columns")
        elif label not in LABELS:
            yield Skip(number, "has neither 0 nor 1 for a label")
        else:
            yield Found(number, values["sentence"], LABELS[label])
