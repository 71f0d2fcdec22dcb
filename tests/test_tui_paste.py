"""A paste is text: in a real terminal, whatever is in it, and in however many parts it arrives."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.events import Key, Paste
from textual.message import Message
from tmux import Terminal, terminal
from workspaces import COMMAND, Workspace, add_graded_run

from llm2llm_local.store.lock import RunLock
from llm2llm_local.store.writer import Store
from llm2llm_local.tui.terminal_input import PasteKeepingParser

COLOURED = "error: \x1b[31mplease\x1b[0m stop\x1b[99;5Zps"
"""As it is copied from a terminal."""

START, END = "\x1b[200~", "\x1b[201~"


@pytest.fixture
def pane() -> Iterator[Terminal]:
    with tempfile.TemporaryDirectory(prefix="llm2llm-") as folder, terminal(Path(folder)) as pane:
        yield pane


def test_a_paste_with_escape_sequences_presses_no_key(pane: Terminal, tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        run = add_graded_run(store)
    run.folder.mkdir(parents=True)
    with RunLock(run.folder, 1):
        pane.start(shlex.join([str(COMMAND), "tui", "1"]), tmp_path)
        pane.until(lambda text: "p pause" in text)
        pane.paste(COLOURED * 1000)  # no field has the focus
        pane.press("6")
        pane.until(lambda text: "F5 or ctrl+r runs it" in text)
        assert Workspace(tmp_path).rows("SELECT * FROM commands") == []
        pane.paste(f"\n-- {COLOURED}")
        pane.until(lambda text: "-- error: [31mplease[0m stop[99;5Zps" in text)


def _read(*parts: str) -> list[str]:
    """What an app is told: keys by their names, pastes by their texts in quotes."""

    def told(message: Message) -> str:
        return message.key if isinstance(message, Key) else repr(message.text) if isinstance(message, Paste) else "?"

    parser = PasteKeepingParser()
    return [told(message) for part in parts for message in parser.feed(part)]


@given(st.lists(st.integers(0, 120)), st.text("\x1b[20~1;mps\ré", max_size=40).filter(lambda text: END not in text))
def test_a_paste_is_told_as_it_is_however_it_is_cut(cuts: list[int], text: str) -> None:
    sent = f"ab\x1b[A{START}{text}{END}c{START}{COLOURED}{END}d"
    ends = sorted({*(cut for cut in cuts if cut < len(sent)), len(sent)})
    parts = [sent[start:end] for start, end in zip([0, *ends], ends, strict=False) if start < end]
    assert _read(*parts) == ["a", "b", "up", repr(text), "c", repr(COLOURED), "d"]


def test_a_key_is_told_at_once_and_no_mark_is_a_key() -> None:
    assert _read("\x1b", "[B", END, "x", "\x1b[2", "~", START, END) == ["down", "x", "insert", "''"]
