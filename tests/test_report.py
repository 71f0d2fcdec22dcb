"""What people are shown: text made safe, figures, tables and status lines."""

from __future__ import annotations

import csv
import io
import json
import math
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from workspaces import add_run, fill

from llm2llm_local.errors import StoreError
from llm2llm_local.headless import HeadlessWatcher, headless_watcher, line_watcher
from llm2llm_local.records import Status
from llm2llm_local.report.failures import FailureRecord, failure_lines, failures_of
from llm2llm_local.report.lineage import lineage_lines, lineage_of
from llm2llm_local.report.models import model_lines
from llm2llm_local.report.plain import conclusion, plain, shortened, shortened_apart
from llm2llm_local.report.query import csv_text, json_text, table_text
from llm2llm_local.report.status import RunStatus, run_statuses, status_lines
from llm2llm_local.report.summary import IterationSummary, Rejection, RunSummary, summarize
from llm2llm_local.report.tables import print_summary
from llm2llm_local.store.lock import RunLock
from llm2llm_local.store.reader import QueryResult, open_reader
from llm2llm_local.store.writer import Store
from llm2llm_local.wilson import wilson

HOSTILE = "[red]x[/red] \x1b[31mred\x1b[0m \x9b1m \u202etxet \x07[/]"
"""Rich's markup, a terminal's codes in 7 and 8 bits, reversed text and the bell."""

SHOWN = "[red]x[/red] \\x1b[31mred\\x1b[0m \\x9b1m \\u202etxet \\x07[/]"


# --- text -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("as it is", "as it is"),
        ("", ""),
        ("  two\t words\r\n on\n\nlines ", "two words on lines"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("a\x00b\x08c\x7fd\x9be", "a\\x00b\\x08c\\x7fd\\x9be"),
        ("\ud800", "\\ud800"),
        ("\ue000", "\\ue000"),
        ("日本語 ｆｕｌｌ 🎉 é e\u0301", "日本語 ｆｕｌｌ 🎉 é e\u0301"),
        ("עברית العربية", "עברית العربية"),
        ("[bold]markup[/bold] \\x1b", "[bold]markup[/bold] \\x1b"),
        (HOSTILE, SHOWN),
    ],
)
def test_text_is_shown_on_one_line_without_control_characters(text: str, shown: str) -> None:
    assert plain(text) == shown


# Bidi_Control in Unicode's PropList.txt.
@pytest.mark.parametrize("code", [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])
def test_what_turns_the_direction_of_text_is_made_visible(code: int) -> None:
    assert plain(f"a{chr(code)}b") == f"a\\u{code:04x}b"


@pytest.mark.parametrize("code", [0x00AD, 0x200B, 0x2060, 0xFEFF, 0xE0041])
def test_what_takes_no_room_can_not_hide(code: int) -> None:
    """Soft hyphen, zero width space, word joiner, byte-order mark, a tag: two texts that look alike would differ."""
    assert plain(f"a{chr(code)}b") != f"a{chr(code)}b"


@settings(deadline=None)
@given(st.text())
def test_no_text_can_steer_a_terminal(text: str) -> None:
    shown = plain(text)
    assert {unicodedata.category(character) for character in shown} & {"Cc", "Cs", "Zl", "Zp"} == set()
    assert plain(shown) == shown


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("place", "place"),
        ("48 / 2 = <<48/2=24>>24 clips in May.\n48 + 24 = 72.\n#### 72", "#### 72"),
        ("#### 72\n\n", "#### 72"),
        (" \n", ""),
        ("", ""),
    ],
)
def test_where_there_is_one_line_an_answer_is_what_its_reasoning_comes_to(answer: str, words: str) -> None:
    assert conclusion(answer) == words


def test_what_differs_late_is_told_apart() -> None:
    begins = "Messages from tenants to the office"
    texts = [f"{begins}.", f"{begins}, sorted by queue", "short"]
    assert shortened_apart(texts, 12) == ["…fice.", "…fice, sort…", "short"]
    assert shortened_apart(["same and long enough"] * 2, 8) == ["same an…"] * 2
    assert shortened_apart(["a long text", "another one"], 8) == [shortened("a long text", 8), "another…"]


