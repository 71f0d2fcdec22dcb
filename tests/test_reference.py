"""`llm2llm report --reference`: results of the published code, read and graded anew."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from fresh_interpreter import imported_by
from rich.console import Console
from workspaces import Workspace

from llm2llm_local.errors import DataError, UserInputError
from llm2llm_local.reference.grading import ReferenceReport, reference_report
from llm2llm_local.reference.json_rows import RESULTS_FIELDS, SEED_FIELDS
from llm2llm_local.reference.old_grader import old_is_right
from llm2llm_local.reference.output import csv_text, print_reference, reference_document

SUMS = [("How much is 2 + 3?", "2 + 3 = <<2+3=5>>5\n#### 5"), ("What is half of one?", "1 / 2\n#### 1/2")]
PLACES = [(f"{what} {n}", where) for n in range(3) for what, where in (("Pan", "kitchen"), ("Tyre", "garage"))]

Result = tuple[str, str]
"""A question and what the student wrote to it."""


def prompted(question: str, text: str) -> str:
    """As the published evaluation writes it: the prompt is still there."""
    return f"Solve the below question step by step.\n\n{question}\n\nAnswer:{text}"


def write_results(path: Path, results: Sequence[Result], golds: Mapping[str, str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"question_id": n, "question": question, "answer": (golds or {}).get(question, ""), "text": text}
        for n, (question, text) in enumerate(results)
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def write_seeds(path: Path, seeds: Sequence[tuple[str, str]]) -> Path:
    path.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in seeds))
    return path


def solved(*finals: str) -> list[Result]:
    """Answers to SUMS."""
    return [(q, prompted(q, f" So it is.\n#### {final}")) for (q, _), final in zip(SUMS, finals, strict=True)]


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    return write_seeds(tmp_path / "sums.jsonl", SUMS)


@pytest.fixture
def evaluations(tmp_path: Path) -> Path:
    """Eleven steps, the first two with defects, in an experiment's folder as the published code makes it."""
    folder = tmp_path / "experiment"
    (folder / "data" / "step_11").mkdir(parents=True)
    for step in range(11):
        write_results(folder / "eval" / f"step_{step}" / "test_0.jsonl", solved("5", "1/2"))
    write_results(folder / "eval" / "step_0" / "test_0.jsonl", solved("-5", "12"))
    write_results(folder / "eval" / "step_1" / "test_0.jsonl", solved("5.0", "0.5"))
    write_results(folder / "eval" / "step_0" / "file_0.jsonl", solved("1", "1"))
    return folder


def report(seeds: Path, folder: Path, name: str = "test_0.jsonl", family: str | None = None) -> ReferenceReport:
    return reference_report(seeds, folder, name, family)


def printed(found: ReferenceReport) -> str:
    console = Console(width=500, file=io.StringIO(), record=True)
    print_reference(found, console)
    return console.export_text()


# --- the old grader's rule ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gold", "text", "is_right"),
    [
        ("5", "#### 5", True),
        ("5", "#### -5", True),
        ("12", "#### 1/2", True),
        ("25", "#### 2,5", True),
        ("1000", "#### 1,000", True),
        ("10", "#### $10.00", True),
        ("10", "# 10", True),
        ("10", "## 10\n#### 11", True),
        ("10", "####10", False),
        ("2.5", "#### 2.5.", False),
        ("10", "#### ten", False),
        ("ten, or so", "#### Ten or so", True),
        ("A", "Question?\n\nAnswer: A", True),
        ("A", "Question?\n\nAnswer: a", False),
        ("A", "Question?\n\nAnswer:\nA", False),
        (None, "no answer at all", True),
        (None, "Answer: A", False),
    ],
)
def test_the_published_reports_rule(gold: str | None, text: str, is_right: bool) -> None:
    assert old_is_right(text, gold) is is_right


# --- figures --------------------------------------------------------------------------------------------------------


def test_accuracy_by_iteration_in_their_order(sums: Path, evaluations: Path) -> None:
    found = report(sums, evaluations)
    assert found.family == "math"
    assert [one.step for one in found.files] == list(range(11))
    assert [(one.correct, one.matched, one.accuracy) for one in found.files][:3] == [
        (0, 2, 0),
        (2, 2, 100),
        (2, 2, 100),
    ]
    assert found.files[10].path == str(evaluations / "eval" / "step_10" / "test_0.jsonl")
    assert found.gaps == ()


