"""`init --task trec --data DIR` and the like: what is written, what is told, what is refused."""

from __future__ import annotations

import itertools
import json
import stat
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from endings import assert_refused
from workspaces import Workspace, without_rights_over_files

from llm2llm_local.cli import cli
from llm2llm_local.config import field_docs, flatten
from llm2llm_local.config_file import load_config, parse_config
from llm2llm_local.datasets.distributions import FORMS
from llm2llm_local.datasets.reader import load_splits
from llm2llm_local.errors import UserInputError
from llm2llm_local.ready_tasks import LEAST_SEEDS, Wanted, ready_task, seeds_to_take
from llm2llm_local.records import Split
from llm2llm_local.scaffold import CONFIG_NAME
from llm2llm_local.tasks.families import make_task
from llm2llm_local.wilson import interval

SHARED = Path(__file__).parents[2] / "shared" / "data"
GENUINE = {
    "gsm8k": ("", 37, 0, 1319),
    "casehold": ("", 600, 0, 400),
    "snips": ("raw/slotgated", 70, 700, 700),
    "trec": ("raw", 60, 0, 500),
    "sst2": ("raw/tsv", 20, 872, 1821),
}


def init(folder: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["init", str(folder), *map(str, arguments)], catch_exceptions=True)


def refusal(result: Result) -> str:
    """What the person reads; a mistake of theirs is no defect of the program."""
    assert isinstance(result.exception, UserInputError), result.output
    return str(result.exception)


@pytest.fixture
def trec(tmp_path: Path) -> Path:
    """6 classes, a repeated question, a line of another form."""
    folder = tmp_path / "trec"
    folder.mkdir()
    classes = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
    lines = [f"{label}:x What about {label} {n} ?" for n in range(2) for label in classes]
    (folder / "train_5500.label").write_text("\n".join([*lines, lines[0], "bad line"]), encoding="utf-8")
    (folder / "TREC_10.label").write_text("HUM:ind Who ?\n", encoding="utf-8")
    return folder


# --- the packaged files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(FORMS))
def test_a_ready_task_sets_known_fields_only(name: str) -> None:
    ready = ready_task(name)
    known = {doc.name for doc in field_docs()}
    assert ready.values.keys() <= known
    assert [preset.n for preset in ready.presets] == sorted(preset.n for preset in ready.presets)
    assert ready.values["task.family"] in ("classification", "math", "multiple_choice")


@pytest.mark.parametrize("name", ["trec", "snips", "sst2", "casehold"])
def test_a_ready_task_whose_answers_are_scored_asks_about_seeds_that_students_know_by_heart(name: str) -> None:
    """On its few seeds the paper's signal is dry after the first training."""
    assert ready_task(name).values["loop.failure_signal"] == "confidence"


def test_every_ready_task_can_be_asked_for() -> None:
    (option,) = (one for one in cli.commands["init"].params if one.name == "task")
    assert set(FORMS) <= set(option.type.choices)  # type: ignore[attr-defined]


# --- what is written and told ---------------------------------------------------------------------------------------


