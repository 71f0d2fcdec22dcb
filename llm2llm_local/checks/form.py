"""The `format` check: is the candidate complete, of sensible length, in the seeds' writing?"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

from ..records import CheckVerdict, Decision, NewExample
from ..tasks.base import Task

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""What a teacher's bytes that are no text become; some people's data have it, too."""


class FormatCheck:
    """Compares with what the seeds look like, so that it needs no settings for a new language or task."""

    def __init__(self, task: Task, seed_questions: Sequence[str], max_length_ratio: float) -> None:
        self._task = task
        self._max_characters = int(max_length_ratio * max(len(question) for question in seed_questions))
        self._has_replacements = any(_REPLACEMENT in question for question in seed_questions)
        self._scripts = {script for question in seed_questions for script in _scripts(question)}

    def __call__(self, new: NewExample) -> CheckVerdict:
        defect = self._defect(new)
        if defect is None:
            return CheckVerdict("format", Decision.ACCEPT, "", "", None)
        reason, detail = defect
        return CheckVerdict("format", Decision.REJECT, reason, detail, None)

    def _defect(self, new: NewExample) -> tuple[str, str] | None:
        question = new.question
        if len(question) > self._max_characters:
            return "too long", f"{len(question)} characters, at most {self._max_characters}"
        if not any(character.isalnum() for character in question):
            return "no words", ""
        control = next((c for c in question + new.answer if unicodedata.category(c) == "Cc" and c not in "\n\t"), None)
        if control is not None:
            return "control character", f"U+{ord(control):04X}"
        if _REPLACEMENT in question + new.answer and not self._has_replacements:
            return "broken character", "U+FFFD, as bytes that are no text become"
        scripts = Counter(_scripts(question))
        foreign = {script: n for script, n in scripts.items() if script not in self._scripts}
        if sum(foreign.values()) > scripts.total() / 2:
            return "another script", ", ".join(sorted(foreign))
        reason = self._task.defect(new)
        return None if reason is None else (reason, "")


def _scripts(text: str) -> list[str]:
    """The script of every letter, by the first word of its Unicode name: LATIN, CYRILLIC, CJK …"""
    return [unicodedata.name(character, "UNNAMED").split()[0] for character in text if character.isalpha()]
