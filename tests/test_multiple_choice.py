"""Multiple choice: bad rows, grading, what the teacher is shown, what is read out of its reply."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from votes import scored

from llm2llm_local.checks.audit import AuditedSeed, audit
from llm2llm_local.checks.verification import Thresholds
from llm2llm_local.config import TaskConfig
from llm2llm_local.errors import DataError
from llm2llm_local.records import (
    DataRow,
    Example,
    Failure,
    FinishReason,
    NewExample,
    Origin,
    Outcome,
    Reply,
    Split,
    Unparsed,
    Vote,
)
from llm2llm_local.tasks.base import PromptBuilder, PromptStyle
from llm2llm_local.tasks.families import make_task
from llm2llm_local.tasks.multiple_choice import MultipleChoiceTask, most_frequent_count
from llm2llm_local.tasks.options import split_options

CASEHOLD = Path(__file__).parents[2] / "shared" / "data" / "casehold"
TASK = MultipleChoiceTask(PromptBuilder("Question", "Answer"), "Pick one.", 3, "train.jsonl:1", scores_letters=True)
QUESTION = "Which bird can't fly?\n(A) the swift\n(B) the ostrich\n(C) the gull"
FAILING = Example(1, "train/0", Split.TRAIN, Origin.SEED, QUESTION, "B")
OTHER = Example(2, "train/1", Split.TRAIN, Origin.SEED, "Which swims?\n(A) the cod\n(B) the ant\n(C) the oak", "A")
NEW = "Which one barks?\n(A) the cat\n(B) the hen\n(C) the dog"


def reply(text: str, reason: FinishReason = FinishReason.STOP) -> Reply:
    return Reply(text, reason, 1, 1, 0.0)


def row(question: str, answer: str) -> DataRow:
    return DataRow(question, answer, "train.jsonl", 7)


# --- in other words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [" Name the flightless bird.", "Question: Name the flightless bird.\n(A) a\n(B) b"])
def test_only_the_stem_is_said_in_other_words(text: str) -> None:
    prompt = TASK.rephrase_prompt(FAILING, [NewExample("Who stays on the ground?\n(A) x\n(B) y", "A")], "completion")
    assert "- Which bird can't fly?\n- Who stays on the ground?\n-" in prompt.completion
    assert "still: the ostrich" in prompt.completion and "the swift" not in prompt.completion
    new = TASK.parse_rephrased(FAILING, reply(text))
    assert new == NewExample(QUESTION.replace("Which bird can't fly?", "Name the flightless bird."), "B")


def test_words_of_options_are_not_changed() -> None:
    assert TASK.with_changed_words(QUESTION, str.upper) == QUESTION.replace(
        "Which bird can't fly", "WHICH BIRD CAN'T FLY"
    )


# --- the person's rows ----------------------------------------------------------------------------------------------


def test_a_sound_row_is_accepted() -> None:
    TASK.validate(row(QUESTION, "B"))
    TASK.validate(row("Which?\n(A) one\n(B) one\n(C) three", "C"))  # wrong options that are alike do no harm


@pytest.mark.parametrize(
    ("question", "answer", "problem"),
    [
        (QUESTION + "\n(D) the robin", "B", "has 4 options, A to D, where train.jsonl:1 has 3"),
        ("Which?\n(A) one\n(B) two", "B", "has 2 options, A to B, where train.jsonl:1 has 3"),
        ("Which bird can't fly?", "B", "no line begins with (A), so it has no options: "),
        ("Which?\n(A) one\n(C) three\n(D) four", "A", "option C comes after option A: "),
        (QUESTION, "D", "the answer 'D' is none of the options' letters, A to C"),
        (QUESTION, "b", "the answer 'b' is none of the options' letters, A to C"),
        (QUESTION, "the ostrich", "the answer 'the ostrich' is none of the options' letters, A to C"),
        ("Which?\n(A) one\n(B) two\n(C) One.", "A", "the options A, the answer, and C are the same: 'One.'"),
    ],
)
def test_a_bad_row_names_file_line_and_what_was_found(question: str, answer: str, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        TASK.validate(row(question, answer))
    assert caught.value.message.startswith(f"train.jsonl:7: {problem}")
    assert caught.value.remedy


def test_most_seeds_say_how_many_options_there_are() -> None:
    rows = [DataRow("Q?\n(A) 1\n(B) 2", "A", "f", 1), *(DataRow(QUESTION, "B", "f", n) for n in (2, 3))]
    assert most_frequent_count(rows) == (3, "f:2")
    with pytest.raises(DataError, match="f:9: no line begins with"):
        most_frequent_count([*rows, DataRow("Q?", "A", "f", 9)])


def test_the_configuration_makes_the_task() -> None:
    seeds = [row(QUESTION, "B")]
    scored = make_task(TaskConfig(family="multiple_choice"), seeds)
    assert isinstance(scored, MultipleChoiceTask)
    assert scored.choices == scored.labels == ("A", "B", "C")
    written = make_task(TaskConfig(family="multiple_choice", predict="generate"), seeds)
    assert written.choices == ()


# --- grading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason", "outcome", "predicted"),
    [
        ("B", FinishReason.SCORED, Outcome.CORRECT, "B"),
        (" B", FinishReason.STOP, Outcome.CORRECT, "B"),
        ("(B) the ostrich", FinishReason.STOP, Outcome.CORRECT, "B"),
        ("A", FinishReason.SCORED, Outcome.WRONG, "A"),
        ("B\nQuestion: Wh", FinishReason.LENGTH, Outcome.CORRECT, "B"),
        ("B", FinishReason.LENGTH, Outcome.TRUNCATED, None),
        ("A bird", FinishReason.STOP, Outcome.UNPARSED, None),
        ("D", FinishReason.STOP, Outcome.UNPARSED, None),
        ("", FinishReason.STOP, Outcome.UNPARSED, None),
    ],
)
def test_grading(text: str, reason: FinishReason, outcome: Outcome, predicted: str | None) -> None:
    grade = TASK.grade(reply(text, reason), "B")
    assert (grade.outcome, grade.predicted_answer) == (outcome, predicted)


# --- the teacher ----------------------------------------------------------------------------------------------------


def test_a_completion_prompt_is_a_list_to_continue() -> None:
    prompt = TASK.teacher_prompt(
        Failure(FAILING, "A"), [OTHER], [NewExample(NEW, "C")], "completion", show_student_answer=False
    )
    assert prompt.completion == (
        "Pick one.\n\n"
        f"Question: {OTHER.question}\nAnswer: A\n\nQuestion: {NEW}\nAnswer: C\n\nQuestion: {QUESTION}\nAnswer: B\n\n"
        "Question:"
    )
    assert (prompt.messages, prompt.stop) == ((), ("\nQuestion:",))


def test_a_chat_prompt_asks_for_as_many_options() -> None:
    prompt = TASK.teacher_prompt(Failure(FAILING, "A"), [], [], "chat", show_student_answer=True)
    (message,) = prompt.messages
    assert "exactly 3 different options, A to C" in message.content
    assert f"A student answered the following wrongly with A:\n\nQuestion: {QUESTION}" in message.content


@pytest.mark.parametrize("style", ["chat", "completion"])
@pytest.mark.parametrize(("predicted", "is_shown"), [("A", False), (None, True)])
def test_the_students_answer_is_shown_only_when_wanted_and_known(
    style: PromptStyle, predicted: str | None, is_shown: bool
) -> None:
    prompt = TASK.teacher_prompt(Failure(FAILING, predicted), [], [], style, show_student_answer=is_shown)
    assert "student" not in prompt.completion + "".join(message.content for message in prompt.messages)


MARKED = "Which one barks?\n{0}the cat\n{1}the hen\n{2}the dog\nAnswer: {3}"


@pytest.mark.parametrize(
    "marks", [("(A) ", "(B) ", "(C) "), ("A) ", "B) ", "C) "), ("A. ", "B. ", "C. "), ("A: ", "B: ", "C: ")]
)
@pytest.mark.parametrize("answer", ["C", "(C)", "C)", "C.", "C: the dog", "**C**", "the dog", "The dog.", "C\n\nBye!"])
def test_a_reply_is_read_in_any_marks_and_written_as_the_seed(marks: tuple[str, ...], answer: str) -> None:
    text = MARKED.format(*marks, answer)
    for shape in (text, f"Question: {text}", f"Sure!\n\n**Question:** {text}\n\nQuestion: Which", f" {text}"):
        assert TASK.parse_reply(Failure(FAILING, None), reply(shape)) == NewExample(NEW, "C")


def test_the_gap_and_the_marks_are_those_of_the_seed() -> None:
    seed = Example(3, "train/2", Split.TRAIN, Origin.SEED, "Which?\n\nA) a\nB) b\nC) c", "A")
    new = TASK.parse_reply(Failure(seed, None), reply(f"{NEW}\nAnswer: C"))
    assert new == NewExample("Which one barks?\n\nA) the cat\nB) the hen\nC) the dog", "C")


@pytest.mark.parametrize(
    ("text", "reason", "problem"),
    [
        (NEW, FinishReason.STOP, "no answer"),
        (NEW, FinishReason.LENGTH, "cut off at the token limit"),
        (f"{NEW}\nAnswer: C", FinishReason.LENGTH, "cut off at the token limit"),
        (f"{NEW}\nAnswer:\n\nQuestion: Which?", FinishReason.STOP, "no answer"),
        (f"{NEW}\nAnswer: D", FinishReason.STOP, "the answer is none of the options"),
        (f"{NEW}\nAnswer: the wolf", FinishReason.STOP, "the answer is none of the options"),
        ("Which one barks?\nAnswer: C", FinishReason.STOP, "no options"),
        ("Which one barks?\n(A) x\n(C) y\nAnswer: C", FinishReason.STOP, "options out of order"),
        ("", FinishReason.STOP, "no answer"),
    ],
)
def test_a_reply_that_holds_no_example_has_a_reason(text: str, reason: FinishReason, problem: str) -> None:
    assert TASK.parse_reply(Failure(FAILING, None), reply(text, reason)) == Unparsed(problem)


def test_a_reply_that_runs_on_past_its_answer_counts() -> None:
    text = f"Question: {NEW}\nAnswer: C\n\nQuestion: Which one"
    assert TASK.parse_reply(Failure(FAILING, None), reply(text, FinishReason.LENGTH)) == NewExample(NEW, "C")


@pytest.mark.parametrize(
    ("question", "answer", "problem"),
    [
        (NEW, "C", None),
        (NEW, "D", "the answer is none of the options"),
        (NEW + "\n(D) the ape", "C", "wrong number of options"),
        ("Which?\n(A) one\n(B) two", "A", "wrong number of options"),
        ("Which?\n(A) one\n(B) One.\n(C) three", "C", "repeated option"),
        ("Which?\n(A) one\n(B)\n(C) three", "C", "empty option"),
        ("Which?", "C", "no options"),
    ],
)
def test_defects_of_a_candidate(question: str, answer: str, problem: str | None) -> None:
    assert TASK.defect(NewExample(question, answer)) == problem


# --- verification ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["chat", "completion"])
def test_a_ballot_turns_the_options_and_hides_the_answer(style: PromptStyle) -> None:
    orders = set()
    for n in range(20):
        ballot = TASK.ballot(NewExample(NEW, "C"), [OTHER], style, random.Random(n))
        text = ballot.prompt.completion or ballot.prompt.messages[-1].content
        asked = text[text.rindex("Question: ") :].removeprefix("Question: ").removesuffix("\nAnswer:")
        options = split_options(asked)
        assert ballot.intended is not None
        assert options.options[options.letters.index(ballot.intended.strip())] == "the dog"
        assert [choice.strip() for choice in ballot.choices] == ["A", "B", "C"]
        assert ballot.intended in ballot.choices
        of_displayed = dict(zip(options.letters, options.options, strict=True))
        own = split_options(NEW)
        assert [own.options[own.letters.index(answer)] for answer in ballot.answers] == [
            of_displayed[choice.strip()] for choice in ballot.choices
        ]
        orders.add(options.options)
    assert len(orders) == 6


def test_a_ballots_prompt_is_the_same_whichever_answer_is_voted_on() -> None:
    ballots = [TASK.ballot(NewExample(NEW, letter), [OTHER], "chat", random.Random(1)) for letter in "ABC"]
    assert len({ballot.prompt for ballot in ballots}) == 1
    assert {ballot.intended for ballot in ballots} == {"A", "B", "C"}


@pytest.mark.parametrize("n_votes", [1, 3])
@pytest.mark.parametrize("often", "ABC")
def test_a_teacher_that_likes_a_position_is_seen_through_though_one_letter_is_frequent(
    n_votes: int, often: str
) -> None:
    """Each ballot has its own order, so that its liking falls on another letter each time."""

    def votes_on(answer: str) -> dict[str, list[Vote]]:
        votes = []
        for number in range(n_votes):
            ballot = TASK.ballot(NewExample(NEW, answer), [], "completion", random.Random(number))
            shares = dict(zip(ballot.answers, (0.9, 0.05, 0.05), strict=True))
            votes.append(scored(answer, **shares))
        return {"teacher": votes}

    seeds = [
        AuditedSeed(answer, votes_on(answer), tuple(votes_on(wrong) for wrong in "ABC" if wrong != answer))
        for answer in [*often * 40, *"ABC" * 5]
    ]
    assert audit(seeds, ["teacher"], Thresholds(0.9, 0.5), "review").preference.share == 0.5


def test_planted_answers_are_wrong() -> None:
    assert sorted(TASK.wrong_answers(FAILING, [OTHER], random.Random(0))) == ["A", "C"]


# --- genuine rows ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not CASEHOLD.exists(), reason="the CaseHOLD rows in shared/data are not there")
def test_all_rows_of_casehold_are_sound_and_survive_a_teachers_reply() -> None:
    rows = [
        DataRow(item["question"], item["answer"], name, n)
        for name in ("train.jsonl", "test.jsonl")
        for n, item in enumerate(map(json.loads, (CASEHOLD / name).read_text("utf-8").splitlines()), start=1)
    ]
    assert len(rows) == 1000
    task = make_task(TaskConfig(family="multiple_choice", question_name="Excerpt", answer_name="Holding"), rows)
    n_repeated = 0
    for one in rows:
        task.validate(one)
        example = Example(1, "train/0", Split.TRAIN, Origin.SEED, one.question, one.answer)
        written = task.prompts.example(one.question, one.answer)
        new = task.parse_reply(Failure(example, None), reply(written))
        assert new == NewExample(one.question, one.answer)
        assert isinstance(new, NewExample)
        n_repeated += task.defect(new) == "repeated option"
    assert n_repeated == 1
