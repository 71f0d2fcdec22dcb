"""Classification: one of a fixed set of labels.

The student either scores every label (likelihood) or writes one (generation, letter by letter). The teacher is
asked for a new question only: the label is that of the failing seed.
"""

from __future__ import annotations

import difflib
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from ..errors import DataError
from ..records import (
    Ballot,
    DataRow,
    Example,
    Failure,
    FinishReason,
    Grade,
    Message,
    NewExample,
    Outcome,
    Reply,
    TeacherPrompt,
    Unparsed,
)
from ..spelling import alike, difference, look, shown
from .base import PromptBuilder, PromptStyle, that_fit
from .rephrasing import ask_in_other_words, said_in_other_words
from .replies import is_announcement, one_line, unquoted, without_marks

_DEMONSTRATIONS = 18
"""Seeds shown with a ballot, at most."""

_PLANTED = 5
"""Wrong labels planted for a seed, at most."""

_BETWEEN_EXAMPLES = "\n\n"
"""Of a ballot."""


@dataclass(frozen=True, slots=True)
class ClassificationTask:
    """A label set with the person's words for question and answer.

    `labels`: 2 to 200 distinct labels. `scores_labels`: whether the student scores them or writes one.
    """

    prompts: PromptBuilder
    instruction: str
    labels: tuple[str, ...]
    scores_labels: bool

    @property
    def choices(self) -> tuple[str, ...]:
        return self.labels if self.scores_labels else ()

    def validate(self, row: DataRow) -> None:
        if row.answer in self.labels:
            return
        problem = f"{row.source}:{row.line}: {shown(row.answer)} is not one of the {len(self.labels)} labels"
        label = self._spelt_as_label(row.answer)
        if label != row.answer:
            raise DataError(
                f"{problem}; it looks like {shown(label)} but differs: {difference(row.answer, label)}",
                "Write the label in the same way everywhere.",
            )
        near = difflib.get_close_matches(row.answer, self.labels, n=1, cutoff=0.0)[0]
        raise DataError(
            f"{problem}; nearest: {shown(near)}",
            "Correct the row, or list every label in task.labels: a draw of few seeds may lack one.",
        )

    def grade(self, reply: Reply, gold_answer: str) -> Grade:
        # A model's tokenizer may compose or split accents, so a label counts in any spelling that looks like it.
        answer = self._spelt_as_label(reply.text.strip())
        if reply.finish_reason is FinishReason.LENGTH:
            return Grade(Outcome.TRUNCATED, None)
        if not answer:
            return Grade(Outcome.UNPARSED, None)
        return Grade(Outcome.CORRECT if answer == gold_answer else Outcome.WRONG, answer)

    def kind(self, example: Example) -> str:
        return example.answer

    def teacher_prompt(
        self,
        failure: Failure,
        demonstrations: Sequence[Example],
        kept: Sequence[NewExample],
        style: PromptStyle,
        *,
        show_student_answer: bool,
    ) -> TeacherPrompt:
        name, label = self.prompts.question_name, failure.example.answer
        # The failing example comes last, since what stands last is imitated most; what failures have in common, first.
        shown = [*(item.question for item in demonstrations), *(new.question for new in kept), failure.example.question]
        heading = f"{name}s whose {self.prompts.answer_name} is {label}"
        if show_student_answer and failure.predicted_answer is not None:
            heading += f" (the last is easily mistaken for {failure.predicted_answer})"
        listing = "\n".join(f"- {one_line(question)}" for question in shown)
        if style == "completion":
            text = f"{self._introduction()}{heading}:\n{listing}\n-"
            return TeacherPrompt(messages=(), completion=text, stop=("\n",))
        request = (
            f"{self._introduction()}{heading}:\n{listing}\n\n"
            f"Write one more {name} whose {self.prompts.answer_name} is {label}. It is about something else "
            f"than those above, in other words and in the same style. Reply with the {name} alone, on one line."
        )
        return TeacherPrompt(messages=(Message("user", request),), completion="", stop=("\n\n",))

    def parse_reply(self, failure: Failure, reply: Reply) -> NewExample | Unparsed:
        if reply.finish_reason is FinishReason.LENGTH:
            return Unparsed("cut off at the token limit")
        lines = [line.strip() for line in reply.text.strip().splitlines() if line.strip()]
        if not lines:
            return Unparsed("empty reply")
        if len(lines) > 1:
            return Unparsed("more than one line")
        if is_announcement(lines[0]):
            return Unparsed("an announcement")
        question = self._undecorated(lines[0])
        return NewExample(question, failure.example.answer) if question else Unparsed("empty reply")

    def rephrase_prompt(self, example: Example, kept: Sequence[NewExample], style: PromptStyle) -> TeacherPrompt:
        stays = f"so that its {self.prompts.answer_name} is still {example.answer}"
        questions = [new.question for new in kept]
        return ask_in_other_words(self.prompts, self.instruction, example.question, questions, stays, style)

    def parse_rephrased(self, example: Example, reply: Reply) -> NewExample | Unparsed:
        question = said_in_other_words(self.prompts, reply)
        return question if isinstance(question, Unparsed) else NewExample(question, example.answer)

    def with_changed_words(self, question: str, change: Callable[[str], str]) -> str:
        return change(question)

    def defect(self, new: NewExample) -> str | None:
        return None if new.answer in self.labels else "not one of the labels"

    def ballot(self, new: NewExample, seeds: Sequence[Example], style: PromptStyle, rng: random.Random) -> Ballot:
        """A list of seeds with their labels, to be continued, for chat models too: measured on 60 TREC seeds, the
        default teacher tells right labels from wrong ones in 86% so, and in 84% as a chat (without the bias that the
        audit finds; with it in 77% and 59%).
        """
        labels = list(self.labels)
        rng.shuffle(labels)
        introduction = f"{self._introduction()}{self.prompts.answer_name} is one of: {', '.join(labels)}"
        shown = [self.prompts.example(one_line(seed.question), seed.answer) for seed in self._demonstrations(seeds)]
        text = _BETWEEN_EXAMPLES.join([introduction, *shown, self.prompts.prompt(one_line(new.question))])
        answers = tuple(self.prompts.completion(label) for label in self.labels)
        end = _BETWEEN_EXAMPLES if _is_one_the_beginning_of_another(self.labels) else ""
        choices = tuple(f"{answer}{end}" for answer in answers)
        intended = f"{self.prompts.completion(new.answer)}{end}"
        return Ballot(TeacherPrompt((), text, ()), choices, intended, answers)

    def wrong_answers(self, example: Example, seeds: Sequence[Example], rng: random.Random) -> list[str]:
        others = [label for label in self.labels if label != example.answer]
        return rng.sample(others, min(_PLANTED, len(others)))

    def _demonstrations(self, seeds: Sequence[Example]) -> list[Example]:
        """The first ones of each label, as many of each as there is room for, in the order in which they come."""
        most = max(1, _DEMONSTRATIONS // len(self.labels))
        taken: Counter[str] = Counter()
        shown: list[Example] = []
        for seed in seeds:
            if taken[seed.answer] < most and len(shown) < _DEMONSTRATIONS:
                taken[seed.answer] += 1
                shown.append(seed)
        return that_fit(shown)

    def _introduction(self) -> str:
        return f"{self.instruction.strip()}\n\n" if self.instruction.strip() else ""

    def _spelt_as_label(self, answer: str) -> str:
        """The label that looks like `answer`; else `answer`."""
        if answer in self.labels:
            return answer
        return _labels_by_look(self.labels).get(look(answer), answer)

    def _undecorated(self, line: str) -> str:
        """The question without a list mark, its name in front, or quotes around it."""
        text = without_marks(line)
        name = f"{self.prompts.question_name}:"
        if text.lower().startswith(name.lower()):
            text = text[len(name) :].strip()
        return unquoted(text)


@cache
def _is_one_the_beginning_of_another(labels: tuple[str, ...]) -> bool:
    """Then the shorter one (loan, beside loan application) would have the likelihood of both, were its end not scored
    with it. Elsewhere scoring the end tells nothing, and is left out: measured on TREC, with it the default teacher
    prefers the right label in 74% and not in 77%, a larger one in 86% and not in 85%.
    """
    return any(one != other and other.startswith(one) for one in labels for other in labels)


@cache
def _labels_by_look(labels: tuple[str, ...]) -> Mapping[str, str]:
    return {look(label): label for label in labels}


def label_set(declared: Sequence[str], seeds: Sequence[DataRow]) -> tuple[str, ...]:
    """The labels in force: the declared ones, or those of the seeds in order of their first appearance.

    Raises DataError when the seeds alone give fewer than 2 or more than 200, or two that can't be told apart.
    """
    first: dict[str, DataRow] = {}
    for row in seeds:
        first.setdefault(row.answer, row)
    labels = tuple(declared) or tuple(first)
    if not 2 <= len(labels) <= 200:
        raise DataError(
            f"{seeds[0].source}: the seeds have {len(labels)} different answers; classification needs 2 to 200 labels",
            "Is answer_column right? A free-text answer needs another task family.",
        )
    if not declared and (pair := alike(labels)):
        one, other = (first[label] for label in pair)
        raise DataError(
            f"{one.source}:{one.line} and {other.source}:{other.line}: the labels {shown(one.answer)} and "
            f"{shown(other.answer)} look alike but differ: {difference(*pair)}",
            "Write the label in the same way everywhere.",
        )
    return labels
