"""A summary shows no partial figure as if it were complete, claims no more than it knows, and cuts no number."""

from __future__ import annotations

import dataclasses
import io
import json
import unicodedata
from datetime import UTC, datetime
from pathlib import Path

import pytest
from compared_runs import add_answering_run
from rich.console import Console
from workspaces import add_run, fill

from llm2llm_local.cli.printing import print_report
from llm2llm_local.counted import counted
from llm2llm_local.errors import StoreError
from llm2llm_local.records import Split, Status
from llm2llm_local.report.failures import failures_of
from llm2llm_local.report.labels import label_shifts
from llm2llm_local.report.lineage import lineage_lines, lineage_of
from llm2llm_local.report.models import model_lines
from llm2llm_local.report.query import csv_text, for_terminal, json_text, table_text
from llm2llm_local.report.results import Change, Control, Paired
from llm2llm_local.report.status import RunStatus, status_lines
from llm2llm_local.report.summary import IterationSummary, Rejection, RunSummary, summarize
from llm2llm_local.report.tables import print_summary
from llm2llm_local.store.reader import QueryResult, open_reader
from llm2llm_local.store.run_store import RunStore
from llm2llm_local.store.writer import Store
from llm2llm_local.wilson import Accuracy, wilson

ESCAPE = "\x1b[31m"


def begin(run: RunStore, iteration: int, stage: str) -> None:
    """A stage with one of its two units done."""
    row = run.open_stage(iteration, stage, 0, "", {}, units=2)
    with run.transaction():
        run.mark_unit_done(row, 2.0)


def finish(run: RunStore, iteration: int, stage: str) -> None:
    run.close_stage(run.open_stage(iteration, stage, 0, "", {}, units=2))


@pytest.fixture
def run(store: Store) -> RunStore:
    """Iteration 0 is graded and checked; iteration 1 has answers, not graded yet. Run 1 is another, all graded."""
    other, filled = add_run(store), add_run(store)
    for one in (other, filled):
        fill(one)
        for iteration in (0, 1):
            one.open_iteration(iteration)
    for stage in ("predict", "grade", "augment", "check"):
        finish(filled, 0, stage)
    begin(filled, 1, "predict")
    for iteration in (0, 1):
        finish(other, iteration, "grade")
    return filled


def summary_of(run: RunStore) -> RunSummary:
    with open_reader(run.workspace) as connection:
        return summarize(connection, run.run_id)


