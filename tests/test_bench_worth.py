"""What `llm2llm bench verification` counts of candidates that a judge has judged."""

from __future__ import annotations

from llm2llm_local.bench.worth import Candidate, Judged, Part, worth_of
from llm2llm_local.records import Decision

ACCEPT, DOUBT, REJECT = Decision.ACCEPT, Decision.DOUBT, Decision.REJECT


def judged(decision: Decision, probability: float | None, right: bool, hard: bool = False, attempt: int = 0) -> Judged:
    return Judged(Candidate(0, attempt, "question", "answer", decision, probability), right, hard)


MIXED = [
    judged(ACCEPT, 0.97, True),
    judged(ACCEPT, 0.92, True, hard=True),
    judged(ACCEPT, 0.91, False),
    judged(DOUBT, 0.75, True, hard=True),
    judged(DOUBT, 0.6, False),
    judged(REJECT, 0.3, True, hard=True),
    judged(REJECT, 0.1, False),
    judged(REJECT, 0.2, False, attempt=1),
]


def test_right_ones_are_counted_of_all_and_of_each_decision() -> None:
    worth = worth_of(MIXED, 0.9)
    assert worth.all == Part(4, 8)
    assert worth.unverified == Part(4, 7)  # where nothing is refused, nothing is asked for once more
    assert (worth.accepted, worth.in_doubt, worth.rejected) == (Part(2, 3), Part(1, 2), Part(1, 3))
    assert (worth.kept.right, worth.kept.hard, worth.kept.easy) == (Part(2, 4), Part(1, 3), Part(1, 1))


def test_other_thresholds_decide_on_the_same_candidates() -> None:
    low, high = worth_of(MIXED, 0.9, [0.5, 0.95]).at
    assert (low.threshold, low.accepted, low.kept.right) == (0.5, Part(3, 5), Part(3, 4))
    assert (low.kept.hard, low.kept.easy) == (Part(2, 3), Part(1, 1))
    assert (high.accepted, high.kept.right, high.kept.hard) == (Part(1, 1), Part(1, 4), Part(0, 3))


def test_from_a_threshold_on_means_at_it_too() -> None:
    (at,) = worth_of([judged(ACCEPT, 0.9, True)], 0.9, [0.9]).at
    assert at.accepted == Part(1, 1)


def test_where_nothing_was_verified_there_are_no_thresholds_and_all_are_accepted() -> None:
    worth = worth_of([judged(ACCEPT, None, True), judged(ACCEPT, None, False)], 0.9)
    assert worth.at == ()
    assert worth.all == worth.accepted == Part(1, 2)
    assert worth.in_doubt.share is None


def test_verifiers_are_compared_on_the_candidates_that_all_have_judged() -> None:
    def by(teacher: float, student: float, together: float, right: bool, hard: bool = False) -> Judged:
        alone = {"teacher": teacher, "student": student}
        return Judged(Candidate(0, 0, "question", "answer", ACCEPT, together, alone), right, hard)

    found = worth_of(
        [
            by(0.95, 0.2, 0.7, True, hard=True),
            by(0.95, 0.95, 0.99, True),
            by(0.92, 0.4, 0.8, False),
            judged(ACCEPT, 0.99, False),  # by one verifier alone
        ],
        in_force=0.9,
    ).by
    assert [(one.verifier, one.accepted) for one in found] == [
        ("student", Part(1, 1)),
        ("teacher", Part(2, 3)),
        ("together", Part(1, 1)),
    ]
    assert [one.kept.hard for one in found] == [Part(0, 1), Part(1, 1), Part(0, 1)]
    assert worth_of(MIXED, 0.9).by == ()
