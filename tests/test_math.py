"""The math family: final lines, truncation, the teacher's prompts and replies, annotations."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from llm2llm_local.errors import DataError
from llm2llm_local.records import (
    DataRow,
    Example,
    Failure,
    FinishReason,
    Grade,
    NewExample,
    Origin,
    Outcome,
    Reply,
    Split,
    Unparsed,
)
from llm2llm_local.tasks.base import PromptBuilder, PromptStyle, Task
from llm2llm_local.tasks.math import MathTask, wrong_annotations

GSM8K = Path(__file__).parents[2] / "shared" / "data" / "gsm8k" / "train.jsonl"

INSTRUCTION = "Word problems for the fourth grade."
TASK = MathTask(PromptBuilder("Question", "Answer"), INSTRUCTION)


def reply(text: str, finish_reason: FinishReason = FinishReason.STOP) -> Reply:
    return Reply(text, finish_reason, input_tokens=1, output_tokens=1, seconds=0.0)


def cut(text: str) -> Reply:
    return reply(text, FinishReason.LENGTH)


def example(question: str, answer: str, id: int = 1) -> Example:
    return Example(id, f"train/{id}", Split.TRAIN, Origin.SEED, question, answer)


FAILURE = Failure(example("Ann has 3 pens and buys 2. How many?", "3+2=<<3+2=5>>5 pens\n#### 5"), "6")
DEMONSTRATION = example("Bo eats 4 of 9 nuts. How many are left?", "9-4=<<9-4=5>>5 nuts\n#### 5", id=2)
KEPT = NewExample("Cy reads 7 pages on 2 days. How many?", "7*2=<<7*2=14>>14 pages\n#### 14")


def test_is_a_task_that_writes_its_answer() -> None:
    task: Task = TASK
    assert task.choices == ()
    assert task.kind(FAILURE.example) == task.kind(DEMONSTRATION)


class TestValidate:
    @pytest.mark.parametrize("answer", ["2+3=<<2+3=5>>5\n#### 5", "#### -1,234.5", "...\n#### $5\n"])
    def test_accepts_a_final_line_with_a_number(self, answer: str) -> None:
        TASK.validate(DataRow("?", answer, "seeds.jsonl", 7))

    @pytest.mark.parametrize(
        ("answer", "problem"),
        [
            ("The answer is 5.", "the answer has no final line '#### number'"),
            ("", "the answer has no final line '#### number'"),
            ("2+3=5\n#### five", "no number can be read after '####': 'five'"),
            ("2+3=5\n####", "no number can be read after '####': ''"),
            (
                "#### as many as Ann, Bo, Cy and Di have in all",
                "no number can be read after '####': 'as many as Ann, Bo, Cy and Di have in al'",
            ),
            ("#### 1,5", "no number can be read after '####': '1,5'"),
            ("#### 5\nSo 5 pens.", "text follows the final line '#### 5'"),
            ("#### 5\n#### 6", "text follows the final line '#### 5'"),
        ],
    )
    def test_names_the_row_the_defect_and_the_remedy(self, answer: str, problem: str) -> None:
        with pytest.raises(DataError) as caught:
            TASK.validate(DataRow("?", answer, "seeds.jsonl", 7))
        assert caught.value.message == f"seeds.jsonl:7: {problem}"
        assert caught.value.remedy == "End the answer with one line such as: #### 72"


class TestGrade:
    @pytest.mark.parametrize(
        ("text", "gold", "outcome", "predicted"),
        [
            ("3+2=5\n#### 5", "#### 5", Outcome.CORRECT, "5"),
            ("#### 1000", "#### 1,000", Outcome.CORRECT, "1000"),
            ("#### **$5.00** \n", "#### 5", Outcome.CORRECT, "**$5.00**"),
            ("so it is #### 5", "#### 5", Outcome.CORRECT, "5"),
            ("####5", "#### 5", Outcome.CORRECT, "5"),
            ("#### 6", "#### 5", Outcome.WRONG, "6"),
            ("#### -5", "#### 5", Outcome.WRONG, "-5"),
            ("#### 1/2", "#### 12", Outcome.WRONG, "1/2"),
            # what follows the first final line is ignored
            ("#### 5\n#### 6", "#### 5", Outcome.CORRECT, "5"),
            ("#### 6\n#### 5", "#### 5", Outcome.WRONG, "6"),
            ("#### 5 #### 6", "#### 5", Outcome.CORRECT, "5"),
            ("#### 5\n\nQuestion: Bo has", "#### 5", Outcome.CORRECT, "5"),
            # headings are passed over
            ("#### Solution\n3+2=5\n#### 5", "#### 5", Outcome.CORRECT, "5"),
            ("#### 1. Count the pens\n#### 5", "#### 5", Outcome.CORRECT, "5"),
        ],
    )
    def test_compares_the_first_final_line(self, text: str, gold: str, outcome: Outcome, predicted: str) -> None:
        assert TASK.grade(reply(text), f"Some steps.\n{gold}") == Grade(outcome, predicted)

    @pytest.mark.parametrize("text", ["", "The answer is 5.", "#### five", "####", "##### 5", "### 5"])
    def test_ended_without_a_final_line_is_unparsed(self, text: str) -> None:
        assert TASK.grade(reply(text), "#### 5") == Grade(Outcome.UNPARSED, None)

    @pytest.mark.parametrize("text", ["", "3+2=", "#### ", "#### 5", "#### 12", "#### 12 ", "#### five\n", "5\n#### 1"])
    def test_cut_before_a_final_line_is_complete_is_truncated(self, text: str) -> None:
        assert TASK.grade(cut(text), "#### 5") == Grade(Outcome.TRUNCATED, None)

    @pytest.mark.parametrize(
        ("text", "grade"),
        [
            ("#### 5\n", Grade(Outcome.CORRECT, "5")),
            ("#### 5\nQuestion: Bo", Grade(Outcome.CORRECT, "5")),
            ("#### 5\n#### 6", Grade(Outcome.CORRECT, "5")),
            ("#### 6\n#### 5", Grade(Outcome.WRONG, "6")),
        ],
    )
    def test_cut_after_a_complete_final_line_is_graded(self, text: str, grade: Grade) -> None:
        assert TASK.grade(cut(text), "#### 5") == grade

    def test_refuses_an_unreadable_gold_answer(self) -> None:
        with pytest.raises(ValueError, match="gold answer without a readable final line: 'five'"):
            TASK.grade(reply("#### 5"), "five")


class TestTeacherPrompt:
    def test_completion_is_a_list_to_continue(self) -> None:
        prompt = TASK.teacher_prompt(FAILURE, [DEMONSTRATION], [KEPT], "completion", show_student_answer=False)
        assert prompt.messages == ()
        assert prompt.stop == ("\nQuestion:",)
        assert prompt.completion == (
            "Word problems for the fourth grade.\n\n"
            "Question: Bo eats 4 of 9 nuts. How many are left?\nAnswer: 9-4=<<9-4=5>>5 nuts\n#### 5\n\n"
            "Question: Cy reads 7 pages on 2 days. How many?\nAnswer: 7*2=<<7*2=14>>14 pages\n#### 14\n\n"
            "Question: Ann has 3 pens and buys 2. How many?\nAnswer: 3+2=<<3+2=5>>5 pens\n#### 5\n\n"
            "Question:"
        )

    def test_chat_is_one_request_for_one_problem(self) -> None:
        prompt = TASK.teacher_prompt(FAILURE, [DEMONSTRATION], [KEPT], "chat", show_student_answer=False)
        assert (prompt.completion, prompt.stop) == ("", ())
        (message,) = prompt.messages
        assert message.role == "user"
        *shown, request = message.content.split("\n\n")
        assert shown == [
            INSTRUCTION,
            TASK.prompts.example(DEMONSTRATION.question, DEMONSTRATION.answer),
            TASK.prompts.example(KEPT.question, KEPT.answer),
            TASK.prompts.example(FAILURE.example.question, FAILURE.example.answer),
        ]
        assert request == (
            "Write ONE new Question of the same kind as those above, with a different story and different numbers, "
            "and its Answer. Use exactly the same format: first 'Question:', then 'Answer:' on a new line, and as the "
            "last line '#### number'. Write nothing else."
        )

    @pytest.mark.parametrize("style", ["chat", "completion"])
    def test_shows_the_students_answer_before_the_failing_example(self, style: PromptStyle) -> None:
        prompt = TASK.teacher_prompt(FAILURE, [DEMONSTRATION], [], style, show_student_answer=True)
        text = prompt.completion or prompt.messages[0].content
        assert (
            f"#### 5\n\nA student answered the following wrongly with 6:\n\nQuestion: {FAILURE.example.question}"
            in text
        )

    def test_says_nothing_of_a_student_who_gave_no_answer(self) -> None:
        speechless = Failure(FAILURE.example, None)
        prompt = TASK.teacher_prompt(speechless, [], [], "completion", show_student_answer=True)
        assert "student" not in prompt.completion

    def test_starts_with_the_examples_when_there_is_no_instruction(self) -> None:
        task = MathTask(TASK.prompts, " ")
        prompt = task.teacher_prompt(FAILURE, [], [], "completion", show_student_answer=False)
        assert prompt.completion.startswith("Question: Ann")

    def test_uses_the_persons_names(self) -> None:
        task = MathTask(PromptBuilder("Problem", "Solution"), "")
        prompt = task.teacher_prompt(FAILURE, [], [], "completion", show_student_answer=False)
        assert prompt.completion.startswith("Problem: Ann has 3 pens and buys 2. How many?\nSolution: 3+2")
        assert prompt.completion.endswith("\n\nProblem:")
        assert prompt.stop == ("\nProblem:",)


class TestParseReply:
    NEW = NewExample("Di has 2 cats. How many ears?", "2*2=<<2*2=4>>4 ears\n#### 4")

    @pytest.mark.parametrize(
        "text",
        [
            " Di has 2 cats. How many ears?\nAnswer: 2*2=<<2*2=4>>4 ears\n#### 4\n",
            "Question: Di has 2 cats. How many ears?\nAnswer: 2*2=<<2*2=4>>4 ears\n#### 4",
            "Sure, here is one:\n\nQuestion: Di has 2 cats. How many ears?\nAnswer: 2*2=<<2*2=4>>4 ears\n#### 4",
            "**Question:** Di has 2 cats. How many ears?\n\n**Answer:** 2*2=<<2*2=4>>4 ears\n#### 4",
            "**Question**: Di has 2 cats. How many ears?\n__Answer__: 2*2=<<2*2=4>>4 ears\n#### 4",
            "### Question:\nDi has 2 cats. How many ears?\n### Answer:\n2*2=<<2*2=4>>4 ears\n#### 4",
            "#### Question:\nDi has 2 cats. How many ears?\n#### Answer:\n2*2=<<2*2=4>>4 ears\n#### 4",
            "question: Di has 2 cats. How many ears?\nanswer: 2*2=<<2*2=4>>4 ears\n#### 4",
            "Question:\nQuestion: Di has 2 cats. How many ears?\nAnswer: 2*2=<<2*2=4>>4 ears\n#### 4",
            "1. Question: Di has 2 cats. How many ears?\nAnswer: 2*2=<<2*2=4>>4 ears\n#### 4",
            "**New question:** Di has 2 cats. How many ears?\nNew answer: 2*2=<<2*2=4>>4 ears\n#### 4",
            "Question 2: Di has 2 cats. How many ears?\nAnswer 2: 2*2=<<2*2=4>>4 ears\n#### 4",
            "Sure! Here is one:\n\nDi has 2 cats. How many ears?\nAnswer: 2*2=<<2*2=4>>4 ears\n#### 4",
            # whatever follows the first final line
            " Di has 2 cats. How many ears?\nAnswer: 2*2=<<2*2=4>>4 ears\n#### 4\n\nI hope this helps! #### 5",
            " Di has 2 cats. How many ears?\nAnswer: 2*2=<<2*2=4>>4 ears\n#### 4\n\nQuestion: Ed\nAnswer: 1\n#### 1",
        ],
    )
    def test_finds_question_and_answer(self, text: str) -> None:
        assert TASK.parse_reply(FAILURE, reply(text)) == self.NEW

    def test_keeps_the_lines_of_a_question(self) -> None:
        for question in (
            "Prices:\n- pen: $1\nWhat do 2 pens cost?",
            "Question: Prices:\n\nWhat do 2 pens cost?",
            "Tom has these coins:\n\n2 dimes. How many?",
            "Which is right?\n1. 1 + 1 = 3\n2. It is as in question 2: 2",
        ):
            assert TASK.parse_reply(FAILURE, reply(f"{question}\nAnswer: 2\n#### 2")) == NewExample(
                question.removeprefix("Question: "), "2\n#### 2"
            )

    def test_names_count_at_the_start_of_a_line_and_the_first_answer_is_the_whole(self) -> None:
        text = "Her note says Answer: 4. Is it?\nAnswer: No question: it is 5.\nAnswer: 5\n#### 5"
        assert TASK.parse_reply(FAILURE, reply(text)) == NewExample(
            "Her note says Answer: 4. Is it?", "No question: it is 5.\nAnswer: 5\n#### 5"
        )

    def test_uses_the_persons_names(self) -> None:
        task = MathTask(PromptBuilder("Problem (easy)", "Solution"), "")
        text = "Problem (easy): Is this a Question: yes?\nSolution: Answer: 4\n#### 4"
        assert task.parse_reply(FAILURE, reply(text)) == NewExample("Is this a Question: yes?", "Answer: 4\n#### 4")

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "no answer"),
            ("I can't do that.", "no answer"),
            ("Question: How many?\n#### 4", "no answer"),
            ("Question: How many?\nAnswer:  \n", "no answer"),
            ("Question: How many?\nAnswer: 2*2=4", "no final number"),
            ("Question: How many?\nAnswer: 2*2=4\n#### four", "no final number"),
            ("Question: How many?\nAnswer: 4\n\nQuestion: And now?\nAnswer: 5\n#### 5", "no final number"),
            ("Answer: 4\n#### 4", "empty question"),
            ("Question:\nAnswer: 4\n#### 4", "empty question"),
        ],
    )
    def test_says_what_is_missing(self, text: str, reason: str) -> None:
        assert TASK.parse_reply(FAILURE, reply(text)) == Unparsed(reason)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "Question: How ma",
            "Question: How many?\nAnswer: 2*2=",
            "Question: How many?\nAnswer: 2*2=4\n#### 4",
        ],
    )
    def test_cut_before_a_complete_final_line(self, text: str) -> None:
        assert TASK.parse_reply(FAILURE, cut(text)) == Unparsed("cut off at the token limit")

    def test_cut_after_a_complete_final_line(self) -> None:
        text = f"{self.NEW.question}\nAnswer: {self.NEW.answer}\nQuestion: An"
        assert TASK.parse_reply(FAILURE, cut(text)) == self.NEW

    @pytest.mark.parametrize("named", ["", "Question:"])
    def test_reads_back_what_the_prompt_builder_renders(self, named: str) -> None:
        rendered = TASK.prompts.example(self.NEW.question, self.NEW.answer)
        assert TASK.parse_reply(FAILURE, reply(rendered.removeprefix(named))) == self.NEW


@pytest.mark.parametrize(
    ("answer", "defect"),
    [
        ("2*2=<<2*2=4>>4 ears\n#### 4", None),
        ("#### 4", None),
        ("2*2=<<2*2=4>>4 ears", "no final number"),
        ("#### four", "no final number"),
        ("#### 4\nSo 4 ears.", "text after the final number"),
        ("2*2=<<2*2=5>>5 ears\n#### 5", "wrong annotation"),
    ],
)
def test_defect(answer: str, defect: str | None) -> None:
    assert TASK.defect(NewExample("How many ears?", answer)) == defect


class TestWrongAnnotations:
    @pytest.mark.parametrize(
        "annotation",
        [
            "48/2=24",
            "2+3*4=14",
            "(2+3)*4=20",
            "5-8=-3",
            "5−8=−3",
            "-5+2=-3",
            "+5+3=8",
            "0.1+0.2=0.3",  # not so as floats
            ".5*2=1.",
            "007+1=8",
            "1,000+1=1,001",
            "12x2=24",
            "3×4÷2=6",
            "$3*2=$6",
            " 6 / 2 = 3 ",
            "3/4=3/4",
            "1/4+1/4=½",
            "10/3=3.33",
            "-10/3=−3.33",
            "$10/3=$3.33",
            "1/8=.13",  # half a unit in the last place is still a rounding
            "1/8=.12",
            "50%*20=10",
            "20% + 30 % = 50%",
            "1/5=20%",
            "5/25*100=20%",
            "1/3=33.3%",
        ],
    )
    def test_holds(self, annotation: str) -> None:
        assert wrong_annotations(f"so <<{annotation}>> it is") == []

    @pytest.mark.parametrize(
        "annotation",
        [
            "48/2=25",
            "10/3=3.34",
            "10/3=3.4",
            "10/3=4",
            "10/3=3",  # an integer isn't a rounding
            "5/2=3",
            "1/3=33%",
            "1/4=1/3",
            "1/4=½",  # a fraction isn't a rounding
            "1/5=21%",
            "1/5=20",
            "20%*10=20",
            "0.1+0.2=0.30000000000000004",
            # can't be computed
            "1/0=1",
            "1/0=0",
            "2**3=8",
            "9//2=4",
            "7%2=1",
            "2(3)=6",
            "2 3=6",
            "1.5.2=1",
            "1,5+1=2.5",
            "(1+2=3",
            "a+1=2",
            "__import__('os')=1",
            "True=1",
            "3+4",
            "3+4=",
            "=7",
            "=",
            "",
            "9**9**9**9=1",
            "1" + "+0" * 50 + "=1",
            "(" * 60 + "1" + ")" * 60 + "=1",
        ],
    )
    def test_does_not_hold(self, annotation: str) -> None:
        assert wrong_annotations(f"so <<{annotation}>> it is") == [f"<<{annotation}>>"]

    def test_gives_them_as_written_and_in_order(self) -> None:
        answer = "2*2=<<2*2=5>>5\n1+1=<<1+1=2>>2, 3+3=<<3+3=7>>7\n#### 7"
        assert wrong_annotations(answer) == ["<<2*2=5>>", "<<3+3=7>>"]

    def test_nesting_up_to_the_length_bound_is_computed(self) -> None:
        assert wrong_annotations("<<" + "(" * 48 + "1" + ")" * 48 + "=1>>") == []
        assert wrong_annotations("<<" + "-" * 95 + "1=-1>>") == []

    def test_a_text_without_annotations_has_no_wrong_ones(self) -> None:
        assert wrong_annotations("2*2 = 5, <<2*2=5\n#### 5") == []


@pytest.mark.parametrize("gold", ["5 million", "$5,000,000", "5000000"])
def test_no_planted_number_is_right_in_another_spelling(gold: str) -> None:
    seeds = [
        Example(n, f"train/{n}", Split.TRAIN, Origin.SEED, f"How many? {n}", f"#### {number}")
        for n, number in enumerate((gold, "5 million", "5,000,000", "7"))
    ]
    assert {TASK.wrong_answers(seeds[0], seeds, random.Random(n))[0] for n in range(20)} == {"#### 7"}


def test_changed_words_are_none_that_numbers_stand_in() -> None:
    question = "Ann has 3 red pens and buys 12 more of them in the shop for $4.50 each. How many?"
    changed = TASK.with_changed_words(question, str.upper)
    assert changed == question.replace(" more of them in the shop for ", " MORE OF THEM IN THE SHOP FOR ")
    assert TASK.with_changed_words("How many?", str.upper) == "HOW MANY?"


@pytest.mark.skipif(not GSM8K.exists(), reason="the GSM8K rows in shared/data are not there")
def test_gsm8k_itself() -> None:
    rows = [json.loads(line) for line in GSM8K.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 6000
    wrong = []
    for line, row in enumerate(rows, start=1):
        TASK.validate(DataRow(row["question"], row["answer"], GSM8K.name, line))
        assert TASK.grade(reply(row["answer"]), row["answer"]).outcome is Outcome.CORRECT
        text = TASK.prompts.example(row["question"], row["answer"])
        assert TASK.parse_reply(FAILURE, reply(text)) == NewExample(row["question"].strip(), row["answer"].strip())
        wrong += wrong_annotations(row["answer"])
    # Measured: 2 of about 19,000, both right but with Python's // in them.
    assert wrong == ["<<560//10=56>>", "<<180//3=60>>"]