def test_where_the_published_report_grades_otherwise(sums: Path, evaluations: Path) -> None:
    found = report(sums, evaluations)
    assert [(one.old_correct, one.n_differing) for one in found.files[:3]] == [(2, 2), (1, 1), (2, 0)]
    minus, twelve, half = found.differences
    assert (minus.line, minus.answer, minus.old_answer, minus.is_right) == (1, "-5", "-5", False)
    assert (twelve.line, twelve.gold, twelve.answer, twelve.is_right) == (2, SUMS[1][1], "12", False)
    assert (half.path.split("/")[-2:], half.answer, half.is_right) == (["step_1", "test_0.jsonl"], "0.5", True)


def test_five_differences_are_printed_and_json_has_all(sums: Path, tmp_path: Path) -> None:
    write_results(tmp_path / "eval" / "step_0" / "test_0.jsonl", solved("-5", "12") * 4)
    found = report(sums, tmp_path / "eval")
    assert [one.line for one in found.differences] == list(range(1, 9))
    assert len(reference_document(found)["differences"]) == 8
    *_, heading, first, _, _, _, fifth, more = printed(found).splitlines()
    assert heading == "the published report grades 8 rows otherwise:"
    assert [line.partition("test_0.jsonl:")[2][0] for line in (first, fifth)] == ["1", "5"]
    assert more == "  and 3 more: --json has all of them"


def test_the_prompt_is_no_answer(tmp_path: Path) -> None:
    """Here the question itself has what looks like a final line, and the published report takes that one."""
    question = "Which number is meant by\n#### 7\nplus one?"
    seeds = write_seeds(tmp_path / "s.jsonl", [(question, "7 + 1 = 8\n#### 8")])
    write_results(tmp_path / "e" / "step_0" / "test_0.jsonl", [(question, prompted(question, " #### 8"))])
    (figures,) = report(seeds, tmp_path / "e").files
    assert (figures.correct, figures.old_correct) == (1, 0)


def test_labels_are_read_behind_the_prompt(tmp_path: Path) -> None:
    seeds = tmp_path / "places.json"
    seeds.write_text(json.dumps([{"instruction": q, "output": a, "input": ""} for q, a in PLACES]))
    texts = (" kitchen", " garage\nQuestion: more", "\ngarage", " Kitchen", "", " garage #### 1")
    results = [(q, prompted(q, text)) for (q, _), text in zip(PLACES, texts, strict=True)]
    write_results(tmp_path / "e" / "step_0" / "test_0.jsonl", results)
    found = report(seeds, tmp_path / "e")
    (figures,) = found.files
    assert (found.family, figures.matched, figures.correct, figures.old_correct) == ("classification", 6, 2, 2)


def test_what_is_no_label_is_counted_and_shown(tmp_path: Path) -> None:
    results = [(q, f"{a}.") for q, a in PLACES[:4]] + [("Tyre 2", "garage")]
    write_results(tmp_path / "e" / "step_0" / "test_0.jsonl", results)
    found = report(write_seeds(tmp_path / "s.jsonl", PLACES), tmp_path / "e")
    (figures,) = found.files
    assert (figures.correct, figures.n_without_label, figures.no_label) == (1, 4, "kitchen.")
    assert "4 texts of 5 with what is no label, such as 'kitchen.'" in printed(found)


def test_an_evaluation_that_was_ended_and_rows_that_came_twice_are_told(tmp_path: Path) -> None:
    """The published evaluation writes row by row; beside whole steps a part of one looks like a figure of its own."""
    seeds = write_seeds(tmp_path / "s.jsonl", [*PLACES, PLACES[0]])
    for step, places in enumerate([[*PLACES, PLACES[0]], PLACES[:2], [*PLACES, *PLACES[1:3]]]):
        write_results(tmp_path / "e" / f"step_{step}" / "test_0.jsonl", places)
    found = report(seeds, tmp_path / "e")
    assert [(one.matched, one.n_questions, one.n_repeated) for one in found.files] == [(7, 6, 0), (2, 2, 0), (8, 6, 2)]
    lines = printed(found).splitlines()
    assert [line.partition(": ")[2] for line in lines if "step_1/" in line and "answers" in line] == [
        "answers 2 of the 6 questions that another file does: its evaluation may have been ended; what it comes to "
        "can't be compared"
    ]
    assert sum("2 rows that repeat a question; they count again" in line for line in lines) == 1


