"""Math word problems in the GSM8K format (Cobbe et al. 2021, arXiv 2110.14168).

An answer is a rationale with calculator annotations, `48/2 = <<48/2=24>>24`, and a last line `#### number`.
That line alone is graded. A text may hold more than one (a student that runs on writes further ones): the
first that is complete and readable counts, for gold answers, predictions and teacher's replies alike.
"""

from __future__ import annotations

import ast
import operator
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

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
from ..spelling import REMEMBERED
from .base import PromptBuilder, PromptStyle, that_fit
from .numbers import Number, read_number, same_number
from .rephrasing import ask_in_other_words, said_in_other_words
from .replies import asked_in, complete_text, heading, split_at_answer
from .whole_examples import ask_for_another

# A student that doesn't stop may go on with another "####" on the same line, so that ends the number too.
_FINAL_LINE = re.compile(r"####([^#\n]*)")

_WORD_WITH_DIGITS = re.compile(r"(\S*\d\S*)")
_ANNOTATION = re.compile(r"<<([^<>\n]*)>>")
_DECIMAL_RESULT = re.compile(r"\s*[-+−]?\$?[0-9,]*(?:\.([0-9]*))?%?\s*")
_OPERAND = re.compile(r"[0-9.,]+(?: ?%)?")
_ARITHMETIC = re.compile(r"[0-9+\-*/() ]*")
_OTHER_SIGNS = str.maketrans({"×": "*", "x": "*", "÷": "/", "−": "-", "$": None})
_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}

# GSM8K's longest annotation has 36 characters; the bound also keeps the parser's nesting and the numbers small.
_MAX_ANNOTATION_CHARACTERS = 100

_DEMONSTRATIONS = 4
"""Seeds shown with a ballot, at most: solutions are long."""


@dataclass(frozen=True, slots=True)
class MathTask:
    """Questions whose answer ends in `#### number`, with the person's words for question and answer."""

    prompts: PromptBuilder
    instruction: str

    @property
    def choices(self) -> tuple[str, ...]:
        return ()

    def validate(self, row: DataRow) -> None:
        final = _final_answer(row.answer)
        if final is not None and not row.answer[final.end :].strip():
            return
        if final is not None:
            problem = f"text follows the final line '#### {final.text}'"
        elif "####" in row.answer:
            problem = f"no number can be read after '####': {row.answer.rpartition('####')[2].strip()[:40]!r}"
        else:
            problem = "the answer has no final line '#### number'"
        raise DataError(f"{row.source}:{row.line}: {problem}", "End the answer with one line such as: #### 72")

    def grade(self, reply: Reply, gold_answer: str) -> Grade:
        """Compare the numbers of the final lines; `gold_answer` must have passed `validate`, else ValueError."""
        gold = _final_answer(gold_answer)
        if gold is None:
            raise ValueError(f"gold answer without a readable final line: {gold_answer[-80:]!r}")
        predicted = _final_answer(complete_text(reply))
        if predicted is not None:
            is_correct = same_number(predicted.number, gold.number)
            return Grade(Outcome.CORRECT if is_correct else Outcome.WRONG, predicted.text)
        return Grade(Outcome.TRUNCATED if reply.finish_reason is FinishReason.LENGTH else Outcome.UNPARSED, None)

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
            f"Write ONE new {question_name} of the same kind as those above, with a different story and different "
            f"numbers, and its {answer_name}. Use exactly the same format: first '{question_name}:', then "
            f"'{answer_name}:' on a new line, and as the last line '#### number'. Write nothing else."
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
        """The question, named or at the very start, and its answer up to the first complete final line."""
        text = complete_text(reply)
        final = _final_answer(text)
        if final is None and reply.finish_reason is FinishReason.LENGTH:
            return Unparsed("cut off at the token limit")
        if final is not None:
            text = text[: final.end]
        before, after = split_at_answer(text, self.prompts.answer_name)
        answer = after.strip()
        if not answer:
            return Unparsed("no answer")
        question_heading = heading(self.prompts.question_name)
        if final is None or question_heading.search(answer):  # the final line of a further question isn't this one's
            return Unparsed("no final number")
        question = asked_in(before, self.prompts.question_name)
        return NewExample(question, answer) if question else Unparsed("empty question")

    def rephrase_prompt(self, example: Example, kept: Sequence[NewExample], style: PromptStyle) -> TeacherPrompt:
        final = _final_answer(example.answer)
        assert final is not None  # `validate` saw to it
        stays = f"with the same numbers, so that its {self.prompts.answer_name} is still {final.text}"
        questions = [new.question for new in kept]
        return ask_in_other_words(self.prompts, self.instruction, example.question, questions, stays, style)

    def parse_rephrased(self, example: Example, reply: Reply) -> NewExample | Unparsed:
        question = said_in_other_words(self.prompts, reply)
        return question if isinstance(question, Unparsed) else NewExample(question, example.answer)

    def with_changed_words(self, question: str, change: Callable[[str], str]) -> str:
        """What the answer is reckoned from stays: only the longest text between two numbers is changed."""
        parts = _WORD_WITH_DIGITS.split(question)
        longest = max(range(0, len(parts), 2), key=lambda place: len(parts[place]))
        return "".join([*parts[:longest], change(parts[longest]), *parts[longest + 1 :]])

    def defect(self, new: NewExample) -> str | None:
        final = _final_answer(new.answer)
        if final is None:
            return "no final number"
        if new.answer[final.end :].strip():
            return "text after the final number"
        return "wrong annotation" if wrong_annotations(new.answer) else None

    def ballot(self, new: NewExample, seeds: Sequence[Example], style: PromptStyle, rng: random.Random) -> Ballot:
        """Have it solved, its own answer hidden."""
        shown = [self.prompts.example(seed.question, seed.answer) for seed in that_fit(seeds)[:_DEMONSTRATIONS]]
        blocks = [*filter(None, [self.instruction.strip()]), *shown]
        if style == "completion":
            text = "\n\n".join([*blocks, self.prompts.prompt(new.question)])
            return Ballot(TeacherPrompt((), text, (f"\n{self.prompts.question_name}:",)), (), None)
        request = (
            f"{self.prompts.question_name}: {new.question}\n\nSolve this in the same way as those above: step by step, "
            "and as the last line '#### number'. Write nothing else."
        )
        return Ballot(TeacherPrompt((Message("user", "\n\n".join([*blocks, request])),), "", ()), (), None)

    def wrong_answers(self, example: Example, seeds: Sequence[Example], rng: random.Random) -> list[str]:
        """The final number of another seed, or else the right one and 1 more."""
        right = _final_answer(example.answer)
        assert right is not None  # `validate` saw to it
        others = [final for seed in seeds if (final := _final_answer(seed.answer)) is not None]
        wrong = [other.text for other in others if not same_number(other.number, right.number)]
        return [f"#### {rng.choice(wrong)}" if wrong else f"#### {right.number.value + 1}"]


