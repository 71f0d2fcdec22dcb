"""Reading the person's files: JSONL, CSV or TSV, a question and an answer a row.

What always holds: a file is read once, a line at a time, and its hash is of the very bytes that became rows.
A row is taken as it is or refused, with the file and the line; none is repaired, guessed or left out. Text
stays as the person wrote it but for whitespace around it. It isn't Unicode-normalised either: that would
change what the model learns to write, and two spellings of a word are for the person to unify.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import itertools
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from ..config import DataConfig, SampleConfig
from ..encoding import MARK, REMEDY, UNFIT_REMEDY, UTF16_REMEDY, unfit_character, wide_encoding
from ..errors import DataError
from ..records import DataRow, Split
from ..spelling import difference, look, shown
from .repeats import describe_repeats

MAX_LINE_BYTES = 1_000_000
"""Longest line, its end included. Far more than a student can be trained on, so a longer one isn't a data row."""

_JSON_SUFFIXES = (".jsonl", ".ndjson")
_QUOTED_LATE = re.compile(r'\s+"[^"]*"\s*')
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_DELIMITER_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}
_OFFICE_FILES = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""How zip files begin, which .xlsx and .ods are, and .xls."""

PATH_REMEDY = "Check the path; a relative one counts from the configuration file's folder."
_COLUMNS_REMEDY = "Rename the column, or name the right one in data.question_column and data.answer_column."
_JSON_REMEDY = 'Every line must be one JSON object such as {"question": "…", "answer": "…"}.'
_TABLE_REMEDY = 'Close every quote that is opened, and write a quote inside a quoted field twice: "".'

_CR_ALONE = "has a line end of old Macs, CR alone"
_CR_REMEDY = "Save the file with the line ends of Unix, LF, or of Windows, CRLF."

# A row as its file has it: the line on which it starts, and its fields by name.
_Record = tuple[int, Mapping[str, object]]

# A row of a table: the line on which it starts, its cells, and its text in the file.
_TableRow = tuple[int, list[str], str]


@dataclass(frozen=True, slots=True)
class LoadedData:
    """The rows of all splits, in file order, and what there is to say about them.

    `rows` has all three splits; one that isn't configured is empty. `sha256`: "data.train" and the like →
    hex digest of the whole file, for configured files only. `findings`: warnings, a line each.
    """

    rows: Mapping[Split, tuple[DataRow, ...]]
    sha256: Mapping[str, str]
    findings: tuple[str, ...]


def load_splits(config: DataConfig) -> LoadedData:
    """Read the configured files and take the configured samples.

    Raises DataError for a file that can't be used (see `read_rows`).
    """
    rows: dict[Split, tuple[DataRow, ...]] = dict.fromkeys(Split, ())
    sha256: dict[str, str] = {}
    for split, path, sample in (
        (Split.TRAIN, config.train, config.sample),
        (Split.DEV, config.dev, config.dev_sample),
        (Split.TEST, config.test, config.test_sample),
    ):
        if path is None:
            continue
        every_row, sha256[f"data.{split}"] = _read(path, config.question_column, config.answer_column)
        rows[split] = _sampled(every_row, sample)
    return LoadedData(rows, sha256, describe_repeats(rows))


def read_rows(path: Path, question_column: str, answer_column: str) -> list[DataRow]:
    """The rows of a .jsonl, .ndjson, .csv or .tsv file, in file order; at least one.

    UTF-8, with or without a byte-order mark at the start. Tables have a header and CSV's quoting, TSV too. Blank
    lines are skipped. Numbers are taken as JSON answers, spelt as in the file. Raises DataError, whose message
    begins with the path and, where there is one, the line on which the row starts: for a file that can't be
    opened or has no rows, text that isn't UTF-8 or has control characters, a line over `MAX_LINE_BYTES`, broken
    JSON or quoting, a missing or repeated column, and an empty or non-text value.
    """
    rows, _ = _read(path, question_column, answer_column)
    return rows


def _read(path: Path, question_column: str, answer_column: str) -> tuple[list[DataRow], str]:
    """The rows, and the SHA-256 of the file's bytes."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file, _long_csv_fields():
            records = _records(path, _lines(path, file, digest.update), (question_column, answer_column))
            rows = [_row(path, record, question_column, answer_column) for record in records]
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", PATH_REMEDY) from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder", "Name a file in it.") from None
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}", "Check the path and its permissions.") from None
    if not rows:
        raise DataError(f"{path}: has no rows", "Put at least one question with its answer into it.")
    return rows, digest.hexdigest()


