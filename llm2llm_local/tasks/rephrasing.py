"""Having a question said in other words, in the same way for every family: what is asked, and how the reply is read.

The answer stays as it is, so it is told in the prompt but never asked for: what comes back is a question alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..records import FinishReason, Message, Reply, TeacherPrompt, Unparsed
from .base import PromptBuilder, PromptStyle
from .replies import heading, is_announcement, one_line, unquoted, without_marks


def ask_in_other_words(
    prompts: PromptBuilder,
    instruction: str,
    question: str,
    kept: Sequence[str],
    what_stays: str,
    style: PromptStyle,
) -> TeacherPrompt:
    """`kept`: questions that already say the same. `what_stays`: about the answer, to end a sentence with."""
    name = prompts.question_name
    introduction = f"{instruction.strip()}\n\n" if instruction.strip() else ""
    listing = "\n".join(f"- {one_line(text)}" for text in (question, *kept))
    if style == "completion":
        text = f"{introduction}One {name}, said in several ways with the same meaning, {what_stays}:\n{listing}\n-"
        return TeacherPrompt(messages=(), completion=text, stop=("\n",))
    said = f"A {name}, said in {len(kept) + 1} ways:" if kept else f"A {name}:"
    request = (
        f"{introduction}{said}\n{listing}\n\nSay this {name} again in other words, with the same meaning, "
        f"{what_stays}. Reply with the new {name} alone."
    )
    return TeacherPrompt(messages=(Message("user", request),), completion="", stop=("\n\n",))


def said_in_other_words(prompts: PromptBuilder, reply: Reply) -> str | Unparsed:
    """The question of the reply, on one line, without a list mark, its name in front, or quotes around it."""
    if reply.finish_reason is FinishReason.LENGTH:
        return Unparsed("cut off at the token limit")
    text = without_marks(one_line(heading(prompts.answer_name).split(reply.text)[0]))
    text = unquoted(heading(prompts.question_name).sub("", text, count=1).strip())
    if is_announcement(text):
        return Unparsed("an announcement")
    return text or Unparsed("empty reply")
