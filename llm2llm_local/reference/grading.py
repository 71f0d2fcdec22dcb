"""Per-iteration accuracy of the published code's results, by the task's own grader, and where the old one differs.

A row counts when its question is in the seed file. The text of a row still begins with the prompt, which is cut off
before it is graded. A file that can't be read to its end has no figures, and takes none from the others: the last one
is often cut off, where an evaluation was ended. What the files don't tell is whether a text was cut off at the token
limit: the published code stops after 100 tokens, and an answer that was cut there is graded as far as it goes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ..config import TaskConfig
from ..counted import counted
from ..errors import DataError, UserInputError
from ..records import DataRow, FinishReason, Outcome, Reply
from ..tasks.base import Task
from ..tasks.families import make_task
from ..tasks.options import has_options
from .folders import ResultsFile, missing_steps, outside_steps, results_files
from .json_rows import RESULTS_FIELDS, JsonRow, rows_of_lines
from .old_grader import old_answers, old_gold, old_is_right, old_numbers
from .seeds import Seed, Seeds, read_seeds

FAMILIES: tuple[str, ...] = get_args(TaskConfig.model_fields["family"].annotation)

_ANSWER = "Answer:"
_PROMPT = re.compile(r"\A[^\n]*\n\n(.*?)\n\n" + _ANSWER, re.DOTALL)
"""Of the published code: a sentence, the question, and the word, with a blank line between each."""

_MOST_LABELS = 200


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that the published report grades otherwise. `old_answer`: what that one reads, `old_numbers`: what it
    compares, the answer's and the gold one's, if it takes both for numbers; `answer`: what is read here.

    `gold`: None when the question is in no seed, where the published report may count the row as right all the same.
    """

    path: str
    line: int
    gold: str | None
    answer: str | None
    old_answer: str | None
    old_numbers: tuple[float, float] | None
    is_right: bool


@dataclass(frozen=True, slots=True)
class FileFigures:
    """Of the `n_rows` of a results file, `matched` have their question in the seed file and `correct` are right.

    `old_correct`: as the published report counts, None where it would stop with an error. `n_differing`: rows that it
    grades otherwise. `n_to_other_questions`: texts that answer another row's question than their own, which the
    published code writes after an error; they are not right. `n_without_answer`: of the matched, texts in which no
    answer can be read; they aren't right either, nor are `n_without_label`, which say what is none of the labels;
    `no_label`: the first of these. `n_questions`: different questions among the matched; `n_repeated`: rows that ask
    one oftener than the seed file does.
    """

    path: str
    step: int | None
    n_rows: int
    matched: int
    correct: int
    old_correct: int | None
    n_differing: int
    n_to_other_questions: int
    n_without_answer: int
    n_without_label: int
    no_label: str | None
    n_questions: int
    n_repeated: int

    @property
    def accuracy(self) -> float | None:
        """In percent, as the published report has it; None where nothing is matched."""
        return 100 * self.correct / self.matched if self.matched else None


@dataclass(frozen=True, slots=True)
class BrokenFile:
    """A results file without figures. `why`: what can't be read, with path and line; `remedy`: what to do about it."""

    path: str
    step: int | None
    why: str
    remedy: str


@dataclass(frozen=True, slots=True)
class ReferenceReport:
    """`files` has at least one with a matched row. `gaps`: what is missing, a line for each series of steps; `notes`:
    lines on what is amiss with seeds and folders. `has_whole_rationales`: the seeds are of the form where the published
    report holds answers against whole rationales.
    """

    seed_file: str
    family: str
    files: tuple[FileFigures, ...]
    broken: tuple[BrokenFile, ...]
    differences: tuple[Difference, ...]
    gaps: tuple[str, ...]
    notes: tuple[str, ...]
    has_whole_rationales: bool


