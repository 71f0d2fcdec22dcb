"""Runs with verification, failure signals and folds, by fake engines: who is asked what, and what gets in."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import fake_runs
import pytest
from comparison import differences
from fake_runs import LABELS, SEEDS, Crash, configuration, half_learnt, new_run, rows, run_of, take_over
from fakes import FakeStudent, FakeTeacher, scored
from knowing import KindStudent, KnowingTeacher, writes

import llm2llm_local.loop.llm2llm as loop_module
from llm2llm_local.config import Config, flatten
from llm2llm_local.errors import RunFailedError
from llm2llm_local.loop.context import Run
from llm2llm_local.loop.folds import folds
from llm2llm_local.loop.llm2llm import llm2llm
from llm2llm_local.loop.review import carry_out_reviews
from llm2llm_local.records import DataRow, ReviewDecision, Split
from llm2llm_local.report.work import run_work
from llm2llm_local.spelling import same_question
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.rows import ModelRow
from llm2llm_local.store.wishes import add_review
from llm2llm_local.store.writer import Store
from llm2llm_local.student.protocol import PredictionBatch, StudentAnswer, TrainingExample
from llm2llm_local.teacher.protocol import Progress, TeacherRequest

NOTHING_LEARNT = FakeStudent(lambda example, segment: False)


def verified(**changes: Any) -> Config:
    return configuration(**{"checks__verify": "on", "checks__verifier": "teacher", **changes})


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
    audits = rows(tmp_path, "SELECT verifier, n_seeds, n_planted, agreement, true_accepts, false_accepts FROM audits")
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


def test_verification_that_refuses_everything_ends_the_run_and_shows_what_it_refused(tmp_path: Path) -> None:
    off = KnowingTeacher(lambda request: f" new ({LABELS[0]}) thing {request.rng_seed}")
    config = verified(loop__augmentations_per_failure=6)
    learnt = FakeStudent(lambda example, segment: example.completion.strip() == LABELS[0])
    with (
        run_of(tmp_path, config, off, learnt) as run,
        pytest.raises(RunFailedError, match=r"none of \d+ candidates was accepted.*refused by verify") as stopped,
    ):
        llm2llm(run)
    assert stopped.value.message.count("new (alpha) thing") == 5
    assert rows(tmp_path, "SELECT max(attempt), max(iteration) FROM stages WHERE stage = 'check'") == [(0, 0)]


# --- students that haven't seen the seed ---


def by_heart(example: TrainingExample, segment: object) -> bool:
    return True


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


def test_a_repeated_seed_is_seen_by_no_student_that_is_asked_about_its_twin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twins = [DataRow(f"Seed question {n} about  THINGS", SEEDS[n].answer, "train.jsonl", 13 + n) for n in (0, 1, 2)]
    monkeypatch.setattr(fake_runs, "SEEDS", [*SEEDS, *twins])
    student = KindStudent(lambda example, segment: True)
    config = verified(checks__verifier="student", loop__folds=5, loop__iterations=1)
    with run_of(tmp_path, config, KnowingTeacher(writes), student) as run:
        fold_of = folds(run, run.store.examples(Split.TRAIN))
        questions = {seed.id: same_question(seed.question) for seed in run.store.examples(Split.TRAIN)}
    assert len({(questions[seed], fold) for seed, fold in fold_of.items()}) == 12
    assert sorted(Counter(fold_of.values()).values()) == [3] * 5


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


def test_kfold_failures_are_answers_of_students_that_have_not_seen_the_seed(tmp_path: Path) -> None:
    """A student that knows its seeds by heart fails at none of them, and at all that it hasn't seen."""
    student = FakeStudent(by_heart)
    with run_of(tmp_path, configuration(loop__failure_signal="kfold", loop__folds=3), student=student) as run:
        llm2llm(run)
    answered = rows(tmp_path, "SELECT iteration, fold, count(*) FROM predictions WHERE split = 'train' GROUP BY 1, 2")
    assert answered == [(iteration, fold, 4) for iteration in (0, 1, 2) for fold in (1, 2, 3)]
    wrong = rows(tmp_path, "SELECT count(*) FROM failures WHERE iteration = 0 AND answer != 'alpha'")
    assert wrong == [(8,)]
    assert rows(tmp_path, "SELECT count(*) FROM predictions WHERE fold = 0 AND split = 'test'") == [(15,)]


def test_the_least_confident_seeds_of_each_label_are_augmented_wrong_or_right(tmp_path: Path) -> None:
    unknown = ("question 7 ", "question 10 ", "question 1 ")  # all of one label
    knows_others = FakeStudent(lambda example, segment: not any(words in example.prompt for words in unknown))
    config = configuration(
        loop__failure_signal="confidence",
        loop__least_confident=0.25,
        loop__iterations=1,
        teacher__show_student_answer=True,
    )
    teacher = FakeTeacher()
    with run_of(tmp_path, config, teacher, knows_others) as run:
        llm2llm(run)
    asked = rows(tmp_path, "SELECT e.key FROM teacher_calls t JOIN examples e ON e.id = t.example_id ORDER BY t.id")
    assert [key for (key,) in asked] == ["train/1", "train/0", "train/2"]
    told = ["is easily mistaken for" in request.prompt.completion for request in teacher.requests]
    assert told == [True, False, False]  # not of right answers
    with Store(tmp_path) as store, store.transaction():
        store.execute("UPDATE runs SET config = ?", [json.dumps(flatten(config))])
    with open_reader(tmp_path) as connection:
        assert run_work(connection, 1).iterations[0].failures == 3


class AllKnowing(FakeStudent):
    """Answers every seed right, seen or not."""

    def predict(self, batch: PredictionBatch, progress: Progress) -> list[StudentAnswer]:
        texts = {f"Question: {seed.question}\nAnswer:": f" {seed.answer}" for seed in SEEDS}
        return [scored(batch.completions, texts.get(prompt)) for prompt in batch.prompts]


