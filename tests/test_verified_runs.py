"""Runs with verification, by fake engines: who is asked what, what gets in, and what a person decides beside."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_runs
import pytest
from comparison import differences
from fake_runs import LABELS, SEEDS, Crash, configuration, fork, half_learnt, rows, run_of
from fakes import FakeStudent, FakeTeacher
from knowing import NOTHING_LEARNT, KindStudent, KnowingTeacher, by_heart, verified, writes

import llm2llm_local.loop.llm2llm as loop_module
from llm2llm_local.config import Config
from llm2llm_local.errors import RunFailedError
from llm2llm_local.loop.audit import audit_teacher, calibrate_verifiers
from llm2llm_local.loop.context import Run
from llm2llm_local.loop.folds import folds
from llm2llm_local.loop.llm2llm import llm2llm
from llm2llm_local.loop.review import carry_out_reviews
from llm2llm_local.records import DataRow, ReviewDecision, Split
from llm2llm_local.spelling import same_words
from llm2llm_local.store.wishes import add_review
from llm2llm_local.teacher.protocol import TeacherRequest


def test_only_candidates_of_the_intended_label_get_in(tmp_path: Path) -> None:
    with run_of(tmp_path, verified(), KnowingTeacher(writes), NOTHING_LEARNT) as run:
        llm2llm(run)
    decided = rows(
        tmp_path, "SELECT verdict, question LIKE '%(' || answer || ')%', count(*) FROM candidates GROUP BY 1, 2"
    )
    assert {(verdict, is_right) for verdict, is_right, _ in decided} == {("accept", 1), ("reject", 0)}
    assert rows(tmp_path, "SELECT DISTINCT check_name, reason FROM verdicts WHERE verdict = 'reject'") == [
        ("verify", "answer is probably wrong")
    ]


def test_the_audit_comes_before_the_first_training_and_is_kept(tmp_path: Path) -> None:
    with run_of(tmp_path, verified(), KnowingTeacher(writes), NOTHING_LEARNT) as run:
        llm2llm(run)
    assert rows(tmp_path, "SELECT stage FROM stages ORDER BY id LIMIT 3") == [("audit",), ("calibrate",), ("train",)]
    audits = rows(tmp_path, "SELECT verifier, n_seeds, n_wrong, agreement, true_accepts, false_accepts FROM audits")
    assert audits == [("together", 12, 24, 1.0, 1.0, 0.0)]
    votes = rows(tmp_path, "SELECT count(*), count(DISTINCT example_id) FROM votes WHERE example_id IS NOT NULL")
    assert votes == [(3 * 36, 12)]


def test_no_ballot_shows_the_seed_that_is_judged_or_that_a_candidate_was_written_after(tmp_path: Path) -> None:
    teacher = KnowingTeacher(writes)
    with run_of(tmp_path, verified(loop__iterations=1), teacher, NOTHING_LEARNT) as run:
        llm2llm(run)
    judged = [request.prompt.completion for request in teacher.ballots]
    of_seeds = [text for text in judged if "Question: seed" in text.rpartition("\n\n")[2]]
    assert len(of_seeds) == 36  # a ballot is the same for all answers of a seed, so it is asked for once
    for text in of_seeds:
        before, _, asked = text.rpartition("\n\n")
        assert asked.removesuffix("\nAnswer:") + "\n" not in before
    parents = rows(
        tmp_path,
        "SELECT c.question, e.question FROM candidates c JOIN examples e ON e.id = c.parent_example_id "
        "WHERE c.id IN (SELECT candidate_id FROM votes)",
    )
    assert parents
    for question, parent in parents:
        shown = [text for text in judged if f"Question: {question}\n" in text]
        assert len(shown) == 3 and not any(f"Question: {parent}\n" in text for text in shown)


def test_ballots_show_other_seeds_and_labels_in_another_order(tmp_path: Path) -> None:
    teacher = KnowingTeacher(writes)
    with run_of(tmp_path, verified(loop__iterations=1), teacher, NOTHING_LEARNT) as run:
        llm2llm(run)
    asked = SEEDS[0].question
    texts = [r.prompt.completion for r in teacher.ballots if r.prompt.completion.endswith(f"{asked}\nAnswer:")]
    assert len({text.partition("\n")[0] for text in texts}) > 1
    assert len({text.partition("\n")[2] for text in texts}) == 3


def test_a_teacher_that_always_says_the_same_stops_the_run_with_advice_before_any_training(tmp_path: Path) -> None:
    student = FakeStudent(half_learnt)
    with (
        run_of(tmp_path, verified(), KnowingTeacher(writes, knows=False), student) as run,
        pytest.raises(RunFailedError, match="tells right answers from wrong ones") as stopped,
    ):
        llm2llm(run)
    assert "stronger teacher" in stopped.value.remedy and "checks.verify" in stopped.value.remedy
    assert student.segments == []


def test_without_verification_nothing_is_asked_and_wrong_labels_get_in(tmp_path: Path) -> None:
    teacher = KnowingTeacher(writes, knows=False)
    with run_of(tmp_path, configuration(), teacher, NOTHING_LEARNT) as run:
        llm2llm(run)
        assert any("taken for right" in message for message in run.watcher.messages)  # type: ignore[attr-defined]
    assert teacher.ballots == []
    wrong = rows(
        tmp_path,
        "SELECT count(*) FROM examples WHERE origin = 'augmented' AND question NOT LIKE '%(' || answer || ')%'",
    )
    assert wrong[0][0] > 0


@pytest.mark.parametrize(("policy", "verdict"), [("review", "doubt"), ("drop", "reject"), ("keep", "accept")])
def test_doubtful_candidates_wait_or_are_left_out_or_kept(tmp_path: Path, policy: str, verdict: str) -> None:
    """The teacher says nothing of these questions, so their probability is even."""
    unsure = KnowingTeacher(lambda request: f" something {request.rng_seed} of no kind")
    config = verified(checks__doubt=policy, checks__reject_probability=0.1, loop__iterations=1)
    with run_of(tmp_path, config, unsure, NOTHING_LEARNT) as run:
        llm2llm(run)
    assert rows(tmp_path, "SELECT DISTINCT verdict FROM candidates") == [(verdict,)]
    n_examples = rows(tmp_path, "SELECT count(*) FROM examples WHERE origin = 'augmented'")[0][0]
    assert (n_examples > 0) == (policy == "keep")


def test_a_sample_of_the_accepted_is_drawn_for_a_person(tmp_path: Path) -> None:
    config = verified(checks__audit_sample=0.5, loop__augmentations_per_failure=6)
    with run_of(tmp_path, config, KnowingTeacher(writes), NOTHING_LEARNT) as run:
        llm2llm(run)
    drawn, accepted = rows(tmp_path, "SELECT sum(is_audited), count(*) FROM candidates WHERE verdict = 'accept'")[0]
    assert 0.3 * accepted < drawn < 0.7 * accepted
    assert rows(tmp_path, "SELECT count(*) FROM candidates WHERE is_audited AND verdict != 'accept'") == [(0,)]


def test_a_run_that_got_nothing_from_few_candidates_ends_and_shows_what_was_refused(tmp_path: Path) -> None:
    """Too few to end it sooner; one more training would have made the same student again."""
    off = KnowingTeacher(lambda request: f" new ({LABELS[0]}) thing {request.rng_seed}")
    config = verified(teacher__attempts=1, loop__iterations=2)
    learnt = FakeStudent(lambda example, segment: example.completion.strip() == LABELS[0])
    with run_of(tmp_path, config, off, learnt) as run:
        ending = llm2llm(run)
    assert re.match(r"finished early: iterations 0 to 1: of \d+ candidates none was accepted; \d+ refused by", ending)
    assert len(re.findall(r"\n  new \(alpha\) thing \d+ → (?:beta|gamma) \[teacher: alpha, 3 of 3\]", ending)) == 5
    assert rows(tmp_path, "SELECT max(iteration) FROM stages WHERE stage = 'train'") == [(1,)]


def test_what_is_left_to_a_person_and_a_student_that_goes_on_keep_a_run_from_ending_early(tmp_path: Path) -> None:
    unsure = KnowingTeacher(lambda request: f" something {request.rng_seed} of no kind")
    off = KnowingTeacher(lambda request: f" new ({LABELS[0]}) thing {request.rng_seed}")
    cases: list[tuple[KnowingTeacher, dict[str, Any]]] = [
        (unsure, {"checks__reject_probability": 0.1}),
        (off, {"loop__fine_tune": "continue"}),
    ]
    for number, (teacher, changes) in enumerate(cases):
        config = verified(teacher__attempts=1, loop__iterations=1, **changes)
        learnt = FakeStudent(lambda example, segment: example.completion.strip() == LABELS[0])
        folder = tmp_path / str(number)
        folder.mkdir()
        with run_of(folder, config, teacher, learnt) as run:
            assert llm2llm(run) == "finished after 1 round of augmentation"
        assert rows(folder, "SELECT count(*) FROM examples WHERE origin = 'augmented'") == [(0,)]


def test_verification_that_refuses_everything_ends_the_run_and_shows_what_it_refused(tmp_path: Path) -> None:
    off = KnowingTeacher(lambda request: f" new ({LABELS[0]}) thing {request.rng_seed}")
    config = verified(loop__augmentations_per_failure=6)
    learnt = FakeStudent(lambda example, segment: example.completion.strip() == LABELS[0])
    with (
        run_of(tmp_path, config, off, learnt) as run,
        pytest.raises(
            RunFailedError, match=r"of \d+ candidates none was accepted, and more.*refused by verify"
        ) as stopped,
    ):
        llm2llm(run)
    assert stopped.value.message.count("new (alpha) thing") == 5
    assert rows(tmp_path, "SELECT max(attempt), max(iteration) FROM stages WHERE stage = 'check'") == [(0, 0)]


def test_a_few_refusals_an_iteration_come_to_an_end_too(tmp_path: Path) -> None:
    """Eight failures with two tries each are too few to tell in one iteration."""
    off = KnowingTeacher(lambda request: f" new ({LABELS[0]}) thing {request.rng_seed}")
    learnt = FakeStudent(lambda example, segment: example.completion.strip() == LABELS[0])
    with (
        run_of(tmp_path, verified(loop__iterations=9), off, learnt) as run,
        pytest.raises(RunFailedError, match=r"of \d+ candidates none was accepted"),
    ):
        llm2llm(run)
    assert rows(tmp_path, "SELECT max(iteration) FROM stages WHERE stage = 'check'") == [(1,)]


def repeating_itself() -> Callable[[TeacherRequest], str]:
    """Thirty new questions, and then one of them again and again."""
    written: set[str] = set()

    def write(request: TeacherRequest) -> str:
        text = writes(request)
        written.add(text)
        return text if len(written) <= 30 else min(written)

    return write


def test_a_run_that_has_grown_ends_early_when_nothing_more_gets_in(tmp_path: Path) -> None:
    """What it has learnt is kept, and the run is done: a sweep goes on, and a control can be matched to it."""
    config = verified(loop__augmentations_per_failure=6, loop__iterations=9)
    with run_of(tmp_path, config, KnowingTeacher(repeating_itself()), NOTHING_LEARNT) as run:
        ending = llm2llm(run)
    assert "finished early: iteration 1: of 48 candidates none was accepted, and more" in ending
    assert "48 refused by" in ending
    assert rows(tmp_path, "SELECT max(iteration), min(status), max(status) FROM iterations") == [(1, "done", "done")]
    assert rows(tmp_path, "SELECT count(*) > 0 FROM examples WHERE origin = 'augmented'") == [(1,)]


def test_a_run_goes_on_for_what_a_person_has_let_in_meanwhile(tmp_path: Path) -> None:
    """Where nothing else is let in: that alone makes the next student another one, in this run and in a fork."""
    config = verified(loop__augmentations_per_failure=6, loop__iterations=2)
    with run_of(tmp_path, config, KnowingTeacher(repeating_itself()), NOTHING_LEARNT) as run:
        assert "finished early" in llm2llm(run)
    (refused,) = rows(tmp_path, "SELECT min(id) FROM candidates WHERE verdict = 'reject' AND iteration = 0")[0]
    add_review(tmp_path, 1, refused, ReviewDecision.ACCEPT, None, None)
    fork(tmp_path, config)
    with run_of(tmp_path, config, KnowingTeacher(repeating_itself()), NOTHING_LEARNT, run_id=2) as run:
        assert "finished early" not in llm2llm(run)
    taken = "SELECT max(t.iteration) FROM training_set_examples t JOIN examples e ON e.id = t.example_id "
    assert rows(tmp_path, f"{taken} WHERE t.run_id = 2 AND e.review_id IS NOT NULL") == [(2,)]


def deciding_meanwhile(workspace: Path) -> Callable[[], None]:
    """A person who lets in one of those that were all refused in iteration 1, and keeps it out in iteration 2."""

    def decide() -> None:
        (here,) = rows(workspace, "SELECT iteration, stage, attempt FROM stages ORDER BY id DESC LIMIT 1")
        ((first, n_decided),) = rows(
            workspace, "SELECT min(id), (SELECT count(*) FROM reviews) FROM candidates WHERE iteration = 1"
        )
        if here == (1, "augment", 0) and first is not None and n_decided == 0:
            add_review(workspace, 1, first, ReviewDecision.ACCEPT, "a text by hand", None)
        if here == (2, "augment", 0) and n_decided == 1:
            add_review(workspace, 1, first, ReviewDecision.REJECT, None, None)

    return decide


REFUSED_IN_ITERATION_1 = configuration(teacher__attempts=3, loop__augmentations_per_failure=5, loop__iterations=3)


def writing_in_vain(workspace: Path) -> FakeTeacher:
    """In iteration 1 what repeats a seed, and nothing else."""

    def write(request: TeacherRequest) -> str:
        (here,) = rows(workspace, "SELECT iteration FROM stages ORDER BY id DESC LIMIT 1")
        return f" {SEEDS[3].question}" if here == (1,) else f" message number {request.rng_seed}"

    return FakeTeacher(write)


def test_a_run_that_has_gone_beyond_a_round_is_not_ended_by_what_a_person_decides_since(tmp_path: Path) -> None:
    """Nor is a fork that goes on for longer: what came of that round is in the students since."""
    decide = deciding_meanwhile(tmp_path)

    def decide_then_crash() -> None:
        decide()
        if rows(tmp_path, "SELECT iteration, stage FROM stages ORDER BY id DESC LIMIT 1") == [(3, "predict")]:
            raise Crash

    teacher = writing_in_vain(tmp_path)
    with run_of(tmp_path, REFUSED_IN_ITERATION_1, teacher, obey=decide_then_crash) as run, pytest.raises(Crash):
        llm2llm(run)
    assert rows(tmp_path, "SELECT decision, applied_iteration FROM reviews") == [("accept", 2), ("reject", 3)]
    with run_of(tmp_path, REFUSED_IN_ITERATION_1, teacher, run_id=1) as run:
        assert llm2llm(run) == "finished after 3 rounds of augmentation"
    longer = configuration(teacher__attempts=3, loop__augmentations_per_failure=5, loop__iterations=4)
    fork(tmp_path, longer)
    with run_of(tmp_path, longer, teacher, run_id=2) as run:
        assert llm2llm(run) == "finished after 4 rounds of augmentation"


def test_a_student_that_goes_on_is_trained_though_nothing_more_gets_in(tmp_path: Path) -> None:
    config = verified(loop__augmentations_per_failure=6, loop__iterations=3, loop__fine_tune="continue")
    with run_of(tmp_path, config, KnowingTeacher(repeating_itself()), NOTHING_LEARNT) as run:
        assert llm2llm(run) == "finished after 3 rounds of augmentation"


# --- the audit ---


def test_seeds_that_ask_the_same_are_one_case_of_the_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times the same rows would tell a third of the uncertainty."""
    again = [DataRow(f"{seed.question}{mark}", seed.answer, "s", 1) for mark in ("", "?", " !") for seed in SEEDS]
    found = []
    for number, seeds in enumerate((SEEDS, again)):
        monkeypatch.setattr(fake_runs, "SEEDS", seeds)
        folder = tmp_path / str(number)
        folder.mkdir()
        with run_of(folder, verified(), KnowingTeacher(writes), NOTHING_LEARNT) as run:
            audit_teacher(run)
            calibrate_verifiers(run)
        found.append(rows(folder, "SELECT n_seeds, n_wrong, true_accepts, true_accepts_low FROM audits"))
    assert found[0] == found[1] != []


