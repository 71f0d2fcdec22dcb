"""The queries behind the list of candidates: what comes first, what filters mean, and that they go by an index."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from plans import assert_indexed
from workspaces import Workspace, add_run, fill

from llm2llm_local.errors import StoreError
from llm2llm_local.records import ReviewDecision
from llm2llm_local.report.candidate import NextTraining, labels_of, next_training, whole_candidate
from llm2llm_local.report.candidates import (
    DECIDED,
    CandidateFilter,
    Count,
    PersonDecision,
    candidate_lines,
    candidate_order,
    filter_counts,
    search_terms,
)
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.wishes import add_review
from llm2llm_local.store.writer import Store

DOUBTFUL = 5


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Two runs with five candidates each."""
    with Store(tmp_path) as store:
        for _ in range(2):
            fill(add_run(store))
    return Workspace(tmp_path)


@pytest.fixture
def reader(workspace: Workspace) -> Iterator[sqlite3.Connection]:
    with open_reader(workspace.folder) as connection:
        yield connection


def test_the_undecided_come_first_oldest_first(workspace: Workspace, reader: sqlite3.Connection) -> None:
    workspace.execute("UPDATE candidates SET verdict = 'doubt' WHERE id IN (2, 3)")
    assert candidate_order(reader, 1, CandidateFilter()) == [2, 3, 5, 4, 1]
    add_review(workspace.folder, 1, 3, ReviewDecision.ACCEPT)
    assert candidate_order(reader, 1, CandidateFilter()) == [2, 5, 4, 3, 1]
    assert candidate_order(reader, 1, CandidateFilter(), held=[3, 99]) == [2, 3, 5, 4, 1]
    add_review(workspace.folder, 1, 3, ReviewDecision.WITHDRAW)
    assert candidate_order(reader, 1, CandidateFilter()) == [2, 3, 5, 4, 1]


def test_accepted_ones_drawn_for_an_audit_come_after_the_doubtful(
    workspace: Workspace, reader: sqlite3.Connection
) -> None:
    workspace.execute("UPDATE candidates SET verdict = 'accept', is_audited = 1 WHERE id IN (1, 3)")
    assert candidate_order(reader, 1, CandidateFilter()) == [DOUBTFUL, 1, 3, 4, 2]
    drawn, other = candidate_lines(reader, [1, 4])
    assert (drawn.is_audited, drawn.waits, other.is_audited, other.waits) == (True, True, False, False)
    add_review(workspace.folder, 1, 1, ReviewDecision.ACCEPT)
    assert candidate_order(reader, 1, CandidateFilter()) == [DOUBTFUL, 3, 4, 2, 1]
    assert candidate_order(reader, 1, CandidateFilter(), held=[1]) == [DOUBTFUL, 1, 3, 4, 2]
    assert not candidate_lines(reader, [1])[0].waits


def test_a_refused_decision_leaves_its_candidate_undecided(workspace: Workspace, reader: sqlite3.Connection) -> None:
    add_review(workspace.folder, 1, DOUBTFUL, ReviewDecision.ACCEPT, question="changed")
    (line,) = candidate_lines(reader, [DOUBTFUL])
    assert line.person == PersonDecision("accept", "changed")
    assert line.question == "unsure"
    workspace.execute("UPDATE reviews SET applied_iteration = 1, refused_reason = 'no answer'")
    (line,) = candidate_lines(reader, [DOUBTFUL])
    assert line.person == PersonDecision("accept", "changed", None, 1, "no answer")
    assert candidate_order(reader, 1, CandidateFilter())[0] == DOUBTFUL


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (CandidateFilter(), [5, 4, 3, 2, 1]),
        (CandidateFilter(iteration=0), [5, 4, 3, 2, 1]),
        (CandidateFilter(iteration=1), []),
        (CandidateFilter(answer="answer 3"), [5, 2]),
        (CandidateFilter(verdict="reject"), [4, 3, 2]),
        (CandidateFilter(verdict="reject", answer="answer 3"), [2]),
        (CandidateFilter(verdict=DECIDED), [1]),
        (CandidateFilter(reason="empty reply"), [4, 3]),
        (CandidateFilter(reason="two readings"), [5]),
        (CandidateFilter(parent_example_id=1), [1]),
        (CandidateFilter(parent_example_id=1, verdict="reject"), []),
        (CandidateFilter(search="QUEST new"), [1]),
        (CandidateFilter(search="new seed"), []),
        (CandidateFilter(search="answer 3"), [5, 2, 1]),  # "3" is too short to be searched for
        (CandidateFilter(search='" OR "seed'), []),
        (CandidateFilter(search="seed" + '"'), []),
        (CandidateFilter(search="uns* NEAR"), []),
    ],
)
def test_filters(workspace: Workspace, reader: sqlite3.Connection, wanted: CandidateFilter, ids: list[int]) -> None:
    add_review(workspace.folder, 1, 1, ReviewDecision.REJECT)
    add_review(workspace.folder, 1, 2, ReviewDecision.REJECT)
    add_review(workspace.folder, 1, 2, ReviewDecision.WITHDRAW)
    assert candidate_order(reader, 1, wanted) == ids