def test_a_free_answer_may_have_several_lines(tmp_path: Path) -> None:
    steps = [(f"How is {what} made?", f"Mix it.\nBake {what}.") for what in ("bread", "cake")]
    texts = (" Mix it.\nBake bread.\nQuestion: more", " Mix it.\nBake bread.")
    results = [(question, prompted(question, text)) for (question, _), text in zip(steps, texts, strict=True)]
    write_results(tmp_path / "e" / "step_0" / "test_0.jsonl", results)
    (figures,) = report(write_seeds(tmp_path / "steps.jsonl", steps), tmp_path / "e", family="text").files
    assert (figures.matched, figures.correct) == (2, 1)


def test_a_label_on_the_next_line_is_an_answer_that_the_published_report_misses(tmp_path: Path) -> None:
    seeds = tmp_path / "places.json"
    seeds.write_text(json.dumps([{"instruction": q, "output": a} for q, a in PLACES]))
    write_results(tmp_path / "e" / "step_0" / "test_0.jsonl", [("Pan 0", prompted("Pan 0", "\n kitchen\n"))])
    (difference,) = report(seeds, tmp_path / "e").differences
    assert (difference.answer, difference.old_answer, difference.is_right) == ("kitchen", "", True)


def test_texts_without_their_prompt_are_read_as_they_are(tmp_path: Path) -> None:
    seeds = write_seeds(tmp_path / "s.jsonl", PLACES)
    write_results(tmp_path / "e" / "step_0" / "test_0.jsonl", [("Pan 0", "kitchen"), ("Tyre 0", "Answer: garage")])
    (figures,) = report(seeds, tmp_path / "e").files
    assert (figures.correct, figures.old_correct) == (2, None)  # no '#### ': the published report stops


def test_rows_whose_question_is_in_no_seed_are_counted_apart(sums: Path, tmp_path: Path) -> None:
    results = [*solved("5", "1/2"), ("Another?", prompted("Another?", " #### 5")), ("One more?", "without that word")]
    write_results(tmp_path / "e" / "step_0" / "test_0.jsonl", results)
    found = report(sums, tmp_path / "e")
    (figures,) = found.files
    assert (figures.n_rows, figures.matched, figures.correct, figures.old_correct) == (4, 2, 2, 3)
    assert figures.n_without_answer == 0
    (difference,) = found.differences  # nothing found in no seed: the published report calls that equal
    assert (difference.line, difference.gold, difference.is_right) == (4, None, False)
    assert "2 of 4 rows ask what isn't in sums.jsonl; they don't count" in printed(found)


def test_one_row_is_told_as_one(sums: Path, tmp_path: Path) -> None:
    first, second = solved("5", "1/2")
    write_results(tmp_path / "e" / "step_0" / "test_0.jsonl", [first, first, second, ("Another?", "#### 5")])
    lines = printed(report(sums, tmp_path / "e"))
    assert "1 of 4 rows asks what isn't in sums.jsonl; it doesn't count" in lines
    assert "1 row that repeats a question; it counts again" in lines


def test_answers_to_another_rows_question_are_not_right(sums: Path, tmp_path: Path) -> None:
    """After an error the published evaluation writes the answers of the batch before once more."""
    first, second = solved("5", "5")
    write_results(tmp_path / "e" / "step_0" / "test_0.jsonl", [first, (SUMS[1][0], first[1]), second])
    (figures,) = report(sums, tmp_path / "e").files
    assert (figures.matched, figures.correct, figures.n_to_other_questions) == (3, 1, 1)


def test_of_seeds_with_the_same_question_the_rows_own_gold_answer_counts(tmp_path: Path) -> None:
    question = SUMS[0][0]
    seeds = write_seeds(tmp_path / "s.jsonl", [(question, "#### 4"), (question, "#### 5")])
    path = tmp_path / "e" / "step_0" / "test_0.jsonl"
    write_results(path, [(question, prompted(question, "#### 5"))], {question: "#### 5"})
    found = report(seeds, tmp_path / "e")
    (figures,) = found.files
    assert (figures.correct, figures.old_correct) == (1, 0)
    assert found.notes == (
        f"s.jsonl: 1 question with different answers, as at {seeds}:1 and {seeds}:2; a row of results is graded by its "
        'own "answer" if that is one of them, else by the first',
    )
    assert found.notes[0] in printed(found).splitlines()


def test_the_same_answer_in_other_words_is_no_other_answer(tmp_path: Path) -> None:
    question = SUMS[0][0]
    seeds = write_seeds(tmp_path / "s.jsonl", [(question, "#### 5"), (question, "2 + 3 = 5\n#### 5.0")])
    write_results(tmp_path / "e" / "step_0" / "test_0.jsonl", [(question, prompted(question, "#### 5"))])
    assert report(seeds, tmp_path / "e").notes == ()


