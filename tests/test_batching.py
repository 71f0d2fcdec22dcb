"""The order in which a training meets its examples, and the learning rate it meets them with."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm2llm_local.student.batching import epoch_batches, learning_rate_factor, total_steps

LENGTHS = st.lists(st.integers(1, 2000), min_size=1, max_size=200)
BATCH_SIZES = st.integers(1, 20)
RNG_SEEDS = st.integers(0, 2**32 - 1)


def skewed_lengths(n_examples: int) -> list[int]:
    """Tokens of examples as people have them: most of them short, a few ten times longer."""
    rng = random.Random(0)
    return [1 + int(rng.lognormvariate(3.5, 0.8)) for _ in range(n_examples)]


def padding(batches: Sequence[Sequence[int]], lengths: Sequence[int]) -> int:
    return sum(max(lengths[index] for index in batch) - lengths[index] for batch in batches for index in batch)


# --- batches ---


@given(lengths=LENGTHS, batch_size=BATCH_SIZES, rng_seed=RNG_SEEDS, epoch=st.integers(0, 1000))
def test_an_epoch_has_every_example_once(lengths: list[int], batch_size: int, rng_seed: int, epoch: int) -> None:
    batches = epoch_batches(lengths, batch_size, rng_seed, epoch)
    assert Counter(index for batch in batches for index in batch) == Counter(range(len(lengths)))


@given(lengths=LENGTHS, batch_size=BATCH_SIZES, rng_seed=RNG_SEEDS, epoch=st.integers(0, 1000))
def test_all_batches_are_full_but_one(lengths: list[int], batch_size: int, rng_seed: int, epoch: int) -> None:
    sizes = Counter(len(batch) for batch in epoch_batches(lengths, batch_size, rng_seed, epoch))
    full, rest = divmod(len(lengths), batch_size)
    assert sizes == Counter({batch_size: full}) + Counter({rest: 1 if rest else 0})


@given(lengths=LENGTHS, batch_size=BATCH_SIZES, epochs=st.integers(1, 5))
def test_total_steps_is_what_the_epochs_have(lengths: list[int], batch_size: int, epochs: int) -> None:
    batches = [batch for epoch in range(epochs) for batch in epoch_batches(lengths, batch_size, 0, epoch)]
    assert total_steps(len(lengths), batch_size, epochs) == len(batches)


@given(lengths=LENGTHS, batch_size=BATCH_SIZES, rng_seed=RNG_SEEDS, epoch=st.integers(0, 1000))
def test_the_order_follows_from_the_arguments_alone(
    lengths: list[int], batch_size: int, rng_seed: int, epoch: int
) -> None:
    state = random.getstate()
    first = epoch_batches(lengths, batch_size, rng_seed, epoch)
    assert random.getstate() == state
    random.random()
    assert epoch_batches(lengths, batch_size, rng_seed, epoch) == first


def test_the_order_is_the_same_in_every_process() -> None:
    script = (
        "from llm2llm_local.student.batching import epoch_batches\n"
        "print(epoch_batches([index * 7 % 31 for index in range(60)], 4, 20240315, 3))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for hash_seed in ("1", "2")
    }
    assert printed == {str(epoch_batches([index * 7 % 31 for index in range(60)], 4, 20240315, 3))}


def test_every_epoch_and_every_rng_seed_has_its_own_order() -> None:
    lengths = skewed_lengths(100)
    orders = {str(epoch_batches(lengths, 8, rng_seed, epoch)) for rng_seed in range(10) for epoch in range(10)}
    assert len(orders) == 100


def test_who_shares_a_batch_changes_from_epoch_to_epoch() -> None:
    """Else the same examples would be averaged in every epoch."""
    lengths = skewed_lengths(400)
    first, second = (
        {frozenset(pair) for batch in epoch_batches(lengths, 4, 0, epoch) for pair in pairwise(batch)}
        for epoch in (0, 1)
    )
    assert len(first & second) < 0.1 * len(first)


def test_short_and_long_batches_alternate() -> None:
    """Sorted batches would be a curriculum that nobody asked for."""
    lengths = skewed_lengths(256)
    means = [sum(lengths[index] for index in batch) / len(batch) for batch in epoch_batches(lengths, 8, 0, 0)]
    rising = sum(earlier < later for earlier, later in pairwise(means))
    assert 0.25 < rising / (len(means) - 1) < 0.75


@pytest.mark.parametrize("batch_size", [4, 8, 16])
def test_batches_of_similar_length_need_little_padding(batch_size: int) -> None:
    lengths = skewed_lengths(500)
    order = list(range(500))
    random.Random(1).shuffle(order)
    unsorted = [order[start : start + batch_size] for start in range(0, 500, batch_size)]
    ours = [padding(epoch_batches(lengths, batch_size, 0, epoch), lengths) for epoch in range(5)]
    assert max(ours) < 0.5 * padding(unsorted, lengths)


@pytest.mark.parametrize(
    ("n_examples", "batch_size", "epochs", "steps"), [(1, 8, 1, 1), (8, 8, 1, 1), (9, 8, 1, 2), (9, 8, 3, 6)]
)
def test_the_last_batch_of_an_epoch_counts(n_examples: int, batch_size: int, epochs: int, steps: int) -> None:
    assert total_steps(n_examples, batch_size, epochs) == steps


# --- learning rate ---


@given(total=st.integers(1, 3000), warmup_ratio=st.floats(0, 1))
def test_the_rate_rises_to_its_peak_and_falls_and_is_never_negative(total: int, warmup_ratio: float) -> None:
    factors = [learning_rate_factor(step, total, warmup_ratio) for step in range(total)]
    assert all(0 <= factor <= 1 for factor in factors)
    peak = factors.index(max(factors))
    assert factors[peak] == 1
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert abs(peak - total * warmup_ratio) <= 1  # the peak is the last step of the warm-up


@given(total=st.integers(1, 3000), warmup_ratio=st.floats(0, 1))
def test_no_step_is_wasted(total: int, warmup_ratio: float) -> None:
    """A rate of 0 would be a step that changes nothing."""
    assert all(learning_rate_factor(step, total, warmup_ratio) > 0 for step in range(total))


@given(total=st.integers(100, 3000), warmup_ratio=st.floats(0, 0.5))
def test_the_rate_ends_near_zero(total: int, warmup_ratio: float) -> None:
    assert learning_rate_factor(total - 1, total, warmup_ratio) < 0.01


@given(total=st.integers(2, 3000), warmup_ratio=st.floats(0.001, 1))
def test_warm_up_is_a_straight_line(total: int, warmup_ratio: float) -> None:
    warmup = math.ceil(total * warmup_ratio)
    for step in range(warmup):
        assert learning_rate_factor(step, total, warmup_ratio) == pytest.approx((step + 1) / warmup)


def test_the_rate_is_half_way_down_in_the_middle() -> None:
    assert learning_rate_factor(60, 110, 10 / 110) == pytest.approx(0.5)
    assert learning_rate_factor(50, 100, 0) == pytest.approx(0.5)