# --- students that haven't seen the seed ---


def test_a_student_votes_that_has_not_seen_the_seed(tmp_path: Path) -> None:
    student = FakeStudent(by_heart)
    config = verified(checks__verifier="student", loop__folds=4)
    with (
        run_of(tmp_path, config, KnowingTeacher(writes), student) as run,
        pytest.raises(RunFailedError, match="tells right answers"),  # one that has only learnt by heart knows nothing
    ):
        llm2llm(run)
    folds = rows(tmp_path, "SELECT fold, count(DISTINCT example_id), count(*) FROM votes GROUP BY fold")
    assert folds == [(fold, 3, 9) for fold in (1, 2, 3, 4)]
    for segment in student.segments:
        assert len(segment.examples) == 9
    kinds = rows(
        tmp_path, "SELECT v.fold, e.answer FROM votes v JOIN examples e ON e.id = v.example_id WHERE NOT is_planted"
    )
    assert sorted(kinds) == sorted((fold, label) for fold in (1, 2, 3, 4) for label in LABELS)


@pytest.mark.parametrize(("n_twins", "sizes"), [(3, [3] * 5), (12, [4, 4, 4, 6, 6])])
def test_a_repeated_seed_is_seen_by_no_student_that_is_asked_about_its_twin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_twins: int, sizes: list[int]
) -> None:
    """However many repeat each other, in letter case, blanks or punctuation."""
    twins = [
        DataRow(f"Seed, question {n} about  THINGS!", SEEDS[n].answer, "train.jsonl", 13 + n) for n in range(n_twins)
    ]
    monkeypatch.setattr(fake_runs, "SEEDS", [*SEEDS, *twins])
    student = KindStudent(lambda example, segment: True)
    config = verified(checks__verifier="student", loop__folds=5, loop__iterations=1)
    with run_of(tmp_path, config, KnowingTeacher(writes), student) as run:
        fold_of = folds(run, run.store.examples(Split.TRAIN))
        questions = {seed.id: same_words(seed.question) for seed in run.store.examples(Split.TRAIN)}
    assert len({(questions[seed], fold) for seed, fold in fold_of.items()}) == 12
    assert sorted(Counter(fold_of.values()).values()) == sizes


