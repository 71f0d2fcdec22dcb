"""Light and dark, both with the colour-blind-safe palette of Okabe and Ito (2008); and one for 16 colours.

What a colour says is always said by a word or a sign as well.
"""

from __future__ import annotations

from textual.theme import Theme

_BLUE, _SKY, _GREEN, _ORANGE, _VERMILLION, _PURPLE = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7"

DARK = Theme(
    name="llm2llm-dark",
    primary=_SKY,
    secondary=_PURPLE,
    accent=_ORANGE,
    success="#2EC4A0",
    warning=_ORANGE,
    error="#F0843C",
    foreground="#E4E8EC",
    background="#101418",
    surface="#171D23",
    panel="#222B34",
    dark=True,
)
LIGHT = Theme(
    name="llm2llm-light",
    primary=_BLUE,
    secondary="#9A3F73",
    accent="#8A5A00",
    success="#00694C",
    warning="#8A5A00",
    error="#A84300",
    foreground="#16202A",
    background="#FAFBFC",
    surface="#FFFFFF",
    panel="#E3E9EF",
    dark=False,
)
SIXTEEN_COLORS = "ansi-dark"
"""Textual's own, in the terminal's palette: approximations of the others would lose their contrast."""

THEMES = (DARK, LIGHT)
