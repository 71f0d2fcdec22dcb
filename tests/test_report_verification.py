"""What is said of verification: the audit, votes on a candidate, and what a person found among the accepted."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pytest
from audits import audit_row
from fake_runs import SEEDS, configuration, run_of
from knowing import KindStudent, KnowingTeacher, writes
from rich.console import Console
from workspaces import CONFIG_BY_HAND, add_run, fill

from llm2llm_local.audit_words import audit_line, audit_warnings
from llm2llm_local.config import flatten
from llm2llm_local.loop.llm2llm import llm2llm
from llm2llm_local.records import Rate, ReviewDecision
from llm2llm_local.report.candidate import whole_candidate
from llm2llm_local.report.lineage import lineage_lines, lineage_of
from llm2llm_local.report.lineage_texts import texts_of_step
from llm2llm_local.report.lineage_tree import Step
from llm2llm_local.report.summary import summarize
from llm2llm_local.report.tables import print_summary
from llm2llm_local.report.verification import (
    PersonAudit,
    Verification,
    newest_audit,
    person_audit,
    short_lines,
    verification_notes,
    verification_of,
)
from llm2llm_local.report.votes import vote_text
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.wishes import add_review
from llm2llm_local.store.writer import Store
from llm2llm_local.wilson import interval


@pytest.fixture(scope="module")
def verified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which both vote, with its configuration."""
    workspace = tmp_path_factory.mktemp("verified")
    config = configuration(
        checks__verify="on", checks__verifier="both", checks__audit_sample=1.0, loop__failure_signal="kfold"
    )
    student = KindStudent(lambda example, segment: False)
    with run_of(workspace, config, KnowingTeacher(writes), student) as run:
        with run.store.transaction():
            run.store._store.execute("UPDATE runs SET config = ?", [json.dumps(flatten(config))])
        llm2llm(run)
    return workspace


def test_each_verifier_has_its_line_and_the_one_that_decides_is_last(verified: Path) -> None:
    with open_reader(verified) as connection:
        found = verification_of(connection, 1)
    assert found.is_on and [audit.verifier for audit in found.audits] == ["teacher", "student", "together"]
    lines = [audit_line(audit) for audit in found.audits]
    assert lines[0].startswith("the teacher alone, audited on 12 seeds: accepts ")
    assert "its own answer is right for 100%" in lines[0]
    assert lines[2].startswith("verification, audited on 12 seeds: accepts ") and "of wrong ones" in lines[2]
    (person,) = verification_notes(found)
    assert f"not known yet: {found.person.waiting} accepted candidates, drawn at random, wait in the review" in person
    assert "accepts " in next(short_lines(found))


def test_a_teacher_that_knows_no_more_than_students_is_said_to_have_little_to_teach(verified: Path) -> None:
    with open_reader(verified) as connection:
        found = verification_of(connection, 1)
    teacher, student, together = found.audits
    assert teacher.agreement == 1.0 and student.agreement is not None and student.agreement < 1.0
    assert list(audit_warnings(found.audits)) == []
    equal = dataclasses.replace(teacher, agreement=student.agreement)
    audits = (equal, student, together)
    (line,) = audit_warnings(audits)
    assert f"({student.agreement:.0%})" in line
    assert next(verification_notes(dataclasses.replace(found, audits=audits))) == line
    assert [*audit_warnings((equal, together)), *audit_warnings(())] == []  # students were not asked


def test_verification_that_lets_hardly_anything_in_is_said_to(verified: Path) -> None:
    with open_reader(verified) as connection:
        found = verification_of(connection, 1)
    *alone, together = found.audits
    strict = dataclasses.replace(together, true_accepts=Rate(0.05, 0.01, 0.2))
    (line,) = audit_warnings([*alone, strict])
    assert "accept 5% (1% to 20%) of right answers" in line and "checks.accept_probability" in line
    assert list(audit_warnings([dataclasses.replace(alone[0], true_accepts=Rate(0.05, 0.01, 0.2)), together])) == []


def test_a_run_without_new_examples_is_not_said_to_take_the_teachers_word(tmp_path: Path) -> None:
    config = json.dumps({**CONFIG_BY_HAND, "loop.recipe": "fine_tune", "loop.iterations": 0, "checks.verify": "off"})
    with Store(tmp_path) as store, store.transaction():
        add_run(store, config=config)
    with open_reader(tmp_path) as connection:
        found = verification_of(connection, 1)
    assert list(verification_notes(found)) == [] and list(short_lines(found)) == [""]


def test_the_newest_audit_of_the_same_models_and_seeds_is_found(verified: Path) -> None:
    seeds = [(row.question, row.answer) for row in SEEDS]
    with open_reader(verified) as connection:
        config = json.loads(connection.execute("SELECT config FROM runs").fetchone()[0])
        sizes = {"teacher": 1, "student": 1}
        otherwise_written = {"loop.iterations": 9, "teacher.temperature": 0.3, "teacher.demonstrations": 9}
        found = newest_audit(connection, {**config, **otherwise_written}, seeds, sizes)
        assert found == (1, verification_of(connection, 1).audits)
        for other in ({"checks.votes": 5}, {"student.epochs": 7}, {"teacher.model": "other.gguf"}):
            assert newest_audit(connection, {**config, **other}, seeds, sizes) is None
        assert newest_audit(connection, config, seeds[1:], sizes) is None
        assert newest_audit(connection, config, seeds, {**sizes, "teacher": 2}) is None


