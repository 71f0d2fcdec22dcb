"""A unit of predictions depends on itself alone; what memory can't hold is computed in smaller parts."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import quiet
from tiny_models import TinyModels
from trainings import EXAMPLES, LABELS, UNEVEN_LABELS, predict, settings, training

from llm2llm_local.errors import OutOfMemoryError
from llm2llm_local.student import cache, prediction, scoring
from llm2llm_local.student.lora import LoraStudent
from llm2llm_local.student.protocol import StudentAnswer

pytestmark = pytest.mark.model

TREE = scoring.CompletionTree.of([(5, 7, 2), (5, 8, 2), (6, 2), (5, 7, 9, 2)])


def test_a_completion_tree_has_each_beginning_once() -> None:
    beginnings = {tuple(TREE.tokens[node] for node in line) for line in TREE.lines}
    assert beginnings == {(5,), (5, 7), (5, 8), (6,), (5, 7, 9)}
    assert len(TREE.lines) == 5
    assert [len(line) - 1 for line in TREE.lines] == list(TREE.depths)
    for completion, (first, edges) in zip(
        [(5, 7, 2), (5, 8, 2), (6, 2), (5, 7, 9, 2)], zip(TREE.first, TREE.edges, strict=True), strict=True
    ):
        assert completion == (first, *(TREE.edge_tokens[edge] for edge in edges))
        for position, edge in enumerate(edges):
            line = TREE.lines[TREE.edge_nodes[edge]]
            assert tuple(TREE.tokens[node] for node in line) == completion[: position + 1]


@pytest.mark.parametrize(
    ("first", "rest", "scores"),
    [
        ((-1.0, -3.0, -20.0), (-10.0, -0.1, -0.1), (-11.0, -3.1, -math.inf)),
        ((-1.0, -15.0, -60.0), (-30.0, -1.0, 0.0), (-31.0, -16.0, -math.inf)),
        ((-1.0, -15.0, -40.0), (-30.0, -35.0, 0.0), (-31.0, -50.0, -40.0)),
        ((-1.0, -2.0, -60.0), (-math.inf, -1.0, 0.0), (-math.inf, -3.0, -math.inf)),
        ((-1.0, -2.0, -60.0), (-math.inf, -math.inf, -math.inf), (-math.inf, -math.inf, -math.inf)),
    ],
    ids=["one can't count", "the best beginning ends badly", "so do two", "one is impossible", "all are impossible"],
)
def test_only_what_cannot_count_is_left_out(
    monkeypatch: pytest.MonkeyPatch, first: Sequence[float], rest: Sequence[float], scores: Sequence[float]
) -> None:
    tree = scoring.CompletionTree.of([(0, 3), (1, 3), (2, 3)])
    calls = iter(range(4))  # fewer are needed: the likeliest, then those that count after all
    monkeypatch.setattr(scoring, "_rest_scores", lambda *_: torch.tensor([rest]) if next(calls) < 3 else pytest.fail())
    probabilities = torch.tensor([[*first, 0.0]]).exp()
    probabilities[0, 3] = 1 - probabilities[0, :3].sum()
    found = scoring._group_scores(None, tree, probabilities.double().log(), None)  # type: ignore[arg-type]
    assert found[0].tolist() == pytest.approx(scores, abs=1e-4)


def test_groups_are_of_similar_length_and_fit() -> None:
    lengths = [9, 3, 5, 3, 8, 30]
    assert list(scoring.groups(lengths, 3, 20)) == [[1, 3, 2], [4, 0], [5]]
    assert list(scoring.groups(lengths, 1, 20)) == [[1], [3], [2], [4], [0], [5]]
    assert list(scoring.groups([], 3, 20)) == []


def test_groups_have_room_for_what_comes_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_KEPT_AT_ONCE", 30)
    assert list(scoring.groups([5, 5, 5, 5], 4, 20)) == [[0, 1, 2, 3]]
    assert list(scoring.groups([5, 5, 5, 5], 4, 20, n_before=5)) == [[0, 1, 2], [3]]
    assert list(scoring.groups([5, 5], 4, 20, n_before=100)) == [[0], [1]]


@pytest.mark.parametrize("completions", [UNEVEN_LABELS, ()], ids=["scored", "written"])
def test_a_unit_depends_on_itself_alone(
    tiny_models: TinyModels, student: LoraStudent, undecided: Path, tmp_path: Path, completions: Sequence[str]
) -> None:
    """To the last bit, in a student that has done nothing and in one that has done much."""
    fresh = answers(LoraStudent(settings(tiny_models.student)), undecided, completions)
    student.train(training(tmp_path / "other", examples=EXAMPLES[:4]), quiet)
    answers(student, tmp_path / "other", LABELS)
    answers(student, undecided, ())
    assert answers(student, undecided, completions) == fresh


def test_predicting_leaves_no_trace_in_a_training(tiny_models: TinyModels, undecided: Path, tmp_path: Path) -> None:
    one, other = (LoraStudent(settings(tiny_models.student)) for _ in range(2))
    for completions in (UNEVEN_LABELS, ()):
        answers(one, undecided, completions)
    trained = [
        student.train(training(tmp_path / name), quiet) for student, name in ((one, "after"), (other, "without"))
    ]
    assert trained[0].losses == trained[1].losses
    assert trained[0].sha256 == trained[1].sha256


@pytest.mark.parametrize(("name", "completions"), [("score_completions", UNEVEN_LABELS), ("generate", ())])
def test_out_of_memory_halves_the_rows_at_once_and_is_told_once(
    student: LoraStudent, undecided: Path, monkeypatch: pytest.MonkeyPatch, name: str, completions: Sequence[str]
) -> None:
    expected = [answer.reply.text for answer in answers(student, undecided, completions)]
    sizes = only_with(monkeypatch, name, rows=3)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for _ in range(2):
            assert [answer.reply.text for answer in answers(student, undecided, completions)] == expected
    assert sizes == [12, 6, 3] * 2  # what a unit was lowered to is not remembered
    assert [str(one.message) for one in told if one.category is ResourceWarning] == [
        f"out of memory: {rows} examples are predicted at once" for rows in (6, 3)
    ]


@pytest.mark.parametrize(("name", "completions"), [("score_completions", UNEVEN_LABELS), ("generate", ())])
def test_out_of_memory_drops_dequantized_weights_before_it_halves_the_rows(
    tiny_models: TinyModels,
    undecided: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    completions: Sequence[str],
) -> None:
    student = LoraStudent(settings(tiny_models.student, quantization="nf4"))
    weights = student._adapted.dequantized
    weights.keep()
    expected = answers(student, undecided, completions)
    real, sizes = getattr(prediction, name), []

    def fails_once(*arguments: Any) -> Any:
        sizes.append(arguments[-2])
        if len(sizes) == 1:
            raise torch.OutOfMemoryError
        return real(*arguments)

    monkeypatch.setattr(prediction, name, fails_once)
    with pytest.warns(ResourceWarning, match="weights are dequantized for each use again"):
        assert answers(student, undecided, completions) == expected
    assert sizes == [12, 12]
    assert not weights.drop()


def test_out_of_memory_halves_what_was_computed_at_once(
    student: LoraStudent, undecided: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of long prompts that is less than the rows that may be: half of these would be tried in vain."""
    monkeypatch.setattr(scoring, "_TOKENS_AT_ONCE", 60)
    real, together = cache.evaluate, []

    def limited(model: Any, prompts: Sequence[Sequence[int]], *others: Any) -> Any:
        together.append(len(prompts))
        if len(prompts) > 2:
            raise torch.OutOfMemoryError
        return real(model, prompts, *others)

    expected = answers(student, undecided, UNEVEN_LABELS)
    sizes = only_with(monkeypatch, "score_completions", rows=12)
    monkeypatch.setattr(scoring, "evaluate", limited)
    with pytest.warns(ResourceWarning):
        found = answers(student, undecided, UNEVEN_LABELS)
    assert 2 < sizes[0] < 12 and sizes[1] == sizes[0] // 2
    assert sizes[-1] in (1, 2) and max(together) == sizes[0]
    assert [one.reply.text for one in found] == [one.reply.text for one in expected]