def _records(path: Path, lines: Iterator[str], columns: Sequence[str]) -> Iterator[_Record]:
    suffix = path.suffix.lower()
    if suffix in _JSON_SUFFIXES:
        return _json_records(path, lines, columns)
    if suffix in _DELIMITERS:
        return _table_records(path, lines, _DELIMITERS[suffix], columns)
    ending = f"the ending {suffix!r} is" if suffix else "a name without an ending is"
    raise DataError(f"{path}: {ending} not supported", f"Supported are {', '.join((*_JSON_SUFFIXES, *_DELIMITERS))}.")


def _lines(path: Path, file: BinaryIO, on_bytes: Callable[[bytes], None]) -> Iterator[str]:
    """Lines with their ends, split at LF alone as editors count them (`str` would split at U+2028 too)."""
    # A bounded readline, since a file without line ends would come into memory whole.
    for number, raw in enumerate(iter(partial(file.readline, MAX_LINE_BYTES + 1), b""), start=1):
        if number == 1:
            _refuse_other_kinds(path, raw)
        if len(raw) > MAX_LINE_BYTES:
            raise DataError(
                f"{path}:{number}: longer than {MAX_LINE_BYTES:,} bytes",
                "Shorten the row; if all rows are on this line, give each its own.",
            )
        on_bytes(raw)
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}:{number}: not valid UTF-8 at byte {error.start + 1} of the line", REMEDY) from None
        if number == 1:
            line = line.removeprefix(MARK)
        if line.startswith(MARK):
            raise DataError(
                f"{path}:{number}: begins with a byte-order mark, U+FEFF",
                "Delete it: it belongs at the start of a file alone. Files that were put together bring theirs along.",
            )
        yield line


def _refuse_other_kinds(path: Path, start: bytes) -> None:
    """A file that another program has saved in its own way, whatever its name says."""
    if wide := wide_encoding(start):
        raise DataError(f"{path}: is {wide}, not UTF-8", UTF16_REMEDY)
    if start.startswith(_OFFICE_FILES):
        raise DataError(f"{path}: is an Excel or zip file, not text", "Open it there and export it as CSV in UTF-8.")


@contextmanager
def _long_csv_fields() -> Iterator[None]:
    """Let a table's field be as long as a line may be: the csv module's limit is lower, and global."""
    before = csv.field_size_limit(MAX_LINE_BYTES)
    try:
        yield
    finally:
        csv.field_size_limit(before)