def test_shortened_text_is_at_most_as_wide_and_says_that_it_was_cut() -> None:
    assert shortened("exactly", 7) == "exactly"
    assert shortened("too long", 7) == "too lo…"
    assert shortened("\x1b" * 5, 6) == "\\x1b\\…"


# --- figures --------------------------------------------------------------------------------------------------------


# Newcombe 1998, Statistics in Medicine 17:857-872, table I, method 3 (the score method of Wilson 1927).
@pytest.mark.parametrize(
    ("n_correct", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_wilsons(n_correct: int, n: int, low: float, high: float) -> None:
    accuracy = wilson(n_correct, n)
    assert (accuracy.n, accuracy.n_correct, accuracy.share) == (n, n_correct, n_correct / n)
    assert (accuracy.low, accuracy.high) == pytest.approx((low, high), abs=5e-5)


@settings(deadline=None)
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_share_and_is_symmetric_in_right_and_wrong(counts: tuple[int, int]) -> None:
    n_correct, n = counts
    right, wrong = wilson(n_correct, n), wilson(n - n_correct, n)
    assert 0 <= right.low <= right.share + 1e-12
    assert right.share - 1e-12 <= right.high <= 1
    assert (right.low, right.high) == pytest.approx((1 - wrong.high, 1 - wrong.low))


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A second run holds the same, so that figures that mix runs would be twice too large."""
    with Store(tmp_path) as store:
        for run in (add_run(store, status=Status.DONE, status_detail="finished"), add_run(store)):
            fill(run)
            for iteration in (0, 1):
                run.open_iteration(iteration)
                for name, seconds in (("train", 2.0), ("grade", 0.0)):
                    stage = run.open_stage(iteration, name, 0, "", {}, units=1)
                    with run.transaction():
                        run.mark_unit_done(stage, seconds)
                    run.close_stage(stage)
    return tmp_path


def test_a_summary_has_the_figures_of_each_iteration(filled: Path) -> None:
    with open_reader(filled) as connection:
        summary = summarize(connection, 1)
    assert (summary.status, summary.teacher, summary.student) == ("done", "tiny F32", "tiny nf4")
    none, seconds = {"train": 0, "test": 0}, {"train": 2.0, "grade": 0.0}
    before, after = {"train": wilson(1, 3), "test": wilson(2, 2)}, {"train": wilson(2, 3), "test": wilson(1, 2)}
    assert summary.iterations == (
        IterationSummary(
            0, 3, 2, 5, 1, 3, True, before, none, {"train": 1, "test": 0}, seconds, in_doubt=1, asked_about=2
        ),
        IterationSummary(1, 4, 1, 0, 0, 0, True, after, none, none, seconds, in_doubt=0),
    )
    assert summary.rejections == (
        Rejection("format", "empty reply", 2, "?"),
        Rejection("duplicate", "too similar", 1, "seed 3"),
        Rejection("format", "two readings", 1, "unsure", "doubt"),
    )


def test_test_answers_that_were_cut_off_or_unreadable_are_counted(filled: Path) -> None:
    with Store(filled) as store, store.transaction():
        for iteration, outcome in ((0, "truncated"), (1, "unparsed")):
            store.execute(
                "UPDATE predictions SET outcome = ? WHERE run_id = 1 AND iteration = ? AND split = 'test'",
                [outcome, iteration],
            )
    with open_reader(filled) as connection:
        summary = summarize(connection, 1)
    truncated, unparsed = zip(*((row.truncated, row.unparsed) for row in summary.iterations), strict=True)
    assert [counts and counts["test"] for counts in truncated] == [2, 0]
    assert [counts and counts["test"] for counts in unparsed] == [0, 2]
    text = printed(summary)
    assert "iteration 0: of the test answers 2 were cut off at student.max_new_tokens and 0 held no answer" in text
    assert "iteration 1: of the test answers 0 were cut off at student.max_new_tokens and 2 held no answer" in text


def test_a_summary_of_a_run_that_has_only_begun_is_empty(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_run(store)
    with open_reader(tmp_path) as connection:
        summary = summarize(connection, 1)
    assert (summary.iterations, summary.rejections) == ((), ())
    assert "run 1: running" in printed(summary)


# --- tables ---------------------------------------------------------------------------------------------------------


def printed(summary: RunSummary) -> str:
    console = Console(file=io.StringIO(), width=160, force_terminal=False, highlight=False)
    print_summary(summary, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_shows_a_row_an_iteration_and_what_came_of_it(filled: Path) -> None:
    with open_reader(filled) as connection:
        lines = [line.split() for line in printed(summarize(connection, 1)).splitlines()]
    assert ["0", "3", "2", "5", "1", "1", "33.3%", "–", "100.0%", "(34.2%–100.0%)"] in lines
    assert ["1", "4", "1", "0", "0", "0", "66.7%", "–", "50.0%", "(9.5%–90.5%)"] in lines
    seconds = lines.index(["iter", "train", "s"])
    assert lines[seconds + 1 : seconds + 3] == [["0", "2.0"], ["1", "2.0"]]
    assert ["2", "format", "empty", "reply", "?"] in lines
    note = "test accuracy: seeds only 100.0%, after 1 round 50.0% (-50.0 points)"
    assert note.split() in lines


def test_markup_and_codes_in_data_are_printed_literally() -> None:
    row = IterationSummary(0, 3, 2, 2, 0, 2, True, {}, {}, {}, {})
    summary = RunSummary(
        1,
        "done",
        HOSTILE,
        f"teacher {HOSTILE}",
        f"student {HOSTILE}",
        (row,),
        (Rejection("leak", HOSTILE, 2, HOSTILE),),
    )
    text = printed(summary)
    assert not any(unicodedata.category(character) == "Cc" for character in text.replace("\n", ""))
    joined = " ".join(text.split())
    assert joined.count("[red]x[/red]") == 5
    assert joined.count("\\x1b[31mred") == 5


# --- listings -------------------------------------------------------------------------------------------------------


def test_failures_are_listed_with_what_was_predicted(filled: Path) -> None:
    with open_reader(filled) as connection:
        newest, first = failures_of(connection, 1, None), failures_of(connection, 1, 0)
    assert [(row["iteration"], row["question"], row["times_wrong"]) for row in newest] == [(1, "seed 2", 1)]
    assert [(row["iteration"], row["question"], row["predicted_answer"]) for row in first] == [
        (0, "seed 1", "wrong"),
        (0, "seed 3", None),
    ]
    lines = failure_lines(first)
    assert lines[0].startswith("iteration 0: 2 failures")
    assert lines[1].split() == ["1", "answer", "1", "→", "wrong", "25%", "seed", "1"]
    assert lines[2].split() == ["3", "answer", "3", "→", "nothing", "readable", "25%", "seed", "3"]


def test_a_student_that_has_not_answered_is_not_taken_for_a_perfect_one(filled: Path) -> None:
    with Store(filled) as store:
        asked_nothing = add_run(store).run_id
    with open_reader(filled) as connection, pytest.raises(StoreError, match="iteration 7"):
        failures_of(connection, 1, 7)
    with open_reader(filled) as connection, pytest.raises(StoreError, match=f"run {asked_nothing}"):
        failures_of(connection, asked_nothing, None)


@pytest.mark.parametrize(("status", "wait"), [(Status.DONE, ""), (Status.RUNNING, ", or wait: llm2llm status 1")])
def test_nobody_is_told_to_wait_for_a_run_that_is_done(filled: Path, status: Status, wait: str) -> None:
    with Store(filled) as store, store.transaction():
        store.of_run(1).set_status(status)
    with open_reader(filled) as connection, pytest.raises(StoreError) as caught:
        failures_of(connection, 1, 7)
    assert caught.value.remedy == f"Choose a graded one (0, 1){wait}"


def test_a_listing_can_not_steer_the_terminal() -> None:
    record = FailureRecord(
        iteration=0,
        example_id=1,
        question=HOSTILE,
        answer=HOSTILE,
        predicted_answer=HOSTILE,
        confidence=None,
        times_wrong=1,
    )
    bad_model = {"path": f"/models/{HOSTILE}", "error": HOSTILE}
    for line in (*failure_lines([record]), *model_lines([bad_model]), table_text(result(HOSTILE))):
        assert_harmless(line)


def assert_harmless(text: str) -> None:
    assert {c for c in text if unicodedata.category(c) == "Cc"} <= {"\n"}, repr(text)
    assert "\u202e" not in text


def result(value: Any) -> QueryResult:
    return QueryResult(("name", "value"), [("row", value)])


def test_lineage_can_not_steer_the_terminal(filled: Path) -> None:
    with Store(filled) as store, store.transaction():
        store.execute("UPDATE examples SET question = ?, answer = ?, source = 'a' || ?", [HOSTILE] * 3)
        store.execute("UPDATE teacher_calls SET prompt = ?, output_text = ?", [json.dumps(HOSTILE), HOSTILE])
        store.execute("UPDATE predictions SET predicted_answer = ?", [HOSTILE])
        store.execute("UPDATE verdicts SET reason = ?", [HOSTILE])
        store.execute("UPDATE models SET name = ?", [HOSTILE])
    with open_reader(filled) as connection:
        example = connection.execute("SELECT example_id FROM lineage WHERE run_id = 1").fetchone()[0]
        lines = list(lineage_lines(lineage_of(connection, example)))
    assert len(lines) > 15
    for line in lines:
        assert_harmless(line)
        assert "\n" not in line


@pytest.mark.parametrize(("score", "is_told"), [(0.75, True), (None, False)])
def test_lineage_has_the_probability_where_there_is_one(filled: Path, score: float | None, is_told: bool) -> None:
    with Store(filled) as store, store.transaction():
        store.execute("UPDATE verdicts SET check_name = 'verify', score = ? WHERE check_name = 'duplicate'", [score])
    with open_reader(filled) as connection:
        example = connection.execute("SELECT example_id FROM lineage WHERE run_id = 1").fetchone()[0]
        lines = list(lineage_lines(lineage_of(connection, example)))
    assert "  check verify: accept" in lines
    assert any("right with probability 0.75, if" in line for line in lines) == is_told


def test_lineage_shows_a_chat_as_its_turns(filled: Path) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "One more\nplease"}]
    with Store(filled) as store, store.transaction():
        store.execute("UPDATE teacher_calls SET prompt = ?", [json.dumps(messages)])
    with open_reader(filled) as connection:
        example = connection.execute("SELECT example_id FROM lineage WHERE run_id = 1").fetchone()[0]
        lines = list(lineage_lines(lineage_of(connection, example)))
    assert [line for line in lines if line.startswith("    |")] == [
        "    | [system] Be brief.",
        "    | [user] One more",
        "    | please",
    ]


def test_a_query_as_a_table_is_aligned_and_cuts_long_cells() -> None:
    table = table_text(QueryResult(("n", "text"), [(5, "a"), (123, "b" * 70), (None, "c\nd")]))
    assert table.splitlines() == ["n    text", "  5  a", "123  " + "b" * 59 + "…", "     c d"]


def test_a_query_as_csv_and_json_is_whole() -> None:
    rows = [(1, 'say "hi",\nplease', None, b"\x00\xff"), (2.5, "b" * 100, "é", b"")]
    whole = QueryResult(("a", "b", "c", "d"), rows)
    read = list(csv.reader(io.StringIO(csv_text(whole))))
    assert read[0] == ["a", "b", "c", "d"]
    assert [row[:3] for row in read[1:]] == [["1", 'say "hi",\nplease', ""], ["2.5", "b" * 100, "é"]]
    assert [row[3] for row in read[1:]] == ["X'00FF'", "X''"]
    parsed = json.loads(json_text(whole))
    assert [list(row.values()) for row in parsed] == [
        [1, 'say "hi",\nplease', None, "X'00FF'"],
        [2.5, "b" * 100, "é", "X''"],
    ]
    assert "X'00FF'" in table_text(whole)


def test_infinite_numbers_are_text_in_json_which_has_no_such_numbers() -> None:
    """`parse_constant` is called for Infinity and NaN, which Python reads and JSON doesn't have."""
    text = json_text(QueryResult(("a", "b", "c"), [(math.inf, -math.inf, 1.5)]))
    assert json.loads(text, parse_constant=pytest.fail) == [{"a": "Infinity", "b": "-Infinity", "c": 1.5}]


def test_columns_of_the_same_name_are_all_in_the_json() -> None:
    joined = QueryResult(("id", "id", "id_2", "id"), [(1, 2, 3, 4)])
    assert json.loads(json_text(joined)) == [{"id": 1, "id_2": 2, "id_2_2": 3, "id_3": 4}]


def test_progress_lines_print_data_literally() -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=False, highlight=False)
    watcher = HeadlessWatcher(console, None)
    watcher.stage(0, "augment", 1, 0, 4)
    watcher.message(f"warning: {HOSTILE}\nsecond line")
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "iteration 0 augment (attempt 2): 4 groups",
        f"warning: {SHOWN}",
        "second line",
    ]


