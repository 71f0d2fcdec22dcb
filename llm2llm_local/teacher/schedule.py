"""Which tokens go into which forward pass: a pure function of the prompts and the sizes.

Prompts are put into lexicographic order, which is the depth-first order of their prefix tree: the longest prefix
that a prompt shares with any before it is the one it shares with its neighbour. So the tree needs no nodes: it is
walked in order, a token that several prompts share is evaluated once for all of them, and between two forward
passes one sequence beside the running ones, the trunk, holds what the next prompt shares with those already read.

Each pass takes the next token of every sequence that is being written, then prompts in order, as far as there is
room; a prompt may be cut between two passes. What is decoded depends on nothing else: neither on time nor on what
was asked before. Nothing here knows llama.cpp.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

CELLS_STEP = 256
"""llama.cpp rounds the number of KV cells up to a multiple of this."""

_LEAST_OUTPUTS = 64
"""Rows of a pass that may have logits, however few works run at once: room for 64 x vocabulary numbers."""


@dataclass(frozen=True, slots=True)
class Work:
    """One sequence: the tokens to read, the positions whose logits are wanted, and the most tokens to write then.

    `shared`: how many tokens it has in common with the work before it, which are not evaluated again.
    """

    tokens: tuple[int, ...]
    shared: int
    outputs: frozenset[int]
    max_tokens: int

    @property
    def n_cells(self) -> int:
        """KV cells of the whole sequence; the last token written is never evaluated."""
        return len(self.tokens) + max(self.max_tokens - 1, 0)

    @property
    def own_cells(self) -> int:
        """KV cells beside those of the shared prefix."""
        return self.n_cells - self.shared


@dataclass(slots=True)
class Row:
    """One token of a forward pass; `sequences` are all that it belongs to, the first the one that brought it."""

    token: int
    position: int
    sequences: list[int]
    has_output: bool


@dataclass(frozen=True, slots=True)
class Remove:
    """Before the pass: forget the sequence, from position `start` on."""

    sequence: int
    start: int = 0


@dataclass(frozen=True, slots=True)
class Copy:
    """Before the pass: the first `length` tokens of `source` belong to `target`, too, and no others do."""

    source: int
    target: int
    length: int


@dataclass(frozen=True, slots=True)
class Output:
    """Logits that come out of the pass at row number `row`: of work number `work` at `position`."""

    row: int
    work: int
    position: int


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass, after the changes to the sequences that come before it. `owners`: the work of each row."""

    changes: tuple[Remove | Copy, ...]
    rows: tuple[Row, ...]
    owners: tuple[int, ...]
    outputs: tuple[Output, ...]


@dataclass(frozen=True, slots=True)
class Sizes:
    """`n_parallel`: most works at once; `n_batch`: most rows of a pass; `n_outputs`: most of them with logits;
    `n_cells`: KV cells, in one pool with enough for each work alone or in equal streams (see `streams`).
    """

    n_parallel: int
    n_batch: int
    n_outputs: int
    n_cells: int
    has_streams: bool = False

    @property
    def n_sequences(self) -> int:
        """The trunk's number is the last; streams do without."""
        return self.n_parallel + (not self.has_streams)