def reference_report(seed_file: Path, folder: Path, name: str, family: str | None) -> ReferenceReport:
    """Raises DataError or UserInputError, naming file and line, for what can't be read or graded.

    A results file that can't be read is told in the report, unless there is no other; no matched row is an error.
    """
    if family is not None and family not in FAMILIES:
        raise UserInputError(f"there is no task family {family!r}", f"Families: {', '.join(FAMILIES)}")
    seeds = read_seeds(seed_file)
    files = results_files(folder, name)
    family = family or found_family(seeds)
    task = make_task(TaskConfig.model_validate({"family": family}), seeds.rows())
    for row in seeds.rows():
        task.validate(row)
    figures: list[FileFigures] = []
    broken: list[BrokenFile] = []
    differences: list[Difference] = []
    for file in files:
        try:
            grader = _FileGrader(seeds, family, task, file)
            figures.append(grader.figures())
        except UserInputError as error:
            broken.append(BrokenFile(str(file.path), file.step, error.message, error.remedy))
        else:
            differences += grader.differences
    if not any(one.matched for one in figures):
        raise _nothing_graded(seed_file, folder, name, figures, broken)
    return ReferenceReport(
        seed_file=seeds.name,
        family=family,
        files=tuple(figures),
        broken=tuple(broken),
        differences=tuple(differences),
        gaps=tuple(missing_steps(files)),
        notes=(*_several_answers(seeds, task), *outside_steps(folder, files)),
        has_whole_rationales=family == "math" and seeds.are_instructions,
    )


def _nothing_graded(
    seed_file: Path, folder: Path, name: str, figures: Sequence[FileFigures], broken: Sequence[BrokenFile]
) -> DataError:
    """Why none of the files has a row that can be graded."""
    if not figures:
        others = counted(len(broken) - 1, "other file")
        more = f"; nor can {others} be read" if len(broken) > 1 else ""
        return DataError(f"{broken[0].why}{more}", broken[0].remedy)
    besides = f"; {counted(len(broken), 'other file')} can't be read: {broken[0].why}" if broken else ""
    n_rows = sum(one.n_rows for one in figures)
    if not n_rows:
        return DataError(
            f"{folder}: no rows in its {counted(len(figures), 'file')} {name}{besides}",
            "Name another folder, or other files with --results-file-name.",
        )
    return DataError(
        f"{folder}: of its {counted(n_rows, 'row')} in {name}, none asks a question that is in {seed_file}{besides}",
        "Name the seed file with the questions that were evaluated, or another folder.",
    )


def _several_answers(seeds: Seeds, task: Task) -> list[str]:
    """A line on the questions whose gold answers differ in what they come to, if there are any."""
    differing: list[tuple[DataRow, DataRow]] = []
    for first, *others in seeds.by_question.values():
        other = next((one for one in others if not _agree(task, first, one)), None)
        if other is not None:
            differing.append((first.row, other.row))
    if not differing:
        return []
    one, two = (f"{row.source}:{row.line}" for row in differing[0])
    return [
        f"{seeds.name}: {counted(len(differing), 'question')} with different answers, as at {one} and {two}; a row of "
        'results is graded by its own "answer" if that is one of them, else by the first'
    ]


def _agree(task: Task, one: Seed, other: Seed) -> bool:
    return task.grade(_finished(one.row.answer), other.row.answer).outcome is Outcome.CORRECT


