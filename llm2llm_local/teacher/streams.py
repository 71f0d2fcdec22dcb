"""The passes of a unit whose sequences have a buffer of keys and values each, as `schedule` has them for one pool.

In one pool, a token's attention is computed over the cells of all sequences, and what isn't its own is thrown away.
With a buffer for each, a stream, it is computed over its own alone, but a prefix is shared by copying a whole stream.
`Engine` says where that pays. llama.cpp decodes neighbouring streams together, as many tokens of each as the shortest
has left, and begins anew at a gap (split_equal in llama-batch.cpp). So

- rows are in the order of their streams, and each belongs to one;
- a prompt waits until what it shares with the one before it, but for a few tokens, is in a stream, and that is copied;
  where the one before has ended, its stream is cut instead;
- a prompt is cut between two passes only if it is the first to be read in one, so that prompts of a length go together;
- once all works have their streams, the last stream moves into the gap that an ended one leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .schedule import Copy, Output, Pass, Remove, Row, Sizes, Work

_READ_AGAIN = 16
"""Tokens that a prompt rather reads again than wait a pass for: prompts that go on differently may begin alike."""


@dataclass(slots=True)
class _Running:
    """A work that has its stream. `n_held`: tokens in there; `token`: written last, which the next pass evaluates."""

    stream: int
    n_held: int
    token: int | None = None


@dataclass(slots=True)
class StreamSchedule:
    """Used as `Schedule` is, for works that are all written: of a prompt, the last token's logits alone are wanted."""

    works: Sequence[Work]
    sizes: Sizes
    _running: dict[int, _Running] = field(default_factory=dict)
    _n_admitted: int = 0
    _admitted_last: _Running | None = None

    def write(self, work: int, token: int) -> None:
        """`token` follows what `work` has so far, and its logits are wanted in turn."""
        self._running[work].token = token

    def end(self, work: int) -> None:
        """Nothing more is wanted of `work`; its stream is given to another one."""
        del self._running[work]

    def next_pass(self) -> Pass | None:
        """None when all works have ended."""
        changes = self._close_gaps() if self._n_admitted == len(self.works) else []
        pieces = {work: 1 for work, running in self._running.items() if running.token is not None}
        room = self.sizes.n_batch - len(pieces)
        cut = next((work for work, running in self._running.items() if running.token is None), None)
        reading = self._admit(changes) if cut is None and room else cut
        while reading is not None and room:
            pieces[reading] = min(room, len(self.works[reading].tokens) - self._running[reading].n_held)
            room -= pieces[reading]
            reading = self._admit(changes, room)
        return self._pass(changes, pieces) if pieces else None

    def _close_gaps(self) -> list[Remove | Copy]:
        changes: list[Remove | Copy] = []
        of_stream = {running.stream: running for running in self._running.values()}
        for gap in set(range(len(of_stream))) - set(of_stream):
            moved = of_stream.pop(max(of_stream))
            changes.append(Copy(moved.stream, gap, moved.n_held))
            moved.stream = gap
        return changes

    def _admit(self, changes: list[Remove | Copy], room: int | None = None) -> int | None:
        """Give the next work a stream that holds what it shares; None if it waits, or has more than `room` to read."""
        index, before = self._n_admitted, self._admitted_last
        if index == len(self.works) or len(self._running) == self.sizes.n_parallel:
            return None
        work = self.works[index]
        shared = min(work.shared, before.n_held) if before else 0
        if work.shared - shared > _READ_AGAIN or (room is not None and len(work.tokens) - shared > room):
            return None
        if before and index - 1 not in self._running:
            stream = before.stream
            changes.append(Remove(stream, shared))
        else:
            stream = min(set(range(self.sizes.n_parallel)) - {running.stream for running in self._running.values()})
            changes.append(Copy(before.stream, stream, shared) if before and shared else Remove(stream))
        self._admitted_last = self._running[index] = _Running(stream, shared)
        self._n_admitted += 1
        return index

    def _pass(self, changes: list[Remove | Copy], pieces: dict[int, int]) -> Pass:
        rows: list[Row] = []
        owners: list[int] = []
        outputs: list[Output] = []
        for work in sorted(pieces, key=lambda work: self._running[work].stream):
            running, prompt = self._running[work], self.works[work].tokens
            start, end = running.n_held, running.n_held + pieces[work]
            tokens = prompt[start:end] if running.token is None else (running.token,)
            for position, token in enumerate(tokens, start):
                has_output = position >= len(prompt) - 1
                if has_output:
                    outputs.append(Output(len(rows), work, position))
                rows.append(Row(token, position, [running.stream], has_output))
                owners.append(work)
            running.n_held = end
        return Pass(tuple(changes), tuple(rows), tuple(owners), tuple(outputs))