def test_both_vote_and_each_alone_is_audited_too(tmp_path: Path) -> None:
    config = verified(checks__verifier="both", loop__failure_signal="kfold")
    with run_of(tmp_path, config, KnowingTeacher(writes), KindStudent(half_learnt)) as run:
        llm2llm(run)
    audits = dict(rows(tmp_path, "SELECT verifier, preference FROM audits ORDER BY id"))
    assert list(audits) == ["teacher", "student", "together"]
    assert 0.5 < audits["student"] < audits["teacher"] == audits["together"] == 1.0
    numbers = rows(
        tmp_path,
        "SELECT DISTINCT sum(verifier = 'teacher'), sum(verifier = 'student') FROM votes "
        "WHERE candidate_id IS NOT NULL GROUP BY candidate_id",
    )
    assert numbers == [(3, 1)]


# --- interruptions ---


def test_a_verified_run_that_is_stopped_anywhere_goes_on_to_the_same_rows(tmp_path: Path) -> None:
    config = verified(checks__verifier="both", loop__failure_signal="kfold", loop__iterations=1)

    def engines() -> tuple[KnowingTeacher, KindStudent]:
        return KnowingTeacher(writes), KindStudent(half_learnt)

    whole = tmp_path / "whole"
    whole.mkdir()
    with run_of(whole, config, *engines()) as run:
        llm2llm(run)
        n_units = run.watcher.units  # type: ignore[attr-defined]
    cut = tmp_path / "cut"
    cut.mkdir()
    run_id: int | None = None
    for _ in range(n_units):
        n_done = 0

        def obey() -> None:
            nonlocal n_done
            n_done += 1
            if n_done > 1:
                raise Crash

        try:
            with run_of(cut, config, *engines(), run_id=run_id, obey=obey) as run:
                run_id = run.store.run_id
                llm2llm(run)
            break
        except Crash:
            continue
    assert differences(whole, 1, cut, 1) == []