def has_annotations(answer: str) -> bool:
    return _ANNOTATION.search(answer) is not None


def wrong_annotations(answer: str) -> list[str]:
    """The annotations `<<expression=result>>` of an answer that don't hold, as written, in order.

    The expression is + - * / and parentheses over numbers, computed exactly, with 50% as 50/100. A result
    written with decimals may be rounded: it holds within half a unit of its last shown place (10/3=3.33). A
    result in percent may be meant either way (1/5=20%, 1/5*100=20%). An annotation that can't be computed
    (anything else in it, division by zero, more than 100 characters) doesn't hold either.
    """
    return [match[0] for match in _ANNOTATION.finditer(answer) if not _holds(match[1])]


@dataclass(frozen=True, slots=True)
class _FinalAnswer:
    """`text`: the number as written; `end`: offset in the searched text just behind it."""

    text: str
    number: Number
    end: int


@lru_cache(maxsize=REMEMBERED)
def _final_answer(text: str) -> _FinalAnswer | None:
    """The first readable final line. Others, such as a heading of the fourth level, are passed over."""
    for match in _FINAL_LINE.finditer(text):
        number = read_number(match[1])
        if number is not None:
            return _FinalAnswer(match[1].strip(), number, match.end())
    return None


def _holds(annotation: str) -> bool:
    expression, _, result = annotation.rpartition("=")
    shown = read_number(result)
    if shown is None or len(annotation) > _MAX_ANNOTATION_CHARACTERS:
        return False
    try:
        value = _evaluate(expression)
    except (SyntaxError, ValueError, ZeroDivisionError):
        return False
    decimal = _DECIMAL_RESULT.fullmatch(result)
    tolerance = Fraction(1, 2 * 10 ** len(decimal[1])) if decimal and decimal[1] else Fraction(0)
    meanings = (value, 100 * value) if shown.unit == "percent" else (value,)
    return any(abs(meaning - shown.value) <= tolerance for meaning in meanings)


def _evaluate(expression: str) -> Fraction:
    """Compute exactly; raises SyntaxError, ValueError or ZeroDivisionError for what isn't plain arithmetic."""
    # With every operand as a quotient of integers the parser never makes a float, and 007 isn't an error.
    quotients = _OPERAND.sub(_quotient, expression.translate(_OTHER_SIGNS)).strip()
    if not _ARITHMETIC.fullmatch(quotients):
        raise ValueError(f"not plain arithmetic: {expression!r}")
    return _value(ast.parse(quotients, mode="eval").body)


def _quotient(operand: re.Match[str]) -> str:
    number = read_number(operand[0])
    if number is None:
        raise ValueError(f"not a number: {operand[0]!r}")
    return f"({number.value / 100 if number.unit else number.value})"


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int(value)):
            return Fraction(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
            return _OPERATORS[type(sign)](_value(left), _value(right))
        case _:
            raise ValueError("an operation other than + - * /")
