"""Candidates as they come, newest at the bottom."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from rich.text import Text
from textual.events import Resize
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from ...report.stream import StreamedCandidate
from ...report.verification import Verification, short_lines
from ..candidate_rows import in_columns, in_two_lines
from ..run_view import MOST_CANDIDATES
from .panel import set_title

_CELLS_FOR_ONE_LINE = 110
_CELLS_OF_CORNERS = 4
_COLUMNS = "seed → student's answer → new example"


class CandidateStream(ScrollView, can_focus=True):
    """Follows the newest candidate as long as one is at the end, and otherwise stays with what is being read."""

    def __init__(self) -> None:
        super().__init__()
        self._candidates: deque[StreamedCandidate] = deque()
        self._follows = True
        self._verification: Verification | None = None
        self.border_title = f"Candidates: {_COLUMNS}"

    @property
    def ids(self) -> list[int]:
        """Of the candidates that are here, oldest first."""
        return [candidate.id for candidate in self._candidates]

    def tell(self, verification: Verification) -> None:
        """What the checks are worth by which these were let in."""
        self._verification = verification
        self._set_title()

    def _set_title(self) -> None:
        """In as many words as there is room for; what the audit says comes before what the columns are."""
        said = [*short_lines(self._verification)] if self._verification else [""]
        titles = [f"Candidates: {_COLUMNS} · {said[0]}", *(f"Candidates: {text}" for text in said if text)]
        if not said[0]:
            titles = []
        room = self.outer_size.width - _CELLS_OF_CORNERS
        set_title(self, Text(next((title for title in titles if len(title) <= room), f"Candidates: {_COLUMNS}")))

    def clear(self) -> None:
        """Another run is shown from now on."""
        self._candidates.clear()
        self._follows = True
        self._lay_out()

    def add(self, changed: Iterable[StreamedCandidate], new: Iterable[StreamedCandidate]) -> None:
        """`changed`: those here as they are now; `new`: oldest first, some of them perhaps here already."""
        by_id = {candidate.id: candidate for candidate in changed}
        newest_id = self._candidates[-1].id if self._candidates else 0
        candidates = deque(by_id.get(candidate.id, candidate) for candidate in self._candidates)
        candidates.extend(candidate for candidate in new if candidate.id > newest_id)
        if candidates == self._candidates:
            return
        self._candidates = candidates
        n_gone = max(0, len(self._candidates) - MOST_CANDIDATES)
        for _ in range(n_gone):
            self._candidates.popleft()
        if n_gone and not self._follows:
            self.scroll_to(y=max(0, self.scroll_offset.y - n_gone * self._lines), animate=False, immediate=True)
        self._lay_out()

    @property
    def _width(self) -> int:
        return self.scrollable_content_region.width

    @property
    def _lines(self) -> int:
        return 1 if self._width >= _CELLS_FOR_ONE_LINE else 2

    def _lay_out(self) -> None:
        self.virtual_size = Size(0, max(1, len(self._candidates) * self._lines))
        if self._follows:
            self.scroll_end(animate=False, immediate=True)
        self.refresh()

    def on_resize(self, _: Resize) -> None:
        self._set_title()
        self._lay_out()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._follows = self.is_vertical_scroll_end
        self.border_subtitle = "" if self._follows else "end: follow the newest"

    def render_line(self, y: int) -> Strip:
        width, line = self._width, y + self.scroll_offset.y
        if not self._candidates:
            text = Text("none yet: they come when the teacher is asked" if line == 0 else "", style="dim")
        elif line // self._lines >= len(self._candidates):
            text = Text()
        else:
            candidate = self._candidates[line // self._lines]
            text = (
                in_columns(self.app, candidate, width)
                if self._lines == 1
                else in_two_lines(self.app, candidate, width)[line % 2]
            )
        strip = Strip(text.render(self.app.console)).crop_extend(0, width, None)
        return strip.apply_style(self.rich_style)
