"""Reading a reply that was asked for by names: `Question:` on a line, `Answer:` on another."""

from __future__ import annotations

import re

from ..records import FinishReason, Reply


def complete_text(reply: Reply) -> str:
    """The text without a last line that was cut: what stands there may be the beginning of something else."""
    if reply.finish_reason is FinishReason.LENGTH:
        return reply.text[: reply.text.rfind("\n") + 1]
    return reply.text


def heading(name: str) -> re.Pattern[str]:
    """Matches `Name:` at the start of a line, also as chat models decorate it: `**Name:**`, `### Name:`, `1. Name:`,
    `New Name:`, `Name 2:`.
    """
    number, new = r"(?:\d+[.)][ \t]*)?", r"(?:(?:new|another)[ \t]+)?"
    return re.compile(
        rf"^[ \t*_#]*{number}[*_]*{new}{re.escape(name)}(?:[ \t]+\d+)?[*_]*:[*_]*", re.MULTILINE | re.IGNORECASE
    )


def asked_in(text: str, question_name: str) -> str:
    """The question: what stands behind its heading, or, without one, behind an announcement that is a paragraph."""
    *headed, question = (part.strip() for part in heading(question_name).split(text))
    first, _, rest = question.partition("\n\n")
    return rest.strip() if rest and not headed and is_announcement(first) else question


def without_marks(line: str) -> str:
    """Without a list mark at its beginning."""
    return line.lstrip("-*•–").strip()


def unquoted(text: str) -> str:
    """Without quotes around all of it."""
    for left, right in (('"', '"'), ("“", "”"), ("'", "'")):
        if len(text) > 1 and text.startswith(left) and text.endswith(right):
            text = text[1:-1].strip()
    return text


def is_announcement(text: str) -> bool:
    """Whether nothing is said but that something follows, as chat models begin: "Sure! Here is another one:"."""
    return text.rstrip("*_ ").endswith(":")


def one_line(text: str) -> str:
    """With each stretch of white space made a blank."""
    return " ".join(text.split())
