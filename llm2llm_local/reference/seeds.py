"""The questions with their gold answers, in the two forms that the published code reads.

`{"question", "answer"}` is GSM8K's own, and `{"instruction", "output"}` is what the published code makes of it and of
other data sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError, UserInputError
from ..records import DataRow
from .json_rows import SEED_FIELDS, JsonRow, rows_of_lines, rows_of_list

_READERS = {".jsonl": rows_of_lines, ".json": rows_of_list}


@dataclass(frozen=True, slots=True)
class Seed:
    """`row`: question and gold answer. `is_instruction`: which of the two forms it has."""

    row: DataRow
    is_instruction: bool


@dataclass(frozen=True, slots=True)
class Seeds:
    """All of a file, in its order; at least one."""

    name: str
    seeds: tuple[Seed, ...]
    by_question: Mapping[str, tuple[Seed, ...]]

    @property
    def are_instructions(self) -> bool:
        """Whether some are of the second form."""
        return any(seed.is_instruction for seed in self.seeds)

    def rows(self) -> list[DataRow]:
        return [seed.row for seed in self.seeds]

    def of_question(self, question: str) -> Sequence[Seed]:
        """Those with this question, blanks around it aside; several when the file repeats it."""
        return self.by_question.get(question.strip(), ())


def read_seeds(path: Path) -> Seeds:
    """Raises DataError, naming file and line (or entry), for what can't be read."""
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UserInputError(f"{path}: the name of a seed file ends in .json or .jsonl", "Rename it, or name another.")
    seeds = tuple(_seed(row) for row in reader(path, SEED_FIELDS))
    if not seeds:
        raise DataError(f"{path}: has no rows", "Name the file with the questions that were evaluated.")
    by_question: dict[str, tuple[Seed, ...]] = {}
    for seed in seeds:
        question = seed.row.question
        by_question[question] = (*by_question.get(question, ()), seed)
    return Seeds(path.name, seeds, by_question)


def _seed(row: JsonRow) -> Seed:
    is_instruction = "instruction" in row.fields
    names = ("instruction", "output") if is_instruction else ("question", "answer")
    question, answer = (row.text(name).strip() for name in names)
    for name, text in zip(names, (question, answer), strict=True):
        if not text:
            raise DataError(f"{row.where}: {name!r} is empty", "Fill it in, or delete the row.")
    return Seed(DataRow(question, answer, row.place, row.number), is_instruction)
