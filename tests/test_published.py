"""Published data sets are read as they are, odd bytes included, and what can't be used is told with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm2llm_local.datasets.casehold import read_casehold
from llm2llm_local.datasets.casehold_json import read_casehold_json
from llm2llm_local.datasets.distributions import FORMS, expected_files, find_distribution
from llm2llm_local.datasets.published import Published, decode
from llm2llm_local.datasets.snips import read_slot_gated, read_snips_intent
from llm2llm_local.datasets.sst2 import read_sst2
from llm2llm_local.datasets.trec import read_trec
from llm2llm_local.datasets.uniform import read_uniform
from llm2llm_local.errors import DataError, UserInputError
from llm2llm_local.records import Split

SHARED = Path(__file__).parents[2] / "shared" / "data"
genuine = pytest.mark.skipif(not SHARED.exists(), reason="the data sets in shared/data are not there")


def written(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def pairs(read: Published) -> list[tuple[str, str]]:
    return [(row.question, row.answer) for row in read.rows]


def skips(read: Published) -> list[tuple[int, str]]:
    return [(skip.line, skip.reason) for skip in read.skipped]


# --- encodings ------------------------------------------------------------------------------------------------------


def test_lines_are_utf_8_or_else_what_such_files_have_instead() -> None:
    cesu_8 = "pizza \ud83c\udf55".encode("utf-8", "surrogatepass")
    raw = b"caf\xc3\xa9\r\n" + cesu_8 + b"\ncaf\xe9\nplain\nna\xefve\nJanet\x92s\ncaf\xe9 \xe2\x80\x99"
    decoded = decode(raw)
    broken = "café \xe2\x80\x99"  # has control characters now, for which it is left out later
    assert decoded.text == f"café\npizza 🍕\ncafé\nplain\nnaïve\nJanet’s\n{broken}"
    assert decoded.notes == (
        "line 2: not UTF-8, read as CESU-8",
        "line 3 and 2 more: not UTF-8, read as Latin-1",
        "line 6: not UTF-8, read as Windows-1252",
    )


def test_a_line_ends_as_on_old_macs_too(tmp_path: Path) -> None:
    read = read_trec(written(tmp_path / "x.label", b"NUM:date When ?\rHUM:ind Who ?\r"))
    assert pairs(read) == [("When ?", "Numeric"), ("Who ?", "Human")]


def test_half_a_surrogate_pair_is_not_text() -> None:
    assert decode(b"\xed\xa0\xbc").text == "í\xa0¼"


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    read = read_trec(written(tmp_path / "x.label", b"\xef\xbb\xbfNUM:date When ?\n"))
    assert (pairs(read), read.notes) == ([("When ?", "Numeric")], ())


def test_what_can_not_be_read_is_an_error_with_the_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.label: can't be read"):
        read_trec(tmp_path / "gone.label")
    for width in ("16", "32"):
        with pytest.raises(DataError, match=rf"x\.label: is UTF-{width}"):
            read_trec(written(tmp_path / "x.label", "NUM:date When ?".encode(f"utf-{width}")))


# --- TREC -----------------------------------------------------------------------------------------------------------


def test_a_block_of_zeros_makes_no_row_of_trec_out_of_two(tmp_path: Path) -> None:
    """As a disk that failed leaves it: the end of one line and the beginning of another are gone."""
    read = read_trec(written(tmp_path / "x.label", b"HUM:in" + b"\0" * 4096 + b" is it ?\nNUM:date When ?\n"))
    assert pairs(read) == [("When ?", "Numeric")]
    assert skips(read) == [(1, "does not begin with a class such as NUM:date")]


def test_trec(tmp_path: Path) -> None:
    content = (
        b"NUM:date When was it ?\r\n"
        b"HUM:ind Who has a sister\xf0city ?\r\n"
        b"\r\n"
        b"NUM When was it ?\r\n"
        b"WHAT:x Is it ?\r\n"
        b"ABBR:exp \r\n"
        b"LOC:city Where is Troms\xc3\xb0 ?\r\n"
    )
    read = read_trec(written(tmp_path / "train_5500.label", content))
    assert pairs(read) == [
        ("When was it ?", "Numeric"),
        ("Who has a sister city ?", "Human"),
        ("Where is Tromsð ?", "Location"),
    ]
    assert [row.line for row in read.rows] == [1, 2, 7]
    assert skips(read) == [
        (4, "does not begin with a class such as NUM:date"),
        (5, "does not begin with a class such as NUM:date"),
        (6, "no question"),
    ]
    assert read.notes == ("line 2: the byte 0xF0 was read as a blank",)


def test_a_trec_question_begins_behind_any_blank_and_notes_are_one_line(tmp_path: Path) -> None:
    read = read_trec(written(tmp_path / "train_5500.label", b"NUM:date\tWhen was it ?\n" + b"\xf0\x01 x\n" * 900))
    assert pairs(read) == [("When was it ?", "Numeric")]
    assert read.notes == ("line 2 and 899 more: the byte 0xF0 was read as a blank",)


@genuine
@pytest.mark.parametrize(("raw", "uniform"), [("train_5500.label", "train.jsonl"), ("TREC_10.label", "test.jsonl")])
def test_genuine_trec(raw: str, uniform: str) -> None:
    read = read_trec(SHARED / "trec" / "raw" / raw)
    assert pairs(read) == pairs(read_uniform(SHARED / "trec" / uniform))
    assert read.skipped == ()
    assert read.notes == (("line 66: the byte 0xF0 was read as a blank",) if raw.startswith("train") else ())


# --- SNIPS ----------------------------------------------------------------------------------------------------------


def test_snips_utterances_are_put_together_from_their_slots(tmp_path: Path) -> None:
    content = {
        "RateBook": [
            {"data": [{"text": "rate "}, {"text": "Émile", "entity": "object_name"}, {"text": "  4 stars"}]},
            {"data": [{"text": " "}]},
            {"data": [{"entity": "object_name"}]},
            {"texts": []},
        ]
    }
    raw = json.dumps(content, ensure_ascii=False, indent=1).encode("latin-1")
    read = read_snips_intent(written(tmp_path / "train_RateBook_full.json", raw))
    assert pairs(read) == [("rate Émile 4 stars", "RateBook")]
    assert skips(read) == [(2, "no question"), (3, "an utterance without texts"), (4, "an utterance without texts")]
    assert read.notes == ("line 9: not UTF-8, read as Latin-1",)


@pytest.mark.parametrize("content", ["{", "[]", '{"RateBook": "x"}'])
def test_what_is_no_json_of_an_intent_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match=r"train_X_full\.json: (broken JSON|is no JSON of an intent)"):
        read_snips_intent(written(tmp_path / "train_X_full.json", content))


def test_slot_gated_lines_belong_together(tmp_path: Path) -> None:
    path = written(tmp_path / "seq.in", "play it  \nrate it\n\n")
    with pytest.raises(DataError, match=r"seq\.in: has 2 lines, and label beside it 3"):
        read_slot_gated(written(tmp_path / "label", "A\nB\nC\n").with_name("seq.in"))
    written(tmp_path / "label", "PlayMusic\nRateBook\n")
    assert pairs(read_slot_gated(path)) == [("play it", "PlayMusic"), ("rate it", "RateBook")]


@genuine
def test_genuine_snips() -> None:
    raw = SHARED / "snips" / "raw"
    music = read_snips_intent(raw / "snipsco" / "train_PlayMusic_full.json")
    assert (len(music.rows), music.skipped) == (2000, ())
    assert music.notes == ("line 9,091: not UTF-8, read as CESU-8",)
    texts = " ".join(row.question for row in music.rows)
    assert "🍕" in texts
    assert "Música" in texts
    assert "Ã" not in texts
    validate = [read_snips_intent(path) for path in sorted((raw / "snipsco").glob("validate_*.json"))]
    assert [(len(read.rows), read.skipped, read.notes) for read in validate] == [(100, (), ())] * 7
    for split, uniform in (("valid", "valid.jsonl"), ("test", "test.jsonl")):
        assert pairs(read_slot_gated(raw / "slotgated" / split / "seq.in")) == pairs(
            read_uniform(SHARED / "snips" / uniform)
        )
    assert len(read_slot_gated(raw / "slotgated" / "train" / "seq.in").rows) == 13084


# --- SST-2 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["sentence\tlabel\n", ""])
def test_sst2(tmp_path: Path, header: str) -> None:
    content = header + 'a "charming film \t1\nflat\t0\n\nno label\nodd\t2\n \t1\n'
    read = read_sst2(written(tmp_path / "train.tsv", content))
    assert pairs(read) == [('a "charming film', "positive"), ("flat", "negative")]
    shift = 1 if header else 0
    assert skips(read) == [
        (4 + shift, "does not have 2 columns"),
        (5 + shift, "has neither 0 nor 1 for a label"),
        (6 + shift, "no question"),
    ]


@pytest.mark.parametrize(
    "content",
    ["sentence\tlabel\tidx\ngood\t1\t0\nbad\t0\t1\n", "index\tsentence\tlabel\n1\tgood\t1\n0\tbad\t0\n"],
)
def test_sst2_with_further_columns_is_read_by_their_names(tmp_path: Path, content: str) -> None:
    read = read_sst2(written(tmp_path / "train.tsv", content))
    assert pairs(read) == [("good", "positive"), ("bad", "negative")]
    assert (read.skipped, [row.line for row in read.rows]) == ((), [2, 3])


def test_a_row_of_sst2_with_other_columns_is_left_out(tmp_path: Path) -> None:
    read = read_sst2(written(tmp_path / "train.tsv", "text\tclass\ngood\t1\nbad\t1\t0\n"))
    assert pairs(read) == [("good", "positive")]
    assert skips(read) == [(1, "has neither 0 nor 1 for a label"), (3, "does not have 2 columns")]


def test_glues_test_split_has_no_labels(tmp_path: Path) -> None:
    read = read_sst2(written(tmp_path / "test.tsv", "index\tsentence\n0\tuneasy film\n1\tflat\n"))
    assert read.rows == ()
    assert skips(read) == [(1, "the whole file: it has no labels, as GLUE keeps those of its test split")]


@genuine
def test_genuine_sst2() -> None:
    raw = SHARED / "sst2" / "raw"
    for name, n in (("train.tsv", 6920), ("dev.tsv", 872), ("test.tsv", 1821)):
        read = read_sst2(raw / "tsv" / name)
        assert (len(read.rows), read.skipped, read.notes) == (n, (), ())
    for name, uniform in (("sentiment-dev", "valid.jsonl"), ("sentiment-test", "test.jsonl")):
        assert pairs(read_sst2(raw / "senteval" / name)) == pairs(read_uniform(SHARED / "sst2" / uniform))


# --- JSONL ----------------------------------------------------------------------------------------------------------


def test_uniform_rows(tmp_path: Path) -> None:
    content = (
        '{"question": " one ", "answer": "#### 1", "more": 2}\n\n'
        '{"question": "two"}\n{"question": "three", "answer": 3}\n["four"]\n{\n'
        '{"question": "\\u0007", "answer": "x"}\n{"question": "x", "answer": "\\u200b"}\n'
        '{"question": "x", "answer": "y", "answer": "z"}\n'
    )
    read = read_uniform(written(tmp_path / "train.jsonl", content))
    assert pairs(read) == [("one", "#### 1")]
    assert skips(read) == [
        (3, "no question and answer as text"),
        (4, "no question and answer as text"),
        (5, "no question and answer as text"),
        (6, "broken JSON"),
        (7, "the question has the character U+0007 at position 1"),
        (8, "no answer"),
        (9, "a key is there more than once"),
    ]


@genuine
def test_genuine_gsm8k() -> None:
    read = read_uniform(SHARED / "gsm8k" / "raw" / "test.jsonl")
    assert (len(read.rows), read.skipped, read.notes) == (1319, (), ())
    assert pairs(read) == pairs(read_uniform(SHARED / "gsm8k" / "test.jsonl"))


# --- CaseHOLD -------------------------------------------------------------------------------------------------------

HEADER = (
    ",citing_prompt,holding_0,holding_1,holding_2,holding_3,holding_4,score_0,score_1,score_2,score_3,score_4,label\n"
)
SCORES = "0.1,0.2,0.3,0.4,0.5"


def test_casehold_csv(tmp_path: Path) -> None:
    content = (
        HEADER + f'0,"He ""sued"" (<HOLDING>),\nand won",h0,"h1, with a comma",h2,h3,h4,{SCORES},1\n'
        f"1,Second (<HOLDING>),h0,h1,h2,h3,h4,{SCORES},4.0\n"
        f"2,Third,h0,h1,h2,h3,h4,{SCORES},\n"
        f"3,Fourth,h0,,h2,h3,h4,{SCORES},0\n"
        "4,Fifth,h0\n"
        f"5,Sixth,h0,h1,h2,h3,h4,{SCORES},5\n"
        f"6,Seventh,h0,h1,h2,h3,h4,{SCORES},0,0\n"
        f"7,Eighth,h0,h1,h2,h3,h4,{SCORES},{'1' * 5000}\n"
    )
    read = read_casehold(written(tmp_path / "casehold.csv", content))
    options = "\n\n(A) h0\n(B) {}\n(C) h2\n(D) h3\n(E) h4"
    assert pairs(read) == [
        ('He "sued" (<HOLDING>), and won' + options.format("h1, with a comma"), "B"),
        ("Second (<HOLDING>)" + options.format("h1"), "E"),
    ]
    assert [row.line for row in read.rows] == [2, 4]
    assert skips(read) == [
        (5, "the label is '', none of 0 to 4"),
        (6, "option B is empty"),
        (7, "fewer columns than the header names"),
        (8, "the label is '5', none of 0 to 4"),
        (9, "more columns than the header names"),
        (10, f"the label is '{'1' * 40}', none of 0 to 4"),
    ]


def test_a_casehold_quote_that_is_not_closed_swallows_no_row(tmp_path: Path) -> None:
    rows = "".join(f'{n},"Text {n}",h0,h1,h2,h3,h4,{SCORES},0\n' for n in range(9)).replace('"Text 3"', '"Text 3')
    with pytest.raises(DataError, match=r"casehold\.csv:5: broken table"):
        read_casehold(written(tmp_path / "casehold.csv", HEADER + rows))
    with pytest.raises(DataError, match=r"casehold\.csv:1: broken table"):
        read_casehold(written(tmp_path / "casehold.csv", f'"n"x,{HEADER}{rows}'))


def test_a_part_of_the_records_can_be_read(tmp_path: Path) -> None:
    rows = "".join(f"{n},Text {n},h0,h1,h2,h3,h4,{SCORES},0\n" for n in range(5))
    path = written(tmp_path / "casehold.csv", HEADER + rows)
    assert [row.line for row in read_casehold(path, 1, 3).rows] == [3, 4]
    assert [row.line for row in read_casehold(path, 3).rows] == [5, 6]
    assert read_casehold(path, 5).rows == ()


def test_a_table_without_casehold_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.csv:1: no column citing_prompt"):
        read_casehold(written(tmp_path / "x.csv", "question,answer\nq,a\n"))


PROMPT = (
    'Given the following excerpt from a US court opinion:\n"He sued ([Masked Holding]), and won"\n\n'
    "The [Masked Holding] is a placeholder for one of the following options:\n- h0\n- h1\nThe relevant option is:"
)
ROWS = [
    {"context": "He sued (<HOLDING>), and won", "endings": ["h0", "h1"], "label": 1},
    {"text": "He sued (<HOLDING>), and won", "holdings": ["h0", "h1"], "label": "1", "split": "test"},
    {"citing_prompt": "He sued (<HOLDING>), and won", "holding_0": "h0", "holding_1": "h1", "label": "1"},
    {"input_text": PROMPT, "choices": ["h0", "h1"], "answer": "h1"},
    {"question": "He sued (<HOLDING>), and won\n\n(A) h0\n(B) h1", "answer": "B"},
]
BAD = [
    {"context": "He sued", "endings": ["h0", "h1"], "label": None},
    {"context": "He sued"},
    {"input_text": PROMPT, "choices": ["h0", "h1"], "answer": "h2"},
    {"input_text": PROMPT, "choices": [0, 1], "answer": 1},
    {"question": "He sued", "answer": "B"},
    7,
]
REASONS = [
    "the label is None, none of 0 to 1",
    "no citing text with holdings",
    "a prompt of another form",
    "a prompt of another form",
    "no line begins with (A), so it has no options",
    "not a JSON object",
]


@pytest.mark.parametrize("is_array", [True, False])
def test_casehold_json(tmp_path: Path, is_array: bool) -> None:
    rows = [*ROWS, *BAD]
    content = json.dumps(rows, indent=1) if is_array else "\n".join(map(json.dumps, rows))
    read = read_casehold_json(written(tmp_path / "train.json", content))
    assert pairs(read) == [("He sued (<HOLDING>), and won\n\n(A) h0\n(B) h1", "B")] * 5
    assert skips(read) == list(zip(range(6, 12), REASONS, strict=True))


def test_broken_casehold_json_is_refused_as_a_whole_or_by_lines(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.json: broken JSON"):
        read_casehold_json(written(tmp_path / "train.json", "[{]"))
    read = read_casehold_json(written(tmp_path / "train.jsonl", "{\n" + json.dumps(ROWS[0])))
    assert skips(read) == [(1, "not a JSON object")]
    assert len(read.rows) == 1


@genuine
def test_genuine_casehold_json() -> None:
    raw = SHARED / "casehold" / "raw"
    uniform = pairs(read_uniform(SHARED / "casehold" / "train.jsonl"))
    uniform += pairs(read_uniform(SHARED / "casehold" / "test.jsonl"))
    wrapped = read_casehold_json(raw / "case_hold.first200.jsonl")
    assert (len(wrapped.rows), wrapped.skipped) == (200, ())
    assert set(pairs(wrapped)) <= set(uniform)
    sample = read_casehold_json(raw / "casehold_samples.json")
    assert (len(sample.rows), sample.skipped) == (50, ())
    # 15 of these rows of LexGLUE's test split are among the 1,000.
    assert len(set(pairs(sample)) & set(uniform)) == 15


# --- which files ----------------------------------------------------------------------------------------------------


def test_the_original_form_comes_first_and_others_are_told(tmp_path: Path) -> None:
    label = written(tmp_path / "train_5500.label", "NUM:date When ?\n")
    jsonl = written(tmp_path / "train.jsonl", "{}")
    found = find_distribution("trec", tmp_path)
    assert (found.files, found.unused) == ({Split.TRAIN: (label,)}, (jsonl,))


def test_every_intent_has_a_file_of_its_own_in_a_folder_or_not(tmp_path: Path) -> None:
    for folder in ("", "A", "2017-06-custom-intent-engines/A"):
        place = tmp_path / f"data{len(folder)}"
        train = [written(place / folder / f"train_{intent}_full.json", "{}") for intent in "AB"]
        written(place / folder / "train_A.json", "{}")
        test = written(place / folder / "validate_A.json", "{}")
        found = find_distribution("snips", place)
        assert found.files == {Split.TRAIN: tuple(train), Split.TEST: (test,)}


@pytest.mark.parametrize("data_set", sorted(FORMS))
def test_a_folder_without_the_data_set_says_which_files_it_has(tmp_path: Path, data_set: str) -> None:
    written(tmp_path / "test.jsonl", "{}")
    with pytest.raises(UserInputError) as caught:
        find_distribution(data_set, tmp_path)
    for form in FORMS[data_set]:
        for files in form.splits.values():
            assert all(pattern in caught.value.message for pattern in files.patterns)
    assert "\n".join(expected_files(data_set)) in caught.value.message
    with pytest.raises(UserInputError, match="no such folder"):
        find_distribution(data_set, tmp_path / "gone")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ((), "it is empty"),
        (("tsv/dev.tsv", "notes.txt", ".hidden"), "it has notes.txt, tsv/"),
        (tuple(f"file{n}.txt" for n in range(8)), "it has file0.txt, file1.txt, file2.txt, file3.txt, file4.txt, "),
    ],
)
def test_a_folder_without_the_data_set_says_what_it_has(tmp_path: Path, names: tuple[str, ...], told: str) -> None:
    for name in names:
        written(tmp_path / name, "")
    with pytest.raises(UserInputError) as caught:
        find_distribution("sst2", tmp_path)
    assert f"has no training file of sst2 that is known; {told}" in caught.value.message.splitlines()[0]
    assert caught.value.message.splitlines()[0].endswith(" and 2 more") == (len(names) == 8)
    assert caught.value.remedy == "Name the folder that has them with --data."


def test_a_data_set_a_level_deeper_is_pointed_at(tmp_path: Path) -> None:
    """But not to files of other data sets that have the same name."""
    written(tmp_path / "my SST-2" / "train.tsv", "good\t1\n")
    written(tmp_path / "CoLA" / "train.tsv", "gj04\t1\n")
    with pytest.raises(UserInputError) as caught:
        find_distribution("sst2", tmp_path)
    assert "it has CoLA/, my SST-2/" in caught.value.message
    assert caught.value.remedy == f"There is my SST-2/train.tsv: --data '{tmp_path}/my SST-2'"


def test_another_complete_data_set_beside_the_one_that_is_taken_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "snips"
    taken = written(folder / "snipsco" / "train_PlayMusic_full.json", "{}")
    for name in ("slotgated/train/seq.in", "slotgated/test/seq.in", "only-tests/test/seq.in"):
        written(folder / name, "play it\n")
    found = find_distribution("snips", folder)
    assert found.files[Split.TRAIN] == (taken,)
    assert found.unused == (folder / "slotgated",)


def test_a_file_is_no_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match=r"x\.txt: is a file, not a folder"):
        find_distribution("sst2", written(tmp_path / "x.txt", ""))
    circle = tmp_path / "circle"
    circle.symlink_to(circle)  # unreadable even to root
    with pytest.raises(UserInputError, match="circle: can't be read: "):
        find_distribution("sst2", circle)


def test_a_link_to_itself_is_no_training_file(tmp_path: Path) -> None:
    circle = tmp_path / "train_5500.label"
    circle.symlink_to(circle)
    with pytest.raises(UserInputError, match=r"has no training file of trec that is known; it has train_5500\.label"):
        find_distribution("trec", tmp_path)