def printed(summary: RunSummary, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False, highlight=False)
    print_summary(summary, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


# --- unfinished iterations ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["predict", "grade"])
def test_answers_of_an_iteration_that_is_not_graded_yet_give_no_figures(run: RunStore, stage: str) -> None:
    begin(run, 1, stage)
    summary = summary_of(run)
    graded, row = summary.iterations
    assert (graded.failures, graded.accuracy) == (2, {"train": wilson(1, 3), "test": wilson(2, 2)})
    assert (row.failures, row.accuracy, row.truncated, row.unparsed) == (None, None, None, None)
    assert ["1", "4", "…", "0", "…", "…", "…", "…", "…"] in words(printed(summary))
    shown = json.loads(json.dumps(dataclasses.asdict(summary)))["iterations"][1]
    assert (shown["failures"], shown["accuracy"], shown["training_examples"]) == (None, None, 4)
    assert (shown["candidates"], shown["accepted"], shown["rejected"]) == (0, None, None)


def test_an_iteration_has_its_figures_once_it_is_graded(run: RunStore) -> None:
    finish(run, 1, "grade")
    (_, row) = summary_of(run).iterations
    assert (row.failures, row.accuracy) == (1, {"train": wilson(2, 3), "test": wilson(1, 2)})


@pytest.mark.parametrize("waiting", ["augment", "check", "candidate"])
def test_how_many_were_accepted_is_not_told_before_all_are_checked(run: RunStore, store: Store, waiting: str) -> None:
    assert ["0", "3", "2", "5", "1"] in [line[:5] for line in words(printed(summary_of(run)))]
    with store.transaction():
        if waiting == "candidate":
            store.execute("UPDATE candidates SET verdict = 'pending' WHERE id = (SELECT max(id) FROM candidates)")
        store.execute("UPDATE stages SET status = 'running' WHERE iteration = 0 AND stage = ?", [waiting])
    (row, _) = summary_of(run).iterations
    assert (row.candidates, row.accepted, row.rejected) == (5, None, None)
    assert ["0", "3", "2", "5", "…"] in [line[:5] for line in words(printed(summary_of(run)))]


def test_no_gain_is_told_before_the_second_student_is_graded(run: RunStore) -> None:
    assert "test accuracy" not in printed(summary_of(run))
    finish(run, 1, "grade")
    assert "test accuracy: seeds only 100.0%, after 1 round 50.0%" in printed(summary_of(run))


def test_the_command_of_the_control_fits_the_folder_that_it_is_typed_in(
    run: RunStore, store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(run, 1, "grade")
    with store.transaction():
        run.set_status(Status.DONE)
    monkeypatch.setenv("COLUMNS", "80")
    print_report(run.workspace, run.run_id, as_json=False)
    control = f"fork {run.run_id} --set loop.recipe=fine_tune_matched --set loop.match_run={run.run_id}\n"
    assert f"  llm2llm -C {run.workspace} {control}" in capsys.readouterr().out  # in one line
    monkeypatch.chdir(run.workspace)
    print_report(run.workspace, run.run_id, as_json=False)
    assert f"  llm2llm {control}" in capsys.readouterr().out


def test_failures_are_those_of_the_newest_graded_iteration(run: RunStore) -> None:
    with open_reader(run.workspace) as connection:
        assert {row["iteration"] for row in failures_of(connection, run.run_id, None)} == {0}
        with pytest.raises(StoreError, match=rf"iteration 1 is not graded\.\n.*\(0\).*llm2llm status {run.run_id}"):
            failures_of(connection, run.run_id, 1)
    finish(run, 1, "grade")
    with open_reader(run.workspace) as connection:
        assert {row["iteration"] for row in failures_of(connection, run.run_id, None)} == {1}


def test_without_a_graded_iteration_there_is_no_list_of_failures(store: Store) -> None:
    ungraded = add_run(store)
    fill(ungraded)
    begin(ungraded, 0, "grade")
    with open_reader(store.workspace) as connection, pytest.raises(StoreError, match="no graded iteration"):
        failures_of(connection, ungraded.run_id, None)


def test_times_wrong_looks_back_only(run: RunStore, store: Store) -> None:
    with store.transaction():
        store.execute("UPDATE predictions SET is_correct = 0 WHERE split = 'train'")
    finish(run, 1, "grade")
    with open_reader(run.workspace) as connection:
        first, second = (failures_of(connection, run.run_id, iteration) for iteration in (0, 1))
    assert [row["times_wrong"] for row in first] == [1, 1, 1]
    assert [row["times_wrong"] for row in second] == [2, 2, 2, 1]  # the augmented example was asked once


def test_a_grade_stage_of_another_run_does_not_count(store: Store) -> None:
    runs = [add_run(store) for _ in range(3)]
    for one in runs:
        fill(one)
        one.open_iteration(0)
    for one in (runs[0], runs[2]):
        finish(one, 0, "grade")
    assert [summary_of(one).iterations[0].failures for one in runs] == [2, None, 2]


@pytest.mark.parametrize(
    ("unfinished", "candidates", "told"),
    [
        (None, "reject", True),
        (None, "pending", False),
        ("augment", "reject", False),
        ("check", "reject", False),
    ],
)
def test_that_no_candidate_was_accepted_is_told_when_all_are_decided(
    run: RunStore, store: Store, unfinished: str | None, candidates: str, told: bool
) -> None:
    with store.transaction():
        store.execute("UPDATE candidates SET verdict = 'reject'")
        store.execute("UPDATE candidates SET verdict = ? WHERE id = (SELECT max(id) FROM candidates)", [candidates])
        store.execute("UPDATE stages SET status = 'running' WHERE iteration = 0 AND stage = ?", [unfinished])
    text = printed(summary_of(run))
    assert ("none of the teacher's 5 candidates was accepted" in text) is told


# --- answers without an answer --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("split", "name", "n"), [("train", "seed", 3), ("dev", "dev", 2), ("test", "test", 2)])
def test_unreadable_answers_are_counted_in_their_split(
    run: RunStore, store: Store, split: str, name: str, n: int
) -> None:
    finish(run, 1, "grade")
    with store.transaction():
        store.execute("UPDATE predictions SET outcome = 'wrong'")
        if split == "dev":
            store.execute("UPDATE predictions SET split = 'dev' WHERE split = 'test'")
        store.execute("UPDATE predictions SET outcome = 'truncated' WHERE split = ? AND iteration = 0", [split])
        # In iteration 1 an augmented example was asked, too; it doesn't count.
        store.execute("UPDATE predictions SET outcome = 'unparsed' WHERE split = ? AND iteration = 1", [split])
    summary = summary_of(run)
    first, second = summary.iterations
    assert first.truncated is not None and second.unparsed is not None
    assert {key: count for key, count in first.truncated.items() if count} == {split: n}
    assert {key: count for key, count in second.unparsed.items() if count} == {split: n}
    notes = [line for line in printed(summary).splitlines() if line.startswith("iteration ")]
    assert [note.split(";")[0] for note in notes] == [
        f"iteration 0: of the {name} answers {n} were cut off at student.max_new_tokens and 0 held no answer",
        f"iteration 1: of the {name} answers 0 were cut off at student.max_new_tokens and {n} held no answer",
    ]


# --- what a gain may mean -------------------------------------------------------------------------------------------

CHANCE = "this may be chance"
UNCHANGED = "the training set hasn't grown: the difference is another random start, or what a person exchanged"
MORE_STEPS = "more examples also mean more optimizer steps"


def row_of(iteration: int, training: int, test: Accuracy | None, **values: object) -> IterationSummary:
    row = IterationSummary(iteration, training, 0, 0, 0, 0, True, {"test": test} if test else None, {}, {}, {})
    return dataclasses.replace(row, **values)  # type: ignore[arg-type]


def run_of(*rows: IterationSummary, rejections: tuple[Rejection, ...] = (), change: Change | None = None) -> RunSummary:
    graded = [row.iteration for row in rows if row.accuracy is not None]
    chosen = graded[-1] if graded else None
    return RunSummary(1, "done", "", "teacher", "student", rows, rejections, chosen_iteration=chosen, change=change)


@pytest.mark.parametrize(
    ("training", "gained", "lost", "expected"),
    [
        (10, 25, 20, {CHANCE, UNCHANGED}),
        (12, 15, 20, {CHANCE, MORE_STEPS}),
        (12, 6, 0, {MORE_STEPS}),
        (12, 0, 40, {MORE_STEPS}),
        (10, 40, 0, {UNCHANGED}),
    ],
)
def test_a_gain_comes_with_what_else_may_explain_it(training: int, gained: int, lost: int, expected: set[str]) -> None:
    before, after = wilson(50, 100), wilson(50 + gained - lost, 100)
    rows = row_of(0, 10, before), row_of(1, 11, None), row_of(2, training, after)
    text = printed(run_of(*rows, change=Change(2, before, after, gained, lost)))
    assert f"after 2 rounds {after.share:.1%} ({gained - lost:+.1f} points)" in text
    assert f"{counted(gained, 'row')} gained and {lost} lost" in text
    assert {note for note in (CHANCE, UNCHANGED, MORE_STEPS) if note in text} == expected
    control = "llm2llm fork 1 --set loop.recipe=fine_tune_matched --set loop.match_run=1"
    assert (control in text) == (MORE_STEPS in expected)


def test_a_control_that_was_run_stands_in_place_of_its_command() -> None:
    before, after = wilson(50, 100), wilson(60, 100)
    run = run_of(row_of(0, 10, before), row_of(1, 20, after), change=Change(1, before, after, 20, 10))
    control = Control(3, wilson(48, 100), Paired(3, 100, 100, 100, 30, 18, 0.111))
    text = printed(dataclasses.replace(run, control=control))
    assert "the seeds alone, in as many steps (run 3): 48.0%, so this run is +12.0 points beside it" in text
    assert "30 rows gained and 18 lost: this may be chance (McNemar's exact p = 0.111)" in text
    assert "llm2llm fork" not in text


def test_new_examples_that_shift_the_labels_are_told_of(tmp_path: Path) -> None:
    seeds = [(f"seed {n}", "abc"[n % 3]) for n in range(12)]
    new = [[(f"new {n}", "a") for n in range(5)] + [("another", "b"), ("one more", "b")]]
    with Store(tmp_path) as store:
        run = add_answering_run(store, {Split.TRAIN: seeds, Split.TEST: [("test", "a")]}, [{}, {}], new)
        assert run.run_id == 1
    with open_reader(tmp_path) as connection:
        assert label_shifts(connection, 1, 1) == ()  # of a task without labels
    with Store(tmp_path) as store, store.transaction():
        store.execute("UPDATE runs SET labels = ?", [json.dumps(["a", "b", "c"])])
    with open_reader(tmp_path) as connection:
        assert label_shifts(connection, 1, 0) == label_shifts(connection, 1, None) == ()
        summary = summarize(connection, 1)
    shifts = [(one.label, one.of_seeds, one.of_training_set) for one in summary.label_shifts]
    assert shifts == [("c", 4 / 12, 4 / 19), ("a", 4 / 12, 9 / 19)]  # and "b" from 33% to 32%
    text = printed(summary)
    assert "new examples shift the labels: c 21% of the training set (33% of the seeds), a 47% of" in text


def test_a_control_says_what_it_is_beside() -> None:
    text = printed(dataclasses.replace(run_of(row_of(0, 10, wilson(5, 10))), run_id=4, matched_run=2))
    assert "beside the run whose steps it matches: llm2llm compare 4 2" in text


def test_a_students_accuracy_on_seeds_that_it_has_not_seen_is_called_so() -> None:
    rows = row_of(0, 10, wilson(5, 10))
    assert "seeds unseen" in printed(dataclasses.replace(run_of(rows), asks_unseen=True))
    assert "seeds unseen" not in printed(run_of(rows))


def test_students_that_go_on_from_the_one_before_have_more_steps() -> None:
    change = Change(1, wilson(5, 10), wilson(6, 10), 2, 1)
    continued = run_of(row_of(0, 10, wilson(5, 10)), row_of(1, 10, wilson(6, 10)), change=change)
    text = printed(dataclasses.replace(continued, trains_on=True))
    assert "was trained on from the one before it" in text and "the seeds alone, in as many steps:" in text


# --- narrow terminals -----------------------------------------------------------------------------------------------

WIDE = run_of(
    row_of(
        10,
        123456,
        None,
        failures=45678,
        candidates=1234567,
        accepted=98765,
        accuracy={"train": wilson(301, 301), "dev": wilson(202, 202), "test": wilson(4000, 4001)},
        seconds={"train": 1234.5, "predict": 2345.6, "grade": 3456.7, "augment": 4567.8, "check": 5678.9},
    ),
    row_of(11, 3, None, failures=None, accuracy=None),
    rejections=(Rejection("duplicate", "too similar to an example " * 3, 7654321, "sample " * 20),),
)
FIGURES = ("10", "123456", "45678", "1234567", "98765", "100.0%", "(99.9%–100.0%)", "7654321")
SECONDS = ("1234.5", "2345.6", "3456.7", "4567.8", "5678.9")


@pytest.mark.parametrize("width", [160, 80, 60, 50])
def test_no_figure_is_cut(width: int) -> None:
    text = printed(WIDE, width)
    assert max(len(line) for line in text.splitlines()) <= width
    found = text.split()
    assert [figure for figure in (*FIGURES, *SECONDS) if figure not in found] == []
    assert found.count("100.0%") == 3


@pytest.mark.parametrize("width", [30, 10])
def test_a_figure_is_whole_even_where_no_table_fits(width: int) -> None:
    found = printed(WIDE, width).split()
    assert [figure for figure in (*FIGURES, *SECONDS) if figure not in found] == []


def test_eighty_columns_hold_the_main_table_and_seconds_have_their_own() -> None:
    lines = words(printed(WIDE, 80))
    main = ["iter", "training", "failures", "candidates", "accepted", "seeds", "dev", "test", "(95%", "interval)"]
    seconds = ["iter", "train", "s", "predict", "s", "grade", "s", "augment", "s", "check", "s"]
    assert lines[lines.index(main) + 1] == [*FIGURES[:5], "100.0%", "100.0%", *FIGURES[5:7]]
    assert lines[lines.index(seconds) + 1] == ["10", *SECONDS]


def test_every_part_of_a_table_that_was_split_says_the_iteration() -> None:
    lines = words(printed(WIDE, 60))
    headings = [line for line in lines if line[:1] == ["iter"]]
    assert len(headings) == 3
    assert [lines[lines.index(heading) + 1][0] for heading in headings] == ["10", "10", "10"]


def test_a_run_without_seconds_has_one_table() -> None:
    assert printed(run_of(row_of(0, 3, wilson(1, 2)))).count("iter") == 1


# --- nothing steers the terminal ------------------------------------------------------------------------------------


def assert_harmless(text: str) -> None:
    assert {character for character in text if unicodedata.category(character) == "Cc"} <= {"\n"}, repr(text)


def test_csv_and_json_for_a_terminal_keep_their_lines_and_show_control_characters() -> None:
    hostile = QueryResult(("name",), [("a\x1b[2J\x07\tb\nc\r\x9b1m\u202e",), ("é 日本",)])
    shown = for_terminal(csv_text(hostile))
    assert shown == 'name\n"a\\x1b[2J\\x07\\x09b\nc\\x0d\\x9b1m\\u202e"\né 日本\n'
    shown = for_terminal(json_text(hostile))
    assert_harmless(shown)
    assert "\u202e" not in shown
    assert len(shown.splitlines()) == len(json_text(hostile).split("\n")) - 1


def test_ordinary_text_reaches_a_terminal_as_it_is() -> None:
    text = json_text(QueryResult(("a", "b"), [(1, "é  日本 🎉"), (None, 2.5)]))
    assert for_terminal(text) == text


def test_column_names_can_not_steer_the_terminal() -> None:
    table = table_text(QueryResult((f"n{ESCAPE}", "b"), [(1, 2)]))
    assert table.splitlines() == ["n\\x1b[31m  b", "        1  2"]


def test_no_word_of_the_store_can_steer_the_terminal(run: RunStore, store: Store) -> None:
    finish(run, 1, "grade")
    with store.transaction():
        store.execute("UPDATE runs SET status = 'x' || ?, config = json_set(config, '$.quantization', ?)", [ESCAPE] * 2)
        store.execute("UPDATE verdicts SET check_name = check_name || ?, verdict = verdict || ?", [ESCAPE] * 2)
        store.execute("UPDATE verdicts SET verdict = 'reject' WHERE verdict LIKE 'reject%'")
        store.execute("UPDATE examples SET key = key || ?", [ESCAPE])
        store.execute("UPDATE teacher_calls SET sampling = ?", [ESCAPE])
        store.execute("UPDATE models SET sha256 = ?", [ESCAPE])
    text = printed(summary_of(run))
    assert_harmless(text)
    assert "run 2: x\\x1b[31m" in text and "duplicate\\x1b[31m" in text
    with open_reader(run.workspace) as connection:
        example = connection.execute("SELECT max(example_id) FROM lineage").fetchone()[0]
        lines = list(lineage_lines(lineage_of(connection, example)))
    for line in lines:
        assert_harmless(line)
    assert sum("\\x1b[31m" in line for line in lines) == 5  # the example, two checks, the model, the sampling


def test_no_word_of_a_status_can_steer_the_terminal() -> None:
    now = datetime.now(UTC).isoformat()
    status = RunStatus(1, f"failed{ESCAPE}", "", None, 1, 2, f"predict{ESCAPE}", 1, 4, None, None, now, now, "")
    line = status_lines([status])[0]
    assert_harmless(line)
    assert line.startswith("run 1  failed\\x1b[31m  iteration 1 of 2, predict\\x1b[31m 1/4  ")


def test_no_word_of_a_model_file_can_steer_the_terminal() -> None:
    model = {"path": "/m.gguf", "kind": "gguf", "size_bytes": 1, "context_length": 2, "sha256": "0"}
    lines = model_lines([{**model, "architecture": ESCAPE, "quantization": ESCAPE}])
    assert lines[1].startswith("    teacher: \\x1b[31m, \\x1b[31m, 0 MiB")
