"""Make new examples like those that the student got wrong, in fixed groups: the teacher writes them.

Recipes that LLM2LLM is measured against have it say an example in other words instead, or change words without it.
"""

from __future__ import annotations

import dataclasses
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from ..eda.augment import ALPHA, eda
from ..eda.wordnet import Synonyms
from ..recipes import recipe_of
from ..records import Example, Failure, FinishReason, NewExample, Reply, Split, TeacherPrompt, Unparsed
from ..store.rows import TeacherCall
from ..teacher.protocol import TeacherRequest
from .context import Run, derive_rng_seed
from .prompts import demonstrations_for, drawn_to_show, kept_that_fit, prompt_for, sampling_of
from .units import Wait, Write, work_through, work_through_ahead

_NOBODY_ASKED = "(no model was asked: words of the example were changed at random)"
"""In place of a prompt, where people look for it."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One example that a failure still lacks; `slot` counts those asked for in the same round."""

    failure: Failure
    slot: int


_Group = Sequence[_Wanted]


def augment(run: Run, iteration: int, attempt: int, failures: Sequence[Failure]) -> int:
    """One round: as many new candidates for each failure as it lacks accepted examples; how many in all."""
    config = run.config
    accepted = run.store.candidates.accepted_counts(iteration, before_attempt=attempt)
    wanted = [
        _Wanted(failure, slot)
        for failure in failures
        for slot in range(config.loop.augmentations_per_failure - accepted.get(failure.example.id, 0))
    ]
    size = config.teacher.group_size
    groups = [wanted[start : start + size] for start in range(0, len(wanted), size)]
    if wanted and recipe_of(config).writer == "eda":
        _change_words(run, iteration, attempt, groups)
    elif wanted:
        _ask_teacher(run, iteration, attempt, groups)
    return len(wanted)


def _ask_teacher(run: Run, iteration: int, attempt: int, groups: Sequence[_Group]) -> None:
    config = run.config
    sampling = sampling_of(config.teacher)
    rephrases = recipe_of(config).writer == "rephrasing teacher"
    seeds = run.store.examples(Split.TRAIN)

    @cache
    def shown(slot: int) -> list[Example]:
        return drawn_to_show(seeds, config.loop.rng_seed, iteration, attempt, slot)

    def prompt(item: _Wanted) -> TeacherPrompt:
        example, n = item.failure.example, config.teacher.demonstrations
        kept = kept_that_fit(run.store.candidates.kept_for(example.id), n)
        return prompt_for(run, item.failure, demonstrations_for(run.task, example, shown(item.slot), n), kept)

    def parsed(item: _Wanted, reply: Reply) -> NewExample | Unparsed:
        if rephrases:
            return run.task.parse_rephrased(item.failure.example, reply)
        return run.task.parse_reply(item.failure, reply)

    def begin(group: _Group) -> Wait:
        requests = [
            TeacherRequest(
                prompt=prompt(item),
                sampling=sampling,
                grammar=run.grammar,
                rng_seed=_rng_seed(run, iteration, attempt, item),
                max_tokens=config.teacher.max_new_tokens,
            )
            for item in group
        ]
        wait = run.teacher.begin_generate(requests)

        def finish() -> Write:
            replies = wait(run.watcher.within)

            def write() -> int:
                for item, request, reply in zip(group, requests, replies, strict=True):
                    call = TeacherCall(
                        example_id=item.failure.example.id,
                        attempt=attempt,
                        slot=item.slot,
                        prompt=_prompt_json(request.prompt),
                        sampling=json.dumps(dataclasses.asdict(request.sampling)),
                        rng_seed=request.rng_seed,
                        reply=reply,
                    )
                    _write_candidate(run, iteration, item, call, parsed(item, reply))
                return len(group)

            return write

        return finish

    work_through_ahead(run, iteration, "augment", attempt, groups, begin)


def _change_words(run: Run, iteration: int, attempt: int, groups: Sequence[_Group]) -> None:
    """Without any model, though a candidate has its row among the teacher's calls: it has no tokens, and says so."""
    synonyms = cache(Synonyms)

    def changed(item: _Wanted) -> tuple[TeacherCall, NewExample]:
        began = time.monotonic()
        example, rng_seed = item.failure.example, _rng_seed(run, iteration, attempt, item)
        rng = random.Random(rng_seed)
        question = run.task.with_changed_words(example.question, lambda text: eda(text, rng, synonyms()))
        call = TeacherCall(
            example_id=example.id,
            attempt=attempt,
            slot=item.slot,
            prompt=json.dumps(_NOBODY_ASKED),
            sampling=json.dumps({"eda": {"alpha": ALPHA}}),
            rng_seed=rng_seed,
            reply=Reply(question, FinishReason.STOP, 0, 0, time.monotonic() - began),
        )
        return call, NewExample(question, example.answer)

    def work(group: _Group) -> Write:
        made = [(item, *changed(item)) for item in group]

        def write() -> int:
            for item, call, new in made:
                _write_candidate(run, iteration, item, call, new)
            return len(group)

        return write

    work_through(run, iteration, "augment", attempt, groups, work)


def _write_candidate(run: Run, iteration: int, item: _Wanted, call: TeacherCall, made: NewExample | Unparsed) -> None:
    """The call with its reply, and the candidate in it; part of a transaction."""
    key = f"augmented/{iteration}/{item.failure.example.key}/{call.attempt}.{item.slot}"
    new, reason = (None, made.reason) if isinstance(made, Unparsed) else (made, None)
    run.store.candidates.add(iteration, run.teacher_model_id, key, call, new, reason)


def _rng_seed(run: Run, iteration: int, attempt: int, item: _Wanted) -> int:
    return derive_rng_seed(run.config.loop.rng_seed, iteration, "augment", item.failure.example.key, attempt, item.slot)


def _prompt_json(prompt: TeacherPrompt) -> str:
    if prompt.messages:
        return json.dumps([dataclasses.asdict(message) for message in prompt.messages], ensure_ascii=False)
    return json.dumps(prompt.completion, ensure_ascii=False)