def test_a_data_set_is_converted_with_every_row_accounted_for(tmp_path: Path, trec: Path) -> None:
    shown = init(tmp_path / "new", "--task", "trec", "--data", trec)
    assert shown.exit_code == 0, shown.output
    rows = [json.loads(line) for line in (tmp_path / "new" / "train.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == 13
    assert rows[0] == rows[12] == {"question": "What about ABBR 0 ?", "answer": "Abbreviation"}
    assert f"{trec / 'train_5500.label'}: 13 rows for train" in shown.output
    assert "  skipped 1 row, the first at 14: does not begin with a class such as NUM:date" in shown.output
    assert "kept: 1 training row repeats an earlier one" in shown.output
    assert "seeds: all 13 training rows" in shown.output
    config = load_config(tmp_path / "new" / CONFIG_NAME)
    assert config.task.labels == ("Abbreviation", "Description", "Entity", "Human", "Location", "Numeric")
    assert (config.data.dev, config.data.sample) == (None, None)
    loaded = load_splits(config.data)
    assert {split: len(found) for split, found in loaded.rows.items()} == {Split.TRAIN: 13, Split.DEV: 0, Split.TEST: 1}
    for path in (tmp_path / "new").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_a_configuration_has_every_field_and_commented_ones_their_default(tmp_path: Path, trec: Path) -> None:
    init(tmp_path / "new", "--task", "trec", "--data", trec)
    text = (tmp_path / "new" / CONFIG_NAME).read_text("utf-8")
    as_written = parse_config(tomllib.loads(text), "config", tmp_path)
    everything = []
    for line in text.splitlines():
        key = line.removeprefix("# ").partition(" = ")[0]
        is_default = line.startswith("# ") and key.isidentifier() and " = " in line and not line.endswith("= …")
        everything.append(line.removeprefix("# ") if is_default else line)
    assert flatten(parse_config(tomllib.loads("\n".join(everything)), "config", tmp_path)) == flatten(as_written)
    assert "n = 60 (1.1%)" in text.replace("\n# ", " ")
    assert text.count(" = ") >= len(field_docs())


@pytest.mark.parametrize(
    ("option", "n", "share"),
    [(("--seeds", "5"), 5, "38.46%"), (("--fraction", "50%"), 6, "46.15%"), (("--fraction", "0.01"), 1, "7.69%")],
)
def test_seeds_are_a_number_or_a_fraction(
    tmp_path: Path, trec: Path, option: tuple[str, str], n: int, share: str
) -> None:
    shown = init(tmp_path / "new", "--task", "trec", "--data", trec, *option)
    assert f"seeds: {n} of 13 training rows ({share}), by data.sample" in shown.output
    config = load_config(tmp_path / "new" / CONFIG_NAME)
    assert len(load_splits(config.data).rows[Split.TRAIN]) == n


def test_where_a_preset_is_more_than_its_fraction_that_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "gsm8k"
    folder.mkdir()
    rows = "".join(json.dumps({"question": f"{n}?", "answer": f"#### {n}"}) + "\n" for n in range(6000))
    (folder / "train.jsonl").write_text(rows)
    shown = init(tmp_path / "new", "--task", "gsm8k", "--data", folder, "--fraction", "5%")
    assert "seeds: 373 of 6,000 training rows (6.22%)" in shown.output
    assert "5% stands for the 373 of the published data" in " ".join(shown.output.split())


@pytest.mark.parametrize(("n_rows", "n_seeds"), [(6_920, 1), (67_349, 20)])
def test_a_presets_fraction_is_the_preset_where_the_data_set_is_whole(n_rows: int, n_seeds: int) -> None:
    assert seeds_to_take(ready_task("sst2"), Wanted(fraction=0.0002), n_rows) == n_seeds


def test_more_seeds_than_rows_are_all_of_them(tmp_path: Path, trec: Path) -> None:
    shown = init(tmp_path / "new", "--task", "trec", "--data", trec, "--seeds", "99")
    assert "seeds: all 13 training rows" in shown.output
    assert load_config(tmp_path / "new" / CONFIG_NAME).data.sample is None


def test_of_many_rows_the_first_preset_is_taken(tmp_path: Path) -> None:
    rows = "".join(f"sentence number {n}\t{n % 2}\n" for n in range(1001))
    (tmp_path / "train.tsv").write_text(rows, encoding="utf-8")
    shown = init(tmp_path / "new", "--task", "sst2", "--data", tmp_path)
    assert "seeds: 20 of 1,001 training rows (2.00%), by data.sample" in shown.output


def test_a_test_split_without_labels_leaves_dev_to_test_with(tmp_path: Path) -> None:
    for name, content in (
        ("train.tsv", "sentence\tlabel\ngood \t1\nbad \t0\n"),
        ("dev.tsv", "sentence\tlabel\nfine \t1\n"),
        ("test.tsv", "index\tsentence\n0\tso so\n"),
    ):
        (tmp_path / name).write_text(content, encoding="utf-8")
    shown = init(tmp_path / "new", "--task", "sst2", "--data", tmp_path)
    assert f"{tmp_path / 'test.tsv'}: 0 rows for test" in shown.output
    assert "no labelled test rows: those of dev become test.jsonl" in shown.output
    config = load_config(tmp_path / "new" / CONFIG_NAME)
    assert (config.data.dev, config.data.test) == (None, tmp_path / "new" / "test.jsonl")


def test_a_data_set_without_test_rows_is_told(tmp_path: Path, trec: Path) -> None:
    assert "no test rows" not in init(tmp_path / "new", "--task", "trec", "--data", trec).output
    (trec / "TREC_10.label").unlink()
    assert "no test rows" in init(tmp_path / "newer", "--task", "trec", "--data", trec).output


def test_rows_that_are_not_of_the_task_are_skipped_and_told(tmp_path: Path) -> None:
    rows = [("2 + 2?", "2 + 2 = 4\n#### 4"), ("3 + 3?", "6"), ("4 + 4?", "8")]
    content = "".join(json.dumps({"question": question, "answer": answer}) + "\n" for question, answer in rows)
    (tmp_path / "train.jsonl").write_text(content, encoding="utf-8")
    shown = init(tmp_path / "new", "--task", "gsm8k", "--data", tmp_path)
    assert "skipped 2 rows, the first at 2: the answer has no final line '#### number'" in shown.output
    assert (tmp_path / "new" / "train.jsonl").read_text("utf-8").count("\n") == 1


def test_classes_without_rows_are_told(tmp_path: Path) -> None:
    content = {"PlayMusic": [{"data": [{"text": "play it"}]}, {"data": [{"text": "play that"}]}]}
    (tmp_path / "train_PlayMusic_full.json").write_text(json.dumps(content), encoding="utf-8")
    shown = init(tmp_path / "new", "--task", "snips", "--data", tmp_path)
    assert "no training rows for AddToPlaylist, BookRestaurant, GetWeather, RateBook, Search" in shown.output


def test_a_whole_casehold_is_divided_as_lexglue_does(tmp_path: Path) -> None:
    columns = ["", "citing_prompt", *(f"holding_{n}" for n in range(5)), *(f"score_{n}" for n in range(5)), "label"]
    rows = (f"{n},Text {n} (<HOLDING>),a,b,c,d,e,0,0,0,0,0,{n % 5}\n" for n in range(53_000))
    (tmp_path / "casehold.csv").write_text(",".join(columns) + "\n" + "".join(rows), encoding="utf-8")
    shown = init(tmp_path / "new", "--task", "casehold", "--data", tmp_path)
    for split, n in (("train", "45,000"), ("dev", "3,900"), ("test", "3,600")):
        assert f"casehold.csv: {n} rows for {split}" in shown.output
    assert "500 further rows are in none of its splits" in shown.output
    assert "seeds: 225 of 45,000 training rows (0.50%)" in shown.output
    first = json.loads((tmp_path / "new" / "dev.jsonl").read_text("utf-8").splitlines()[0])
    assert first == {"question": "Text 45000 (<HOLDING>)\n\n(A) a\n(B) b\n(C) c\n(D) d\n(E) e", "answer": "A"}


@pytest.mark.parametrize(
    ("option", "n", "n_without"),
    [(("--seeds", "3"), 3, 3), (("--fraction", "0.00001%"), 1, 5), (("--seeds", "4"), 4, 2), (("--seeds", "6"), 6, 0)],
)
def test_seeds_that_are_too_few_are_told(
    tmp_path: Path, trec: Path, option: tuple[str, str], n: int, n_without: int
) -> None:
    shown = init(tmp_path / "new", "--task", "trec", "--data", trec, *option)
    assert shown.exit_code == 0, shown.output
    verification = f"warning: {n} seed{'s' * (n > 1)}: verification needs 4 or more"
    assert (verification in shown.output) == (n < 4)
    labels = f"warning: {n} seed{'s' * (n > 1)} for 6 labels: {n_without} of them have none"
    assert (labels in shown.output) == (n_without > 0)
    rows = load_splits(load_config(tmp_path / "new" / CONFIG_NAME).data).rows[Split.TRAIN]
    assert 6 - len({row.answer for row in rows}) == n_without


def test_the_least_seeds_are_those_that_a_run_asks_for() -> None:
    assert next(n for n in itertools.count(1) if interval(1.0, n)[0] > 0.5) == LEAST_SEEDS


def test_options_of_a_letter_are_no_labels_to_have_seeds_of(tmp_path: Path) -> None:
    rows = [{"question": f"He sued {n}\n\n(A) a\n(B) b\n(C) c\n(D) d\n(E) e", "answer": "ABCDE"[n]} for n in range(5)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    shown = init(tmp_path / "new", "--task", "casehold", "--data", tmp_path, "--seeds", "4")
    assert "seeds: 4 of 5 training rows" in shown.output
    assert "warning" not in shown.output


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(FORMS))
def test_without_data_it_says_which_files_are_expected(tmp_path: Path, name: str) -> None:
    message = refusal(init(tmp_path / "new", "--task", name))
    assert message.startswith(f"--task {name} needs the data set's files\n")
    assert "train.jsonl" in message
    assert message.endswith(f"llm2llm init FOLDER --task {name} --data DIR")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--task", "math", "--seeds", "3"), "go with a published data set, not with --task math"),
        (("--data", "{trec}"), "go with a published data set; name it with --task"),
        (("--task", "trec", "--data", "{trec}", "--seeds", "3", "--fraction", "1%"), "both say how many seeds"),
        (("--task", "trec", "--data", "{trec}/gone"), "gone: no such folder"),
        (("--task", "sst2", "--data", "{trec}"), "has no training file of sst2 that is known"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, trec: Path, arguments: tuple[str, ...], problem: str) -> None:
    filled = [argument.format(trec=trec) for argument in arguments]
    message = refusal(init(tmp_path / "new", *filled))
    assert problem in message
    assert "classification" not in message  # which nobody has named
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("share", ["0", "2", "101%", "-1%", "nan", "many"])
def test_a_fraction_that_is_none_is_refused(tmp_path: Path, trec: Path, share: str) -> None:
    shown = init(tmp_path / "new", "--task", "trec", "--data", trec, "--fraction", share)
    assert shown.exit_code == 2
    assert "is no part of the rows" in shown.output
    assert not (tmp_path / "new").exists()


def test_a_data_set_without_a_usable_row_is_refused_with_what_was_read(tmp_path: Path, trec: Path) -> None:
    (trec / "train_5500.label").write_text("bad\nworse\n", encoding="utf-8")
    message = refusal(init(tmp_path / "new", "--task", "trec", "--data", trec))
    assert "has no row that can be trained on" in message
    assert "skipped 2 rows, the first at 1" in message


def test_no_file_is_overwritten(tmp_path: Path, trec: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "test.jsonl").write_text("mine", encoding="utf-8")
    assert "test.jsonl: is there already" in refusal(init(tmp_path / "new", "--task", "trec", "--data", trec))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["test.jsonl"]


@pytest.mark.parametrize("place", ["", "snips"])
@pytest.mark.parametrize("mode", [0o000, 0o100])
def test_a_split_that_may_not_be_read_is_not_taken_for_one_that_is_not_there(
    tmp_path: Path, place: str, mode: int
) -> None:
    for split in ("train", "valid", "test"):
        folder = tmp_path / "data" / place / split
        folder.mkdir(parents=True)
        (folder / "seq.in").write_text("play it\nrate it\n", encoding="utf-8")
        (folder / "label").write_text("PlayMusic\nRateBook\n", encoding="utf-8")
    folder.chmod(mode)
    ending = Workspace(tmp_path).llm2llm(
        "init", "new", "--task", "snips", "--data", "data", before_exec=without_rights_over_files
    )
    folder.chmod(0o700)
    if ending.code == 77:
        pytest.skip("rights can't be taken from this process")
    assert_refused(ending, f"{Path('data', place, 'test')}: can't be read: Permission denied", "permissions")
    assert not (tmp_path / "new").exists()


# --- genuine data ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not SHARED.exists(), reason="the data sets in shared/data are not there")
@pytest.mark.parametrize("name", sorted(GENUINE))
def test_genuine_data_becomes_a_workspace_of_its_task(tmp_path: Path, name: str) -> None:
    place, *counts = GENUINE[name]
    shown = init(tmp_path / "new", "--task", name, "--data", SHARED / name / place)
    assert shown.exit_code == 0, shown.output
    assert "skipped" not in shown.output
    config = load_config(tmp_path / "new" / CONFIG_NAME)
    rows = load_splits(config.data).rows
    assert [len(rows[split]) for split in (Split.TRAIN, Split.DEV, Split.TEST)] == counts
    task = make_task(config.task, rows[Split.TRAIN])
    for split in Split:
        for row in rows[split]:
            task.validate(row)


@pytest.mark.skipif(not SHARED.exists(), reason="the data sets in shared/data are not there")
def test_where_genuine_data_lies_otherwise_it_is_pointed_at(tmp_path: Path) -> None:
    shown = init(tmp_path / "new", "--task", "snips", "--data", SHARED / "snips" / "raw")
    assert f"not used: {SHARED / 'snips' / 'raw' / 'slotgated'}\n" in shown.output
    message = refusal(init(tmp_path / "newer", "--task", "sst2", "--data", SHARED / "sst2" / "raw"))
    assert message.endswith(f"There is tsv/train.tsv: --data {SHARED / 'sst2' / 'raw' / 'tsv'}")