class _Number(str):
    """A JSON number as the file spells it: 1.10 must not become 1.1, nor a long one lose digits."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; where a key is repeated, the json module would silently take the last."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError(f"the key {_repeated(key for key, _ in pairs)} is there more than once")
    return fields


_JSON = json.JSONDecoder(parse_int=_Number, parse_float=_Number, object_pairs_hook=_object)


def _json_records(path: Path, lines: Iterator[str], columns: Sequence[str]) -> Iterator[_Record]:
    has_complete_row = False
    for number, line in enumerate(lines, start=1):
        text = line.rstrip(" \t\r\n")  # JSON's whitespace: a bare rstrip would hide control characters
        if not text:
            continue
        where = f"{path}:{number}"
        try:
            fields = _JSON.decode(text)
        except json.JSONDecodeError as error:
            if "\r" in text:
                raise DataError(f"{where}: {_CR_ALONE}", _CR_REMEDY) from None
            raise DataError(f"{where}: broken JSON: {error.msg} (column {error.pos + 1})", _JSON_REMEDY) from None
        except ValueError as error:
            raise DataError(f"{where}: {error}", "Keep one of them.") from None
        except RecursionError:
            raise DataError(f"{where}: JSON nested too deeply", _JSON_REMEDY) from None
        if not isinstance(fields, dict):
            raise DataError(f"{where}: not a JSON object", _JSON_REMEDY)
        if has_complete_row:
            _require_complete(columns, list(fields), where)
        else:
            _require(columns, list(fields), where, f"{_COLUMNS_REMEDY} If this row alone lacks it, fill it in.")
        has_complete_row = True
        yield number, fields


def _table_records(path: Path, lines: Iterator[str], delimiter: str, columns: Sequence[str]) -> Iterator[_Record]:
    rows = _table_rows(path, lines, delimiter)
    first = next(rows, None)
    if first is None:
        return
    header = _header(path, first, delimiter, columns)
    for line, cells, raw in rows:
        if len(cells) != len(header):
            raise DataError(
                f"{path}:{line}: the header names {len(header)} columns, this row has {len(cells)}",
                "Quote a field that has the separator or a line break in it, and close every quote.",
            )
        fields = dict(zip(header, cells, strict=True))
        for column in columns:
            # A field in quotes of its own may well be such a text: its inner quotes are doubled in the file.
            if _QUOTED_LATE.fullmatch(fields[column]) and fields[column] in raw:
                raise DataError(
                    f"{path}:{line}: {shown(column)} has a blank before its quotes, which then are part of the text",
                    "Delete the blank between the separator and the quote.",
                )
        yield line, fields


def _header(path: Path, row: _TableRow, delimiter: str, columns: Sequence[str]) -> list[str]:
    """The columns' names, without whitespace around them."""
    line, cells, _ = row
    where = f"{path}:{line}"
    names = [cell.strip() for cell in cells]
    if names[0].lower().startswith("sep="):
        raise DataError(
            f"{where}: begins with a line for Excel, {shown(names[0])}",
            f"Delete that line; then the first row names the columns, with {_DELIMITER_NAMES[delimiter]} between them.",
        )
    if len(names) == 1:
        raise _one_column(where, names[0], delimiter)
    # Spreadsheets leave nameless columns behind; they can't be asked for, so they can't be mistaken.
    if repeated := _repeated(name for name in names if name):
        raise DataError(f"{where}: the column {repeated} is there more than once", "Rename or delete one of them.")
    _require(columns, names, where, _COLUMNS_REMEDY)
    return names


def _one_column(where: str, name: str, delimiter: str) -> DataError:
    """What to say of a header without a separator, or with another one: spreadsheets write a country's own."""
    wanted = _DELIMITER_NAMES[delimiter]
    other = max((one for one in _DELIMITER_NAMES if one != delimiter), key=name.count)
    if other not in name:
        return DataError(
            f"{where}: only one column, {shown(name)}",
            "The first row must name the columns; commas separate them in a .csv file, tabs in a .tsv file.",
        )
    endings = [ending for ending, separator in _DELIMITERS.items() if separator == other]
    rename = f" Or let its name end in {endings[0]}." if endings else ""
    return DataError(
        f"{where}: only one column, {shown(name)}: {_DELIMITER_NAMES[other]} seem to separate them, not {wanted}",
        f"Save it anew with {wanted} between the columns.{rename}",
    )


def _table_rows(path: Path, lines: Iterator[str], delimiter: str) -> Iterator[_TableRow]:
    """Rows that aren't blank: a quoted field may have line breaks."""
    raw: list[str] = []

    def remembered() -> Iterator[str]:
        for line in lines:
            raw.append(line)
            yield line

    reader = csv.reader(remembered(), delimiter=delimiter, strict=True)
    while True:
        start = reader.line_num + 1
        raw.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = str(error).partition(" - ")[0]  # what follows is advice on Python's open()
            if reason.startswith("new-line character"):
                raise DataError(f"{path}:{start}: {_CR_ALONE}", _CR_REMEDY) from None
            raise DataError(f"{path}:{start}: broken table: {reason}", _TABLE_REMEDY) from None
        if cells:
            yield start, cells, "".join(raw)


