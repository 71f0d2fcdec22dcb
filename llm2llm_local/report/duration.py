"""Seconds as a person reads them."""

from __future__ import annotations

DAY_SECONDS = 86_400
LONGEST_SECONDS = 365 * DAY_SECONDS
"""What is reckoned to take longer has grown from round to round, and no figure of it would be true."""

FULL_CELLS = len("59 min 59 s")
"""The most that `duration` takes up to a hundred days."""


def duration(seconds: float) -> str:
    """In the two largest units that matter. What isn't a number takes more than a year."""
    if not seconds <= LONGEST_SECONDS:
        return "more than a year"
    whole = round(seconds)
    if whole < 1:
        return "<1 s"
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def estimated(seconds: float) -> str:
    """A time that was reckoned and not measured."""
    return f"about {duration(seconds)}" if seconds <= LONGEST_SECONDS else duration(seconds)


def short_duration(seconds: float, cells: int) -> str:
    """The same in few cells: units as letters (`35m 00s`), and the largest alone (`35m`) where both don't fit."""
    if not seconds <= LONGEST_SECONDS:
        return ">1y"
    units = duration(seconds).replace(" min", "m").replace(" s", "s").replace(" h", "h").replace(" d", "d")
    return units if len(units) <= cells else units.partition(" ")[0]
