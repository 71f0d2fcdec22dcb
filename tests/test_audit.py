"""What the audit makes of votes on seeds: leanings, weights and rates."""

from __future__ import annotations

import math
import random

import pytest
from votes import scored, with_evidence, written

from llm2llm_local.checks.audit import (
    AuditedSeed,
    SeedEvidence,
    audit,
    bias_on,
    calibrate,
    gives_answers,
    leaning_of,
    own_answers_right,
)
from llm2llm_local.checks.verification import Thresholds, evidence_of, is_for
from llm2llm_local.records import Vote

THRESHOLDS = Thresholds(accept=0.8, reject=0.5)


def voted(n: int, informed: float, n_wrong: int = 2) -> list[AuditedSeed]:
    """As `seeds_of`, in votes; every other seed's answer is "a"."""
    found = []
    for place, seed in enumerate(seeds_of(n, informed, n_wrong=n_wrong)):
        right, wrong = "ab"[place % 2], "ba"[place % 2]
        on_right = {name: [with_evidence(right, nats)] for name, nats in seed.right.items()}
        on_wrong = ({name: [with_evidence(wrong, nats)] for name, nats in one.items()} for one in seed.wrong)
        found.append(AuditedSeed(right, on_right, tuple(on_wrong)))
    return found


def seeds_of(n: int, informed: float, rng_seed: int = 0, n_wrong: int = 2) -> list[SeedEvidence]:
    """Verifier "good" is right by `informed` nats on average, "noise" says anything."""
    rng = random.Random(rng_seed)

    def evidence(about: float) -> dict[str, float]:
        return {"good": rng.gauss(about, 1), "noise": rng.gauss(0, 1)}

    return [SeedEvidence(evidence(informed), tuple(evidence(-informed) for _ in range(n_wrong))) for _ in range(n)]


def test_a_verifier_that_always_says_the_same_has_no_evidence_once_its_bias_is_known() -> None:
    votes = [scored(intended, a=0.98, b=0.01, c=0.01) for intended in ("a", "b", "c")]
    bias = leaning_of(votes)
    assert [evidence_of([vote], [bias]) for vote in votes] == pytest.approx([math.log(0.5)] * 3)


def test_a_frequent_answer_is_no_bias() -> None:
    """Nine seeds of "a" and one of "b", each told apart: a's mean would be high only since there are so many."""
    votes = [scored("a", a=0.9, b=0.1)] * 9 + [scored("b", a=0.1, b=0.9)]
    bias = leaning_of(votes)
    assert bias["a"] == pytest.approx(bias["b"])


def test_a_judge_of_yes_and_no_keeps_its_word() -> None:
    votes = [scored("yes", yes=0.9, no=0.1), scored("yes", yes=0.8, no=0.2), scored("yes", yes=0.3, no=0.7)]
    bias = leaning_of(votes)
    assert bias == {"yes": 0.0, "no": 0.0}
    assert [is_for([vote], [bias]) for vote in votes] == [True, True, False]


def test_a_judge_of_yes_and_no_gives_no_answer_of_its_own() -> None:
    """However often it says yes to right answers: how often it would have given them isn't known."""
    yes = [scored("yes", yes=0.9, no=0.1)] * 3
    assert not gives_answers(yes, yes)
    assert gives_answers([scored("a", a=0.9, b=0.1)] * 3, [scored("b", a=0.9, b=0.1)] * 3)
    assert gives_answers([written(True)] * 3, [written(False)] * 3)


def test_a_judge_that_says_a_whatever_it_is_asked_is_seen_through_though_all_seeds_are_a() -> None:
    right = [scored("a", a=0.9, b=0.1)] * 4
    bias = leaning_of(right, [scored("b", a=0.9, b=0.1)] * 4)
    assert evidence_of([scored("a", a=0.9, b=0.1)], [bias]) == pytest.approx(0.0)
    assert evidence_of([scored("b", a=0.9, b=0.1)], [bias]) == pytest.approx(0.0)


def test_calibrated_probabilities_are_true() -> None:
    """Of evidence that is drawn from two normal distributions the posterior is known: log-odds 2·mean·evidence."""
    calibration = calibrate(seeds_of(4000, informed=0.8), ["good"])
    assert calibration.weights["good"] == pytest.approx(1.6, abs=0.1)
    assert calibration.intercept == pytest.approx(0.0, abs=0.1)
    assert calibration.probability({"good": 1.0}) == pytest.approx(1 / (1 + math.exp(-1.6)), abs=0.02)


def test_a_verifier_without_information_gets_no_weight_beside_one_that_has_it() -> None:
    calibration = calibrate(seeds_of(400, informed=1.5), ["good", "noise"])
    assert abs(calibration.weights["noise"]) < 0.2 < 1 < calibration.weights["good"]


