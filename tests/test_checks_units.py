"""Checking in units: what was accepted counts for the candidates after it, in the same process or in another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from comparison import differences
from fake_runs import Crash, configuration, rows, run_of
from fakes import FakeStudent, FakeTeacher

from llm2llm_local.checks import similarity
from llm2llm_local.loop import check
from llm2llm_local.loop.llm2llm import llm2llm

CONFIGURATION = configuration(loop__iterations=2, teacher__attempts=2)
DECISIONS = (
    "SELECT c.iteration, c.attempt, c.key, c.verdict, v.detail FROM candidates c JOIN verdicts v "
    "ON v.candidate_id = c.id ORDER BY v.id"
)


def repetitive() -> FakeTeacher:
    """Often writes what it wrote for another question before."""
    return FakeTeacher(write=lambda request: f" message number {request.rng_seed % 5} of these")


def failing() -> FakeStudent:
    return FakeStudent(lambda example, segment: False)


def test_units_decide_as_one_long_unit_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decisions = []
    for size in (1, 3, 64):
        monkeypatch.setattr(check, "_GROUP_SIZE", size)
        (tmp_path / str(size)).mkdir()
        with run_of(tmp_path / str(size), CONFIGURATION, repetitive(), failing()) as run:
            llm2llm(run)
        decisions.append(rows(tmp_path / str(size), DECISIONS))
    assert decisions[0] == decisions[1] == decisions[2]
    assert len({(verdict, detail) for *_, verdict, detail in decisions[0]}) > 3


@pytest.mark.parametrize("stop_after", range(1, 4))
def test_a_run_stopped_between_any_two_units_goes_on_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    monkeypatch.setattr(check, "_GROUP_SIZE", 2)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir()
    stopped.mkdir()

    def stop() -> None:
        (done,) = rows(stopped, "SELECT coalesce(max(units_done), 0) FROM stages WHERE stage = 'check'")
        if done[0] == stop_after:
            raise Crash

    with run_of(whole, CONFIGURATION, repetitive(), failing()) as run:
        llm2llm(run)
    with run_of(stopped, CONFIGURATION, repetitive(), failing(), obey=stop) as run, pytest.raises(Crash):
        llm2llm(run)
    with run_of(stopped, CONFIGURATION, repetitive(), failing(), run_id=1) as run:
        llm2llm(run)
    assert differences(whole, 1, stopped, 1) == []


def test_texts_are_indexed_once_a_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    indexed: list[int] = []
    build = similarity.TextIndex.__init__

    def count(index: Any, texts: Any, threshold: float) -> None:
        indexed.append(len(texts))
        build(index, texts, threshold)

    monkeypatch.setattr(similarity.TextIndex, "__init__", count)
    monkeypatch.setattr(check, "_GROUP_SIZE", 2)
    with run_of(tmp_path, CONFIGURATION, repetitive(), failing()) as run:
        llm2llm(run)
    (rounds,) = rows(tmp_path, "SELECT count(*), sum(units_total) FROM stages WHERE stage = 'check'")
    assert rounds[1] > rounds[0]
    assert len(indexed) == 2 * rounds[0]  # the known texts and the held-out ones