def test_out_of_memory_with_one_row_says_what_to_do(
    student: LoraStudent, undecided: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_with(monkeypatch, "score_completions", rows=0)
    with pytest.raises(OutOfMemoryError, match="a single example") as caught:
        answers(student, undecided, LABELS)
    assert "smaller student" in str(caught.value.remedy)


def test_a_failing_forward_pass_leaves_the_model_as_it_was(
    student: LoraStudent, undecided: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = answers(student, undecided, ())
    head: Any = student._adapted.model.get_output_embeddings()
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match=r"size|shape|primitive"):
        patched.setitem(head._parameters, "weight", torch.nn.Parameter(torch.zeros(7, 5)))
        answers(student, undecided, ())
    assert "forward" not in vars(head)
    assert answers(student, undecided, ()) == expected


def only_with(monkeypatch: pytest.MonkeyPatch, name: str, rows: int) -> list[int]:
    """Let `prediction.name` have memory for so many rows; the sizes that it is called with."""
    real, sizes = getattr(prediction, name), []

    def limited(*arguments: Any) -> Any:
        sizes.append(arguments[-2])
        if arguments[-2] > rows:
            raise torch.OutOfMemoryError
        return real(*arguments)

    monkeypatch.setattr(prediction, name, limited)
    return sizes


def answers(student: LoraStudent, adapter: Path, completions: Sequence[str]) -> list[StudentAnswer]:
    """Without the seconds, which are never the same."""
    return [
        dataclasses.replace(answer, reply=dataclasses.replace(answer.reply, seconds=0.0))
        for answer in predict(student, adapter, completions=completions)
    ]
