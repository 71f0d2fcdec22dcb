"""What the audit makes of solutions to math problems: errors that are repeated, and minorities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fake_runs
import pytest
from fake_runs import run_of
from fakes import FakeTeacher
from knowing import verified

from llm2llm_local.loop.audit import audit_teacher, calibrate_verifiers, verify_check
from llm2llm_local.records import DataRow, Decision, Vote
from llm2llm_local.store.audits import AuditRow
from llm2llm_local.teacher.protocol import TeacherRequest

SEEDS = [DataRow(f"How much is {n} and {n}?", f"It is {2 * n}.\n#### {2 * n}", "train.jsonl", n) for n in range(1, 61)]
MATH = verified(task__family="math", task__labels=[])


def solved(vote_of: Callable[[int, int], int]) -> FakeTeacher:
    """Writes `vote_of(n, k)` as the k-th solution of the problem about n."""
    n_asked: dict[int, int] = {}

    def write(request: TeacherRequest) -> str:
        n = int(request.prompt.completion.rpartition("How much is ")[2].split()[0])
        n_asked[n] = n_asked.get(n, -1) + 1
        return f" So it is\n#### {vote_of(n, n_asked[n])}"

    return FakeTeacher(write)


def audited(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, teacher: FakeTeacher, n_agreeing: int
) -> tuple[AuditRow, Decision]:
    """With what verification makes of a candidate that so many of three solutions agree with."""
    monkeypatch.setattr(fake_runs, "SEEDS", SEEDS)
    with run_of(workspace, MATH, teacher) as run:
        audit_teacher(run)
        calibrate_verifiers(run)
        votes = [Vote("7", {}, None, number < n_agreeing, "#### 7") for number in range(3)]
        return run.store.verification.audit(), verify_check(run)({"teacher": votes}).decision


def test_an_error_that_every_solution_repeats_is_what_the_audit_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of sixty are solved wrongly, in the same way each time, and so let in."""
    audit, unanimous = audited(tmp_path, monkeypatch, solved(lambda n, k: 999 if n % 20 == 0 else 2 * n), n_agreeing=3)
    assert audit.true_accepts.share == pytest.approx(57 / 60)
    assert audit.false_accepts.share == pytest.approx(3 / 60)
    assert audit.mistake_accepts is not None and audit.mistake_accepts.share == 1.0
    assert (audit.n_wrong, audit.n_mistaken_seeds) == (57 + 3 * 4, 3)
    assert unanimous is Decision.ACCEPT


def test_a_teacher_that_rarely_solves_and_never_errs_twice_alike_is_of_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit, unanimous = audited(
        tmp_path, monkeypatch, solved(lambda n, k: 2 * n if n % 3 == 0 else 1000 + 10 * n + k), n_agreeing=3
    )
    assert audit.preference.share == pytest.approx(1 / 3 + 2 / 3 / 2)
    assert audit.true_accepts.share == pytest.approx(1 / 3)
    assert unanimous is Decision.ACCEPT


def test_what_is_written_is_drawn_for_each_question_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Solutions of different questions that are drawn alike would be counted as independent."""
    teacher = solved(lambda n, k: 2 * n)
    audited(tmp_path, monkeypatch, teacher, n_agreeing=3)
    assert len(teacher.requests) > len(SEEDS)
    assert len({request.rng_seed for request in teacher.requests}) == len(teacher.requests)


def test_a_mistake_is_judged_by_as_many_others_as_a_candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four solutions to every tenth problem the last is another mistake than the three before. Three votes have a
    majority for the repeated one without one of its own, and that the last one never gets.
    """
    monkeypatch.setattr(fake_runs, "SEEDS", SEEDS)
    teacher = solved(lambda n, k: 2 * n if n % 10 else 998 if k == 3 else 999)
    config = verified(task__family="math", task__labels=[], checks__votes=3, checks__accept_probability=0.7)
    with run_of(tmp_path, config, teacher) as run:
        audit_teacher(run)
        calibrate_verifiers(run)
        audit = run.store.verification.audit()
    assert len(teacher.requests) == 4 * len(SEEDS)
    assert (audit.n_wrong, audit.n_mistaken_seeds) == (54 + 6 * 4, 6)
    assert audit.mistake_accepts is not None and audit.mistake_accepts.share == pytest.approx(3 / 4)


@pytest.mark.parametrize("n_agreeing", [0, 1, 2])
def test_a_minority_of_solutions_is_never_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_agreeing: int
) -> None:
    """A teacher that solves a third, and otherwise errs otherwise each time: whatever is repeated is right."""
    audit, decision = audited(
        tmp_path, monkeypatch, solved(lambda n, k: 2 * n if (n + k) % 3 == 0 else 50 + 10 * n + k), n_agreeing
    )
    assert audit.preference.low > 0.5
    assert audit.true_accepts.share == 0
    assert (decision is Decision.ACCEPT) == (n_agreeing == 2)
