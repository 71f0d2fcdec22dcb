"""The loop with families whose new examples have answers of their own: the teacher's word, not the failing seed's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import fake_runs
import pytest
from fake_runs import configuration, rows, run_of
from fakes import FakeStudent, FakeTeacher

from llm2llm_local.config import flatten
from llm2llm_local.loop.llm2llm import llm2llm
from llm2llm_local.records import DataRow, FinishReason, Reply
from llm2llm_local.report.rates import plan_of
from llm2llm_local.report.results import run_cost
from llm2llm_local.report.work import run_work
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.writer import Store
from llm2llm_local.student.protocol import PredictionBatch, Progress, StudentAnswer
from llm2llm_local.tasks.options import split_options
from llm2llm_local.teacher.protocol import ScoreRequest, TeacherRequest

N_SEEDS = 4
OPTIONS = ("wrong", "false", "right")


class SilentStudent(FakeStudent):
    """Learns nothing, and where it has to write, writes something else."""

    def predict(self, batch: PredictionBatch, progress: Progress) -> list[StudentAnswer]:
        reply = Reply((batch.completions or (" nothing",))[0], FinishReason.STOP, 5, 1, 0.001)
        return [StudentAnswer(reply, ())] * len(batch.prompts)


class Choosing(FakeTeacher):
    """Knows which option is right, in whatever order they are shown to it."""

    def log_likelihoods(self, request: ScoreRequest) -> tuple[float, ...]:
        asked = split_options(request.prompt.completion.rpartition("Question: ")[2].removesuffix("\nAnswer:"))
        right = asked.letters[asked.options.index("right")]
        return tuple(-0.1 if choice.strip() == right else -3.0 for choice in request.continuations)


class Judging(FakeTeacher):
    """Says yes to the tree's answers and to its own, no to others."""

    n_ballots = 0

    def log_likelihoods(self, request: ScoreRequest) -> tuple[float, ...]:
        self.n_ballots += 1
        question, answer, _ = request.prompt.completion.rpartition("Question: ")[2].split("\n")
        is_right = answer == f"Answer: tree {question.split()[-1].rstrip('?')}"
        return (-0.1, -3.0) if is_right else (-3.0, -0.1)


def choices(name: str, n: int) -> list[DataRow]:
    """Each letter is the right one as often."""
    rows = []
    for number in range(n):
        turned = OPTIONS[number % 3 :] + OPTIONS[: number % 3]
        lines = "\n".join(f"({letter}) {option}" for letter, option in zip("ABC", turned, strict=True))
        question = f"Which of {name} is number {number}?\n{lines}"
        rows.append(DataRow(question, "ABC"[turned.index("right")], f"{name}.jsonl", number + 1))
    return rows


def data(family: str, name: str, n: int) -> list[DataRow]:
    """Multiple choice: B is right, which a student that always answers A gets wrong."""
    question = f"Which {name} is number {{}}?"
    if family == "multiple_choice":
        question += "\n(A) this\n(B) that\n(C) none"
    answer = "B" if family == "multiple_choice" else f"the {name}"
    return [DataRow(question.format(number), answer, f"{name}.jsonl", number) for number in range(1, n + 1)]


def written(family: str, request: TeacherRequest) -> str:
    """A new example, with another answer than the seeds have."""
    question = f" Is {request.rng_seed} a word of {request.rng_seed % 97}?"
    if family == "multiple_choice":
        return f"{question}\nA. yes\nB. no\nC. perhaps\nAnswer: C\n"
    return f"{question}\nAnswer: never"


