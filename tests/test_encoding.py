"""Files that Windows' editors write: a byte-order mark is never a part of the text, and UTF-16 is told by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm2llm_local.encoding import is_utf16, wide_encoding
from llm2llm_local.report.questions import Question
from llm2llm_local.tui.query_files import own_queries, query_file, write_private


@pytest.mark.parametrize("text", ["a", "ab\n", "\ufeffab", "é", "日本", "\ufeff"])
def test_utf8_is_not_taken_for_utf16(text: str) -> None:
    assert not is_utf16(text.encode())
    assert wide_encoding(text.encode()) is None


@pytest.mark.parametrize("start", [b"", b"\0", b"\0\0\0", b"{", b"\xff", b"\xfe\xfe"])
def test_what_is_no_text_is_not_taken_for_utf16(start: bytes) -> None:
    assert not is_utf16(start)
    assert wide_encoding(start) is None


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_told(encoding: str) -> None:
    assert is_utf16("SELECT 1".encode(encoding))
    assert is_utf16("\ufeffé".encode("utf-16-le"))
    assert is_utf16("\ufeffé".encode("utf-16-be"))


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("order", ["le", "be"])
@pytest.mark.parametrize("width", ["16", "32"])
def test_encodings_of_more_bytes_are_told_apart(width: str, order: str, mark: str) -> None:
    assert wide_encoding(f"{mark}SELECT 1".encode(f"utf-{width}-{order}")) == f"UTF-{width}"


def test_a_saved_query_from_windows_is_its_text_alone(tmp_path: Path) -> None:
    path = query_file(tmp_path, "mine")
    write_private(path, "")
    path.write_bytes(b"\xef\xbb\xbfSELECT 1\r\nFROM runs\r\n")
    assert own_queries(tmp_path) == (Question("mine", "SELECT 1\nFROM runs\n"),)


def test_a_saved_query_in_utf16_says_what_to_do(tmp_path: Path) -> None:
    path = query_file(tmp_path, "mine")
    write_private(path, "")
    path.write_bytes("SELECT 1".encode("utf-16"))
    (question,) = own_queries(tmp_path)
    assert question.sql.startswith(f"-- {path}: is UTF-16, not UTF-8. Save the file as UTF-8")
    assert "\n" not in question.sql
