"""A run at a glance: how far it is, how its students do, what the teacher writes, what the machine does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.message import Message
from textual.widget import Widget

from ...store.reader import require_run
from ..hardware import Sample, Sampler
from ..run_view import Known, RunView, run_view
from ..screen import HistoryScreen
from ..widgets.accuracy_plot import AccuracyPlot
from ..widgets.candidate_stream import CandidateStream
from ..widgets.candidates_plot import CandidatesPlot
from ..widgets.growth_plot import GrowthPlot
from ..widgets.hardware_panel import HardwarePanel
from ..widgets.loss_plot import LossPlot
from ..widgets.plot import Plot
from ..widgets.steering import Steering
from ..widgets.timeline import Timeline

_SECONDS_BETWEEN_SAMPLES = 5.0
_LOOKS_WITHOUT_A_RUN = 2
"""Every so many times the machine is looked at while no process works on the run."""
_PLOTS = ("accuracy", "loss", "candidates", "growth")
_ALL = "all"
"""But for that of growth, which is only there when it is chosen."""


_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]
_BREAKPOINTS_OF_HEIGHT = [(0, "-short"), (34, "-tall"), (50, "-high")]


class DashboardScreen(HistoryScreen):
    """The home of a run that is being worked on."""

    TITLE = "Run"
    HORIZONTAL_BREAKPOINTS = _BREAKPOINTS
    VERTICAL_BREAKPOINTS = _BREAKPOINTS_OF_HEIGHT
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "steer('pause')", "Pause"),
        Binding("r", "steer('resume')", "Resume"),
        Binding("s", "steer('stop')", "Stop"),
        Binding("v", "next_plot", "Next plot"),
    ]

    class Sampled(Message):
        """The machine was looked at."""

        def __init__(self, sample: Sample) -> None:
            super().__init__()
            self.sample = sample

    def __init__(self) -> None:
        super().__init__()
        self._shown_run: int | None = None
        self._plot = _ALL
        self._sampler = Sampler()
        self._is_sampling = False
        self._run_pid: int | None = None
        self._n_passed = 0

    def compose_body(self) -> Iterable[Widget]:
        with Container(classes="body"):
            with Vertical(id="course"):
                yield Timeline()
                yield Steering()
            yield HardwarePanel()
            with Horizontal(id="plots"):
                yield LossPlot(id="loss")
                yield AccuracyPlot(id="accuracy")
                yield CandidatesPlot(id="candidates")
                yield GrowthPlot(id="growth")
            yield CandidateStream()

    def on_mount(self) -> None:
        self._choose_plot(_ALL)
        self._sampling = self.set_interval(_SECONDS_BETWEEN_SAMPLES, self._look_in_time)
        self._look()

    def on_screen_suspend(self) -> None:
        self._sampling.pause()

    def on_screen_resume(self) -> None:
        self._sampling.resume()

    # --- the run ---

    def update_view(self) -> None:
        workspace, chosen, now = self.llm2llm.workspace, self.run_id, self.llm2llm.clock()
        stream = self.query_one(CandidateStream)
        known = Known(self._shown_run, stream.ids)
        self.read(lambda reader: run_view(reader, workspace, require_run(reader, chosen), known, now), self._show)

    def _show(self, view: RunView) -> None:
        status = view.course.status
        stream = self.query_one(CandidateStream)
        if status.run_id != self._shown_run:
            self._shown_run = status.run_id
            stream.clear()
        with self.app.batch_update():
            self.query_one(Timeline).show(view.course)
            self.query_one(Steering).show(status, view.pending, view.deaths)
            self.query_one(HardwarePanel).show_progress(view.course.progress)
            self.query_one(LossPlot).show(view.loss)
            self.query_one(AccuracyPlot).show(view.accuracies)
            self.query_one(CandidatesPlot).show(view.counts)
            self.query_one(GrowthPlot).show(view.growth)
            stream.add(view.known, view.new)
            stream.tell(view.verification)
        if status.pid != self._run_pid:
            self._run_pid = status.pid
            self._look()

    # --- the plots ---

    def action_next_plot(self) -> None:
        """One plot after another; where there is room for three, these together are among them."""
        views = [*_PLOTS] if self.has_class("-narrow") else [_ALL, *_PLOTS]
        shown = views.index(self._plot) if self._plot in views else 0
        self._choose_plot(views[(shown + 1) % len(views)])

    def _choose_plot(self, name: str) -> None:
        self._plot = name
        self.query_one("#plots").set_class(name != _ALL, "one")
        for plot in self.query(Plot):
            plot.set_class(plot.id == (_PLOTS[0] if name == _ALL else name), "chosen")

    # --- the machine ---

    def _look_in_time(self) -> None:
        self._n_passed += 1
        if self._run_pid is not None or self._n_passed % _LOOKS_WITHOUT_A_RUN == 0:
            self._look()

    def _look(self) -> None:
        if not self._is_sampling:
            self._is_sampling = True
            self._sample(self._run_pid)

    @work(thread=True, group="sampling")
    def _sample(self, run_pid: int | None) -> None:
        self.post_message(self.Sampled(self._sampler.sample(run_pid)))

    def on_dashboard_screen_sampled(self, message: Sampled) -> None:
        self._is_sampling = False
        self.query_one(HardwarePanel).show_sample(message.sample)
