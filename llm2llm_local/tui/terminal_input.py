"""What the terminal sends: a paste is text, whatever is in it.

Textual 8.2 reads escape sequences inside a bracketed paste too, and lets what it doesn't know through as keys: a
copied error message with colours in it could stop a run. Here nothing between a paste's marks gets to that parser.
"""

from __future__ import annotations

from collections.abc import Iterable

from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START, XTermParser
from textual.drivers import linux_driver
from textual.events import Paste
from textual.message import Message


class PasteKeepingParser(XTermParser):
    """A mark, and a paste, may come in several reads."""

    def __init__(self, debug: bool = False) -> None:
        super().__init__(debug)
        self._last_read = ""
        """Since the last mark, as much as may be the beginning of the next one."""
        self._pasted: list[str] | None = None
        """The parts of the paste that has begun."""

    def feed(self, data: str) -> Iterable[Message]:
        if not data:  # the end of all input
            yield from super().feed(data)
        while data:
            mark = BRACKETED_PASTE_START if self._pasted is None else BRACKETED_PASTE_END
            seen = self._last_read + data
            at = seen.find(mark)
            end = len(data) if at < 0 else at + len(mark) - len(self._last_read)
            self._last_read = seen[-(len(mark) - 1) :] if at < 0 else ""
            part, data = data[:end], data[end:]
            if self._pasted is None:
                yield from super().feed(part)
                if at >= 0:
                    self._pasted = []
                continue
            self._pasted.append(part)
            if at >= 0:
                text = "".join(self._pasted).removesuffix(mark)
                self._pasted = None
                # The other parser saw both marks and nothing between them: an empty paste.
                yield from (message for message in super().feed(mark) if not isinstance(message, Paste))
                yield Paste(text.replace("\x00", ""))


class TerminalDriver(linux_driver.LinuxDriver):
    """Textual's, with that parser."""

    def run_input_thread(self) -> None:
        linux_driver.XTermParser = PasteKeepingParser  # type: ignore[attr-defined]  # there is no other way
        super().run_input_thread()
