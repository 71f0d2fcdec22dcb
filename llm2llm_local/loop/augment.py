"""Ask the teacher for new examples like those that the student got wrong, in fixed groups."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

from ..records import Example, Failure, NewExample, Reply, Split, TeacherPrompt, Unparsed
from ..store.rows import TeacherCall
from ..teacher.protocol import Sampling, TeacherRequest
from .context import Run, derive_rng_seed
from .units import Wait, Write, work_through_ahead


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One example that a failure still lacks; `slot` counts those asked for in the same round."""

    failure: Failure
    slot: int


def ask_teacher(run: Run, iteration: int, attempt: int, failures: Sequence[Failure]) -> int:
    """One round of asking: as many requests for each failure as it lacks accepted examples; how many in all."""
    config = run.config
    seeds = run.store.examples(Split.TRAIN)
    accepted = run.store.accepted_counts(iteration, before_attempt=attempt)
    wanted = [
        _Wanted(failure, slot)
        for failure in failures
        for slot in range(config.loop.augmentations_per_failure - accepted.get(failure.example.id, 0))
    ]
    if not wanted:
        return 0
    size = config.teacher.group_size
    groups = [wanted[start : start + size] for start in range(0, len(wanted), size)]
    sampling = Sampling(config.teacher.temperature, config.teacher.top_p, config.teacher.min_p)

    def begin(group: Sequence[_Wanted]) -> Wait:
        requests = [
            TeacherRequest(
                prompt=teacher_prompt(run, seeds, item.failure, iteration, attempt, item.slot),
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
                    _write_candidate(run, iteration, attempt, item, request, reply)
                return len(group)

            return write

        return finish

    work_through_ahead(run, iteration, "augment", attempt, groups, begin)
    return len(wanted)


def _write_candidate(
    run: Run, iteration: int, attempt: int, item: _Wanted, request: TeacherRequest, reply: Reply
) -> None:
    """The call with its reply, and the candidate in it; part of a transaction."""
    example = item.failure.example
    parsed = run.task.parse_reply(item.failure, reply)
    call = TeacherCall(
        example_id=example.id,
        attempt=attempt,
        slot=item.slot,
        prompt=_prompt_json(request.prompt),
        sampling=json.dumps(dataclasses.asdict(request.sampling)),
        rng_seed=request.rng_seed,
        reply=reply,
    )
    key = f"augmented/{iteration}/{example.key}/{attempt}.{item.slot}"
    new, reason = (None, parsed.reason) if isinstance(parsed, Unparsed) else (parsed, None)
    run.store.add_candidate(iteration, run.teacher_model_id, key, call, new, reason)


def teacher_prompt(
    run: Run, seeds: Sequence[Example], failure: Failure, iteration: int, attempt: int, slot: int
) -> TeacherPrompt:
    """The request for one new example, with demonstrations drawn anew for each request."""
    similar = [seed for seed in seeds if seed.id != failure.example.id and run.task.is_same_kind(failure.example, seed)]
    rng = random.Random(
        derive_rng_seed(run.config.loop.rng_seed, iteration, "demonstrations", failure.example.key, attempt, slot)
    )
    return run.task.teacher_prompt(
        failure,
        rng.sample(similar, min(run.config.teacher.demonstrations, len(similar))),
        _kept_that_fit(run.store.kept(failure.example.id), run.config.teacher.demonstrations),
        run.prompt_style,
        show_student_answer=run.config.teacher.show_student_answer,
    )


def _kept_that_fit(kept: Sequence[NewExample], n: int) -> Sequence[NewExample]:
    """The newest ones, as many as demonstrations, so that prompts don't grow over the iterations."""
    return kept[-n:] if n else ()


def _rng_seed(run: Run, iteration: int, attempt: int, item: _Wanted) -> int:
    return derive_rng_seed(run.config.loop.rng_seed, iteration, "augment", item.failure.example.key, attempt, item.slot)


def _prompt_json(prompt: TeacherPrompt) -> str:
    if prompt.messages:
        return json.dumps([dataclasses.asdict(message) for message in prompt.messages], ensure_ascii=False)
    return json.dumps(prompt.completion, ensure_ascii=False)