def test_the_family_can_be_named(sums: Path, tmp_path: Path) -> None:
    seeds = write_seeds(tmp_path / "s.jsonl", [("Pan", "kitchen"), ("Tyre", "garage"), ("Rug", "hall")])
    write_results(tmp_path / "e" / "step_0" / "test_0.jsonl", [("Pan", "kitchen")])
    with pytest.raises(DataError, match="3 rows with 3 different answers: what kind of task"):
        report(seeds, tmp_path / "e")
    with pytest.raises(DataError, match="1 row with 1 different answer: what kind of task"):
        report(write_seeds(tmp_path / "one.jsonl", [("Pan", "kitchen")]), tmp_path / "e")
    assert report(seeds, tmp_path / "e", family="classification").files[0].correct == 1
    with pytest.raises(UserInputError, match="no task family 'poetry'"):
        report(sums, tmp_path / "e", family="poetry")
    with pytest.raises(DataError, match=r"s\.jsonl:1: the answer has no final line"):
        report(seeds, tmp_path / "e", family="math")


def test_letters_without_options_are_labels(tmp_path: Path) -> None:
    seeds = write_seeds(tmp_path / "s.jsonl", [("Is ice cold?", "Y"), ("Is tea cold?", "N")] * 3)
    write_results(tmp_path / "e" / "step_0" / "test_0.jsonl", [("Is ice cold?", "Y")])
    found = report(seeds, tmp_path / "e")
    assert (found.family, found.files[0].correct) == ("classification", 1)


def test_it_is_told_what_the_published_report_holds_answers_against(tmp_path: Path) -> None:
    rows = [{"instruction": question, "output": answer} for question, answer in SUMS]
    (tmp_path / "s.json").write_text(json.dumps(rows))
    write_results(tmp_path / "e" / "step_0" / "test_0.jsonl", solved("5", "1/2"))
    found = report(tmp_path / "s.json", tmp_path / "e")
    assert [one.is_right for one in found.differences] == [True, True]
    assert "takes the whole output for the right answer" in printed(found)


# --- folders --------------------------------------------------------------------------------------------------------


def test_missing_steps_are_named(sums: Path, evaluations: Path) -> None:
    for step in (3, 7):
        (evaluations / "eval" / f"step_{step}" / "test_0.jsonl").unlink()
    (evaluations / "eval" / "step_7").rmdir()
    (evaluations / "eval" / "step_12").mkdir()
    found = report(sums, evaluations)
    assert len(found.files) == 9
    assert found.gaps == (
        f"{evaluations}/eval: 4 steps without results: step_3 has no test_0.jsonl, step_7 isn't there, "
        "step_11 isn't there, step_12 has no test_0.jsonl",
    )


def test_a_step_may_be_a_link_to_a_folder_elsewhere(sums: Path, tmp_path: Path) -> None:
    write_results(tmp_path / "e" / "step_0" / "test_0.jsonl", solved("5", "1/2"))
    write_results(tmp_path / "moved" / "test_0.jsonl", solved("5", "0"))
    (tmp_path / "e" / "step_1").symlink_to(tmp_path / "moved")
    (tmp_path / "e" / "step_1" / "around").symlink_to(tmp_path / "e")
    found = report(sums, tmp_path / "e")
    assert [(one.step, one.correct) for one in found.files] == [(0, 2), (1, 1)]
    assert found.gaps == ()


def test_of_many_missing_steps_a_few_are_named(sums: Path, tmp_path: Path) -> None:
    write_results(tmp_path / "e" / "step_99999999" / "test_0.jsonl", solved("5", "1/2"))
    (gap,) = report(sums, tmp_path / "e").gaps
    assert "99,999,999 steps without results: step_0 isn't there, step_1 isn't there" in gap
    assert gap.endswith("step_4 isn't there, and 99,999,994 more")


def test_results_outside_any_step_are_read_too(sums: Path, tmp_path: Path) -> None:
    write_results(tmp_path / "step_4" / "test_0.jsonl", solved("5", "1/2"))
    (figures,) = report(sums, tmp_path / "step_4").files
    assert (figures.step, figures.correct) == (None, 2)


def test_what_looks_like_a_step_and_is_none_is_told(sums: Path, tmp_path: Path) -> None:
    folder = tmp_path / "e"
    for name in ("step_0", "step_x", "Step_1"):
        write_results(folder / name / "test_0.jsonl", solved("5", "1/2"))
    found = report(sums, folder)
    assert sorted((str(one.step), one.correct) for one in found.files) == [("0", 2), ("None", 2), ("None", 2)]
    assert found.notes == (
        f"{folder}: 2 files of no iteration, in no folder below it called step_ and a number; graded all the same: "
        f"{folder}/Step_1/test_0.jsonl, {folder}/step_x/test_0.jsonl",
    )
    assert found.notes[0] in printed(found).splitlines()


