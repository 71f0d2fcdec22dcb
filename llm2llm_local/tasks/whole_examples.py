"""Asking for a new example by whole ones, question and answer: for families whose answers differ each time."""

from __future__ import annotations

from collections.abc import Sequence

from ..records import Example, Failure, Message, NewExample, TeacherPrompt
from .base import PromptBuilder, PromptStyle


def ask_for_another(
    prompts: PromptBuilder,
    instruction: str,
    failure: Failure,
    demonstrations: Sequence[Example],
    kept: Sequence[NewExample],
    style: PromptStyle,
    request: str,
    *,
    show_student_answer: bool,
) -> TeacherPrompt:
    """As `Task.teacher_prompt`; `request` says to a chat model what to write and in what format."""
    failing = prompts.example(failure.example.question, failure.example.answer)
    if show_student_answer and failure.predicted_answer is not None:
        failing = f"A student answered the following wrongly with {failure.predicted_answer}:\n\n{failing}"
    # The failing example comes last, since what stands last is imitated most; what failures have in common, first.
    blocks = [
        *filter(None, [instruction.strip()]),
        *(prompts.example(shown.question, shown.answer) for shown in demonstrations),
        *(prompts.example(new.question, new.answer) for new in kept),
        failing,
    ]
    if style == "completion":
        text = "\n\n".join([*blocks, f"{prompts.question_name}:"])
        return TeacherPrompt(messages=(), completion=text, stop=(f"\n{prompts.question_name}:",))
    # No stop string: the reply may itself start with the name of the question.
    return TeacherPrompt(messages=(Message("user", "\n\n".join([*blocks, request])),), completion="", stop=())
