"""What the student scores and writes is what the model says, whatever is asked beside it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from naive_student import NaiveStudent
from tiny_models import TinyModels
from trainings import LABELS, PROMPTS, QUESTIONS, UNEVEN_LABELS, predict, settings
from transformers import AutoTokenizer

from llm2llm_local.records import FinishReason
from llm2llm_local.student import prediction, rows
from llm2llm_local.student.lora import LoraStudent
from llm2llm_local.student.protocol import PredictionBatch, StudentAnswer

pytestmark = pytest.mark.model


def assert_scores_equal_the_naive_ones(
    student: LoraStudent, naive: NaiveStudent, adapter: Path, prompts: Sequence[str], completions: Sequence[str]
) -> None:
    answers = predict(student, adapter, prompts, completions)
    for prompt, answer in zip(prompts, answers, strict=True):
        scores = torch.tensor([naive.log_likelihood(prompt, completion) for completion in completions])
        assert answer.reply.text == completions[int(scores.argmax())].strip()
        assert answer.confidence == pytest.approx(float(scores.softmax(0).max()), abs=1e-3)


@pytest.mark.parametrize("rows_at_once", [64, 2, 1])
def test_scores_are_those_of_one_forward_pass_for_each_completion(
    tiny_models: TinyModels,
    student: LoraStudent,
    undecided: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows_at_once: int,
) -> None:
    monkeypatch.setattr(prediction, "_ROWS_AT_ONCE", rows_at_once)
    naive = NaiveStudent(tiny_models.student, undecided)
    prompts = (PROMPTS[3], PROMPTS[2], PROMPTS[7])
    assert len({len(naive.ids(prompt)) for prompt in prompts}) == 3
    assert len({len(naive.completion_ids(completion)) for completion in UNEVEN_LABELS}) >= 4
    assert_scores_equal_the_naive_ones(student, naive, undecided, prompts, UNEVEN_LABELS)


def test_every_score_is_right_not_only_the_best(tiny_models: TinyModels, student: LoraStudent, undecided: Path) -> None:
    """The confidence in one of two tells how far apart their scores are: every completion against another."""
    naive = NaiveStudent(tiny_models.student, undecided)
    for first, second in zip(UNEVEN_LABELS, UNEVEN_LABELS[1:] + UNEVEN_LABELS[:1], strict=True):
        assert_scores_equal_the_naive_ones(student, naive, undecided, PROMPTS[:3], (first, second))


def test_the_student_of_these_tests_is_undecided(student: LoraStudent, undecided: Path) -> None:
    """A confidence of 1 would be right for nearly any scores."""
    answers = predict(student, undecided, completions=UNEVEN_LABELS)
    confidences = [answer.confidence for answer in answers if answer.confidence is not None]
    assert len(confidences) == len(PROMPTS)
    assert max(confidences) < 0.99
    assert max(confidences) - min(confidences) > 0.05


def test_one_completion_may_begin_with_another(tiny_models: TinyModels, student: LoraStudent, undecided: Path) -> None:
    naive = NaiveStudent(tiny_models.student, undecided)
    assert_scores_equal_the_naive_ones(student, naive, undecided, PROMPTS[:4], (" person", " person in the north"))


def test_padding_changes_no_prediction(student: LoraStudent, undecided: Path, trained: Path) -> None:
    together = predict(student, undecided, completions=UNEVEN_LABELS)
    alone = [predict(student, undecided, [prompt], UNEVEN_LABELS)[0] for prompt in PROMPTS]
    assert [answer.reply.text for answer in together] == [answer.reply.text for answer in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.confidence == pytest.approx(other.confidence, abs=1e-4)
        assert one.reply.input_tokens == other.reply.input_tokens
    for adapter in (undecided, trained):
        written = predict(student, adapter)
        assert [answer.reply.text for answer in written] == [
            predict(student, adapter, [prompt])[0].reply.text for prompt in PROMPTS
        ]


def test_padding_stands_on_the_left_and_takes_no_position() -> None:
    """Positions matter to models that count them from the start; most only know how far apart tokens are."""
    padded = rows.left_padded([[5, 6], [7, 8, 9, 10]], 3, "cpu")
    assert padded.ids.tolist() == [[3, 3, 5, 6], [7, 8, 9, 10]]
    assert padded.mask.tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
    assert padded.positions[:, 2:].tolist() == [[0, 1], [2, 3]]
    assert padded.positions[1, :2].tolist() == [0, 1]


@pytest.mark.parametrize("rows_at_once", [64, 5, 1])
def test_writing_is_transformers_own_greedy_generation(
    tiny_models: TinyModels,
    student: LoraStudent,
    undecided: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows_at_once: int,
) -> None:
    """All rows together; rows that come in where others have left; one after another."""
    monkeypatch.setattr(prediction, "_ROWS_AT_ONCE", rows_at_once)
    naive = NaiveStudent(tiny_models.student, undecided)
    prompts = [*PROMPTS, "The old bridge", "A warm and funny film"]
    written = [answer.reply.text for answer in predict(student, undecided, prompts, max_new_tokens=20)]
    assert written == [naive.write(prompt, 20) for prompt in prompts]
    assert len(set(written)) > 3


def test_what_prompts_share_is_seen_by_all_of_them(
    tiny_models: TinyModels, student: LoraStudent, undecided: Path
) -> None:
    naive = NaiveStudent(tiny_models.student, undecided)
    instruction = "The painter keeps her brushes in the village. Please repair the roof, and answer in one word.\n"
    prompts = [instruction + prompt for prompt in (*PROMPTS[:3], PROMPTS[0])]  # two are the same
    assert_scores_equal_the_naive_ones(student, naive, undecided, prompts, UNEVEN_LABELS)
    assert_scores_equal_the_naive_ones(student, naive, undecided, [prompts[0]] * 2, UNEVEN_LABELS)
    written = [answer.reply.text for answer in predict(student, undecided, prompts)]
    assert written == [naive.write(prompt, 12) for prompt in prompts]


def test_writing_stops_at_the_end_token(student: LoraStudent, trained: Path) -> None:
    for answer, (_, label) in zip(predict(student, trained), QUESTIONS, strict=True):
        assert answer.reply.text == f" {label}"
        assert answer.reply.finish_reason is FinishReason.STOP
        assert 0 < answer.reply.output_tokens < 12
        assert answer.confidence is None


def test_writing_is_cut_at_the_limit(tiny_models: TinyModels, student: LoraStudent, trained: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_models.student)
    for answer, (_, label) in zip(predict(student, trained, max_new_tokens=1), QUESTIONS, strict=True):
        first = tokenizer(f" {label}").input_ids[0]
        assert answer.reply.text == tokenizer.decode([first]) != f" {label}"
        assert answer.reply.finish_reason is FinishReason.LENGTH
        assert answer.reply.output_tokens == 1


def test_an_answer_that_just_fits_is_complete(tiny_models: TinyModels, student: LoraStudent, trained: Path) -> None:
    """The end token counts, being the proof that the answer is whole."""
    tokens = len(AutoTokenizer.from_pretrained(tiny_models.student)(" person").input_ids)
    prompt = PROMPTS[1]
    for limit, reason in ((tokens, FinishReason.LENGTH), (tokens + 1, FinishReason.STOP)):
        (answer,) = predict(student, trained, [prompt], max_new_tokens=limit)
        assert (answer.reply.text, answer.reply.finish_reason) == (" person", reason)
        assert answer.reply.output_tokens == tokens


def test_progress_is_told_with_each_token_that_is_written(
    student: LoraStudent, undecided: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "_ROWS_AT_ONCE", 5)
    heard: list[tuple[int, int]] = []
    batch = PredictionBatch(undecided, PROMPTS, (), max_new_tokens=9)
    answers = student.predict(batch, lambda done, total: heard.append((done, total)))
    total = len(PROMPTS) * 9
    assert {all_there_is for _, all_there_is in heard} == {total}
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)
    assert heard[-1] == (total, total)
    assert len(heard) > max(answer.reply.output_tokens for answer in answers)  # of rows that came in later, too


def test_scored_answers_say_so(tiny_models: TinyModels, student: LoraStudent, trained: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_models.student)
    for prompt, answer in zip(PROMPTS, predict(student, trained, completions=LABELS), strict=True):
        assert answer.reply.finish_reason is FinishReason.SCORED
        assert answer.reply.input_tokens == len(tokenizer(prompt).input_ids)
        assert answer.reply.output_tokens == 0
        assert answer.reply.seconds > 0


def test_what_the_folder_recommends_for_chatting_has_no_effect(
    tiny_models: TinyModels, student: LoraStudent, trained: Path, tmp_path: Path
) -> None:
    """Instruction-tuned models bring a repetition penalty; greedy prediction must stay greedy."""
    folder = shutil.copytree(tiny_models.student, tmp_path / "model")
    file = folder / "generation_config.json"
    recommended = {"do_sample": True, "temperature": 0.7, "top_k": 20, "repetition_penalty": 3.0, "min_new_tokens": 9}
    file.write_text(json.dumps({**json.loads(file.read_text()), **recommended}))
    other = LoraStudent(settings(folder))
    prompts = [*PROMPTS, "A box holds 6 eggs, and 4 boxes hold 6 * 4 ="]
    assert [answer.reply for answer in without_times(predict(other, trained, prompts))] == [
        answer.reply for answer in without_times(predict(student, trained, prompts))
    ]


def without_times(answers: Sequence[StudentAnswer]) -> list[StudentAnswer]:
    return [dataclasses.replace(answer, reply=dataclasses.replace(answer.reply, seconds=0.0)) for answer in answers]