def test_of_many_files_outside_steps_a_few_are_named(sums: Path, tmp_path: Path) -> None:
    for n in range(7):
        write_results(tmp_path / "e" / f"round{n}" / "test_0.jsonl", solved("5", "1/2"))
    (note,) = report(sums, tmp_path / "e").notes
    assert "7 files of no iteration" in note
    assert note.endswith("round4/test_0.jsonl, and 2 more")


def test_a_step_without_a_row_is_told(sums: Path, tmp_path: Path) -> None:
    write_results(tmp_path / "e" / "step_0" / "test_0.jsonl", [])
    write_results(tmp_path / "e" / "step_1" / "test_0.jsonl", solved("5", "1/2"))
    found = report(sums, tmp_path / "e")
    assert (found.files[0].n_rows, found.files[0].accuracy) == (0, None)
    assert csv_text(found).splitlines()[1].endswith("test_0.jsonl,0,0,")


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([[], []], "e: no rows in its 2 files test_0.jsonl.\nName another folder"),
        ([[("Another?", "#### 5")], []], "e: of its 1 row in test_0.jsonl, none asks a question that is in"),
    ],
)
def test_an_evaluation_with_nothing_to_grade_is_an_error(
    sums: Path, tmp_path: Path, steps: list[list[Result]], message: str
) -> None:
    for n, results in enumerate(steps):
        write_results(tmp_path / "e" / f"step_{n}" / "test_0.jsonl", results)
    with pytest.raises(DataError) as caught:
        report(sums, tmp_path / "e")
    assert message in str(caught.value)


def test_the_wrong_seed_file_is_an_error_that_names_it(evaluations: Path, tmp_path: Path) -> None:
    (evaluations / "eval" / "step_3" / "test_0.jsonl").write_text(GOOD[:30])
    seeds = write_seeds(tmp_path / "places.jsonl", PLACES)
    with pytest.raises(DataError) as caught:
        report(seeds, evaluations)
    message, remedy = str(caught.value).splitlines()
    assert message.startswith(
        f"{evaluations}: of its 20 rows in test_0.jsonl, none asks a question that is in {seeds}; "
    )
    assert f"1 other file can't be read: {evaluations}/eval/step_3/test_0.jsonl:1: broken JSON" in message
    assert remedy == "Name the seed file with the questions that were evaluated, or another folder."


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (None, "no such folder"),
        ("", "It has no .jsonl file at all: name another folder"),
        ("step_0/file_0.jsonl", "There are file_0.jsonl: name one"),
    ],
)
def test_a_folder_without_results_is_an_error(sums: Path, tmp_path: Path, made: str | None, message: str) -> None:
    folder = tmp_path / "e"
    if made is not None:
        folder.mkdir()
    if made:
        write_results(folder / made, solved("5", "5"))
    with pytest.raises(UserInputError) as caught:
        report(sums, folder)
    assert message in str(caught.value)


def test_a_file_is_no_folder(sums: Path) -> None:
    with pytest.raises(UserInputError, match="is a file"):
        report(sums, sums)


def test_no_name_for_results_files_is_an_error(sums: Path, evaluations: Path) -> None:
    with pytest.raises(UserInputError) as caught:
        report(sums, evaluations, name="")
    assert str(caught.value) == "--results-file-name is empty.\nName the files to read, such as test_0.jsonl."


# --- files that can't be read ---------------------------------------------------------------------------------------

