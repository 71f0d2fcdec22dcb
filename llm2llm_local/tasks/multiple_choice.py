"""Multiple choice: a question with marked options below it (see `options`), the answer is the right one's letter.

The student either scores the letters (likelihood) or writes one. The teacher writes a new question with as many
options and says which one is right, so unlike a classification's its answer is the teacher's own word.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from string import ascii_uppercase

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
from ..spelling import shown
from .base import PromptBuilder, PromptStyle, that_fit
from .options import Options, OptionsError, join_options, letter_in, same_option, split_options
from .rephrasing import ask_in_other_words, said_in_other_words
from .replies import asked_in, complete_text, heading, split_at_answer
from .whole_examples import ask_for_another

_REMEDY = "Write the question, and below it each option on a line of its own: (A) …, (B) … and so on."


_DEMONSTRATIONS = 2
"""Seeds shown with a ballot, at most: citing texts are long."""

_PLANTED = 4
"""Wrong letters planted for a seed, at most."""


@dataclass(frozen=True, slots=True)
class MultipleChoiceTask:
    """Questions with `n_options` options each, 2 to 26, with the person's words for question and answer.

    `counted_in`: where a row with so many options is, for messages about others. `scores_letters`: whether the student
    scores the letters or writes one.
    """

    prompts: PromptBuilder
    instruction: str
    n_options: int
    counted_in: str
    scores_letters: bool

    @property
    def labels(self) -> tuple[str, ...]:
        """The letters of the options, which are the possible answers."""
        return tuple(ascii_uppercase[: self.n_options])

    @property
    def choices(self) -> tuple[str, ...]:
        return self.labels if self.scores_letters else ()

    def validate(self, row: DataRow) -> None:
        where = f"{row.source}:{row.line}"
        options = _options_of(row)
        n = len(options.options)
        if n != self.n_options:
            raise DataError(
                f"{where}: has {n} options, {options.letters[0]} to {options.letters[-1]}, where {self.counted_in} has "
                f"{self.n_options}",
                "Give every question of train, dev and test the same number of options.",
            )
        if row.answer not in self.labels:
            raise DataError(
                f"{where}: the answer {shown(row.answer)} is none of the options' letters, {self._range()}",
                "Write the letter of the right option alone, as a capital.",
            )
        right = options.options[self.labels.index(row.answer)]
        for letter, option in zip(self.labels, options.options, strict=True):
            # That wrong options repeat each other makes a question easier, not unsound; CaseHOLD has such rows.
            if letter != row.answer and same_option(option, right):
                raise DataError(
                    f"{where}: the options {row.answer}, the answer, and {letter} are the same: {shown(option)}",
                    "Change one of them, or delete the row.",
                )

    def grade(self, reply: Reply, gold_answer: str) -> Grade:
        lines = complete_text(reply).strip().splitlines()
        letter = letter_in(lines[0], "".join(self.labels)) if lines else None
        if letter is not None:
            return Grade(Outcome.CORRECT if letter == gold_answer else Outcome.WRONG, letter)
        is_cut = not lines and reply.finish_reason is FinishReason.LENGTH
        return Grade(Outcome.TRUNCATED if is_cut else Outcome.UNPARSED, None)

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
            f"Write ONE new {question_name} of the same kind as those above, about something else, with exactly "
            f"{self.n_options} different options, {self._range()}, and its {answer_name}. Exactly one option is right; "
            f"the others are plausible but wrong. Use exactly the same format: first '{question_name}:', below it each "
            f"option on a line of its own, then '{answer_name}:' on a new line with the letter of the right option "
            "alone. Write nothing else."
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
        """The question, named or at the very start, with its options marked as the failing seed's are, and the letter.

        The answer may be given as a letter, in marks or not, or as the text of one option.
        """
        text = complete_text(reply)
        before, after = split_at_answer(text, self.prompts.answer_name)
        answer = heading(self.prompts.question_name).split(after)[0].strip()
        if not answer:
            is_cut = reply.finish_reason is FinishReason.LENGTH
            return Unparsed("cut off at the token limit" if is_cut else "no answer")
        try:
            options = split_options(asked_in(before, self.prompts.question_name))
        except OptionsError as error:
            return Unparsed(error.reason)
        letter = _letter(answer.splitlines()[0], options)
        if letter is None:
            return Unparsed("the answer is none of the options")
        return NewExample(join_options(_written_as(options, failure.example.question)), letter)

    def rephrase_prompt(self, example: Example, kept: Sequence[NewExample], style: PromptStyle) -> TeacherPrompt:
        """The stem alone is to be said in other words: the options stay."""
        options = split_options(example.question)
        right = options.options[self.labels.index(example.answer)]
        stays = f"so that its {self.prompts.answer_name} is still: {right}"
        stems = [split_options(new.question).stem for new in kept]
        return ask_in_other_words(self.prompts, self.instruction, options.stem, stems, stays, style)

    def parse_rephrased(self, example: Example, reply: Reply) -> NewExample | Unparsed:
        with suppress(OptionsError):  # else it repeats the options below the stem
            reply = dataclasses.replace(reply, text=split_options(reply.text).stem)
        stem = said_in_other_words(self.prompts, reply)
        if isinstance(stem, Unparsed):
            return stem
        return NewExample(self.with_changed_words(example.question, lambda old: stem), example.answer)

    def with_changed_words(self, question: str, change: Callable[[str], str]) -> str:
        """The options stay, which an answer names by their letters."""
        options = split_options(question)
        return join_options(dataclasses.replace(options, stem=change(options.stem)))

    def defect(self, new: NewExample) -> str | None:
        try:
            options = split_options(new.question)
        except OptionsError as error:
            return error.reason
        if len(options.options) != self.n_options:
            return "wrong number of options"
        if any(same_option(one, other) for n, one in enumerate(options.options) for other in options.options[:n]):
            return "repeated option"
        return None if new.answer in self.labels else "the answer is none of the options"

    def ballot(self, new: NewExample, seeds: Sequence[Example], style: PromptStyle, rng: random.Random) -> Ballot:
        """Have the letters scored with the options in another order, so that a liking for a letter cancels out: the
        order is the same for all questions with as many options, so it is found as a bias of the answers.
        """
        options = split_options(new.question)
        order = list(range(len(options.options)))
        rng.shuffle(order)
        turned = join_options(dataclasses.replace(options, options=tuple(options.options[place] for place in order)))
        intended = options.letters[order.index(options.letters.index(new.answer))]
        meant = dict(zip(options.letters, (options.letters[place] for place in order), strict=True))
        answers = tuple(meant.get(label, label) for label in self.labels)
        introduction = self.instruction.strip()
        shown = that_fit(seeds)[:_DEMONSTRATIONS]
        if style == "completion":
            examples = [self.prompts.example(seed.question, seed.answer) for seed in shown]
            text = "\n\n".join([*filter(None, [introduction]), *examples, self.prompts.prompt(turned)])
            choices = tuple(self.prompts.completion(label) for label in self.labels)
            return Ballot(TeacherPrompt((), text, ()), choices, self.prompts.completion(intended), answers)
        asked = f"{introduction}\n\nReply with the letter of the right option alone.".strip()
        messages = [Message("system", asked)]
        for seed in shown:
            messages += [Message("user", self._asked(seed.question)), Message("assistant", seed.answer)]
        messages.append(Message("user", self._asked(turned)))
        return Ballot(TeacherPrompt(tuple(messages), "", ()), self.labels, intended, answers)

    def wrong_answers(self, example: Example, seeds: Sequence[Example], rng: random.Random) -> list[str]:
        others = [letter for letter in self.labels if letter != example.answer]
        return rng.sample(others, min(_PLANTED, len(others)))

    def _asked(self, question: str) -> str:
        return f"{self.prompts.question_name}: {question}"

    def _range(self) -> str:
        return f"{self.labels[0]} to {self.labels[-1]}"


def most_frequent_count(seeds: Sequence[DataRow]) -> tuple[int, str]:
    """How many options most seeds have, and where the first of those is ("train.jsonl:1").

    Raises DataError for a seed whose options can't be read.
    """
    places: dict[int, str] = {}
    counts: Counter[int] = Counter()
    for row in seeds:
        n = len(_options_of(row).options)
        places.setdefault(n, f"{row.source}:{row.line}")
        counts[n] += 1
    ((n, _),) = counts.most_common(1)
    return n, places[n]


def _options_of(row: DataRow) -> Options:
    try:
        return split_options(row.question)
    except OptionsError as error:
        raise DataError(f"{row.source}:{row.line}: {error}: {shown(row.question)}", _REMEDY) from None


def _letter(answer: str, options: Options) -> str | None:
    letter = letter_in(answer, options.letters)
    if letter is not None:
        return letter
    named = [key for key, option in zip(options.letters, options.options, strict=True) if same_option(option, answer)]
    return named[0] if len(named) == 1 else None


def _written_as(options: Options, question: str) -> Options:
    """With the marks of `question`, so that a student reads one format."""
    model = split_options(question)
    return dataclasses.replace(options, mark=model.mark, gap=model.gap)
