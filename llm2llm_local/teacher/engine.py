"""Continuous batching: the works of one unit, run through llama.cpp together.

A unit begins with empty keys and values, and its passes follow from its prompts and the settings alone (see
`schedule`); so does its result, on the same machine.

On a CPU texts are written in a stream for each (see `streams`), without flash attention: in one pool attention is most
of a small model's work. Measured on 2 cores of an Intel Xeon with AMX, 32 at once, 48 tokens each:

    prompts                                        model                  one pool   streams
    32: 195 shared tokens, 27 of their own         SmolLM2-135M           8.0 s      4.9 s
    64: 150 shared, 30 to 150 of their own         SmolLM2-135M           46 s       21 s
    64: the same, four for each of 16 prompts      SmolLM2-135M           21 s       15 s
    32: 150 shared, 30 to 150 of their own         Qwen2.5-Coder-1.5B     63 s       47 s
    32: the same, four for each of 8 prompts       Qwen2.5-Coder-1.5B     28 s       24 s

With flash attention the pool is faster (the first line, bare loop: 10.8 s against 12.3 s), and on a GPU its one prefix
is read for all sequences at once. Scoring stays with it, too: a prompt's continuations are shorter than what a copy of
its stream costs.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import ModelError
from ..prefixes import shared_length
from ..records import FinishReason
from .decoder import Decoder
from .gguf_model import GgufModel, no_numbers
from .protocol import Progress, Sampling, TeacherSettings, writes_in_streams
from .sampler import ReplyText, Sampler
from .schedule import Pass, Row, Schedule, Sizes, Work, cells_wanted, n_outputs, prefix_order, whole_steps
from .streams import StreamSchedule


@dataclass(frozen=True, slots=True)
class Generation:
    """A text to write after `tokens`."""

    tokens: tuple[int, ...]
    sampling: Sampling
    grammar: str | None
    rng_seed: int
    stop: tuple[str, ...]
    max_tokens: int


@dataclass(slots=True)
class Written:
    """What was written for a generation. `seconds`: its share of each pass, by the rows that it had in it."""

    text: ReplyText
    finish_reason: FinishReason | None = None
    n_tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Scoring:
    """Tokens whose log-likelihood is asked for after `tokens`."""

    tokens: tuple[int, ...]
    continuation: tuple[int, ...]


class Engine:
    """Holds a decoder for the model; one call is one unit."""

    def __init__(self, model: GgufModel, settings: TeacherSettings) -> None:
        self._model = model
        self._n_batch = settings.n_batch
        self._is_on_gpu = settings.gpu_layers != 0
        self._n_parallel = min(settings.n_parallel, settings.n_batch)
        self._context_length = settings.context_length
        in_streams = writes_in_streams(settings.gpu_layers, settings.kv_type, settings.flash_attention)
        self._writes_in_streams = in_streams and model.shares_prefixes  # a recurrent state can't be cut, as streams are
        self.decoder = Decoder(model, settings)

    def close(self) -> None:
        self.decoder.close()

    def check_room(self, n_tokens: int) -> None:
        """Raises ModelError when keys and values of so many tokens are more than they may take."""
        if n_tokens > self.decoder.max_cells:
            mebibytes = n_tokens * self.decoder.bytes_per_cell / 2**20
            raise ModelError(
                f"{self._model.path}: keys and values of {n_tokens} tokens take {mebibytes:.0f} MiB, and there is room "
                f"for {self.decoder.max_cells} tokens",
                'Lower teacher.max_new_tokens or teacher.demonstrations, or set teacher.kv_cache = "q8_0".',
            )

    def check_memory(self) -> None:
        """Make room for the largest unit: as many works at once as may be, each as long as the context. With layers on
        a GPU a full forward pass is done, too: only that takes what CUDA computes in.

        Raises OutOfMemoryError or ModelError when llama.cpp can't make such a context.
        """
        sizes = self._start_pool(self._n_parallel * self._context_length)
        if self._is_on_gpu:
            self.decoder.decode(_full_pass(sizes))
            self.decoder.start(sizes)

    def generate(self, generations: Sequence[Generation], progress: Progress) -> list[Written]:
        """In the order of `generations`. Progress is told after each pass, in tokens of all that may be written."""
        order = prefix_order([generation.tokens for generation in generations])
        ordered = [generations[index] for index in order]
        written = [Written(ReplyText(generation.stop)) for generation in ordered]
        works = self._works(
            [one.tokens for one in ordered],
            [frozenset([len(one.tokens) - 1]) for one in ordered],
            [one.max_tokens for one in ordered],
        )
        writing = _Generating(self._model, self.decoder, ordered, written, progress)
        schedule = self._start_writing(works)
        started = time.monotonic()
        try:
            while (one := schedule.next_pass()) is not None:
                self.decoder.decode(one)
                for output in one.outputs:
                    token = writing.next_token(output.work, output.row)
                    if token is None:
                        schedule.end(output.work)
                    else:
                        schedule.write(output.work, token)
                ended = time.monotonic()
                _share_out(ended - started, one, written)
                started = ended
                writing.tell()
        finally:
            writing.close()
        return [written[place] for place in np.argsort(order)]

    def score(self, scorings: Sequence[Scoring], progress: Progress) -> list[float]:
        """Nats, in the order of `scorings`. Progress is told after each pass, in tokens to evaluate."""
        sums = np.zeros(len(scorings))
        # A token's likelihood comes from the one before it, so the last one need not be read.
        texts = [(*one.tokens, *one.continuation[:-1]) for one in scorings]
        order = [index for index in prefix_order(texts) if scorings[index].continuation]
        distinct, asked = _outputs_asked_for(scorings, texts, order)
        positions: dict[int, set[int]] = defaultdict(set)
        for work, position in asked:
            positions[work].add(position)
        works = self._works(
            distinct,
            [frozenset(positions[index]) for index in range(len(distinct))],
            [0] * len(distinct),
        )
        total, done = sum(len(work.tokens) - work.shared for work in works), 0
        schedule = self._start(works)
        while (one := schedule.next_pass()) is not None:
            self.decoder.decode(one)
            for output in one.outputs:
                logits = self.decoder.logits(output.row)
                highest = float(logits.max())
                if not math.isfinite(highest):  # minus infinity alone, or a number that is none
                    raise no_numbers(self._model.path)
                log_total = highest + float(np.log(np.exp(logits - highest).sum(dtype=np.float64)))
                for scoring, token in asked[output.work, output.position]:
                    sums[scoring] += float(logits[token]) - log_total
            done += len(one.rows)
            progress(done, total)
        return [float(value) for value in sums]

    def _works(
        self,
        texts: Sequence[tuple[int, ...]],
        outputs: Sequence[frozenset[int]],
        max_tokens: Sequence[int],
    ) -> list[Work]:
        works: list[Work] = []
        for index, text in enumerate(texts):
            self.check_room(len(text) + max_tokens[index])
            shared = 0
            if index and self._model.shares_prefixes:
                # The last token is evaluated by each, for logits of its own.
                shared = min(shared_length(texts[index - 1], text), len(text) - 1)
            works.append(Work(text, shared, outputs[index], max_tokens[index]))
        return works

    def _start(self, works: Sequence[Work]) -> Schedule:
        return Schedule(works, self._start_pool(max(1, cells_wanted(works, self._n_parallel))))

    def _start_pool(self, n_cells: int) -> Sizes:
        cells = self.decoder.cells_for(n_cells)
        sizes = Sizes(self._n_parallel, self._n_batch, n_outputs(self._n_parallel), cells)
        self.decoder.start(sizes)
        return sizes

    def _start_writing(self, works: Sequence[Work]) -> Schedule | StreamSchedule:
        """In streams, as many as there is room for with the longest work in each; in the pool if that halves them."""
        if self._writes_in_streams:
            length = whole_steps(max((work.n_cells for work in works), default=1))
            n_streams = min(self._n_parallel, self.decoder.max_cells // length)
            if 2 * n_streams > min(self._n_parallel, len(works)):
                sizes = Sizes(n_streams, self._n_batch, n_outputs(n_streams), n_streams * length, has_streams=True)
                self.decoder.start(sizes)
                return StreamSchedule(works, sizes)
        return self._start(works)


@dataclass(slots=True)
class _Generating:
    """The generations of a unit while they are written, by their place in the order of the schedule."""

    model: GgufModel
    decoder: Decoder
    generations: Sequence[Generation]
    written: Sequence[Written]
    progress: Progress
    _samplers: dict[int, Sampler] = field(default_factory=dict)
    _n_done: int = 0

    def next_token(self, work: int, row: int) -> int | None:
        """Draw the next token and add it to the text; None when the text ends with it."""
        generation, written = self.generations[work], self.written[work]
        sampler = self._samplers.get(work)
        if sampler is None:
            sampler = self._samplers[work] = Sampler(
                self.model, generation.sampling, generation.grammar, generation.rng_seed
            )
        token = sampler.sample(self.decoder.logits(row))
        if self.model.ends_text(token):
            self._end(work, FinishReason.STOP)
            return None
        written.n_tokens += 1
        self._n_done += 1
        if written.text.add(self.model.piece(token)):
            self._end(work, FinishReason.STOP)
            return None
        if written.n_tokens == generation.max_tokens:
            self._end(work, FinishReason.LENGTH)
            return None
        return token

    def tell(self) -> None:
        self.progress(self._n_done, sum(generation.max_tokens for generation in self.generations))

    def close(self) -> None:
        for sampler in self._samplers.values():
            sampler.close()
        self._samplers.clear()

    def _end(self, work: int, reason: FinishReason) -> None:
        self.written[work].finish_reason = reason
        self._n_done += self.generations[work].max_tokens - self.written[work].n_tokens
        self._samplers.pop(work).close()


def _full_pass(sizes: Sizes) -> Pass:
    """As many tokens as one may have, with as many logits; which tokens doesn't matter."""
    n_rows = min(sizes.n_batch, sizes.n_cells)
    rows = [Row(0, position, [0], has_output=position < sizes.n_outputs) for position in range(n_rows)]
    return Pass((), tuple(rows), (0,) * n_rows, ())


def _share_out(seconds: float, one: Pass, written: Sequence[Written]) -> None:
    share = seconds / len(one.owners)
    for owner in one.owners:
        written[owner].seconds += share


def _outputs_asked_for(
    scorings: Sequence[Scoring], texts: Sequence[tuple[int, ...]], order: Sequence[int]
) -> tuple[list[tuple[int, ...]], dict[tuple[int, int], list[tuple[int, int]]]]:
    """The distinct texts in their order, and which tokens are asked for at which logits.

    The logits at (text, position) are those of the text that evaluates the position, which may be an earlier one
    with the same beginning; each is asked for [(scoring, token), …].
    """
    distinct: list[tuple[int, ...]] = []
    asked: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    evaluated_by: list[int] = []
    for index in order:
        text = texts[index]
        if not distinct or distinct[-1] != text:
            shared = min(shared_length(distinct[-1], text), len(text) - 1) if distinct else 0
            evaluated_by[shared:] = [len(distinct)] * (len(text) - shared)
            distinct.append(text)
        first = len(scorings[index].tokens) - 1
        for position, token in enumerate(scorings[index].continuation, first):
            asked[evaluated_by[position], position].append((index, token))
    return distinct, asked
