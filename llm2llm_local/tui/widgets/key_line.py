"""The keys that can be pressed, in the last line of a screen."""

from __future__ import annotations

from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import Footer


class KeyLine(Footer):
    """Textual's, which makes all its keys anew whenever a screen is shown or left, and never lets go of the old ones.

    This one does so only when there are other keys.
    """

    def __init__(self) -> None:
        super().__init__(show_command_palette=False)
        self._shown: list[tuple[Binding, bool, str]] = []

    def bindings_changed(self, screen: Screen[object]) -> None:
        self._bindings_ready = True
        if screen.app.app_focus and self.is_attached:
            self.call_after_refresh(self._show_changes)

    async def _show_changes(self) -> None:
        if not self.is_attached:  # a dialog was closed meanwhile
            return
        active = self.screen.active_bindings.values()
        shown = [(binding, enabled, tooltip) for _, binding, enabled, tooltip in active if binding.show]
        if shown != self._shown:
            self._shown = shown
            await self.recompose()
            self.mutate_reactive(Footer.compact)  # the only moment at which it forgets keys that are gone
