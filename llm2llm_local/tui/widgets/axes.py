"""The axes of a plot, fit for a terminal of any size."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10

from textual.reactive import reactive
from textual_plot import PlotWidget
from textual_plot.axis_formatter import AxisFormatter

_CELLS_OF_X_TICK, _CELLS_OF_Y_TICK = 8, 2
_FACTORS = (1, 2, 5, 10, 20, 50)
"""Steps between ticks, times a power of ten."""


class Ticks(AxisFormatter):
    """As many as there is room for. `least_step`: 1 where there is nothing between whole numbers."""

    def __init__(self, *, least_step: float = 0.0, unit: str = "") -> None:
        self._least_step = least_step
        self._unit = unit
        self.most = 2
        """Set by the axes, which know how large they are."""

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 0) -> list[float]:
        power = 10.0 ** floor(log10((max_ - min_) / self.most))
        for step in (max(self._least_step, factor * power) for factor in _FACTORS):
            ticks = [step * n for n in range(ceil(min_ / step), floor(max_ / step) + 1)]
            if len(ticks) <= self.most:
                break
        return ticks

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        return [f"{tick / 1000:g}k" if tick >= 10_000 else f"{tick:.6g}{self._unit}" for tick in ticks]


class Axes(PlotWidget, can_focus=False, inherit_bindings=False):
    """The library's plot without its keys, which would hide those of the screen (r), and without zooming."""

    margin_top = reactive(0)
    margin_bottom = reactive(1)
    margin_left = reactive(6)

    def __init__(self) -> None:
        super().__init__(allow_pan_and_zoom=False)
        self._x_ticks_made, self._y_ticks_made = Ticks(), Ticks()

    def set_ticks(self, x: Ticks, y: Ticks) -> None:
        self._x_ticks_made, self._y_ticks_made = x, y
        self.set_x_formatter(x)
        self.set_y_formatter(y)

    def draw(self) -> None:
        """All that was set and plotted, at once: left to the next time that the screen is drawn, what the canvases then
        show would need it to be drawn once more.
        """
        if self.size:
            self.render()
        else:
            self.refresh()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self.refresh()

    def _rerender(self) -> None:
        """Nothing here shows by itself; the canvases tell what of them has changed."""
        self._needs_rerender = True

    def _render_plot(self) -> None:
        self._x_ticks_made.most = max(2, self.size.width // _CELLS_OF_X_TICK)
        self._y_ticks_made.most = max(2, self.size.height // _CELLS_OF_Y_TICK)
        super()._render_plot()
