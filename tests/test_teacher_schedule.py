"""The schedule without a model: every token is evaluated once, after all before it, in sequences that hold them."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from llm2llm_local.prefixes import shared_length
from llm2llm_local.teacher.schedule import (
    Copy,
    Pass,
    Remove,
    Schedule,
    Sizes,
    Work,
    cells_wanted,
    prefix_order,
)
from llm2llm_local.teacher.streams import StreamSchedule


def works_of(texts: Sequence[tuple[int, ...]], max_tokens: Sequence[int]) -> list[Work]:
    """In prefix order, each with its last position's logits wanted."""
    works: list[Work] = []
    for index in prefix_order(texts):
        text = texts[index]
        shared = min(shared_length(works[-1].tokens, text), len(text) - 1) if works else 0
        works.append(Work(text, shared, frozenset([len(text) - 1]), max_tokens[index]))
    return works


class Cells:
    """What llama.cpp does with a pass: cells that belong to sequences, each holding the text up to its token.

    Streams are copied, in order, when the pass begins; what belongs to which sequence has changed by then.
    """

    def __init__(self, n_sequences: int, has_streams: bool = False) -> None:
        self.texts: list[list[tuple[int, int]]] = [[] for _ in range(n_sequences)]  # (cell, token)
        self.streams: list[list[tuple[int, int]]] = [[] for _ in range(n_sequences)]
        self.has_streams = has_streams
        self.n_evaluated = 0
        self.most_used = 0
        self.longest = 0

    def run(self, one: Pass) -> dict[int, tuple[int, ...]]:
        """The text that the logits of each output row follow."""
        for change in one.changes:
            match change:
                case Remove(sequence, start):
                    del self.texts[sequence][start:]
                case Copy(source, target, length):
                    assert self.texts[target] == [] or self.has_streams  # which are overwritten
                    assert source != target
                    assert len(self.texts[source]) >= length
                    self.texts[target] = self.texts[source][:length]
        for change in one.changes:
            if isinstance(change, Copy):
                self.streams[change.target] = list(self.streams[change.source])
        seen: dict[int, tuple[int, ...]] = {}
        for index, row in enumerate(one.rows):
            for sequence in row.sequences:
                assert len(self.texts[sequence]) == row.position
                self.texts[sequence].append((self.n_evaluated, row.token))
                self.streams[sequence][row.position :] = [(self.n_evaluated, row.token)]
                assert not self.has_streams or self.streams[sequence] == self.texts[sequence]
            texts = {tuple(self.texts[sequence]) for sequence in row.sequences}
            assert len(texts) == 1  # the very same cells
            seen[index] = tuple(token for _, token in texts.pop())
            self.n_evaluated += 1
        self.most_used = max(self.most_used, len({cell for text in self.texts for cell, _ in text}))
        self.longest = max(self.longest, *map(len, self.texts))
        return seen


def run(works: Sequence[Work], sizes: Sizes, lengths: Sequence[int]) -> tuple[Cells, list[Pass], int]:
    """Writes `lengths[work]` tokens of its own for each work. Returns the cells, the passes, the most at once."""
    schedule = StreamSchedule(works, sizes) if sizes.has_streams else Schedule(works, sizes)
    cells, passes = Cells(sizes.n_sequences, sizes.has_streams), list[Pass]()
    written = [0] * len(works)
    outputs = 0
    while (one := schedule.next_pass()) is not None:
        passes.append(one)
        texts = cells.run(one)
        assert len(one.rows) == len(one.owners) <= sizes.n_batch
        assert sum(row.has_output for row in one.rows) == len(one.outputs) <= sizes.n_outputs
        outputs = max(outputs, len(one.outputs))
        for output in one.outputs:
            work = works[output.work]
            own = tuple(1000 * (output.work + 1) + number for number in range(written[output.work]))
            assert texts[output.row] == (*work.tokens[: output.position + 1], *own)
            if not work.max_tokens:
                continue
            written[output.work] += 1
            if written[output.work] == lengths[output.work]:
                schedule.end(output.work)
            else:
                schedule.write(output.work, 1000 * (output.work + 1) + written[output.work] - 1)
    assert written == list(lengths)
    return cells, passes, outputs


TEXTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple), min_size=1, max_size=14)


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.integers(1, 5), st.integers(0, 9), st.integers(0, 40), st.integers(0, 2**16))
def test_every_work_is_read_and_written_in_the_cells_there_are(
    texts: list[tuple[int, ...]], n_parallel: int, more_batch: int, more_cells: int, rng_seed: int
) -> None:
    rng = random.Random(rng_seed)
    works = works_of(texts, [rng.randrange(5) for _ in texts])
    lengths = [rng.randint(1, work.max_tokens) if work.max_tokens else 0 for work in works]
    n_cells = max(work.shared + work.own_cells for work in works) + more_cells
    sizes = Sizes(n_parallel, n_parallel + more_batch, n_parallel, n_cells)
    cells, passes, _ = run(works, sizes, lengths)
    assert cells.most_used <= n_cells
    prompts = sum(len(work.tokens) - work.shared for work in works)
    assert cells.n_evaluated == prompts + sum(max(length - 1, 0) for length in lengths)
    assert passes == run(works, sizes, lengths)[1]


def test_a_shared_prefix_is_read_once_for_all_in_one_pass() -> None:
    texts = [(*range(200), 300 + number, 7) for number in range(8)]
    works = works_of(texts, [3] * 8)
    cells, passes, at_once = run(works, Sizes(8, 512, 8, 1000), [3] * 8)
    assert [len(one.rows) for one in passes] == [200 + 8 * 2, 8, 8]
    assert at_once == 8
    assert cells.n_evaluated == 200 + 8 * 2 + 8 * 2


def test_a_place_is_given_to_the_next_as_soon_as_it_is_free() -> None:
    works = works_of([(number, 5) for number in range(6)], [9] * 6)
    _, passes, at_once = run(works, Sizes(2, 64, 64, 100), [1, 9, 1, 9, 1, 1])
    owners = [set(one.owners) for one in passes]
    assert owners[:4] == [{0, 1}, {1, 2}, {1, 3}, {1, 3}]
    assert at_once == 2


def test_a_prompt_is_read_in_pieces_beside_what_is_written() -> None:
    works = works_of([(0, 1), tuple(range(1, 31))], [8, 1])
    _, passes, _ = run(works, Sizes(2, 8, 8, 100), [8, 1])
    assert [len(one.rows) for one in passes[:5]] == [8, 8, 8, 8, 4]
    assert [one.owners.count(0) for one in passes[1:5]] == [1, 1, 1, 1]


def test_no_pass_has_more_logits_than_there_is_room_for() -> None:
    """Of a text whose every token is scored, a pass reads as many as it can give logits of."""
    works = [Work(tuple(range(10)), 0, frozenset(range(10)), 0), Work((*range(9), 20, 21), 9, frozenset([10]), 0)]
    _, passes, outputs = run(works, Sizes(2, 64, 3, 100), [0, 0])
    assert [len(one.rows) for one in passes] == [3, 3, 3, 3]
    assert outputs == 3


def test_less_runs_at_once_when_cells_are_few() -> None:
    works = works_of([(number, *range(9)) for number in range(6)], [11] * 6)
    assert works[0].own_cells == 20
    for n_cells, expected in ((20, 1), (59, 2), (60, 3), (1000, 6)):
        assert run(works, Sizes(6, 64, 64, n_cells), [11] * 6)[2] == expected


def test_cells_wanted_let_neighbours_run_at_once() -> None:
    texts = [(*range(50), 60 + number, 7) for number in range(9)]
    works = works_of(texts, [4] * 9)
    for n_parallel in (1, 2, 5, 9, 20):
        n_cells = cells_wanted(works, n_parallel)
        assert n_cells == 50 + min(n_parallel, 9) * (2 + 3)
        assert run(works, Sizes(n_parallel, 512, 64, n_cells), [4] * 9)[2] == min(n_parallel, 9)


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.integers(1, 5), st.integers(0, 9), st.integers(0, 2**16))
def test_every_work_is_read_and_written_in_a_stream_of_its_own(
    texts: list[tuple[int, ...]], n_parallel: int, more_batch: int, rng_seed: int
) -> None:
    rng = random.Random(rng_seed)
    works = works_of(texts, [rng.randint(1, 5) for _ in texts])
    lengths = [rng.randint(1, work.max_tokens) for work in works]
    longest = max(work.n_cells for work in works)
    sizes = Sizes(n_parallel, n_parallel + more_batch, n_parallel, n_parallel * longest, has_streams=True)
    cells, passes, at_once = run(works, sizes, lengths)
    assert cells.longest <= longest
    assert at_once <= n_parallel
    for one in passes:
        assert all(len(row.sequences) == 1 for row in one.rows)
        assert [row.sequences for row in one.rows] == sorted(row.sequences for row in one.rows)
    assert passes == run(works, sizes, lengths)[1]


