"""A plot in a panel: its legend is the panel's title, so that no line of a small terminal is lost to it.

Series differ in colour, which follows the theme, and in their marker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static
from textual_plot import HiResMode

from ..ink import ink
from .axes import Axes
from .panel import set_title

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Series:
    """Points from left to right. `color`: its name in the theme. `ranges`: from and to, of each point or of none."""

    name: str
    marker: str
    color: str
    xs: Sequence[float]
    ys: Sequence[float]
    ranges: Sequence[tuple[float, float]] = ()


class Plot(Vertical, Generic[T]):
    """A subclass tells what its data look like; they are drawn anew only when they, or the theme, have changed."""

    nothing = "no figures yet"

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._data: T | None = None

    def compose(self) -> ComposeResult:
        yield Static(self.nothing, classes="muted")
        yield Axes()

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _: self._draw())
        self._draw()

    def show(self, data: T | None) -> None:
        """None: there is nothing to plot."""
        if data != self._data:
            self._data = data
            if self.is_mounted:  # otherwise its parts aren't there yet, and mounting draws
                self._draw()

    def draw(self, data: T | None) -> None:
        """Set limits and formatters, and `put` the series."""
        raise NotImplementedError

    def _draw(self) -> None:
        self.draw(self._data)

    @property
    def axes(self) -> Axes:
        return self.query_one(Axes)

    def put(self, title: str, series: Sequence[Series]) -> None:
        """Replace what is plotted."""
        axes = self.axes
        series = [one for one in series if one.xs]
        self.query_one(Static).display = not series
        axes.display = bool(series)
        set_title(self, self._legend(title, series))
        axes.clear()
        for one in reversed(series):  # the first one on top
            color = str(ink(self.app, one.color))
            axes.plot(one.xs, one.ys, line_style=color, hires_mode=HiResMode.BRAILLE)
            if one.ranges:
                middles = [(low + high) / 2 for low, high in one.ranges]
                reach = [(high - low) / 2 for low, high in one.ranges]
                axes.errorbar(one.xs, middles, yerr=reach, marker="│", marker_style=color)
            if one.marker:
                axes.scatter(one.xs, one.ys, marker=one.marker, marker_style=f"bold {color}")
        axes.draw()

    def _legend(self, title: str, series: Sequence[Series]) -> Text:
        legend = Text(title)
        for one in series:
            if one.marker:
                legend.append(f"  {one.marker} ", ink(self.app, one.color, bold=True))
                legend.append(one.name)
        return legend