@pytest.mark.parametrize(("family", "answer"), [("multiple_choice", "C"), ("text", "never")])
def test_what_the_teacher_answers_is_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, answer: str
) -> None:
    splits: Sequence[tuple[str, str, int]] = (("SEEDS", "tree", N_SEEDS), ("DEV", "house", 1), ("TEST", "road", 2))
    for split, name, n in splits:
        monkeypatch.setattr(fake_runs, split, data(family, name, n))
    teacher = FakeTeacher(lambda request: written(family, request))
    student = SilentStudent(lambda example, segment: False)
    config = configuration(task__family=family, task__labels=[], loop__iterations=1)
    with run_of(tmp_path, config, teacher, student) as run:
        llm2llm(run)
    assert len(teacher.requests) == N_SEEDS
    found = rows(tmp_path, "SELECT question, answer FROM examples WHERE origin = 'augmented'")
    assert [row[1] for row in found] == [answer] * N_SEEDS
    marks = "\n(A) yes\n(B) no\n(C) perhaps" if family == "multiple_choice" else "?"  # as the seeds have them
    assert all(row[0].endswith(marks) for row in found)
    last = student.segments[-1].examples
    assert len(last) == 2 * N_SEEDS
    assert sum(example.completion == f" {answer}" for example in last) == N_SEEDS


def test_votes_on_options_are_told_by_the_letters_of_the_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split, name, n in (("SEEDS", "trees", 12), ("DEV", "houses", 1), ("TEST", "roads", 2)):
        monkeypatch.setattr(fake_runs, split, choices(name, n))

    def writes(request: TeacherRequest) -> str:
        return f" Is {request.rng_seed} odd?\nA. right\nB. wrong\nC. false\nAnswer: A\n"

    config = configuration(
        task__family="multiple_choice",
        task__labels=[],
        loop__iterations=1,
        checks__verify="on",
        checks__verifier="teacher",
    )
    with run_of(tmp_path, config, Choosing(writes), SilentStudent(lambda example, segment: False)) as run:
        llm2llm(run)
    of_right = "SELECT DISTINCT intended = answer AND said = answer FROM votes WHERE NOT is_planted"
    assert [tuple(row) for row in rows(tmp_path, of_right)] == [(1,)]
    assert {row[0] for row in rows(tmp_path, "SELECT agreement FROM audits")} == {1.0}
    details = {row[0] for row in rows(tmp_path, "SELECT detail FROM verdicts WHERE check_name = 'verify'")}
    assert details == {"teacher: A, 3 of 3"}


def test_a_judge_of_free_answers_has_a_ballot_for_each_and_gives_none_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split, name, n in (("SEEDS", "tree", 12), ("DEV", "house", 1), ("TEST", "road", 2)):
        rows_of = [DataRow(f"Which {name} is it, {k}?", f"{name} {k}", f"{name}.jsonl", k) for k in range(n)]
        monkeypatch.setattr(fake_runs, split, rows_of)
    config = configuration(
        task__family="text",
        task__labels=[],
        loop__iterations=1,
        checks__verify="on",
        checks__verifier="teacher",
        checks__votes=2,
    )
    teacher = Judging(lambda request: f" Which tree is it, {request.rng_seed}?\nAnswer: tree {request.rng_seed}\n")
    with run_of(tmp_path, config, teacher, SilentStudent(lambda example, segment: False)) as run:
        llm2llm(run)
    with Store(tmp_path) as store:
        store.execute("UPDATE runs SET config = ?", [json.dumps(flatten(config))])
    assert rows(tmp_path, "SELECT agreement, true_accepts, false_accepts FROM audits") == [(None, 1.0, 0.0)]
    n_candidates = rows(tmp_path, "SELECT count(DISTINCT candidate_id) FROM votes")[0][0]
    assert n_candidates > 0 and teacher.n_ballots == 2 * (12 * 2 + n_candidates)
    with open_reader(tmp_path) as connection:
        assert run_cost(connection, 1).teacher_votes == teacher.n_ballots
        audit = next(stage for stage in run_work(connection, 1).stages if stage.stage == "audit")
        assert (audit.rows_done, audit.rows_total) == (48, 48)
        assert plan_of(run_work(connection, 1)).audit_ballots == 4
