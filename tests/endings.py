"""How a command ends: the exit codes, and what a refusal looks like."""

from __future__ import annotations

from workspaces import Ending

DONE, FAILED, USER_INPUT, RESUMABLE = 0, 1, 2, 3


def assert_refused(ending: Ending, *words: str) -> None:
    """One clear message on standard error, nothing on standard output, the exit code of a user's mistake."""
    assert "Traceback" not in ending.err, ending.err
    assert ending.code == USER_INPUT, ending
    assert ending.out == ""
    assert ending.err.count("llm2llm: ") == 1, ending.err
    for word in words:
        assert word in ending.err, ending.err
