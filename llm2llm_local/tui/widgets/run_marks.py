"""How runs are told apart side by side: a marker and a colour each, the same wherever they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.text import Text
from textual.app import App

from ..ink import ink

_MARKERS = "●▲■◆○△□◇"
_COLORS = ("primary", "accent", "success", "secondary", "error")

MOST_RUNS = len(_MARKERS)
"""Side by side; no two of them have the same marker."""


@dataclass(frozen=True, slots=True)
class Mark:
    """`color`: its name in the theme."""

    marker: str
    color: str

    def text(self, app: App[object]) -> Text:
        return Text(self.marker, style=ink(app, self.color, bold=True))


def marks(run_ids: Sequence[int]) -> Mapping[int, Mark]:
    """For at most MOST_RUNS runs."""
    return {
        run_id: Mark(_MARKERS[place], _COLORS[place % len(_COLORS)]) for place, run_id in enumerate(run_ids[:MOST_RUNS])
    }