def found_family(seeds: Seeds) -> str:
    """What the gold answers look like. Raises DataError when they could be several things."""
    rows = seeds.rows()
    answers = {row.answer for row in rows}
    if any("####" in answer for answer in answers):
        return "math"
    if all(re.fullmatch("[A-Z]", answer) for answer in answers) and any(has_options(row.question) for row in rows):
        return "multiple_choice"
    if 2 <= len(answers) <= min(_MOST_LABELS, len(rows) // 2):
        return "classification"
    there = f"{counted(len(rows), 'row')} with {counted(len(answers), 'different answer')}"
    raise DataError(
        f"{seeds.name}: {there}: what kind of task is this?",
        f"Name it: --family {' or '.join(FAMILIES)}",
    )


class _FileGrader:
    """Grades one results file; `differences` then has what the published report grades otherwise."""

    def __init__(self, seeds: Seeds, family: str, task: Task, file: ResultsFile) -> None:
        self._seeds = seeds
        self._family = family
        self._task = task
        self._file = file
        self.differences: list[Difference] = []
        self._rows = list(rows_of_lines(file.path, RESULTS_FIELDS))
        self._questions = {row.text("question").strip() for row in self._rows}

    def figures(self) -> FileFigures:
        asked: Counter[str] = Counter()
        no_labels: list[str] = []
        matched = correct = old_correct = n_to_others = n_unread = 0
        is_readable_for_old = True
        for row in self._rows:
            text, found = row.text("text"), self._seeds.of_question(row.text("question"))
            if found:
                seed = _seed_of(row, found)
                is_to_other = self._is_to_another_question(row)
                outcome, answer = (None, None) if is_to_other else self._graded(row, seed)
                is_right = outcome is Outcome.CORRECT
                matched += 1
                correct += is_right
                n_to_others += is_to_other
                n_unread += outcome is Outcome.UNPARSED
                if self._family == "classification" and answer is not None and answer not in self._task.choices:
                    no_labels.append(answer)
                asked[seed.row.question] += 1
                gold, of_old = seed.row.answer, old_gold(found[0])
                is_readable_for_old = is_readable_for_old and of_old is not None
            else:
                is_right, answer, gold, of_old = False, None, None, None
            was_right = old_is_right(text, of_old)
            old_correct += was_right
            if was_right != is_right and (of_old is not None or not found):
                old_answer = next((one for one in reversed(old_answers(text)) if one is not None), None)
                path = str(self._file.path)
                numbers = old_numbers(text, of_old)
                self.differences.append(Difference(path, row.number, gold, answer, old_answer, numbers, is_right))
        return FileFigures(
            path=str(self._file.path),
            step=self._file.step,
            n_rows=len(self._rows),
            matched=matched,
            correct=correct,
            old_correct=old_correct if is_readable_for_old else None,
            n_differing=len(self.differences),
            n_to_other_questions=n_to_others,
            n_without_answer=n_unread,
            n_without_label=len(no_labels),
            no_label=no_labels[0] if no_labels else None,
            n_questions=len(asked),
            n_repeated=sum(max(0, n - len(self._seeds.of_question(question))) for question, n in asked.items()),
        )

    def _graded(self, row: JsonRow, seed: Seed) -> tuple[Outcome, str | None]:
        grade = self._task.grade(_finished(answer_part(row, self._family, seed.row.answer)), seed.row.answer)
        return grade.outcome, grade.predicted_answer

    def _is_to_another_question(self, row: JsonRow) -> bool:
        question = row.text("question").strip()
        prompt = _PROMPT.match(row.text("text"))
        if prompt is None or question in row.text("text"):
            return False
        return prompt[1].strip() in self._questions


def _finished(text: str) -> Reply:
    """As if the text had been written to its end."""
    return Reply(text, FinishReason.STOP, 0, 0, 0.0)


def _seed_of(row: JsonRow, found: Sequence[Seed]) -> Seed:
    """Of seeds with the same question, the one whose answer the row has with it; else the first."""
    return next((seed for seed in found if seed.row.answer == str(row.fields.get("answer", "")).strip()), found[0])


def answer_part(row: JsonRow, family: str, gold: str) -> str:
    """What the student wrote: the text behind the prompt, and of it the line with the answer, but for a rationale.

    A free answer has as many lines as the gold one: what follows is more than was asked for.
    """
    text, question = row.text("text"), row.text("question").strip()
    if question in text:
        text = text.partition(question)[2]
    if family == "math":
        return text
    _, word, behind = text.partition(_ANSWER)
    lines = (behind if word else text).strip().splitlines()
    n_lines = len(gold.splitlines()) if family == "text" else 1
    return "\n".join(lines[:n_lines]).strip()
