"""Which files of a folder are a published data set's, and which split each of them is.

A data set goes round in several forms. Those of a folder are tried in the order in which they stand here, the original
one first; the first whose training file is there is taken, and what else would have fitted is told.
"""

from __future__ import annotations

import errno
import itertools
import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath

from ..errors import UserInputError
from ..records import Split
from .casehold import read_casehold
from .casehold_json import read_casehold_json
from .published import Published
from .snips import read_slot_gated, read_snips_intent
from .sst2 import read_sst2
from .trec import read_trec
from .uniform import read_uniform

Read = Callable[[Path], Published]

_LEXGLUE_DEV, _LEXGLUE_TEST, _LEXGLUE_END = 45_000, 48_900, 52_500
"""Where LexGLUE (Chalkidis et al. 2022) divides casehold.csv, by the number of the record from 0."""

_MOST_NAMES = 6
"""Of a folder's entries, in a message."""


@dataclass(frozen=True, slots=True)
class SplitFiles:
    """The names that a split's files have, as patterns below the folder: the first that fits is the one."""

    patterns: tuple[str, ...]
    read: Read


@dataclass(frozen=True, slots=True)
class Form:
    """One way in which a data set is published."""

    name: str
    splits: Mapping[Split, SplitFiles]


@dataclass(frozen=True, slots=True)
class Distribution:
    """The files of a folder that are a data set's, by split, and others that would have fitted: files, and folders in
    it that have the data set once more.
    """

    form: Form
    files: Mapping[Split, tuple[Path, ...]]
    unused: tuple[Path, ...]


def _form(name: str, read: Read, **patterns: tuple[str, ...]) -> Form:
    return Form(name, {Split(split): SplitFiles(names, read) for split, names in patterns.items()})


_UNIFORM = _form(
    'JSONL with "question" and "answer"',
    read_uniform,
    train=("train.jsonl",),
    dev=("dev.jsonl", "valid.jsonl", "validation.jsonl"),
    test=("test.jsonl",),
)

FORMS: Mapping[str, tuple[Form, ...]] = {
    "gsm8k": (
        _form(
            "grade-school-math's JSONL",
            read_uniform,
            train=("grade_school_math/data/train.jsonl",),
            test=("grade_school_math/data/test.jsonl",),
        ),
        _UNIFORM,
    ),
    "casehold": (
        _form(
            "CaseHOLD's CSV, divided",
            read_casehold,
            train=("train.csv",),
            dev=("dev.csv", "val.csv"),
            test=("test.csv",),
        ),
        Form(
            "CaseHOLD's CSV as a whole, divided as LexGLUE does",
            {
                Split.TRAIN: SplitFiles(("casehold.csv",), partial(read_casehold, last=_LEXGLUE_DEV)),
                Split.DEV: SplitFiles(
                    ("casehold.csv",), partial(read_casehold, first=_LEXGLUE_DEV, last=_LEXGLUE_TEST)
                ),
                Split.TEST: SplitFiles(
                    ("casehold.csv",),
                    partial(read_casehold, first=_LEXGLUE_TEST, last=_LEXGLUE_END, tells_rest=True),
                ),
            },
        ),
        _form(
            "JSON of LexGLUE's rows or of this program's",
            read_casehold_json,
            train=("train.json", "train.jsonl", "case_hold*.jsonl", "casehold*.json"),
            dev=("dev.json", "dev.jsonl", "valid.jsonl", "validation.json", "validation.jsonl"),
            test=("test.json", "test.jsonl"),
        ),
    ),
    "snips": (
        _form(
            "SNIPS' JSON, a file for each intent; validate is the test split",
            read_snips_intent,
            train=("train_*_full.json", "*/train_*_full.json", "2017-06-custom-intent-engines/*/train_*_full.json"),
            test=("validate_*.json", "*/validate_*.json", "2017-06-custom-intent-engines/*/validate_*.json"),
        ),
        _form(
            "SlotGated-SLU's seq.in and label",
            read_slot_gated,
            train=("train/seq.in", "snips/train/seq.in"),
            dev=("valid/seq.in", "snips/valid/seq.in"),
            test=("test/seq.in", "snips/test/seq.in"),
        ),
        _UNIFORM,
    ),
    "trec": (
        _form(
            "the release of Li and Roth",
            read_trec,
            train=("train_5500.label", "train_5500.label.txt"),
            test=("TREC_10.label", "TREC_10.label.txt"),
        ),
        _UNIFORM,
    ),
    "sst2": (
        _form(
            "TSV with GLUE's header or none",
            read_sst2,
            train=("train.tsv", "SST-2/train.tsv"),
            dev=("dev.tsv", "SST-2/dev.tsv"),
            test=("test.tsv", "SST-2/test.tsv"),
        ),
        _form(
            "SentEval's files",
            read_sst2,
            train=("sentiment-train",),
            dev=("sentiment-dev",),
            test=("sentiment-test",),
        ),
        _UNIFORM,
    ),
}