def test_no_time_left_is_told_by_the_first_token_after_a_model_was_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    console = Console(file=io.StringIO(), width=200, force_terminal=False, highlight=False)
    watcher = HeadlessWatcher(console, None)
    watcher.stage(0, "augment", 0, 0, 4)
    for done in (1, 100, 1024):  # tokens of 2,048 in the first of 4 groups
        now += 20
        watcher.within(done, 2048)
    assert isinstance(console.file, io.StringIO)
    assert [line for line in console.file.getvalue().splitlines() if "left" in line] == [
        "iteration 0 augment: 0/4 groups    420 s left"
    ]


def test_a_long_message_is_one_line_of_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is no terminal there is no width to wrap at; people search logs by line."""
    message = "warning: 1 seed repeats an earlier one " + "/a/long/path" * 20
    with headless_watcher() as watcher:
        watcher.message(message)
    assert capsys.readouterr().err == message + "\n"


def test_commands_that_a_message_advises_name_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    advice = "paused; go on with: llm2llm resume 1"
    with line_watcher(tmp_path) as watcher:
        watcher.message(advice)
        monkeypatch.chdir(tmp_path)
        watcher.message(advice)
    assert capsys.readouterr().err == f"paused; go on with: llm2llm -C {tmp_path} resume 1\n{advice}\n"


# --- status ---------------------------------------------------------------------------------------------------------

StateOf = Callable[..., tuple[RunStatus, list[str]]]


@pytest.fixture
def state_of(tmp_path: Path) -> Iterator[StateOf]:
    """Status and lines of a run with this status in the store, with a living process or without."""
    with ExitStack() as locks:

        def make(status: Status, detail: str, *, alive: bool) -> tuple[RunStatus, list[str]]:
            with Store(tmp_path) as store:
                run = add_run(store)
                run.close_stage(run.open_stage(0, "grade", 0, "", {}, units=1))
                stage = run.open_stage(1, "predict", 0, "", {}, units=4)
                with run.transaction():
                    run.set_status(status, detail)
                    run.mark_unit_done(stage, 1.0)
                    run.add_metric(0, "accuracy_test", 0, 0.75)
                    run.add_event("kind", "message")
                    run.add_plan("planned", {}, {}, ["teacher: 1 sequence at once", PLANNED])
            run.folder.mkdir(parents=True)
            lock = RunLock(run.folder, run.run_id)
            locks.callback(lock.release)
            if not alive:
                lock.release()
                locks.pop_all()
            with open_reader(tmp_path) as connection:
                statuses = run_statuses(connection, tmp_path, run.run_id)
            assert len(statuses) == 1
            return statuses[0], status_lines(statuses)

        yield make


PLANNED = "device: cpu, 8.0 GiB free; both stay loaded: together they need about 2.0 GiB"
PLAN = f"    {PLANNED}"
WHERE = "iteration 1 of 2, predict 1/4"
RESUME = "    continue it: llm2llm resume 1"


@pytest.mark.parametrize(
    ("status", "detail", "alive", "state", "where", "more"),
    [
        (Status.RUNNING, "", True, "running", WHERE, [PLAN]),
        (Status.RUNNING, "", False, "interrupted", WHERE, [RESUME]),
        (Status.PENDING, "", True, "starting", WHERE, [PLAN]),
        (Status.PENDING, "paused", True, "paused", WHERE, [PLAN]),
        (Status.PENDING, "stopped by Ctrl-C", False, "stopped", WHERE, [RESUME]),
        (Status.PENDING, "", False, "interrupted", WHERE, [RESUME]),
        (Status.FAILED, "the disk is\nfull", False, "failed", WHERE, ["    the disk is full", RESUME]),
        (Status.DONE, "finished after 2 rounds", False, "done", "", ["    finished after 2 rounds"]),
    ],
)
def test_each_state_is_told_in_its_words(
    state_of: StateOf, status: Status, detail: str, alive: bool, state: str, where: str, more: list[str]
) -> None:
    found, lines = state_of(status, detail, alive=alive)
    assert (found.state, found.iteration, found.iterations, found.stage) == (state, 1, 2, "predict")
    assert (found.done, found.total, found.test_accuracy) == (1, 4, 0.75)
    process = f"process {found.pid}" if alive else ""
    parts = ["run 1", state, where, "test 75.0%", process]
    assert lines[0].startswith("  ".join(part for part in parts if part) + "  ")
    assert lines[0].endswith(" s ago")
    assert lines[1:] == more


def test_a_run_without_a_stage_yet_is_told_without_one(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_run(store, status=Status.PENDING)
    with open_reader(tmp_path) as connection:
        (status,) = run_statuses(connection, tmp_path, None)
    assert (status.stage, status.iteration, status.done, status.total, status.test_accuracy) == (None, None, 0, 0, None)
    assert status.changed_at == status.created_at
    assert status_lines([status])[0].startswith("run 1  interrupted  ")


def test_runs_are_listed_newest_last_or_one_alone(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        for _ in range(3):
            add_run(store)
    with open_reader(tmp_path) as connection:
        assert [status.run_id for status in run_statuses(connection, tmp_path, None)] == [1, 2, 3]
        assert [status.run_id for status in run_statuses(connection, tmp_path, 2)] == [2]


@pytest.mark.parametrize(
    ("age", "shown"),
    [
        (timedelta(seconds=5), "5 s ago"),
        (timedelta(seconds=150), "2 min ago"),
        (timedelta(hours=3, minutes=30), "3 h ago"),
        (timedelta(days=2, hours=1), "2 d ago"),
        (timedelta(seconds=-30), "0 s ago"),  # a clock that was set back
    ],
)
def test_the_age_of_the_last_change_is_told(age: timedelta, shown: str) -> None:
    changed = (datetime.now(UTC) - age - timedelta(seconds=0.2)).isoformat()
    status = RunStatus(1, "done", "", None, None, 2, None, 0, 0, None, None, changed, changed, "")
    assert status_lines([status])[0].endswith(f"  {shown}")


def test_a_status_detail_can_not_steer_the_terminal() -> None:
    now = datetime.now(UTC).isoformat()
    status = RunStatus(1, "failed", HOSTILE, None, None, 2, None, 0, 0, None, None, now, now, HOSTILE)
    assert status_lines([status])[1:3] == [f"    {SHOWN}"] * 2