def test_a_verifier_that_is_wrong_by_rule_is_left_out_not_turned_round() -> None:
    calibration = calibrate(seeds_of(200, informed=-1.0), ["good"])
    assert calibration.weights["good"] == 0.0
    assert calibration.probability({"good": 5.0}) == pytest.approx(0.5, abs=0.01)


def test_of_two_verifiers_that_contradict_each_other_the_better_one_keeps_its_weight() -> None:
    """Together both would speak for wrong answers; alone the first speaks, if little, for right ones."""
    rng = random.Random(4)
    seeds = []
    for _ in range(40):
        one = rng.gauss(0, 2)
        evidence = {"first": one + 0.1, "second": -one - 0.6 + rng.gauss(0, 0.3)}
        seeds.append(SeedEvidence(evidence, ({"first": one - 0.1, "second": -one + 0.6 + rng.gauss(0, 0.3)},)))
    assert calibrate(seeds, ["first"]).weights["first"] > 0
    assert calibrate(seeds, ["first", "second"]).weights == {
        "first": pytest.approx(calibrate(seeds, ["first"]).weights["first"]),
        "second": 0.0,
    }


def test_the_audit_tells_chance_from_information() -> None:
    informed, noise = (audit(voted(60, 1.0), [name], THRESHOLDS, "review") for name in ("good", "noise"))
    assert informed.preference.low > 0.5 > noise.preference.low
    assert informed.true_accepts.low > informed.false_accepts.high
    assert informed.true_accepts.low <= informed.true_accepts.share <= informed.true_accepts.high


def test_where_doubtful_ones_are_kept_the_audit_counts_them_as_let_in() -> None:
    seeds = voted(60, 0.5)
    kept, reviewed, dropped = (audit(seeds, ["good"], THRESHOLDS, doubt) for doubt in ("keep", "review", "drop"))
    assert kept == audit(seeds, ["good"], Thresholds(THRESHOLDS.reject, THRESHOLDS.reject), "review")
    assert reviewed == dropped
    assert kept.true_accepts.share > reviewed.true_accepts.share
    assert kept.false_accepts.share > reviewed.false_accepts.share


def test_planted_answers_of_a_seed_count_as_one_case() -> None:
    few, many = (audit(voted(60, 1.0, n_wrong=n), ["good"], THRESHOLDS, "review").false_accepts for n in (1, 5))
    assert many.high - many.low > 0.5 * (few.high - few.low)


def test_each_seed_is_judged_by_what_was_made_of_others() -> None:
    """The second says "b" by what the others tell of its verifier's leaning to "a"; it would be for "a" by its own."""
    nats = {"a": (3.0, 0.5), "b": (1.2, 1.2)}
    seeds = [
        AuditedSeed(right, {"teacher": [with_evidence(right, one)]}, ({"teacher": [with_evidence(wrong, -one)]},))
        for right, wrong in ("ab", "ba")
        for one in nats[right]
    ]
    assert all(is_for(seed.right["teacher"], bias_on(seeds, "teacher")) for seed in seeds)
    assert own_answers_right(seeds, "teacher") == 0.75
    assert audit(seeds, ["teacher"], THRESHOLDS, "review").preference.share == 0.75


@pytest.mark.parametrize("beside", [{}, {"student": [written(None)]}])
@pytest.mark.parametrize("answers", ["aaab", "baaa", "aaaaab", "a" * 18 + "bb", "b" + 9 * "a" + "b" + 9 * "a"])
def test_a_perfect_verifier_is_found_so_though_an_answer_is_rare(answers: str, beside: dict[str, list[Vote]]) -> None:
    """Measured on others without that answer, its leaning would be all that it says, whoever else votes."""
    seeds = [
        AuditedSeed(
            one,
            {**beside, "teacher": [with_evidence(one, 4.0)]},
            ({**beside, "teacher": [with_evidence(wrong, -4.0)]},),
        )
        for one, wrong in zip(answers, answers.translate(str.maketrans("ab", "ba")), strict=True)
    ]
    measured = audit(seeds, ["teacher"], THRESHOLDS, "review")
    assert (measured.preference.share, own_answers_right(seeds, "teacher")) == (1.0, 1.0)
    assert measured.true_accepts.share == 1.0 and measured.false_accepts.share == 0.0


@pytest.mark.parametrize("n", [2, 3])
def test_two_or_three_seeds_are_too_few_to_say_anything(n: int) -> None:
    measured = audit(voted(n, 3.0), ["good"], THRESHOLDS, "review")
    assert measured.preference.low < 0.5
