"""What every task family answers, and the one place where an example becomes text.

Everything here and in the families is a function of its arguments: no model, no clock, no disk. The code of
this package is part of a run's fingerprint: a run that was begun with other prompts or another way of grading
is not continued.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ..records import Ballot, DataRow, Example, Failure, Grade, NewExample, Reply, TeacherPrompt, Unparsed

PromptStyle = Literal["chat", "completion"]

MOST_SHOWN_CHARACTERS = 2000
"""Of seeds that a ballot shows: a few hundred tokens, which any teacher has room for beside a question."""


def that_fit(seeds: Iterable[Example], characters: int = MOST_SHOWN_CHARACTERS) -> list[Example]:
    """The first ones that are together so long at most; one that is too long for what is left is passed over."""
    fitting = []
    for seed in seeds:
        length = len(seed.question) + len(seed.answer)
        if length <= characters:
            characters -= length
            fitting.append(seed)
    return fitting


@dataclass(frozen=True, slots=True)
class PromptBuilder:
    """Renders examples; training, prediction and teaching all use this one."""

    question_name: str
    answer_name: str

    def prompt(self, question: str) -> str:
        """The text that the student continues with an answer."""
        return f"{self.question_name}: {question}\n{self.answer_name}:"

    def completion(self, answer: str) -> str:
        """The text that the student learns to write after `prompt`; the end-of-text token follows it."""
        return f" {answer}"

    def example(self, question: str, answer: str) -> str:
        """A whole example, as a teacher is shown it."""
        return self.prompt(question) + self.completion(answer)


class Task(Protocol):
    """A task family with the person's settings applied."""

    @property
    def prompts(self) -> PromptBuilder:
        """The prompt builder of this task."""

    @property
    def choices(self) -> tuple[str, ...]:
        """Answers whose likelihood the student scores; empty when it writes its answer."""

    def validate(self, row: DataRow) -> None:
        """Raise DataError, naming file and line, when a row of the person's data can't be of this task."""

    def grade(self, reply: Reply, gold_answer: str) -> Grade:
        """Compare a reply (its text is the answer alone, without the prompt) with the gold answer."""

    def kind(self, example: Example) -> str:
        """Equal for examples that are fit demonstrations beside each other (of the same class, say)."""

    def teacher_prompt(
        self,
        failure: Failure,
        demonstrations: Sequence[Example],
        kept: Sequence[NewExample],
        style: PromptStyle,
        *,
        show_student_answer: bool,
    ) -> TeacherPrompt:
        """Ask for one new example like the failing one; `kept` were already accepted for it."""

    def parse_reply(self, failure: Failure, reply: Reply) -> NewExample | Unparsed:
        """Read the new example out of the teacher's reply."""

    def rephrase_prompt(self, example: Example, kept: Sequence[NewExample], style: PromptStyle) -> TeacherPrompt:
        """Ask for the example's question in other words, its answer unchanged; `kept`: such that are there already."""

    def parse_rephrased(self, example: Example, reply: Reply) -> NewExample | Unparsed:
        """Read the question out of a reply to `rephrase_prompt`; the answer is the example's."""

    def with_changed_words(self, question: str, change: Callable[[str], str]) -> str:
        """The question with `change` done to those of its parts whose words may change."""

    def defect(self, new: NewExample) -> str | None:
        """What is wrong with a parsed example by the rules of this family, in a few stable words; None: nothing."""

    def ballot(self, new: NewExample, seeds: Sequence[Example], style: PromptStyle, rng: random.Random) -> Ballot:
        """Ask whether the answer of a new example is right: without telling it, where it can be given anew.

        `seeds` may be shown; they come in an order drawn for this vote, and `rng` is drawn for it, too: both are the
        same for all examples that are voted on, so that what the prompts begin with is evaluated once.
        """

    def wrong_answers(self, example: Example, seeds: Sequence[Example], rng: random.Random) -> list[str]:
        """A few answers to plant in place of the right one, each of them wrong; at least one."""
