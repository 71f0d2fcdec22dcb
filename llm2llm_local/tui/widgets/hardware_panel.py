"""The machine, and what the run's processes take of it."""

from __future__ import annotations

from rich.text import Text

from ...report.progress import RunProgress
from ..hardware import ROLES, Gpu, Sample
from ..ink import bar, ink
from ..text import one_line
from .panel import Panel

_LABEL_CELLS = 8
_MOST_BAR_CELLS = 10
_NEARLY_FULL = 0.9
_WORKS_IN = {
    **dict.fromkeys(("audit", "augment", "vote"), "teacher"),
    **dict.fromkeys(("fold_train", "fold_predict", "train", "predict", "student_vote"), "student"),
}
"""The other stages need no model."""


class HardwarePanel(Panel):
    """What of the two isn't known yet is None."""

    def __init__(self) -> None:
        super().__init__()
        self.border_title = "Hardware"
        self.sample: Sample | None = None
        self.progress: RunProgress | None = None

    def show_sample(self, sample: Sample) -> None:
        self.sample = sample
        self.redraw()

    def show_progress(self, progress: RunProgress) -> None:
        self.progress = progress
        self.redraw()

    def lines(self) -> list[Text]:
        sample = self.sample
        if sample is None:
            return [Text("looking …", style="dim")]
        lines = [*self._machine(sample), *(self._worker(sample, role) for role in ROLES)]
        if "run" in sample.memory:
            holders = [role for role in ROLES if role in sample.memory]
            lines.append(_line("device", ("free", f"held by {''.join(holders)}", "held by both")[len(holders)]))
            lines.append(_line("run", _size(sample.memory["run"])))
        return lines

    def _machine(self, sample: Sample) -> list[Text]:
        cpu = "  –" if sample.cpu_percent is None else f"{sample.cpu_percent:3.0f}%"
        lines = [
            _line("CPU", f"{cpu}, load {sample.load:.1f} of {sample.n_cpus}"),
            self._share("RAM", sample.ram_used_bytes, sample.ram_total_bytes),
        ]
        return [*(self._gpu(sample.gpu) if sample.gpu else [_line("GPU", Text("none", style="dim"))]), *lines]

    def _gpu(self, gpu: Gpu) -> list[Text]:
        figures = [
            "" if gpu.percent is None else f"{gpu.percent:3d}%",
            "" if gpu.celsius is None else f"{gpu.celsius} °C",
            "" if gpu.watts is None else f"{gpu.watts:.0f} W",
        ]
        return [
            _line("GPU", one_line(gpu.name, max(1, self.size.width - _LABEL_CELLS))),
            _line("", ", ".join(figure for figure in figures if figure)),
            self._share("", gpu.used_bytes, gpu.total_bytes),
        ]

    def _worker(self, sample: Sample, role: str) -> Text:
        """A model that is not loaded has a speed too: that of its last work."""
        works, speed = False, None
        if self.progress is not None:
            current = self.progress.current
            works = current is not None and _WORKS_IN.get(current.stage) == role
            speed = getattr(self.progress, f"{role}_tokens_per_second")
        rate = "" if speed is None else f"  {_figure(speed)} tokens/s"
        if role not in sample.memory:
            return _line(role, Text(f"not loaded{rate}", style="dim"))
        style = ink(self.app, "primary", bold=True) if works else ""
        return _line(role, Text(f"{'▶' if works else ' '} {_size(sample.memory[role])}{rate}", style=style))

    def _share(self, label: str, used: int, total: int) -> Text:
        words = f"{used / 2**30:.1f} of {total / 2**30:.0f} GiB"
        cells = max(0, min(_MOST_BAR_CELLS, self.size.width - _LABEL_CELLS - len(words) - 1))
        style = ink(self.app, "warning" if used > _NEARLY_FULL * total else "primary")
        return _line(label, bar(used / total, cells, style), " " if cells else "", words)


def _line(label: str, *parts: str | Text) -> Text:
    return Text.assemble((f"{label:{_LABEL_CELLS}}", "dim"), *parts, no_wrap=True)


def _figure(n: float) -> str:
    """In five characters at most: the panel is narrow."""
    if n < 9_999.5:
        return f"{n:,.0f}"
    return f"{n / 1000:.1f}k" if n < 99_950 else f"{n / 1000:.0f}k"


def _size(n_bytes: int) -> str:
    if n_bytes < 2**30:
        return f"{n_bytes / 2**20:.0f} MiB"
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes < 100 * 2**30 else f"{n_bytes / 2**30:.0f} GiB"
