"""SST-2 (Socher et al. 2013) in its usual forms: a sentence, a tab, and 1 for positive or 0 for negative.

GLUE's files have a header, others (SentEval's among them) have none. There is no quoting: a quote is part of the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .published import Found, Published, Skip, decode, published, read_bytes

LABELS = {"0": "negative", "1": "positive"}

_HEADER = ["sentence", "label"]
_HEADER_WITHOUT_LABELS = ["index", "sentence"]


def read_sst2(path: Path) -> Published:
    """A file of one split; GLUE's test.tsv, which has no labels, has no rows.

    Raises DataError when it can't be read.
    """
    decoded = decode(read_bytes(path))
    return published(path, _found(decoded.text), decoded.notes)


def _found(text: str) -> Iterator[Found | Skip]:
    lines = text.split("\n")
    header = lines[0].split("\t")
    if header == _HEADER_WITHOUT_LABELS:
        yield Skip(1, "the whole file: it has no labels, as GLUE keeps those of its test split")
        return
    for number, line in enumerate(lines, start=1):
        if not line.strip() or (number == 1 and header == _HEADER):
            continue
        sentence, tab, label = line.rpartition("\t")
        if tab and label.strip() in LABELS:
            yield Found(number, sentence, LABELS[label.strip()])
        else:
            yield Skip(number, "does not end in a tab and 0 or 1")
