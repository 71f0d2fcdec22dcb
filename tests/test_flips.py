"""Right answers that a student lost, and the new examples that they are traced to."""

from __future__ import annotations

from pathlib import Path

import pytest
from compared_runs import add_answering_run
from plans import assert_indexed
from workspaces import Workspace, add_run

from llm2llm_local.errors import StoreError
from llm2llm_local.records import Split
from llm2llm_local.report.flips import IterationFlips, LostAnswer, Suspect, flip_lines, flips_of
from llm2llm_local.store.reader import open_reader
from llm2llm_local.store.writer import Store

ROWS = {
    Split.TRAIN: [("the kettle is cold", "kitchen"), ("the tyre is flat", "garage")],
    Split.DEV: [("the door creaks", "hall")],
    Split.TEST: [
        ("the lamp in the hall is dark", "hall"),
        ("oil under the car", "garage"),
        ("a chair wobbles", "hall"),
    ],
}
NEW = [
    ("the lamp over the stove is dark", "kitchen"),
    ("the lamp in the hall is dark again", "hall"),
    ("a pan is burnt", "kitchen"),
    ("the sink drips", "kitchen"),
    ("flour on the floor", "kitchen"),
]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    first = {"a chair wobbles": "garage", "the kettle is cold": "hall"}
    second = {"the lamp in the hall is dark": "kitchen", "oil under the car": "attic", "the door creaks": "kitchen"}
    with Store(tmp_path) as store:
        add_run(store)
        add_answering_run(store, ROWS, [first, second, second], [NEW, [("the tap drips", "kitchen")]])
    return tmp_path


def flips(workspace: Path, run_id: int, iteration: int | None = None) -> tuple[IterationFlips, ...]:
    with open_reader(workspace) as connection:
        return flips_of(connection, run_id, iteration)


def test_what_was_lost_and_gained_is_counted_by_split(workspace: Path) -> None:
    first, second = flips(workspace, 2)
    assert (first.iteration, first.n_new) == (1, 5)
    assert first.lost == {Split.TRAIN: 0, Split.DEV: 1, Split.TEST: 2}
    assert first.gained == {Split.TRAIN: 1, Split.DEV: 0, Split.TEST: 1}
    assert (second.iteration, second.n_new, second.answers) == (2, 1, ())
    assert sum(second.lost.values()) == sum(second.gained.values()) == 0


def test_a_lost_answer_is_traced_to_new_examples_with_the_wrong_answer_the_most_alike_first(workspace: Path) -> None:
    (found,) = flips(workspace, 2, 1)
    lamp, oil, door = found.answers
    assert (lamp.split, lamp.question) == (Split.TEST, "the lamp in the hall is dark")
    assert (lamp.answer, lamp.predicted_answer) == ("hall", "kitchen")
    by_overlap = ["the lamp over the stove is dark", "the sink drips", "a pan is burnt"]
    assert [one.question for one in lamp.suspects] == by_overlap
    # 4 words in common: the, lamp, is, dark; 6 and 6 different words.
    assert lamp.suspects[0].overlap == pytest.approx(2 * 4 / (6 + 6))
    assert oil.suspects == ()  # nothing new says "attic"
    assert (door.split, door.suspects[0].question) == (Split.DEV, "the sink drips")


def test_what_a_person_took_out_is_counted_beside_what_came(workspace: Path) -> None:
    with Store(workspace) as store:
        (out,) = store.execute("SELECT id FROM examples WHERE run_id = 2 AND question = 'the sink drips'").fetchone()
        store.execute("DELETE FROM training_set_examples WHERE example_id = ? AND iteration = 2", [out])
    assert [one.n_out for one in flips(workspace, 2)] == [0, 1]
    lines = flip_lines(flips(workspace, 2))
    assert sum("iteration 2, 1 new example, 1 taken out: " in line for line in lines) == 1


def test_a_number_is_traced_to_the_rationales_that_come_to_it(tmp_path: Path) -> None:
    rows = {Split.TRAIN: [("2 + 2", "2 + 2 = 4\n#### 4")], Split.TEST: [("3 + 3", "3 + 3 = 6\n#### 6")]}
    new = [("1 + 4", "1 + 4 = <<1+4=5>>5\n#### 5"), ("4 + 2", "#### 6")]
    with Store(tmp_path) as store:
        add_answering_run(store, rows, [{}, {"3 + 3": "5"}], [new])
        store.execute("UPDATE runs SET config = json_set(config, '$.\"task.family\"', 'math')")
    ((found,),) = [one.answers for one in flips(tmp_path, 1)]
    assert [one.question for one in found.suspects] == ["1 + 4"]