def streams_of(one: Pass) -> list[int]:
    return sorted({row.sequences[0] for row in one.rows})


def test_streams_read_a_shared_prefix_once_and_begin_together() -> None:
    texts = [(*range(200), *range(1000 * number, 1000 * number + 30)) for number in range(1, 9)]
    works = works_of(texts, [3] * 8)
    cells, passes, at_once = run(works, Sizes(8, 512, 8, 8 * 256, has_streams=True), [3] * 8)
    assert [len(one.rows) for one in passes] == [230, 1 + 7 * 30, 8, 7]
    assert at_once == 8
    assert cells.n_evaluated == 200 + 8 * 30 + 8 * 2


def test_streams_wait_for_a_long_prefix_but_not_for_a_few_tokens() -> None:
    sizes = Sizes(2, 512, 8, 1000, has_streams=True)
    for n_shared, expected in ((16, [60, 2]), (17, [30, 1 + 13, 1])):
        texts = [tuple(range(30)), (*range(n_shared), *range(100, 130 - n_shared))]
        passes = run(works_of(texts, [2, 2]), sizes, [2, 2])[1]
        assert [len(one.rows) for one in passes] == expected


def test_a_prompt_that_does_not_fit_beside_others_waits_whole() -> None:
    works = works_of([tuple(range(first, first + 30)) for first in (0, 100, 200)], [9] * 3)
    _, passes, _ = run(works, Sizes(3, 50, 8, 300, has_streams=True), [9] * 3)
    assert [len(one.rows) for one in passes[:4]] == [30, 1 + 30, 2 + 30, 3]
    long = works_of([(0,), tuple(range(1, 131))], [9, 1])
    _, passes, _ = run(long, Sizes(2, 50, 8, 400, has_streams=True), [9, 1])
    assert [len(one.rows) for one in passes[:5]] == [1, 1 + 49, 1 + 49, 1 + 32, 1]


def test_streams_that_are_left_stay_neighbours() -> None:
    """Where none waits for it, an ended one's place is taken by the last."""
    works = works_of([(number, 5) for number in range(4)], [9] * 4)
    _, passes, _ = run(works, Sizes(4, 64, 64, 400, has_streams=True), [2, 9, 3, 9])
    assert [streams_of(one) for one in passes[:4]] == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2], [0, 1]]
    assert [one.changes for one in passes[1:4]] == [(), (Copy(3, 0, 3),), ()]
    works = works_of([(number, 5) for number in range(5)], [9] * 5)
    _, passes, _ = run(works, Sizes(4, 64, 64, 400, has_streams=True), [2, 9, 3, 9, 9])
    assert [streams_of(one) for one in passes[:4]] == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2]]
    assert passes[2].changes == (Remove(0),)


def test_a_prompt_takes_the_stream_of_the_ended_one_that_it_goes_on_from() -> None:
    works = works_of([(*range(50), 60 + number) for number in range(2)], [1, 1])
    _, passes, _ = run(works, Sizes(4, 64, 64, 400, has_streams=True), [1, 1])
    assert [one.changes for one in passes] == [(Remove(0),), (Remove(0, 50),)]
    assert [len(one.rows) for one in passes] == [51, 1]


def test_shared_length_of_lists() -> None:
    assert shared_length((1, 2, 3), (1, 2, 4, 5)) == 2
    assert shared_length((1, 2), (1, 2, 3)) == 2
    assert shared_length((), (1,)) == 0
