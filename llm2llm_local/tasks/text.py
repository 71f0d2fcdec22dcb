"""Questions with a free answer: a name, a few words, a sentence.

An answer is right when it says the same as the gold answer after what doesn't matter is left out, much as SQuAD's
evaluation does it (Rajpurkar et al. 2016, arXiv 1606.05250): letter case, punctuation, English articles, blanks.
Unlike there, nothing that is part of a number is left out (3.5 is not 35, -5 is not 5), two numbers are compared by
their value, and an article counts where no word follows it: vitamin A is not a vitamin.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ..records import (
    Ballot,
    DataRow,
    Example,
    Failure,
    FinishReason,
    Grade,
    NewExample,
    Outcome,
    Reply,
    TeacherPrompt,
    Unparsed,
)
from ..spelling import REMEMBERED, look
from .base import PromptBuilder, PromptStyle, that_fit
from .numbers import read_number
from .rephrasing import ask_in_other_words, said_in_other_words
from .replies import asked_in, heading, split_at_answer
from .whole_examples import ask_for_another

_ARTICLE = re.compile(r"\b(?:a|an|the) +(?=\w)")
_WORD_SIGNS = "#&%"
_NUMBER_SIGNS = ".,:/-"
_DASHES = str.maketrans("‐‑‒–—−", "------")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


_DEMONSTRATIONS = 8
"""Seeds shown with a ballot, at most."""

_YES, _NO = " yes", " no"
"""What may follow a ballot."""


@dataclass(frozen=True, slots=True)
class TextTask:
    """Free answers, with the person's words for question and answer."""

    prompts: PromptBuilder
    instruction: str

    @property
    def choices(self) -> tuple[str, ...]:
        return ()

    def validate(self, row: DataRow) -> None:
        """Any text will do, and the reader refuses an empty one."""

    def grade(self, reply: Reply, gold_answer: str) -> Grade:
        """The answer is what stands before a further question; one that was cut off is none."""
        answer, *further = heading(self.prompts.question_name).split(reply.text, maxsplit=1)
        answer = answer.strip()
        if reply.finish_reason is FinishReason.LENGTH and not further:
            return Grade(Outcome.TRUNCATED, None)
        if not look(answer):
            return Grade(Outcome.UNPARSED, None)
        return Grade(Outcome.CORRECT if same_answer(answer, gold_answer) else Outcome.WRONG, answer)

    def kind(self, example: Example) -> str:
        return ""

    def teacher_prompt(
        self,
        failure: Failure,
        demonstrations: Sequence[Example],
        kept: Sequence[NewExample],
        style: PromptStyle,
        *,
        show_student_answer: bool,
    ) -> TeacherPrompt:
        question_name, answer_name = self.prompts.question_name, self.prompts.answer_name
        request = (
            f"Write ONE new {question_name} of the same kind as those above, about something else, and its "
            f"{answer_name}, which must be right and as long as those above. Use exactly the same format: first "
            f"'{question_name}:', then '{answer_name}:' on a new line. Write nothing else."
        )
        return ask_for_another(
            self.prompts,
            self.instruction,
            failure,
            demonstrations,
            kept,
            style,
            request,
            show_student_answer=show_student_answer,
        )

    def parse_reply(self, failure: Failure, reply: Reply) -> NewExample | Unparsed:
        """The question, named or at the very start, and its answer up to the end or to a further question."""
        before, after = split_at_answer(reply.text, self.prompts.answer_name)
        answer, *further = heading(self.prompts.question_name).split(after, maxsplit=1)
        if reply.finish_reason is FinishReason.LENGTH and not further:
            return Unparsed("cut off at the token limit")
        answer = answer.strip()
        if not answer:
            return Unparsed("no answer")
        question = asked_in(before, self.prompts.question_name)
        return NewExample(question, answer) if question else Unparsed("empty question")

    def rephrase_prompt(self, example: Example, kept: Sequence[NewExample], style: PromptStyle) -> TeacherPrompt:
        stays = f"so that its {self.prompts.answer_name} is still: {example.answer}"
        questions = [new.question for new in kept]
        return ask_in_other_words(self.prompts, self.instruction, example.question, questions, stays, style)

    def parse_rephrased(self, example: Example, reply: Reply) -> NewExample | Unparsed:
        question = said_in_other_words(self.prompts, reply)
        return question if isinstance(question, Unparsed) else NewExample(question, example.answer)

    def with_changed_words(self, question: str, change: Callable[[str], str]) -> str:
        return change(question)

    def defect(self, new: NewExample) -> str | None:
        return None if any(character.isalnum() for character in new.answer) else "no words in the answer"

    def ballot(self, new: NewExample, seeds: Sequence[Example], style: PromptStyle, rng: random.Random) -> Ballot:
        """Is the answer right, yes or no? After seeds with their own answer and with another's, half of each.

        Answering anew would not do: whole sentences hardly ever come out the same. A list to be continued, for chat
        models too, as in classification. No other question in it has the answer that is judged, and none of its wrong
        answers is that of another: in the audit that would tell what was planted.
        """
        others = _without_answer(seeds, new.answer)
        shown = that_fit(others)[: min(_DEMONSTRATIONS, max(2, 2 * len(others) // 3))]
        unseen = [seed for seed in reversed(others) if seed not in shown] or shown  # the last ones: hardly ever judged
        are_wrong = set(rng.sample(range(len(shown)), len(shown) // 2))
        blocks = [self.instruction.strip()] if self.instruction.strip() else []
        for place, seed in enumerate(shown):
            if place in are_wrong:
                blocks.append(self._judged(seed.question, _another(seed.answer, unseen, place)) + _NO)
            else:
                blocks.append(self._judged(seed.question, seed.answer) + _YES)
        text = "\n\n".join([*blocks, self._judged(new.question, new.answer)])
        return Ballot(TeacherPrompt((), text, ()), (_YES, _NO), _YES)

    def _judged(self, question: str, answer: str) -> str:
        return f"{self.prompts.example(question, answer)}\nIs this {self.prompts.answer_name} right?"

    def wrong_answers(self, example: Example, seeds: Sequence[Example], rng: random.Random) -> list[str]:
        """Another seed's answer; where all seeds have the same, its denial."""
        return [_another(example.answer, seeds, rng.randrange(len(seeds)))]


def _another(answer: str, seeds: Sequence[Example], first: int) -> str:
    """The answer of one of the seeds, from the `first` on round; where all have the same, its denial."""
    turned = (seeds[(first + n) % len(seeds)].answer for n in range(len(seeds)))
    return next((other for other in turned if not same_answer(other, answer)), f"not {answer}")


def _without_answer(seeds: Sequence[Example], answer: str) -> Sequence[Example]:
    """Those with another answer than the one that is judged; all where answers come again and again, so that what is
    missing would tell as much.
    """
    if 4 * len({comparable(seed.answer) for seed in seeds}) < 3 * len(seeds):
        return seeds
    return [seed for seed in seeds if not same_answer(seed.answer, answer)]


def same_answer(one: str, other: str) -> bool:
    """Whether two answers say the same by the rules above; when both are numbers, whether value and unit are."""
    left, right = read_number(one), read_number(other)
    if left is not None and right is not None:
        return left == right
    return comparable(one) == comparable(other)


@lru_cache(maxsize=REMEMBERED)
def comparable(answer: str) -> str:
    """What is compared of an answer; of one that has no words, its signs."""
    seen = _THOUSANDS.sub("", look(answer).casefold().translate(_DASHES))
    words = " ".join(_without_punctuation(seen).split())
    return _ARTICLE.sub("", words) or seen


def _without_punctuation(text: str) -> str:
    """Hyphens become blanks and other punctuation goes, but for what belongs to a number or is a word of its own."""
    kept: list[str] = []
    for n, character in enumerate(text):
        before, after = text[n - 1 : n], text[n + 1 : n + 2]
        if not unicodedata.category(character).startswith("P") or character in _WORD_SIGNS:
            kept.append(character)
        elif character in _NUMBER_SIGNS and after.isdigit() and not before.isalpha():
            kept.append(character)  # 3.5, -5, 1/2, 10:30
        elif character == "-":
            kept.append(" ")
    return "".join(kept)
