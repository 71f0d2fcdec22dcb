"""Reading a reply that was asked for by names: `Question:` on a line, `Answer:` on another."""

from __future__ import annotations

import re

from ..records import FinishReason, Reply

_ANNOUNCEMENT = re.compile(
    r"(?:sure|certainly|of course|absolutely|okay|ok|great)\b|here\b.*\b(?:new|another)\b", re.IGNORECASE
)
"""How one begins. That a paragraph ends in a colon isn't enough: so do the givens of many a question."""


def complete_text(reply: Reply) -> str:
    """The text without a last line that was cut: what stands there may be the beginning of something else."""
    if reply.finish_reason is FinishReason.LENGTH:
        return reply.text[: reply.text.rfind("\n") + 1]
    return reply.text


def heading(name: str) -> re.Pattern[str]:
    """Matches `Name:` at the start of a line, also as chat models decorate it: `**Name:**`, `### Name:`."""
    return _at_line_start(re.escape(name))


def _heading_of_new(name: str) -> re.Pattern[str]:
    """As chat models number it, or say that it is new: `1. Name:`, `New Name:`, `Name 2:`."""
    return _at_line_start(rf"(?:\d+[.)][ \t]*)?[*_]*(?:(?:new|another)[ \t]+)?{re.escape(name)}(?:[ \t]+\d+)?")


def _at_line_start(name: str) -> re.Pattern[str]:
    return re.compile(rf"^[ \t*_#]*{name}[*_]*:[*_]*", re.MULTILINE | re.IGNORECASE)


def split_at_answer(text: str, answer_name: str) -> tuple[str, str]:
    """What stands before the first heading of an answer, and behind it ("" where there is none)."""
    for pattern in (heading(answer_name), _heading_of_new(answer_name)):
        before, *after = pattern.split(text, maxsplit=1)
        if after:
            return before, after[0]
    return text, ""


def asked_in(text: str, question_name: str) -> str:
    """The question: what stands behind its last heading, or behind the only one that says that it is new, or, without
    any, behind an announcement that is a paragraph.
    """
    *headed, question = heading(question_name).split(text)
    if headed:
        return question.strip()
    if len(parts := _heading_of_new(question_name).split(text)) == 2:
        return parts[1].strip()
    first, _, rest = text.strip().partition("\n\n")
    return rest.strip() if rest and _ANNOUNCEMENT.match(first) and is_announcement(first) else text.strip()


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