GOOD = json.dumps({"question": SUMS[0][0], "text": "#### 5"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{GOOD}\n{GOOD[:30]}", "test_0.jsonl:2: broken JSON"),
        (f"{GOOD}\n\n[1]", "test_0.jsonl:3: not a JSON object"),
        (f'{GOOD}\n{{"question": "?"}}', "test_0.jsonl:2: has no 'text', only question"),
        (f'{GOOD}\n{{"question": "?", "text": null}}', "test_0.jsonl:2: 'text' isn't text"),
        (f'{GOOD}\n{{"text": ""}}', "test_0.jsonl:2: has no 'question', only text"),
        ("[" * 100_000, "test_0.jsonl:1: not JSON that can be read"),
        (b"\xff\xfe{\x00", "test_0.jsonl: is UTF-16"),
        (GOOD.encode() + b"\n\xff", "test_0.jsonl:2: not valid UTF-8"),
    ],
)
def test_an_unreadable_line_is_named(sums: Path, tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "e" / "step_0" / "test_0.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        report(sums, tmp_path / "e")
    assert message in str(caught.value)
    assert "other file" not in str(caught.value)


def test_a_broken_file_takes_nothing_from_the_others(sums: Path, evaluations: Path) -> None:
    """The first line of it is sound, and would be graded otherwise by the published report."""
    path = evaluations / "eval" / "step_4" / "test_0.jsonl"
    sound = json.dumps({"question": SUMS[0][0], "text": "#### -5"})
    path.write_text(f"{sound}\n{json.dumps({'question': '?', 'text': 3})}")
    found = report(sums, evaluations)
    assert [one.step for one in found.files] == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]
    assert {one.path for one in found.differences} == {str(found.files[n].path) for n in (0, 1)}
    (broken,) = reference_document(found)["broken"]
    assert (broken["path"], broken["step"]) == (str(path), 4)
    assert broken["why"] == f"{path}:2: 'text' isn't text"
    lines = printed(found).splitlines()
    assert lines[5].split() == ["4", "–", "–", "–", "–", "–", str(path)]  # step 4 between 3 and 5
    assert f"{path}:2: 'text' isn't text: this file has no figures. Write it as text in quotes." in lines
    assert csv_text(found).splitlines()[4:7] == [
        f"{evaluations}/eval/step_3/test_0.jsonl,2,2,100.00",
        f"{path},,,",
        f"{evaluations}/eval/step_5/test_0.jsonl,2,2,100.00",
    ]


@pytest.mark.parametrize(
    ("seeds", "folder", "pipe"),
    [("pipe.jsonl", "experiment", "pipe.jsonl"), ("sums.jsonl", "new", "new/step_0/test_0.jsonl")],
)
def test_a_pipe_is_refused_since_nobody_may_ever_write_into_it(
    sums: Path, evaluations: Path, seeds: str, folder: str, pipe: str
) -> None:
    (sums.parent / "new" / "step_0").mkdir(parents=True)
    os.mkfifo(sums.parent / pipe)
    ending = Workspace(sums.parent).llm2llm("report", "--reference", seeds, folder)
    assert ending.code == 2
    assert f"{pipe}: is no file but a pipe or a device.\n  Write what it has into a file." in ending.err


def test_files_that_are_all_broken_are_an_error(sums: Path, tmp_path: Path) -> None:
    for n in range(3):
        write_results(tmp_path / "e" / f"step_{n}" / "test_0.jsonl", solved("5", "1/2"))
        path = tmp_path / "e" / f"step_{n}" / "test_0.jsonl"
        path.write_text(path.read_text()[:-20])
    with pytest.raises(DataError) as caught:
        report(sums, tmp_path / "e")
    message, remedy = str(caught.value).splitlines()
    assert message.startswith(f"{tmp_path}/e/step_0/test_0.jsonl:2: broken JSON")
    assert "; nor can 2 other files be read" in message
    assert "have the file written anew" in remedy


