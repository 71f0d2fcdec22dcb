"""Carry out what a person decided about candidates: between two trainings, where it changes nothing that was done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from ..checks.similarity import TextIndex
from ..errors import ModelError
from ..records import NewExample, ReviewDecision, Split
from ..store.rows import ReviewRow
from ..student.protocol import TrainingExample
from .context import Run

_WORDS = {ReviewDecision.ACCEPT: "accepted", ReviewDecision.REJECT: "rejected", ReviewDecision.WITHDRAW: "withdrawn"}


def carry_out_reviews(run: Run, iteration: int) -> None:
    """Before the first training of an iteration begins, be it a fold's, all decisions since the one before get their
    effect.

    One that would let unusable or held-out text into the training is refused, with its reason in the store. A
    decision that comes later than this is for the next iteration.
    """
    if run.store.stage(iteration, "train", 0) is not None or run.store.stage(iteration, "fold_train", 1) is not None:
        return
    reviews = run.store.reviews.to_carry_out()
    if not reviews:
        return
    refusals = _refusals(run, reviews)
    counts: Counter[str] = Counter()
    with run.store.transaction():
        for review in reviews:
            if (reason := refusals.get(review.id)) is not None:
                run.store.reviews.refuse(review, iteration, reason)
                run.store.add_event("review_refused", f"candidate {review.candidate_id}: {reason}", iteration)
                counts["refused"] += 1
            else:
                run.store.reviews.carry_out(review, iteration)
                counts["edited" if review.is_edited else _WORDS[review.decision]] += 1
        summary = "reviews carried out: " + ", ".join(f"{n} {word}" for word, n in sorted(counts.items()))
        run.store.add_event("reviews_carried_out", summary, iteration)
    run.watcher.message(summary)


def _refusals(run: Run, reviews: Sequence[ReviewRow]) -> dict[int, str]:
    """Id of each decision that can't be carried out → why, in a few words. What the checks accepted needs no look."""
    to_judge = [
        (review, review.wanted)
        for review in reviews
        if review.decision is ReviewDecision.ACCEPT and review.wanted is not None and review.wanted != review.active
    ]
    if not to_judge:
        return {}
    held_out = TextIndex(
        [row.question for split in (Split.DEV, Split.TEST) for row in run.store.examples(split)],
        run.config.checks.leak_threshold,
    )
    is_too_long = _length_check(run)
    found = {}
    for review, wanted in to_judge:
        reason = _defect(run, held_out, wanted) or ("too long for the student" if is_too_long(wanted) else None)
        if reason is not None:
            found[review.id] = reason
    return found


def _defect(run: Run, held_out: TextIndex, wanted: NewExample) -> str | None:
    if not wanted.question.strip():
        return "no question"
    if not wanted.answer.strip():
        return "no answer"
    if held_out.nearest_above(wanted.question) is not None:
        return "too similar to a dev or test question"
    return run.task.defect(wanted)


def _length_check(run: Run) -> Callable[[NewExample], bool]:
    """Whether a text is too long to train on, which would end every training from here on."""

    def measure(question: str, answer: str) -> None:
        example = TrainingExample(run.task.prompts.prompt(question), run.task.prompts.completion(answer))
        run.student.check_lengths((example,), run.watcher.within)

    seed = run.store.examples(Split.TRAIN)[0]
    measure(seed.question, seed.answer)  # fits; so a ModelError here is about the model, and one below about the text

    def is_too_long(new: NewExample) -> bool:
        try:
            measure(new.question, new.answer)
        except ModelError:
            return True
        return False

    return is_too_long
