"""Forks of verified runs, by fake engines: what is taken over, who is asked again, and what gets in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from comparison import differences
from fake_runs import configuration, fork, half_learnt, rows, run_of
from knowing import NOTHING_LEARNT, KindStudent, KnowingTeacher, verified, writes

from llm2llm_local.config import Config, flatten
from llm2llm_local.loop.llm2llm import llm2llm
from llm2llm_local.report.work import run_work
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.writer import Store


def test_a_fork_with_other_thresholds_trains_nothing_anew_and_asks_nobody_again(tmp_path: Path) -> None:
    config = verified(checks__verifier="both", loop__failure_signal="kfold", loop__iterations=1)
    with run_of(tmp_path, config, KnowingTeacher(writes), KindStudent(half_learnt)) as run:
        llm2llm(run)
    other = verified(
        checks__verifier="both", loop__failure_signal="kfold", loop__iterations=1, checks__accept_probability=0.7
    )
    fork(tmp_path, other)
    teacher, student = KnowingTeacher(writes), KindStudent(half_learnt)
    with run_of(tmp_path, other, teacher, student, run_id=2) as run:
        llm2llm(run)
    assert student.segments and all("iteration-1" in segment.output.parts for segment in student.segments)
    assert rows(tmp_path, "SELECT count(*) FROM votes WHERE run_id = 1 AND example_id IS NOT NULL") == rows(
        tmp_path, "SELECT count(*) FROM votes WHERE run_id = 2 AND example_id IS NOT NULL"
    )
    assert not any("Question: seed" in ballot.prompt.completion.rpartition("\n\n")[2] for ballot in teacher.ballots)


@pytest.mark.parametrize(
    "changes",
    [{"teacher__temperature": 0.5, "teacher__demonstrations": 1}, {"checks__duplicate_threshold": 0.5}],
    ids=["how new examples are written", "another check"],
)
def test_an_audit_is_taken_over_by_a_fork_that_leaves_verification_as_it_is(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    with run_of(tmp_path, verified(loop__iterations=1), KnowingTeacher(writes), NOTHING_LEARNT) as run:
        llm2llm(run)
    other = verified(loop__iterations=1, **changes)
    taken = fork(tmp_path, other)
    assert {"audit", "calibrate", "train"} <= set(taken) and "check" not in taken


def test_a_fork_that_keeps_doubtful_candidates_is_audited_so(tmp_path: Path) -> None:
    with run_of(tmp_path, verified(loop__iterations=1), KnowingTeacher(writes), NOTHING_LEARNT) as run:
        llm2llm(run)
    taken = fork(tmp_path, verified(loop__iterations=1, checks__doubt="keep"))
    assert {"audit", "train"} <= set(taken) and "calibrate" not in taken


@pytest.mark.parametrize(("before", "after"), [("both", "teacher"), ("teacher", "both")])
def test_the_teacher_votes_once_whoever_else_votes(tmp_path: Path, before: str, after: str) -> None:
    everything = {"loop__failure_signal": "confidence", "loop__least_confident": 1.0, "loop__iterations": 1}
    first, other = (verified(checks__verifier=verifier, **everything) for verifier in (before, after))
    with run_of(tmp_path, first, KnowingTeacher(writes), KindStudent(half_learnt)) as run:
        llm2llm(run)
    assert {"audit", "vote"} <= set(fork(tmp_path, other))
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    for folder, run_id in ((tmp_path, 2), (fresh, None)):
        with run_of(folder, other, KnowingTeacher(writes), KindStudent(half_learnt), run_id=run_id) as run:
            llm2llm(run)
    made = ("examples", "training_set_examples", "teacher_calls", "candidates", "verdicts", "audits")
    assert [one for one in differences(fresh, 1, tmp_path, 2) if one.startswith(made)] == []
    votes = "SELECT verifier, count(*) FROM votes WHERE run_id = {} GROUP BY verifier"
    assert rows(fresh, votes.format(1)) == rows(tmp_path, votes.format(2))


def test_where_students_alone_vote_the_teachers_votes_are_left_behind(tmp_path: Path) -> None:
    with run_of(tmp_path, verified(checks__verifier="both"), KnowingTeacher(writes), KindStudent(half_learnt)) as run:
        llm2llm(run)
    assert not {"audit", "vote", "calibrate"} & set(fork(tmp_path, verified(checks__verifier="student")))


def test_a_fork_has_verified_what_another_check_refused_before(tmp_path: Path) -> None:
    everything: dict[str, Any] = {"loop__failure_signal": "confidence", "loop__least_confident": 1.0}
    strict, loose = (
        verified(checks__verifier="both", loop__iterations=1, checks__duplicate_threshold=threshold, **everything)
        for threshold in (0.5, 0.95)
    )
    forked, fresh = tmp_path / "forked", tmp_path / "fresh"
    for folder in (forked, fresh):
        folder.mkdir()
    with run_of(forked, strict, KnowingTeacher(writes), KindStudent(half_learnt)) as run:
        llm2llm(run)
    assert rows(forked, "SELECT count(*) > 0 FROM verdicts WHERE check_name = 'duplicate' AND verdict = 'reject'") == [
        (1,)
    ]
    fork(forked, loose)
    assert rows(forked, "SELECT count(*) FROM teacher_calls WHERE run_id = 2") != [(0,)]
    for folder, run_id in ((forked, 2), (fresh, None)):
        with run_of(folder, loose, KnowingTeacher(writes), KindStudent(half_learnt), run_id=run_id) as run:
            llm2llm(run)
    assert [one for one in differences(fresh, 1, forked, 2) if not one.startswith("events")] == []


def test_a_fork_that_goes_on_for_longer_takes_over_all_but_the_last_count_of_failures(tmp_path: Path) -> None:
    """Of the last iteration no failures were wanted, and now they are."""
    both = {"checks__verifier": "both", "loop__failure_signal": "kfold"}
    with run_of(tmp_path, verified(**both), KnowingTeacher(writes), KindStudent(half_learnt)) as run:
        llm2llm(run)
    longer = verified(**both, loop__iterations=3)
    assert fork(tmp_path, longer)[-2:] == ["train", "predict"]
    n_taken, n_done = (rows(tmp_path, f"SELECT count(*) FROM stages WHERE run_id = {run}")[0][0] for run in (2, 1))
    assert n_taken == n_done - 1
    assert rows(tmp_path, "SELECT sum(run_id = 1) - sum(run_id = 2) FROM votes") == [(0,)]
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    for folder, run_id in ((tmp_path, 2), (fresh, None)):
        with run_of(folder, longer, KnowingTeacher(writes), KindStudent(half_learnt), run_id=run_id) as run:
            llm2llm(run)
    made = ("examples", "training_set_examples", "teacher_calls", "candidates", "verdicts")
    assert [one for one in differences(fresh, 1, tmp_path, 2) if one.startswith(made)] == []
    failed = "SELECT iteration, example_id FROM failures WHERE run_id = {} ORDER BY 1, 2"
    of_fork, of_fresh = (rows(folder, failed.format(run)) for folder, run in ((tmp_path, 2), (fresh, 1)))
    offset = rows(tmp_path, "SELECT min(id) FROM examples WHERE run_id = 2")[0][0] - 1
    assert [(iteration, example - offset) for iteration, example in of_fork] == of_fresh


@pytest.mark.parametrize(("signal", "last"), [("kfold", "predict"), ("train", "grade"), ("confidence", "grade")])
def test_a_fork_that_ends_earlier_is_as_if_it_had_been_so_from_the_start(
    tmp_path: Path, signal: str, last: str
) -> None:
    """What folds said in an iteration that is its last now is left behind, and all that came later."""
    both: dict[str, Any] = {"checks__verifier": "both", "loop__failure_signal": signal}
    forgetful = KindStudent(lambda example, segment: False)
    shorter = verified(**both, loop__iterations=1)
    forked, fresh = tmp_path / "forked", tmp_path / "fresh"
    for folder in (forked, fresh):
        folder.mkdir()
    with run_of(forked, verified(**both), KnowingTeacher(writes), forgetful) as run:
        llm2llm(run)
    kept = fork(forked, shorter)
    assert (kept.count("train"), kept[-1]) == (2, last)
    for folder, run_id in ((forked, 2), (fresh, None)):
        with run_of(folder, shorter, KnowingTeacher(writes), forgetful, run_id=run_id) as run:
            llm2llm(run)
    assert [one for one in differences(fresh, 1, forked, 2) if not one.startswith("events")] == []
    assert len(fork(forked, shorter, origin=2)) == rows(forked, "SELECT count(*) FROM stages WHERE run_id = 2")[0][0]


@pytest.mark.parametrize("signal", ["train", "kfold", "confidence"])
@pytest.mark.parametrize("other", ["train", "kfold", "confidence"])
def test_another_signal_trains_no_student_anew_in_the_first_iteration(tmp_path: Path, signal: str, other: str) -> None:
    """Those of folds are there for their votes, whoever tells failures."""

    def config(signal: str) -> Config:
        return verified(checks__verifier="both", loop__failure_signal=signal, loop__iterations=1)

    forked, fresh = tmp_path / "forked", tmp_path / "fresh"
    for folder in (forked, fresh):
        folder.mkdir()
    with run_of(forked, config(signal), KnowingTeacher(writes), KindStudent(half_learnt)) as run:
        llm2llm(run)
    taken = fork(forked, config(other))
    assert taken.count("fold_train") == 5 and "train" in taken
    assert (taken.count("fold_predict") == 5) == ((signal == "kfold") == (other == "kfold"))
    for folder, run_id in ((forked, 2), (fresh, None)):
        with run_of(folder, config(other), KnowingTeacher(writes), KindStudent(half_learnt), run_id=run_id) as run:
            llm2llm(run)
    made = ("examples", "training_set_examples", "predictions", "votes", "audits", "candidates", "verdicts")
    assert [one for one in differences(fresh, 1, forked, 2) if one.startswith(made)] == []


def test_a_run_without_verification_is_forked_into_one_with_it(tmp_path: Path) -> None:
    """Its candidates are verified; they were written without, so nobody writes them again."""
    with run_of(tmp_path, configuration(loop__iterations=1), KnowingTeacher(writes), NOTHING_LEARNT) as run:
        llm2llm(run)
    written = rows(tmp_path, "SELECT question FROM candidates WHERE attempt = 0 ORDER BY id")
    other = verified(loop__iterations=1)
    fork(tmp_path, other)
    teacher = KnowingTeacher(writes)
    with run_of(tmp_path, other, teacher, NOTHING_LEARNT, run_id=2) as run:
        llm2llm(run)
    assert rows(tmp_path, "SELECT question FROM candidates WHERE run_id = 2 AND attempt = 0 ORDER BY id") == written
    assert {request.rng_seed for request in teacher.requests}.isdisjoint(
        row[0] for row in rows(tmp_path, "SELECT rng_seed FROM teacher_calls WHERE run_id = 1 AND attempt = 0")
    )
    accepted = "SELECT DISTINCT question LIKE '%(' || answer || ')%' FROM candidates WHERE run_id = 2 AND verdict ="
    assert rows(tmp_path, f"{accepted} 'accept'") == [(1,)]


def test_a_fork_that_refuses_what_was_drawn_for_a_person_asks_nobody_about_it(tmp_path: Path) -> None:
    config = {"loop__iterations": 1, "checks__audit_sample": 1.0}
    with run_of(tmp_path, verified(**config), KnowingTeacher(writes), NOTHING_LEARNT) as run:
        llm2llm(run)
    strict = verified(**config, checks__accept_probability=1.0)
    fork(tmp_path, strict)
    teacher = KnowingTeacher(writes)
    with run_of(tmp_path, strict, teacher, NOTHING_LEARNT, run_id=2) as run:
        llm2llm(run)
    assert rows(tmp_path, "SELECT run_id, sum(is_audited) > 0 FROM candidates GROUP BY 1") == [(1, 1), (2, 0)]
    later = rows(tmp_path, "SELECT count(*) FROM candidates WHERE run_id = 2 AND attempt > 0")[0][0]
    assert len(teacher.requests) == later  # those of the first round are taken over


@pytest.mark.parametrize(
    "changes",
    [{"checks__votes": 5}, {"loop__folds": 4}, {"checks__accept_probability": 0.8}],
    ids=["audit", "folds", "calibration"],
)
def test_a_fork_of_a_fork_takes_over_all_of_it(tmp_path: Path, changes: dict[str, Any]) -> None:
    """What tells the worth of answers was done anew in the first fork, after what it took over."""
    both: dict[str, Any] = {"checks__verifier": "both", "loop__iterations": 1}
    with run_of(tmp_path, verified(**both), KnowingTeacher(writes), KindStudent(half_learnt)) as run:
        llm2llm(run)
    changed = verified(**{**both, **changes})
    fork(tmp_path, changed)
    with run_of(tmp_path, changed, KnowingTeacher(writes), KindStudent(half_learnt), run_id=2) as run:
        llm2llm(run)
    taken = fork(tmp_path, changed, origin=2)
    assert len(taken) == rows(tmp_path, "SELECT count(*) FROM stages WHERE run_id = 2")[0][0]
    with run_of(tmp_path, changed, teacher := KnowingTeacher(writes), run_id=3) as run:
        llm2llm(run)
    assert (teacher.requests, teacher.ballots) == ([], [])


def test_a_fork_that_has_not_begun_is_reported(tmp_path: Path) -> None:
    """As when it was ended while its models were still being loaded."""
    with run_of(tmp_path, verified(loop__iterations=1), KnowingTeacher(writes), NOTHING_LEARNT) as run:
        llm2llm(run)
    config = verified(loop__iterations=1)
    fork(tmp_path, config)
    with Store(tmp_path) as store, store.transaction():
        store.execute("UPDATE runs SET config = ?", [json.dumps(flatten(config))])
    with open_reader(tmp_path) as connection:
        finished, begun = (run_work(connection, run_id) for run_id in (1, 2))
    assert [one.training_examples for one in begun.iterations] == [one.training_examples for one in finished.iterations]
    assert not any(one.is_done for one in begun.iterations)
