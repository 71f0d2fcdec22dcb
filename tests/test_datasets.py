"""Data files: what is read, what is refused and where, what is said about repeats."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm2llm_local.config import DataConfig, SampleConfig
from llm2llm_local.datasets.reader import MAX_LINE_BYTES, load_splits, read_rows
from llm2llm_local.datasets.repeats import describe_repeats
from llm2llm_local.errors import DataError
from llm2llm_local.records import DataRow, Split
from llm2llm_local.spelling import look

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
GOOD = b'{"question": "q1", "answer": "a1"}\n'
MARK = b"\xef\xbb\xbf"

Write = Callable[[str, bytes], Path]


def read(path: Path) -> list[DataRow]:
    return read_rows(path, "question", "answer")


def contents(rows: Sequence[DataRow]) -> list[tuple[str, str]]:
    return [(row.question, row.answer) for row in rows]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write_file


# --- what is read ---


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.jsonl", b'{"question": "q1", "answer": "a1"}\n{"answer": "a2", "question": "q2", "id": [null]}\n'),
        ("d.NDJSON", b'{"question": "q1", "answer": "a1"}\n{"question": "q2", "answer": "a2"}'),
        ("d.csv", b'id,question,answer\n7,q1,a1\n8,"q2","a2"\n'),
        ("d.CSV", b"answer, question ,,\na1,q1,,\na2,q2,x,y"),
        ("d.tsv", b'question\tanswer\nq1\ta1\nq2\t"a2"\n'),
    ],
)
def test_each_format_is_read(write: Write, name: str, content: bytes) -> None:
    assert contents(read(write(name, content))) == [("q1", "a1"), ("q2", "a2")]


@pytest.mark.parametrize(
    ("name", "content"),
    [("d.jsonl", GOOD), ("d.csv", b'"question",answer\nq1,a1\n'), ("d.tsv", b"question\tanswer\nq1\ta1\n")],
)
def test_byte_order_mark_and_crlf_make_no_difference(write: Write, name: str, content: bytes) -> None:
    plain = read(write(name, content))
    windows = read(write(name, MARK + content.replace(b"\n", b"\r\n")))
    assert windows == plain
    assert contents(plain) == [("q1", "a1")]


@pytest.mark.parametrize("text", [' "I love it" ', ' "To be" or "not to be"', 'a "b"'])
def test_quotes_in_a_quoted_field_are_text(write: Write, text: str) -> None:
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([("question", "answer"), (text, "a")])
    assert contents(read(write("d.csv", table.getvalue().encode()))) == [(text.strip(), "a")]


def test_columns_are_the_named_ones(write: Write) -> None:
    path = write("d.csv", b"question,answer,text,label\nno,no,yes,positive\n")
    assert contents(read_rows(path, "text", "label")) == [("yes", "positive")]


def test_rows_know_their_file_and_the_line_they_start_on(write: Write) -> None:
    jsonl = write("d.jsonl", b"\n" + GOOD + b" \t\r\n" + GOOD)
    assert [(row.source, row.line) for row in read(jsonl)] == [(str(jsonl), 2), (str(jsonl), 4)]
    table = write("d.csv", b'question,answer\n"one\ntwo\r\n\nthree",a\n\nq,a\n')
    rows = read(table)
    assert [(row.source, row.line) for row in rows] == [(str(table), 2), (str(table), 7)]
    assert rows[0].question == "one\ntwo\r\n\nthree"


def test_quotes_within_a_field_of_a_table_are_text(write: Write) -> None:
    path = write("d.csv", b'other,question,answer\n "x", a 5" pipe ,"""b"""\n y, "a" and "b" too,b\n')
    assert contents(read(path)) == [('a 5" pipe', '"b"'), ('"a" and "b" too', "b")]


def test_text_is_stripped_and_otherwise_kept(write: Write) -> None:
    decomposed = "cafe\u0301"
    question = f"a\t{decomposed} \u202eab\u202c\u2028 b\r\nc"
    path = write("d.jsonl", json.dumps({"question": f" \n{question}\u00a0", "answer": "\ta "}).encode())
    assert contents(read(path)) == [(question, "a")]


@pytest.mark.parametrize("number", ["7", "-7.10", "1e400", "9" * 5000])
def test_json_numbers_are_answers_as_spelt(write: Write, number: str) -> None:
    rows = read(write("d.jsonl", f'{{"question": "q", "answer": {number}}}'.encode()))
    assert contents(rows) == [("q", number)]
    assert type(rows[0].answer) is str


def test_longest_allowed_line_is_read_in_every_format(write: Write) -> None:
    for name, header, start, end in (
        ("d.jsonl", b"", b'{"answer": "a", "question": "', b'"}\n'),
        ("d.csv", b"answer,question\n", b"a,", b"\n"),
    ):
        text = b"x" * (MAX_LINE_BYTES - len(start + end))
        assert read(write(name, header + start + text + end))[0].question == text.decode()
        with pytest.raises(DataError, match="longer than"):
            read(write(name, header + start + text + b"x" + end))


def test_csv_limit_of_other_code_is_left_as_it_was(write: Write) -> None:
    before = csv.field_size_limit()
    assert before != MAX_LINE_BYTES
    read(write("d.csv", b"question,answer\nq,a\n"))
    with pytest.raises(DataError):
        read(write("d.csv", b"question,answer\nq\n"))
    assert csv.field_size_limit() == before


text_values = (
    st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufeff") | st.sampled_from("\t\n\r,\"'"))
    .map(str.strip)
    .filter(look)
)
row_lists = st.lists(st.tuples(text_values, text_values), min_size=1, max_size=5)


@settings(deadline=None)  # a slow disk is no failure
@given(rows=row_lists, ascii_only=st.booleans())
def test_what_json_dumps_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], ascii_only: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.jsonl"
    lines = [json.dumps({"question": q, "answer": a}, ensure_ascii=ascii_only) for q, a in rows]
    path.write_bytes("\n".join(lines).encode())
    assert contents(read(path)) == rows


@pytest.mark.parametrize(("suffix", "dialect"), [(".csv", "excel"), (".csv", "unix"), (".tsv", "excel-tab")])
@settings(deadline=None)  # a slow disk is no failure
@given(rows=row_lists)
def test_what_csv_writer_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], suffix: str, dialect: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"written{suffix}"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, dialect).writerows([("question", "answer"), *rows])
    assert contents(read(path)) == rows


@pytest.mark.parametrize("name", ["gsm8k", "snips", "trec", "sst2", "casehold"])
def test_public_data_sets_are_read(name: str) -> None:
    path = SHARED_DATA / name / "train.jsonl"
    if not path.exists():
        pytest.skip(f"the data set {name} is not on this machine")
    assert len(read(path)) == len(path.read_bytes().splitlines())


# --- what is refused ---


def row_of(question: str = '"q"', answer: str = '"a"') -> bytes:
    return f'{{"question": {question}, "answer": {answer}}}\n'.encode()


@pytest.mark.parametrize(
    ("name", "content", "place", "problem"),
    [
        # the file
        ("d.jsonl", b"", "", "has no rows"),
        ("d.jsonl", b"\n \r\n", "", "has no rows"),
        ("d.csv", b"", "", "has no rows"),
        ("d.csv", b"question,answer\n\n", "", "has no rows"),
        ("d.json", GOOD, "", "the ending '.json' is not supported"),
        ("data", GOOD, "", "a name without an ending is not supported"),
        # lines
        ("d.jsonl", GOOD + b'{"question": "caf\xe9"}\n', ":2", "not valid UTF-8 at byte 18 of the line"),
        ("d.jsonl", MARK + b"\xff\n", ":1", "not valid UTF-8 at byte 4 of the line"),
        ("d.csv", b'question,answer\n"q\n\xff",a\n', ":3", "not valid UTF-8 at byte 1 of the line"),
        *(
            (name, (mark + text).encode(encoding), "", "is UTF-16, not UTF-8")
            for name, text in (("d.jsonl", GOOD.decode()), ("d.tsv", "question\tanswer\r\nq\ta\r\n"))
            for encoding in ("utf-16-le", "utf-16-be")
            for mark in ("", "\ufeff")
        ),
        *(
            ("d.jsonl", (mark + GOOD.decode()).encode(encoding), "", "is UTF-32, not UTF-8")
            for encoding in ("utf-32-le", "utf-32-be")
            for mark in ("", "\ufeff")
        ),
        ("d.csv", b"PK\x03\x04\x14\0\6\0", "", "is an Excel or zip file, not text"),
        ("d.csv", b"\xd0\xcf\x11\xe0\xa1\xb1", "", "is an Excel or zip file, not text"),
        ("d.jsonl", GOOD + MARK + GOOD, ":2", "begins with a byte-order mark"),
        ("d.jsonl", MARK + MARK + GOOD, ":1", "begins with a byte-order mark"),
        ("d.csv", b"question,answer\nq,a\n" + MARK + b"question,answer\n", ":3", "begins with a byte-order mark"),
        ("d.jsonl", GOOD + b"x" * 2_000_000, ":2", "longer than 1,000,000 bytes"),
        # JSON
        ("d.jsonl", GOOD + b'\n{"question": }\n', ":3", "broken JSON: Expecting value (column 14)"),
        ("d.jsonl", b"[\n", ":1", "broken JSON: Expecting value (column 2)"),
        ("d.jsonl", b'{"question": "q\x01"}', ":1", "broken JSON: Invalid control character at (column 16)"),
        ("d.jsonl", GOOD + b"\x1f\n", ":2", "broken JSON: Expecting value (column 1)"),
        ("d.jsonl", b"[" * 200_000, ":1", "JSON nested too deeply"),
        ("d.jsonl", GOOD + b'["q", "a"]', ":2", "not a JSON object"),
        ("d.jsonl", b'{"answer": "a", "answer": "b"}', ":1", "the key 'answer' is there more than once"),
        ("d.jsonl", b"{}", ":1", "no column 'question'; the object is empty"),
        (
            "d.jsonl",
            GOOD + b'{"question": "q", "label": 1, "answers": 2}',
            ":2",
            "this row has no 'answer', as those before it have; the nearest is 'answers'",
        ),
        ("d.jsonl", GOOD + b"{}", ":2", "this row has no 'question', as those before it have; it has nothing"),
        (
            "d.jsonl",
            b'{"question": "q", "label": 1, "answers": 2}',
            ":1",
            "no column 'answer' among 'question', 'label', 'answers'; the nearest is 'answers'",
        ),
        # values
        ("d.jsonl", GOOD + row_of(question="null"), ":2", "'question' is null, not text"),
        ("d.jsonl", row_of(question="5"), ":1", "'question' is a number, not text"),
        ("d.jsonl", row_of(answer="null"), ":1", "'answer' is null, not text"),
        ("d.jsonl", row_of(answer="true"), ":1", "'answer' is true or false, not text"),
        ("d.jsonl", row_of(answer="NaN"), ":1", "'answer' is NaN or infinite, not text"),
        ("d.jsonl", row_of(answer='["a"]'), ":1", "'answer' is a list, not text"),
        ("d.jsonl", row_of(answer="{}"), ":1", "'answer' is an object, not text"),
        ("d.jsonl", GOOD + row_of(question='" \\t"'), ":2", "'question' is empty"),
        ("d.jsonl", row_of(answer='""'), ":1", "'answer' is empty"),
        ("d.jsonl", row_of(answer=r'"\u200b \ufe0f"'), ":1", "'answer' is empty"),
        ("d.csv", b"question,answer\nq,a\nq, \n", ":3", "'answer' is empty"),
        ("d.jsonl", row_of(question=r'"ab\u0000"'), ":1", "'question' has the character U+0000 at position 3"),
        ("d.jsonl", row_of(question=r'"\u001f"'), ":1", "'question' has the character U+001F at position 1"),
        ("d.jsonl", row_of(answer=r'"a\u0085"'), ":1", "'answer' has the character U+0085 at position 2"),
        ("d.jsonl", row_of(answer='"a\x7f"'), ":1", "'answer' has the character U+007F at position 2"),
        ("d.jsonl", row_of(question=r'"a\ud800b"'), ":1", "'question' has the character U+D800 at position 2"),
        ("d.csv", b'question,answer\n"\n\nq\x1b[2J",a\n', ":2", "'question' has the character U+001B at position 4"),
        ("d.csv", b"question,answer\nq,a\x00\n", ":2", "'answer' has the character U+0000 at position 2"),
        # tables
        ("d.csv", b"\nquestions,label\n", ":2", "no column 'question' among 'questions', 'label'; the nearest is"),
        ("d.csv", b"words\nq\n", ":1", "only one column, 'words'"),
        (
            "d.csv",
            b"question;answer\nq;a\n",
            ":1",
            "only one column, 'question;answer': semicolons seem to separate them, not commas",
        ),
        (
            "d.csv",
            b"question\tanswer\nq\ta\n",
            ":1",
            r"only one column, 'question\tanswer': tabs seem to separate them, not commas",
        ),
        (
            "d.tsv",
            b"question,answer\nq,a\n",
            ":1",
            "only one column, 'question,answer': commas seem to separate them, not tabs",
        ),
        ("d.csv", b"sep=;\nquestion;answer\n", ":1", "begins with a line for Excel, 'sep=;'"),
        ("d.csv", b"sep=,\nquestion,answer\n", ":1", "begins with a line for Excel, 'sep='"),
        ("d.csv", b"question,answer,answer\n", ":1", "the column 'answer' is there more than once"),
        ("d.csv", b'question,answer\n"q\nq",a\nq,a,b\n', ":4", "the header names 2 columns, this row has 3"),
        ("d.tsv", b"question\tanswer\nq\n", ":2", "the header names 2 columns, this row has 1"),
        ("d.csv", b'question,answer\nq,a\n"q,a\nq,a\n', ":3", "broken table: unexpected end of data"),
        ("d.csv", b'question,answer\nq,a\n"q\n,a\n"q",a\n', ":3", "broken table: ',' expected after '\"'"),
        ("d.csv", b'question,answer\n"' + b"q,a\n" * 400_000, ":2", "broken table: field larger than field limit"),
        ("d.csv", b"question,answer\nq,a\rq,a\n", ":2", "has a line end of old Macs, CR alone"),
        ("d.csv", b"question,answer\rq,a\r", ":1", "has a line end of old Macs, CR alone"),
        ("d.jsonl", GOOD.replace(b"\n", b"\r") + GOOD, ":1", "has a line end of old Macs, CR alone"),
        ("d.csv", b'question,answer\n"q", "a"\n', ":2", "'answer' has a blank before its quotes"),
    ],
)
def test_bad_input_is_refused_with_its_place(write: Write, name: str, content: bytes, place: str, problem: str) -> None:
    path = write(name, content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert caught.value.message.startswith(f"{path}{place}: {problem}")
    assert len(caught.value.message) < len(f"{path}{place}: ") + 100
    assert caught.value.message.isprintable()
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("name", "content", "remedy"),
    [
        ("d.csv", b"question;answer\n", "Save it anew with commas between the columns."),
        ("d.csv", b"question\tanswer\n", "Or let its name end in .tsv."),
        ("d.tsv", b"question,answer\n", "Or let its name end in .csv."),
        ("d.csv", b'"question,answer"\n', "The first row must name the columns"),
        ("d.csv", b"PK\x03\x04", "export it as CSV"),
        ("d.jsonl", GOOD + b'{"question": "q"}\n', "Fill it in under that name, or delete the row."),
        ("d.jsonl", b'{"question": "q"}\n' + GOOD, "If this row alone lacks it, fill it in."),
    ],
)
def test_what_to_do_fits_what_is_wrong(write: Write, name: str, content: bytes, remedy: str) -> None:
    with pytest.raises(DataError) as caught:
        read(write(name, content))
    assert remedy in caught.value.remedy


def test_a_column_that_is_there_is_not_proposed_for_another(write: Write) -> None:
    with pytest.raises(DataError, match=r"no column 'answer' among 'question'\.\n"):
        read(write("d.jsonl", b'{"question": "q"}\n'))


def test_unknown_names_are_shown_short_and_without_control_characters(write: Write) -> None:
    path = write("d.csv", b"\x1b[2J,b\x07" + b"x" * 5000 + b"," + b",".join(b"c%d" % i for i in range(50)) + b"\n")
    with pytest.raises(DataError) as caught:
        read(path)
    assert r"'\x1b[2J'" in caught.value.message
    assert r"'b\x07xxx" in caught.value.message
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < len(str(path)) + 300


def test_a_column_that_looks_like_the_wanted_one_says_what_sets_it_apart(write: Write) -> None:
    path = write("d.csv", "frage,größe\n".encode())
    with pytest.raises(DataError) as caught:
        read_rows(path, "frage", "gro\u0308ße")
    assert caught.value.message.endswith("which looks like it: U+006F U+0308 in one, U+00F6 in the other")


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    missing = tmp_path / "missing.jsonl"
    folder = tmp_path / "folder.jsonl"
    folder.mkdir()
    circle = tmp_path / "circle.jsonl"
    circle.symlink_to(circle)  # unreadable even to root
    for path, problem in ((missing, "no such file"), (folder, "is a folder"), (circle, "can't be read: ")):
        with pytest.raises(DataError) as caught:
            read(path)
        assert caught.value.message.startswith(f"{path}: {problem}")
        assert caught.value.remedy


def test_file_without_line_ends_does_not_come_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    with path.open("wb") as file:
        file.truncate(200_000_000)  # sparse: it takes no room on the disk
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="longer than"):
            read(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * MAX_LINE_BYTES


def test_error_names_what_is_supported(write: Write) -> None:
    with pytest.raises(DataError) as caught:
        read(write("d.xlsx", b"PK"))
    assert caught.value.remedy == "Supported are .jsonl, .ndjson, .csv, .tsv."


# --- the splits of a configuration ---


def numbered(count: int, start: int = 0) -> bytes:
    return b"".join(b'{"question": "q%d", "answer": "a"}\n' % number for number in range(start, start + count))


def test_splits_and_hashes_of_the_configured_files(write: Write) -> None:
    train, test = write("train.jsonl", MARK + b"\r\n" + numbered(2)), write("test.csv", b"question,answer\nt,a\n")
    loaded = load_splits(DataConfig(train=train, test=test))
    assert {split: contents(rows) for split, rows in loaded.rows.items()} == {
        Split.TRAIN: [("q0", "a"), ("q1", "a")],
        Split.DEV: [],
        Split.TEST: [("t", "a")],
    }
    assert loaded.sha256 == {
        "data.train": hashlib.sha256(train.read_bytes()).hexdigest(),
        "data.test": hashlib.sha256(test.read_bytes()).hexdigest(),
    }
    assert loaded.findings == ()


def test_configured_columns_are_read(write: Write) -> None:
    train = write("train.csv", b"text,label\nq,a\n")
    loaded = load_splits(DataConfig(train=train, question_column="text", answer_column="label"))
    assert contents(loaded.rows[Split.TRAIN]) == [("q", "a")]


def test_each_sample_is_its_own_random_part_in_file_order(write: Write) -> None:
    config = DataConfig(
        train=write("train.jsonl", numbered(100)),
        dev=write("dev.jsonl", numbered(100, start=100)),
        test=write("test.jsonl", numbered(100, start=200)),
        sample=SampleConfig(n=10, rng_seed=3),
        dev_sample=SampleConfig(n=20, rng_seed=3),
    )
    random.seed(1)
    once = load_splits(config).rows
    random.seed(2)
    assert load_splits(config).rows == once
    assert [len(once[split]) for split in Split] == [10, 20, 100]
    lines = [row.line for row in once[Split.TRAIN]]
    assert lines == sorted(set(lines))
    assert lines != list(range(1, 11))
    other = load_splits(config.model_copy(update={"sample": SampleConfig(n=10, rng_seed=4)})).rows
    assert other[Split.TRAIN] != once[Split.TRAIN]
    assert other[Split.DEV] == once[Split.DEV]


def test_a_balanced_sample_has_as_many_of_each_label_as_there_are(write: Write) -> None:
    answers = "a" * 50 + "b" * 20 + "c" * 2
    text = "".join(f'{{"question": "q{n}", "answer": "{answer}"}}\n' for n, answer in enumerate(answers))
    train = write("train.jsonl", text.encode())

    def drawn(n: int, rng_seed: int) -> tuple[DataRow, ...]:
        sample = SampleConfig(n=n, rng_seed=rng_seed, draw="balanced")
        return load_splits(DataConfig(train=train, sample=sample)).rows[Split.TRAIN]

    counts = Counter(row.answer for row in drawn(12, 0))
    assert counts == {"a": 5, "b": 5, "c": 2}
    assert sum(counts.values()) == 12
    assert sorted(Counter(row.answer for row in drawn(5, 0)).values()) == [1, 2, 2]
    lines = [row.line for row in drawn(12, 0)]
    assert lines == sorted(set(lines))
    assert drawn(12, 0) == drawn(12, 0) != drawn(12, 1)
    assert len({frozenset(Counter(row.answer for row in drawn(4, seed)).items()) for seed in range(20)}) == 3


def test_sample_as_large_as_the_file_is_the_file(write: Write) -> None:
    train = write("train.jsonl", numbered(3))
    for n in (3, 4):
        loaded = load_splits(DataConfig(train=train, sample=SampleConfig(n=n)))
        assert contents(loaded.rows[Split.TRAIN]) == [("q0", "a"), ("q1", "a"), ("q2", "a")]


# --- repeats ---


def rows_of(source: str, *pairs: tuple[str, str]) -> tuple[DataRow, ...]:
    return tuple(DataRow(question, answer, source, line) for line, (question, answer) in enumerate(pairs, start=1))


def findings(
    train: tuple[DataRow, ...] = (), dev: tuple[DataRow, ...] = (), test: tuple[DataRow, ...] = ()
) -> tuple[str, ...]:
    return describe_repeats({Split.TRAIN: train, Split.DEV: dev, Split.TEST: test})


def test_repeated_seeds_are_counted_ignoring_case_and_whitespace() -> None:
    seeds = rows_of("s", ("Which town?", "a"), ("other", "a"), ("which  TOWN?", "a"))
    assert findings(seeds) == ("1 seed repeats an earlier one (first: s:1 and s:3)",)
    more = seeds + rows_of("t", ("WHICH\ntown?", "a"))
    assert findings(more) == ("2 seeds repeat an earlier one (first: s:1 and s:3)",)


ALIKE = ("Which caf\u00e9?", "Which cafe\u0301?", "Which\u00a0caf\u00e9?", "Which caf\u00e9\u200b?\u200f")


@pytest.mark.parametrize("question", ALIKE)
def test_questions_that_look_alike_are_the_same(question: str) -> None:
    seeds, test = rows_of("s", (ALIKE[0], "a")), rows_of("t", (question, "a"))
    assert len(findings(seeds + test)) == len(findings(seeds, dev=test)) == len(findings(dev=seeds, test=test)) == 1
    assert findings(seeds, test=rows_of("t", ("Which cafe?", "a"))) == ()


@pytest.mark.parametrize("split", ["dev", "test"])
def test_rows_that_ask_again_what_an_earlier_one_does_are_counted(split: str) -> None:
    rows = rows_of("t", ("Which town?", "a"), ("other", "a"), ("which  TOWN?", "b"), ("other", "a"))
    assert findings(**{split: rows}) == (
        f"2 {split} rows ask what an earlier one does (first: t:1 and t:3): intervals take them for independent",
    )
    assert findings(test=rows[:2]) == ()


def test_contradictory_seeds_are_counted() -> None:
    seeds = rows_of("s", ("q", "a"), ("Q", "b"))
    assert findings(seeds) == ("1 seed asks an earlier question with another answer (first: s:1 and s:2)",)
    more = seeds + rows_of("t", ("q", "A"))
    assert findings(more) == ("2 seeds ask an earlier question with another answer (first: s:1 and s:2)",)


def test_a_seed_that_repeats_a_contradiction_is_a_repeat() -> None:
    assert findings(rows_of("s", ("q", "a"), ("q", "a"), ("q", "b"), ("q", "b"))) == (
        "2 seeds repeat an earlier one (first: s:1 and s:2)",
        "1 seed asks an earlier question with another answer (first: s:1 and s:3)",
    )


def test_held_out_questions_that_are_seeds_are_counted() -> None:
    seeds = rows_of("s", ("p", "a"), ("q", "a"), ("r", "a"), ("q", "b"))
    assert findings(seeds, test=rows_of("t", ("new", "a"), ("Q", "b"), ("r", "a")))[1:] == (
        "2 test questions are also seeds (first: t:2 and s:2): their accuracy says nothing about new text",
    )
    assert findings(seeds, dev=rows_of("d", ("R ", "a")))[1:] == (
        "1 dev question is also a seed (first: d:1 and s:3): their accuracy says nothing about new text",
    )


def test_questions_in_both_dev_and_test_are_counted() -> None:
    dev, test = rows_of("d", ("p", "a"), ("q", "a")), rows_of("t", ("n", "a"), ("Q", "b"), ("p", "a"))
    assert findings(dev=dev, test=test) == (
        "2 test questions are also in dev (first: t:2 and d:2): what is tuned on dev is tuned on them",
    )
    assert findings(dev=dev, test=test[:2]) == (
        "1 test question is also in dev (first: t:2 and d:2): what is tuned on dev is tuned on them",
    )


def test_findings_are_about_the_rows_taken(write: Write) -> None:
    train = write("train.jsonl", numbered(40))
    same = DataConfig(train=train, test=train)
    assert load_splits(same).findings == (
        f"40 test questions are also seeds (first: {train}:1 and {train}:1): "
        "their accuracy says nothing about new text",
    )
    part = same.model_copy(update={"sample": SampleConfig(n=1), "test_sample": SampleConfig(n=1, rng_seed=1)})
    assert load_splits(part).findings == ()