def whole_steps(n_cells: int) -> int:
    """As many cells as llama.cpp makes of so many."""
    return -(-n_cells // CELLS_STEP) * CELLS_STEP


def n_outputs(n_parallel: int) -> int:
    """Rows of a pass that may have logits; llama.cpp wants room for one of each sequence, the trunk included."""
    return max(_LEAST_OUTPUTS, n_parallel + 1)


def prefix_order(texts: Sequence[tuple[int, ...]]) -> list[int]:
    """Indices of the token lists in the order of their prefix tree; equal ones keep their order."""
    return sorted(range(len(texts)), key=lambda index: texts[index])


def cells_wanted(works: Sequence[Work], n_parallel: int) -> int:
    """KV cells with which `n_parallel` works that follow each other run at once."""
    wanted = own = 0
    for last, work in enumerate(works):
        own += work.own_cells
        if last >= n_parallel:
            own -= works[last - n_parallel].own_cells
        wanted = max(wanted, works[max(0, last - n_parallel + 1)].shared + own)
    return wanted


@dataclass(slots=True)
class _LastToken:
    """What was written last in a sequence: the next pass evaluates it."""

    work: int
    token: int
    position: int
    n_written: int


@dataclass(slots=True)
class _Reading:
    """The work whose prompt was read last, wholly or not."""

    work: int
    sequence: int
    n_read: int


@dataclass(slots=True)
class Schedule:
    """The passes of one unit. Ask for a pass, decode it, ask again.

    In between, each work with `max_tokens` whose output came has to `write` or to `end`; the others end when read.
    """

    works: Sequence[Work]
    sizes: Sizes
    _n_admitted: int = 0
    _sequence_of: dict[int, int] = field(default_factory=dict)
    _writing: dict[int, _LastToken] = field(default_factory=dict)
    _free: list[int] = field(default_factory=list)
    _ended: list[int] = field(default_factory=list)
    _only_read: list[int] = field(default_factory=list)
    _reading: _Reading | None = None
    _trunk_length: int = 0

    def __post_init__(self) -> None:
        self._free = list(range(self.sizes.n_parallel))

    def write(self, work: int, token: int) -> None:
        """`token` follows what `work` has so far, and its logits are wanted in turn."""
        sequence = self._sequence_of[work]
        before = self._writing.get(sequence)
        n_written = before.n_written + 1 if before else 1
        self._writing[sequence] = _LastToken(work, token, len(self.works[work].tokens) + n_written - 1, n_written)

    def end(self, work: int) -> None:
        """Nothing more is wanted of `work`; its place is given to the next one."""
        sequence = self._sequence_of.pop(work)
        self._writing.pop(sequence, None)
        self._ended.append(sequence)

    def next_pass(self) -> Pass | None:
        """None when all works have ended."""
        changes = self._make_room()
        rows: list[Row] = []
        owners: list[int] = []
        outputs: list[Output] = []
        for sequence, writing in sorted(self._writing.items()):
            outputs.append(Output(len(rows), writing.work, writing.position))
            owners.append(writing.work)
            rows.append(Row(writing.token, writing.position, [sequence], has_output=True))
        self._read_prompts(changes, rows, owners, outputs)
        if not rows:
            assert self._n_admitted == len(self.works), "no work fits into the cells"
            return None
        return Pass(tuple(changes), tuple(rows), tuple(owners), tuple(outputs))

    def _make_room(self) -> list[Remove | Copy]:
        """What ended is forgotten, except for what the next prompt shares with it, which the trunk takes over."""
        changes: list[Remove | Copy] = []
        trunk = self.sizes.n_parallel
        last = self._reading
        if last is not None:
            if last.n_read < len(self.works[last.work].tokens):
                length = last.n_read
            else:
                length = self.works[self._n_admitted].shared if self._n_admitted < len(self.works) else 0
                self._reading = None
            if self._trunk_length:
                changes.append(Remove(trunk))
            if length:
                changes.append(Copy(last.sequence, trunk, length))
            self._trunk_length = length
        for work in self._only_read:
            self.end(work)
        self._only_read.clear()
        for sequence in sorted(self._ended):
            changes.append(Remove(sequence))
            heapq.heappush(self._free, sequence)
        self._ended.clear()
        return changes

    def _read_prompts(
        self, changes: list[Remove | Copy], rows: list[Row], owners: list[int], outputs: list[Output]
    ) -> None:
        # Where the tokens of the prompt read last are: in the trunk (None) or in a row of this pass.
        path: list[Row | None] = [None] * self._trunk_length
        while len(rows) < self.sizes.n_batch:
            reading = self._reading
            if reading is None or reading.n_read == len(self.works[reading.work].tokens):
                reading = self._admit(path, changes)
                if reading is None:
                    return
                self._reading = reading
            work = self.works[reading.work]
            while reading.n_read < len(work.tokens):
                has_output = reading.n_read in work.outputs
                if len(rows) == self.sizes.n_batch or (has_output and len(outputs) == self.sizes.n_outputs):
                    return
                if has_output:
                    outputs.append(Output(len(rows), reading.work, reading.n_read))
                row = Row(work.tokens[reading.n_read], reading.n_read, [reading.sequence], has_output)
                owners.append(reading.work)
                rows.append(row)
                path.append(row)
                reading.n_read += 1
            if not work.max_tokens:
                self._only_read.append(reading.work)

    def _admit(self, path: list[Row | None], changes: list[Remove | Copy]) -> _Reading | None:
        """Give the next work a sequence that holds the prefix it shares, when there is room for it."""
        index = self._n_admitted
        if index == len(self.works) or not self._free or not self._fits(index):
            return None
        shared = self.works[index].shared
        sequence = heapq.heappop(self._free)
        del path[shared:]
        in_trunk = path.count(None)
        if in_trunk:
            changes.append(Copy(self.sizes.n_parallel, sequence, in_trunk))
        for row in path[in_trunk:]:
            assert row is not None
            row.sequences.append(sequence)
        self._n_admitted += 1
        self._sequence_of[index] = sequence
        return _Reading(index, sequence, shared)

    def _fits(self, index: int) -> bool:
        """Whether the running works and this one, each written to its end, share `n_cells` cells."""
        cells, before = 0, None
        for work in [*sorted(self._sequence_of), index]:
            common = 0 if before is None else min(self.works[later].shared for later in range(before + 1, work + 1))
            cells += self.works[work].n_cells - common
            before = work
        return cells <= self.sizes.n_cells
