"""The steps from a seed to what came of it, and the way back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from plans import assert_indexed
from workspaces import Workspace, add_graded_run

from llm2llm_local.errors import StoreError
from llm2llm_local.records import ReviewDecision
from llm2llm_local.report.lineage_texts import texts_of_step
from llm2llm_local.report.lineage_tree import (
    Step,
    branches,
    children,
    example_node,
    path_to_candidate,
    path_to_example,
    seed_ids,
)
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.wishes import add_review
from llm2llm_local.store.writer import Store

AUGMENTED = 6
"""The example that came of candidate 1, which came of seed 1."""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    with Store(tmp_path) as store:
        for _ in range(2):
            add_graded_run(store)
    return Workspace(tmp_path)


@pytest.fixture
def reader(workspace: Workspace) -> Iterator[sqlite3.Connection]:
    with open_reader(workspace.folder) as connection:
        yield connection


def test_of_an_answer_that_reasons_the_result_is_told(workspace: Workspace, reader: sqlite3.Connection) -> None:
    with Store(workspace.folder) as store, store.transaction():
        store.execute("UPDATE examples SET answer = 'First 3.' || char(10) || '#### 7' WHERE id = 1")
        store.execute("UPDATE candidates SET answer = 'First 4.' || char(10) || '#### 8' WHERE id = 1")
    seed = example_node(reader, 1)
    assert seed.text == "seed 1 = #### 7"
    (call,) = children(reader, children(reader, seed.step)[1].step)
    (candidate, *_) = children(reader, call.step)
    assert candidate.text == "new question = #### 8"


def test_from_a_seed_to_what_it_became(workspace: Workspace, reader: sqlite3.Connection) -> None:
    add_review(workspace.folder, 1, 1, ReviewDecision.ACCEPT, question="better")
    seed = example_node(reader, 1)
    assert (seed.title, seed.text) == ("seed 1", "seed 1 = answer 1")
    training, first, second = children(reader, seed.step)
    assert training.title == "trained in iterations 0–1"
    assert (first.title, first.text, first.mark, first.has_children) == ("iteration 0, 25%", "wrong", "wrong", True)
    assert (second.title, second.mark, second.has_children) == ("iteration 1, 25%", "correct", False)
    (call,) = children(reader, first.step)
    assert (call.title, call.text) == ("teacher, round 1, place 1", "new question")
    (candidate,) = children(reader, call.step)
    assert (candidate.title, candidate.text, candidate.mark) == ("candidate 1", "new question = answer 1", "accept")
    form, duplicate, decision, example = children(reader, candidate.step)
    assert (form.title, duplicate.title, form.mark) == ("format check", "duplicate check", "accept")
    assert decision.title == "person: accept with changes, waits"
    assert (example.step, example.title) == (Step("example", AUGMENTED), "example 6")
    trained, answered = children(reader, example.step)
    assert (trained.title, answered.mark) == ("trained in iteration 1", "correct")


def test_an_answer_that_was_right_before_is_lost(reader: sqlite3.Connection) -> None:
    *_, first, second = children(reader, Step("example", 2))
    assert [(node.mark, node.is_lost) for node in (first, second)] == [("correct", False), ("wrong", True)]
    *_, first, second = children(reader, Step("example", 1))
    assert [node.is_lost for node in (first, second)] == [False, False]


def test_a_reply_that_cannot_be_read_has_no_text(reader: sqlite3.Connection) -> None:
    path = path_to_candidate(reader, 1, 3)
    node = branches(reader, path)[-1].node
    assert (node.title, node.text, node.mark) == ("candidate 3, can't be read", "", "reject")


def test_what_a_person_keeps_out_says_so(workspace: Workspace, reader: sqlite3.Connection) -> None:
    workspace.execute("UPDATE examples SET removed_iteration = 2 WHERE id = ?", AUGMENTED)
    assert example_node(reader, AUGMENTED).title == "example 6, kept out from iteration 2 on"


def test_the_way_back_begins_with_the_seed(reader: sqlite3.Connection) -> None:
    path = path_to_example(reader, 1, AUGMENTED)
    assert [step.kind for step in path] == ["example", "answer", "call", "candidate", "example"]
    assert (path[0].id, path[-1].id) == (1, AUGMENTED)
    assert [branch.node.step for branch in branches(reader, path)] == path
    assert path_to_candidate(reader, 1, 1) == path[:-1]
    assert path_to_example(reader, 1, 4) == [Step("example", 4)]


def test_ids_that_there_are_not(reader: sqlite3.Connection) -> None:
    for call, message in (
        (lambda: path_to_example(reader, 1, 99), "there is no example 99"),
        (lambda: path_to_candidate(reader, 1, 99), "there is no candidate 99"),
        (lambda: path_to_example(reader, 2, AUGMENTED), "example 6 is of run 1, not of run 2"),
        (lambda: path_to_candidate(reader, 2, 1), "candidate 1 is of run 1"),
        (lambda: example_node(reader, 99), "there is no example 99"),
    ):
        with pytest.raises(StoreError, match=message):
            call()


def test_trainings_are_told_in_ranges(workspace: Workspace, reader: sqlite3.Connection) -> None:
    for iteration in (3, 4, 5, 7):
        workspace.execute("INSERT INTO training_set_examples VALUES (1, ?, 1, 0)", iteration)
    assert children(reader, Step("example", 1))[0].title == "trained in iterations 0–1, 3–5, 7"


def test_seeds_are_found_by_words(reader: sqlite3.Connection) -> None:
    assert seed_ids(reader, 1, "") == [1, 2, 3]
    assert seed_ids(reader, 1, "SEED 2") == [2]
    assert seed_ids(reader, 1, "%") == []
    assert seed_ids(reader, 2, "seed") == [7, 8, 9]


def test_every_step_in_full(workspace: Workspace, reader: sqlite3.Connection) -> None:
    review_id = add_review(workspace.folder, 1, 1, ReviewDecision.ACCEPT, question="better")
    workspace.execute("UPDATE teacher_calls SET prompt = ? WHERE id = 1", '[{"role": "user", "content": "one\\nmore"}]')
    for step, name, text in (
        (Step("example", AUGMENTED), "made from", "1"),
        (Step("example", 1), "file", "train.jsonl"),
        (Step("answer", 1), "output", "wrong"),
        (Step("call", 1), "prompt", "[user] one\nmore"),
        (Step("call", 1), "model", "tiny"),
        (Step("candidate", 1), "question", "new question"),
        (Step("check", 1), "check", "format"),
        (Step("decision", review_id), "question", "better"),
        (Step("training", 1), "trained", "iteration 0: place 1 of 3\niteration 1: place 1 of 4"),
    ):
        assert dict(texts_of_step(reader, step))[name] == text
    assert texts_of_step(reader, Step("check", 99)) == []


_STEPS: dict[str, Callable[[sqlite3.Connection], object]] = {
    "seeds": lambda c: seed_ids(c, 10, "bridge"),
    "path": lambda c: branches(c, path_to_candidate(c, 10, 190000)),
    "example": lambda c: children(c, Step("example", 181121)),
    "texts of a training": lambda c: texts_of_step(c, Step("training", 181121)),
    "texts of a call": lambda c: texts_of_step(c, Step("call", 190000)),
    "back from an example": lambda c: path_to_example(c, 10, 181121),
}


@pytest.mark.parametrize("name", _STEPS)
def test_no_query_reads_a_large_table_from_end_to_end(big_store: Workspace, name: str) -> None:
    with open_reader(big_store.folder) as connection:
        assert_indexed(connection, lambda: _STEPS[name](connection))