def test_refusals_by_the_vote_are_in_the_report(verified: Path) -> None:
    with open_reader(verified) as connection:
        summary = summarize(connection, 1)
    assert "verify" in {one.check_name for one in summary.rejections}
    console = Console(width=160, record=True, file=io.StringIO())
    print_summary(summary, console)
    (row,) = (line for line in console.export_text().splitlines() if line.startswith("together"))
    assert row.split()[1] == "100%" and row.count(" to ") == 3


def test_every_vote_on_a_candidate_is_told(verified: Path) -> None:
    with open_reader(verified) as connection:
        candidate = connection.execute("SELECT max(candidate_id) FROM votes").fetchone()[0]
        whole = whole_candidate(connection, candidate)
        verdict = connection.execute(
            "SELECT id FROM verdicts WHERE candidate_id = ? AND check_name = 'verify'", [candidate]
        ).fetchone()[0]
        texts = texts_of_step(connection, Step("check", verdict))
    assert [(vote.verifier, vote.number) for vote in whole.votes] == [
        ("teacher", 0),
        ("teacher", 1),
        ("teacher", 2),
        ("student", 0),
    ]
    assert all(vote.probability is not None and 0.3 < vote.probability <= 1 for vote in whole.votes)
    assert [text for name, text in texts if name == "vote"] == [vote_text(vote) for vote in whole.votes]
    assert vote_text(whole.votes[0]).startswith("teacher, ballot 1: ")
    assert vote_text(whole.votes[3]).startswith("student without fold ")


def test_a_lineage_has_the_probability_of_a_right_answer(verified: Path) -> None:
    with open_reader(verified) as connection:
        example = connection.execute("SELECT max(id) FROM examples WHERE origin = 'augmented'").fetchone()[0]
        lines = list(lineage_lines(lineage_of(connection, example)))
    assert any(line.startswith("    right with probability 0.") for line in lines)
    assert any(line.startswith("    freed of what they lean to: ") and "teacher: " in line for line in lines)
    assert any(line.startswith("    teacher, ballot 3: ") for line in lines)


def test_without_verification_that_is_said_loudly(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        fill(add_run(store))
        fill(add_run(store, config=json.dumps({**CONFIG_BY_HAND, "checks.verify": "off"})))
    with open_reader(tmp_path) as connection:
        for run_id in (1, 2):
            found = verification_of(connection, run_id)
            line, sample = verification_notes(found)
            assert line.startswith('nothing is verified: checks.verify = "off"')
            assert sample.endswith("of 1 accepted none was drawn for a person's word (checks.audit_sample = 0)")
            assert next(short_lines(found)).startswith("NOTHING IS VERIFIED")


def test_a_person_tells_how_often_accepted_answers_are_wrong(tmp_path: Path) -> None:
    """Rejected, or accepted with another answer or question, is wrong; withdrawn or refused is not."""
    with Store(tmp_path) as store:
        run = add_run(store)
        fill(run)
        with store.transaction():
            store.execute("UPDATE candidates SET verdict = 'accept', question = 'q', answer = 'a', is_audited = id > 1")
    assert _person(tmp_path) == PersonAudit(0.1, 5, 4, 0, 0, None)
    add_review(tmp_path, 1, 1, ReviewDecision.REJECT)  # not drawn
    add_review(tmp_path, 1, 2, ReviewDecision.ACCEPT, question="other")
    add_review(tmp_path, 1, 3, ReviewDecision.ACCEPT, answer="other")
    add_review(tmp_path, 1, 4, ReviewDecision.ACCEPT)
    add_review(tmp_path, 1, 4, ReviewDecision.REJECT)
    add_review(tmp_path, 1, 5, ReviewDecision.REJECT)
    add_review(tmp_path, 1, 5, ReviewDecision.WITHDRAW)
    assert _person(tmp_path) == PersonAudit(0.1, 5, 1, 3, 3, Rate(1.0, *interval(1.0, 3)))
    with open_reader(tmp_path) as connection:
        *_, line = verification_notes(verification_of(connection, 1))
    assert line.startswith("accepted answers that are wrong, by a person's 3 decisions (rejected or changed): 100% (")
    assert line.endswith("1 more waits in the review")


def _person(workspace: Path) -> PersonAudit:
    with open_reader(workspace) as connection:
        return person_audit(connection, 1, sample=0.1)


@pytest.mark.parametrize("person", [PersonAudit(0.1, 9, 0, 0, 0, None), PersonAudit(0.1, 9, 3, 0, 0, None)])
def test_the_short_line_gets_shorter(person: PersonAudit) -> None:
    lines = list(short_lines(Verification(True, (audit_row(),), 0, person)))
    assert lines == sorted(lines, key=len, reverse=True) and lines[-1] == ""
