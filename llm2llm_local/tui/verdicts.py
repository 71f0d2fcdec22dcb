"""Verdicts as a sign and a word, in a colour that only repeats them."""

from __future__ import annotations

from rich.style import Style
from rich.text import Text
from textual.app import App

from .ink import ink

_SIGNS = {
    "accept": ("✓", "success"),
    "doubt": ("?", "warning"),
    "reject": ("✗", "error"),
    "pending": ("…", "secondary"),
}

BY_PERSON = "◆"
"""After a verdict: a person said so."""

ASKED = "◇"
"""After a verdict: a person is asked whether that is right."""

REFUSED = "!"
"""After a verdict: a person said otherwise, but that could not be carried out."""

VERDICT_MARKS = (
    (ASKED, "Accepted, and drawn at random for you to say if rightly"),
    (BY_PERSON, "A person decided so"),
    (REFUSED, "A person decided otherwise, but it could not be carried out"),
)
"""All of them, as help tells them."""


def verdict_style(app: App[object], verdict: str) -> Style:
    return ink(app, _SIGNS[verdict][1])


def verdict_text(app: App[object], verdict: str, mark: str = "") -> Text:
    """`verdict`: accept | doubt | reject | pending."""
    return Text(f"{_SIGNS[verdict][0]} {verdict} {mark}".rstrip(), style=verdict_style(app, verdict))