def test_the_error_for_a_missing_field_says_which_are_expected(sums: Path, tmp_path: Path) -> None:
    path = tmp_path / "e" / "step_0" / "test_0.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text('{"question": "?"}')
    with pytest.raises(DataError, match='A row of results needs "question" and "text": what the student wrote'):
        report(sums, tmp_path / "e")
    seeds = tmp_path / "s.json"
    seeds.write_text('[{"question": "?"}]')
    with pytest.raises(DataError, match='A seed needs "question" and "answer", or "instruction" and "output"'):
        report(seeds, tmp_path / "e")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.jsonl", None, "none.jsonl: no such file"),
        ("s.txt", "", "the name of a seed file ends in .json or .jsonl"),
        ("s.jsonl", "\n", "s.jsonl: has no rows"),
        ("s.json", "[]", "s.json: has no rows"),
        ("s.json", '{"question": "?"}', "s.json: isn't a list"),
        ("s.json", '[{"question": "?", "answer": "#### 1"}, 3]', "s.json entry:2: not a JSON object"),
        ("s.json", '[\n{"question": "?",\n', "s.json: broken JSON: Expecting property name enclosed in double quotes"),
        ("s.jsonl", '{"question": "?"}', "s.jsonl:1: has no 'answer', only question"),
        ("s.jsonl", '{"instruction": "?", "answer": "1"}', "s.jsonl:1: has no 'output', only answer, instruction"),
        ("s.jsonl", '{"question": " ", "answer": "1"}', "s.jsonl:1: 'question' is empty"),
        ("s.jsonl", '{"question": "?", "answer": "#### many"}', "s.jsonl:1: no number can be read after '####'"),
        ("s.json", '[{"question": "?", "answer": "#### many"}]', "s.json entry:1: no number can be read"),
    ],
)
def test_a_seed_file_that_can_not_be_used_is_an_error(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    write_results(tmp_path / "e" / "step_0" / "test_0.jsonl", solved("5", "5"))
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserInputError) as caught:
        report(tmp_path / name, tmp_path / "e")
    assert message in str(caught.value)


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_report_is_a_table_with_what_is_to_be_known_below(sums: Path, evaluations: Path) -> None:
    (evaluations / "eval" / "step_4" / "test_0.jsonl").unlink()
    ending = Workspace(sums.parent).llm2llm("report", "--reference", "sums.jsonl", "experiment")
    assert (ending.code, ending.err) == (0, "")
    lines = ending.out.splitlines()
    assert lines[1].split() == ["0", "0", "2", "0.0%", "(0.0%–65.8%)", "2", "2", "experiment/eval/step_0/test_0.jsonl"]
    assert lines[2].split()[:4] == ["1", "2", "2", "100.0%"]
    for line in (
        "graded as math, with the answers of sums.jsonl",
        "experiment/eval: 1 step without results: step_4 has no test_0.jsonl",
        "the published report grades 3 rows otherwise:",
        "  experiment/eval/step_0/test_0.jsonl:1: gold '5', answer '-5': wrong; it compares 5 with 5: right",
        "  experiment/eval/step_0/test_0.jsonl:2: gold '1/2', answer '12': wrong; it compares 12 with 12: right",
        "  experiment/eval/step_1/test_0.jsonl:2: gold '1/2', answer '0.5': right; it compares 0.5 with 12: wrong",
    ):
        assert line in lines


def test_texts_that_were_cut_before_their_answer_are_told(sums: Path, tmp_path: Path) -> None:
    first, second = solved("5", "1/2")
    cut = (second[0], second[1].partition("####")[0])
    write_results(sums.parent / "e" / "step_0" / "test_0.jsonl", [first, cut])
    ending = Workspace(sums.parent).llm2llm("report", "--reference", "sums.jsonl", "e")
    assert "e/step_0/test_0.jsonl: 1 text of 2 with no answer that can be read; not right" in ending.out


def test_the_report_is_also_json_and_csv(sums: Path, evaluations: Path) -> None:
    workspace = Workspace(sums.parent)
    arguments = ("--results-file-name", "file_0.jsonl", "--csv", "out.csv", "--json")
    document = workspace.llm2llm("report", "--reference", "sums.jsonl", "experiment", *arguments).json()
    (figures,) = document["files"]
    assert (figures["step"], figures["correct"], figures["matched"], figures["accuracy"]) == (0, 0, 2, 0.0)
    assert document["gaps"] == [
        "experiment/eval: 10 steps without results: step_1 has no file_0.jsonl, step_2 has no file_0.jsonl, "
        "step_3 has no file_0.jsonl, step_4 has no file_0.jsonl, step_5 has no file_0.jsonl, and 5 more"
    ]
    rows = list(csv.reader((sums.parent / "out.csv").read_text().splitlines()))
    assert rows == [
        ["path", "correct", "matched", "accuracy"],
        ["experiment/eval/step_0/file_0.jsonl", "0", "2", "0.00"],
    ]


def test_the_csv_can_go_into_a_pipe(sums: Path, evaluations: Path) -> None:
    ending = Workspace(sums.parent).llm2llm(
        "report", "--reference", sums.name, evaluations, "--results-file-name", "file_0.jsonl", "--csv", "/dev/stdout"
    )
    assert (ending.code, ending.out.partition("\n")[0]) == (0, "path,correct,matched,accuracy"), ending.err


def test_a_path_that_is_not_utf8_is_in_the_csv_as_it_is_on_disk(sums: Path, tmp_path: Path) -> None:
    folder = os.fsdecode(b"e\xff")
    write_results(tmp_path / folder / "step_0" / "test_0.jsonl", solved("5", "5"))
    assert Workspace(tmp_path).llm2llm("report", "--reference", "sums.jsonl", folder, "--csv", "out.csv").code == 0
    assert b"\ne\xff/step_0/test_0.jsonl,1,2,50.00" in (tmp_path / "out.csv").read_bytes()