def _row(path: Path, record: _Record, question_column: str, answer_column: str) -> DataRow:
    line, fields = record
    where = f"{path}:{line}"
    answer = fields[answer_column]
    if isinstance(answer, _Number):
        answer = str(answer)
    return DataRow(
        question=_text(fields[question_column], question_column, where),
        answer=_text(answer, answer_column, where),
        source=str(path),
        line=line,
    )


def _text(value: object, column: str, where: str) -> str:
    """The value without whitespace around it."""
    if not isinstance(value, str) or isinstance(value, _Number):
        raise DataError(f"{where}: {shown(column)} is {_kind(value)}, not text", "Write it as text in quotes.")
    if unfit := unfit_character(value):
        raise DataError(f"{where}: {shown(column)} has {unfit}", UNFIT_REMEDY)
    text = value.strip()
    if not look(text):  # characters that show nothing aren't an answer either
        raise DataError(f"{where}: {shown(column)} is empty", "Fill it in, or delete the row.")
    return text


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case _Number():
            return "a number"
        case float():
            return "NaN or infinite"  # the json module takes these words, and real numbers are _Number
        case list():
            return "a list"
        case _:
            return "an object"


def _require(columns: Sequence[str], present: Sequence[str], where: str, remedy: str) -> None:
    """Raise DataError when one of `columns` isn't present."""
    for column in columns:
        if column in present:
            continue
        if not present:
            raise DataError(f"{where}: no column {shown(column)}; the object is empty", _JSON_REMEDY)
        others = [name for name in present if name not in columns]
        raise DataError(
            f"{where}: no column {shown(column)} among {_listed(present)}{_nearest(column, others)}", remedy
        )


def _require_complete(columns: Sequence[str], present: Sequence[str], where: str) -> None:
    """The same of a row behind others that have all columns: the names are right, and this row lacks something."""
    for column in columns:
        if column not in present:
            found = _nearest(column, present) or f"; it has {_listed(present) or 'nothing'}"
            raise DataError(
                f"{where}: this row has no {shown(column)}, as those before it have{found}",
                "Fill it in under that name, or delete the row.",
            )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(shown(name) for name in names[:10]) + (" …" if len(names) > 10 else "")


def _nearest(column: str, names: Sequence[str]) -> str:
    """Which of `names` may be meant by `column`, as the end of a message; nothing when none is like it."""
    for name in names:
        if look(name) == look(column):
            return f"; the nearest is {shown(name)}, which looks like it: {difference(column, name)}"
    near = difflib.get_close_matches(column, names, n=1)
    return f"; the nearest is {shown(near[0])}" if near else ""


def _repeated(names: Iterable[str]) -> str:
    """The first name that occurs twice, as shown to the person; empty when there is none."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return shown(name)
        seen.add(name)
    return ""


def _sampled(rows: Sequence[DataRow], sample: SampleConfig | None) -> tuple[DataRow, ...]:
    """The configured random part, in file order."""
    if sample is None or sample.n >= len(rows):
        return tuple(rows)
    rng = random.Random(sample.rng_seed)
    if sample.draw == "balanced":
        chosen = _balanced(rows, sample.n, rng)
    else:
        chosen = rng.sample(range(len(rows)), sample.n)
    return tuple(rows[index] for index in sorted(chosen))


def _balanced(rows: Sequence[DataRow], n: int, rng: random.Random) -> list[int]:
    """`n` places, dealt out label by label: no label has more than one row more than another, unless that has no more.

    Which labels those are that come out one ahead is drawn, too.
    """
    of_label: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        of_label.setdefault(row.answer, []).append(place)
    drawn = [rng.sample(places, len(places)) for _, places in sorted(of_label.items())]
    rng.shuffle(drawn)
    deals = itertools.chain.from_iterable(itertools.zip_longest(*drawn))
    return list(itertools.islice((place for place in deals if place is not None), n))
