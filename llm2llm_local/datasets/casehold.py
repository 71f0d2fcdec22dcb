"""CaseHOLD (Zheng et al. 2021): a citing text with <HOLDING> in it, five holdings, and which of them is meant.

As published it is CSV with the columns citing_prompt, holding_0 to holding_4 and label (0 to 4); a column for the row's
number and the scores of a search are ignored. JSON forms go round as well: `casehold_json`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from ..errors import DataError
from ..tasks.options import Options, OptionsError, join_options, split_options
from .published import Found, Published, Skip, decode, published, read_bytes

_HOLDINGS = tuple(f"holding_{n}" for n in range(5))
_MOST_CHARACTERS = 40
"""Of what stands where a label should."""

_COLUMNS = ("citing_prompt", *_HOLDINGS, "label")


def read_casehold(path: Path, first: int = 0, last: int | None = None, *, tells_rest: bool = False) -> Published:
    """The records of a CSV file from the number `first` (from 0) to before `last`; the line is that of the file.
    `tells_rest`: what comes after them belongs to nothing else either, which is told.

    Raises DataError when the file can't be read or isn't such a table.
    """
    decoded = decode(read_bytes(path))
    found = _found(path, decoded.text)
    part = published(path, islice(found, first, last), decoded.notes)
    n_rest = sum(1 for _ in found) if tells_rest else 0
    if not n_rest:
        return part
    is_in_none = "row is in none of its splits" if n_rest == 1 else "rows are in none of its splits"
    return replace(part, notes=(*part.notes, f"{n_rest:,} further {is_in_none}"))


def _found(path: Path, text: str) -> Iterator[Found | Skip]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise DataError(
                f"{path}:1: no column {missing[0]}",
                f"CaseHOLD's files have the columns {', '.join(_COLUMNS)}.",
            )
        line = reader.line_num + 1
        for fields in reader:
            values = [fields[column] for column in _COLUMNS]
            if None in fields:  # where the csv module puts what is beyond the header's
                yield Skip(line, "more columns than the header names")
            elif any(value is None for value in values):
                yield Skip(line, "fewer columns than the header names")
            else:
                stem, *holdings, label = values
                yield found_holding(line, stem, holdings, label)
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}:{line}: broken table: {error}", "Take the file anew from where it was published."
        ) from None


def found_holding(line: int, stem: str, holdings: Sequence[str], label: object) -> Found | Skip:
    """A row with its options marked (A) and so on below the citing text, and the letter of label 0, 1 … as answer."""
    options = Options(_one_line(stem), tuple(_one_line(holding) for holding in holdings))
    number = str(label).strip().removesuffix(".0")
    if number not in map(str, range(len(holdings))):
        shown = label[:_MOST_CHARACTERS] if isinstance(label, str) else label
        return Skip(line, f"the label is {shown!r}, none of 0 to {len(holdings) - 1}")
    try:
        if split_options(join_options(options)).options != options.options:
            return Skip(line, "a holding looks like a mark of options")
    except OptionsError as error:
        return Skip(line, str(error))
    return Found(line, join_options(options), options.letters[int(number)])


def _one_line(text: str) -> str:
    """Line ends as blanks, since an option is a line; other blanks stay as the file has them."""
    return " ".join(text.strip().splitlines())