def find_distribution(data_set: str, folder: Path) -> Distribution:
    """Raises UserInputError, naming the files that are looked for, when the folder has no training file of any form."""
    there_is = _entries(folder)
    within = _within(data_set, there_is)
    there = [
        (form, {split: found[0] for split, files in form.splits.items() if (found := _matches(folder, files.patterns))})
        for form in FORMS[data_set]
    ]
    usable = [(form, files) for form, files in there if Split.TRAIN in files]
    if not usable:
        raise UserInputError(
            f"{folder}: has no training file of {data_set} that is known; {_named(there_is)}\n"
            + "\n".join(expected_files(data_set)),
            "\n".join(
                f"There is {file.relative_to(folder)}: --data {shlex.quote(str(place))}" for place, file in within
            )
            or "Name the folder that has them with --data.",
        )
    form, files = usable[0]
    used = {path for paths in files.values() for path in paths}
    fitting = {
        path
        for other in FORMS[data_set]
        for of_split in other.splits.values()
        for paths in _matches(folder, of_split.patterns)
        for path in paths
    }
    fitting |= {place for place, _ in within if not any(path.is_relative_to(place) for path in used | fitting)}
    return Distribution(form, files, tuple(sorted(fitting - used)))


def _entries(folder: Path) -> list[Path]:
    """What is in a folder but for hidden names. Raises UserInputError when it can't be looked into."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        for entry in entries:
            entry.is_dir()  # which fails where names can be read and nothing else
        return entries
    except NotADirectoryError:
        what = "is a file, not a folder"
    except FileNotFoundError:
        what = "no such folder"
    except OSError as error:
        what = f"can't be read: {error.strerror}"
    raise UserInputError(f"{folder}: {what}", "Name the folder that has the data set's files.")


def _within(data_set: str, entries: Iterable[Path]) -> list[tuple[Path, Path]]:
    """Those of a folder's entries that are a folder with a training file themselves, and its first such file. Files of
    one name are in many data sets, so the path must have that of the data set.
    """
    found = []
    for entry in entries:
        letters = "".join(filter(str.isalnum, os.path.realpath(entry).lower()))
        if data_set in letters and entry.is_dir():
            of_forms = (_matches(entry, form.splits[Split.TRAIN].patterns) for form in FORMS[data_set])
            found += [(entry, paths[0][0]) for paths in itertools.islice(filter(None, of_forms), 1)]
    return found


def _named(entries: Sequence[Path]) -> str:
    """What a folder has, as far as it goes in a line."""
    if not entries:
        return "it is empty"
    names = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries]
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    return f"it has {', '.join(names[:_MOST_NAMES])}{more}"


def expected_files(data_set: str) -> list[str]:
    """The names that are looked for, a line for each form."""
    lines = ["Known are the following; a training file is needed, the others are welcome:"]
    for form in FORMS[data_set]:
        names = ", ".join(f"{split} is {' or '.join(files.patterns)}" for split, files in form.splits.items())
        lines.append(f"- {form.name}: {names}")
    return lines


def _matches(folder: Path, patterns: Iterable[str]) -> list[tuple[Path, ...]]:
    """The files that fit each pattern that some do, in the order of the patterns.

    Raises UserInputError when a folder on the way to them can't be looked into: what is in it would be missing without
    a word.
    """
    found = []
    for pattern in patterns:
        for above in PurePath(pattern).parents[:-1]:
            _require_readable(folder.glob(str(above)))
        found.append(tuple(sorted(path for path in folder.glob(pattern) if path.is_file())))
    return [paths for paths in found if paths]


def _require_readable(places: Iterable[Path]) -> None:
    """Those that are folders; `glob` passes over what it may not read."""
    for place in places:
        if place.is_dir() and not os.access(place, os.R_OK | os.X_OK):
            raise UserInputError(
                f"{place}: can't be read: {os.strerror(errno.EACCES)}", "Change its permissions, or move it away."
            )