@pytest.mark.parametrize(("signal", "offered"), [("train", "kfold"), ("kfold", "confidence")])
def test_a_signal_that_runs_dry_offers_the_next(tmp_path: Path, signal: str, offered: str) -> None:
    config = configuration(loop__failure_signal=signal)
    with run_of(tmp_path, config, student=AllKnowing(by_heart)) as run:
        ending = llm2llm(run)
    assert "nothing to augment" in ending and f'"{offered}"' in ending


# --- interruptions and forks ---


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


def test_a_fork_with_other_thresholds_trains_nothing_anew_and_asks_nobody_again(tmp_path: Path) -> None:
    config = verified(checks__verifier="both", loop__failure_signal="kfold", loop__iterations=1)
    with run_of(tmp_path, config, KnowingTeacher(writes), KindStudent(half_learnt)) as run:
        llm2llm(run)
    other = verified(
        checks__verifier="both", loop__failure_signal="kfold", loop__iterations=1, checks__accept_probability=0.7
    )
    with Store(tmp_path) as store:
        new_run(store, ModelRow("0" * 64, "gguf", "fake", "fake.gguf", "llama", "Q4_1", 1, 1024))
        with store.transaction():
            take_over(store, other)
    teacher, student = KnowingTeacher(writes), KindStudent(half_learnt)
    with run_of(tmp_path, other, teacher, student, run_id=2) as run:
        llm2llm(run)
    assert all("iteration-1" in segment.output.parts for segment in student.segments)
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
    with Store(tmp_path) as store:
        new_run(store, ModelRow("0" * 64, "gguf", "fake", "fake.gguf", "llama", "Q4_1", 1, 1024))
        with store.transaction():
            take_over(store, other)
    taken = [name for (name,) in rows(tmp_path, "SELECT stage FROM stages WHERE run_id = 2")]
    assert {"audit", "calibrate", "train"} <= set(taken) and "check" not in taken


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
    with Store(forked) as store:
        new_run(store, ModelRow("0" * 64, "gguf", "fake", "fake.gguf", "llama", "Q4_1", 1, 1024))
        with store.transaction():
            take_over(store, loose)
    assert rows(forked, "SELECT count(*) FROM teacher_calls WHERE run_id = 2") != [(0,)]
    for folder, run_id in ((forked, 2), (fresh, None)):
        with run_of(folder, loose, KnowingTeacher(writes), KindStudent(half_learnt), run_id=run_id) as run:
            llm2llm(run)
    assert [one for one in differences(fresh, 1, forked, 2) if not one.startswith("events")] == []


def test_a_fork_that_goes_on_for_longer_takes_over_the_folds_of_every_iteration(tmp_path: Path) -> None:
    both = {"checks__verifier": "both", "loop__failure_signal": "kfold"}
    with run_of(tmp_path, verified(**both), KnowingTeacher(writes), KindStudent(half_learnt)) as run:
        llm2llm(run)
    longer = verified(**both, loop__iterations=3)
    with Store(tmp_path) as store:
        new_run(store, ModelRow("0" * 64, "gguf", "fake", "fake.gguf", "llama", "Q4_1", 1, 1024))
        with store.transaction():
            assert take_over(store, longer) == rows(tmp_path, "SELECT count(*) FROM stages WHERE run_id = 1")[0][0]
    assert rows(tmp_path, "SELECT sum(run_id = 1) - sum(run_id = 2) FROM votes") == [(0,)]


def test_a_few_refusals_an_iteration_come_to_an_end_too(tmp_path: Path) -> None:
    """Eight failures with two tries each are too few to tell in one iteration."""
    off = KnowingTeacher(lambda request: f" new ({LABELS[0]}) thing {request.rng_seed}")
    learnt = FakeStudent(lambda example, segment: example.completion.strip() == LABELS[0])
    with (
        run_of(tmp_path, verified(loop__iterations=9), off, learnt) as run,
        pytest.raises(RunFailedError, match=r"none of \d+ candidates was accepted"),
    ):
        llm2llm(run)
    assert rows(tmp_path, "SELECT max(iteration) FROM stages WHERE stage = 'check'") == [(1,)]


def test_a_run_without_verification_is_forked_into_one_with_it(tmp_path: Path) -> None:
    """Its candidates are verified; they were written without, so nobody writes them again."""
    with run_of(tmp_path, configuration(loop__iterations=1), KnowingTeacher(writes), NOTHING_LEARNT) as run:
        llm2llm(run)
    written = rows(tmp_path, "SELECT question FROM candidates WHERE attempt = 0 ORDER BY id")
    other = verified(loop__iterations=1)
    with Store(tmp_path) as store:
        new_run(store, ModelRow("0" * 64, "gguf", "fake", "fake.gguf", "llama", "Q4_1", 1, 1024))
        with store.transaction():
            take_over(store, other)
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
    with Store(tmp_path) as store:
        new_run(store, ModelRow("0" * 64, "gguf", "fake", "fake.gguf", "llama", "Q4_1", 1, 1024))
        with store.transaction():
            take_over(store, strict)
    teacher = KnowingTeacher(writes)
    with run_of(tmp_path, strict, teacher, NOTHING_LEARNT, run_id=2) as run:
        llm2llm(run)
    assert rows(tmp_path, "SELECT run_id, sum(is_audited) > 0 FROM candidates GROUP BY 1") == [(1, 1), (2, 0)]
    later = rows(tmp_path, "SELECT count(*) FROM candidates WHERE run_id = 2 AND attempt > 0")[0][0]
    assert len(teacher.requests) == later  # those of the first round are taken over


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