# --- a person's decisions beside verification ---


def decide_before_the_second_training(
    monkeypatch: pytest.MonkeyPatch, workspace: Path, decision: ReviewDecision, n: int
) -> None:
    """On the first `n` doubtful candidates of the first round of asking."""
    carry_out = carry_out_reviews

    def decided(run: Run, iteration: int) -> None:
        if iteration == 1 and rows(workspace, "SELECT count(*) FROM reviews") == [(0,)]:
            doubtful = "SELECT id FROM candidates WHERE verdict = 'doubt' AND attempt = 0 ORDER BY id"
            for (candidate,) in rows(workspace, f"{doubtful} LIMIT {n}"):
                add_review(workspace, 1, candidate, decision, None, None)
        carry_out(run, iteration)

    monkeypatch.setattr(loop_module, "carry_out_reviews", decided)


def stopped_in_the_second_training(workspace: Path, config: Config, teacher: FakeTeacher) -> None:
    def obey() -> None:
        if rows(workspace, "SELECT iteration, stage FROM stages ORDER BY id DESC LIMIT 1") == [(1, "train")]:
            raise Crash

    with run_of(workspace, config, teacher, NOTHING_LEARNT, obey=obey) as run, pytest.raises(Crash):
        llm2llm(run)


def test_a_doubtful_candidate_that_a_person_lets_in_leaves_later_votes_on_the_same_text_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The teacher writes it again in the next round of asking, when it wasn't accepted yet."""

    def always_the_same(request: TeacherRequest) -> str:
        failing = [line for line in request.prompt.completion.splitlines() if line.startswith("- ")][-1]
        return f" something after {failing.split()[3]} of no kind"

    doubting = verified(checks__accept_probability=1.0, checks__reject_probability=0.0, loop__iterations=2)
    decide_before_the_second_training(monkeypatch, tmp_path, ReviewDecision.ACCEPT, 12)
    stopped_in_the_second_training(tmp_path, doubting, KnowingTeacher(always_the_same))
    again = "SELECT count(*) FROM candidates WHERE attempt = {} AND verdict = '{}'"
    assert rows(tmp_path, again.format(0, "accept"))[0][0] > 0
    assert rows(tmp_path, again.format(1, "doubt"))[0][0] > 0
    with run_of(tmp_path, doubting, KnowingTeacher(always_the_same), NOTHING_LEARNT, run_id=1) as run:
        assert llm2llm(run) == "finished after 2 rounds of augmentation"


def test_decisions_of_a_person_do_not_end_a_run_for_refusing_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """24 candidates are in doubt, too few to end the run; a person's rejecting them doesn't make them 48."""
    doubting = verified(
        checks__accept_probability=1.0,
        checks__reject_probability=0.0,
        teacher__attempts=1,
        loop__augmentations_per_failure=2,
        loop__iterations=1,
    )
    decide_before_the_second_training(monkeypatch, tmp_path, ReviewDecision.REJECT, 24)
    stopped_in_the_second_training(tmp_path, doubting, KnowingTeacher(writes))
    assert rows(tmp_path, "SELECT count(*) FROM verdicts WHERE check_name = 'review'")[0][0] > 6
    with run_of(tmp_path, doubting, KnowingTeacher(writes), NOTHING_LEARNT, run_id=1) as run:
        assert llm2llm(run) == "finished after 1 round of augmentation"