@pytest.mark.parametrize("name", ["sums.jsonl", "experiment/eval/step_2/test_0.jsonl", "lost.csv", "experiment"])
def test_what_is_there_is_never_overwritten(sums: Path, evaluations: Path, name: str) -> None:
    """Above all not what is to be read; lost.csv is a link to nothing."""
    workspace, out = Workspace(sums.parent), sums.parent / name
    (sums.parent / "lost.csv").symlink_to("nowhere.csv")
    before = out.read_bytes() if out.is_file() else None
    # There is nothing to read in nowhere, so this is found before anything is read.
    for folder in ("experiment", "nowhere"):
        ending = workspace.llm2llm("report", "--reference", "sums.jsonl", folder, "--csv", name)
        assert (ending.code, ending.out) == (2, "")
        if out.is_dir():
            assert "is a directory" in ending.err
        else:
            assert f"--csv {name}: is there already" in ending.err
            assert "Name another file, or delete this one first; nothing was written." in ending.err
    assert (out.read_bytes() if out.is_file() else None) == before
    assert not (sums.parent / "nowhere.csv").exists()


def test_a_step_that_was_cut_off_leaves_the_others_in_json_and_csv(sums: Path, evaluations: Path) -> None:
    """As a killed evaluation leaves its last file."""
    path = evaluations / "eval" / "step_10" / "test_0.jsonl"
    path.write_text(path.read_text()[:-20])
    workspace = Workspace(sums.parent)
    ending = workspace.llm2llm("report", "--reference", "sums.jsonl", "experiment", "--json", "--csv", "out.csv")
    assert (ending.code, ending.err) == (0, "")
    document = ending.json()
    assert len(document["files"]) == 10
    (broken,) = document["broken"]
    assert broken["why"].startswith("experiment/eval/step_10/test_0.jsonl:2: broken JSON: Unterminated string")
    assert (sums.parent / "out.csv").read_text().splitlines()[-1] == "experiment/eval/step_10/test_0.jsonl,,,"
    ending = workspace.llm2llm("report", "--reference", "sums.jsonl", "experiment")
    assert "experiment/eval/step_10/test_0.jsonl:2: broken JSON: Unterminated string" in ending.out


def test_help_says_which_fields_are_read(tmp_path: Path) -> None:
    text = " ".join(Workspace(tmp_path).llm2llm("report", "--help").out.split())
    assert RESULTS_FIELDS in text
    assert SEED_FIELDS in text


def test_what_the_texts_hold_can_not_steer_the_terminal(sums: Path, tmp_path: Path) -> None:
    write_results(tmp_path / "[b]e\x1b[31m" / "step_0" / "test_0.jsonl", solved("-5 \x1b[31m[b]x", "[/b]"))
    ending = Workspace(tmp_path).llm2llm("report", "--reference", "sums.jsonl", "[b]e\x1b[31m")
    assert ending.code == 0
    assert "\x1b" not in ending.out
    assert "[b]e\\x1b[31m/step_0/test_0.jsonl" in ending.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--reference", "sums.jsonl"), "requires 2 arguments"),
        (("1", "--reference", "sums.jsonl", "experiment"), "is about no run of this store"),
        (("--csv", "x.csv"), "--csv goes with --reference only"),
        (("--results-file-name", "test_0.jsonl"), "--results-file-name goes with --reference only"),
        (("--family", "math"), "--family goes with --reference only"),
        (("--reference", "sums.jsonl", "experiment", "--csv", "nowhere/x.csv"), "nowhere/x.csv: can't be written"),
        (("--reference", "sums.jsonl", "experiment", "--csv", ""), "--csv .: is a folder"),
        (("--reference", "sums.jsonl", "experiment", "--results-file-name", ""), "--results-file-name is empty"),
        (("--reference", "sums.jsonl", "nowhere"), "nowhere: no such folder"),
        (("--reference", "experiment", "experiment"), "the name of a seed file ends in .json or .jsonl"),
        (("--reference", "sums.jsonl", "experiment", "--family", "x"), "there is no task family 'x'"),
    ],
)
def test_mistakes_are_told_without_a_traceback(
    sums: Path, evaluations: Path, arguments: tuple[str, ...], message: str
) -> None:
    ending = Workspace(sums.parent).llm2llm("report", *arguments)
    assert ending.code == 2
    assert message in ending.err
    assert "Traceback" not in ending.err


def test_reading_them_takes_no_model_library_and_no_store() -> None:
    names = imported_by("import llm2llm_local.reference.output")
    assert names & {"torch", "transformers", "llama_cpp", "textual", "sqlite_utils"} == set()