def test_terms_of_fewer_than_three_characters_are_not_searched_for() -> None:
    assert search_terms("a the 図書 図書館 ") == (["the", "図書館"], ["a", "図書"])


def test_counts_are_of_one_run(workspace: Workspace, reader: sqlite3.Connection) -> None:
    add_review(workspace.folder, 2, 6, ReviewDecision.REJECT)
    counts = filter_counts(reader, 1)
    assert counts.iterations == (Count("0", 5),)
    assert counts.answers == (Count("answer 3", 2), Count("answer 1", 1))
    assert set(counts.verdicts) == {Count("reject", 3), Count("accept", 1), Count("doubt", 1), Count(DECIDED, 0)}
    assert counts.reasons == (Count("empty reply", 2), Count("too similar", 1), Count("two readings", 1))


def test_lines_keep_the_order_and_tell_what_repeats_a_test_question(
    workspace: Workspace, reader: sqlite3.Connection
) -> None:
    workspace.execute("UPDATE verdicts SET check_name = 'leak' WHERE candidate_id = 2 AND verdict = 'reject'")
    assert [(line.id, line.repeats_test) for line in candidate_lines(reader, [5, 2, 1])] == [
        (5, False),
        (2, True),
        (1, False),
    ]


def test_a_candidate_with_all_that_is_known(workspace: Workspace, reader: sqlite3.Connection) -> None:
    add_review(workspace.folder, 1, 1, ReviewDecision.REJECT)
    whole = whole_candidate(reader, 1)
    assert (whole.seed_question, whole.seed_answer, whole.outcome) == ("seed 1", "answer 1", "wrong")
    assert (whole.predicted_answer, whole.slot, whole.seed_origin) == ("wrong", 0, "seed")
    assert [check.check_name for check in whole.checks] == ["format", "duplicate"]
    assert [review.decision for review in whole.reviews] == ["reject"]
    assert [made.example_id for made in whole.examples] == [6]
    with pytest.raises(StoreError, match="there is no candidate 99"):
        whole_candidate(reader, 99)


def test_a_decision_is_for_the_first_training_that_has_not_begun(workspace: Workspace) -> None:
    def following() -> NextTraining:
        with open_reader(workspace.folder) as connection:
            return next_training(connection, 1)

    assert following() == NextTraining(1, 0, 0)
    with Store(workspace.folder) as store:
        run = store.of_run(1)
        run.open_stage(0, "train", 0, "", {}, units=1)
        assert following().iteration == 1
        run.open_stage(0, "predict", 0, "", {}, units=1)
        run.open_stage(1, "fold_train", 1, "", {}, units=1)
        assert following().iteration == 2
        run.open_stage(1, "train", 0, "", {}, units=1)
        assert following().iteration == 2
        run.open_stage(2, "train", 0, "", {}, units=1)
    assert following().iteration is None
    for decision in (ReviewDecision.ACCEPT, ReviewDecision.REJECT):
        add_review(workspace.folder, 1, DOUBTFUL, decision)
    assert following().waiting == 1
    add_review(workspace.folder, 1, DOUBTFUL, ReviewDecision.WITHDRAW)
    assert following().waiting == 0
    workspace.execute("UPDATE reviews SET applied_iteration = 2 WHERE decision = 'reject'")
    assert following().waiting == 1


def test_a_run_that_ended_early_has_no_training_to_come(workspace: Workspace, reader: sqlite3.Connection) -> None:
    workspace.execute("""UPDATE runs SET status = 'done', labels = '["a", "b"]' WHERE run_id = 1""")
    assert next_training(reader, 1).iteration is None
    assert labels_of(reader, 1) == ("a", "b")
    assert labels_of(reader, 2) == ()


_QUERIES: dict[str, Callable[[sqlite3.Connection], object]] = {
    "all": lambda c: candidate_order(c, 10, CandidateFilter()),
    "iteration and answer": lambda c: candidate_order(c, 10, CandidateFilter(iteration=3, answer="person")),
    "verdict": lambda c: candidate_order(c, 10, CandidateFilter(verdict="reject")),
    "decided": lambda c: candidate_order(c, 10, CandidateFilter(verdict=DECIDED)),
    "reason": lambda c: candidate_order(c, 10, CandidateFilter(reason="too long")),
    "parent": lambda c: candidate_order(c, 10, CandidateFilter(parent_example_id=171132)),
    "search": lambda c: candidate_order(c, 10, CandidateFilter(search="the bridge")),
    "everything": lambda c: candidate_order(
        c, 10, CandidateFilter(2, "person", "doubt", "the teacher is not sure of the answer", 171132, "the bridge")
    ),
    "lines": lambda c: candidate_lines(c, range(190000, 190100)),
    "counts": lambda c: filter_counts(c, 10),
    "whole": lambda c: whole_candidate(c, 190000),
    "next training": lambda c: next_training(c, 10),
}


@pytest.mark.parametrize("name", _QUERIES)
def test_no_query_reads_a_large_table_from_end_to_end(big_store: Workspace, name: str) -> None:
    with open_reader(big_store.folder) as connection:
        assert_indexed(connection, lambda: _QUERIES[name](connection))