@pytest.mark.parametrize(
    ("family", "questions"),
    [
        ("classification", ["a pan"]),
        ("text", ["a pan", "sinks", "a kettle"]),  # those with the wrong answer, then by their words
        ("multiple_choice", ["a kettle", "a red kettle of tin", "a pan"]),
    ],
)
def test_where_answers_are_no_labels_the_most_similar_new_examples_are_shown(
    tmp_path: Path, family: str, questions: list[str]
) -> None:
    rows = {Split.TRAIN: [("a spoon", "B")], Split.TEST: [("a red kettle", "A")]}
    new = [("a kettle", "A"), ("a pan", "C"), ("a red kettle of tin", "B"), ("nothing alike", "B"), ("sinks", "C")]
    with Store(tmp_path) as store:
        add_answering_run(store, rows, [{}, {"a red kettle": "C"}], [new])
        store.execute("UPDATE runs SET config = json_set(config, '$.\"task.family\"', ?)", [family])
    ((found,),) = [one.answers for one in flips(tmp_path, 1)]
    assert [one.question for one in found.suspects] == questions


def test_examples_that_the_teacher_made_are_not_rows_of_the_person(workspace: Path) -> None:
    """With loop.augment_from = "all" the student is asked about them too."""
    with Store(workspace) as store:
        run = store.of_run(2)
        made = run.augmented(before_iteration=1)[0]
        for iteration, is_correct in ((1, 1), (2, 0)):
            with store.transaction():
                store.execute(
                    "INSERT INTO predictions (run_id, iteration, example_id, split, output_text, outcome, is_correct, "
                    "finish_reason, input_tokens, output_tokens, created_at) "
                    "VALUES (2, ?, ?, 'train', '', 'wrong', ?, 'stop', 1, 1, '')",
                    [iteration, made.id, is_correct],
                )
    assert flips(workspace, 2, 2)[0].lost[Split.TRAIN] == 0


def test_an_unreadable_answer_has_nothing_to_be_traced_to(workspace: Path) -> None:
    with Store(workspace) as store, store.transaction():
        store.execute("UPDATE predictions SET predicted_answer = NULL WHERE run_id = 2 AND iteration = 1")
    assert [one.suspects for one in flips(workspace, 2, 1)[0].answers] == [(), (), ()]


@pytest.mark.parametrize(
    ("run_id", "iteration", "message"),
    [
        (1, None, "two students must be graded"),
        (2, 0, "iteration 0 and the one before it must be graded"),
        (2, 9, "Graded are: 0, 1, 2"),
    ],
)
def test_where_there_is_nothing_to_compare_it_says_so(
    workspace: Path, run_id: int, iteration: int | None, message: str
) -> None:
    with pytest.raises(StoreError) as caught:
        flips(workspace, run_id, iteration)
    assert message in str(caught.value)


def test_every_query_goes_by_an_index(workspace: Path) -> None:
    with open_reader(workspace) as connection:
        assert_indexed(connection, lambda: flips_of(connection, 2, None))


# --- as it is printed -----------------------------------------------------------------------------------------------


def test_failures_flips_prints_each_lost_answer_and_where_it_may_be_from(workspace: Path) -> None:
    ending = Workspace(workspace).llm2llm("failures", "2", "--flips")
    assert ending.code == 0
    lines = ending.out.splitlines()
    assert lines[0] == (
        "iteration 1, 5 new examples: test lost 2 and gained 1, dev lost 1 and gained 0, seeds lost 0 and gained 1"
    )
    assert lines[1].split(maxsplit=1)[1] == "test   hall → kitchen  the lamp in the hall is dark"
    assert "67% alike: new example" in lines[2] and lines[2].endswith(": the lamp over the stove is dark")
    assert lines[-1].startswith("iteration 2, 1 new example: test lost 0 and gained 0")


def test_failures_flips_prints_json(workspace: Path) -> None:
    (found,) = Workspace(workspace).llm2llm("failures", "2", "--flips", "--iteration", "1", "--json").json()
    assert (found["iteration"], found["n_new"], found["lost"]) == (1, 5, {"train": 0, "dev": 1, "test": 2})
    assert found["answers"][0]["suspects"][0]["question"] == "the lamp over the stove is dark"


def test_failures_without_flips_are_as_before(workspace: Path) -> None:
    assert Workspace(workspace).llm2llm("failures", "2", "--iteration", "0").out.startswith("iteration 0: 1 failure (")


def test_of_many_lost_answers_the_first_are_shown_and_the_others_counted() -> None:
    hostile = "[red]x[/red]\x1b[31m"
    answer = LostAnswer(Split.TEST, 1, hostile, "a", None, (Suspect(2, hostile, 0.5),))
    none = dict.fromkeys(Split, 0)
    lines = flip_lines([IterationFlips(1, 3, 0, {**none, Split.TEST: 1234}, none, (answer,) * 1234)])
    assert lines[1:3] == [
        "     1  test   a → nothing readable  [red]x[/red]\\x1b[31m",
        "                50% alike: new example 2: [red]x[/red]\\x1b[31m",
    ]
    assert lines[-1].strip() == "… and 1,214 more, which --json has"
    assert len(lines) == 1 + 2 * 20 + 1


def test_a_user_mistake_is_no_traceback(workspace: Path) -> None:
    ending = Workspace(workspace).llm2llm("failures", "1", "--flips")
    assert ending.code == 2
    assert "two students must be graded" in ending.err and "Traceback" not in ending.err
